//! `[[table.policy]]`, `restrict`, `mask_unless`, `shown_to` and `hide`: who may see and do what.

use std::collections::BTreeSet;

use super::allowance;
use super::document::{At, Notes, Section};
use super::keys::may_hide;
use super::module::identifier;
use super::roles::Places;
use super::table::Draft;
use crate::expr::Expr;
use crate::manifest::{Column, Operation, Policy, PolicyLines, Table, Written};
use crate::names::{Ident, ModuleName};
use crate::policy::{all, any};
use crate::predicate::{self, Scope, Shape};

/// Turns a table's predicates into expressions and its `hide` and `mask_unless` into conditions on columns.
pub(super) fn read(
    draft: &mut Draft<'_, '_>,
    number: usize,
    module: &ModuleName,
    shapes: &[Shape],
    roles: &Places<'_>,
    predicates: &mut Vec<Written>,
    notes: &mut Notes,
) {
    let mut reader = Reader {
        scope: Scope {
            module,
            table: &shapes[number],
            tables: shapes,
            claims: roles.claims(),
        },
        number,
        roles,
        predicates,
    };
    if let Some(text) = draft.section.text("restrict", notes)
        && let Some(restriction) = reader.predicate(&text, "`restrict`", notes)
    {
        draft.table.restrictions.push(restriction);
        draft.table.lines.restrict = Some(text.line);
    }
    let mut names = BTreeSet::new();
    let mut policies: Vec<Policy> = Vec::new();
    for mut section in draft.section.sections("policy", notes) {
        let policy = reader.policy(&mut section, draft, notes);
        let line = section.line();
        section.finish(notes);
        let Some(policy) = policy else { continue };
        if !names.insert(policy.name.clone()) {
            notes.add(
                line,
                format!("the policy `{}` is declared twice; rename or remove one", policy.name),
            );
        }
        policies.push(policy);
    }
    for (column, rest) in draft.table.columns.iter_mut().zip(&draft.columns) {
        let unless = rest
            .mask_unless
            .as_ref()
            .and_then(|text| reader.predicate(text, "`mask_unless`", notes));
        let roles = rest
            .shown_to
            .as_ref()
            .and_then(|names| reader.holders(names, "shown_to", notes));
        let mask = match (unless, roles) {
            (None, None) => None,
            (unless, roles) => Some(any(roles.into_iter().chain(unless))),
        };
        let hidden = policies
            .iter()
            .any(|p| p.hide.contains(&column.name))
            .then(|| shown_by(&policies, &column.name));
        column.shown_when = match (mask, hidden) {
            (None, None) => None,
            (mask, hidden) => Some(all(mask.into_iter().chain(hidden))),
        };
        if let Some(value) = &rest.mask
            && column.shown_when.is_none()
        {
            notes.add(
                value.line,
                format!(
                    "`mask` says what is shown of `{}` where it is masked, and it never is; add `mask_unless` or `shown_to`, or let a policy \
                     hide it",
                    column.name
                ),
            );
        }
    }
    draft.table.policies = policies;
    check_insert_lists(&draft.table, notes);
}

/// A hidden column is shown where some SELECT policy that does not hide it permits the row.
fn shown_by(policies: &[Policy], column: &Ident) -> Expr {
    any(policies
        .iter()
        .filter(|p| p.operations.contains(&Operation::Select) && !p.hide.contains(column))
        .filter_map(|p| p.using.clone()))
}

struct Reader<'r> {
    scope: Scope<'r>,
    /// The table's number.
    number: usize,
    roles: &'r Places<'r>,
    predicates: &'r mut Vec<Written>,
}

impl Reader<'_> {
    fn predicate(&mut self, text: &At<String>, place: &str, notes: &mut Notes) -> Option<Expr> {
        match predicate::parse(&text.value, self.scope) {
            Ok(expr) => {
                self.predicates.push(Written {
                    line: text.line,
                    text: text.value.clone(),
                    expr: expr.clone(),
                });
                Some(expr)
            }
            Err(complaints) => {
                for complaint in complaints {
                    notes.add(text.line, format!("{place}: {complaint}"));
                }
                None
            }
        }
    }

    /// Who has one of these roles.
    fn holders(&self, names: &At<Vec<At<String>>>, key: &str, notes: &mut Notes) -> Option<Expr> {
        if names.value.is_empty() {
            notes.add(
                names.line,
                format!("`{key}` is empty, so it speaks of nobody; name roles, or remove it"),
            );
            return None;
        }
        self.roles.holders(self.number, &names.value, notes)
    }

    fn policy(&mut self, section: &mut Section<'_, '_>, draft: &Draft<'_, '_>, notes: &mut Notes) -> Option<Policy> {
        let name = section
            .need_text("name", "\"self\"", notes)
            .and_then(|n| identifier(&n, notes));
        let operations = operations(section, notes);
        let using_text = section.text("using", notes);
        let check_text = section.text("check", notes);
        let columns_text = section.texts("columns", notes);
        let insert_text = section.texts("insert_columns", notes);
        let hide_text = section.texts("hide", notes);
        let show_text = section.texts("show", notes);
        let roles_text = section.texts("roles", notes);
        let using = using_text.as_ref().and_then(|t| self.predicate(t, "`using`", notes));
        let check = check_text.as_ref().and_then(|t| self.predicate(t, "`check`", notes));
        let roles = roles_text.as_ref().and_then(|names| self.holders(names, "roles", notes));
        let allow_lint = allowance::read(section, notes);
        let line = section.line();
        if let Some(operations) = &operations {
            let has = |o: Operation| operations.contains(&o);
            let reads = has(Operation::Select) || has(Operation::Update) || has(Operation::Delete);
            match &using_text {
                None if reads && roles_text.is_none() => notes.add(
                    line,
                    "a policy for select, update or delete needs `using` or `roles`; say which rows it permits",
                ),
                Some(text) if !reads => {
                    notes.add(
                        text.line,
                        "`using` has no meaning for insert alone; write the condition as `check`",
                    );
                }
                _ => {}
            }
            match &check_text {
                // With `using`, what may be written must be said too: the roles alone would be less than what may be read.
                None if has(Operation::Insert) && (roles_text.is_none() || using_text.is_some()) => {
                    notes.add(line, "a policy for insert needs `check`; say which rows may be written")
                }
                Some(text) if !has(Operation::Insert) && !has(Operation::Update) => {
                    notes.add(
                        text.line,
                        "`check` judges written rows; remove it, or add \"insert\" or \"update\" to `for`",
                    );
                }
                _ => {}
            }
            if let Some(columns) = &columns_text
                && !has(Operation::Update)
            {
                notes.add(
                    columns.line,
                    "`columns` limits what an update may assign; add \"update\" to `for`, or remove it",
                );
            }
            if let Some(columns) = &insert_text
                && !has(Operation::Insert)
            {
                notes.add(
                    columns.line,
                    "`insert_columns` limits what an insert may name; add \"insert\" to `for`, or remove it",
                );
            }
            for (key, list) in [("hide", &hide_text), ("show", &show_text)] {
                if let Some(list) = list
                    && !has(Operation::Select)
                {
                    notes.add(
                        list.line,
                        format!("`{key}` concerns reading; add \"select\" to `for`, or remove it"),
                    );
                }
            }
        }
        if let (Some(_), Some(show)) = (&hide_text, &show_text) {
            notes.add(show.line, "`hide` and `show` say one thing twice; keep one of them");
        }
        let of_list = |list: &Option<At<Vec<At<String>>>>| list.as_ref().map_or(line, |l| l.line);
        let lines = PolicyLines {
            start: line,
            using: using_text.as_ref().map_or(of_list(&roles_text), |t| t.line),
            check: check_text.as_ref().map_or(of_list(&roles_text), |t| t.line),
            columns: of_list(&columns_text),
            insert_columns: of_list(&insert_text),
            hide: hide_text.as_ref().map_or(of_list(&show_text), |h| h.line),
        };
        let (using, check) = match (roles, &operations) {
            (Some(roles), Some(operations)) => held_by(roles, operations, using, check),
            _ => (using, check),
        };
        let update_columns = columns_text.map(|c| update_columns(&c, draft, notes));
        let insert_columns = insert_text.map(|c| insert_columns(&c, draft, notes));
        let hide = match (hide_text, show_text) {
            (Some(hide), _) => hidden_columns(&hide, draft, notes),
            (None, Some(show)) => not_shown(&show, draft, notes),
            (None, None) => Vec::new(),
        };
        Some(Policy {
            name: name?.value,
            operations: operations?,
            using,
            check,
            update_columns,
            insert_columns,
            hide,
            allow_lint,
            lines,
        })
    }
}

/// A policy's predicates for whoever has its roles: for the row that is there and for the row that is written.
fn held_by(roles: Expr, operations: &[Operation], using: Option<Expr>, check: Option<Expr>) -> (Option<Expr>, Option<Expr>) {
    let has = |o: Operation| operations.contains(&o);
    let with = |own: Option<Expr>, needed: bool| match own {
        Some(own) => Some(all([roles.clone(), own])),
        None => needed.then(|| roles.clone()),
    };
    let reads = has(Operation::Select) || has(Operation::Update) || has(Operation::Delete);
    (with(using, reads), with(check, has(Operation::Insert)))
}

fn operations(section: &mut Section<'_, '_>, notes: &mut Notes) -> Option<Vec<Operation>> {
    let example = "[\"select\"]";
    let Some(written) = section.texts("for", notes) else {
        if !section.has("for") {
            section.missing("for", example, notes);
        }
        return None;
    };
    let mut operations = Vec::new();
    for word in &written.value {
        let operation = match word.value.as_str() {
            "select" => Operation::Select,
            "insert" => Operation::Insert,
            "update" => Operation::Update,
            "delete" => Operation::Delete,
            other => {
                notes.add(
                    word.line,
                    format!("there is no operation `{other}`; write \"select\", \"insert\", \"update\" or \"delete\""),
                );
                continue;
            }
        };
        if operations.contains(&operation) {
            notes.add(word.line, format!("`{}` stands twice; remove one", word.value));
        } else {
            operations.push(operation);
        }
    }
    if written.value.is_empty() {
        notes.add(
            written.line,
            format!("the policy is for nothing; write operations, such as {example}"),
        );
    }
    (!operations.is_empty()).then_some(operations)
}

fn update_columns(written: &At<Vec<At<String>>>, draft: &Draft<'_, '_>, notes: &mut Notes) -> Vec<Ident> {
    if written.value.is_empty() {
        notes.add(
            written.line,
            "`columns` is empty, so the update could assign nothing; name columns, or drop \"update\"",
        );
    }
    let columns = draft.resolve(&written.value, "`columns`", notes);
    check_presets(written, Operation::Update, "columns", draft, notes);
    for at in &written.value {
        if draft.table.column(&at.value).is_some_and(|c| c.immutable) {
            notes.add(
                at.line,
                format!("`{}` is immutable; remove it from `columns`, or remove `immutable`", at.value),
            );
        }
    }
    columns
}

fn insert_columns(written: &At<Vec<At<String>>>, draft: &Draft<'_, '_>, notes: &mut Notes) -> Vec<Ident> {
    let columns = draft.resolve(&written.value, "`insert_columns`", notes);
    check_presets(written, Operation::Insert, "insert_columns", draft, notes);
    for column in &draft.table.columns {
        let filled = column.default.is_some() || column.preset_on(Operation::Insert) || columns.contains(&column.name);
        if !filled && (column.not_null || draft.table.primary_key.contains(&column.name)) {
            notes.add(
                written.line,
                format!(
                    "`{}` must not be NULL and has no default, so no insert under this policy could succeed; add it to `insert_columns`",
                    column.name
                ),
            );
        }
    }
    columns
}

/// A column that is set anyway cannot be named.
fn check_presets(written: &At<Vec<At<String>>>, on: Operation, key: &str, draft: &Draft<'_, '_>, notes: &mut Notes) {
    for at in &written.value {
        if draft.table.column(&at.value).is_some_and(|c| c.preset_on(on)) {
            notes.add(
                at.line,
                format!(
                    "`{}` is preset on {}, so nobody may name it; remove it from `{key}`, or remove `preset`",
                    at.value,
                    on.as_str()
                ),
            );
        }
    }
}

/// Columns that some policies let an INSERT name and others do not: what these find there must be what nobody named, which a predicate has to
/// be able to say.
fn check_insert_lists(table: &Table, notes: &mut Notes) {
    let inserts = table.policies.iter().filter(|p| p.operations.contains(&Operation::Insert));
    for policy in inserts.filter(|p| p.insert_columns.is_some()) {
        let told = |c: &&Column| {
            !policy.may_insert(c) && table.insertable(c) && !c.preset_on(Operation::Insert) && c.left_alone().is_none()
        };
        for column in table.columns.iter().filter(told) {
            notes.add(
                policy.lines.insert_columns,
                format!(
                    "other policies let an insert name `{}`, and from its default nobody can tell whether it was named; list it here too, or \
                     give the others an `insert_columns` without it",
                    column.name
                ),
            );
        }
    }
}

/// With `show` all else is hidden, what is added later too. Keys are shown anyway.
fn not_shown(written: &At<Vec<At<String>>>, draft: &Draft<'_, '_>, notes: &mut Notes) -> Vec<Ident> {
    let shown = draft.resolve(&written.value, "`show`", notes);
    let never = draft.table.columns.iter().filter(|c| c.never && shown.contains(&c.name));
    for column in never {
        notes.add(
            written.line,
            format!("`{}` is never shown; remove it from `show`", column.name),
        );
    }
    let hidden = (draft.table.columns.iter())
        .filter(|c| !c.never && !shown.contains(&c.name) && !draft.table.primary_key.contains(&c.name));
    hidden.map(|c| c.name.clone()).collect()
}

fn hidden_columns(written: &At<Vec<At<String>>>, draft: &Draft<'_, '_>, notes: &mut Notes) -> Vec<Ident> {
    let columns = draft.resolve(&written.value, "`hide`", notes);
    let mut hidden = Vec::new();
    for name in columns {
        let at = written
            .value
            .iter()
            .find(|w| w.value == name.as_str())
            .expect("resolved from this list");
        if may_hide(&draft.table, &name, at, notes) {
            hidden.push(name);
        }
    }
    hidden
}
