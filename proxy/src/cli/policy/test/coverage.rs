//! Which policies the cases exercise: for each policy and operation whether a case shows that it lets somebody through, and that it does not
//! let somebody through.
//!
//! A case counts where it holds and its statement writes one declared table, or else reads one. It shows that a policy lets through where it
//! was answered with rows and that policy alone can have been the one: it holds for every row, or with these claims all others hold for
//! none, be it that they cannot or that no row is such. It shows that the policies do not let through where it was refused with 42501 or no row came. A lone `count(…)` is read as that
//! many rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postern_config::expr::{Claim, Expr};
use postern_config::manifest::{Operation, Policy, Role};
use postern_config::policy::access::{Identities, service_claims};
use postern_config::policy::fold::{Folded, Known, fold};
use postern_config::{Config, Ident, LoginKind, Manifest, ModuleName, Table, TableRef};
use postern_rewriter::catalog::Catalog;
use postern_rewriter::{Ask, plan_batch};
use serde_json::{Value, json};

use super::cases::Case;
use super::gate::{Came, Outcome};
use crate::identity::policy;

/// The SQLSTATE of what policies do not let through.
const NOT_PERMITTED: &str = "42501";

/// One policy in one operation, and who exercised it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) module: ModuleName,
    pub(super) table: TableRef,
    pub(super) operation: Operation,
    pub(super) policy: Ident,
    /// Who was let through.
    pub(super) allowed: BTreeSet<String>,
    /// Who was not.
    pub(super) denied: BTreeSet<String>,
    /// It lets everybody through, so nobody can be shown whom it does not.
    pub(super) public: bool,
    /// The same by the module's roles, where it has any.
    pub(super) by_role: Option<ByRole>,
}

/// In which roles people were let through, and in which not: a person's are those that they have in some scope and that none of their
/// others inherits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ByRole {
    all: Vec<Ident>,
    allowed: BTreeSet<String>,
    denied: BTreeSet<String>,
}

impl ByRole {
    fn of(manifest: &Manifest) -> Option<Self> {
        let all: Vec<Ident> = manifest.roles.iter().map(|r| r.name.clone()).collect();
        (!all.is_empty()).then(|| Self {
            all,
            allowed: BTreeSet::new(),
            denied: BTreeSet::new(),
        })
    }

    /// The roles of which no case tells.
    fn untold(&self) -> BTreeSet<String> {
        let names = self.all.iter().map(Ident::to_string);
        names
            .filter(|n| !self.allowed.contains(n) && !self.denied.contains(n))
            .collect()
    }
}

/// The roles that somebody stands in.
fn standing(manifest: &Manifest, known: &Known) -> Vec<String> {
    let has = |r: &&Role| fold(&r.when, known) != Folded::None;
    let held: Vec<&Role> = manifest.roles.iter().filter(has).collect();
    let inherited = |name: &Ident| held.iter().any(|r| r.inherits.contains(name));
    let highest = held.iter().filter(|r| !inherited(&r.name));
    highest.map(|r| r.name.to_string()).collect()
}

/// All policies of a configuration.
#[derive(Debug, Default)]
pub(super) struct Coverage(pub(super) Vec<Line>);

impl Coverage {
    /// What cases exercise. `nowhere` are predicates that no row satisfies.
    pub(super) fn of(config: &Config, exercised: &[Exercised<'_>], nowhere: &[(TableRef, Expr)]) -> Self {
        let mut coverage = Self::default();
        for manifest in &config.modules {
            coverage.add(manifest);
        }
        for one in exercised {
            coverage.count(one, nowhere);
        }
        coverage
    }

    fn add(&mut self, manifest: &Manifest) {
        let identities = Identities::of(manifest);
        for table in &manifest.tables {
            for (operation, policy) in of_operations(table) {
                let decides = deciding(policy, operation);
                self.0.push(Line {
                    module: manifest.module.clone(),
                    table: table.name.clone(),
                    operation,
                    policy: policy.name.clone(),
                    allowed: BTreeSet::new(),
                    denied: BTreeSet::new(),
                    public: table.restrictions.is_empty() && decides.is_some_and(|e| identities.always(e)),
                    by_role: ByRole::of(manifest),
                });
            }
        }
    }

    fn count(&mut self, exercised: &Exercised<'_>, nowhere: &[(TableRef, Expr)]) {
        let Exercised { case, outcome, .. } = exercised;
        let through = match outcome {
            Outcome::Answered(came) => came_through(came, &case.sql),
            Outcome::Refused(refused) if refused.sqlstate == NOT_PERMITTED => false,
            Outcome::Refused(_) | Outcome::Broken(_) => return,
        };
        let table = &exercised.table.name;
        let hopeless = |folded: &Folded| match folded {
            Folded::All => false,
            Folded::None => true,
            // What the setup made is not among the rows that were asked about, and neither is what an INSERT writes.
            Folded::Some(expr) => {
                exercised.operation != Operation::Insert
                    && case.setup.is_empty()
                    && nowhere.iter().any(|(of, nobody)| of == table && nobody == expr)
            }
        };
        let possible = exercised.policies.iter().filter(|(_, f)| !hopeless(f)).count();
        for (policy, folded) in &exercised.policies {
            let line = self.0.iter_mut().find(|l| {
                l.module == case.module && l.table == *table && l.operation == exercised.operation && l.policy == policy.name
            });
            let Some(line) = line else { continue };
            let alone = *folded == Folded::All || (possible == 1 && !hopeless(folded));
            let (people, roles) = match (through, &mut line.by_role) {
                (true, _) if !alone => continue,
                (true, roles) => (&mut line.allowed, roles.as_mut().map(|r| &mut r.allowed)),
                (false, roles) => (&mut line.denied, roles.as_mut().map(|r| &mut r.denied)),
            };
            people.insert(exercised.who.clone());
            if let Some(roles) = roles {
                roles.extend(exercised.roles.iter().cloned());
            }
        }
    }

    /// How much is exercised, in percent, rounded down: each policy has two halves in each of its operations, and one where it is public.
    pub(super) fn percent(&self) -> u8 {
        let all: usize = self.0.iter().map(|l| if l.public { 1 } else { 2 }).sum();
        let exercised = |l: &Line| usize::from(!l.allowed.is_empty()) + usize::from(!l.public && !l.denied.is_empty());
        let some: usize = self.0.iter().map(exercised).sum();
        u8::try_from((some * 100).checked_div(all).unwrap_or(100)).unwrap_or(100)
    }

    /// For people: a line for each policy and operation.
    pub(super) fn text(&self) -> String {
        let names = |names: &BTreeSet<String>| match names.len() {
            0 => "never".to_owned(),
            _ => names.iter().cloned().collect::<Vec<_>>().join(", "),
        };
        let mut text = format!("coverage: {} % of the policies\n", self.percent());
        let mut table = None;
        for line in &self.0 {
            if table != Some(&line.table) {
                text.push_str(&format!("  {}: {}\n", line.module, line.table));
                table = Some(&line.table);
            }
            let denied = if line.public {
                "nobody can be".to_owned()
            } else {
                names(&line.denied)
            };
            text.push_str(&format!(
                "    {:<6} {:<16} let through: {}; not let through: {denied}\n",
                line.operation.as_str(),
                line.policy.as_str(),
                names(&line.allowed),
            ));
            if let Some(roles) = &line.by_role {
                let untold = match roles.untold() {
                    none if none.is_empty() => String::new(),
                    some => format!("; no case: {}", names(&some)),
                };
                text.push_str(&format!(
                    "           by role          let through: {}; not let through: {}{untold}\n",
                    names(&roles.allowed),
                    names(&roles.denied),
                ));
            }
        }
        text
    }

    /// For scripts.
    pub(super) fn json(&self) -> Value {
        let lines: Vec<Value> = self
            .0
            .iter()
            .map(|l| {
                let roles = l.by_role.as_ref();
                let roles = roles.map(|r| json!({ "allowed": r.allowed, "denied": r.denied, "untold": r.untold() }));
                json!({
                    "module": l.module.as_str(),
                    "table": l.table.to_string(),
                    "operation": l.operation.as_str(),
                    "policy": l.policy.as_str(),
                    "allowed": l.allowed,
                    "denied": l.denied,
                    "public": l.public,
                    "roles": roles,
                })
            })
            .collect();
        json!({ "percent": self.percent(), "policies": lines })
    }
}

fn of_operations(table: &Table) -> impl Iterator<Item = (Operation, &Policy)> {
    let each = |policy| Operation::ALL.into_iter().map(move |o: Operation| (o, policy));
    table
        .policies
        .iter()
        .flat_map(each)
        .filter(|(o, p): &(Operation, &Policy)| p.operations.contains(o))
}

/// The predicate that lets through: of an INSERT what it writes, else the rows that are there.
fn deciding(policy: &Policy, operation: Operation) -> Option<&Expr> {
    match operation {
        Operation::Insert => policy.check.as_ref(),
        Operation::Select | Operation::Update | Operation::Delete => policy.using.as_ref(),
    }
}

/// A case that counts.
pub(super) struct Exercised<'c> {
    case: &'c Case,
    outcome: &'c Outcome,
    table: &'c Table,
    operation: Operation,
    who: String,
    roles: Vec<String>,
    /// The table's policies for the operation, with what the case's claims leave of each.
    policies: Vec<(&'c Policy, Folded)>,
}

/// Those of the cases that count.
pub(super) fn exercised<'c>(
    config: &'c Config,
    catalogs: &BTreeMap<ModuleName, Arc<Catalog>>,
    held: impl Iterator<Item = (&'c Case, &'c Outcome)>,
) -> Vec<Exercised<'c>> {
    let one = |(case, outcome): (&'c Case, &'c Outcome)| {
        let manifest = config.modules.iter().find(|m| m.module == case.module)?;
        let (table, operation) = about(config, catalogs.get(&case.module)?, case)?;
        let table = manifest.tables.iter().find(|t| t.name == table)?;
        let (who, known) = subject(manifest, case, &config.settings.tokens.claims)?;
        let policies = of_operations(table).filter(|(o, _)| *o == operation);
        let left = policies.map(|(_, p)| (p, deciding(p, operation).map_or(Folded::None, |e| fold(e, &known))));
        Some(Exercised {
            case,
            outcome,
            table,
            operation,
            who,
            roles: standing(manifest, &known),
            policies: left.collect(),
        })
    };
    held.filter_map(one).collect()
}

/// What must be known of the data to tell which of several policies let somebody through: whether any row satisfies these.
pub(super) fn questions(exercised: &[Exercised<'_>]) -> Vec<(TableRef, Expr)> {
    let mut questions: Vec<(TableRef, Expr)> = Vec::new();
    for one in exercised.iter().filter(|e| e.operation != Operation::Insert) {
        for (_, folded) in &one.policies {
            if let Folded::Some(expr) = folded
                && !questions.iter().any(|(t, e)| *t == one.table.name && e == expr)
            {
                questions.push((one.table.name.clone(), expr.clone()));
            }
        }
    }
    questions
}

/// The one table that the case is about, and what it does to it.
fn about(config: &Config, catalog: &Catalog, case: &Case) -> Option<(TableRef, Operation)> {
    let superadmin = case
        .person
        .as_ref()
        .is_some_and(|p| p.claims.get("super") == Some(&Value::Bool(true)));
    let plans = plan_batch(
        &case.sql,
        &Ask {
            catalog,
            module: &case.module,
            login: &case.login,
            superadmin,
            undeclared: case.person.is_none() && case.login.kind != LoginKind::Runtime,
            enforce: config.settings.enforce,
            max_sql_bytes: config.settings.limits.max_sql_bytes,
        },
    );
    let all: BTreeSet<(TableRef, Operation)> = plans.ok()?.into_iter().flat_map(|p| p.operations).collect();
    let (reads, writes): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, o)| *o == Operation::Select);
    match (writes.as_slice(), reads.as_slice()) {
        ([one], _) | ([], [one]) => Some(one.clone()),
        _ => None,
    }
}

fn subject(manifest: &Manifest, case: &Case, all: &[Claim]) -> Option<(String, Known)> {
    match (&case.person, case.login.kind) {
        (Some(person), _) => Some((person.name.clone(), policy::known(&person.claims, all).ok()?)),
        (None, LoginKind::Service) => Some(("(service)".to_owned(), service_claims(manifest))),
        (None, LoginKind::Runtime | LoginKind::Migrator) => Some(("(guest)".to_owned(), Known::guest())),
    }
}

/// Whether any row was let through.
fn came_through(came: &Came, sql: &str) -> bool {
    let lone = match came.rows.as_slice() {
        [row] => match row.as_slice() {
            [cell] => Some(cell),
            _ => None,
        },
        _ => None,
    };
    match lone {
        // An aggregate over nothing; a masked column is NULL too, and its row came.
        Some(None) if calls(sql, "") => false,
        Some(Some(number)) if calls(sql, "count(") => number != "0",
        _ => came.count > 0,
    }
}

/// Whether a query begins with a call, of a function whose name and parenthesis are those.
fn calls(sql: &str, function: &str) -> bool {
    let mut words = sql.split_whitespace();
    words.next().is_some_and(|w| w.eq_ignore_ascii_case("select"))
        && words
            .next()
            .is_some_and(|w| w.contains('(') && w.to_ascii_lowercase().starts_with(function))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(rows: &[&[Option<&str>]], count: u64) -> Came {
        Came {
            columns: Vec::new(),
            rows: rows
                .iter()
                .map(|r| r.iter().map(|c| c.map(str::to_owned)).collect())
                .collect(),
            count,
        }
    }

    #[test]
    fn rows_are_told_from_an_answer_about_none() {
        assert!(came_through(&came(&[&[Some("su-bob")]], 1), "SELECT id FROM t"));
        assert!(!came_through(&came(&[], 0), "SELECT id FROM t"));
        assert!(came_through(&came(&[&[Some("2")]], 1), "select count(*) FROM t"));
        assert!(!came_through(&came(&[&[Some("0")]], 1), "SELECT count(*) FROM t"));
        assert!(!came_through(&came(&[&[None]], 1), "SELECT max(id) FROM t"));
        assert!(came_through(&came(&[&[None]], 1), "SELECT contact FROM t"));
        assert!(came_through(&came(&[], 1), "DELETE FROM t"));
        assert!(!came_through(&came(&[], 0), "UPDATE t SET a = 1"));
    }

    #[test]
    fn a_public_policy_has_one_half_and_nothing_is_covered_by_no_case() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postern.toml");
        let config = postern_config::load(&file).expect("the examples load");
        let mut coverage = Coverage::of(&config, &[], &[]);
        assert!(coverage.0.len() > 40, "{}", coverage.0.len());
        assert_eq!(coverage.percent(), 0);
        for line in &mut coverage.0 {
            line.allowed.insert("somebody".to_owned());
            line.denied.insert("somebody".to_owned());
        }
        assert_eq!(coverage.percent(), 100);
        assert!(coverage.text().contains("let through: somebody"));
    }
}
