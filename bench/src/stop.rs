//! The wish to stop (SIGINT, SIGTERM), as a flag that every wait looks at.
//!
//! A thread of its own listens, because the main thread works and servers are tied to that one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::BenchError;

/// Whether somebody asked this run to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens from now on. Where signals cannot be had, nobody ever asks.
    pub fn listen() -> Self {
        let stop = Self::default();
        let flag = stop.clone();
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
                return;
            };
            runtime.block_on(async {
                if let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    flag.0.store(true, Ordering::Relaxed);
                }
            });
        });
        stop
    }

    /// An error where somebody did.
    pub fn check(&self) -> Result<(), BenchError> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(BenchError::Interrupted),
            false => Ok(()),
        }
    }
}
