//! DDL for logins that may run it: tables, indexes, views and sequences with plain columns, in the module's own schema or `pg_temp`; types
//! and functions stand in files of their own.
//!
//! Declared tables belong to the manifest and are changed through it. Everything else a client could send ends here, refused.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, AlterTableType, ConstrType, Node, ObjectType, OnCommitAction, RangeVar, RoleSpecType};
use postern_config::{Login, LoginKind};

use crate::judge::{Ask, Judge, judged};
use crate::plan::{Effect, Keeps, Plan, Refusal, Run};
use crate::relations::Target;
use crate::scope::{Entry, Scope};
use crate::select::Mode;
use crate::statement::{finish, walk_data};
use crate::update::Gathered;
use crate::{absent, allow, census, tree};

/// Plans a DDL statement, or refuses whatever it is.
pub(crate) fn plan(stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let Some(inner) = &stmt.node else {
        return Err(Refusal::internal("a statement is empty"));
    };
    let known = matches!(
        inner,
        NodeEnum::CreateStmt(_)
            | NodeEnum::CreateTableAsStmt(_)
            | NodeEnum::IndexStmt(_)
            | NodeEnum::ViewStmt(_)
            | NodeEnum::CreateSeqStmt(_)
            | NodeEnum::AlterSeqStmt(_)
            | NodeEnum::DropStmt(_)
            | NodeEnum::AlterTableStmt(_)
            | NodeEnum::RenameStmt(_)
            | NodeEnum::CompositeTypeStmt(_)
            | NodeEnum::CreateEnumStmt(_)
            | NodeEnum::AlterEnumStmt(_)
            | NodeEnum::CreateDomainStmt(_)
            | NodeEnum::AlterDomainStmt(_)
            | NodeEnum::CreateFunctionStmt(_)
            | NodeEnum::AlterFunctionStmt(_)
            | NodeEnum::AlterOwnerStmt(_)
    ) || matches!(inner, NodeEnum::DefineStmt(d) if d.kind() == ObjectType::ObjectCollation);
    if !known {
        return Err(refused(stmt, ask));
    }
    if !may_run(ask.login) {
        return Err(not_by(ask));
    }
    if let Some(plan) = absent::skipped(inner, ask)? {
        return Ok(plan);
    }
    let judged = judged(stmt, ask, false, |judge, n| judge.ddl(n))?;
    let mut gathered = Gathered::default();
    let (statement, ()) = gathered.statement(judged, None);
    if gathered.keeps.contains(Keeps::SEED) {
        // Whoever reads the view, or writes the table, would leave a seed that they did not set.
        return Err(Refusal::construct("setseed in what outlives the statement"));
    }
    let mut plan = finish(Run::Once(statement), Effect::Ddl, gathered);
    plan.cacheable = false;
    Ok(plan)
}

/// Whether a login may run DDL.
pub(crate) fn may_run(login: &Login) -> bool {
    login.ddl || login.kind == LoginKind::Migrator
}

/// The INTO of a SELECT, which stands in its first arm.
pub(crate) fn into_of(s: &protobuf::SelectStmt) -> Option<&protobuf::IntoClause> {
    match (&s.into_clause, &s.larg) {
        (Some(into), _) => Some(into),
        (None, Some(left)) => into_of(left),
        (None, None) => None,
    }
}

/// SELECT … INTO as the CREATE TABLE … AS that it is.
pub(crate) fn select_into(s: &protobuf::SelectStmt) -> Result<Node, Refusal> {
    fn take(s: &mut protobuf::SelectStmt) -> Option<Box<protobuf::IntoClause>> {
        s.into_clause.take().or_else(|| take(s.larg.as_mut()?))
    }
    let mut query = s.clone();
    let into = take(&mut query).ok_or_else(|| Refusal::internal("a SELECT lacks its INTO"))?;
    Ok(tree::node(NodeEnum::CreateTableAsStmt(Box::new(
        protobuf::CreateTableAsStmt {
            query: Some(Box::new(tree::node(NodeEnum::SelectStmt(Box::new(query))))),
            into: Some(into),
            objtype: ObjectType::ObjectTable as i32,
            is_select_into: false,
            if_not_exists: false,
        },
    ))))
}

pub(crate) fn not_by(ask: &Ask<'_>) -> Refusal {
    Refusal::denied("ddl", format!("permission denied for schema {}", ask.catalog.schema))
        .hint("Change the schema with the module's migrator login, without a user's token.")
}

/// A refusal for a statement that is not available; where it names a relation that is not the module's, the relation is missing first.
pub(crate) fn refused(stmt: &Node, ask: &Ask<'_>) -> Refusal {
    let Some(inner) = &stmt.node else {
        return Refusal::internal("a statement is empty");
    };
    let mut judge = Judge::scout(ask);
    if let Ok(survey) = census::survey(stmt) {
        for (schemaname, relname, _) in survey.relations {
            let r = RangeVar {
                schemaname,
                relname,
                inh: true,
                location: -1,
                ..RangeVar::default()
            };
            if let Err(missing) = judge.resolve(&r) {
                return missing;
            }
        }
    }
    if let NodeEnum::CommentStmt(c) = inner
        && let Some(NodeEnum::List(l)) = c.object.as_ref().and_then(|o| o.node.as_ref())
        && matches!(
            c.objtype(),
            ObjectType::ObjectTable
                | ObjectType::ObjectView
                | ObjectType::ObjectColumn
                | ObjectType::ObjectTabconstraint
                | ObjectType::ObjectSequence
        )
    {
        let mut parts = tree::parts(&l.items).unwrap_or_default();
        if matches!(c.objtype(), ObjectType::ObjectColumn | ObjectType::ObjectTabconstraint) {
            parts.pop();
        }
        if let Err(missing) = judge.resolve(&named(&parts)) {
            return missing;
        }
    }
    match inner {
        NodeEnum::DoStmt(_) => denied("DO"),
        NodeEnum::CopyStmt(c) if c.is_program => denied("COPY … PROGRAM"),
        NodeEnum::CopyStmt(_) => denied("COPY with a file of the server"),
        NodeEnum::CreateRangeStmt(_) => Refusal::statement("CREATE TYPE … AS RANGE")
            .hint("Enums, composite types and domains can be made; a range's functions would be code that nobody reads."),
        NodeEnum::DefineStmt(d) if d.kind() == ObjectType::ObjectType => Refusal::statement("CREATE TYPE for a base type")
            .hint("Enums, composite types and domains can be made; a base type's functions would be code that nobody reads."),
        NodeEnum::CreateExtensionStmt(_) => denied("CREATE EXTENSION"),
        NodeEnum::CreatePlangStmt(_) => denied("CREATE LANGUAGE"),
        NodeEnum::AlterSystemStmt(_) => denied("ALTER SYSTEM"),
        NodeEnum::GrantStmt(_) | NodeEnum::GrantRoleStmt(_) => denied("GRANT and REVOKE"),
        NodeEnum::CreateRoleStmt(_) | NodeEnum::AlterRoleStmt(_) | NodeEnum::AlterRoleSetStmt(_) | NodeEnum::DropRoleStmt(_) => {
            denied("Managing roles")
        }
        NodeEnum::LoadStmt(_) => denied("LOAD"),
        NodeEnum::TruncateStmt(_)
        | NodeEnum::CommentStmt(_)
        | NodeEnum::VacuumStmt(_)
        | NodeEnum::RefreshMatViewStmt(_)
        | NodeEnum::ReindexStmt(_) => not_by(ask),
        NodeEnum::CallStmt(_) => Refusal::statement("CALL"),
        _ => Refusal::statement("This kind of statement"),
    }
}

fn denied(what: &str) -> Refusal {
    Refusal::denied("statement-kind", format!("permission denied: {what} is not for modules"))
        .hint("Ask the database's administrator, or declare what you need in the manifest.")
}

pub(crate) fn by_manifest(relation: &str) -> Refusal {
    Refusal::denied("ddl", format!("table \"{relation}\" is declared in the manifest"))
        .hint("Change the manifest and run postern provision.")
}

pub(crate) fn named(parts: &[&str]) -> RangeVar {
    let (catalogname, schemaname, relname) = match parts {
        [.., database, schema, name] => ((*database).to_owned(), (*schema).to_owned(), (*name).to_owned()),
        [schema, name] => (String::new(), (*schema).to_owned(), (*name).to_owned()),
        [name] => (String::new(), String::new(), (*name).to_owned()),
        [] => (String::new(), String::new(), String::new()),
    };
    RangeVar {
        catalogname,
        schemaname,
        relname,
        inh: true,
        location: -1,
        ..RangeVar::default()
    }
}

impl Judge<'_> {
    fn ddl(&mut self, n: &mut Node) -> Result<(), Refusal> {
        match &mut n.node {
            Some(NodeEnum::CreateStmt(c)) => self.create_table(c),
            Some(NodeEnum::CreateTableAsStmt(c)) => self.create_table_as(c),
            Some(NodeEnum::IndexStmt(i)) => self.create_index(i),
            Some(NodeEnum::ViewStmt(v)) => self.create_view(v),
            Some(NodeEnum::CreateSeqStmt(s)) => {
                self.new_relation(s.sequence.as_mut(), OnCommitAction::OncommitNoop)?;
                self.not_a_partitions(s.sequence.as_ref())?;
                if s.owner_id != 0 || s.for_identity {
                    return Err(Refusal::construct("This form of CREATE SEQUENCE"));
                }
                self.sequence_options(&mut s.options)
            }
            Some(NodeEnum::AlterSeqStmt(s)) => {
                self.own_undeclared(s.sequence.as_mut())?;
                self.sequence_options(&mut s.options)
            }
            Some(NodeEnum::DropStmt(d)) => self.drop_objects(d),
            Some(NodeEnum::AlterTableStmt(a)) => self.alter_table(a),
            Some(NodeEnum::RenameStmt(r)) => self.rename(r),
            Some(NodeEnum::CompositeTypeStmt(c)) => self.create_composite(c),
            Some(NodeEnum::CreateEnumStmt(e)) => self.create_enum(e),
            Some(NodeEnum::AlterEnumStmt(e)) => self.alter_enum(e),
            Some(NodeEnum::CreateDomainStmt(d)) => self.create_domain(d),
            Some(NodeEnum::AlterDomainStmt(d)) => self.alter_domain(d),
            Some(NodeEnum::CreateFunctionStmt(f)) => self.create_function(f),
            Some(NodeEnum::AlterFunctionStmt(f)) => self.alter_function(f),
            Some(NodeEnum::AlterOwnerStmt(o)) => self.change_owner(o),
            Some(NodeEnum::DefineStmt(d)) => self.create_collation(d),
            _ => Err(Refusal::statement("This kind of statement")),
        }
    }

    fn rename(&mut self, r: &mut protobuf::RenameStmt) -> Result<(), Refusal> {
        match r.rename_type() {
            ObjectType::ObjectType | ObjectType::ObjectDomain | ObjectType::ObjectDomconstraint => return self.rename_type(r),
            ObjectType::ObjectFunction => return self.rename_function(r),
            ObjectType::ObjectCollation => {
                let name = r
                    .object
                    .as_mut()
                    .ok_or_else(|| Refusal::internal("a collation has no name"))?;
                return self.existing_collation(name);
            }
            ObjectType::ObjectTable
            | ObjectType::ObjectColumn
            | ObjectType::ObjectIndex
            | ObjectType::ObjectView
            | ObjectType::ObjectSequence
            | ObjectType::ObjectTabconstraint
            | ObjectType::ObjectMatview
            | ObjectType::ObjectAttribute
                if r.object.is_none() => {}
            _ => return Err(Refusal::statement("This kind of RENAME")),
        }
        let of_part = matches!(
            r.rename_type(),
            ObjectType::ObjectColumn | ObjectType::ObjectTabconstraint | ObjectType::ObjectAttribute
        );
        self.own_undeclared(r.relation.as_mut())?;
        if let (false, Some(relation)) = (of_part, &r.relation) {
            self.no_partitions_name(&relation.schemaname, &r.newname)?;
            // Indexes may be named so, and PostgreSQL's ALTER INDEX … RENAME renames tables too.
            let catalog = self.ask.catalog;
            if catalog
                .relation(&relation.schemaname, &relation.relname)
                .is_some_and(|x| x.kind == crate::catalog::RelationKind::Index)
            {
                self.no_partitions_name(&relation.schemaname, &relation.relname)?;
            }
        }
        // As where a temporary relation is made.
        let temporary = r.relation.as_ref().is_some_and(|r| r.schemaname == "pg_temp");
        if temporary && !of_part && allow::builtin_type(r.newname.trim_start_matches('_')) {
            return Err(Refusal::construct("A temporary relation named like a built-in type"));
        }
        Ok(())
    }

    /// OWNER TO of a type or a function, in the form that dumps have.
    fn change_owner(&mut self, o: &mut protobuf::AlterOwnerStmt) -> Result<(), Refusal> {
        if let (ObjectType::ObjectCollation, Some(name)) = (o.object_type(), &mut o.object) {
            self.existing_collation(name)?;
            return self.to_the_owner(o.newowner.as_ref());
        }
        match (o.object_type(), o.object.as_mut().map(|n| &mut n.node)) {
            (ObjectType::ObjectType | ObjectType::ObjectDomain, Some(Some(NodeEnum::List(names)))) => {
                self.existing_type(&mut names.items, false)?;
            }
            (ObjectType::ObjectFunction, Some(Some(NodeEnum::ObjectWithArgs(f)))) => self.existing_function(f, false)?,
            _ => return Err(Refusal::statement("OWNER TO of this kind of object")),
        }
        self.to_the_owner(o.newowner.as_ref())
    }

    fn not_a_partitions(&self, made: Option<&RangeVar>) -> Result<(), Refusal> {
        made.map_or(Ok(()), |r| self.no_partitions_name(&r.schemaname, &r.relname))
    }

    /// The name of a relation to be made: in the module's own schema, or temporary.
    fn new_relation(&mut self, r: Option<&mut RangeVar>, at_commit: OnCommitAction) -> Result<(), Refusal> {
        let Some(r) = r else {
            return Err(Refusal::internal("a relation has no name"));
        };
        self.seen.range_vars += 1;
        if !r.catalogname.is_empty() {
            return Err(Refusal::construct("A reference to another database"));
        }
        let own = self.ask.catalog.schema.as_str();
        let temporary = r.relpersistence == "t";
        match r.schemaname.as_str() {
            "" if temporary => r.schemaname = "pg_temp".to_owned(),
            "" => r.schemaname = own.to_owned(),
            "pg_temp" => {}
            schema if schema == own && !temporary => {}
            schema => {
                return Err(Refusal::new(
                    "3F000",
                    "relation",
                    format!("schema \"{schema}\" does not exist"),
                ));
            }
        }
        if r.schemaname != "pg_temp" && !self.ask.undeclared {
            return Err(not_by(self.ask));
        }
        if r.schemaname == "pg_temp" {
            self.keeps.add(match at_commit {
                OnCommitAction::OncommitDrop => Keeps::TEMPORARY_IN_BLOCK,
                _ => Keeps::TEMPORARY,
            });
        }
        // A temporary relation's row type comes before a built-in type of its name, in policies too.
        if r.schemaname == "pg_temp" && allow::builtin_type(r.relname.trim_start_matches('_')) {
            return Err(Refusal::construct("A temporary relation named like a built-in type").at(r.location));
        }
        if self
            .ask
            .catalog
            .relation(&r.schemaname, &r.relname)
            .is_some_and(|x| x.is_manifests())
        {
            return Err(Refusal::new(
                "42P07",
                "ddl",
                format!("relation \"{}\" already exists", r.relname),
            ));
        }
        Ok(())
    }

    /// An existing relation of the module's own that no manifest declares.
    pub(crate) fn own_undeclared(&mut self, r: Option<&mut RangeVar>) -> Result<(), Refusal> {
        let Some(r) = r else {
            return Err(Refusal::internal("a relation has no name"));
        };
        self.seen.range_vars += 1;
        // As PostgreSQL's own utility statements do, without saying where.
        match self.resolve(r).map_err(Refusal::placeless)? {
            Target::Own(relation) if relation.is_manifests() => Err(by_manifest(&relation.name)),
            Target::Own(relation) => {
                r.schemaname = relation.schema.to_string();
                Ok(())
            }
            Target::Assumed => {
                if r.schemaname.is_empty() {
                    r.schemaname = self.ask.catalog.schema.as_str().to_owned();
                }
                Ok(())
            }
            Target::Catalogue(..) => Err(Refusal::denied(
                "relation",
                format!("permission denied for relation {}", r.relname),
            )),
        }
    }

    /// The table that a foreign key refers to: one that is there, or the one that is being made.
    fn referenced(&mut self, r: Option<&mut RangeVar>) -> Result<(), Refusal> {
        match (&self.making, r) {
            (Some((schema, name)), Some(r))
                if r.relname == *name && (r.schemaname.is_empty() || r.schemaname == *schema) && r.catalogname.is_empty() =>
            {
                self.seen.range_vars += 1;
                r.schemaname = schema.clone();
                Ok(())
            }
            (_, r) => self.own_undeclared(r),
        }
    }

    fn create_table(&mut self, c: &mut protobuf::CreateStmt) -> Result<(), Refusal> {
        let at_commit = c.oncommit();
        let location = c.relation.as_ref().map_or(-1, |r| r.location);
        // Of what makes relations, CREATE TABLE alone says where.
        self.new_relation(c.relation.as_mut(), at_commit)
            .map_err(|refusal| match refusal.sqlstate {
                "3F000" => refusal.at(location),
                _ => refusal,
            })?;
        let made = c.relation.as_ref().map(|r| (r.schemaname.clone(), r.relname.clone()));
        self.making = made.clone();
        if let Some(by) = &mut c.partspec {
            self.partition_key(by)?;
        }
        if let Some(bound) = &mut c.partbound {
            self.partition_bound(bound)?;
        }
        if let Some(ty) = &mut c.of_typename {
            self.type_name(ty, &anything()).map_err(Refusal::placeless)?;
        }
        placement(&mut c.tablespacename, &c.access_method)?;
        storage_options(&c.options)?;
        if self.partition_of_declared(c)? {
            return Ok(());
        }
        if let Some((schema, name)) = made {
            self.no_partitions_name(&schema, &name)?;
        }
        for parent in &mut c.inh_relations {
            match &mut parent.node {
                Some(NodeEnum::RangeVar(r)) => self.own_undeclared(Some(r))?,
                _ => return Err(Refusal::internal("INHERITS holds something else")),
            }
        }
        for element in &mut c.table_elts {
            match &mut element.node {
                Some(NodeEnum::ColumnDef(d)) => self.column_def(d)?,
                Some(NodeEnum::Constraint(k)) => self.constraint(k)?,
                Some(NodeEnum::TableLikeClause(l)) => self.own_undeclared(l.relation.as_mut())?,
                _ => return Err(Refusal::construct("This element of CREATE TABLE")),
            }
        }
        for k in c.constraints.iter_mut().chain(&mut c.nnconstraints) {
            match &mut k.node {
                Some(NodeEnum::Constraint(k)) => self.constraint(k)?,
                _ => return Err(Refusal::internal("a constraint list holds something else")),
            }
        }
        Ok(())
    }

    pub(crate) fn column_def(&mut self, d: &mut protobuf::ColumnDef) -> Result<(), Refusal> {
        if let Some(ty) = &mut d.type_name {
            let serial = matches!(
                tree::parts(&ty.names).as_deref(),
                Some(["serial" | "serial4" | "bigserial" | "serial8" | "smallserial" | "serial2"])
            );
            if serial {
                self.seen.type_names += 1;
            } else {
                self.type_name(ty, &anything())?;
            }
        }
        self.plain_opt(d.raw_default.as_mut(), &anything())?;
        self.collation(&mut d.coll_clause)?;
        if !d.fdwoptions.is_empty() || d.cooked_default.is_some() || d.identity_sequence.is_some() {
            return Err(Refusal::construct("This form of column definition"));
        }
        for k in &mut d.constraints {
            match &mut k.node {
                Some(NodeEnum::Constraint(k)) => self.constraint(k)?,
                _ => return Err(Refusal::internal("a constraint list holds something else")),
            }
        }
        Ok(())
    }

    /// The COLLATE of a definition has no argument; its name is checked like any other.
    pub(crate) fn collation(&mut self, clause: &mut Option<Box<protobuf::CollateClause>>) -> Result<(), Refusal> {
        if let Some(collation) = clause.take() {
            let mut n = tree::node(NodeEnum::CollateClause(collation));
            self.plain(&mut n, &anything())?;
            if let Some(NodeEnum::CollateClause(c)) = n.node {
                *clause = Some(c);
            }
        }
        Ok(())
    }

    pub(crate) fn constraint(&mut self, k: &mut protobuf::Constraint) -> Result<(), Refusal> {
        match k.contype() {
            ConstrType::ConstrExclusion => return Err(Refusal::construct("An EXCLUDE constraint")),
            ConstrType::ConstrForeign => self.referenced(k.pktable.as_mut())?,
            ConstrType::ConstrIdentity => self.sequence_options(&mut k.options)?,
            _ => storage_options(&k.options)?,
        }
        own_tablespace(&mut k.indexspace)?;
        if !k.exclusions.is_empty() {
            return Err(Refusal::construct("An EXCLUDE constraint"));
        }
        self.plain_opt(k.raw_expr.as_mut(), &anything())?;
        self.plain_opt(k.where_clause.as_mut(), &anything())
    }

    pub(crate) fn create_table_as(&mut self, c: &mut protobuf::CreateTableAsStmt) -> Result<(), Refusal> {
        if !matches!(c.objtype(), ObjectType::ObjectTable | ObjectType::ObjectMatview) {
            return Err(Refusal::statement("This kind of CREATE … AS"));
        }
        let outlives = c.objtype() == ObjectType::ObjectMatview;
        let Some(into) = &mut c.into else {
            return Err(Refusal::internal("CREATE TABLE AS has no target"));
        };
        if into.view_query.is_some() {
            return Err(Refusal::internal("CREATE TABLE AS has another form"));
        }
        let at_commit = into.on_commit();
        placement(&mut into.table_space_name, &into.access_method)?;
        storage_options(&into.options)?;
        self.new_relation(into.rel.as_mut(), at_commit)?;
        self.not_a_partitions(into.rel.as_ref())?;
        self.outlives = outlives;
        match &mut c.query {
            Some(q) if matches!(q.node, Some(NodeEnum::SelectStmt(_))) => walk_data(self, q, &Mode::Values).map(|_| ()),
            _ => Err(Refusal::statement("CREATE TABLE AS EXECUTE")),
        }
    }

    fn create_view(&mut self, v: &mut protobuf::ViewStmt) -> Result<(), Refusal> {
        let placed = v.view.as_ref().is_some_and(|r| !r.schemaname.is_empty());
        self.new_relation(v.view.as_mut(), OnCommitAction::OncommitNoop)?;
        self.not_a_partitions(v.view.as_ref())?;
        if !v.options.is_empty() {
            return Err(Refusal::construct("Options of a view"));
        }
        self.outlives = true;
        match &mut v.query {
            Some(q) => match &q.node {
                Some(NodeEnum::SelectStmt(s)) if into_of(s).is_some() => {
                    return Err(Refusal::new("0A000", "construct", "views must not contain SELECT INTO"));
                }
                Some(NodeEnum::SelectStmt(_)) => walk_data(self, q, &Mode::Values).map(|_| ())?,
                _ => return Err(Refusal::internal("a view has no query")),
            },
            None => return Err(Refusal::internal("a view has no query")),
        }
        match &mut v.view {
            // A view over a temporary relation is one too, unless its schema was written: PostgreSQL says so, and puts it there.
            Some(r) if !placed && self.keeps.contains(Keeps::TEMPORARY_IN_BLOCK) && r.schemaname != "pg_temp" => {
                self.seen.range_vars -= 1;
                r.schemaname = "pg_temp".to_owned();
                self.new_relation(v.view.as_mut(), OnCommitAction::OncommitNoop)
            }
            _ => Ok(()),
        }
    }

    fn sequence_options(&mut self, options: &mut [Node]) -> Result<(), Refusal> {
        for option in options {
            let Some(NodeEnum::DefElem(d)) = &mut option.node else {
                return Err(Refusal::internal("sequence options hold something else"));
            };
            match d.arg.as_mut().and_then(|a| a.node.as_mut()) {
                None
                | Some(
                    NodeEnum::Integer(_) | NodeEnum::Float(_) | NodeEnum::Boolean(_) | NodeEnum::String(_) | NodeEnum::AConst(_),
                ) => {}
                Some(NodeEnum::TypeName(ty)) => self.type_name(ty, &anything())?,
                Some(NodeEnum::List(l)) if d.defname == "owned_by" => {
                    let parts = tree::parts(&l.items).unwrap_or_default();
                    if parts.as_slice() == ["none"] {
                        continue;
                    }
                    let [relation @ .., column] = parts.as_slice() else {
                        return Err(Refusal::construct("This OWNED BY"));
                    };
                    let column = (*column).to_owned();
                    let r = named(relation);
                    match self.resolve(&r)? {
                        Target::Own(own) if !own.is_manifests() => {
                            l.items = vec![tree::string(&own.schema), tree::string(&own.name), tree::string(&column)];
                        }
                        Target::Own(own) => return Err(by_manifest(&own.name)),
                        _ => {}
                    }
                }
                _ => return Err(Refusal::construct("This sequence option")),
            }
            if d.defname == "sequence_name" {
                return Err(Refusal::construct("SEQUENCE NAME"));
            }
        }
        Ok(())
    }

    fn drop_objects(&mut self, d: &mut protobuf::DropStmt) -> Result<(), Refusal> {
        match d.remove_type() {
            ObjectType::ObjectType | ObjectType::ObjectDomain => {
                return d.objects.iter_mut().try_for_each(|n| self.drop_type(n, d.missing_ok));
            }
            ObjectType::ObjectCollation => {
                let behavior = d.behavior();
                return d.objects.iter_mut().try_for_each(|n| self.drop_collation(n, behavior));
            }
            ObjectType::ObjectFunction => {
                return d.objects.iter_mut().try_for_each(|n| self.drop_function(n, d.missing_ok));
            }
            _ => {}
        }
        let Some((kind, _)) = dropped_kind(d.remove_type()) else {
            return Err(Refusal::statement("This kind of DROP"));
        };
        for object in &mut d.objects {
            let r = absent::dropped_name(object)?;
            let (schema, name) = match self.find(&r) {
                Ok(Target::Own(relation)) if relation.is_manifests() => return Err(by_manifest(&relation.name)),
                Ok(Target::Own(relation)) => (relation.schema.to_string(), relation.name.to_string()),
                Ok(Target::Assumed) => {
                    let schema = if r.schemaname.is_empty() {
                        self.ask.catalog.schema.as_str()
                    } else {
                        &r.schemaname
                    };
                    (schema.to_owned(), r.relname.clone())
                }
                Ok(Target::Catalogue(..)) => {
                    return Err(Refusal::denied(
                        "relation",
                        format!("permission denied for {kind} {}", r.relname),
                    ));
                }
                Err(refusal) if refusal.sqlstate != "42P01" => return Err(refusal),
                // Absent with IF EXISTS: PostgreSQL gives its notice for the name in the module's own schema.
                Err(_) if d.missing_ok && self.ask.undeclared => (absent::schema(&r, self.ask)?, r.relname.clone()),
                Err(_) => {
                    return Err(Refusal::new(
                        "42P01",
                        "relation",
                        format!("{kind} \"{}\" does not exist", r.relname),
                    ));
                }
            };
            *object = tree::node(NodeEnum::List(protobuf::List {
                items: vec![tree::string(&schema), tree::string(&name)],
            }));
        }
        Ok(())
    }

    fn alter_table(&mut self, a: &mut protobuf::AlterTableStmt) -> Result<(), Refusal> {
        if altered_kind(a.objtype()).is_none() {
            return Err(Refusal::statement("This kind of ALTER"));
        }
        if self.detaches_from_declared(a)? {
            return Ok(());
        }
        self.own_undeclared(a.relation.as_mut())?;
        for cmd in &mut a.cmds {
            let Some(NodeEnum::AlterTableCmd(c)) = &mut cmd.node else {
                return Err(Refusal::internal("ALTER TABLE holds something else"));
            };
            if !matches!(
                c.subtype(),
                AlterTableType::AtAddColumn
                    | AlterTableType::AtColumnDefault
                    | AlterTableType::AtDropNotNull
                    | AlterTableType::AtSetNotNull
                    | AlterTableType::AtDropColumn
                    | AlterTableType::AtAlterColumnType
                    | AlterTableType::AtAddConstraint
                    | AlterTableType::AtDropConstraint
                    | AlterTableType::AtValidateConstraint
                    | AlterTableType::AtDropExpression
                    | AlterTableType::AtAddIdentity
                    | AlterTableType::AtSetIdentity
                    | AlterTableType::AtDropIdentity
                    | AlterTableType::AtSetStatistics
                    | AlterTableType::AtSetStorage
                    | AlterTableType::AtSetRelOptions
                    | AlterTableType::AtResetRelOptions
                    | AlterTableType::AtSetLogged
                    | AlterTableType::AtSetUnLogged
                    | AlterTableType::AtChangeOwner
                    | AlterTableType::AtAttachPartition
                    | AlterTableType::AtDetachPartition
                    | AlterTableType::AtDetachPartitionFinalize
            ) {
                return Err(Refusal::statement("This form of ALTER TABLE"));
            }
            if c.subtype() == AlterTableType::AtChangeOwner {
                self.to_the_owner(c.newowner.as_ref())?;
                continue;
            }
            let sets_default = c.subtype() == AlterTableType::AtColumnDefault;
            let sets_number_or_word = matches!(c.subtype(), AlterTableType::AtSetStatistics | AlterTableType::AtSetStorage);
            let sets_storage = matches!(
                c.subtype(),
                AlterTableType::AtSetRelOptions | AlterTableType::AtResetRelOptions
            );
            let sets_identity = c.subtype() == AlterTableType::AtSetIdentity;
            match c.def.as_mut().map(|d| &mut d.node) {
                None => {}
                Some(Some(NodeEnum::ColumnDef(d))) => self.column_def(d)?,
                Some(Some(NodeEnum::Constraint(k))) => self.constraint(k)?,
                Some(Some(NodeEnum::PartitionCmd(p))) => self.partition_command(p)?,
                Some(Some(NodeEnum::Integer(_) | NodeEnum::String(_))) if sets_number_or_word => {}
                Some(Some(NodeEnum::List(l))) if sets_storage => storage_options(&l.items)?,
                Some(Some(NodeEnum::List(l))) if sets_identity => self.sequence_options(&mut l.items)?,
                Some(_) if sets_default => self.plain_opt(c.def.as_mut(), &anything())?,
                Some(_) => return Err(Refusal::statement("This form of ALTER TABLE")),
            }
        }
        Ok(())
    }
}

impl Judge<'_> {
    /// OWNER TO: the module's owner, which it is already.
    fn to_the_owner(&self, role: Option<&protobuf::RoleSpec>) -> Result<(), Refusal> {
        let owner = format!("{}_owner", self.ask.module);
        match role {
            Some(r) if r.roletype() == RoleSpecType::RolespecCstring && r.rolename == owner => Ok(()),
            _ => Err(Refusal::denied("ddl", "permission denied to change the owner")
                .hint("What a module makes belongs to its owner role.")),
        }
    }
}

/// The command tag of ALTER TABLE and its like, for what they are available.
pub(crate) fn altered_kind(kind: ObjectType) -> Option<&'static str> {
    Some(match kind {
        ObjectType::ObjectTable => "ALTER TABLE",
        ObjectType::ObjectView => "ALTER VIEW",
        ObjectType::ObjectIndex => "ALTER INDEX",
        ObjectType::ObjectSequence => "ALTER SEQUENCE",
        ObjectType::ObjectType => "ALTER TYPE",
        _ => return None,
    })
}

/// What DROP calls a relation of that kind, and its command tag.
pub(crate) fn dropped_kind(kind: ObjectType) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        ObjectType::ObjectTable => ("table", "DROP TABLE"),
        ObjectType::ObjectView => ("view", "DROP VIEW"),
        ObjectType::ObjectMatview => ("materialized view", "DROP MATERIALIZED VIEW"),
        ObjectType::ObjectIndex => ("index", "DROP INDEX"),
        ObjectType::ObjectSequence => ("sequence", "DROP SEQUENCE"),
        _ => return None,
    })
}

/// A scope of one relation whose columns PostgreSQL will check: those of a table that is being defined.
pub(crate) fn anything() -> Scope<'static> {
    let mut scope = Scope::new(None);
    scope.entries.push(Entry::plain("", None));
    scope
}

/// TABLESPACE: to a module its own looks like the database's default, so whoever names that gets it, and no other can be named.
pub(crate) fn own_tablespace(tablespace: &mut String) -> Result<(), Refusal> {
    match tablespace.as_str() {
        "" => Ok(()),
        "pg_default" => {
            tablespace.clear();
            Ok(())
        }
        _ => {
            Err(Refusal::denied("ddl", "permission denied for tablespace").hint("Leave TABLESPACE out: the module has its own."))
        }
    }
}

fn placement(tablespace: &mut String, method: &str) -> Result<(), Refusal> {
    own_tablespace(tablespace)?;
    if !matches!(method, "" | "heap") {
        return Err(Refusal::construct("This table access method"));
    }
    Ok(())
}

pub(crate) fn storage_options(options: &[Node]) -> Result<(), Refusal> {
    for option in options {
        match &option.node {
            Some(NodeEnum::DefElem(d))
                if matches!(
                    d.defname.as_str(),
                    "fillfactor"
                        | "toast_tuple_target"
                        | "autovacuum_enabled"
                        | "fastupdate"
                        | "deduplicate_items"
                        | "pages_per_range"
                ) && d.defnamespace.is_empty() => {}
            _ => return Err(Refusal::construct("This storage option")),
        }
    }
    Ok(())
}
