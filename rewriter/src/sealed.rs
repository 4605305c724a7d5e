//! Protected columns in predicates: what their equality tags can carry, and nothing else.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, AExprKind, Node, a_const};
use postern_config::ColumnType;

use crate::expr::{SealedRef, Yield, string_constant};
use crate::judge::Judge;
use crate::plan::{Param, Refusal, Value};
use crate::scope::{Scope, SealedCol};
use crate::tree;
use crate::types::registry_type;

/// An equality that the database answers by tag, to be checked on the opened value where its rows are returned.
pub(crate) struct Matched {
    pub(crate) column: SealedRef,
    pub(crate) one_of: Vec<Value>,
    pub(crate) array: bool,
}

/// How a comparison uses equality.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Equal,
    Unequal,
    Other,
}

impl Judge<'_> {
    /// `=`, `<>`, `IN`, `= ANY`, `<> ALL`, `IS [NOT] DISTINCT FROM` and every other binary operator.
    pub(crate) fn comparison(&mut self, e: &mut protobuf::AExpr, scope: &Scope<'_>) -> Result<Option<Matched>, Refusal> {
        self.operator_name(e)?;
        let kind = e.kind();
        let named = references_by_name(e);
        let operator = tree::parts(&e.name)
            .and_then(|p| p.last().map(|o| (*o).to_owned()))
            .unwrap_or_default();
        let asks = match (kind, operator.as_str()) {
            (AExprKind::AexprOp | AExprKind::AexprIn | AExprKind::AexprOpAny, "=") | (AExprKind::AexprNotDistinct, _) => {
                Asks::Equal
            }
            (AExprKind::AexprOp | AExprKind::AexprIn | AExprKind::AexprOpAll, "<>") | (AExprKind::AexprDistinct, _) => {
                Asks::Unequal
            }
            _ => Asks::Other,
        };
        let (Some(left), Some(right)) = (&mut e.lexpr, &mut e.rexpr) else {
            // A prefix operator.
            self.plain_opt(e.lexpr.as_mut(), scope)?;
            self.plain_opt(e.rexpr.as_mut(), scope)?;
            return Ok(None);
        };
        // The side that may be a column is walked first; a constant facing an envelope must not be walked as a plain value.
        let flipped = is_constant(left);
        let (subject, other) = if flipped { (right, left) } else { (left, right) };
        let subject_ref = if is_constant(subject) {
            None
        } else {
            sealed_of(self.expr(subject, scope)?)
        };
        let Some(r) = subject_ref else {
            if is_constant(subject) {
                self.plain(subject, scope)?;
            }
            // The left side may be plain and the right one an envelope.
            if let Some(r) = sealed_of(self.expr(other, scope)?) {
                return Err(if asks == Asks::Other {
                    by_order(&r, &operator)
                } else {
                    mixed(&r)
                });
            }
            // They are no types of the client's.
            self.seen.type_names -= named;
            return Ok(None);
        };
        if asks == Asks::Other {
            return Err(by_order(&r, &operator));
        }
        let matched = match kind {
            AExprKind::AexprIn => {
                let Some(NodeEnum::List(list)) = &mut other.node else {
                    return Err(mixed(&r));
                };
                let mut values = Vec::with_capacity(list.items.len());
                for item in &mut list.items {
                    values.push(self.tag_of_constant(item, &r.col, &r)?);
                }
                Some(Matched {
                    column: r.clone(),
                    one_of: values,
                    array: false,
                })
            }
            AExprKind::AexprOpAny | AExprKind::AexprOpAll => Some(self.tags_of_array(other, &r)?),
            _ if is_constant(other) => {
                let value = self.tag_of_constant(other, &r.col, &r)?;
                Some(Matched {
                    column: r.clone(),
                    one_of: vec![value],
                    array: false,
                })
            }
            _ => {
                let Some(second) = sealed_of(self.expr(other, scope)?) else {
                    return Err(mixed(&r));
                };
                if second.col.tag_key != r.col.tag_key {
                    return Err(Refusal::new(
                        "0A000",
                        "sealed-operation",
                        format!(
                            "protected columns {} and {} do not share a tag key",
                            r.col.sealed.column.column, second.col.sealed.column.column
                        ),
                    )
                    .hint("Declare the same protect.join_group for both in the manifest."));
                }
                **other = second.tag()?;
                None
            }
        };
        **subject = r.tag()?;
        Ok(matched.filter(|_| asks == Asks::Equal))
    }

    fn tag_of_constant(&mut self, n: &mut Node, col: &SealedCol, r: &SealedRef) -> Result<Value, Refusal> {
        r.tag()?;
        let value = self
            .constant_for(n, &col.sealed.ty.unconstrained(), true)?
            .ok_or_else(|| mixed(r))?;
        *n = self.params.make(Param::EqTag {
            column: col.sealed.clone(),
            value: value.clone(),
        });
        Ok(value)
    }

    fn tags_of_array(&mut self, n: &mut Node, r: &SealedRef) -> Result<Matched, Refusal> {
        r.tag()?;
        if let Some(NodeEnum::AArrayExpr(a)) = &mut n.node {
            let mut values = Vec::with_capacity(a.elements.len());
            for item in &mut a.elements {
                values.push(self.tag_of_constant(item, &r.col, r)?);
            }
            return Ok(Matched {
                column: r.clone(),
                one_of: values,
                array: false,
            });
        }
        // ARRAY[...]::text[] is a cast around the constructor.
        if let Some(NodeEnum::TypeCast(c)) = &mut n.node
            && let Some(NodeEnum::AArrayExpr(_)) = c.arg.as_ref().and_then(|a| a.node.as_ref())
            && let Some(ty) = &c.type_name
            && same_type(ty, &r.col.sealed.ty)
            && let Some(inner) = c.arg.take()
        {
            self.seen.type_names += 1;
            *n = *inner;
            return self.tags_of_array(n, r);
        }
        let value = self.array_for(n, &r.col.sealed.ty.unconstrained())?.ok_or_else(|| mixed(r))?;
        *n = self.params.make(Param::EqTags {
            column: r.col.sealed.clone(),
            value: value.clone(),
        });
        Ok(Matched {
            column: r.clone(),
            one_of: vec![value],
            array: true,
        })
    }

    /// The constant or parameter at `n` as a value of the declared type; `None` if it is something else. With `seals`, a parameter's
    /// value must not travel otherwise.
    pub(crate) fn constant_for(&mut self, n: &Node, ty: &ColumnType, seals: bool) -> Result<Option<Value>, Refusal> {
        match &n.node {
            Some(NodeEnum::AConst(k)) if k.isnull => Ok(Some(Value::Text(None, ty.clone()))),
            Some(NodeEnum::AConst(k)) => constant_text(k, ty).map(|text| Some(Value::Text(Some(text.into()), ty.clone()))),
            Some(NodeEnum::ParamRef(p)) => {
                self.seen.param_refs += 1;
                let index = if seals {
                    self.params.sealed(p.number, ty, p.location)?
                } else {
                    self.params.valued(p.number, p.location)?
                };
                Ok(Some(Value::Client(index, ty.clone())))
            }
            Some(NodeEnum::TypeCast(c)) => {
                let (Some(to), Some(arg)) = (&c.type_name, &c.arg) else {
                    return Ok(None);
                };
                if !is_constant(arg) {
                    return Ok(None);
                }
                if !same_type(to, ty) || !to.array_bounds.is_empty() {
                    return Err(Refusal::new(
                        "0A000",
                        "sealed-operation",
                        format!("a value for a protected column of type {ty} is cast to another type"),
                    )
                    .hint(format!("Cast it to {ty}, or leave the cast out."))
                    .at(c.location));
                }
                self.seen.type_names += 1;
                self.constant_for(arg, ty, seals)
            }
            _ => Ok(None),
        }
    }

    fn array_for(&mut self, n: &Node, ty: &ColumnType) -> Result<Option<Value>, Refusal> {
        match &n.node {
            Some(NodeEnum::AConst(k)) if k.isnull => Ok(Some(Value::Text(None, ty.clone()))),
            Some(NodeEnum::AConst(k)) => Ok(string_constant(k).map(|t| Value::Text(Some(t.into()), ty.clone()))),
            Some(NodeEnum::ParamRef(p)) => {
                self.seen.param_refs += 1;
                let array = ColumnType::Other(format!("{ty}[]").into());
                let index = self.params.sealed(p.number, &array, p.location)?;
                Ok(Some(Value::Client(index, ty.clone())))
            }
            Some(NodeEnum::TypeCast(c)) => {
                let (Some(to), Some(arg)) = (&c.type_name, &c.arg) else {
                    return Ok(None);
                };
                if !is_constant(arg) || !same_type(to, ty) {
                    return Ok(None);
                }
                self.seen.type_names += 1;
                self.array_for(arg, ty)
            }
            _ => Ok(None),
        }
    }
}

fn sealed_of(y: Yield) -> Option<SealedRef> {
    match y {
        Yield::Sealed(r) => Some(r),
        Yield::Plain => None,
    }
}

fn mixed(r: &SealedRef) -> Refusal {
    Refusal::new(
        "0A000",
        "sealed-operation",
        format!(
            "protected column {} can only be compared with a constant, a parameter or a column of its join group",
            r.col.sealed.column.column
        ),
    )
    .hint("Compute the value in the client and pass it as a parameter.")
}

fn by_order(r: &SealedRef, operator: &str) -> Refusal {
    match operator {
        "<" | "<=" | ">" | ">=" => r.col.unsupported("comparison by order", "range"),
        "~~" | "~~*" | "!~~" | "!~~*" | "~" | "~*" | "!~" | "!~*" | "^@" => r.col.unsupported("substring search", "match"),
        _ => Refusal::new(
            "0A000",
            "sealed-operation",
            format!(
                "protected column {} does not support this operator",
                r.col.sealed.column.column
            ),
        )
        .hint("Select the column by itself and compute in the client."),
    }
}

/// A constant, a parameter, or a cast of one.
pub(crate) fn is_constant(n: &Node) -> bool {
    match &n.node {
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::TypeCast(c)) => c.arg.as_ref().is_some_and(|a| is_constant(a)),
        _ => false,
    }
}

/// The text of a constant where its kind suits the type, as PostgreSQL would coerce it.
fn constant_text(k: &protobuf::AConst, ty: &ColumnType) -> Result<String, Refusal> {
    let numeric = matches!(
        ty,
        ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 | ColumnType::Float8 | ColumnType::Numeric(_)
    );
    let text = match &k.val {
        Some(a_const::Val::Sval(s)) => return Ok(s.sval.clone()),
        Some(a_const::Val::Ival(i)) if numeric => i.ival.to_string(),
        Some(a_const::Val::Fval(f)) if numeric => f.fval.clone(),
        Some(a_const::Val::Boolval(b)) if *ty == ColumnType::Bool => if b.boolval { "t" } else { "f" }.to_owned(),
        // A zero integer prints as an absent value in the protobuf form.
        None if numeric => "0".to_owned(),
        None if *ty == ColumnType::Bool => "f".to_owned(),
        _ => {
            return Err(Refusal::new(
                "0A000",
                "sealed-operation",
                format!("a constant does not suit a protected column of type {ty}"),
            )
            .hint(format!("Write it as a {ty} value."))
            .at(k.location));
        }
    };
    Ok(text)
}

/// Whether a type name in SQL is the declared type, modifiers apart (they could change the value, so they are not taken).
fn same_type(name: &protobuf::TypeName, ty: &ColumnType) -> bool {
    if !name.typmods.is_empty() || name.setof || name.pct_type {
        return false;
    }
    let Some(parts) = tree::parts(&name.names) else { return false };
    let spelled = match parts.as_slice() {
        [n] | ["pg_catalog", n] => ColumnType::parse(n),
        _ => return false,
    };
    match (&spelled, ty) {
        (ColumnType::Text | ColumnType::Varchar(_), ColumnType::Text | ColumnType::Varchar(_)) => true,
        (ColumnType::Numeric(_), ColumnType::Numeric(_)) => true,
        (a, b) => a == b,
    }
}

/// `reference IN ('name', 'name')`: PostgreSQL reads several literals in the type of what they stand beside (one by itself is an oid). Says that of each of them, and
/// how many there are.
fn references_by_name(e: &mut protobuf::AExpr) -> usize {
    let (AExprKind::AexprIn, Some(left), Some(right)) = (e.kind(), &e.lexpr, &mut e.rexpr) else {
        return 0;
    };
    let (Some(NodeEnum::TypeCast(cast)), Some(NodeEnum::List(list))) = (&left.node, &mut right.node) else {
        return 0;
    };
    let literal = |n: &Node| matches!(&n.node, Some(NodeEnum::AConst(k)) if string_constant(k).is_some());
    let Some(ty) = cast
        .type_name
        .as_ref()
        .filter(|ty| registry_type(ty) && ty.array_bounds.is_empty())
    else {
        return 0;
    };
    if list.items.len() < 2 || !list.items.iter().all(literal) {
        return 0;
    }
    for item in &mut list.items {
        *item = tree::node(NodeEnum::TypeCast(Box::new(protobuf::TypeCast {
            arg: Some(Box::new(std::mem::take(item))),
            type_name: Some(ty.clone()),
            location: cast.location,
        })));
    }
    list.items.len()
}
