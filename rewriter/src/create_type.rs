//! Types of the module's own: enums, composite types and domains are made, altered, renamed and dropped in its schema.
//!
//! A type that is named like a built-in one is refused, since a session may put its schema before `pg_catalog` in the path. Base types and
//! ranges are refused: their functions are code that nobody reads. A domain's CHECK and DEFAULT are judged like any expression.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, Node, ObjectType};

use crate::ddl::{anything, by_manifest, not_by};
use crate::judge::Judge;
use crate::plan::Refusal;
use crate::{allow, tree};

impl Judge<'_> {
    /// `CREATE TYPE … AS ENUM`.
    pub(crate) fn create_enum(&self, e: &mut protobuf::CreateEnumStmt) -> Result<(), Refusal> {
        self.new_type(&mut e.type_name)
    }

    /// `ALTER TYPE … ADD VALUE` and `RENAME VALUE`.
    pub(crate) fn alter_enum(&self, e: &mut protobuf::AlterEnumStmt) -> Result<(), Refusal> {
        self.existing_type(&mut e.type_name, false)
    }

    /// `CREATE TYPE … AS (…)`.
    pub(crate) fn create_composite(&mut self, c: &mut protobuf::CompositeTypeStmt) -> Result<(), Refusal> {
        let Some(r) = &mut c.typevar else {
            return Err(Refusal::internal("a type has no name"));
        };
        self.seen.range_vars += 1;
        let mut names: Vec<Node> = [&r.catalogname, &r.schemaname, &r.relname]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| tree::string(part))
            .collect();
        self.new_type(&mut names)?;
        r.schemaname = self.ask.catalog.schema.as_str().to_owned();
        for n in &mut c.coldeflist {
            match &mut n.node {
                Some(NodeEnum::ColumnDef(d)) => self.column_def(d).map_err(Refusal::placeless)?,
                _ => return Err(Refusal::internal("a composite type holds something else")),
            }
        }
        Ok(())
    }

    pub(crate) fn create_domain(&mut self, d: &mut protobuf::CreateDomainStmt) -> Result<(), Refusal> {
        self.new_type(&mut d.domainname)?;
        let Some(ty) = &mut d.type_name else {
            return Err(Refusal::internal("a domain has no type"));
        };
        self.type_name(ty, &anything()).map_err(Refusal::placeless)?;
        self.collation(&mut d.coll_clause)?;
        for n in &mut d.constraints {
            match &mut n.node {
                Some(NodeEnum::Constraint(k)) => self.constraint(k)?,
                _ => return Err(Refusal::internal("a constraint list holds something else")),
            }
        }
        Ok(())
    }

    pub(crate) fn alter_domain(&mut self, d: &mut protobuf::AlterDomainStmt) -> Result<(), Refusal> {
        self.existing_type(&mut d.type_name, false)?;
        match (d.subtype.as_str(), d.def.as_mut().map(|n| &mut n.node)) {
            // SET and DROP NOT NULL, DROP DEFAULT, DROP and VALIDATE CONSTRAINT.
            ("N" | "O" | "X" | "V" | "T", None) => Ok(()),
            ("C", Some(Some(NodeEnum::Constraint(k)))) => self.constraint(k),
            ("T", Some(_)) => self.plain_opt(d.def.as_mut(), &anything()),
            _ => Err(Refusal::statement("This form of ALTER DOMAIN")),
        }
    }

    /// One type of `DROP TYPE` or `DROP DOMAIN`.
    pub(crate) fn drop_type(&mut self, n: &mut Node, missing_ok: bool) -> Result<(), Refusal> {
        self.seen.type_names += 1;
        match &mut n.node {
            Some(NodeEnum::TypeName(ty)) if bare(ty) => self.existing_type(&mut ty.names, missing_ok),
            _ => Err(Refusal::construct("This form of a type's name")),
        }
    }

    /// `ALTER TYPE` and `ALTER DOMAIN … RENAME TO`, and a domain's `RENAME CONSTRAINT`.
    pub(crate) fn rename_type(&self, r: &mut protobuf::RenameStmt) -> Result<(), Refusal> {
        let is_constraint = r.rename_type() == ObjectType::ObjectDomconstraint;
        let Some(Some(NodeEnum::List(names))) = r.object.as_mut().map(|o| &mut o.node) else {
            return Err(Refusal::internal("a type has no name"));
        };
        self.existing_type(&mut names.items, false)?;
        if is_constraint { Ok(()) } else { free_name(&r.newname) }
    }

    /// The type that a COMMENT is about.
    pub(crate) fn comment_on_type(&mut self, object: Option<&mut Box<Node>>) -> Result<(), Refusal> {
        match object {
            Some(n) => self.drop_type(n, false),
            None => Err(Refusal::internal("COMMENT holds something else")),
        }
    }

    /// The name of a type to be made: in the module's own schema, and none that PostgreSQL has.
    fn new_type(&self, names: &mut Vec<Node>) -> Result<(), Refusal> {
        if !self.ask.undeclared {
            return Err(not_by(self.ask));
        }
        let own = self.ask.catalog.schema.as_str();
        let name = match tree::parts(names).as_deref() {
            Some([name]) => (*name).to_owned(),
            Some([schema, name]) if *schema == own => (*name).to_owned(),
            Some(["pg_temp", _]) => {
                return Err(Refusal::construct("A temporary type").hint("Make it in the module's own schema."));
            }
            Some([schema, _]) => {
                return Err(Refusal::new(
                    "3F000",
                    "relation",
                    format!("schema \"{schema}\" does not exist"),
                ));
            }
            Some(_) => return Err(Refusal::construct("A reference to another database")),
            None => return Err(Refusal::internal("a type has no name")),
        };
        free_name(&name)?;
        *names = vec![tree::string(own), tree::string(&name)];
        Ok(())
    }

    /// The name of a type of the module's own; another's is missing.
    pub(crate) fn existing_type(&self, names: &mut Vec<Node>, missing_ok: bool) -> Result<(), Refusal> {
        if !self.ask.undeclared {
            return Err(not_by(self.ask));
        }
        let catalog = self.ask.catalog;
        let own = catalog.schema.as_str();
        let Some(parts) = tree::parts(names) else {
            return Err(Refusal::internal("a type has no name"));
        };
        let name = match parts.as_slice() {
            [name] | ["pg_catalog", name] if allow::builtin_type(name) => {
                return Err(Refusal::denied("type", format!("must be owner of type {name}")));
            }
            [name] => *name,
            [schema, name] if *schema == own => *name,
            // With IF EXISTS too: PostgreSQL's notice would tell whether there is such a schema.
            _ => return Err(Refusal::missing_type(&parts.join("."), -1)),
        };
        if let Some(relation) = catalog.relation(own, name)
            && relation.is_manifests()
        {
            return Err(by_manifest(&relation.name));
        }
        let known = catalog.has_type(name) || catalog.relation(own, name).is_some() || !catalog.closed;
        if !known && (!missing_ok || catalog.left_out.contains(name)) {
            return Err(Refusal::missing_type(&parts.join("."), -1));
        }
        let qualified = vec![tree::string(own), tree::string(name)];
        *names = qualified;
        Ok(())
    }
}

/// Whether a type's name stands for the type itself: no array, modifier or reference.
fn bare(ty: &protobuf::TypeName) -> bool {
    !ty.pct_type && !ty.setof && ty.typmods.is_empty() && ty.array_bounds.is_empty()
}

/// A name that no built-in type has, nor its array.
fn free_name(name: &str) -> Result<(), Refusal> {
    if allow::builtin_type(name.trim_start_matches('_')) {
        return Err(Refusal::construct("A type named like a built-in one").hint("Choose another name."));
    }
    Ok(())
}
