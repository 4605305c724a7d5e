//! `log_line_prefix`: what stands before the severity on a line of the log.

/// A prefix, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::replay) struct Prefix(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// `%u`, `%d` and the others, by their letter.
    Escape(char),
}

/// Why a prefix cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli::replay) enum PrefixError {
    /// A `%` before something that PostgreSQL does not know.
    #[error("`%{0}` is no escape of log_line_prefix")]
    Unknown(char),
    /// Two values with nothing between them.
    #[error("`%{0}%{1}`: nothing stands between two values, so that it cannot be told where the first ends")]
    Adjacent(char, char),
}

/// Who is named before a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Named<'l> {
    pub(super) user: Option<&'l str>,
    pub(super) database: Option<&'l str>,
}

/// As the PostgreSQL manual lists them.
const ESCAPES: &str = "audrhbptmniPQecsvxlLS";

/// The longest text before a message that is looked at.
const LONGEST_PREFIX: usize = 1024;

impl Prefix {
    /// Takes a prefix apart.
    pub(in crate::cli::replay) fn parse(written: &str) -> Result<Self, PrefixError> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut rest = written.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                literal(&mut pieces, c);
                continue;
            }
            // `%-10u` pads.
            let escape = rest.by_ref().find(|c| !(c.is_ascii_digit() || *c == '-'));
            match escape {
                None => literal(&mut pieces, '%'),
                Some('%') => literal(&mut pieces, '%'),
                // Where processes without a session stop; theirs are no statements.
                Some('q') => {}
                Some(e) if ESCAPES.contains(e) => {
                    if let Some(Piece::Escape(before)) = pieces.last() {
                        return Err(PrefixError::Adjacent(*before, e));
                    }
                    pieces.push(Piece::Escape(e));
                }
                Some(e) => return Err(PrefixError::Unknown(e)),
            }
        }
        Ok(Self(pieces))
    }

    /// What a line names before its severity, and the severity with what follows it.
    pub(super) fn strip<'l>(&self, line: &'l str) -> Option<(Named<'l>, &'l str)> {
        stripped(&self.0, line, 0, Named::default())
    }
}

fn literal(pieces: &mut Vec<Piece>, c: char) {
    match pieces.last_mut() {
        Some(Piece::Literal(text)) => text.push(c),
        _ => pieces.push(Piece::Literal(c.to_string())),
    }
}

/// A value may hold what stands behind it as well, so each place where that stands is tried, the first first.
fn stripped<'l>(pieces: &[Piece], rest: &'l str, used: usize, named: Named<'l>) -> Option<(Named<'l>, &'l str)> {
    let Some((piece, pieces)) = pieces.split_first() else {
        return super::stderr::severity(rest).map(|_| (named, rest));
    };
    match piece {
        Piece::Literal(text) => stripped(pieces, rest.strip_prefix(text.as_str())?, used + text.len(), named),
        Piece::Escape(letter) => {
            let ends: Vec<usize> = match pieces.first() {
                Some(Piece::Literal(text)) => rest.match_indices(text.as_str()).map(|(at, _)| at).take(8).collect(),
                // Nothing but the severity follows.
                _ => super::stderr::severities(rest).take(8).collect(),
            };
            ends.into_iter().filter(|end| used + end <= LONGEST_PREFIX).find_map(|end| {
                let value = rest.get(..end)?;
                let mut named = named;
                match letter {
                    'u' => named.user = Some(value.trim()),
                    'd' => named.database = Some(value.trim()),
                    _ => {}
                }
                stripped(pieces, rest.get(end..)?, used + end, named)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_name_is_found_behind_debians_prefix() {
        let prefix = Prefix::parse("%m [%p] %q%u@%d ").expect("Debian's");
        let line = "2026-11-28 12:00:00.123 UTC [4711] bob@app LOG:  statement: SELECT 1";
        let (named, rest) = prefix.strip(line).expect("it is there");
        assert_eq!((named.user, named.database), (Some("bob"), Some("app")));
        assert_eq!(rest, "LOG:  statement: SELECT 1");
        let (named, _) = prefix.strip("x [1] a@b@app LOG:  y").expect("it is there");
        assert_eq!((named.user, named.database), (Some("a"), Some("b@app")));
        for other in [
            "2026-11-28 12:00:00.123 UTC [4711] LOG:  checkpoint starting",
            "nothing",
            "",
            "x [1] bob@app NOISE:  y",
        ] {
            assert_eq!(prefix.strip(other), None, "{other}");
        }
    }

    #[test]
    fn prefixes_that_cannot_be_read_back_are_refused() {
        assert_eq!(Prefix::parse("%u%d "), Err(PrefixError::Adjacent('u', 'd')));
        assert_eq!(Prefix::parse("%y "), Err(PrefixError::Unknown('y')));
        let padded = Prefix::parse("100%% %-8u|%d|").expect("padding is understood");
        let (named, _) = padded.strip("100% bob     |app|LOG:  x").expect("it is there");
        assert_eq!((named.user, named.database), (Some("bob"), Some("app")));
    }
}
