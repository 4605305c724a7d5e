//! Function calls: listed built-ins, the few whose argument names a relation or a setting, and nothing else.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, Node};

use crate::create_function::{Body, missing};
use crate::expr::{Yield, string_constant};
use crate::judge::Judge;
use crate::plan::{Keeps, Refusal};
use crate::scope::Scope;
use crate::types::catalogue_relation_name;
use crate::{allow, shared_names, tree};

impl Judge<'_> {
    /// Authorises a call. Gives a node to put in its place where the call is answered without effect.
    pub(crate) fn function(&mut self, f: &mut protobuf::FuncCall, scope: &Scope<'_>) -> Result<Option<Node>, Refusal> {
        self.seen.func_calls += 1;
        let location = f.location;
        if let Some(name) = self.own_function(f)? {
            self.arguments(f, &name, scope)?;
            return Ok(None);
        }
        if tree::parts(&f.funcname).as_deref() == Some(&["information_schema", "_pg_expandarray"]) {
            // JDBC's. It looks at its argument and at nothing else.
            return self.arguments(f, "_pg_expandarray", scope).map(|()| None);
        }
        let name = match tree::parts(&f.funcname).as_deref() {
            Some([name] | ["pg_catalog", name]) => (*name).to_owned(),
            Some(parts) => return Err(missing(&parts.join("."), location)),
            None => return Err(Refusal::internal("a function has no name")),
        };
        if matches!(name.as_str(), "currval" | "lastval") {
            self.keeps.add(Keeps::SEQUENCE);
        }
        if name == "setseed" {
            self.keeps.add(Keeps::SEED);
        }
        // By an index PostgreSQL looks for the first row where the argument is not NULL, and computes it on the way.
        if matches!(name.as_str(), "min" | "max") && !f.args.iter().all(|a| matches!(a.node, Some(NodeEnum::ColumnRef(_)))) {
            self.needs_fences = true;
        }
        match name.as_str() {
            "nextval" | "currval" | "setval" => self.sequence_argument(f)?,
            "to_tsvector"
            | "to_tsquery"
            | "plainto_tsquery"
            | "phraseto_tsquery"
            | "websearch_to_tsquery"
            | "ts_headline"
            | "json_to_tsvector"
            | "jsonb_to_tsvector" => configuration_argument(f, &name)?,
            "lastval" => {}
            "to_regclass" if f.args.iter().all(|a| literal(a).is_some()) => {
                if let Some(replacement) = self.regclass_of(f)? {
                    return Ok(Some(replacement));
                }
            }
            "has_table_privilege" | "has_column_privilege" | "has_any_column_privilege" | "has_sequence_privilege"
                if f.args.iter().all(|a| literal(a).is_some()) =>
            {
                self.relation_argument(f, &name)?
            }
            "current_setting" if f.args.first().and_then(literal).is_some() => self.setting_argument(f)?,
            _ if allow::catalogue_function(&name) => {
                if self.body.is_some() {
                    return Err(Body::refuses("A function of the catalogue").at(location));
                }
                self.reaches.catalogue = true;
                f.funcname = vec![tree::string("postern_catalog"), tree::string(&name)];
                let named = RELATION_FIRST.contains(&name.as_str()) && f.args.first().is_some_and(is_string);
                if named {
                    f.args[0] = regclass(std::mem::take(&mut f.args[0]));
                }
                self.arguments(f, &name, scope)?;
                // The client wrote no cast there.
                self.seen.type_names -= usize::from(named);
                return Ok(None);
            }
            "set_config" if self.sets_config => {}
            "set_config" => {
                if let [_, value, _] = f.args.as_slice()
                    && f.args.first().and_then(literal) == Some("search_path")
                    && literal(value) == Some("")
                {
                    // pg_dump's. Names stay as short as the module's own path makes them.
                    let answer = tree::cast(value.clone(), "text");
                    self.arguments(f, &name, scope)?;
                    return Ok(Some(answer));
                }
                if let [_, value, _] = f.args.as_slice()
                    && literal(value).is_some_and(only_kinds_of_relations)
                {
                    // pg_dump's too, for `restrict_nonsystem_relation_kind`: the catalogue's views are no system's.
                    let answer = tree::cast(value.clone(), "text");
                    self.arguments(f, &name, scope)?;
                    return Ok(Some(answer));
                }
                return Err(Refusal::denied("function", "permission denied for function set_config")
                    .hint("Use SET, or SELECT set_config(…) by itself with a constant name, for the settings that a module may change.")
                    .at(location));
            }
            _ if shared_names::names_shared(&name) => {}
            _ if allow::function(&name) => {}
            _ if allow::builtin_function(&name) => {
                return Err(Refusal::denied("function", format!("permission denied for function {name}"))
                    .hint("This built-in function is not on the list of those a module may call.")
                    .at(location));
            }
            _ if !self.ask.catalog.closed => {}
            _ => return Err(missing(&name, location)),
        }
        if allow::builtin_function(&name) {
            f.funcname = vec![tree::string("pg_catalog"), tree::string(&name)];
        }
        if f.over.is_none()
            && allow::aggregate(&name)
            && let Some(level) = self.aggregates.last_mut()
        {
            *level = true;
        }
        if shared_names::names_shared(&name) {
            if self.body.is_some() {
                return Err(Body::refuses("A channel or an advisory lock").at(location));
            }
            return self.shared_name_call(f, &name, scope).map(|()| None);
        }
        self.arguments(f, &name, scope)?;
        Ok(None)
    }

    pub(crate) fn arguments(&mut self, f: &mut protobuf::FuncCall, name: &str, scope: &Scope<'_>) -> Result<(), Refusal> {
        let distinct = f.agg_distinct;
        // A sequence is named by a constant that was looked at.
        let sequence = matches!(name, "nextval" | "currval" | "setval");
        for arg in &mut f.args {
            let yielded = match sequence {
                true => self.expr_as_it_is(arg, scope)?,
                false => self.expr(arg, scope)?,
            };
            match yielded {
                Yield::Plain => {}
                // Counting needs no value: NULL is stored as NULL, and equal values have equal tags.
                Yield::Sealed(r) if name == "count" => {
                    if distinct {
                        *arg = r.tag()?;
                    }
                }
                Yield::Sealed(r) => {
                    return Err(Refusal::new(
                        "0A000",
                        "sealed-operation",
                        format!(
                            "protected column {} cannot be passed to function {name}",
                            r.col.sealed.column.column
                        ),
                    )
                    .hint("Select the column by itself and compute in the client.")
                    .at(f.location));
                }
            }
        }
        for order in &mut f.agg_order {
            self.sort_by(order, scope)?;
        }
        self.plain_opt(f.agg_filter.as_mut(), scope)?;
        match &mut f.over {
            Some(window) => self.window(window, scope),
            None => Ok(()),
        }
    }

    /// One item of an ORDER BY inside an expression.
    pub(crate) fn sort_by(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<(), Refusal> {
        let Some(NodeEnum::SortBy(s)) = &mut n.node else {
            return Err(Refusal::internal("ORDER BY holds something else"));
        };
        self.sort_operator(s)?;
        let Some(key) = &mut s.node else {
            return Err(Refusal::internal("an expression is empty"));
        };
        match self.expr(key, scope)? {
            Yield::Plain => Ok(()),
            Yield::Sealed(r) => Err(r.col.unsupported("ordering", "range")),
        }
    }

    /// The operator of ORDER BY … USING: one without a schema, or of `pg_catalog`, as in expressions.
    pub(crate) fn sort_operator(&mut self, s: &protobuf::SortBy) -> Result<(), Refusal> {
        match tree::parts(&s.use_op).as_deref() {
            Some([]) => Ok(()),
            Some([_] | ["pg_catalog", _]) => {
                self.needs_fences = true;
                Ok(())
            }
            _ => Err(Refusal::new("42883", "operator", "operator does not exist").at(s.location)),
        }
    }

    /// A window definition.
    pub(crate) fn window(&mut self, w: &mut protobuf::WindowDef, scope: &Scope<'_>) -> Result<(), Refusal> {
        for key in &mut w.partition_clause {
            if let Yield::Sealed(r) = self.expr(key, scope)? {
                *key = r.tag()?;
            }
        }
        for order in &mut w.order_clause {
            self.sort_by(order, scope)?;
        }
        self.plain_opt(w.start_offset.as_mut(), scope)?;
        self.plain_opt(w.end_offset.as_mut(), scope)
    }

    /// The first argument must name a sequence of the module's own, as a constant, or be `pg_get_serial_sequence` of a relation of its own: a
    /// sequence that a column owns lies in its table's schema.
    fn sequence_argument(&mut self, f: &protobuf::FuncCall) -> Result<(), Refusal> {
        if let Some(Some(NodeEnum::FuncCall(of))) = f.args.first().map(|a| &a.node)
            && matches!(
                tree::parts(&of.funcname).as_deref(),
                Some(["pg_get_serial_sequence"] | ["pg_catalog", "pg_get_serial_sequence"])
            )
            && let [table, column] = of.args.as_slice()
            && let (Some(table), Some(_)) = (literal(table), literal(column))
        {
            return match self.own_relation_name(table) {
                true => Ok(()),
                false => Err(Refusal::missing_relation(table, of.location)),
            };
        }
        let Some(name) = f.args.first().and_then(literal) else {
            return Err(Refusal::denied("function", "the sequence must be named by a constant").at(f.location));
        };
        if self.own_relation_name(name) {
            Ok(())
        } else {
            Err(Refusal::missing_relation(name, f.location))
        }
    }

    /// A relation named by a constant; a foreign one is as missing, a computed one is refused.
    fn relation_argument(&mut self, f: &protobuf::FuncCall, name: &str) -> Result<(), Refusal> {
        let relations: Vec<&str> = f.args.iter().filter_map(literal).collect();
        // Another role's name would tell whether there is such a role.
        let with_role = if name == "has_column_privilege" { 4 } else { 3 };
        if relations.len() == with_role && relations.first() != Some(&self.ask.login.name.as_str()) {
            return Err(Refusal::denied("function", format!("permission denied for function {name}"))
                .hint("Ask for the current role: leave the role out.")
                .at(f.location));
        }
        let relation = relations.get(usize::from(relations.len() == with_role));
        match relation {
            Some(relation) if f.args.iter().all(|a| literal(a).is_some()) => match self.own_relation_name(relation) {
                true => Ok(()),
                false => Err(Refusal::missing_relation(relation, f.location)),
            },
            _ => Err(Refusal::denied("function", format!("permission denied for function {name}"))
                .hint("Name the relation by a constant.")
                .at(f.location)),
        }
    }

    fn regclass_of(&mut self, f: &protobuf::FuncCall) -> Result<Option<Node>, Refusal> {
        let [arg] = f.args.as_slice() else {
            return Err(missing("to_regclass", f.location));
        };
        let Some(name) = literal(arg) else {
            return Err(Refusal::denied("function", "permission denied for function to_regclass")
                .hint("Name the relation by a constant.")
                .at(f.location));
        };
        if self.own_relation_name(name) || catalogue_relation_name(name) {
            return Ok(None);
        }
        // Count what is replaced: a constant behind at most one cast.
        if let Some(NodeEnum::TypeCast(_)) = &arg.node {
            self.seen.type_names += 1;
        }
        Ok(Some(regclass(tree::null())))
    }

    fn setting_argument(&mut self, f: &protobuf::FuncCall) -> Result<(), Refusal> {
        match f.args.first().and_then(literal) {
            Some(name) if allow::setting(name).is_some() => Ok(()),
            _ => Err(Refusal::denied("function", "permission denied for this setting")
                .hint("current_setting takes the constant name of a setting that a module may see.")
                .at(f.location)),
        }
    }
}

/// Functions of the catalogue whose first argument is a relation; a string there is its name, and not an oid in digits.
const RELATION_FIRST: [&str; 11] = [
    "pg_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_total_relation_size",
    "pg_partition_tree",
    "pg_partition_ancestors",
    "pg_partition_root",
    "pg_relation_is_publishable",
    "pg_get_replica_identity_index",
    "pg_index_has_property",
    "pg_index_column_has_property",
];

fn is_string(n: &Node) -> bool {
    matches!(&n.node, Some(NodeEnum::AConst(k)) if string_constant(k).is_some())
}

/// `value::regclass`.
fn regclass(value: Node) -> Node {
    let ty = protobuf::TypeName {
        names: vec![tree::string("pg_catalog"), tree::string("regclass")],
        typemod: -1,
        location: -1,
        ..protobuf::TypeName::default()
    };
    tree::node(NodeEnum::TypeCast(Box::new(protobuf::TypeCast {
        arg: Some(Box::new(value)),
        type_name: Some(ty),
        location: -1,
    })))
}

/// The text of a string constant, possibly behind casts that leave it as it is.
pub(crate) fn literal(n: &Node) -> Option<&str> {
    match &n.node {
        Some(NodeEnum::AConst(k)) => string_constant(k),
        Some(NodeEnum::TypeCast(c)) => {
            let ty = c.type_name.as_ref()?;
            let same = ty.typmods.is_empty()
                && ty.array_bounds.is_empty()
                && matches!(
                    tree::parts(&ty.names).as_deref(),
                    Some(["text" | "varchar" | "regclass"] | ["pg_catalog", "text" | "varchar" | "regclass"])
                );
            c.arg.as_deref().filter(|_| same).and_then(literal)
        }
        _ => None,
    }
}

/// A text search configuration is named by a plain constant: any other spelling reaches into schemas, and the error tells whether one is
/// there.
fn configuration_argument(f: &protobuf::FuncCall, name: &str) -> Result<(), Refusal> {
    if f.args.len() < 2 {
        return Ok(());
    }
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let document_first = f.args.len() == 2 && matches!(name, "ts_headline" | "json_to_tsvector" | "jsonb_to_tsvector");
    let allowed = match f.args.first().map(|a| &a.node) {
        Some(Some(NodeEnum::AConst(k))) => document_first || string_constant(k).is_some_and(plain),
        Some(Some(NodeEnum::ParamRef(_))) => document_first,
        // A value that has a type already is a document; a cast to regconfig is judged as a cast.
        _ => true,
    };
    if allowed {
        return Ok(());
    }
    Err(
        Refusal::denied("function", format!("permission denied for this first argument of {name}"))
            .hint("Name the text search configuration by a plain constant, as in to_tsvector('english', …)."),
    )
}

/// Whether a setting's value could only be that of `restrict_nonsystem_relation_kind`.
fn only_kinds_of_relations(value: &str) -> bool {
    value.split(',').all(|kind| matches!(kind.trim(), "view" | "foreign-table"))
}
