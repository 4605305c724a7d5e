//! Locking reads (FOR UPDATE, FOR NO KEY UPDATE, FOR SHARE, FOR KEY SHARE) where the proxy alone filters.
//!
//! PostgreSQL locks what comes out of the subquery that a lock reaches into. Beneath a fence (`OFFSET 0`) that would be every row that the
//! filter lets through, whatever the client asked for; so a barrier that is locked has none. Promised of such a query:
//! - It locks only rows that its person may see and change, as native row-level security would: the barrier's filter holds the UPDATE
//!   policies as well.
//! - The filter is a condition of the table's own scan, so hidden rows never leave it, and what PostgreSQL computes above (outputs, order,
//!   other tables' conditions) does not meet them. A filter that PostgreSQL would make a join of is wrapped so that it stays there.
//! - What PostgreSQL may push into that scan is WHERE and ON. Their conjuncts that can tell nothing of a hidden row stay; all others run
//!   where the barrier says that the filter let the row through (`postern$seen`). A locking query that stands in another one has the fence
//!   itself, so that nothing is pushed into it.
//!
//! Refused, because a condition would reach the scan by a way that is not guarded here: a lock on a subquery that reads declared tables, and
//! beside a locked table LATERAL, functions in FROM that are given columns, and USING or NATURAL over columns whose comparison may raise.

use pg_query::NodeEnum;
use pg_query::protobuf::{LimitOption, LockClauseStrength, Node, SelectStmt};
use postern_config::settings::Enforce;

use crate::census;
use crate::judge::Judge;
use crate::plan::Refusal;
use crate::scope::Scope;
use crate::select::Mode;
use crate::tree;

/// The column by which a locked barrier says that its filter let the row through.
pub(crate) const SEEN: &str = "postern$seen";

/// What of its FROM list a query locks. Nothing where PostgreSQL filters by itself: it does so beneath the lock.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) enum Locked {
    /// Nothing.
    #[default]
    Nothing,
    /// These aliases.
    Named(Vec<String>),
    /// Every relation and subquery.
    All,
}

impl Locked {
    /// What the query's own clauses say.
    pub(crate) fn by(s: &SelectStmt, enforce: Enforce) -> Self {
        if enforce.is_native() || s.locking_clause.is_empty() {
            return Locked::Nothing;
        }
        let mut names = Vec::new();
        for clause in &s.locking_clause {
            let Some(NodeEnum::LockingClause(l)) = &clause.node else {
                return Locked::All;
            };
            if l.locked_rels.is_empty() {
                return Locked::All;
            }
            names.extend(l.locked_rels.iter().filter_map(|rel| match &rel.node {
                Some(NodeEnum::RangeVar(r)) => Some(r.relname.clone()),
                _ => None,
            }));
        }
        Locked::Named(names)
    }

    /// Whether the lock reaches the FROM item of that alias.
    pub(crate) fn reaches(&self, alias: &str) -> bool {
        match self {
            Locked::Nothing => false,
            Locked::Named(names) => names.iter().any(|n| n == alias),
            Locked::All => true,
        }
    }
}

impl Judge<'_> {
    /// A WHERE or ON that was judged in `scope`, beside the locked barriers in it.
    pub(crate) fn guard_locked(&self, predicate: &mut Node, scope: &Scope<'_>) {
        let locked = scope
            .entries
            .iter()
            .filter(|e| e.locked)
            .map(|e| tree::column(&e.alias, SEEN));
        let Some(seen) = locked.reduce(|all, one| tree::and(all, Some(one))) else {
            return;
        };
        let (quiet, rest) = self.quiet_conjuncts(std::mem::take(predicate), scope);
        let rest = rest.map(|rest| tree::case(seen, rest, Some(tree::boolean(false))));
        *predicate = (quiet.into_iter().chain(rest))
            .reduce(|all, one| tree::and(all, Some(one)))
            .unwrap_or_else(|| tree::boolean(true));
    }

    /// Keeps the predicates of the query around it out of one that locks.
    pub(crate) fn fence_locked(&self, s: &mut SelectStmt, scope: &Scope<'_>, mode: &Mode) {
        let within = *mode != Mode::Client || self.outlives;
        let open = s.limit_count.is_none() && s.limit_offset.is_none();
        if within && open && scope.entries.iter().any(|e| e.locked) {
            s.limit_offset = Some(Box::new(tree::integer(0)));
            s.limit_option = LimitOption::Count as i32;
        }
    }

    /// Refuses a FROM item that would carry a condition into a locked scan.
    pub(crate) fn refuse_beside_lock(&self, lateral: bool, scope: &Scope<'_>) -> Result<(), Refusal> {
        if lateral && scope.entries.iter().any(|e| e.locked) {
            return Err(unguarded("A locking read beside LATERAL or a function of the locked row")
                .hint("Lock the rows first, then read with them in another statement."));
        }
        Ok(())
    }

    /// A function in FROM: LATERAL where it is given columns.
    pub(crate) fn takes_columns(&self, functions: &[Node]) -> Result<bool, Refusal> {
        for f in functions {
            if census::survey(f)?.counts.column_refs > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses USING and NATURAL over columns of a locked table, unless comparing them can tell nothing.
    pub(crate) fn refuse_merged_lock(&self, names: &[Box<str>], natural: bool, scope: &Scope<'_>) -> Result<(), Refusal> {
        if (names.is_empty() && !natural) || !scope.entries.iter().any(|e| e.locked) {
            return Ok(());
        }
        let quiet = !natural && scope.entries.len() == 2 && names.iter().all(|name| self.merges_quietly(name, scope));
        if quiet {
            return Ok(());
        }
        Err(unguarded("A locking read over this USING or NATURAL join").hint("Write the join condition with ON."))
    }
}

/// What a locking clause is called.
pub(crate) fn name(clause: &Node) -> &'static str {
    match &clause.node {
        Some(NodeEnum::LockingClause(l)) => match l.strength() {
            LockClauseStrength::LcsForkeyshare => "FOR KEY SHARE",
            LockClauseStrength::LcsForshare => "FOR SHARE",
            LockClauseStrength::LcsFornokeyupdate => "FOR NO KEY UPDATE",
            _ => "FOR UPDATE",
        },
        _ => "FOR UPDATE",
    }
}

/// The refusal of a shape in which a lock could not be kept from hidden rows.
pub(crate) fn unguarded(what: &str) -> Refusal {
    let mut refusal = Refusal::construct(what);
    refusal.reason = "locking";
    refusal
}
