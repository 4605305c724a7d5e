//! `[[table.policy]]`, `restrict`, `mask_unless` and `hide`: who may see and do what.

use std::collections::BTreeSet;

use super::allowance;
use super::document::{At, Notes, Section};
use super::keys::may_hide;
use super::module::identifier;
use super::table::Draft;
use crate::expr::Expr;
use crate::manifest::{Operation, Policy, PolicyLines, Written};
use crate::names::{Ident, ModuleName};
use crate::policy::{all, any};
use crate::predicate::{self, Scope, Shape};

/// Turns a table's predicates into expressions and its `hide` and `mask_unless` into conditions on columns.
pub(super) fn read(
    draft: &mut Draft<'_, '_>,
    module: &ModuleName,
    shape: &Shape,
    shapes: &[Shape],
    predicates: &mut Vec<Written>,
    notes: &mut Notes,
) {
    let mut reader = Reader {
        scope: Scope {
            module,
            table: shape,
            tables: shapes,
        },
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
        let mask = rest
            .mask_unless
            .as_ref()
            .and_then(|text| reader.predicate(text, "`mask_unless`", notes));
        let hidden = policies
            .iter()
            .any(|p| p.hide.contains(&column.name))
            .then(|| shown_by(&policies, &column.name));
        column.shown_when = match (mask, hidden) {
            (None, None) => None,
            (mask, hidden) => Some(all(mask.into_iter().chain(hidden))),
        };
    }
    draft.table.policies = policies;
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

    fn policy(&mut self, section: &mut Section<'_, '_>, draft: &Draft<'_, '_>, notes: &mut Notes) -> Option<Policy> {
        let name = section
            .need_text("name", "\"self\"", notes)
            .and_then(|n| identifier(&n, notes));
        let operations = operations(section, notes);
        let using_text = section.text("using", notes);
        let check_text = section.text("check", notes);
        let columns_text = section.texts("columns", notes);
        let hide_text = section.texts("hide", notes);
        let using = using_text.as_ref().and_then(|t| self.predicate(t, "`using`", notes));
        let check = check_text.as_ref().and_then(|t| self.predicate(t, "`check`", notes));
        let allow_lint = allowance::read(section, notes);
        let line = section.line();
        if let Some(operations) = &operations {
            let has = |o: Operation| operations.contains(&o);
            let reads = has(Operation::Select) || has(Operation::Update) || has(Operation::Delete);
            match &using_text {
                None if reads => notes.add(
                    line,
                    "a policy for select, update or delete needs `using`; say which rows it permits",
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
                None if has(Operation::Insert) => {
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
            if let Some(hide) = &hide_text
                && !has(Operation::Select)
            {
                notes.add(hide.line, "`hide` concerns reading; add \"select\" to `for`, or remove it");
            }
        }
        let of = |text: &Option<At<String>>| text.as_ref().map_or(line, |t| t.line);
        let of_list = |list: &Option<At<Vec<At<String>>>>| list.as_ref().map_or(line, |l| l.line);
        let lines = PolicyLines {
            start: line,
            using: of(&using_text),
            check: of(&check_text),
            columns: of_list(&columns_text),
            hide: of_list(&hide_text),
        };
        let update_columns = columns_text.map(|c| update_columns(&c, draft, notes));
        let hide = hide_text.map(|h| hidden_columns(&h, draft, notes)).unwrap_or_default();
        Some(Policy {
            name: name?.value,
            operations: operations?,
            using,
            check,
            update_columns,
            hide,
            allow_lint,
            lines,
        })
    }
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
