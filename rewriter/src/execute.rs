//! EXECUTE of what SQL's PREPARE, or a Parse, has prepared.
//!
//! With constants Postern binds the prepared plan itself. Values that must be computed are PostgreSQL's to compute: it is sent an EXECUTE of its own, of the name that
//! the prepared text has on the connection, which only the session knows; so is EXPLAIN EXECUTE. Promised of that way: what runs is the judged text of the
//! prepared statement, and the values are judged like any expression. Refused: prepared statements that need anything of Postern (sealed or opened values,
//! rows written one by one), and EXPLAIN EXECUTE where a module declares or imports tables, or the text is about the catalogue: a plan would tell of both.

use pg_query::NodeEnum;
use pg_query::protobuf::{ExecuteStmt, ExplainStmt, Node, Token};
use postern_config::names::RESERVED_PREFIX;

use crate::catalog::RelationKind;
use crate::census;
use crate::judge::{Ask, Judge, judged};
use crate::plan::{Computed, Effect, Plan, Refusal, Rewritten, Run};
use crate::scope::Scope;
use crate::session::{constant_text, own_name};
use crate::statement::{answered, finish};
use crate::update::Gathered;

/// What stands for the prepared statement's name until the session knows it. No client can write it.
const STANDS_FOR_NAME: &str = "postern$s";

/// Plans an EXECUTE.
pub(crate) fn plan(e: &ExecuteStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    own_name(&e.name)?;
    let constants = e.params.iter().map(|p| match &p.node {
        Some(NodeEnum::AConst(k)) => constant_text(k).map(|text| text.map(String::into_boxed_str)),
        _ => None,
    });
    if let Some(values) = constants.collect::<Option<Vec<_>>>() {
        let mut plan = answered("", Effect::Execute(e.name.as_str().into(), values));
        plan.cacheable = true;
        return Ok(plan);
    }
    computed(e, stmt, ask, false, |judge, n| match &mut n.node {
        Some(NodeEnum::ExecuteStmt(e)) => judge.execute(e),
        _ => Err(Refusal::internal("an EXECUTE was expected")),
    })
}

/// Plans the EXPLAIN of an EXECUTE, whose options were looked at.
pub(crate) fn explained(e: &ExecuteStmt, whole: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    own_name(&e.name)?;
    let imports = ask.catalog.relations().any(|r| r.kind == RelationKind::Imported);
    if ask.catalog.declares() || imports {
        return Err(Refusal::statement("EXPLAIN EXECUTE"));
    }
    computed(e, whole, ask, true, |judge, n| {
        let Some(NodeEnum::ExplainStmt(explain)) = &mut n.node else {
            return Err(Refusal::internal("an EXPLAIN was expected"));
        };
        match explain.query.as_mut().and_then(|q| q.node.as_mut()) {
            Some(NodeEnum::ExecuteStmt(e)) => judge.execute(e),
            _ => Err(Refusal::internal("an EXECUTE was expected")),
        }
    })
}

/// The EXECUTE that an EXPLAIN explains.
pub(crate) fn of_explain(e: &ExplainStmt) -> Option<&ExecuteStmt> {
    match e.query.as_ref().and_then(|q| q.node.as_ref()) {
        Some(NodeEnum::ExecuteStmt(e)) => Some(e),
        _ => None,
    }
}

fn computed(
    e: &ExecuteStmt,
    stmt: &Node,
    ask: &Ask<'_>,
    explained: bool,
    walk: impl Fn(&mut Judge<'_>, &mut Node) -> Result<(), Refusal>,
) -> Result<Plan, Refusal> {
    for p in &e.params {
        let survey = census::survey(p)?;
        if survey.counts.sub_links > 0 {
            return Err(Refusal::new("0A000", "construct", "cannot use subquery in EXECUTE parameter"));
        }
        if let Some(number) = survey.params.first() {
            return Err(Refusal::new("42P02", "parameter", format!("there is no parameter ${number}")));
        }
    }
    let judged = judged(stmt, ask, false, walk)?;
    let mut gathered = Gathered::default();
    let (statement, ()) = gathered.statement(judged, None);
    if !statement.params.is_empty() {
        return Err(Refusal::construct("An EXECUTE with these values").hint("Pass plain constants."));
    }
    let effect = Effect::ExecuteComputed(Box::new(Computed {
        name: e.name.as_str().into(),
        given: e.params.len(),
        explained,
        name_at: name_at(statement.sql.sql())?,
    }));
    Ok(finish(Run::Once(statement), effect, gathered))
}

impl Judge<'_> {
    fn execute(&mut self, e: &mut ExecuteStmt) -> Result<(), Refusal> {
        STANDS_FOR_NAME.clone_into(&mut e.name);
        self.plain_all(&mut e.params, &Scope::new(None))
    }
}

/// Where the placeholder stands: as a name, which no literal is.
fn name_at(sql: &str) -> Result<std::ops::Range<usize>, Refusal> {
    let unknown = || Refusal::internal("the rewritten EXECUTE has another name");
    let tokens = pg_query::scan(sql).map_err(|_| unknown())?.tokens;
    let place = |start: i32, end: i32| Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?);
    let mut found = (tokens.iter().filter(|t| t.token() == Token::Ident))
        .filter_map(|t| place(t.start, t.end))
        .filter(|range| {
            sql.get(range.clone())
                .is_some_and(|name| name.trim_matches('"') == STANDS_FOR_NAME)
        });
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(unknown()),
    }
}

/// What is sent for an EXECUTE with computed values, or its EXPLAIN, where `prepared` is on the connection under that name of ours, and the plan
/// that it runs by.
pub fn execution(computed: &Plan, prepared: &Plan, name: &str) -> Result<(Plan, Rewritten), Refusal> {
    let (Effect::ExecuteComputed(how), Run::Once(statement)) = (&computed.effect, &computed.run) else {
        return Err(Refusal::internal("an EXECUTE is another statement"));
    };
    let ours = name
        .strip_prefix(RESERVED_PREFIX)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    let plain = match &prepared.run {
        Run::Once(inner) => inner.forwards_params() && inner.output.is_none(),
        Run::PerRow(_) | Run::Answer(_) => false,
    };
    let effect_free = matches!(prepared.effect, Effect::None | Effect::Prepare(_));
    if !ours || !plain || !effect_free {
        return Err(
            Refusal::construct("An EXECUTE with values other than constants, of this prepared statement,")
                .hint("Pass plain constants."),
        );
    }
    let Run::Once(inner) = &prepared.run else {
        return Err(Refusal::internal("a prepared statement is several"));
    };
    if how.explained && inner.sql.sql().contains("postern") {
        return Err(Refusal::statement("EXPLAIN EXECUTE of a statement about the catalogue"));
    }
    let text = statement.sql.sql();
    let named = text
        .get(..how.name_at.start)
        .zip(text.get(how.name_at.end..))
        .map(|(before, behind)| format!("{before}\"{name}\"{behind}"))
        .ok_or_else(|| Refusal::internal("an EXECUTE lacks its name"))?;
    let mut plan = if how.explained { computed.clone() } else { prepared.clone() };
    plan.effect = Effect::None;
    plan.keeps.add(computed.keeps);
    Ok((plan, Rewritten::new(named)))
}
