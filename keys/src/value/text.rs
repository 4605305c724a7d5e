//! `text` and `varchar(n)`.

use super::ValueError;

/// Checks encoding and length. As on assignment, spaces beyond the declared length are cut; anything else there is an error.
pub(super) fn accept(text: &str, max: Option<u32>) -> Result<Vec<u8>, ValueError> {
    if text.contains('\0') {
        return Err(ValueError::Encoding);
    }
    let kept = match max {
        None => text,
        Some(max) => match text.char_indices().nth(usize::try_from(max).unwrap_or(usize::MAX)) {
            None => text,
            Some((end, _)) if text[end..].bytes().all(|b| b == b' ') => &text[..end],
            Some(_) => return Err(ValueError::TooLong { max }),
        },
    };
    Ok(kept.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_in_characters() {
        assert_eq!(accept("äöü", Some(3)).unwrap(), "äöü".as_bytes());
        assert_eq!(accept("äöü  ", Some(3)).unwrap(), "äöü".as_bytes());
        assert_eq!(accept("äöü  ", None).unwrap(), "äöü  ".as_bytes());
        assert_eq!(accept("äöüx", Some(3)), Err(ValueError::TooLong { max: 3 }));
        assert_eq!(accept("abc x", Some(3)).unwrap_err().sqlstate(), "22001");
    }

    #[test]
    fn nul_is_refused_and_empty_is_a_value() {
        assert_eq!(accept("a\0b", None).unwrap_err().sqlstate(), "22021");
        assert_eq!(accept("", Some(1)).unwrap(), b"");
    }
}
