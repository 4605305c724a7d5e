//! Where one message ends and the next begins; nothing about what is in it.
//!
//! Promised: a length word below 4, negative or over the limit is an error before a byte is reserved for it; a frame that is not yet
//! complete is no error. Bodies are never looked at here.

/// Type byte and length word.
pub const HEADER: usize = 5;

/// A message from PostgreSQL can have no more (its own limit is 1 GiB on a length word).
pub const MAX_UPSTREAM_FRAME: usize = 1 << 30;

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The type byte.
    pub kind: u8,
    /// Bytes of the whole frame, head included.
    pub total: usize,
}

/// A length word that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message declares {declared} bytes where 4 to {limit} are possible")]
pub struct FrameError {
    /// What the length word said.
    pub declared: i32,
    /// The limit.
    pub limit: usize,
}

/// The head of the first frame in `buffer`, once its five bytes are there. `limit` counts what the length word counts: itself and the
/// body.
pub fn head(buffer: &[u8], limit: usize) -> Result<Option<Head>, FrameError> {
    let Some((head, _)) = buffer.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [kind, a, b, c, d] = *head;
    // Signed on purpose: a negative length must not become a large one.
    let declared = i32::from_be_bytes([a, b, c, d]);
    let wrong = FrameError { declared, limit };
    let length = usize::try_from(declared).map_err(|_| wrong)?;
    if !(4..=limit).contains(&length) {
        return Err(wrong);
    }
    Ok(Some(Head { kind, total: length + 1 }))
}

/// The first frame in `buffer`, if it is complete: its type and its body.
pub fn first(buffer: &[u8], limit: usize) -> Result<Option<(Head, &[u8])>, FrameError> {
    let Some(head) = head(buffer, limit)? else { return Ok(None) };
    Ok(buffer.get(HEADER..head.total).map(|body| (head, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(kind: u8, length: i32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_whole_frame_is_found_and_what_follows_is_left() {
        let mut bytes = framed(b'Q', 8, b"abcd");
        bytes.extend_from_slice(b"next");
        let (head, body) = first(&bytes, 100).unwrap().unwrap();
        assert_eq!(head, Head { kind: b'Q', total: 9 });
        assert_eq!(body, b"abcd");
    }

    #[test]
    fn a_frame_that_is_not_there_yet_is_no_error() {
        let bytes = framed(b'Q', 8, b"abcd");
        for cut in 0..bytes.len() {
            assert_eq!(first(&bytes[..cut], 100).unwrap(), None, "{cut}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_errors_as_soon_as_they_are_read() {
        for length in [3, 0, -1, i32::MIN, 101, i32::MAX] {
            assert_eq!(
                head(&framed(b'Q', length, b""), 100),
                Err(FrameError {
                    declared: length,
                    limit: 100
                })
            );
        }
        assert!(head(&framed(b'S', 4, b""), 100).is_ok());
        assert!(head(&framed(b'S', 100, b""), 100).is_ok());
    }
}
