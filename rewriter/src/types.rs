//! Types: casts, type names, and the `reg…` family, whose values are names of the catalogue.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, TypeName};

use crate::expr::string_constant;
use crate::judge::Judge;
use crate::plan::Refusal;
use crate::scope::Scope;
use crate::{allow, tree};

impl Judge<'_> {
    pub(crate) fn cast(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<(), Refusal> {
        let Some(NodeEnum::TypeCast(c)) = &mut n.node else {
            return Err(Refusal::internal("a cast was expected"));
        };
        let Some(ty) = &mut c.type_name else {
            return Err(Refusal::internal("a cast has no type"));
        };
        let Some(arg) = &mut c.arg else {
            return Err(Refusal::internal("an expression is empty"));
        };
        if registry_type(ty) {
            self.seen.type_names += 1;
            if self.only_explained && is_regclass(ty) && scope.is_own_tableoid(arg) {
                // Nothing becomes a name, and the plan tells the cast as it was written.
                ty.names = vec![tree::string("pg_catalog"), tree::string("regclass")];
                return self.plain(arg, scope);
            }
            let (literal, location) = match &arg.node {
                Some(NodeEnum::AConst(k)) => (string_constant(k).map(str::to_owned), k.location),
                _ => (None, c.location),
            };
            let Some(function) = self.registry_cast(ty, literal.as_deref(), location)? else {
                return Ok(());
            };
            self.plain(arg, scope)?;
            *n = tree::call(["postern_catalog", function], vec![std::mem::take(&mut **arg)]);
            return Ok(());
        }
        self.type_name(ty, scope)?;
        if let Some(truth) = boolean_literal(ty, arg) {
            // The printer would write it as the keyword, which reads back as another tree.
            *n = tree::boolean(truth);
            return Ok(());
        }
        if self.catalogue_reference(arg) {
            return self.expr_as_it_is(arg, scope).map(|_| ());
        }
        self.plain(arg, scope)
    }

    /// `'name'::regclass` for a relation of the module's own, and a built-in type or text search configuration, stay as they are; another
    /// relation is missing. Whatever else becomes a reference by way of the function that is named here: it gives NULL for an oid that the
    /// session does not see.
    fn registry_cast(
        &mut self,
        ty: &mut TypeName,
        literal: Option<&str>,
        location: i32,
    ) -> Result<Option<&'static str>, Refusal> {
        let parts = tree::parts(&ty.names).unwrap_or_default();
        let kind = match parts.as_slice() {
            [kind] | ["pg_catalog", kind] => (*kind).to_owned(),
            _ => return Err(Refusal::missing_type(&parts.join("."), location)),
        };
        if !ty.array_bounds.is_empty() {
            return Err(Refusal::denied("type", "arrays of catalogue reference types are not allowed").at(location));
        }
        let function = allow::catalogue_cast(&kind)
            .ok_or_else(|| Refusal::denied("type", format!("type {kind} is not available")).at(location))?;
        let plain = match (kind.as_str(), literal) {
            ("regclass", Some(name)) if name == "-" || name.bytes().all(|b| b.is_ascii_digit()) => false,
            ("regclass", Some(name)) if self.own_relation_name(name) || catalogue_relation_name(name) => true,
            ("regclass", Some(name)) => return Err(Refusal::missing_relation(name, location)),
            ("regtype", Some(name)) => allow::builtin_type(name) || postern_config::ColumnType::parse(name).sealable(),
            ("regconfig", Some(name)) => !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            _ => false,
        };
        if !plain {
            return Ok(Some(function));
        }
        ty.names = vec![tree::string("pg_catalog"), tree::string(&kind)];
        Ok(None)
    }

    /// A type name as a cast or a column definition may hold it; built-in ones are qualified, so that nothing can stand before them.
    pub(crate) fn type_name(&mut self, ty: &mut TypeName, scope: &Scope<'_>) -> Result<(), Refusal> {
        self.seen.type_names += 1;
        if ty.pct_type || ty.setof {
            return Err(Refusal::construct("A %TYPE or SETOF type").at(ty.location));
        }
        let Some(parts) = tree::parts(&ty.names) else {
            return Err(Refusal::internal("a type has no name"));
        };
        let own = self.ask.catalog.schema.as_str();
        let qualified = match parts.as_slice() {
            // The second is an array type by its internal name.
            [name] | ["pg_catalog", name]
                if allow::builtin_type(name) || name.strip_prefix('_').is_some_and(allow::builtin_type) =>
            {
                Some(["pg_catalog", *name])
            }
            // The standard's domains over built-in types, which the catalogue's own columns have.
            ["information_schema", name]
                if matches!(
                    *name,
                    "cardinal_number" | "character_data" | "sql_identifier" | "time_stamp" | "yes_or_no"
                ) =>
            {
                Some(["information_schema", *name])
            }
            [name] if self.row_type("pg_temp", name) => Some(["pg_temp", *name]),
            [name] if self.own_type(own, name) => Some([own, *name]),
            [schema, name] if self.own_type(schema, name) => Some([*schema, *name]),
            _ if !self.ask.catalog.closed => None,
            _ => return Err(Refusal::missing_type(&parts.join("."), ty.location)),
        };
        if let Some(names) = qualified.map(|names| names.map(tree::string)) {
            ty.names = names.into();
        }
        for modifier in &mut ty.typmods {
            self.plain(modifier, scope)?;
        }
        Ok(())
    }

    /// Whether the module has a type of that name: one that it made, or a relation's row.
    pub(crate) fn own_type(&self, schema: &str, name: &str) -> bool {
        let catalog = self.ask.catalog;
        catalog.closed && schema == catalog.schema.as_str() && catalog.has_type(name) || self.row_type(schema, name)
    }

    /// Whether a relation of the module's own has that name and a row type a client may name: one without stored columns that are hidden.
    fn row_type(&self, schema: &str, name: &str) -> bool {
        let relation = self.ask.catalog.relation(schema, name);
        self.ask.catalog.closed
            && relation.is_some_and(|r| {
                !self.hides(r)
                    && r.declared
                        .as_ref()
                        .is_none_or(|t| t.columns.iter().all(|c| c.protection.is_none() && !c.never))
            })
    }

    /// Whether a literal (as PostgreSQL folds identifiers) names a relation of the module's own.
    pub(crate) fn own_relation_name(&self, literal: &str) -> bool {
        let catalog = self.ask.catalog;
        if !catalog.closed {
            return true;
        }
        let Some(parts) = fold_qualified(literal) else { return false };
        let found = match parts.as_slice() {
            [name] => catalog
                .relation("pg_temp", name)
                .or_else(|| catalog.relation(catalog.schema.as_str(), name)),
            [schema, name] => catalog.relation(schema, name),
            _ => None,
        };
        found.is_some_and(|relation| !self.hides(relation))
    }
}

/// `'t'::bool` and `'f'::bool`.
fn boolean_literal(ty: &TypeName, arg: &Node) -> Option<bool> {
    let Some(NodeEnum::AConst(k)) = &arg.node else { return None };
    let is_bool = ty.array_bounds.is_empty() && tree::parts(&ty.names).is_some_and(|p| p == ["pg_catalog", "bool"]);
    match string_constant(k) {
        Some("t") if is_bool => Some(true),
        Some("f") if is_bool => Some(false),
        _ => None,
    }
}

fn is_regclass(ty: &TypeName) -> bool {
    ty.array_bounds.is_empty()
        && matches!(
            tree::parts(&ty.names).as_deref(),
            Some(["regclass"] | ["pg_catalog", "regclass"])
        )
}

/// Whether a type is of the `reg…` family, whose input and output reach past the catalogue views.
pub(crate) fn registry_type(ty: &TypeName) -> bool {
    let reg = |name: &str| {
        matches!(
            name.trim_start_matches('_'),
            "regclass"
                | "regtype"
                | "regproc"
                | "regprocedure"
                | "regoper"
                | "regoperator"
                | "regconfig"
                | "regdictionary"
                | "regrole"
                | "regnamespace"
                | "regcollation"
        )
    };
    match tree::parts(&ty.names).as_deref() {
        Some([name] | ["pg_catalog", name]) => reg(name),
        _ => false,
    }
}

/// Splits `a.b` as `regclass` input does: unquoted parts fold to lower case, quoted ones keep theirs.
pub(crate) fn fold_qualified(literal: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut chars = literal.chars().peekable();
    loop {
        let mut part = String::new();
        if chars.peek() == Some(&'"') {
            chars.next();
            loop {
                match chars.next()? {
                    '"' if chars.peek() == Some(&'"') => {
                        chars.next();
                        part.push('"');
                    }
                    '"' => break,
                    c => part.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != '.') {
                if !(c.is_alphanumeric() || c == '_' || c == '$') {
                    return None;
                }
                part.push(c.to_ascii_lowercase());
            }
        }
        if part.is_empty() || part.len() > postern_config::names::MAX_IDENT_BYTES {
            return None;
        }
        parts.push(part);
        match chars.next() {
            None => return Some(parts),
            Some('.') => {}
            Some(_) => return None,
        }
    }
}

/// Whether a literal names a relation of the catalogue that answers through a view.
pub(crate) fn catalogue_relation_name(literal: &str) -> bool {
    let parts = fold_qualified(literal).unwrap_or_default();
    match parts.as_slice() {
        [name] => allow::catalogue_view("pg_catalog", name).is_some(),
        [schema, name] => allow::catalogue_view(schema, name).is_some(),
        _ => false,
    }
}
