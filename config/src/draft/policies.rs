//! Native policies as policies of a manifest, where their predicates can be said in its language; else as comments with the original.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sqlparser::ast::{self, BinaryOperator, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Value};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;

use super::table::Home;
use super::{Policy, Table, quoted, quoted_list, said};
use crate::expr::Claim;
use crate::names::{Ident, quote_ident, quote_literal};
use crate::predicate::{self, MAX_PREDICATE_BYTES, Scope, Shape};

pub(super) fn write(home: &Home<'_>, table: &Table, text: &mut String) {
    if table.policies.is_empty() {
        text.push_str(
            "# The database has no policy for it, and so nobody reads or writes it here until a [[table.policy]] says who may.\n",
        );
        return;
    }
    // Writing to a String cannot fail, here and below.
    if !table.secured {
        text.push_str("# Native row-level security is off in the database, so that these policies are not in force there.\n");
    }
    let Some(shape) = home.shapes.iter().find(|s| s.name.name.as_str() == table.name) else {
        return;
    };
    let scope = Scope {
        module: home.module,
        table: shape,
        tables: &home.shapes,
        claims: &Claim::BUILT_IN,
    };
    let (restrictive, permissive): (Vec<&Policy>, Vec<&Policy>) = table.policies.iter().partition(|p| !p.permissive);
    restrictions(home, &restrictive, scope, text);
    let mut names = BTreeSet::new();
    for policy in permissive {
        match permissive_policy(home, policy, scope) {
            Ok(block) if names.insert(policy.name.as_str()) && Ident::new(&policy.name).is_ok() => {
                text.push('\n');
                text.push_str(&block);
            }
            Ok(_) => original(policy, "its name cannot stand in a manifest", text),
            Err(why) => original(policy, &why, text),
        }
    }
}

/// `restrict` is one predicate for all operations and everybody.
fn restrictions(home: &Home<'_>, policies: &[&Policy], scope: Scope<'_>, text: &mut String) {
    let mut taken = Vec::new();
    for policy in policies {
        let whole = policy.command == '*' && policy.roles.is_empty() && (policy.check.is_none() || policy.check == policy.using);
        if !whole {
            original(
                policy,
                "it restricts some operations or roles alone, and `restrict` holds for all",
                text,
            );
            continue;
        }
        match policy.using.as_deref().map(|u| translated(home, u, scope)) {
            Some(Ok(predicate)) => taken.push(format!("({predicate})")),
            Some(Err(why)) => original(policy, &why, text),
            None => {}
        }
    }
    if !taken.is_empty() {
        let _ = writeln!(text, "restrict = {}", quoted(&taken.join(" AND ")));
    }
}

fn permissive_policy(home: &Home<'_>, policy: &Policy, scope: Scope<'_>) -> Result<String, String> {
    if !policy.roles.is_empty() {
        return Err(format!(
            "it is for the roles {} alone, and here claims say who somebody is",
            policy.roles.join(", ")
        ));
    }
    let operations: &[&str] = match policy.command {
        'r' => &["select"],
        'a' => &["insert"],
        'w' => &["update"],
        'd' => &["delete"],
        '*' => &["select", "insert", "update", "delete"],
        other => return Err(format!("it is for an unknown command {other:?}")),
    };
    let predicate = |written: &Option<String>| written.as_deref().map(|w| translated(home, w, scope)).transpose();
    let (using, check) = (predicate(&policy.using)?, predicate(&policy.check)?);
    let mut block = String::from("[[table.policy]]\n");
    let _ = writeln!(block, "name = {}", quoted(&policy.name));
    let _ = writeln!(block, "for = {}", quoted_list(operations));
    if let Some(using) = using.as_ref().filter(|_| policy.command != 'a') {
        let _ = writeln!(block, "using = {}", quoted(using));
    }
    // Where there is no WITH CHECK PostgreSQL takes USING for written rows too.
    let writes = matches!(policy.command, '*' | 'a' | 'w');
    match check.or(using).filter(|_| writes) {
        Some(check) => {
            let _ = writeln!(block, "check = {}", quoted(&check));
        }
        None if policy.command == 'a' => return Err("it has no predicate".to_owned()),
        None => {}
    }
    Ok(block)
}

fn original(policy: &Policy, why: &str, text: &mut String) {
    let _ = writeln!(
        text,
        "# The native policy {} is not taken over: {}.",
        said(&policy.name),
        said(why.trim_end_matches('.'))
    );
    let kind = if policy.permissive { "PERMISSIVE" } else { "RESTRICTIVE" };
    let command = match policy.command {
        'r' => "SELECT",
        'a' => "INSERT",
        'w' => "UPDATE",
        'd' => "DELETE",
        _ => "ALL",
    };
    let roles = if policy.roles.is_empty() {
        "PUBLIC".to_owned()
    } else {
        policy.roles.join(", ")
    };
    let _ = writeln!(text, "#   AS {kind} FOR {command} TO {}", said(&roles));
    for (word, predicate) in [("USING", &policy.using), ("WITH CHECK", &policy.check)] {
        if let Some(predicate) = predicate {
            let _ = writeln!(text, "#   {word} ({})", said(predicate));
        }
    }
}

/// A native predicate in the manifest's language, proven by reading it as a manifest's.
fn translated(home: &Home<'_>, written: &str, scope: Scope<'_>) -> Result<String, String> {
    if written.len() > MAX_PREDICATE_BYTES {
        return Err("its predicate is too long".to_owned());
    }
    let tree = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(written)
        .and_then(|mut parser| {
            let tree = parser.parse_expr()?;
            parser.expect_token(&Token::EOF)?;
            Ok(tree)
        });
    let tree = tree.map_err(|_| "its predicate is not understood".to_owned())?;
    let reader = Reader {
        claims: &home.division.claims,
        home,
    };
    let text = reader.predicate(&tree, &Place::of(scope.table))?;
    match predicate::parse(&text, scope) {
        Ok(_) => Ok(text),
        Err(complaints) => Err(complaints.into_iter().next().unwrap_or_default()),
    }
}

/// What names mean at one place: a table, and how it may be called.
struct Place {
    names: Vec<String>,
}

impl Place {
    fn of(shape: &Shape) -> Self {
        Self {
            names: vec![shape.name.name.as_str().to_owned()],
        }
    }
}

struct Reader<'h> {
    claims: &'h BTreeMap<String, Claim>,
    home: &'h Home<'h>,
}

impl Reader<'_> {
    fn predicate(&self, tree: &ast::Expr, place: &Place) -> Result<String, String> {
        let go = |e: &ast::Expr| self.predicate(e, place);
        Ok(match tree {
            ast::Expr::Nested(inner) => go(inner)?,
            ast::Expr::BinaryOp { left, op, right } => match op {
                BinaryOperator::And | BinaryOperator::Or => format!("({} {op} {})", go(left)?, go(right)?),
                BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq => format!("({} {op} {})", self.value(left, place)?, self.value(right, place)?),
                other => return Err(format!("the operator {other} is not in the language of policies")),
            },
            ast::Expr::UnaryOp {
                op: UnaryOperator::Not,
                expr,
            } => format!("(NOT {})", go(expr)?),
            ast::Expr::IsNull(of) => format!("({} IS NULL)", self.value(of, place)?),
            ast::Expr::IsNotNull(of) => format!("({} IS NOT NULL)", self.value(of, place)?),
            ast::Expr::IsTrue(of) => format!("({} IS TRUE)", go(of)?),
            ast::Expr::IsNotTrue(of) => format!("({} IS NOT TRUE)", go(of)?),
            ast::Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, place)?,
            ast::Expr::AnyOp {
                left,
                compare_op: BinaryOperator::Eq,
                right,
                ..
            } => self.any(left, right, place)?,
            ast::Expr::InSubquery { expr, subquery, negated } => {
                let not = if *negated { "NOT " } else { "" };
                format!("({} {not}IN ({}))", self.value(expr, place)?, self.subquery(subquery)?)
            }
            other => self.value(other, place)?,
        })
    }

    fn in_list(&self, expr: &ast::Expr, list: &[ast::Expr], negated: bool, place: &Place) -> Result<String, String> {
        let constants: Vec<String> = list.iter().map(|e| self.value(e, place)).collect::<Result<_, _>>()?;
        let not = if negated { "NOT " } else { "" };
        Ok(format!("({} {not}IN ({}))", self.value(expr, place)?, constants.join(", ")))
    }

    /// `x = ANY (ARRAY['a', 'b'])` is how PostgreSQL prints `x IN ('a', 'b')`; a list in a setting is a claim.
    fn any(&self, left: &ast::Expr, right: &ast::Expr, place: &Place) -> Result<String, String> {
        let inner = bare(right);
        if let ast::Expr::Array(array) = inner {
            return self.in_list(left, &array.elem, false, place);
        }
        match self.list_claim(inner) {
            Some(claim) => Ok(format!("({} = ANY (claim.{}))", self.value(left, place)?, claim.name())),
            None => Err(format!("`ANY ({right})` is neither constants nor a claim that is a list")),
        }
    }

    fn list_claim(&self, tree: &ast::Expr) -> Option<Claim> {
        let text = match call(tree) {
            Some((name, arguments)) if name == "string_to_array" => {
                let [of, by] = arguments.as_slice() else { return None };
                (literal(by) == Some(",")).then_some(bare(of))?
            }
            _ => tree,
        };
        self.claim(text).filter(|c| c.ty().is_list())
    }

    fn value(&self, tree: &ast::Expr, place: &Place) -> Result<String, String> {
        if let Some(claim) = self.claim(bare(tree)) {
            return if claim.ty().is_list() {
                Err(format!("claim.{} is a list", claim.name()))
            } else {
                Ok(format!("claim.{}", claim.name()))
            };
        }
        match bare(tree) {
            ast::Expr::Identifier(name) => Ok(quote_ident(&folded(name))),
            ast::Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] if place.names.contains(&folded(table)) => Ok(quote_ident(&folded(column))),
                _ => Err("it looks at another table's row".to_owned()),
            },
            ast::Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => Ok(quote_literal(text)),
                Value::Number(number, false) => Ok(number.clone()),
                Value::Boolean(truth) => Ok(truth.to_string()),
                other => Err(format!("`{other}` is no constant of the language of policies")),
            },
            ast::Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr,
            } => match bare(expr) {
                ast::Expr::Value(v) if matches!(v.value, Value::Number(_, false)) => Ok(format!("-{}", v.value)),
                other => Err(format!("`-{other}` is not in the language of policies")),
            },
            other => match call(other) {
                Some((name, arguments)) if name == "current_setting" => {
                    let setting = arguments.first().and_then(|a| literal(a)).unwrap_or("…");
                    Err(format!(
                        "it reads the setting {setting}; --claim {setting}=CLAIM says which claim takes its place"
                    ))
                }
                _ if matches!(other, ast::Expr::Function(_)) => Err(format!("it calls `{other}`")),
                _ => Err(format!("`{other}` is not in the language of policies")),
            },
        }
    }

    /// The claim that takes the place of `current_setting('…')`, also within `NULLIF(…, '')`: an empty claim is NULL.
    fn claim(&self, tree: &ast::Expr) -> Option<Claim> {
        let (name, arguments) = call(tree)?;
        match (name.as_str(), arguments.as_slice()) {
            ("current_setting", [setting, ..]) => self.claims.get(literal(setting)?).copied(),
            ("nullif", [of, empty]) if literal(empty) == Some("") => self.claim(bare(of)),
            _ => None,
        }
    }

    fn subquery(&self, query: &ast::Query) -> Result<String, String> {
        let wrong = || "its subquery is more than `SELECT column FROM table WHERE condition`".to_owned();
        let ast::SetExpr::Select(select) = query.body.as_ref() else {
            return Err(wrong());
        };
        let [from] = select.from.as_slice() else { return Err(wrong()) };
        let (ast::TableFactor::Table { name, alias, .. }, true) = (&from.relation, from.joins.is_empty()) else {
            return Err(wrong());
        };
        let parts: Vec<String> = name
            .0
            .iter()
            .filter_map(|p| match p {
                ast::ObjectNamePart::Identifier(i) => Some(folded(i)),
                _ => None,
            })
            .collect();
        let table = match parts.as_slice() {
            [table] => table,
            [schema, table] if self.home.is_own(schema) => table,
            _ => return Err(format!("it looks into {name}, which is another schema's")),
        };
        let called = alias.as_ref().map_or_else(|| table.clone(), |a| folded(&a.name));
        let place = Place { names: vec![called] };
        let [ast::SelectItem::UnnamedExpr(column)] = select.projection.as_slice() else {
            return Err(wrong());
        };
        // Whatever else the query has is seen by comparing what it prints with what is understood of it.
        let selection = select.selection.as_ref();
        let condition = selection.map_or(String::new(), |s| format!(" WHERE {s}"));
        if query.to_string() != format!("SELECT {column} FROM {from}{condition}") {
            return Err(wrong());
        }
        let condition = selection.map_or_else(|| Ok("true".to_owned()), |s| self.predicate(s, &place))?;
        Ok(format!(
            "SELECT {} FROM {} WHERE {condition}",
            self.value(column, &place)?,
            quote_ident(table)
        ))
    }
}

/// Without parentheses, and without the casts that PostgreSQL prints: of constants to their own type, of varchar columns to text, of settings
/// that claims take the place of. A cast that means something changes the type, which reading the result as a manifest's finds.
fn bare(tree: &ast::Expr) -> &ast::Expr {
    match tree {
        ast::Expr::Nested(inner) => bare(inner),
        ast::Expr::Cast {
            expr,
            data_type,
            kind: ast::CastKind::DoubleColon,
            ..
        } => {
            let inner = bare(expr);
            let ty = data_type.to_string().to_ascii_lowercase();
            let textual = matches!(
                ty.as_str(),
                "text" | "character varying" | "varchar" | "text[]" | "character varying[]"
            );
            let constant = matches!(inner, ast::Expr::Value(_) | ast::Expr::Array(_));
            let call = matches!(inner, ast::Expr::Function(_));
            if constant || textual || (call && ty == "boolean") {
                inner
            } else {
                tree
            }
        }
        other => other,
    }
}

/// A call of a function, its name folded and without a schema, and its plain arguments.
fn call(tree: &ast::Expr) -> Option<(String, Vec<&ast::Expr>)> {
    let ast::Expr::Function(function) = tree else { return None };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let arguments = list.args.iter().map(|a| match a {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(bare(e)),
        _ => None,
    });
    let name = function.name.0.last()?.as_ident()?;
    Some((folded(name).to_ascii_lowercase(), arguments.collect::<Option<_>>()?))
}

fn literal(tree: &ast::Expr) -> Option<&str> {
    match bare(tree) {
        ast::Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn folded(name: &ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_ascii_lowercase(),
    }
}
