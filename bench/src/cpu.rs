//! CPU time, as the kernel accounts for it (proc(5)).
//!
//! A process's threads are summed from `/proc/PID/task/*/schedstat`, which counts nanoseconds. A thread that ended in between took its
//! count with it; then the process's own `utime + stime` serves, which keeps it and counts in hundredths of a second.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use crate::error::BenchError;

/// The kernel shows user space hundredths of a second (`USER_HZ`) on every architecture that PostgreSQL runs on.
const TICK: Duration = Duration::from_millis(10);
/// Fields of `/proc/PID/stat`; after each time of user code stands that of the kernel.
const PPID: usize = 4;
const UTIME: usize = 14;
const CUTIME: usize = 16;

/// What a process had used at one moment.
#[derive(Debug, Clone, Default)]
pub struct Used {
    threads: BTreeMap<u32, u64>,
    ticks: u64,
}

impl Used {
    /// By this process.
    pub fn by(pid: u32) -> Result<Self, BenchError> {
        let stat = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&stat).map_err(BenchError::io("read", &stat))?;
        let ticks = ticks(&text).ok_or(BenchError::Unreadable { what: stat })?;
        let tasks = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&tasks).map_err(BenchError::io("read", &tasks))? {
            // A thread may end while the directory is read.
            let Ok(entry) = entry else { continue };
            let Some(tid) = entry.file_name().to_str().and_then(|t| t.parse().ok()) else {
                continue;
            };
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else {
                continue;
            };
            if let Some(ran) = text.split_whitespace().next().and_then(|n| n.parse().ok()) {
                threads.insert(tid, ran);
            }
        }
        Ok(Self { threads, ticks })
    }

    /// How much more than at an earlier moment.
    pub fn since(&self, earlier: &Self) -> Duration {
        let all_live = earlier.threads.keys().all(|tid| self.threads.contains_key(tid));
        if !all_live || self.threads.is_empty() {
            return TICK * u32::try_from(self.ticks.saturating_sub(earlier.ticks)).unwrap_or(u32::MAX);
        }
        let more = |(tid, ran): (&u32, &u64)| ran.saturating_sub(earlier.threads.get(tid).copied().unwrap_or(0));
        Duration::from_nanos(self.threads.iter().map(more).sum())
    }
}

/// PostgreSQL at one moment: its first process, the children that live, and what those that have ended used.
#[derive(Debug, Clone, Default)]
pub struct UsedByServer {
    living: BTreeMap<u32, Used>,
    ended: u64,
}

impl UsedByServer {
    /// By the server whose first process this is.
    pub fn by(postmaster: u32) -> Result<Self, BenchError> {
        let stat = format!("/proc/{postmaster}/stat");
        let text = fs::read_to_string(&stat).map_err(BenchError::io("read", &stat))?;
        let ended = field(&text, CUTIME)
            .zip(field(&text, CUTIME + 1))
            .map(|(user, system)| user + system)
            .ok_or(BenchError::Unreadable { what: stat })?;
        let mut pids = children(postmaster)?;
        pids.push(postmaster);
        let living = pids.into_iter().filter_map(|pid| Some((pid, Used::by(pid).ok()?))).collect();
        Ok(Self { living, ended })
    }

    /// How much more than at an earlier moment. Who has come since counts whole; who has gone since is among the ended, in hundredths
    /// of a second.
    pub fn since(&self, earlier: &Self) -> Duration {
        let nothing = Used::default();
        let living: Duration = self
            .living
            .iter()
            .map(|(pid, used)| match earlier.living.get(pid) {
                Some(before) => used.since(before),
                None => used.since(&nothing),
            })
            .sum();
        let gone = earlier.living.iter().filter(|(pid, _)| !self.living.contains_key(pid));
        let before: Duration = gone.map(|(_, used)| used.since(&nothing)).sum();
        let ended = TICK * u32::try_from(self.ended.saturating_sub(earlier.ended)).unwrap_or(u32::MAX);
        living + ended.saturating_sub(before)
    }
}

/// Processes whose parent this is.
fn children(parent: u32) -> Result<Vec<u32>, BenchError> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(BenchError::io("read", "/proc"))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        // A process may end while the directory is read.
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if field(&text, PPID) == Some(u64::from(parent)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Memory of a process that no file backs, in bytes (`RssAnon`; shared libraries and page cache are not a client's cost).
pub fn memory(pid: u32) -> Result<u64, BenchError> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).map_err(BenchError::io("read", &file))?;
    text.lines()
        .find_map(|l| l.strip_prefix("RssAnon:"))
        .and_then(|v| v.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .map(|kib| kib * 1024)
        .ok_or(BenchError::Unreadable { what: file })
}

/// By this process and by children of its that have ended, which pgbench's runs are.
pub fn own() -> Result<Duration, BenchError> {
    let file = "/proc/self/stat";
    let text = fs::read_to_string(file).map_err(BenchError::io("read", file))?;
    let unreadable = || BenchError::Unreadable { what: file.to_owned() };
    let fields = [UTIME, UTIME + 1, CUTIME, CUTIME + 1].map(|n| field(&text, n));
    let ticks: u64 = fields.into_iter().sum::<Option<u64>>().ok_or_else(unreadable)?;
    Ok(Duration::from_millis(ticks.saturating_mul(10)))
}

/// What all processors together have been busy with since the machine started.
pub fn busy() -> Result<Duration, BenchError> {
    let file = "/proc/stat";
    let text = fs::read_to_string(file).map_err(BenchError::io("read", file))?;
    let ticks = busy_ticks(&text).ok_or_else(|| BenchError::Unreadable { what: file.to_owned() })?;
    Ok(Duration::from_millis(ticks.saturating_mul(10)))
}

/// `utime + stime`. The second field, the program's name, may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    Some(field(stat, UTIME)? + field(stat, UTIME + 1)?)
}

/// A field by its number in proc(5), from the third on.
fn field(stat: &str, number: usize) -> Option<u64> {
    let after = stat.rsplit_once(')')?.1;
    after.split_whitespace().nth(number - 3)?.parse().ok()
}

/// `cpu user nice system idle iowait irq softirq steal guest guest_nice`: all but idle and iowait, and guest, which user holds already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|l| l.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let count = |at: usize| fields.get(at).copied();
    Some(count(0)? + count(1)? + count(2)? + count(5)? + count(6)? + count(7)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_program_name_does_not_shift_fields() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 1 0 100 0 0";
        assert_eq!(ticks(stat), Some(12));
        assert_eq!(ticks("42 nothing"), None);
    }

    #[test]
    fn idle_and_guest_are_not_busy() {
        assert_eq!(busy_ticks("cpu  1 2 4 1000 1000 8 16 32 5000 5000\ncpu0 9 9 9"), Some(63));
        assert_eq!(busy_ticks("intr 1"), None);
    }

    fn used(threads: &[(u32, u64)], ticks: u64) -> Used {
        Used {
            threads: threads.iter().copied().collect(),
            ticks,
        }
    }

    #[test]
    fn new_threads_count_whole_and_ended_ones_turn_to_the_process() {
        let before = used(&[(1, 1_000), (2, 500)], 10);
        let grown = used(&[(1, 1_500), (2, 500), (3, 250)], 10);
        assert_eq!(grown.since(&before), Duration::from_nanos(750));
        let ended = used(&[(1, 9_000)], 13);
        assert_eq!(ended.since(&before), Duration::from_millis(30));
    }

    #[test]
    fn work_is_seen() {
        let own = std::process::id();
        let before = Used::by(own).unwrap();
        let mut sum = 0_u64;
        for n in 0..20_000_000_u64 {
            sum = sum.wrapping_mul(31).wrapping_add(std::hint::black_box(n));
        }
        std::hint::black_box(sum);
        // The kernel brings the count of a running thread up to date when it leaves the processor.
        std::thread::sleep(Duration::from_millis(20));
        assert!(Used::by(own).unwrap().since(&before) > Duration::ZERO);
        assert!(Used::by(u32::MAX).is_err());
    }
}
