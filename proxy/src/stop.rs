//! The wish to stop: SIGINT or SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Notes both signals from when it is made, so that none is lost between two waits.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    seen: bool,
}

impl Stop {
    /// Begins to listen. Must run inside the runtime.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            seen: false,
        })
    }

    /// Waits until either arrives; returns at once if one has. Cancel-safe.
    pub async fn asked(&mut self) {
        if self.seen {
            return;
        }
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.seen = true;
    }
}
