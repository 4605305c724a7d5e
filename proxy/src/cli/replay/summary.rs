//! Verdicts summed up by module and reason. What is kept is bounded: so many reasons with one example each.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use postern_rewriter::masked;
use serde_json::{Value, json};

use super::judge::{Class, Verdict};
use crate::cli::policy::printable;

/// Most reasons that are told apart.
const MOST_REASONS: usize = 10_000;
/// Most different shapes of statements that are told apart.
const MOST_SHAPES: usize = 1_000_000;
/// The longest example, in characters.
const LONGEST_EXAMPLE: usize = 400;

/// Everything that is said of a log.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) records: u64,
    pub(super) others: u64,
    pub(super) malformed: u64,
    /// Of another database than was asked for.
    pub(super) elsewhere: u64,
    /// Statements of users that are no login, by user.
    unknown: BTreeMap<String, u64>,
    /// How many of each class, by module.
    modules: BTreeMap<String, [u64; 4]>,
    reasons: BTreeMap<(String, Verdict), Reason>,
    beyond: u64,
    shapes: HashSet<u64>,
}

struct Reason {
    count: u64,
    example: String,
}

/// Most users that are no login and told apart.
const MOST_USERS: usize = 1_000;

impl Summary {
    /// A statement whose user is no login.
    pub(super) fn unknown(&mut self, user: Option<&str>) {
        let user = user.unwrap_or("(not in the log)");
        if self.unknown.len() < MOST_USERS || self.unknown.contains_key(user) {
            *self.unknown.entry(user.to_owned()).or_default() += 1;
        } else {
            *self.unknown.entry("(others)".to_owned()).or_default() += 1;
        }
    }

    /// A verdict. The example is the first statement of its reason, without its literals unless they are to be shown.
    pub(super) fn count(&mut self, module: &str, verdict: &Verdict, sql: &str, show_values: bool, most: usize) {
        let classes = self.modules.entry(module.to_owned()).or_default();
        classes[verdict.class as usize] += 1;
        let shape = masked(sql, most);
        if self.shapes.len() < MOST_SHAPES {
            let mut hasher = DefaultHasher::new();
            (module, shape.as_deref().unwrap_or_default()).hash(&mut hasher);
            self.shapes.insert(hasher.finish());
        }
        if verdict.class == Class::Allowed {
            return;
        }
        let key = (module.to_owned(), verdict.clone());
        if let Some(reason) = self.reasons.get_mut(&key) {
            reason.count += 1;
        } else if self.reasons.len() < MOST_REASONS {
            let text = match (show_values, shape) {
                (true, _) => sql.to_owned(),
                (false, Some(shape)) => shape,
                (false, None) => "(it cannot be told what of it is a literal; --show-values shows it)".to_owned(),
            };
            let mut example: String = text.chars().take(LONGEST_EXAMPLE).collect();
            if example.len() < text.len() {
                example.push('…');
            }
            self.reasons.insert(key, Reason { count: 1, example });
        } else {
            self.beyond += 1;
        }
    }

    /// Whether anything would be refused.
    pub(super) fn refuses(&self) -> bool {
        self.modules.values().any(|c| c[Class::Refused as usize] > 0)
    }

    fn statements(&self) -> u64 {
        self.modules.values().flatten().sum::<u64>() + self.unknown.values().sum::<u64>()
    }

    /// The reasons, of each class the most frequent first.
    fn sorted(&self) -> Vec<(&str, &Verdict, &Reason)> {
        let mut all: Vec<_> = self.reasons.iter().map(|((m, v), r)| (m.as_str(), v, r)).collect();
        all.sort_by_key(|(module, verdict, reason)| (verdict.class, std::cmp::Reverse(reason.count), *module));
        all
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            text,
            "{} records: {} statements of {} shapes, {} other lines, {} malformed",
            self.records,
            self.statements(),
            self.shapes.len(),
            self.others,
            self.malformed
        );
        if self.elsewhere > 0 {
            let _ = writeln!(text, "{} statements of other databases are left out", self.elsewhere);
        }
        for (user, count) in &self.unknown {
            let _ = writeln!(
                text,
                "{count} statements of user {} are not judged: no login is called so; --map {}=LOGIN or --module NAME says whose they are",
                printable(user),
                printable(user)
            );
        }
        for (module, counts) in &self.modules {
            let parts: Vec<String> = Class::ALL
                .iter()
                .map(|c| format!("{} {}", counts[*c as usize], c.as_str()))
                .collect();
            let _ = writeln!(text, "module {module}: {}", parts.join(", "));
        }
        let mut class = None;
        for (module, verdict, reason) in self.sorted() {
            if class != Some(verdict.class) {
                let _ = writeln!(text, "\n{}", verdict.class.as_str());
                class = Some(verdict.class);
            }
            let why = verdict
                .refusal
                .map_or_else(String::new, |(state, word)| format!("{state} {word}: "));
            let _ = writeln!(text, "  {module}, {} ×: {why}{}", reason.count, printable(&verdict.what));
            if let Some(hint) = &verdict.hint {
                let _ = writeln!(text, "    hint      {}", printable(hint));
            }
            let _ = writeln!(text, "    example   {}", printable(&reason.example));
            for (n, line) in verdict.manifest.iter().enumerate() {
                let _ = writeln!(text, "    {:<9} {}", if n == 0 { "manifest" } else { "" }, printable(line));
            }
        }
        if self.beyond > 0 {
            let _ = writeln!(
                text,
                "\n{} further statements, of more than {MOST_REASONS} reasons, are counted above only",
                self.beyond
            );
        }
        text
    }

    /// For scripts.
    pub(super) fn json(&self) -> Value {
        let modules: serde_json::Map<String, Value> = self
            .modules
            .iter()
            .map(|(module, counts)| {
                let each = Class::ALL.iter().map(|c| (c.as_str().to_owned(), counts[*c as usize].into()));
                (module.clone(), Value::Object(each.collect()))
            })
            .collect();
        let reasons: Vec<Value> = self
            .sorted()
            .into_iter()
            .map(|(module, verdict, reason)| {
                json!({
                    "module": module,
                    "verdict": verdict.class.as_str(),
                    "sqlstate": verdict.refusal.map(|(state, _)| state),
                    "reason": verdict.refusal.map(|(_, word)| word),
                    "what": verdict.what,
                    "hint": verdict.hint,
                    "count": reason.count,
                    "example": reason.example,
                    "manifest": verdict.manifest,
                })
            })
            .collect();
        json!({
            "records": self.records,
            "statements": self.statements(),
            "shapes": self.shapes.len(),
            "others": self.others,
            "malformed": self.malformed,
            "elsewhere": self.elsewhere,
            "unknown_users": self.unknown,
            "modules": modules,
            "reasons": reasons,
            "beyond": self.beyond,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(what: &str) -> Verdict {
        Verdict {
            class: Class::Refused,
            refusal: Some(("42P01", "relation")),
            what: what.to_owned(),
            hint: None,
            manifest: vec!["[[table]]".to_owned()],
        }
    }

    #[test]
    fn reasons_are_counted_and_their_examples_hold_no_value() {
        let mut summary = Summary::default();
        for id in 0..3 {
            summary.count(
                "disco",
                &refused("a"),
                &format!("SELECT * FROM a WHERE id = {id}"),
                false,
                1 << 20,
            );
        }
        summary.count("disco", &refused("b"), "SELECT 'secret", false, 1 << 20);
        let text = summary.text();
        assert!(text.contains("disco, 3 ×: 42P01 relation: a"), "{text}");
        assert!(text.contains("example   SELECT * FROM a WHERE id = ?"), "{text}");
        assert!(
            !text.contains("secret") && text.contains("4 statements of 2 shapes"),
            "{text}"
        );
        assert_eq!(summary.json()["reasons"][0]["count"], 3);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_not_kept_is_counted() {
        let mut summary = Summary::default();
        for n in 0..MOST_REASONS + 5 {
            summary.count("disco", &refused(&n.to_string()), "SELECT 1", false, 1 << 20);
        }
        assert_eq!(summary.reasons.len(), MOST_REASONS);
        assert_eq!(summary.json()["beyond"], 5);
        for n in 0..MOST_USERS + 7 {
            summary.unknown(Some(&format!("user{n}")));
        }
        assert_eq!(summary.unknown.get("(others)"), Some(&7));
    }
}
