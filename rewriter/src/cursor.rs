//! DECLARE CURSOR: rows are read when they are fetched.
//!
//! What `pg_cursors` calls a cursor's statement is the text that PostgreSQL was sent, which is the rewritten one. So the client's own text stands before
//! it, in a comment of ours, and the catalogue's view tells that. It is in hexadecimal digits: nothing in it ends the comment, or is taken for
//! another mark of ours, and whatever else stands before a cursor's text is none. It is left out, and then not told, where it would bring to PostgreSQL what
//! the rewritten text does not hold: values that are sealed, comments (a token may stand in one), other statements of the same query.

use std::fmt::Write;

use pg_query::NodeEnum;
use pg_query::protobuf::{DeclareCursorStmt, Node};

use crate::judge::{Ask, judged};
use crate::plan::{DECLARED_AS, Effect, Keeps, Param, Plan, Refusal, Rewritten, Run};
use crate::select::Mode;
use crate::session;
use crate::statement::{finish, walk_data, weight};
use crate::update::Gathered;

/// `CURSOR_OPT_HOLD` of PostgreSQL's `parsenodes.h`.
const CURSOR_HOLD: i32 = 0x0020;

/// Longer texts are not told.
const LONGEST_TOLD: usize = 8 << 10;

/// Plans a DECLARE.
pub(crate) fn declare(d: &DeclareCursorStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    session::own_name(&d.portalname)?;
    let mut gathered = Gathered::default();
    let judged = judged(stmt, ask, false, |judge, n| {
        let Some(NodeEnum::DeclareCursorStmt(d)) = &mut n.node else {
            return Err(Refusal::internal("a DECLARE was expected"));
        };
        if d.options & CURSOR_HOLD != 0 {
            judge.keeps.add(Keeps::HOLD_CURSOR);
        }
        let Some(query) = &mut d.query else {
            return Err(Refusal::internal("a DECLARE is empty"));
        };
        match &query.node {
            Some(NodeEnum::SelectStmt(_)) => walk_data(judge, query, &Mode::Client),
            _ => Err(Refusal::statement("DECLARE CURSOR for this kind of statement")),
        }
    })?;
    let output = judged.value.output();
    gathered.opened.extend(judged.value.opened().map(|s| s.column.clone()));
    let (statement, _) = gathered.statement(judged, output);
    Ok(finish(
        Run::Once(statement),
        Effect::Declare(d.portalname.as_str().into()),
        gathered,
    ))
}

/// Puts the client's text before that of the cursor which the plan declares, where it may be told. `sql` is the plan's statement and nothing else. One that
/// outlives its transaction may be there when the session is another user's, so its text is told only where no table has users.
pub(crate) fn told_as(plan: &mut Plan, sql: &str, ask: &Ask<'_>) {
    let (Effect::Declare(_), Run::Once(statement)) = (&plan.effect, &mut plan.run) else {
        return;
    };
    let sealed = statement.params.iter().any(|p| !matches!(p, Param::Client(_)));
    let commented = sql.contains("/*") || sql.contains("--");
    let outlives = plan.keeps.contains(Keeps::HOLD_CURSOR) && ask.catalog.declares();
    if sealed || commented || outlives || sql.len() > LONGEST_TOLD {
        return;
    }
    let rewritten = statement.sql.sql();
    let mut text = String::with_capacity(DECLARED_AS.len() + 2 * sql.len() + rewritten.len() + 4);
    text.push_str(DECLARED_AS);
    for byte in sql.bytes() {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
    text.push_str(" */ ");
    text.push_str(rewritten);
    statement.sql = Rewritten::new(text);
    plan.weight = weight(&plan.run);
}
