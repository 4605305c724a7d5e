//! `bool`.

use super::{ValueError, trim};

/// Any unambiguous prefix of true, false, yes, no, on, off; 1 and 0; in any case.
pub(super) fn parse(text: &str) -> Result<bool, ValueError> {
    let word = trim(text).to_ascii_lowercase();
    let starts = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    if starts("true", 1) || starts("yes", 1) || word == "on" || word == "1" {
        return Ok(true);
    }
    if starts("false", 1) || starts("no", 1) || starts("off", 2) || word == "0" {
        return Ok(false);
    }
    Err(ValueError::Syntax { ty: "boolean" })
}
