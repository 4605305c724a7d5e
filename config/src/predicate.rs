//! From the operator's SQL text to an [`Expr`], or to a list of complaints.
//!
//! `sqlparser` reads the text; this file allows what it knows and refuses everything else by name. Names are resolved against the
//! module's declared tables and every comparison is checked for types, so that a predicate which PostgreSQL would refuse, or which
//! could never be true, is found before anything is provisioned.
//!
//! What may be written: bare columns, `claim.NAME`, `'text'`, whole numbers, `true`/`false`, `= <> < <= > >=`, `AND OR NOT`,
//! `IS [NOT] NULL`, `IS [NOT] TRUE`, `[NOT] IN ('a', 'b')`, `x = ANY(claim.LIST)` and
//! `x [NOT] IN (SELECT column FROM table WHERE …)`, nested as deep as one likes but never correlated, of a table that the module declares or
//! imports.

use sqlparser::ast::{self, BinaryOperator, Query, UnaryOperator, Value};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use crate::expr::{Claim, ClaimTag, ClaimType, Compare, Const, Expr, InSelect};
use crate::load::nearest;
use crate::names::{ColumnRef, Ident, ModuleName, TableRef};
use crate::types::ColumnType;

mod kind;
mod syntax;

use kind::Kind;
use syntax::{SelectParts, folded, refused};

/// Longest predicate, bytes; it bounds the recursion below.
pub const MAX_PREDICATE_BYTES: usize = 8 * 1024;

/// What a predicate may know of a table.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Its name.
    pub name: TableRef,
    /// Its columns.
    pub columns: Vec<ShapeColumn>,
    /// What it is the shape of.
    pub kind: ShapeKind,
}

/// What has a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeKind {
    /// A declared table.
    Table,
    /// A table that is imported: the columns are those that are read of it.
    Import,
    /// A role: the columns are what it is scoped by.
    Role,
}

/// What a predicate may know of a column.
#[derive(Debug, Clone)]
pub struct ShapeColumn {
    /// Its name.
    pub name: Ident,
    /// Its type; `None` where the manifest's was not understood (already reported, so it compares with anything).
    pub ty: Option<ColumnType>,
    /// Stored sealed, so PostgreSQL cannot read it.
    pub protected: bool,
    /// Its equality can be asked though it is.
    pub eq: bool,
    /// Nobody may read it.
    pub never: bool,
}

/// Where a predicate stands.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'s> {
    /// Its module.
    pub module: &'s ModuleName,
    /// The table whose rows it judges.
    pub table: &'s Shape,
    /// What a subquery may look into: all declared tables of the module, that one included, and what it imports.
    pub tables: &'s [Shape],
    /// The claims that there are.
    pub claims: &'s [Claim],
}

/// Reads a predicate over `scope.table`. On failure every complaint says what is wrong, then what to do.
pub fn parse(text: &str, scope: Scope<'_>) -> Result<Expr, Vec<String>> {
    Reader::new(Some(scope), scope.claims).read(text)
}

/// Reads a predicate that stands above all tables and may therefore read claims only.
pub fn parse_claims_only(text: &str, claims: &[Claim]) -> Result<Expr, Vec<String>> {
    Reader::new(None, claims).read(text)
}

struct Reader<'s> {
    scope: Option<Scope<'s>>,
    claims: &'s [Claim],
    complaints: Vec<String>,
}

impl<'s> Reader<'s> {
    fn new(scope: Option<Scope<'s>>, claims: &'s [Claim]) -> Self {
        Self {
            scope,
            claims,
            complaints: Vec::new(),
        }
    }

    fn read(mut self, text: &str) -> Result<Expr, Vec<String>> {
        if text.len() > MAX_PREDICATE_BYTES {
            return Err(vec![format!(
                "the predicate is longer than {MAX_PREDICATE_BYTES} bytes; split it into several policies"
            )]);
        }
        let tree = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut parser| {
            let tree = parser.parse_expr()?;
            parser.expect_token(&Token::EOF)?;
            Ok(tree)
        });
        let tree = match tree {
            Ok(tree) => tree,
            Err(e) => return Err(vec![format!("this is not an SQL predicate ({e}); mend its syntax")]),
        };
        let expr = self.predicate(&tree, self.scope.map(|s| s.table));
        match expr {
            Some(expr) if self.complaints.is_empty() => Ok(expr),
            _ => Err(self.complaints),
        }
    }

    fn complain<T>(&mut self, message: impl Into<String>) -> Option<T> {
        self.complaints.push(message.into());
        None
    }

    /// An expression that must be boolean.
    fn predicate(&mut self, tree: &ast::Expr, table: Option<&'s Shape>) -> Option<Expr> {
        let (expr, kind) = self.value(tree, table)?;
        if matches!(kind, Kind::Bool | Kind::Unknown) {
            return Some(expr);
        }
        self.complain(format!(
            "`{tree}` is {}, not a condition; compare it with something",
            kind.named()
        ))
    }

    fn value(&mut self, tree: &ast::Expr, table: Option<&'s Shape>) -> Option<(Expr, Kind)> {
        let condition = |e: Option<Expr>| e.map(|e| (e, Kind::Bool));
        match tree {
            ast::Expr::Nested(inner) => self.value(inner, table),
            ast::Expr::Identifier(name) => self.column(name, table),
            ast::Expr::CompoundIdentifier(parts) => self.claim(parts),
            ast::Expr::Value(v) => self.constant(&v.value),
            ast::Expr::UnaryOp { op, expr } => self.unary(*op, expr, table),
            ast::Expr::BinaryOp { op, .. } if matches!(op, BinaryOperator::And | BinaryOperator::Or) => {
                condition(self.chain(tree, op, table))
            }
            ast::Expr::BinaryOp { left, op, right } => condition(self.comparison(left, op, right, table)),
            ast::Expr::IsNull(of) => condition(self.is_null(of, false, table)),
            ast::Expr::IsNotNull(of) => condition(self.is_null(of, true, table)),
            ast::Expr::IsTrue(of) => condition(self.is_true(of, false, table)),
            ast::Expr::IsNotTrue(of) => condition(self.is_true(of, true, table)),
            ast::Expr::InList { expr, list, negated } => {
                condition(self.in_list(expr, list, table).map(|e| maybe_not(e, *negated)))
            }
            ast::Expr::InSubquery { expr, subquery, negated } => {
                condition(self.in_select(expr, subquery, table).map(|e| maybe_not(e, *negated)))
            }
            ast::Expr::AnyOp {
                left,
                compare_op,
                right,
                is_some: _,
            } => condition(self.any_claim(left, compare_op, right, table)),
            other => {
                let (what, remedy) = refused(other);
                self.complain(format!("`{other}`: {what} cannot be used in a policy; {remedy}"))
            }
        }
    }

    fn column(&mut self, name: &ast::Ident, table: Option<&'s Shape>) -> Option<(Expr, Kind)> {
        let folded = folded(name);
        let Some(table) = table else {
            return self.complain(format!(
                "`{folded}` would be a column, but no table is in sight here; use claims only, such as `claim.disabled IS NOT TRUE`"
            ));
        };
        let Some(column) = table.columns.iter().find(|c| c.name.as_str() == folded) else {
            if table.kind == ShapeKind::Role {
                return self.complain(format!(
                    "the role is not scoped by `{folded}`; name it in `scope`, or write `claim.{folded}` if a claim is meant"
                ));
            }
            let remedy = match nearest(&folded, table.columns.iter().map(|c| c.name.as_str())) {
                Some(close) => format!("did you mean `{close}`?"),
                None if self.scope.is_some_and(|s| s.table.columns.iter().any(|c| c.name.as_str() == folded)) => {
                    "it is a column of the outer table, and a subquery cannot look outward; compare it with `IN (SELECT …)` instead"
                        .to_owned()
                }
                None if self.claims.iter().any(|c| c.name() == folded) => format!("did you mean `claim.{folded}`?"),
                None if table.kind == ShapeKind::Import => "name it in `columns` of the import and of the export".to_owned(),
                None => "declare it in the manifest or correct the name".to_owned(),
            };
            let lacks = match table.kind {
                ShapeKind::Import => format!("of {} no column `{folded}` is imported", table.name),
                ShapeKind::Table | ShapeKind::Role => format!("table {} has no column `{folded}`", table.name),
            };
            return self.complain(format!("{lacks}; {remedy}"));
        };
        if column.never {
            return self.complain(format!(
                "column {}.{folded} is marked `never`, so no policy may read it; use another column",
                table.name
            ));
        }
        if column.protected {
            return self.complain(format!(
                "column {}.{folded} is protected, and PostgreSQL cannot read it inside a policy; use a plain column (an id, say) to \
                 decide who sees the row",
                table.name
            ));
        }
        let kind = column.ty.as_ref().map_or(Kind::Unknown, Kind::of);
        Some((Expr::Column(column.name.clone()), kind))
    }

    fn claim(&mut self, parts: &[ast::Ident]) -> Option<(Expr, Kind)> {
        let names: Vec<String> = parts.iter().map(folded).collect();
        let [qualifier, name] = names.as_slice() else {
            return self.complain(format!(
                "`{}` is not understood; write a bare column or `claim.NAME`",
                names.join(".")
            ));
        };
        if qualifier != "claim" {
            return self.complain(format!(
                "`{qualifier}.{name}`: columns stand bare in a policy; write `{name}`, or `claim.{name}` if a claim is meant"
            ));
        }
        let claim = self.known_claim(name)?;
        if claim.sealed() {
            return self.complain(format!(
                "`claim.{name}` is sealed, so PostgreSQL never sees it; compare a protected column that has \"eq\" with it, `column = \
                 claim.{name}`"
            ));
        }
        Some((Expr::Claim(claim), Kind::of_claim(claim.ty())))
    }

    fn known_claim(&mut self, name: &str) -> Option<Claim> {
        let Some(claim) = self.claims.iter().copied().find(|c| c.name() == name) else {
            let known: Vec<&str> = self.claims.iter().map(|c| c.name()).collect();
            let remedy = match nearest(name, known.iter().copied()) {
                Some(close) => format!("did you mean `claim.{close}`?"),
                None => format!("use one of {}", known.join(", ")),
            };
            return self.complain(format!("there is no claim `{name}`; {remedy}"));
        };
        Some(claim)
    }

    /// `column = claim.NAME` where the column is protected: their equality tags are compared. `None` where it is something else.
    fn tagged(&mut self, a: &ast::Expr, op: &BinaryOperator, b: &ast::Expr, table: Option<&'s Shape>) -> Option<Option<Expr>> {
        let (column, claim, flipped) = match (a, b) {
            (ast::Expr::Identifier(column), ast::Expr::CompoundIdentifier(claim)) => (column, claim, false),
            (ast::Expr::CompoundIdentifier(claim), ast::Expr::Identifier(column)) => (column, claim, true),
            _ => return None,
        };
        let name = folded(column);
        let table = table?;
        let column = table.columns.iter().find(|c| c.name.as_str() == name)?;
        let parts: Vec<String> = claim.iter().map(folded).collect();
        let [qualifier, claim] = parts.as_slice() else { return None };
        if qualifier != "claim" || !column.protected || column.never {
            return None;
        }
        let Some(claim) = self.known_claim(claim) else {
            return Some(None);
        };
        if *op != BinaryOperator::Eq {
            return Some(self.complain(format!(
                "`{a} {op} {b}`: a protected column is compared with a claim by `=` alone; write NOT around it if needed"
            )));
        }
        if !column.eq {
            return Some(self.complain(format!(
                "column {}.{name} is protected and has no equality tag; add \"eq\" to its `search`, or use a plain column",
                table.name
            )));
        }
        let suits = matches!(
            (&column.ty, claim.ty()),
            (None, _)
                | (Some(ColumnType::Text | ColumnType::Varchar(_)), ClaimType::Text)
                | (Some(ColumnType::Int4), ClaimType::Int4)
                | (Some(ColumnType::Int8), ClaimType::Int4 | ClaimType::Int8)
                | (Some(ColumnType::Uuid), ClaimType::Uuid)
                | (Some(ColumnType::Bool), ClaimType::Bool)
        );
        if !suits {
            return Some(self.complain(format!("`{a}` and `{b}` are of two types; compare values of one type")));
        }
        let tag = Box::new(Expr::Tag(column.name.clone()));
        let claim = Box::new(Expr::ClaimTag(ClaimTag {
            claim,
            column: ColumnRef {
                table: table.name.clone(),
                column: column.name.clone(),
            },
        }));
        let (a, b) = if flipped { (claim, tag) } else { (tag, claim) };
        Some(Some(Expr::Compare(Compare::Eq, a, b)))
    }

    fn constant(&mut self, value: &Value) -> Option<(Expr, Kind)> {
        match value {
            Value::Boolean(b) => Some((Expr::Bool(*b), Kind::Bool)),
            Value::SingleQuotedString(s) => Some((Expr::Const(Const::Text(s.clone())), Kind::Quoted)),
            Value::Number(digits, false) => match digits.parse() {
                Ok(n) => Some((Expr::Const(Const::Int(n)), Kind::Number)),
                Err(_) => self.complain(format!("`{digits}` is not a whole number of 64 bits; use one")),
            },
            Value::Null => self.complain("NULL equals nothing; write `IS NULL` or `IS NOT NULL`"),
            other => self.complain(format!("`{other}` is not a plain constant; write 'text' or a whole number")),
        }
    }

    fn unary(&mut self, op: UnaryOperator, of: &ast::Expr, table: Option<&'s Shape>) -> Option<(Expr, Kind)> {
        match (op, of) {
            (UnaryOperator::Not, of) => {
                let inner = self.predicate(of, table)?;
                Some((Expr::Not(Box::new(inner)), Kind::Bool))
            }
            (UnaryOperator::Minus, ast::Expr::Value(v)) => match &v.value {
                Value::Number(digits, false) => self.constant(&Value::Number(format!("-{digits}"), false)),
                _ => self.complain(format!("`-{of}` is not a number; write a whole number")),
            },
            (op, of) => self.complain(format!(
                "`{op}{of}`: the operator `{op}` cannot be used in a policy; compare plain values"
            )),
        }
    }

    /// `a AND b AND c` as one node, whichever way it was nested. Walks the left spine without recursion: it is as long as the text.
    fn chain(&mut self, tree: &ast::Expr, wanted: &BinaryOperator, table: Option<&'s Shape>) -> Option<Expr> {
        let mut terms = Vec::new();
        let mut stack = vec![tree];
        let mut whole = true;
        while let Some(next) = stack.pop() {
            match next {
                ast::Expr::Nested(inner) => stack.push(inner),
                ast::Expr::BinaryOp { left, op, right } if op == wanted => {
                    stack.push(right);
                    stack.push(left);
                }
                term => match self.predicate(term, table) {
                    Some(e) => terms.push(e),
                    None => whole = false,
                },
            }
        }
        whole.then_some(match wanted {
            BinaryOperator::And => Expr::And(terms),
            _ => Expr::Or(terms),
        })
    }

    fn comparison(&mut self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr, table: Option<&'s Shape>) -> Option<Expr> {
        if let Some(tagged) = self.tagged(left, op, right, table) {
            return tagged;
        }
        let compare = match op {
            BinaryOperator::Eq => Compare::Eq,
            BinaryOperator::NotEq => Compare::Ne,
            BinaryOperator::Lt => Compare::Lt,
            BinaryOperator::LtEq => Compare::Le,
            BinaryOperator::Gt => Compare::Gt,
            BinaryOperator::GtEq => Compare::Ge,
            other => {
                return self.complain(format!(
                    "`{left} {other} {right}`: the operator `{other}` cannot be used in a policy; use = <> < <= > >= AND OR NOT IN"
                ));
            }
        };
        let (a, b) = (self.value(left, table), self.value(right, table));
        let ((a, a_kind), (b, b_kind)) = (a?, b?);
        self.check_comparable(left, &a_kind, right, &b_kind)?;
        self.check_service(&a, &b)?;
        Some(Expr::Compare(compare, Box::new(a), Box::new(b)))
    }

    fn check_comparable(&mut self, left: &ast::Expr, a: &Kind, right: &ast::Expr, b: &Kind) -> Option<()> {
        if a.compares_with(b) {
            return Some(());
        }
        let remedy = match (a, b) {
            (Kind::List(_), _) => format!("write `{right} = ANY({left})`"),
            (_, Kind::List(_)) => format!("write `{left} = ANY({right})`"),
            _ => "compare values of one type".to_owned(),
        };
        self.complain(format!("`{left}` is {} and `{right}` is {}; {remedy}", a.named(), b.named()))
    }

    /// Only this module's own service login ever reaches this module's tables.
    fn check_service(&mut self, a: &Expr, b: &Expr) -> Option<()> {
        let ((Expr::Claim(Claim::Service), Expr::Const(Const::Text(named)))
        | (Expr::Const(Const::Text(named)), Expr::Claim(Claim::Service))) = (a, b)
        else {
            return Some(());
        };
        match self.scope {
            Some(scope) if scope.module.as_str() != named => self.complain(format!(
                "`claim.service` is never '{named}' in module {m}; write '{m}'",
                m = scope.module
            )),
            _ => Some(()),
        }
    }

    fn is_null(&mut self, of: &ast::Expr, negated: bool, table: Option<&'s Shape>) -> Option<Expr> {
        let (of, _) = self.value(of, table)?;
        Some(Expr::IsNull {
            of: Box::new(of),
            negated,
        })
    }

    fn is_true(&mut self, of: &ast::Expr, negated: bool, table: Option<&'s Shape>) -> Option<Expr> {
        let of = Box::new(self.predicate(of, table)?);
        Some(Expr::IsTrue { of, negated })
    }

    fn in_list(&mut self, value: &ast::Expr, list: &[ast::Expr], table: Option<&'s Shape>) -> Option<Expr> {
        let (expr, kind) = self.value(value, table)?;
        let mut constants = Vec::new();
        for item in list {
            let (constant, item_kind) = self.value(item, table)?;
            let Expr::Const(constant) = constant else {
                return self.complain(format!(
                    "`{item}` in the list of `{value} IN (…)` is not a constant; write 'text' or numbers"
                ));
            };
            self.check_comparable(value, &kind, item, &item_kind)?;
            constants.push(constant);
        }
        if constants.is_empty() {
            return self.complain(format!("`{value} IN ()` matches nothing; name at least one value"));
        }
        Some(Expr::InList(Box::new(expr), constants))
    }

    fn any_claim(&mut self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr, table: Option<&'s Shape>) -> Option<Expr> {
        if *op != BinaryOperator::Eq {
            return self.complain(format!(
                "`{left} {op} ANY(…)`: only `= ANY(claim.LIST)` is understood; write NOT around it if needed"
            ));
        }
        let (value, claim) = (self.value(left, table), self.value(right, table));
        let ((value, value_kind), (claim, claim_kind)) = (value?, claim?);
        let (Expr::Claim(claim), Kind::List(entry)) = (claim, claim_kind) else {
            let lists = self.claims.iter().filter(|c| c.ty().is_list());
            let lists: Vec<String> = lists.map(|c| format!("claim.{}", c.name())).collect();
            return self.complain(format!(
                "`{right}` is not a list of claims; ANY takes one of {}",
                lists.join(", ")
            ));
        };
        let entry = Kind::of_claim(entry);
        if !value_kind.compares_with(&entry) {
            let remedy = match entry {
                Kind::Text => "compare a text column",
                _ => "compare a column of that type",
            };
            return self.complain(format!(
                "`{left}` is {} and the entries of `{right}` are {}; {remedy}",
                value_kind.named(),
                entry.named()
            ));
        }
        Some(Expr::AnyClaim(Box::new(value), claim))
    }

    fn in_select(&mut self, value: &ast::Expr, query: &Query, table: Option<&'s Shape>) -> Option<Expr> {
        let Some(scope) = self.scope else {
            return self.complain("a subquery needs a table, and none is in sight here; use claims only");
        };
        let (expr, kind) = self.value(value, table)?;
        let Some(parts) = SelectParts::of(query) else {
            return self.complain(format!(
                "the subquery `{query}` is more than is understood; write `SELECT column FROM table WHERE condition` and no more"
            ));
        };
        let schema = &scope.table.name.schema;
        if let Some(foreign) = parts.schema.as_deref().filter(|s| *s != schema.as_str()) {
            return self.complain(format!(
                "`{foreign}.{}` is outside module {}; a policy looks into what its module declares or imports: import the table, or carry \
                 the fact in a claim",
                parts.table, scope.module
            ));
        }
        let Some(inner) = scope.tables.iter().find(|t| t.name.name.as_str() == parts.table) else {
            let remedy = match nearest(&parts.table, scope.tables.iter().map(|t| t.name.name.as_str())) {
                Some(close) => format!("did you mean `{close}`?"),
                None => "declare it in the manifest, import it, or correct the name".to_owned(),
            };
            return self.complain(format!(
                "module {} declares no table `{}` and imports none; {remedy}",
                scope.module, parts.table
            ));
        };
        let column = self.column(parts.column, Some(inner));
        let predicate = self.predicate(parts.predicate, Some(inner));
        let ((column, column_kind), predicate) = (column?, predicate?);
        let Expr::Column(column) = column else { return None };
        if !kind.compares_with(&column_kind) {
            return self.complain(format!(
                "`{value}` is {} and {}.{column} is {}; compare values of one type",
                kind.named(),
                inner.name,
                column_kind.named()
            ));
        }
        Some(Expr::InSelect(Box::new(InSelect {
            value: expr,
            table: inner.name.clone(),
            column,
            predicate,
        })))
    }
}

fn maybe_not(e: Expr, negated: bool) -> Expr {
    if negated { Expr::Not(Box::new(e)) } else { e }
}

#[cfg(test)]
mod tests;
