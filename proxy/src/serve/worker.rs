//! The threads that serve clients: each a single-threaded runtime with a listener of its own, on which a client stays for life.
//!
//! Promised: what a client's statement needs runs on one thread, without a hand-over between threads; a connection goes to the thread with
//! the fewest clients; at shutdown no new client is taken, those inside have [`GRACE`] to finish, and the thread ends.
//!
//! The kernel spreads new connections over the listeners (SO_REUSEPORT) by a hash, so that with few clients one thread may get them all. A
//! thread that has more clients than another therefore hands a new connection over to that one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::door::Visit;
use super::{GRACE, STACK, ServeError};
use crate::shared::Shared;
use crate::wire::login::Door;

/// Connections beyond the clients' bound: room to say "too many clients" and to take cancel requests when all are in use.
const HALLWAY: usize = 64;
/// Connections that the kernel holds for us while we are busy.
const BACKLOG: u32 = 1024;
/// Connections on their way from one thread to another; beyond it the thread that accepted one keeps it.
const HANDED_OVER: usize = 256;

/// What all threads share.
struct House {
    door: Arc<Door>,
    shared: Arc<Shared>,
    /// One for each client that is in.
    seats: Arc<Semaphore>,
    /// One for each connection.
    places: Arc<Semaphore>,
    desks: Box<[Desk]>,
}

/// Where a thread is told of connections that others accepted.
struct Desk {
    clients: AtomicUsize,
    handed_over: mpsc::Sender<HandedOver>,
}

/// The running threads.
pub(super) struct Workers(Vec<oneshot::Receiver<()>>);

/// Listeners for so many threads at one address; all but one share it.
pub(super) async fn listen(address: SocketAddr, count: usize) -> Result<Vec<std::net::TcpListener>, ServeError> {
    let failed = |source| ServeError::Bind { address, source };
    // Sharing an address is possible with another process of ours too, where it would be a mistake: alone it is refused.
    let alone = TcpListener::bind(address).await.map_err(failed)?;
    let address = alone.local_addr().map_err(failed)?;
    if count == 1 {
        return Ok(vec![alone.into_std().map_err(failed)?]);
    }
    drop(alone);
    let one = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    (0..count).map(|_| one().map_err(failed)).collect()
}

impl Workers {
    /// Starts one thread for each listener. They accept until `closing` says so.
    pub(super) fn start(
        listeners: Vec<std::net::TcpListener>,
        door: Door,
        shared: &Arc<Shared>,
        closing: &watch::Receiver<bool>,
    ) -> Result<Self, ServeError> {
        let max = shared.config.settings.limits.max_clients;
        let (desks, inboxes): (Vec<_>, Vec<_>) = listeners
            .iter()
            .map(|_| {
                let (handed_over, inbox) = mpsc::channel(HANDED_OVER);
                let desk = Desk {
                    clients: AtomicUsize::new(0),
                    handed_over,
                };
                (desk, inbox)
            })
            .unzip();
        let house = Arc::new(House {
            door: Arc::new(door),
            shared: Arc::clone(shared),
            seats: Arc::new(Semaphore::new(max)),
            places: Arc::new(Semaphore::new(max + HALLWAY)),
            desks: desks.into(),
        });
        let mut ends = Vec::new();
        for (number, (listener, inbox)) in listeners.into_iter().zip(inboxes).enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|source| ServeError::Thread { source })?;
            let worker = Worker {
                number,
                house: Arc::clone(&house),
                inbox,
                closing: closing.clone(),
            };
            let (ended, end) = oneshot::channel();
            thread::Builder::new()
                .name(format!("postern-{number}"))
                .stack_size(STACK)
                .spawn(move || {
                    runtime.block_on(worker.serve(listener));
                    // Whoever waits for this may have given up.
                    let _ = ended.send(());
                })
                .map_err(|source| ServeError::Thread { source })?;
            ends.push(end);
        }
        Ok(Self(ends))
    }

    /// Waits until all have ended.
    pub(super) async fn ended(self) {
        for end in self.0 {
            // A thread that panicked has ended too.
            let _ = end.await;
        }
    }
}

struct Worker {
    number: usize,
    house: Arc<House>,
    inbox: mpsc::Receiver<HandedOver>,
    closing: watch::Receiver<bool>,
}

impl Worker {
    async fn serve(mut self, listener: std::net::TcpListener) {
        let mut clients = JoinSet::new();
        let mut closing = self.closing.clone();
        match TcpListener::from_std(listener) {
            Ok(tcp) => {
                tokio::select! {
                    // Where the sender is gone there is nobody left to serve for.
                    _ = closing.wait_for(|closes| *closes) => {}
                    // Cancel-safe: a connection that was accepted has its own task.
                    () = self.accept(&tcp, &mut clients) => {}
                }
            }
            Err(error) => tracing::error!(%error, "a listener cannot be used"),
        }
        if timeout(GRACE, async { while clients.join_next().await.is_some() {} })
            .await
            .is_err()
        {
            tracing::warn!(
                clients = clients.len(),
                "grace is over; closing the connections that are left"
            );
            clients.shutdown().await;
        }
    }

    async fn accept(&mut self, tcp: &TcpListener, clients: &mut JoinSet<()>) {
        loop {
            // A place before accepting: beyond the bound, connections wait in the kernel's own bounded queue.
            let Ok(place) = Arc::clone(&self.house.places).acquire_owned().await else {
                return;
            };
            // Both are cancel-safe.
            let visitor = tokio::select! {
                accepted = tcp.accept() => accepted.map(|(stream, peer)| Visitor { stream, peer, place }),
                handed = self.inbox.recv() => match handed {
                    Some(handed) => {
                        match handed.settle() {
                            Ok(visitor) => self.admit(visitor, clients),
                            Err(error) => self.lost(self.number, &error),
                        }
                        continue;
                    }
                    None => return,
                },
            };
            match visitor {
                Ok(visitor) => {
                    let desk = self.house.emptiest(self.number);
                    self.house.desks[desk].clients.fetch_add(1, Ordering::Relaxed);
                    if desk == self.number {
                        self.admit(visitor, clients);
                    } else if let Err(error) = self.hand_over(visitor, desk) {
                        self.lost(desk, &error);
                    }
                }
                Err(error) => {
                    // Out of file descriptors, most likely: spinning would not bring them back.
                    tracing::error!(%error, "cannot accept a connection; raise the limit on open files (ulimit -n)");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn hand_over(&self, visitor: Visitor, desk: usize) -> io::Result<()> {
        let handed = visitor.unsettle()?;
        let full = |_| io::Error::other("too many connections are on their way to that thread");
        self.house.desks[desk].handed_over.try_send(handed).map_err(full)
    }

    fn lost(&self, desk: usize, error: &io::Error) {
        self.house.desks[desk].clients.fetch_sub(1, Ordering::Relaxed);
        tracing::error!(%error, "a connection is closed, because it could not be taken to its thread");
    }

    fn admit(&self, visitor: Visitor, clients: &mut JoinSet<()>) {
        while clients.try_join_next().is_some() {}
        let visit = Visit {
            door: Arc::clone(&self.house.door),
            shared: Arc::clone(&self.house.shared),
            seats: Arc::clone(&self.house.seats),
        };
        let leaves = Leaves {
            house: Arc::clone(&self.house),
            desk: self.number,
        };
        clients.spawn(async move {
            visit.run(visitor.stream, visitor.peer).await;
            drop((visitor.place, leaves));
        });
    }
}

impl House {
    /// The thread that a connection goes to which `own` has accepted: `own`, unless another has fewer clients.
    fn emptiest(&self, own: usize) -> usize {
        let clients = |desk: usize| self.desks[desk].clients.load(Ordering::Relaxed);
        let least = (0..self.desks.len()).min_by_key(|desk| clients(*desk)).unwrap_or(own);
        if clients(least) < clients(own) { least } else { own }
    }
}

/// Counts a client off when dropped.
struct Leaves {
    house: Arc<House>,
    desk: usize,
}

impl Drop for Leaves {
    fn drop(&mut self) {
        self.house.desks[self.desk].clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection on the thread that watches it.
struct Visitor {
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
}

impl Visitor {
    fn unsettle(self) -> io::Result<HandedOver> {
        Ok(HandedOver {
            stream: self.stream.into_std()?,
            peer: self.peer,
            place: self.place,
        })
    }
}

/// A connection between threads.
struct HandedOver {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
}

impl HandedOver {
    fn settle(self) -> io::Result<Visitor> {
        Ok(Visitor {
            stream: TcpStream::from_std(self.stream)?,
            peer: self.peer,
            place: self.place,
        })
    }
}
