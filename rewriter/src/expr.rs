//! Expressions: every node kind that may stand in one, each resolved and authorised; whatever is not listed is refused.

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{self, AExprKind, Node, SubLinkType};

use crate::judge::Judge;
use crate::plan::Refusal;
use crate::scope::{Entry, Found, Mask, Nature, Scope, SealedCol};
use crate::select::Mode;
use crate::types::registry_type;
use crate::{allow, tree};

/// What an expression gives.
pub(crate) enum Yield {
    /// A value that may travel.
    Plain,
    /// A bare reference to an envelope.
    Sealed(SealedRef),
}

/// A reference to an envelope at a place where its parts can be named.
#[derive(Clone)]
pub(crate) struct SealedRef {
    pub(crate) qualifier: Box<str>,
    pub(crate) col: Rc<SealedCol>,
    pub(crate) mask: Option<Rc<Mask>>,
    /// It belongs to the query level where it stands.
    pub(crate) own_level: bool,
}

impl SealedRef {
    fn part(&self, name: &str) -> Node {
        let part = tree::column(&self.qualifier, name);
        match &self.mask {
            Some(mask) => tree::case(mask.shown.clone(), part, mask.instead.clone()),
            None => part,
        }
    }

    pub(crate) fn envelope(&self) -> Node {
        self.part(&self.col.envelope)
    }

    /// Its equality tag, or the refusal that names what to declare.
    pub(crate) fn tag(&self) -> Result<Node, Refusal> {
        match &self.col.tag {
            // The mask's own tag would have to stand here, and is known to the session alone.
            Some(_) if self.mask.as_ref().is_some_and(|m| m.instead.is_some()) => {
                Err(Refusal::construct("Comparing a masked protected column in a write")
                    .hint("Read the keys by a SELECT first, then write by key."))
            }
            Some(tag) => Ok(self.part(tag)),
            None => Err(self.col.unsupported("equality", "eq")),
        }
    }

    pub(crate) fn bound(&self) -> impl Iterator<Item = Node> {
        self.col.bound.iter().map(|(name, _)| tree::column(&self.qualifier, name))
    }

    pub(crate) fn same_as(&self, other: &SealedRef) -> bool {
        self.qualifier == other.qualifier && self.col == other.col
    }
}

impl SealedCol {
    /// An operation that this column was not declared for.
    pub(crate) fn unsupported(&self, operation: &str, search: &str) -> Refusal {
        let hint = if self.declared_later && search != "eq" {
            format!(
                "Column {} is sealed for {search} already; asking by it is not available in this version.",
                self.sealed.column
            )
        } else {
            format!(
                "Add \"{search}\" to protect.search of column {} (modules/{}.toml, line {}).",
                self.sealed.column, self.module, self.line
            )
        };
        Refusal::new(
            "0A000",
            "sealed-operation",
            format!("protected column {} does not support {operation}", self.sealed.column.column),
        )
        .hint(hint)
    }
}

impl Judge<'_> {
    /// An expression whose value may travel as it is.
    pub(crate) fn plain(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<(), Refusal> {
        match self.expr(n, scope)? {
            Yield::Plain => Ok(()),
            Yield::Sealed(r) => Err(Refusal::new(
                "0A000",
                "sealed-operation",
                format!(
                    "protected column {} cannot be used in this expression",
                    r.col.sealed.column.column
                ),
            )
            .hint("Select the column by itself and compute in the client, or compare it by = with a value.")),
        }
    }

    pub(crate) fn plain_opt(&mut self, n: Option<&mut Box<Node>>, scope: &Scope<'_>) -> Result<(), Refusal> {
        n.map_or(Ok(()), |n| self.plain(n, scope))
    }

    pub(crate) fn plain_all(&mut self, nodes: &mut [Node], scope: &Scope<'_>) -> Result<(), Refusal> {
        nodes.iter_mut().try_for_each(|n| self.plain(n, scope))
    }

    /// Any expression. A value of a `reg…` type becomes an oid: a constant beside it would be read as a name of that type, and the error
    /// for a foreign name differs from the one for a missing one.
    pub(crate) fn expr(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<Yield, Refusal> {
        let reference = self.catalogue_reference(n);
        let yielded = self.expr_as_it_is(n, scope)?;
        if reference {
            *n = tree::cast(std::mem::take(n), "oid");
        }
        Ok(yielded)
    }

    /// `$n IS NULL`, casts included: the value does not travel, only whether there is one. Gives whether it was a parameter.
    fn null_parameter(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<bool, Refusal> {
        if !is_parameter(n) || self.body.is_some() {
            return Ok(false);
        }
        if let Some(answer) = self.null_answer(n, scope)? {
            // Its type is that of the seal: casts go.
            *n = answer;
        }
        Ok(true)
    }

    fn null_answer(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<Option<Node>, Refusal> {
        match &mut n.node {
            Some(NodeEnum::TypeCast(c)) => {
                let (Some(ty), Some(arg)) = (&mut c.type_name, &mut c.arg) else {
                    return Err(Refusal::internal("a cast has no type"));
                };
                self.type_name(ty, scope)?;
                self.null_answer(arg, scope)
            }
            Some(NodeEnum::ParamRef(p)) => {
                self.seen.param_refs += 1;
                let sealed = self.params.is_sealed(p.number);
                let answer = self.params.null_tested(p.number, p.location)?;
                if sealed {
                    return Ok(Some(answer));
                }
                *n = answer;
                Ok(None)
            }
            _ => Err(Refusal::internal("a parameter was expected")),
        }
    }

    /// Whether an expression gives a value of a `reg…` type.
    pub(crate) fn catalogue_reference(&self, n: &Node) -> bool {
        match &n.node {
            Some(NodeEnum::TypeCast(c)) => c.type_name.as_ref().is_some_and(registry_type),
            Some(NodeEnum::FuncCall(f)) => matches!(
                tree::parts(&f.funcname).as_deref(),
                Some([name] | ["pg_catalog", name]) if *name == "pg_typeof" || name.starts_with("to_reg")
            ),
            _ => false,
        }
    }

    /// Any expression, at a place where a value of a `reg…` type meets no constant.
    pub(crate) fn expr_as_it_is(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<Yield, Refusal> {
        let Some(inner) = &mut n.node else {
            return Err(Refusal::internal("an expression is empty"));
        };
        match inner {
            NodeEnum::ColumnRef(_) => return self.column(n, scope),
            NodeEnum::AConst(_) => {}
            NodeEnum::ParamRef(p) => {
                self.seen.param_refs += 1;
                match &self.body {
                    Some(body) => body.parameter(p)?,
                    None => p.number = self.params.plain(p.number, p.location)?,
                }
            }
            NodeEnum::AExpr(e) => {
                let kind = e.kind();
                if matches!(
                    kind,
                    AExprKind::AexprOp
                        | AExprKind::AexprOpAny
                        | AExprKind::AexprOpAll
                        | AExprKind::AexprIn
                        | AExprKind::AexprDistinct
                        | AExprKind::AexprNotDistinct
                ) {
                    self.comparison(e, scope)?;
                } else {
                    self.other_operator(e, scope)?;
                }
            }
            NodeEnum::BoolExpr(b) => self.plain_all(&mut b.args, scope)?,
            NodeEnum::NullTest(t) => {
                let Some(arg) = &mut t.arg else {
                    return Err(Refusal::internal("an expression is empty"));
                };
                // NULL is stored as NULL, so the envelope answers.
                if !self.null_parameter(arg, scope)? {
                    self.expr(arg, scope)?;
                }
            }
            NodeEnum::BooleanTest(t) => self.plain_opt(t.arg.as_mut(), scope)?,
            NodeEnum::FuncCall(f) => {
                if let Some(replacement) = self.function(f, scope)? {
                    *n = replacement;
                }
            }
            NodeEnum::SubLink(s) => self.sub_link(s, scope)?,
            NodeEnum::CaseExpr(c) => {
                self.plain_opt(c.arg.as_mut(), scope)?;
                for when in &mut c.args {
                    let Some(NodeEnum::CaseWhen(w)) = &mut when.node else {
                        return Err(Refusal::internal("a CASE holds something else than WHEN"));
                    };
                    self.plain_opt(w.expr.as_mut(), scope)?;
                    self.plain_opt(w.result.as_mut(), scope)?;
                }
                self.plain_opt(c.defresult.as_mut(), scope)?;
            }
            NodeEnum::CoalesceExpr(c) => self.plain_all(&mut c.args, scope)?,
            NodeEnum::MinMaxExpr(c) => self.plain_all(&mut c.args, scope)?,
            NodeEnum::SqlvalueFunction(_) => {}
            NodeEnum::TypeCast(_) => return self.cast(n, scope).map(|()| Yield::Plain),
            NodeEnum::CollateClause(c) => {
                self.seen.collations += 1;
                match tree::parts(&c.collname).as_deref() {
                    Some(parts) if self.may_name_collation(parts) => {}
                    _ => return Err(Refusal::new("42704", "collation", "that collation does not exist").at(c.location)),
                }
                self.plain_opt(c.arg.as_mut(), scope)?;
            }
            NodeEnum::AArrayExpr(a) => self.plain_all(&mut a.elements, scope)?,
            NodeEnum::RowExpr(r) => self.plain_all(&mut r.args, scope)?,
            NodeEnum::List(l) => self.plain_all(&mut l.items, scope)?,
            NodeEnum::GroupingFunc(g) => self.plain_all(&mut g.args, scope)?,
            NodeEnum::NamedArgExpr(a) => self.plain_opt(a.arg.as_mut(), scope)?,
            NodeEnum::AIndirection(i) => {
                self.plain_opt(i.arg.as_mut(), scope)?;
                self.indirection(&mut i.indirection, scope)?;
            }
            NodeEnum::SetToDefault(_) => return Err(Refusal::syntax("DEFAULT is not allowed in this context")),
            // A cursor's row may be one that its user sees no more, or that another user saw.
            NodeEnum::CurrentOfExpr(_) if !self.ask.catalog.declares() => {}
            NodeEnum::CurrentOfExpr(_) => return Err(Refusal::construct("WHERE CURRENT OF")),
            NodeEnum::XmlExpr(x) => {
                for n in &mut x.named_args {
                    match &mut n.node {
                        Some(NodeEnum::ResTarget(t)) => self.plain_opt(t.val.as_mut(), scope)?,
                        _ => return Err(Refusal::internal("an XML expression holds something else")),
                    }
                }
                self.plain_all(&mut x.args, scope)?;
            }
            NodeEnum::XmlSerialize(x) => {
                self.plain_opt(x.expr.as_mut(), scope)?;
                if let Some(ty) = &mut x.type_name {
                    self.type_name(ty, scope)?;
                }
            }
            _ => return Err(Refusal::construct("This kind of expression")),
        }
        Ok(Yield::Plain)
    }

    /// Subscripts and field selections behind an expression.
    pub(crate) fn indirection(&mut self, parts: &mut [Node], scope: &Scope<'_>) -> Result<(), Refusal> {
        for part in parts {
            match &mut part.node {
                // On a plain value this is a call of the function of that name.
                Some(NodeEnum::String(s)) if allow::hidden_call(&s.sval) => {
                    return Err(
                        Refusal::denied("function", format!("permission denied for function {}", s.sval))
                            .hint("A name behind a dot calls a function; this one may not be called so."),
                    );
                }
                Some(NodeEnum::String(_)) => {}
                Some(NodeEnum::AIndices(i)) => {
                    self.plain_opt(i.lidx.as_mut(), scope)?;
                    self.plain_opt(i.uidx.as_mut(), scope)?;
                }
                // All fields of a plain value; where a single one is asked for PostgreSQL refuses it.
                Some(NodeEnum::AStar(_)) => {}
                _ => return Err(Refusal::construct("This kind of indirection")),
            }
        }
        Ok(())
    }

    fn column(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<Yield, Refusal> {
        let Some(NodeEnum::ColumnRef(c)) = &mut n.node else {
            return Err(Refusal::internal("a column reference was expected"));
        };
        self.seen.column_refs += 1;
        let location = c.location;
        let Some(names) = tree::parts(&c.fields) else {
            // `f(t.*)` is a whole-row reference.
            return match c.fields.as_slice() {
                [
                    alias,
                    Node {
                        node: Some(NodeEnum::AStar(_)),
                    },
                ] => {
                    let entry = tree::text_of(alias).and_then(|a| scope.entry(a));
                    match entry {
                        Some(entry) if !entry.guarded => Ok(Yield::Plain),
                        Some(entry) => Err(whole_row(entry, location)),
                        None => Err(Refusal::construct("A * in this place")),
                    }
                }
                _ => Err(Refusal::construct("A * in this place")),
            };
        };
        let (found, qualifier_dropped) = match names.as_slice() {
            [name] => (self.or_told(scope.bare(name, location), name)?, false),
            [alias, name] => (self.or_told(scope.qualified(alias, name, location), name)?, false),
            [schema, table, name] => {
                // A relation's alias hides its schema-qualified name, and a barrier takes it away: name it by the alias.
                let known = *schema == self.ask.catalog.schema.as_str()
                    || matches!(*schema, "pg_catalog" | "information_schema" | "pg_temp");
                if !known && self.ask.catalog.closed {
                    return Err(Refusal::new(
                        "42P01",
                        "relation",
                        format!("missing FROM-clause entry for table \"{table}\""),
                    )
                    .at(location));
                }
                (scope.qualified(table, name, location)?, true)
            }
            _ => return Err(Refusal::construct("A column reference of that many parts").at(location)),
        };
        let (alias_now, yielded, mask) = match found {
            Found::Plain => (None, Yield::Plain, None),
            Found::Row(entry) => {
                if entry.guarded {
                    return Err(whole_row(entry, location));
                }
                (None, Yield::Plain, None)
            }
            Found::Column { entry, col } => {
                let own_level = scope.entries.iter().any(|e| std::ptr::eq(e, entry));
                scope.note_use(entry, &col.name);
                match &col.nature {
                    Nature::Plain if col.mask.is_some() && !scope.entry(&entry.alias).is_some_and(|e| std::ptr::eq(e, entry)) => {
                        return Err(Refusal::construct("A masked column of an outer query whose alias is hidden")
                            .hint("Give the inner relation another alias.")
                            .at(location));
                    }
                    Nature::Plain => (
                        Some(entry.alias.clone()),
                        Yield::Plain,
                        col.mask.clone().map(|m| (m, col.name.clone())),
                    ),
                    Nature::Never(sealed) => {
                        return Err(Refusal::denied(
                            "never-column",
                            format!("permission denied for column {}", sealed.sealed.column.column),
                        )
                        .hint("No role reads this column through SQL.")
                        .at(location));
                    }
                    Nature::Sealed(sealed) => {
                        if !scope.entry(&entry.alias).is_some_and(|e| std::ptr::eq(e, entry)) {
                            return Err(
                                Refusal::construct("A protected column of an outer query whose alias is hidden")
                                    .hint("Give the outer relation an alias of its own.")
                                    .at(location),
                            );
                        }
                        let r = SealedRef {
                            qualifier: entry.alias.clone(),
                            col: sealed.clone(),
                            mask: col.mask.clone(),
                            own_level,
                        };
                        (Some(entry.alias.clone()), Yield::Sealed(r), None)
                    }
                }
            }
        };
        if let Yield::Sealed(r) = &yielded {
            *n = r.envelope();
        } else if let (Some((mask, name)), Some(alias)) = (mask, &alias_now) {
            *n = tree::case(mask.shown.clone(), tree::column(alias, &name), mask.instead.clone());
        } else if qualifier_dropped {
            c.fields.remove(0);
        }
        Ok(yielded)
    }

    /// Where nothing is hidden from the module PostgreSQL itself says that a column is missing, and what may have been meant.
    fn or_told<'s>(&self, found: Result<Found<'s>, Refusal>, name: &str) -> Result<Found<'s>, Refusal> {
        match found {
            Err(r)
                if matches!(r.sqlstate, "42703" | "42P01" | "42702")
                    && !self.ask.catalog.declares()
                    && !allow::hidden_call(name) =>
            {
                Ok(Found::Plain)
            }
            found => found,
        }
    }

    /// Operators other than equality: none of them takes an envelope.
    fn other_operator(&mut self, e: &mut protobuf::AExpr, scope: &Scope<'_>) -> Result<(), Refusal> {
        self.operator_name(e)?;
        let kind = e.kind();
        let (operation, search) = match kind {
            AExprKind::AexprLike | AExprKind::AexprIlike | AExprKind::AexprSimilar => ("substring search", "match"),
            AExprKind::AexprBetween | AExprKind::AexprNotBetween | AExprKind::AexprBetweenSym | AExprKind::AexprNotBetweenSym => {
                ("comparison by order", "range")
            }
            AExprKind::AexprNullif => ("NULLIF", "eq"),
            _ => return Err(Refusal::construct("This operator").at(e.location)),
        };
        for side in [&mut e.lexpr, &mut e.rexpr].into_iter().flatten() {
            if let Yield::Sealed(r) = self.expr(side, scope)? {
                return Err(r.col.unsupported(operation, search));
            }
        }
        Ok(())
    }

    /// Counts an operator and refuses one of a foreign schema.
    pub(crate) fn operator_name(&mut self, e: &protobuf::AExpr) -> Result<(), Refusal> {
        self.seen.operators += 1;
        match tree::parts(&e.name).as_deref() {
            Some([_] | ["pg_catalog", _]) => Ok(()),
            _ => Err(Refusal::new("42883", "operator", "operator does not exist").at(e.location)),
        }
    }

    fn sub_link(&mut self, s: &mut protobuf::SubLink, scope: &Scope<'_>) -> Result<(), Refusal> {
        self.seen.sub_links += 1;
        let operator = match tree::parts(&s.oper_name).as_deref() {
            Some([]) => "=".to_owned(),
            Some([op] | ["pg_catalog", op]) => (*op).to_owned(),
            _ => return Err(Refusal::new("42883", "operator", "operator does not exist").at(s.location)),
        };
        let mut mode = match s.sub_link_type() {
            SubLinkType::ExistsSublink => Mode::Exists,
            SubLinkType::AnySublink | SubLinkType::AllSublink | SubLinkType::ExprSublink | SubLinkType::ArraySublink => {
                Mode::Values
            }
            _ => return Err(Refusal::construct("This kind of subquery").at(s.location)),
        };
        if let Some(test) = &mut s.testexpr
            && let Yield::Sealed(r) = self.expr(test, scope)?
        {
            let carried = matches!((s.sub_link_type, operator.as_str()), (t, "=") if t == SubLinkType::AnySublink as i32)
                || matches!((s.sub_link_type, operator.as_str()), (t, "<>") if t == SubLinkType::AllSublink as i32);
            if !carried {
                return Err(r.col.unsupported("this comparison with a subquery", "range"));
            }
            **test = r.tag()?;
            mode = Mode::Tags(r.col.tag_key.clone());
        }
        let Some(NodeEnum::SelectStmt(select)) = s.subselect.as_mut().and_then(|n| n.node.as_mut()) else {
            return Err(Refusal::internal("a subquery is not a SELECT"));
        };
        self.select(select, Some(scope), &mode).map(|_| ())
    }
}

fn whole_row(entry: &Entry, location: i32) -> Refusal {
    Refusal::new(
        "0A000",
        "whole-row",
        format!(
            "a whole-row reference to \"{}\" is not available, as it has protected columns",
            entry.alias
        ),
    )
    .hint("Name the columns.")
    .at(location)
}

/// A parameter, or casts of one to types other than the `reg…` family.
fn is_parameter(n: &Node) -> bool {
    match &n.node {
        Some(NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::TypeCast(c)) => {
            c.type_name.as_ref().is_some_and(|ty| !registry_type(ty)) && c.arg.as_ref().is_some_and(|a| is_parameter(a))
        }
        _ => false,
    }
}

/// The text of a string constant.
pub(crate) fn string_constant(k: &protobuf::AConst) -> Option<&str> {
    match &k.val {
        Some(protobuf::a_const::Val::Sval(s)) => Some(&s.sval),
        _ => None,
    }
}
