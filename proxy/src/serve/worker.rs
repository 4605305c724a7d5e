//! The threads that serve clients: each a single-threaded runtime with a listener of its own, on which a client stays for life.
//!
//! Promised: what a client's statement needs runs on one thread, without a hand-over between threads; a connection goes to the thread with
//! the fewest clients; at shutdown no new client is taken, those inside have [`GRACE`] to finish, and the thread ends.
//!
//! Where a Unix socket is listened on as well, the first thread takes what comes there.
//!
//! Bounds: `max_clients` and [`HALLWAY`] connections at once, whether they have logged in or not; each that has not is over at the login
//! time-out and has the memory that `wire::login` says. Further ones wait in the kernel's queue ([`BACKLOG`] for each thread).
//!
//! The kernel spreads new connections over the listeners (SO_REUSEPORT) by a hash, so that with few clients one thread may get them all. A
//! thread that has more clients than another therefore hands a new connection over to that one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::{Barrier, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::door::Visit;
use super::{GRACE, STACK, ServeError};
use crate::shared::Shared;
use crate::wire::login::Door;
use crate::wire::{Peer, Stream};

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
    /// Where the threads wait for each other at the end: connections to PostgreSQL may be watched by another thread than uses them.
    end: Barrier,
}

/// Shorter than the deadlines that each connection sets.
const PULSE: Duration = Duration::from_millis(500);

/// What a thread listens on.
struct Listeners {
    tcp: TcpListener,
    local: Option<UnixListener>,
}

/// Where a thread is told of connections that others accepted.
struct Desk {
    clients: AtomicUsize,
    handed_over: mpsc::Sender<Visitor>,
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
    /// Starts one thread for each listener; `local` goes to the first. They accept until `closing` says so.
    pub(super) fn start(
        listeners: Vec<std::net::TcpListener>,
        mut local: Option<std::os::unix::net::UnixListener>,
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
            end: Barrier::new(desks.len()),
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
            let local = local.take();
            let (ended, end) = oneshot::channel();
            thread::Builder::new()
                .name(format!("postern-{number}"))
                .stack_size(STACK)
                .spawn(move || {
                    runtime.block_on(worker.serve(listener, local));
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
    inbox: mpsc::Receiver<Visitor>,
    closing: watch::Receiver<bool>,
}

impl Worker {
    async fn serve(mut self, tcp: std::net::TcpListener, local: Option<std::os::unix::net::UnixListener>) {
        // Ends with the thread's runtime.
        tokio::spawn(pulse());
        let mut clients = JoinSet::new();
        let mut closing = self.closing.clone();
        match Listeners::new(tcp, local) {
            Ok(listeners) => {
                tokio::select! {
                    // Where the sender is gone there is nobody left to serve for.
                    _ = closing.wait_for(|closes| *closes) => {}
                    // Cancel-safe: a connection that was accepted has its own task.
                    () = self.accept(&listeners, &mut clients) => {}
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
        // A thread that died does not come; nobody else's grace is longer than ours.
        let _ = timeout(GRACE, self.house.end.wait()).await;
    }

    async fn accept(&mut self, listeners: &Listeners, clients: &mut JoinSet<()>) {
        loop {
            // All are cancel-safe.
            let accepted = tokio::select! {
                accepted = listeners.accept(&self.house.places) => accepted,
                handed = self.inbox.recv() => match handed {
                    Some(mut visitor) => {
                        match visitor.stream.rehome() {
                            Ok(stream) => {
                                visitor.stream = stream;
                                self.admit(visitor, clients);
                            }
                            Err(error) => self.lost(self.number, &error),
                        }
                        continue;
                    }
                    None => return,
                },
                // Frees what an ended session leaves.
                Some(_) = clients.join_next() => continue,
            };
            match accepted {
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
        let full = |_| io::Error::other("too many connections are on their way to that thread");
        self.house.desks[desk].handed_over.try_send(visitor).map_err(full)
    }

    fn lost(&self, desk: usize, error: &io::Error) {
        self.house.desks[desk].clients.fetch_sub(1, Ordering::Relaxed);
        tracing::error!(%error, "a connection is closed, because it could not be taken to its thread");
    }

    fn admit(&self, visitor: Visitor, clients: &mut JoinSet<()>) {
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

/// A deadline that falls before all others makes tokio wake the thread that set it, by a system call and a turn of its loop for nothing.
/// With this one always due sooner, the deadlines of logins and endings cost neither.
async fn pulse() {
    loop {
        tokio::time::sleep(PULSE).await;
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

impl Listeners {
    fn new(tcp: std::net::TcpListener, local: Option<std::os::unix::net::UnixListener>) -> io::Result<Self> {
        Ok(Self {
            tcp: TcpListener::from_std(tcp)?,
            local: local.map(UnixListener::from_std).transpose()?,
        })
    }

    /// The next connection. Cancel-safe.
    async fn accept(&self, places: &Arc<Semaphore>) -> io::Result<Visitor> {
        // A place before accepting: beyond the bound, connections wait in the kernel's own bounded queue.
        let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
        let local = async {
            match &self.local {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        let (stream, peer) = tokio::select! {
            accepted = self.tcp.accept() => {
                let (stream, peer) = accepted?;
                // Replies leave as whole writes; waiting to fill a packet only adds latency.
                let _ = stream.set_nodelay(true);
                (Stream::Plain(stream), Peer::Remote(peer))
            }
            accepted = local => (Stream::Unix(accepted?.0), Peer::Local),
        };
        Ok(Visitor { stream, peer, place })
    }
}

/// A connection, and the place that it takes.
struct Visitor {
    stream: Stream,
    peer: Peer,
    place: OwnedSemaphorePermit,
}
