//! Where the demonstration lives: its directory, who owns what in it, and the lock that keeps two apart.
//!
//! ```text
//! DIR/config/      postern.toml, modules/, secrets/, people.json   owner: us, 0700 (the database's user cannot read it)
//! DIR/pgdata/      the cluster                                     owner: the database's user, 0700
//! DIR/tablespaces/ one directory per module                        owner: the database's user, 0700
//! DIR/run/         unix socket                                     owner: the database's user
//! DIR/postgres.log, DIR/postern.log, DIR/demo.json, DIR/lock
//! ```

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::DemoError;

/// A user of this machine, other than the one we run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The directory, locked for as long as this lives.
pub struct Place {
    /// DIR, absolute.
    pub dir: PathBuf,
    /// Who runs PostgreSQL; `None` where that is ourselves.
    pub account: Option<Account>,
    _lock: File,
}

/// Our effective user id.
pub fn effective_uid() -> u32 {
    // `/proc/self` belongs to the effective user; the standard library has no geteuid.
    fs::metadata("/proc/self").map_or(u32::MAX, |m| m.uid())
}

/// Where the demonstration goes if nobody says otherwise: a place that any user of the machine can reach, wherever the clone lies.
pub fn default_dir() -> PathBuf {
    match effective_uid() {
        0 => PathBuf::from("/var/tmp/postern-demo"),
        uid => PathBuf::from(format!("/var/tmp/postern-demo-{uid}")),
    }
}

impl Place {
    /// Makes or reopens DIR and locks it.
    pub fn open(asked: &Path) -> Result<Self, DemoError> {
        let uid = effective_uid();
        let account = if uid == 0 { Some(other_account()?) } else { None };
        let dir = std::path::absolute(asked).map_err(DemoError::io("resolve", asked))?;
        fs::create_dir_all(&dir).map_err(DemoError::io("create", &dir))?;
        let dir = dir.canonicalize().map_err(DemoError::io("resolve", &dir))?;
        let meta = fs::metadata(&dir).map_err(DemoError::io("read", &dir))?;
        if meta.uid() != uid {
            return Err(DemoError::ForeignDirectory { dir, owner: meta.uid() });
        }
        let lock_path = dir.join("lock");
        if !lock_path.exists() && fs::read_dir(&dir).map_err(DemoError::io("read", &dir))?.next().is_some() {
            return Err(DemoError::NotOurs(dir));
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(DemoError::io("open", &lock_path))?;
        // The kernel drops the lock with the process, so a killed demonstration leaves nothing stale behind.
        lock.try_lock().map_err(|_| DemoError::Locked(dir.clone()))?;
        if let Some(account) = &account {
            set_mode(&dir, 0o755)?;
            reachable(&dir, account)?;
        } else {
            set_mode(&dir, 0o700)?;
        }
        Ok(Self {
            dir,
            account,
            _lock: lock,
        })
    }

    /// A path in DIR.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes a directory that only we can enter.
    pub fn own_dir(&self, name: &str) -> Result<PathBuf, DemoError> {
        let path = self.path(name);
        fs::create_dir_all(&path).map_err(DemoError::io("create", &path))?;
        set_mode(&path, 0o700)?;
        Ok(path)
    }

    /// Makes a directory that the database's user owns.
    pub fn database_dir(&self, name: &str) -> Result<PathBuf, DemoError> {
        let path = self.path(name);
        fs::create_dir_all(&path).map_err(DemoError::io("create", &path))?;
        set_mode(&path, 0o700)?;
        self.give(&path)?;
        Ok(path)
    }

    /// Gives a path to the database's user.
    pub fn give(&self, path: &Path) -> Result<(), DemoError> {
        match &self.account {
            Some(a) => chown(path, Some(a.uid), Some(a.gid)).map_err(DemoError::io("give away", path)),
            None => Ok(()),
        }
    }

    /// A command that runs as the database's user, in DIR, apart from our terminal's signals.
    pub fn command(&self, program: &Path) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(program);
        if let Some(a) = &self.account {
            command.uid(a.uid).gid(a.gid);
        }
        self.settle(&mut command);
        command.process_group(0);
        command
    }

    /// Like [`Place::command`], and the kernel interrupts the program should we be killed. Where `setpriv` (util-linux) is missing
    /// this is a plain [`Place::command`].
    pub fn tethered_command(&self, program: &Path) -> Command {
        use std::os::unix::process::CommandExt;
        let Some(setpriv) = ["/usr/bin/setpriv", "/bin/setpriv"]
            .into_iter()
            .find(|p| Path::new(p).is_file())
        else {
            return self.command(program);
        };
        let mut command = Command::new(setpriv);
        if let Some(a) = &self.account {
            command
                .arg(format!("--reuid={}", a.uid))
                .arg(format!("--regid={}", a.gid))
                .arg("--clear-groups");
        }
        command.arg("--pdeathsig=INT").arg("--").arg(program);
        self.settle(&mut command);
        command.process_group(0);
        command
    }

    /// A PG* variable of the caller's must not decide what the demonstration's own programs do.
    fn settle(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|n| n.starts_with("PG") || n.starts_with("LC_") || n == "LANG")
            {
                command.env_remove(name);
            }
        }
        command
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&self.dir)
            .stdin(std::process::Stdio::null());
    }
}

/// Writes a file whole or not at all, with this mode.
pub fn write_file(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), DemoError> {
    use std::io::Write;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&fresh)
        .map_err(DemoError::io("create", &fresh))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(DemoError::io("write", &fresh))?;
    fs::rename(&fresh, path).map_err(DemoError::io("write", path))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), DemoError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(DemoError::io("set permissions of", path))
}

fn other_account() -> Result<Account, DemoError> {
    let passwd = fs::read_to_string("/etc/passwd").map_err(DemoError::io("read", "/etc/passwd"))?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| account_of(&passwd, name))
        .ok_or(DemoError::NoAccount)
}

fn account_of(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (found == name && uid != 0).then(|| Account {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

/// Every directory on the way must let the account pass.
fn reachable(dir: &Path, account: &Account) -> Result<(), DemoError> {
    for ancestor in dir.ancestors() {
        let meta = fs::metadata(ancestor).map_err(DemoError::io("read", ancestor))?;
        let mode = meta.mode();
        let passes = if meta.uid() == account.uid {
            mode & 0o100 != 0
        } else if meta.gid() == account.gid {
            mode & 0o010 != 0
        } else {
            mode & 0o001 != 0
        };
        if !passes {
            return Err(DemoError::Unreachable {
                dir: dir.to_owned(),
                ancestor: ancestor.to_owned(),
                account: account.name.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_and_root_is_never_one() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104::/:/bin/sh\nnobody:x:0:0::/:/bin/sh\n";
        assert_eq!(
            account_of(passwd, "postgres"),
            Some(Account {
                name: "postgres".to_owned(),
                uid: 101,
                gid: 104
            })
        );
        assert_eq!(account_of(passwd, "nobody"), None);
        assert_eq!(account_of(passwd, "absent"), None);
    }

    #[test]
    fn a_second_demo_in_the_same_directory_is_told_so() {
        let dir = std::env::temp_dir().join(format!("postern-place-{}", std::process::id()));
        let first = Place::open(&dir).expect("a fresh directory can be had");
        assert!(matches!(Place::open(&dir), Err(DemoError::Locked(_))));
        drop(first);
        assert!(Place::open(&dir).is_ok());
        fs::remove_dir_all(&dir).expect("ours to remove");
    }

    #[test]
    fn a_strangers_directory_is_left_alone() {
        let dir = std::env::temp_dir().join(format!("postern-stranger-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("writable");
        fs::write(dir.join("letter"), "dear").expect("writable");
        assert!(matches!(Place::open(&dir), Err(DemoError::NotOurs(_))));
        fs::remove_dir_all(&dir).expect("ours to remove");
    }
}
