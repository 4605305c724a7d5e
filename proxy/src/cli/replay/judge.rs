//! What would become of a logged statement: the verdict of the judge that the gate asks, with the catalogue of its module.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use postern_config::manifest::Operation;
use postern_config::{Config, Login, LoginKind, Manifest, ModuleName, TableRef};
use postern_rewriter::catalog::Catalog;
use postern_rewriter::plan::{Plan, Refusal};
use postern_rewriter::{Ask, masked, plan_batch};

use super::advice;

/// Who a statement is judged for.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) manifest: Arc<Manifest>,
    pub(super) login: Login,
}

/// What would become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Refused by the gate.
    Refused,
    /// Answered; masked columns may be NULL.
    Masked,
    /// Answered; from declared tables only those rows that policies let through.
    Filtered,
    /// Answered as without the gate.
    Allowed,
}

impl Class {
    pub(super) const ALL: [Self; 4] = [Self::Refused, Self::Masked, Self::Filtered, Self::Allowed];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Masked => "masked",
            Self::Filtered => "filtered",
            Self::Allowed => "allowed",
        }
    }
}

/// A verdict without anything of the statement but names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Verdict {
    pub(super) class: Class,
    /// SQLSTATE and the short word for why.
    pub(super) refusal: Option<(&'static str, &'static str)>,
    /// Why, or what is filtered by which policies, or which columns are masked.
    pub(super) what: String,
    pub(super) hint: Option<String>,
    /// Lines of the manifest that would let it through, or say that none would.
    pub(super) manifest: Vec<String>,
}

/// Texts that are kept with their verdicts: logs repeat themselves.
const KEPT_BYTES: usize = 64 << 20;

/// Judges statements for the modules of a configuration.
pub(super) struct Judge<'c> {
    config: &'c Config,
    catalogs: BTreeMap<ModuleName, Arc<Catalog>>,
    known: HashMap<(Box<str>, Box<str>), Arc<Verdict>>,
    kept: usize,
}

impl<'c> Judge<'c> {
    pub(super) fn new(config: &'c Config, catalogs: BTreeMap<ModuleName, Arc<Catalog>>) -> Self {
        Self {
            config,
            catalogs,
            known: HashMap::new(),
            kept: 0,
        }
    }

    /// The verdict on a statement.
    pub(super) fn verdict(&mut self, subject: &Subject, sql: &str) -> Arc<Verdict> {
        let key = (Box::from(subject.login.name.as_str()), Box::from(sql));
        if let Some(verdict) = self.known.get(&key) {
            return verdict.clone();
        }
        let verdict = Arc::new(self.judged(subject, sql));
        self.kept += sql.len() + 256;
        if self.kept > KEPT_BYTES {
            self.known.clear();
            self.kept = sql.len();
        }
        self.known.insert(key, verdict.clone());
        verdict
    }

    fn judged(&self, subject: &Subject, sql: &str) -> Verdict {
        let manifest = &subject.manifest;
        let most = self.config.settings.limits.max_sql_bytes;
        let nothing = Catalog::of_manifest(manifest, 0);
        let catalog = self.catalogs.get(&manifest.module).map_or(&nothing, |c| c);
        // A token comment is taken off before the statement is read.
        let text = match postern_rewriter::leading_token(sql) {
            Ok(Some((_, rest))) => rest,
            Ok(None) => sql,
            Err(refusal) => return self.refused(subject, catalog, "", refusal),
        };
        let ask = Ask {
            catalog,
            module: &manifest.module,
            login: &subject.login,
            superadmin: false,
            undeclared: subject.login.kind != LoginKind::Runtime,
            enforce: self.config.settings.enforce,
            max_sql_bytes: most,
        };
        let shown = masked(text, most).unwrap_or_default();
        match plan_batch(text, &ask) {
            Err(refusal) => self.refused(subject, catalog, &shown, refusal),
            Ok(plans) => allowed(subject, &shown, &plans),
        }
    }

    fn refused(&self, subject: &Subject, catalog: &Catalog, shown: &str, refusal: Refusal) -> Verdict {
        Verdict {
            class: Class::Refused,
            refusal: Some((refusal.sqlstate, refusal.reason)),
            manifest: advice::on_refusal(self.config, subject, catalog, shown, &refusal),
            what: refusal.message,
            hint: refusal.hint,
        }
    }
}

fn allowed(subject: &Subject, shown: &str, plans: &[Plan]) -> Verdict {
    let manifest = &subject.manifest;
    let operations: std::collections::BTreeSet<&(TableRef, Operation)> = plans.iter().flat_map(|p| &p.operations).collect();
    if operations.is_empty() {
        return Verdict {
            class: Class::Allowed,
            refusal: None,
            what: String::new(),
            hint: None,
            manifest: Vec::new(),
        };
    }
    let mut lines = Vec::new();
    let mut filters = Vec::new();
    let mut columns = Vec::new();
    for (name, operation) in operations {
        let Some(table) = manifest.table(name.name.as_str()) else {
            continue;
        };
        let policies = table.policies.iter().filter(|p| p.operations.contains(operation));
        let policies: Vec<&str> = policies.map(|p| p.name.as_str()).collect();
        if policies.is_empty() {
            filters.push(format!(
                "{} of {} by no policy, so nothing passes",
                operation.as_str(),
                table.name.name
            ));
            lines.extend(advice::policy(table, *operation));
        } else {
            filters.push(format!(
                "{} of {} by {}",
                operation.as_str(),
                table.name.name,
                policies.join(", ")
            ));
        }
        let masked = table
            .columns
            .iter()
            .filter(|c| c.shown_when.is_some() && mentions(shown, c.name.as_str()));
        columns.extend(masked.map(|c| format!("{}.{}", table.name.name, c.name)));
    }
    columns.sort();
    columns.dedup();
    let mut what = filters.join("; ");
    if !columns.is_empty() {
        what.push_str(&format!("; masked {}", columns.join(", ")));
    }
    Verdict {
        class: if columns.is_empty() { Class::Filtered } else { Class::Masked },
        refusal: None,
        what,
        hint: None,
        manifest: lines,
    }
}

/// Whether a statement may read a column: it names it, or everything. It may also be another relation's of that name.
fn mentions(shown: &str, column: &str) -> bool {
    let everything = shown.replace("count(*)", "").contains('*') || shown.to_ascii_lowercase().starts_with("table ");
    everything
        || shown
            .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .any(|word| word.eq_ignore_ascii_case(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_mentioned_by_its_name_or_by_a_star() {
        assert!(mentions("SELECT p.contact FROM projects p", "contact"));
        assert!(mentions("SELECT * FROM projects", "contact"));
        assert!(mentions("TABLE projects", "contact"));
        assert!(!mentions("SELECT count(*) FROM projects", "contact"));
        assert!(!mentions("SELECT contacts FROM projects", "contact"));
    }

    fn judged(login: &str, sql: &str) -> Verdict {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postern.toml");
        let config = postern_config::load(&file).expect("the examples load");
        let (manifest, login) = config.login(login).expect("it is there");
        let subject = Subject {
            manifest: manifest.clone(),
            login: login.clone(),
        };
        (*Judge::new(&config, BTreeMap::new()).verdict(&subject, sql)).clone()
    }

    #[test]
    fn each_class_is_told_with_what_would_help() {
        let verdict = judged("disco", "SELECT 1");
        assert_eq!(verdict.class, Class::Allowed);
        let verdict = judged("disco", "SELECT survey_user_id FROM survey_users WHERE survey_user_id = $1");
        assert_eq!(verdict.class, Class::Filtered);
        assert_eq!(verdict.what, "select of survey_users by self, super, admin");
        let verdict = judged("disco", "SELECT contact FROM projects");
        assert_eq!(verdict.class, Class::Masked);
        assert!(verdict.what.ends_with("masked projects.contact"), "{}", verdict.what);
        let verdict = judged("disco", "SELECT email FROM sys_account.accounts WHERE id = 'bob'");
        assert_eq!(
            (verdict.class, verdict.refusal),
            (Class::Refused, Some(("42P01", "relation")))
        );
        assert!(verdict.manifest[0].contains("module sys_account"), "{:?}", verdict.manifest);
        let verdict = judged("disco", "SELECT * FROM nowhere");
        assert!(verdict.manifest.contains(&"[[table]]".to_owned()), "{:?}", verdict.manifest);
        let verdict = judged("chat", "UPDATE read_receipts SET account_id = 'x'");
        assert_eq!(verdict.class, Class::Refused);
        assert!(
            verdict.manifest.iter().any(|l| l.contains("for = [\"update\"]")),
            "{:?}",
            verdict.manifest
        );
        let verdict = judged("disco", "SELECT pg_read_file('/etc/passwd')");
        assert!(
            verdict.manifest[0].starts_with("# no line of a manifest"),
            "{:?}",
            verdict.manifest
        );
        let verdict = judged("disco", "CREATE TABLE x (a int)");
        assert!(verdict.manifest[0].contains("disco_migrator"), "{:?}", verdict.manifest);
    }

    /// Nothing of a literal is in what is kept and shown of a verdict.
    #[test]
    fn verdicts_hold_no_literal() {
        for sql in [
            "SELECT * FROM nowhere WHERE a = 'canary7'",
            "SELECT 'canary7' FROM",
            "SELECT 'canary7'::canary_type",
            "SELECT survey_user_id FROM survey_users WHERE survey_user_name LIKE 'canary7%'",
            "INSERT INTO survey_users (survey_user_id, birth_date) VALUES ('x', 'canary7')",
            "COMMENT ON TABLE projects IS 'canary7'",
            "/*postern:canary7",
        ] {
            let verdict = judged("disco", sql);
            assert!(!format!("{verdict:?}").contains("canary7"), "{sql}: {verdict:?}");
        }
    }
}
