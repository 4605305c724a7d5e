//! What came of queries that were asked twice: on a plain copy and through the proxy.

use std::collections::BTreeMap;

use crate::corpus::difference;
use crate::message::{ErrorFields, Reply};

/// SQLSTATEs with which Postern refuses what it does not know, always with a HINT.
const REFUSALS: [&str; 3] = ["0A000", "42501", "42883"];
/// A statement was cancelled, as both sides are told to after some seconds.
const CANCELLED: &str = "57014";

/// What came of one query.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same answer, or the same SQLSTATE.
    Same,
    /// Postern refused it: nothing was compared.
    Refused(String),
    /// It took too long to be compared.
    TooLong,
    /// Another answer: how.
    Differs(String),
}

/// Holds an answer of the proxy against the copy's.
pub fn judge(copy: &Reply, proxy: &Reply, ordered: bool) -> Verdict {
    if [copy, proxy].iter().any(|r| r.sqlstate() == CANCELLED) {
        return Verdict::TooLong;
    }
    let refusal = proxy.error.as_ref().filter(|e| refuses(e) && e.sqlstate() != copy.sqlstate());
    match (refusal, difference(copy, proxy, ordered)) {
        (Some(e), _) => Verdict::Refused(format!("{}: {}", e.sqlstate(), e.message())),
        (None, Some(how)) => Verdict::Differs(how),
        (None, None) => Verdict::Same,
    }
}

/// Whether an error is a refusal. A type that is not on the list answers as one that does not exist.
fn refuses(e: &ErrorFields) -> bool {
    REFUSALS.contains(&e.sqlstate()) && !e.hint().is_empty() || e.sqlstate() == "42704" && e.message().starts_with("type ")
}

/// All of them together.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were asked.
    pub asked: usize,
    /// How many answers were compared.
    pub compared: usize,
    /// How many of those were errors on both sides.
    pub raised: usize,
    /// How many took too long.
    pub long: usize,
    /// Refusals: how often each, and one query that met it.
    pub refused: BTreeMap<String, (usize, String)>,
    /// What differs.
    pub problems: Vec<String>,
}

impl Tally {
    /// Adds one; `query` names it for whoever repeats it.
    pub fn add(&mut self, query: &str, copy: &Reply, proxy: &Reply, ordered: bool) {
        self.asked += 1;
        match judge(copy, proxy, ordered) {
            Verdict::Same => {
                self.compared += 1;
                self.raised += usize::from(copy.error.is_some());
            }
            Verdict::Differs(how) => {
                self.compared += 1;
                self.problems.push(format!("{query}\n    {how}"));
            }
            Verdict::TooLong => self.long += 1,
            Verdict::Refused(why) => self.refused.entry(why).or_insert_with(|| (0, query.to_owned())).0 += 1,
        }
    }

    /// How many Postern refused.
    pub fn refusals(&self) -> usize {
        self.refused.values().map(|(times, _)| times).sum()
    }

    /// One line of figures.
    pub fn line(&self) -> String {
        format!(
            "{} asked, {} compared ({} errors among them), {} refused, {} too long",
            self.asked,
            self.compared,
            self.raised,
            self.refusals(),
            self.long
        )
    }

    /// The refusals, the most frequent first.
    pub fn refusals_text(&self) -> String {
        let mut all: Vec<_> = self.refused.iter().collect();
        all.sort_by_key(|(_, (times, _))| std::cmp::Reverse(*times));
        let lines = all
            .iter()
            .take(12)
            .map(|(why, (times, query))| format!("  {times:>5} {why}\n        {query}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Nothing differs, and at least so many of a hundred were compared.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn holds(&self, percent: usize) {
        let shown: Vec<&str> = self.problems.iter().take(20).map(String::as_str).collect();
        assert!(
            self.problems.is_empty(),
            "{} of {} differ:\n{}",
            self.problems.len(),
            self.asked,
            shown.join("\n")
        );
        assert!(
            self.compared * 100 >= self.asked * percent,
            "{}; fewer than {percent} % were compared:\n{}",
            self.line(),
            self.refusals_text()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Column;

    fn reply(rows: &[[Option<&str>; 2]]) -> Reply {
        let column = |name: &str| Column {
            name: name.to_owned(),
            oid: 25,
            size: -1,
            modifier: -1,
            format: 0,
        };
        Reply {
            columns: Some(vec![column("a"), column("b")]),
            rows: rows
                .iter()
                .map(|r| r.iter().map(|c| c.map(|t| t.as_bytes().to_vec())).collect())
                .collect(),
            tag: Some(format!("SELECT {}", rows.len())),
            ..Reply::default()
        }
    }

    fn failed(state: &str, hint: &str) -> Reply {
        let fields = [('C', state), ('M', "no"), ('H', hint)];
        let told = fields.iter().filter(|(_, text)| !text.is_empty());
        Reply {
            error: Some(ErrorFields(told.map(|(code, text)| (*code, (*text).to_owned())).collect())),
            ..Reply::default()
        }
    }

    const TWO: [[Option<&str>; 2]; 2] = [[Some("1"), None], [Some("2"), Some("")]];

    /// The comparison compares: each way in which an answer can be another one is noticed.
    #[test]
    fn whatever_differs_is_noticed() {
        let copy = reply(&TWO);
        let differs = |proxy: &Reply| matches!(judge(&copy, proxy, false), Verdict::Differs(_));
        assert!(differs(&reply(&[TWO[0], TWO[1], TWO[1]])), "a row too many");
        assert!(differs(&reply(&TWO[..1])), "a row too few");
        assert!(differs(&reply(&[TWO[0], TWO[0]])), "one row twice in another's place");
        assert!(
            differs(&reply(&[TWO[0], [Some("2"), None]])),
            "NULL in place of an empty text"
        );
        assert!(differs(&failed("22012", "")), "an error of its own");
        assert!(differs(&failed("0A000", "")), "a refusal without a hint");
        assert!(differs(&failed("42704", "")), "something else that is missing");
        let mut renamed = copy.clone();
        renamed.columns.as_mut().expect("columns")[0].name = "c".to_owned();
        assert!(differs(&renamed), "a column's name");
        let mut tagged = copy.clone();
        tagged.tag = Some("SELECT 3".to_owned());
        assert!(differs(&tagged), "the tag");
        assert!(
            matches!(judge(&failed("22012", ""), &copy, false), Verdict::Differs(_)),
            "an answer in an error's place"
        );
    }

    #[test]
    fn what_is_the_same_is_the_same() {
        let turned = reply(&[TWO[1], TWO[0]]);
        assert_eq!(judge(&reply(&TWO), &turned, false), Verdict::Same);
        assert!(matches!(judge(&reply(&TWO), &turned, true), Verdict::Differs(_)));
        assert_eq!(judge(&failed("22012", ""), &failed("22012", "x"), false), Verdict::Same);
        assert_eq!(judge(&reply(&TWO), &failed("57014", ""), false), Verdict::TooLong);
        let refused = judge(&reply(&TWO), &failed("0A000", "say otherwise"), false);
        assert_eq!(refused, Verdict::Refused("0A000: no".to_owned()));
    }

    /// A run that refuses everything does not hold, nor one with a difference.
    #[test]
    fn a_tally_that_compared_too_little_does_not_hold() {
        let mut tally = Tally::default();
        tally.add("q", &reply(&TWO), &failed("0A000", "say otherwise"), false);
        assert_eq!((tally.asked, tally.compared, tally.refusals()), (1, 0, 1));
        assert!(std::panic::catch_unwind(|| tally.holds(1)).is_err());
        let mut tally = Tally::default();
        tally.add("q", &reply(&TWO), &reply(&TWO), false);
        tally.holds(100);
        tally.add("q", &reply(&TWO), &reply(&TWO[..1]), false);
        assert!(std::panic::catch_unwind(|| tally.holds(1)).is_err());
    }
}
