//! Upkeep of the module's own relations: TRUNCATE, LOCK, COMMENT, ANALYZE, VACUUM, REFRESH, REINDEX, SET CONSTRAINTS.
//!
//! All but LOCK and SET CONSTRAINTS are for logins that may run DDL, on relations that no manifest declares. A declared table may be locked, in the
//! modes that reading and writing rows take anyway; in stronger ones by the module itself on such a login, by no user.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, DropBehavior, Node, ObjectType, RangeVar, ReindexObjectType};

use crate::catalog::RelationKind;
use crate::ddl::{by_manifest, may_run, named};
use crate::judge::{Ask, Judge, judged};
use crate::plan::{Effect, Plan, Refusal, Run};
use crate::relations::Target;
use crate::statement::finish;
use crate::tree;
use crate::update::Gathered;

/// ROW EXCLUSIVE, what an UPDATE takes: PostgreSQL's `RowExclusiveLock`.
const ROW_EXCLUSIVE: i32 = 3;

/// Plans one of these statements.
pub(crate) fn plan(stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let for_everybody = matches!(&stmt.node, Some(NodeEnum::LockStmt(_) | NodeEnum::ConstraintsSetStmt(_)));
    if !for_everybody && !may_run(ask.login) {
        return Err(crate::ddl::refused(stmt, ask));
    }
    let judged = judged(stmt, ask, false, |judge, n| judge.upkeep(n))?;
    let mut gathered = Gathered::default();
    let (statement, ()) = gathered.statement(judged, None);
    let mut plan = finish(Run::Once(statement), Effect::None, gathered);
    plan.cacheable = false;
    Ok(plan)
}

impl Judge<'_> {
    fn upkeep(&mut self, n: &mut Node) -> Result<(), Refusal> {
        match &mut n.node {
            Some(NodeEnum::TruncateStmt(t)) => {
                // No declared table can be among those that refer to these where there is none.
                if t.behavior() == DropBehavior::DropCascade && self.ask.catalog.declares() {
                    return Err(Refusal::construct("TRUNCATE … CASCADE").hint("Name each table: then it is seen which rows go."));
                }
                t.relations
                    .iter_mut()
                    .try_for_each(|r| self.own_undeclared(Some(relation(r)?)))
            }
            Some(NodeEnum::LockStmt(l)) => {
                let mode = l.mode;
                l.relations.iter_mut().try_for_each(|r| self.locked(relation(r)?, mode))
            }
            Some(NodeEnum::CommentStmt(c)) => self.comment(c),
            Some(NodeEnum::VacuumStmt(v)) => self.vacuum(v),
            Some(NodeEnum::RefreshMatViewStmt(r)) => self.own_undeclared(r.relation.as_mut()),
            Some(NodeEnum::ReindexStmt(r)) => {
                if !matches!(
                    r.kind(),
                    ReindexObjectType::ReindexObjectIndex | ReindexObjectType::ReindexObjectTable
                ) {
                    return Err(Refusal::statement("REINDEX of a schema or database"));
                }
                plain_options(&r.params, &["concurrently"])?;
                self.own_undeclared(r.relation.as_mut())
            }
            Some(NodeEnum::ConstraintsSetStmt(c)) => {
                c.constraints.iter_mut().try_for_each(|r| self.constraint_name(relation(r)?))
            }
            _ => Err(Refusal::statement("This kind of statement")),
        }
    }

    /// A relation to be locked. What a stronger mode keeps out of a declared table is everybody else.
    fn locked(&mut self, r: &mut RangeVar, mode: i32) -> Result<(), Refusal> {
        let Target::Own(found) = self.find(r)? else {
            return self.own_undeclared(Some(r));
        };
        // PostgreSQL locks what a view reads along with it.
        let may_be_declared = found.declared.is_some() || found.kind != RelationKind::Table;
        let changes_schema = may_run(self.ask.login) && self.ask.undeclared;
        if mode > ROW_EXCLUSIVE && may_be_declared && !changes_schema {
            return Err(Refusal::denied("lock", format!("permission denied for table {}", found.name))
                .hint("ACCESS SHARE, ROW SHARE and ROW EXCLUSIVE are for every login; SELECT … FOR UPDATE locks rows."));
        }
        // A dump locks what it reads.
        let read = found.is_barred() && mode <= ROW_EXCLUSIVE;
        if found.declared.is_none() && !read {
            return self.own_undeclared(Some(r));
        }
        self.seen.range_vars += 1;
        self.targets.push((found.schema.to_string(), found.name.to_string()));
        r.schemaname = found.schema.to_string();
        Ok(())
    }

    fn comment(&mut self, c: &mut protobuf::CommentStmt) -> Result<(), Refusal> {
        match c.objtype() {
            ObjectType::ObjectType | ObjectType::ObjectDomain => return self.comment_on_type(c.object.as_mut()),
            ObjectType::ObjectCollation => {
                let name = c
                    .object
                    .as_mut()
                    .ok_or_else(|| Refusal::internal("COMMENT holds something else"))?;
                return self.existing_collation(name);
            }
            ObjectType::ObjectFunction => return self.comment_on_function(c.object.as_mut()),
            _ => {}
        }
        // A constraint is named behind its table, as a column is.
        let of_column = matches!(c.objtype(), ObjectType::ObjectColumn | ObjectType::ObjectTabconstraint);
        if !of_column
            && !matches!(
                c.objtype(),
                ObjectType::ObjectTable
                    | ObjectType::ObjectView
                    | ObjectType::ObjectMatview
                    | ObjectType::ObjectIndex
                    | ObjectType::ObjectSequence
            )
        {
            return Err(Refusal::statement("COMMENT on this kind of object"));
        }
        let Some(Some(NodeEnum::List(l))) = c.object.as_mut().map(|o| &mut o.node) else {
            return Err(Refusal::internal("COMMENT holds something else"));
        };
        let mut parts = tree::parts(&l.items).unwrap_or_default();
        let column = if of_column { parts.pop().map(str::to_owned) } else { None };
        let mut r = named(&parts);
        match self.resolve(&r)? {
            Target::Own(found) if found.is_manifests() => return Err(by_manifest(&found.name)),
            Target::Own(found) => r.schemaname = found.schema.to_string(),
            Target::Assumed if r.schemaname.is_empty() => r.schemaname = self.ask.catalog.schema.as_str().to_owned(),
            Target::Assumed => {}
            Target::Catalogue(..) => {
                return Err(Refusal::denied(
                    "relation",
                    format!("permission denied for relation {}", r.relname),
                ));
            }
        }
        let names = [Some(r.schemaname), Some(r.relname), column];
        l.items = names.iter().flatten().map(|part| tree::string(part)).collect();
        Ok(())
    }

    /// Without a table's name it would go through every relation of the database and warn of each that it may not touch.
    fn vacuum(&mut self, v: &mut protobuf::VacuumStmt) -> Result<(), Refusal> {
        if v.rels.is_empty() {
            return Err(Refusal::statement("VACUUM or ANALYZE without a table").hint("Name the tables."));
        }
        // VERBOSE says how many rows there are.
        plain_options(&v.options, &["analyze", "freeze", "full", "skip_locked"])?;
        for n in &mut v.rels {
            let Some(NodeEnum::VacuumRelation(r)) = &mut n.node else {
                return Err(Refusal::internal("VACUUM holds something else"));
            };
            if r.oid != 0 {
                return Err(Refusal::internal("VACUUM holds something else"));
            }
            self.own_undeclared(r.relation.as_mut())?;
        }
        Ok(())
    }

    /// A constraint's name is looked for in the path; the module's own schema is all of it.
    fn constraint_name(&mut self, r: &mut RangeVar) -> Result<(), Refusal> {
        self.seen.range_vars += 1;
        let own = self.ask.catalog.schema.as_str();
        if !r.catalogname.is_empty() || !(r.schemaname.is_empty() || r.schemaname == own) {
            return Err(Refusal::new(
                "42704",
                "relation",
                format!("constraint \"{}\" does not exist", r.relname),
            ));
        }
        r.schemaname = own.to_owned();
        // The second reading takes the name for a relation's; it may be a declared one's too.
        self.targets.push((r.schemaname.clone(), r.relname.clone()));
        Ok(())
    }
}

fn relation(n: &mut Node) -> Result<&mut RangeVar, Refusal> {
    match &mut n.node {
        Some(NodeEnum::RangeVar(r)) => Ok(r),
        _ => Err(Refusal::internal("a list of relations holds something else")),
    }
}

fn plain_options(options: &[Node], allowed: &[&str]) -> Result<(), Refusal> {
    let fits = |n: &Node| matches!(&n.node, Some(NodeEnum::DefElem(d)) if allowed.contains(&d.defname.as_str()));
    if options.iter().all(fits) {
        Ok(())
    } else {
        Err(Refusal::construct("This option"))
    }
}
