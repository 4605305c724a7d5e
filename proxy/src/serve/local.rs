//! The Unix socket that clients of this machine connect through: `DIR/.s.PGSQL.PORT`, as PostgreSQL names its own.
//!
//! Promised: a socket that somebody answers on is not taken over; one that a killed process left behind is; ours is removed at the end.
//! Its mode is 0777, PostgreSQL's default: who may connect is decided by the password, and by the directory's mode. No lock file is kept.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

/// The socket's file; dropping it removes the file, if it is still the one that was made.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Where clients look for the socket.
pub(super) fn path(directory: &Path, port: u16) -> PathBuf {
    directory.join(format!(".s.PGSQL.{port}"))
}

/// Listens there. Must run inside a runtime.
pub(super) async fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    make_way(path).await?;
    let listener = UnixListener::bind(path)?;
    let made = fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: (made.dev(), made.ino()),
    };
    fs::set_permissions(path, Permissions::from_mode(0o777))?;
    listener.set_nonblocking(true)?;
    Ok((listener, file))
}

/// Removes what a killed process left behind; nothing else.
async fn make_way(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Whoever is too busy to answer is there as well.
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) => Err(error),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.inode);
        if ours {
            // A file that cannot be removed is found stale at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("postern-local-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn it_is_for_everybody_and_gone_at_the_end() {
        let directory = Directory::new("mode");
        let path = path(&directory.0, 7432);
        assert!(path.ends_with(".s.PGSQL.7432"));
        let (listener, file) = listen(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
        UnixStream::connect(&path).await.unwrap();
        drop((listener, file));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = Directory::new("stale");
        let path = path(&directory.0, 7432);
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "the file outlives its listener");
        let (_listener, _file) = listen(&path).await.unwrap();
        let error = listen(&path).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn other_files_are_left_alone() {
        let directory = Directory::new("other");
        let path = path(&directory.0, 7432);
        fs::write(&path, "precious").unwrap();
        assert!(listen(&path).await.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();

        // Somebody else's by now.
        let (_listener, file) = listen(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(file);
        assert!(path.exists());
        assert!(listen(&directory.0.join("missing/.s.PGSQL.1")).await.is_err());
    }
}
