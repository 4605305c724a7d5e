//! All servers of a run, each started when it is first needed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use crate::bouncer::{self, Bouncer};
use crate::client::Target;
use crate::cluster::{self, Cluster};
use crate::error::BenchError;
use crate::gate::{Gate, Gates, Guest, Kind};
use crate::peers::Peer;
use crate::pgbench::Pgbench;
use crate::place::Place;
use crate::rows::{Mode, Way};
use crate::stop::Stop;
use crate::tables;

/// The servers.
pub struct Stage<'p> {
    // Dropped in this order: whoever holds connections goes before the server does.
    gates: RefCell<BTreeMap<Kind, Gate>>,
    bouncers: RefCell<BTreeMap<Mode, Bouncer>>,
    peers: RefCell<BTreeMap<(Way, Mode), Option<Peer>>>,
    /// PostgreSQL.
    pub cluster: Cluster,
    /// Configurations and tokens.
    pub configurations: Gates<'p>,
    /// The load.
    pub pgbench: Pgbench,
    bouncer_binary: Option<PathBuf>,
    place: &'p Place,
    direct: Target,
    verifier: String,
    stop: Stop,
}

/// A way that is open now: where it begins, and the process in between.
#[derive(Debug, Clone)]
pub struct Open {
    /// Where.
    pub target: Target,
    /// What costs.
    pub proxy: Option<u32>,
}

impl<'p> Stage<'p> {
    /// Starts PostgreSQL and makes all rows.
    pub fn set(place: &'p Place, postern: &Path, stop: &Stop) -> Result<Self, BenchError> {
        let programs = cluster::programs()?;
        let cluster = Cluster::start(place, &programs, stop)?;
        let configurations = Gates::new(place, postern, cluster.port);
        let direct = tables::make(&cluster, &configurations, place, stop)?;
        Ok(Self {
            gates: RefCell::default(),
            bouncers: RefCell::default(),
            peers: RefCell::default(),
            pgbench: Pgbench::new(&programs, place, "pgbench")?,
            configurations,
            bouncer_binary: bouncer::find(),
            place,
            verifier: cluster.dba("postgres")?.scalar(&format!(
                "SELECT rolpassword FROM pg_authid WHERE rolname = '{}'",
                direct.user
            ))?,
            cluster,
            direct,
            stop: stop.clone(),
        })
    }

    /// Programs and versions, for the report.
    pub fn versions(&self) -> Vec<String> {
        let mut versions = vec![format!("PostgreSQL {}", self.cluster.version), self.pgbench.version()];
        versions.extend(self.bouncer_binary.as_deref().map(bouncer::version));
        versions
    }

    /// Opens a way; `None` where its program is not installed.
    pub fn open(&self, way: Way, mode: Mode) -> Result<Option<Open>, BenchError> {
        let tls = matches!(way, Way::BouncerTls | Way::FilteredTls);
        let with_tls = |target: &Target| Target { tls, ..target.clone() };
        match way {
            Way::Direct => Ok(Some(Open {
                target: self.direct.clone(),
                proxy: None,
            })),
            Way::Bouncer | Way::BouncerTls => {
                let Some(binary) = &self.bouncer_binary else { return Ok(None) };
                let mut bouncers = self.bouncers.borrow_mut();
                let b = match bouncers.entry(mode) {
                    Entry::Occupied(there) => there.into_mut(),
                    Entry::Vacant(room) => room.insert(self.bouncer(binary, mode)?),
                };
                Ok(Some(Open {
                    target: with_tls(&b.target),
                    proxy: Some(b.pid()),
                }))
            }
            Way::PgCat | Way::PgDog => {
                let mut peers = self.peers.borrow_mut();
                let peer = match peers.entry((way, mode)) {
                    Entry::Occupied(there) => there.into_mut(),
                    Entry::Vacant(room) => room.insert(Peer::start(way, self.place, &self.direct, mode, &self.stop)?),
                };
                Ok(peer.as_ref().map(|p| Open {
                    target: p.target.clone(),
                    proxy: Some(p.pid()),
                }))
            }
            Way::Plain | Way::Filtered | Way::FilteredTls | Way::Both | Way::Cache1 | Way::Cache4 | Way::Cache64 => {
                let kind = kind(way, mode);
                let mut gates = self.gates.borrow_mut();
                let gate = match gates.entry(kind) {
                    Entry::Occupied(there) => there.into_mut(),
                    Entry::Vacant(room) => {
                        let name = format!("gate-{}-{mode}-{}", kind.database, kind.cache);
                        room.insert(self.configurations.start(&name, kind, &self.stop)?)
                    }
                };
                Ok(Some(Open {
                    target: with_tls(&self.configurations.through(gate, guest(way))?),
                    proxy: Some(gate.pid()),
                }))
            }
        }
    }

    /// A proxy of its own, that nobody has used: memory once taken is not given back. `None` where there is none.
    pub fn fresh(&self, way: Way, mode: Mode) -> Result<Option<Fresh>, BenchError> {
        if way.guarded() {
            let gate = self.configurations.start("gate-fresh", kind(way, mode), &self.stop)?;
            let target = self.configurations.through(&gate, guest(way))?;
            return Ok(Some(Fresh::Gate(gate, target)));
        }
        let Some(binary) = self.bouncer_binary.as_ref().filter(|_| way == Way::Bouncer) else {
            return Ok(None);
        };
        Ok(Some(Fresh::Bouncer(self.bouncer(binary, mode)?)))
    }

    fn bouncer(&self, binary: &Path, mode: Mode) -> Result<Bouncer, BenchError> {
        Bouncer::start(binary, self.place, &self.direct, &self.verifier, mode, &self.stop)
    }

    /// The wish to stop.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }
}

/// A proxy for one slice.
pub enum Fresh {
    /// Postern, and the way through it.
    Gate(Gate, Target),
    /// PgBouncer.
    Bouncer(Bouncer),
}

impl Fresh {
    /// Where it is and who it is.
    pub fn open(&self) -> (Target, u32) {
        match self {
            Fresh::Gate(gate, target) => (target.clone(), gate.pid()),
            Fresh::Bouncer(bouncer) => (bouncer.target.clone(), bouncer.pid()),
        }
    }
}

/// Who asks. The plan cache's curve is about texts, not about filters.
fn guest(way: Way) -> Guest {
    if way.filtered() { Guest::User } else { Guest::Open }
}

fn kind(way: Way, mode: Mode) -> Kind {
    let cache = match way {
        Way::Cache1 => 1,
        Way::Cache4 => 4,
        _ => 64,
    };
    match way {
        Way::Both => Kind::both(mode),
        _ => Kind {
            cache,
            ..Kind::rewriting(mode)
        },
    }
}
