//! Finds an installed PostgreSQL server. Nothing is downloaded and no running server of the machine is touched.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::DemoError;

/// The programs of one installed PostgreSQL.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// Their directory.
    pub dir: PathBuf,
    /// Major version.
    pub major: u32,
}

const NEEDED: [&str; 3] = ["initdb", "pg_ctl", "postgres"];
const OLDEST: u32 = 15;

impl Binaries {
    /// The directory asked for, else the newest of Debian's places, else what `pg_config` or PATH name.
    pub fn find(asked: Option<&Path>) -> Result<Self, DemoError> {
        if let Some(dir) = asked {
            return Self::at(dir);
        }
        let mut looked = Vec::new();
        let mut found: Vec<Self> = Vec::new();
        for dir in candidates() {
            if looked.contains(&dir) {
                continue;
            }
            if let Ok(b) = Self::at(&dir) {
                found.push(b);
            }
            looked.push(dir);
        }
        // Of the same version the first: Debian's own place comes before PATH.
        found
            .into_iter()
            .rev()
            .max_by_key(|b| b.major)
            .ok_or(DemoError::NoPostgres { looked })
    }

    fn at(dir: &Path) -> Result<Self, DemoError> {
        for missing in NEEDED {
            if !dir.join(missing).is_file() {
                return Err(DemoError::NotPostgres {
                    dir: dir.to_owned(),
                    missing,
                });
            }
        }
        let major = version(dir)?;
        if major < OLDEST {
            return Err(DemoError::OldPostgres {
                bin: dir.to_owned(),
                found: major,
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
            major,
        })
    }

    /// The path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    if let Ok(entries) = std::fs::read_dir("/usr/lib/postgresql") {
        dirs.extend(
            entries
                .filter_map(Result::ok)
                .map(|e| e.path().join("bin"))
                .filter(|p| p.is_dir()),
        );
    }
    dirs.sort();
    if let Ok(out) = Command::new("pg_config").arg("--bindir").output()
        && out.status.success()
        && let Ok(text) = String::from_utf8(out.stdout)
    {
        dirs.push(PathBuf::from(text.trim()));
    }
    if let Some(path) = std::env::var_os("PATH") {
        dirs.extend(std::env::split_paths(&path).filter(|p| p.join("initdb").is_file()));
    }
    if dirs.is_empty() {
        dirs.push(PathBuf::from("/usr/lib/postgresql/*/bin"));
        dirs.push(PathBuf::from("the directories of PATH"));
    }
    dirs
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`; betas say `16beta1`.
fn version(dir: &Path) -> Result<u32, DemoError> {
    let out = Command::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .map_err(DemoError::io("run", dir.join("postgres")))?;
    let text = String::from_utf8(out.stdout).unwrap_or_default();
    major(&text).ok_or_else(|| DemoError::Program {
        program: "postgres --version",
        message: format!("its answer `{}` names no version", text.trim()),
    })
}

fn major(text: &str) -> Option<u32> {
    let number = text
        .split_whitespace()
        .find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major("nonsense"), None);
    }

    #[test]
    fn a_directory_without_programs_is_named() {
        let error = Binaries::find(Some(Path::new("/nonexistent"))).expect_err("nothing is there");
        assert!(error.to_string().contains("/nonexistent"), "{error}");
        assert!(error.remedy().contains("--pg-bin"));
    }
}
