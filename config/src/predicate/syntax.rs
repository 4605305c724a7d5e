//! Which syntax trees are recognised, and what the others are called.

use sqlparser::ast::{self, GroupByExpr, ObjectNamePart, Query, SelectItem, SetExpr, TableFactor};

/// The parts of `SELECT column FROM table WHERE condition`.
pub(super) struct SelectParts<'q> {
    pub(super) column: &'q ast::Ident,
    pub(super) schema: Option<String>,
    pub(super) table: String,
    pub(super) predicate: &'q ast::Expr,
}

impl<'q> SelectParts<'q> {
    /// `None` unless the query is exactly that. The printed form of the parts must be the printed form of the whole, so that no
    /// clause can hide in a field that is not looked at.
    pub(super) fn of(query: &'q Query) -> Option<Self> {
        let SetExpr::Select(select) = query.body.as_ref() else {
            return None;
        };
        let [SelectItem::UnnamedExpr(ast::Expr::Identifier(column))] = select.projection.as_slice() else {
            return None;
        };
        let [from] = select.from.as_slice() else { return None };
        let TableFactor::Table { name, .. } = &from.relation else {
            return None;
        };
        let predicate = select.selection.as_ref()?;
        if !from.joins.is_empty() || !matches!(&select.group_by, GroupByExpr::Expressions(e, m) if e.is_empty() && m.is_empty()) {
            return None;
        }
        if query.to_string() != format!("SELECT {column} FROM {name} WHERE {predicate}") {
            return None;
        }
        let mut names = Vec::new();
        for part in &name.0 {
            let ObjectNamePart::Identifier(part) = part else { return None };
            names.push(folded(part));
        }
        let table = names.pop()?;
        let schema = names.pop();
        names.is_empty().then_some(Self {
            column,
            schema,
            table,
            predicate,
        })
    }
}

/// Unquoted names fold to lower case, as in PostgreSQL.
pub(super) fn folded(name: &ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}

/// What a refused node is called, and what to write instead.
pub(super) fn refused(tree: &ast::Expr) -> (&'static str, &'static str) {
    match tree {
        ast::Expr::Function(_) => ("a function call", "compare columns and claims directly"),
        ast::Expr::Cast { .. } => ("a cast", "declare the column with the type that is needed"),
        ast::Expr::Case { .. } => ("CASE", "write AND and OR"),
        ast::Expr::Exists { .. } => ("EXISTS", "write `x IN (SELECT column FROM table WHERE …)`"),
        ast::Expr::Subquery(_) => ("a scalar subquery", "write `x IN (SELECT column FROM table WHERE …)`"),
        ast::Expr::Between { .. } => ("BETWEEN", "write `x >= low AND x <= high`"),
        ast::Expr::Like { .. } | ast::Expr::ILike { .. } | ast::Expr::SimilarTo { .. } | ast::Expr::RLike { .. } => {
            ("a pattern match", "compare whole values")
        }
        ast::Expr::IsFalse(_) => ("IS FALSE", "write `NOT x`"),
        ast::Expr::IsNotFalse(_) => ("IS NOT FALSE", "write `x IS TRUE OR x IS NULL`"),
        ast::Expr::IsUnknown(_) => ("IS UNKNOWN", "write `x IS NULL`"),
        ast::Expr::IsNotUnknown(_) => ("IS NOT UNKNOWN", "write `x IS NOT NULL`"),
        ast::Expr::IsDistinctFrom(..) => ("IS DISTINCT FROM", "write `<>` and say what NULL means"),
        ast::Expr::IsNotDistinctFrom(..) => ("IS NOT DISTINCT FROM", "write `=` and say what NULL means"),
        ast::Expr::AllOp { .. } => ("ALL", "write NOT and `= ANY(claim.LIST)`"),
        ast::Expr::Tuple(_) => ("a row of values", "compare its parts one by one"),
        ast::Expr::Array(_) => ("an array", "write `x IN ('a', 'b')`"),
        _ => (
            "this construct",
            "use columns, claims, constants, comparisons, AND, OR, NOT and IN",
        ),
    }
}
