//! The run's directory: secrets, keys, a certificate, and what else is written for servers to read.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::BenchError;
use crate::machine::{self, Account};

/// The directory. One that nobody named is removed at the end.
pub struct Place {
    /// Where.
    pub dir: PathBuf,
    /// Who runs servers that refuse root, where we are root.
    pub account: Option<Account>,
    passing: bool,
}

impl Place {
    /// Makes it, with a certificate and a token issuer.
    pub fn new(asked: Option<&Path>) -> Result<Self, BenchError> {
        let (dir, passing) = match asked {
            Some(dir) => (std::path::absolute(dir).map_err(BenchError::io("resolve", dir))?, false),
            // Where any user of the machine may pass: as root, the servers run as another one.
            None => (PathBuf::from(format!("/var/tmp/postern-bench-{}", std::process::id())), true),
        };
        let place = Self {
            dir,
            account: machine::account_for_servers(),
            passing,
        };
        for part in ["", "secrets", "keys"] {
            let path = place.path(part);
            fs::create_dir_all(&path).map_err(BenchError::io("create", &path))?;
        }
        place.issuer()?;
        place.certificate()?;
        Ok(place)
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A password that is made once and kept in `secrets/NAME`.
    pub fn secret(&self, name: &str) -> Result<String, BenchError> {
        let file = self.path("secrets").join(name);
        if let Ok(text) = fs::read_to_string(&file) {
            return Ok(text.trim_end().to_owned());
        }
        let mut bytes = [0_u8; 20];
        getrandom::fill(&mut bytes).map_err(|e| BenchError::Secret {
            what: "a password",
            message: e.to_string(),
        })?;
        let text: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        write(&file, text.as_bytes())?;
        Ok(text)
    }

    fn issuer(&self) -> Result<(), BenchError> {
        let (private, public) = (self.path("keys/issuer.key"), self.path("keys/issuer.pem"));
        if private.exists() && public.exists() {
            return Ok(());
        }
        let made = postern::identity::mint::generate_issuer().map_err(|e| BenchError::Secret {
            what: "the token issuer's key",
            message: e.to_string(),
        })?;
        write(&private, made.0.as_bytes())?;
        write(&public, made.1.as_bytes())
    }

    fn certificate(&self) -> Result<(), BenchError> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).map_err(|e| BenchError::Secret {
            what: "a certificate",
            message: e.to_string(),
        })?;
        write(&self.path("keys/server.crt"), made.cert.pem().as_bytes())?;
        write(&self.path("keys/server.key"), made.signing_key.serialize_pem().as_bytes())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.passing {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Writes a file that only we can read.
pub fn write(file: &Path, bytes: &[u8]) -> Result<(), BenchError> {
    fs::write(file, bytes).map_err(BenchError::io("write", file))?;
    fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(BenchError::io("protect", file))
}

/// A port of 127.0.0.1 that is free now.
pub fn free_port() -> Result<u16, BenchError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|l| l.local_addr())
        .map(|a| a.port())
        .map_err(BenchError::io("find a free port on", "127.0.0.1"))
}

/// A program on PATH, or where Debian keeps those of administrators.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
