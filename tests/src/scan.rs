//! Looks for a value in every form in which it could lie about: raw, hexadecimal, base64, and JSON or SQL escapes leave an
//! alphanumeric canary as it is, so raw finds those too.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The byte strings that betray a value.
#[derive(Debug, Clone)]
pub struct Canary {
    /// What to call it in a failure.
    pub name: String,
    forms: Vec<(String, Vec<u8>)>,
}

impl Canary {
    /// All forms of `value`. Base64 is looked for at each of the three alignments it can have inside a longer text.
    pub fn new(name: &str, value: &[u8]) -> Self {
        let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
        let mut forms = vec![
            ("raw".to_owned(), value.to_vec()),
            ("hex".to_owned(), hex.clone().into_bytes()),
            ("HEX".to_owned(), hex.to_uppercase().into_bytes()),
        ];
        for skip in 0..3 {
            if value.len() > skip + 6 {
                // Whole groups of three only, so that what surrounds the value cannot change the text.
                let whole = &value[skip..skip + (value.len() - skip) / 3 * 3];
                forms.push((format!("base64 at {skip}"), STANDARD_NO_PAD.encode(whole).into_bytes()));
                forms.push((format!("base64url at {skip}"), URL_SAFE_NO_PAD.encode(whole).into_bytes()));
            }
        }
        Self {
            name: name.to_owned(),
            forms,
        }
    }

    /// Adds another form that the value takes (its text beside its binary form).
    #[must_use]
    pub fn or(mut self, label: &str, bytes: &[u8]) -> Self {
        self.forms.push((label.to_owned(), bytes.to_vec()));
        self
    }
}

/// Where a canary was found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Which canary.
    pub canary: String,
    /// In which form.
    pub form: String,
    /// In which file.
    pub file: PathBuf,
}

/// All forms of all canaries, found in one pass over the bytes.
struct Needles<'c> {
    // Indexed by the first two bytes: which forms could start here. Nearly every position is dismissed by one look.
    starts: Vec<Vec<(&'c Canary, &'c str, &'c [u8])>>,
}

impl<'c> Needles<'c> {
    fn new(canaries: &'c [Canary]) -> Self {
        let mut starts = vec![Vec::new(); 1 << 16];
        for canary in canaries {
            for (label, form) in &canary.forms {
                assert!(
                    form.len() >= 6,
                    "{}: {label} is too short to be told from chance",
                    canary.name
                );
                starts[start_of(form)].push((canary, label.as_str(), form.as_slice()));
            }
        }
        Self { starts }
    }

    fn find(&self, haystack: &[u8], mut found: impl FnMut(&'c Canary, &'c str)) {
        for (at, pair) in haystack.windows(2).enumerate() {
            for (canary, label, form) in &self.starts[start_of(pair)] {
                if haystack[at..].starts_with(form) {
                    found(canary, label);
                }
            }
        }
    }
}

fn start_of(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// Scans all regular files below `roots`, links followed. Each canary is reported once for each file and form.
pub fn scan(roots: &[&Path], canaries: &[Canary]) -> Vec<Finding> {
    let needles = Needles::new(canaries);
    let mut findings: Vec<Finding> = Vec::new();
    let mut pending: Vec<PathBuf> = roots.iter().map(|r| r.to_path_buf()).collect();
    while let Some(path) = pending.pop() {
        let Ok(kind) = fs::symlink_metadata(&path) else { continue };
        if kind.is_dir() {
            let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            pending.extend(entries.filter_map(Result::ok).map(|e| e.path()));
        } else if kind.is_symlink() {
            // Tablespaces are links out of the data directory.
            pending.extend(
                fs::canonicalize(&path)
                    .ok()
                    .filter(|p| !roots.iter().any(|r| p.starts_with(r))),
            );
        } else if kind.is_file() {
            // A server may remove a file between the listing and the read.
            let Ok(bytes) = fs::read(&path) else { continue };
            needles.find(&bytes, |canary, form| {
                let known = |f: &Finding| f.canary == canary.name && f.form == form && f.file == path;
                if !findings.iter().any(known) {
                    findings.push(Finding {
                        canary: canary.name.clone(),
                        form: form.to_owned(),
                        file: path.clone(),
                    });
                }
            });
        }
    }
    findings
}

/// The names of the canaries that occur in `text`.
pub fn in_text(text: &[u8], canaries: &[Canary]) -> Vec<String> {
    let mut names = Vec::new();
    Needles::new(canaries).find(text, |canary, form| names.push(format!("{} ({form})", canary.name)));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_seen_and_nothing_else() {
        let canaries = [Canary::new("c", b"Zq8vK2mX7pLw4TnB")];
        for hidden in ["..Zq8vK2mX7pLw4TnB..", "\\x5a7138764b326d5837704c7734546e42"] {
            assert_eq!(in_text(hidden.as_bytes(), &canaries).len(), 1, "{hidden}");
        }
        for prefix in ["", "a", "ab"] {
            let inside = STANDARD_NO_PAD.encode(format!("{prefix}Zq8vK2mX7pLw4TnB and more"));
            assert!(
                !in_text(inside.as_bytes(), &canaries).is_empty(),
                "at alignment {}",
                prefix.len()
            );
        }
        assert!(in_text(b"Zq8vK2mX7pLw4Tn", &canaries).is_empty());
    }
}
