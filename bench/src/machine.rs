//! What the numbers were taken on, and whose name servers run under.

use std::fs;
use std::os::unix::fs::MetadataExt;

/// A user of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Where we are root: the user that servers which refuse root run as. `postgres` where it exists, else `nobody`.
pub fn account_for_servers() -> Option<Account> {
    // `/proc/self` belongs to the effective user; the standard library has no geteuid.
    if fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    ["postgres", "nobody"].into_iter().find_map(|name| account(&passwd, name))
}

fn account(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.first() == Some(&name)).then_some(())?;
        Some(Account {
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
        })
    })
}

/// Processors that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Processor, memory and kernel in one line.
pub fn describe() -> String {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|m| m.trim_end_matches(" kB").parse::<f64>().ok())
        .map_or_else(|| "?".to_owned(), |kib| format!("{:.1}", kib / 1_048_576.0));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} × {model}, {memory} GiB of memory, Linux {}", cores(), kernel.trim())
}

fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_fields_are_found() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        assert_eq!(account(passwd, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(account(passwd, "post"), None);
        assert_eq!(
            field("a\t: 1\nmodel name\t: Some CPU\n", "model name"),
            Some("Some CPU".to_owned())
        );
    }
}
