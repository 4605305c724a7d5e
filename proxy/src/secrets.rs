//! Files that hold a secret: read with a bound, checked for who else can read them, wiped from memory afterwards.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// No secret of ours is longer; a larger file is the wrong file.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{}: {source}; the file must exist and be readable for the user that runs postern", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read or change it.
    #[error("{}: mode {mode:04o} lets others read or change it; run: chmod 600 {}", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Empty, too long or not UTF-8.
    #[error("{}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
}

/// Reads a secret text; one trailing line end is not part of it. The group may read the file (0640), others may not.
pub fn read(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let io = |source| SecretError::Io {
        path: path.to_owned(),
        source,
    };
    let content = |problem| SecretError::Content {
        path: path.to_owned(),
        problem,
    };
    let mut file = std::fs::File::open(path).map_err(io)?;
    let about = file.metadata().map_err(io)?;
    if !about.is_file() {
        return Err(content("it is not a regular file"));
    }
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o037 != 0 {
        return Err(SecretError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    if about.len() > MAX_SECRET_BYTES {
        return Err(content("it is larger than 64 KiB; expected a short secret"));
    }
    // Room for all of it from the start, so that growing leaves no copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES as usize + 1));
    file.by_ref().take(MAX_SECRET_BYTES).read_to_end(&mut bytes).map_err(io)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| content("it is not UTF-8 text"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() || text.contains('\0') {
        return Err(content("it is empty or holds a zero byte; write the secret into it"));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, bytes: &[u8], mode: u32) -> PathBuf {
        let path = std::env::temp_dir().join(format!("postern-secret-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_secret_loses_its_line_end_only() {
        for (bytes, secret) in [
            (&b"s3cret\n"[..], "s3cret"),
            (b"s3cret\r\n", "s3cret"),
            (b" s3 cret ", " s3 cret "),
            (b"a\n\n", "a\n"),
        ] {
            let path = written("ok", bytes, 0o600);
            assert_eq!(read(&path).unwrap().as_str(), secret);
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn what_others_can_read_is_no_secret() {
        for mode in [0o644, 0o604, 0o660, 0o666] {
            let path = written("open", b"x", mode);
            assert!(matches!(read(&path), Err(SecretError::Mode { .. })), "{mode:o}");
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn wrong_files_are_named() {
        for bytes in [&b""[..], b"\n", b"a\0b", b"\xff\xfe", &[b'x'; 70_000]] {
            let path = written("bad", bytes, 0o600);
            let said = read(&path).unwrap_err().to_string();
            assert!(said.contains("postern-secret"), "{said}");
            std::fs::remove_file(path).unwrap();
        }
        assert!(matches!(read(Path::new("/nonexistent/x")), Err(SecretError::Io { .. })));
    }
}
