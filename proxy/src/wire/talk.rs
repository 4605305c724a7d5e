//! Frames in lock step, for the part of a connection's life before anything is relayed: one asks, one answers, and every length is
//! small. Once both sides are through, [`Talk::into_parts`] hands the stream and the bytes behind the last message on.
//!
//! Memory: `FIRST_READ` bytes from the start, because most logins' messages fit in them and are then read with one system call each;
//! later at most twice the caller's bound, whatever the peer sends behind the message that is awaited.
//!
//! Reads are cancel-safe (bytes stay in the buffer); writes are not, and no caller selects over them.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Room for a first read, and for every read where less is wanted.
const FIRST_READ: usize = 512;

/// What can go wrong between frames.
#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    /// The peer closed the connection.
    #[error("the peer closed the connection")]
    Closed,
    /// A length word below 4, negative or over the bound.
    #[error("a message's length is not valid here")]
    Length,
    /// The operating system said no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A stream and what was read from it ahead of need.
pub struct Talk<S> {
    stream: S,
    buffer: BytesMut,
    largest: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    /// Frames of at most `largest` bytes (the length word counted).
    pub fn new(stream: S, largest: usize) -> Self {
        Self {
            stream,
            buffer: BytesMut::with_capacity(FIRST_READ),
            largest,
        }
    }

    /// Whether the peer sent more than was taken.
    pub fn has_leftover(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The stream.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The stream and the bytes behind the last message; where there are none, no memory is kept for them.
    pub fn into_parts(self) -> (S, BytesMut) {
        let leftover = if self.buffer.is_empty() {
            BytesMut::new()
        } else {
            self.buffer
        };
        (self.stream, leftover)
    }

    /// The first byte of what comes next, which stays there to be taken. Cancel-safe.
    pub async fn peek(&mut self) -> Result<u8, TalkError> {
        self.fill(1).await?;
        Ok(self.buffer[0])
    }

    /// Takes exactly `count` bytes. Cancel-safe. The caller has bounded `count`.
    pub async fn take(&mut self, count: usize) -> Result<Bytes, TalkError> {
        self.fill(count).await?;
        Ok(self.buffer.split_to(count).freeze())
    }

    /// Takes one message: its type byte and its body. Cancel-safe.
    pub async fn frame(&mut self) -> Result<(u8, Bytes), TalkError> {
        self.fill(5).await?;
        let (kind, word) = (
            self.buffer[0],
            [self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]],
        );
        // Signed on purpose: a negative length must not become a large one.
        let length = usize::try_from(i32::from_be_bytes(word)).map_err(|_| TalkError::Length)?;
        if !(4..=self.largest).contains(&length) {
            return Err(TalkError::Length);
        }
        self.fill(1 + length).await?;
        let mut whole = self.buffer.split_to(1 + length).freeze();
        whole.advance(5);
        Ok((kind, whole))
    }

    /// Writes and flushes. Not cancel-safe.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), TalkError> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn fill(&mut self, count: usize) -> Result<(), TalkError> {
        while self.buffer.len() < count {
            // Room for all that is missing at once: otherwise a read per 64 bytes.
            self.buffer.reserve((count - self.buffer.len()).max(FIRST_READ / 4));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(TalkError::Closed);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &'static [u8]) -> Result<(u8, Bytes), TalkError> {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let writer = tokio::spawn(async move {
            let _ = theirs.write_all(bytes).await;
        });
        let got = Talk::new(ours, 16).frame().await;
        writer.await.unwrap();
        got
    }

    #[tokio::test]
    async fn frames_are_bounded_in_both_directions() {
        assert_eq!(read(b"p\0\0\0\x06ab").await.unwrap(), (b'p', Bytes::from_static(b"ab")));
        assert_eq!(read(b"S\0\0\0\x04").await.unwrap().0, b'S');
        for bad in [
            &b"p\0\0\0\x03"[..],
            b"p\0\0\0\0",
            b"p\xff\xff\xff\xff",
            b"p\x80\0\0\0",
            b"p\0\0\0\x11",
            b"p\x7f\xff\xff\xff",
        ] {
            assert!(matches!(read(bad).await, Err(TalkError::Length)), "{bad:?}");
        }
        for cut in [&b""[..], b"p", b"p\0\0\0", b"p\0\0\0\x06a"] {
            assert!(matches!(read(cut).await, Err(TalkError::Closed)), "{cut:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_sends_ahead_fills_no_memory() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(&[b'x'; 1 << 20]).await.unwrap();
        let mut talk = Talk::new(ours, 10_000);
        assert_eq!(talk.peek().await.unwrap(), b'x');
        assert!(talk.buffer.capacity() <= FIRST_READ);
        for _ in 0..50 {
            assert_eq!(talk.take(10_000).await.unwrap().len(), 10_000);
            assert!(talk.buffer.capacity() <= 20_000, "{}", talk.buffer.capacity());
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_for_bytes_that_did_not_come() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        theirs.write_all(b"S\0\0\0\x04").await.unwrap();
        let mut talk = Talk::new(ours, 16);
        talk.frame().await.unwrap();
        assert_eq!(talk.into_parts().1.capacity(), 0);
    }
}
