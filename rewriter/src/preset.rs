//! Presets: columns that the manifest sets, and that no statement of a client may name.
//!
//! A plain column gets an expression that reads the same claim setting as policies do; a protected one, or one that protected values are
//! bound to, a value that the session takes from the identity it sends those settings for. Native checks compare what was written
//! ([`Table::check`]), so a statement that went past the proxy cannot choose another value.

use pg_query::NodeEnum;
use pg_query::protobuf::{List, Node, ResTarget, SelectStmt};
use postern_config::expr::{Expr, Subqueries};
use postern_config::manifest::{Operation, PresetValue};
use postern_config::names::quote_literal;
use postern_config::{Column, Table};

use crate::judge::Judge;
use crate::plan::{Refusal, Sealed, Value};
use crate::relations::{expression, predicate};
use crate::tree;

/// The columns that `operation` sets by itself.
pub(crate) fn presets(table: &Table, operation: Operation) -> Vec<&Column> {
    table.columns.iter().filter(|c| c.preset_on(operation)).collect()
}

/// Refuses a column that `operation` sets by itself.
pub(crate) fn may_name(table: &Table, column: &Column, operation: Operation) -> Result<(), Refusal> {
    if !column.preset_on(operation) {
        return Ok(());
    }
    Err(Refusal::denied(
        "preset-column",
        format!("permission denied for column {} of table {}", column.name, table.name.name),
    )
    .hint("The manifest presets this column; leave it out, and it is set."))
}

/// What a plain column is set to, as SQL of the column's type.
pub(crate) fn node(column: &Column) -> Result<Node, Refusal> {
    let Some(preset) = &column.preset else {
        return Err(Refusal::internal("a column without preset is preset"));
    };
    match &preset.value {
        PresetValue::Claim(claim) => predicate(&Expr::Claim(*claim), "", Subqueries::Inline),
        PresetValue::Now => expression(&format!("pg_catalog.now()::{}", column.ty)),
        PresetValue::Literal(text) => expression(&format!("{}::{}", quote_literal(text), column.ty)),
    }
}

/// What it is set to, for the session to seal, to tag or to bind other values to.
pub(crate) fn value(table: &Table, column: &Column) -> Result<Value, Refusal> {
    match column.preset.as_ref().map(|p| &p.value) {
        Some(PresetValue::Claim(claim)) => Ok(Value::Claim(*claim, column.ty.clone())),
        Some(PresetValue::Literal(text)) => Ok(Value::Text(Some(text.as_str().into()), column.ty.clone())),
        Some(PresetValue::Now) | None => Err(Refusal::internal(format!(
            "column {} of {} is not preset to a known value",
            column.name, table.name
        ))),
    }
}

/// [`value`] as other values are bound to it: a protected column's tag.
pub(crate) fn bound_value(table: &Table, column: &Column) -> Result<Value, Refusal> {
    let own = value(table, column)?;
    Ok(match column.protection {
        None => own,
        Some(_) => Value::Tag(
            Sealed {
                column: table.column_ref(&column.name),
                ty: column.ty.clone(),
            },
            Box::new(own),
        ),
    })
}

/// Adds the columns' values to every row that a query gives.
pub(crate) fn append(select: &mut SelectStmt, presets: &[&Column]) -> Result<(), Refusal> {
    if let (Some(left), Some(right)) = (&mut select.larg, &mut select.rarg) {
        append(left, presets)?;
        return append(right, presets);
    }
    for row in &mut select.values_lists {
        let Some(NodeEnum::List(List { items })) = &mut row.node else {
            return Err(Refusal::internal("VALUES holds something else"));
        };
        for column in presets {
            items.push(node(column)?);
        }
    }
    if select.values_lists.is_empty() {
        for column in presets {
            select.target_list.push(tree::node(NodeEnum::ResTarget(Box::new(ResTarget {
                name: String::new(),
                indirection: Vec::new(),
                val: Some(Box::new(node(column)?)),
                location: -1,
            }))));
        }
    }
    Ok(())
}

impl Judge<'_> {
    /// Adds to SET what every UPDATE sets.
    pub(crate) fn set_presets(&self, list: &mut Vec<Node>, table: &Table) -> Result<(), Refusal> {
        for column in presets(table, Operation::Update) {
            list.push(tree::target(node(column)?, column.name.as_str()));
        }
        Ok(())
    }
}
