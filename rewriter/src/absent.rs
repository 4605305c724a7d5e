//! `IF EXISTS`, where nothing is there or nothing that the asker may see: Postern says itself what PostgreSQL says then, and sends nothing.
//!
//! A relation that is hidden from a user answers as a missing one, so its name must not be sent either. Nor is one that another session may make
//! meanwhile: nobody would have judged what is then done to it. What the module itself drops is sent, since whatever it makes it may drop.

use pg_query::NodeEnum;
use pg_query::protobuf::{AlterTableStmt, DropStmt, Node, RangeVar};

use crate::ddl::{altered_kind, by_manifest, dropped_kind, named};
use crate::judge::{Ask, Judge};
use crate::plan::{Effect, Plan, Refusal};
use crate::statement::answered;
use crate::{foreseen, tree};

/// The answer to a statement that has nothing to change; `None` where it has.
pub(crate) fn skipped(stmt: &NodeEnum, ask: &Ask<'_>) -> Result<Option<Plan>, Refusal> {
    match stmt {
        NodeEnum::AlterTableStmt(a) => altered(a, ask),
        NodeEnum::DropStmt(d) if !ask.undeclared => dropped(d, ask),
        _ => Ok(None),
    }
}

fn altered(a: &AlterTableStmt, ask: &Ask<'_>) -> Result<Option<Plan>, Refusal> {
    let (Some(r), Some(tag), true) = (&a.relation, altered_kind(a.objtype()), a.missing_ok) else {
        return Ok(None);
    };
    if !is_missing(r, ask) {
        return Ok(None);
    }
    schema(r, ask)?;
    Ok(Some(answer(tag, vec![said("relation", r)])))
}

fn dropped(d: &DropStmt, ask: &Ask<'_>) -> Result<Option<Plan>, Refusal> {
    let Some((kind, tag)) = dropped_kind(d.remove_type()).filter(|_| d.missing_ok) else {
        return Ok(None);
    };
    let mut notices = Vec::new();
    for object in &d.objects {
        let r = dropped_name(object)?;
        if is_missing(&r, ask) {
            schema(&r, ask)?;
            notices.push(said(kind, &r));
        }
    }
    match notices.len() {
        0 => Ok(None),
        n if n == d.objects.len() => Ok(Some(answer(tag, notices))),
        _ => Err(Refusal::construct("DROP … IF EXISTS of what is there and what is not").hint("Drop each by itself.")),
    }
}

/// The name of one object of a DROP.
pub(crate) fn dropped_name(object: &Node) -> Result<RangeVar, Refusal> {
    match &object.node {
        Some(NodeEnum::List(l)) => Ok(named(&tree::parts(&l.items).unwrap_or_default())),
        _ => Err(Refusal::internal("DROP holds something else")),
    }
}

fn is_missing(r: &RangeVar, ask: &Ask<'_>) -> bool {
    matches!(Judge::scout(ask).resolve(r), Err(refusal) if refusal.sqlstate == "42P01")
}

/// The schema in which a name that is missing may be said to be missing: the module's own, where nothing of that name is.
pub(crate) fn schema(r: &RangeVar, ask: &Ask<'_>) -> Result<String, Refusal> {
    let own = ask.catalog.schema.as_str();
    if !(r.catalogname.is_empty() && (r.schemaname.is_empty() || r.schemaname == own)) {
        return Err(Refusal::new(
            "3F000",
            "relation",
            format!("schema \"{}\" does not exist", r.schemaname),
        ));
    }
    if ask.undeclared && ask.catalog.may_hold_more(own, &r.relname) {
        return Err(foreseen::in_doubt(r));
    }
    // To a user it is missing like any other.
    if ask.undeclared && ask.catalog.left_out.contains(r.relname.as_str()) {
        return Err(by_manifest(&r.relname));
    }
    Ok(own.to_owned())
}

/// PostgreSQL's words.
fn said(kind: &str, r: &RangeVar) -> Box<str> {
    format!("{kind} \"{}\" does not exist, skipping", r.relname).into()
}

fn answer(tag: &'static str, notices: Vec<Box<str>>) -> Plan {
    answered(tag, Effect::Skipped(notices.into()))
}
