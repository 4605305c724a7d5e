//! From a parsed statement to its plan: each kind that is available has an arm here, and every other kind is refused.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, Node, RawStmt};

use crate::foreseen::Ahead;
use crate::judge::{Ask, judged};
use crate::parse::{self, Parsed};
use crate::plan::{Effect, Param, Plan, Refusal, Run, Statement, Transaction, Value};
use crate::project::Projection;
use crate::select::Mode;
use crate::update::{Gathered, UpdatePlan, per_row, update_plan};
use crate::{copy, cursor, ddl, execute, explain, foreseen, session, shared_names, tree, upkeep};

/// Plans every statement of a simple-protocol batch; if one is refused, none runs. Empty text gives no plans.
pub fn plan_batch(sql: &str, ask: &Ask<'_>) -> Result<Vec<Plan>, Refusal> {
    batch(sql, ask, &[])
}

/// [`plan_batch`] where not all of it runs as the same: for each statement, whether it does so as a superadmin, and whether as the module itself
/// ([`Ask::superadmin`], [`Ask::undeclared`]).
pub fn plan_batch_as(sql: &str, ask: &Ask<'_>, standings: &[(bool, bool)]) -> Result<Vec<Plan>, Refusal> {
    let plans = batch(sql, ask, standings)?;
    match plans.len() == standings.len() {
        true => Ok(plans),
        false => Err(Refusal::internal("a batch was read as another number of statements")),
    }
}

fn batch(sql: &str, ask: &Ask<'_>, standings: &[(bool, bool)]) -> Result<Vec<Plan>, Refusal> {
    let statements = parse::parse(sql, ask.max_sql_bytes).map_err(|r| r.in_characters(sql))?;
    let mut plans = Vec::with_capacity(statements.len());
    // What an earlier statement of the batch makes, a later one may use.
    let mut ahead = Ahead::new(ask.catalog);
    let mut changes = false;
    for (at, parsed) in statements.into_iter().enumerate() {
        let only_makes = only_makes_tables(&parsed.stmt);
        let (superadmin, undeclared) = standings.get(at).copied().unwrap_or((ask.superadmin, ask.undeclared));
        let (change, plan) = {
            let ask = Ask {
                catalog: ahead.catalog(),
                superadmin,
                undeclared,
                ..*ask
            };
            if changes && is_explain(&parsed.stmt) {
                // What is foreseen of the catalogue is names; a plan would tell what is behind them.
                return Err(
                    Refusal::construct("EXPLAIN behind a statement of the same query that changes the catalogue")
                        .hint("Send it as a query of its own."),
                );
            }
            let change = foreseen::foreseen(&parsed.stmt, &ask);
            (change, plan(parsed, &ask).map_err(|r| r.in_characters(sql))?)
        };
        changes |= match plan.effect {
            Effect::Ddl => !only_makes,
            Effect::Transaction(Transaction::Rollback | Transaction::RollbackTo) => true,
            _ => false,
        };
        ahead.pass(change, &plan);
        plans.push(plan);
    }
    if let [only] = plans.as_mut_slice() {
        cursor::told_as(only, sql, ask);
    }
    Ok(plans)
}

/// Whether it leaves every name that there is with what it stands for.
fn only_makes_tables(stmt: &RawStmt) -> bool {
    matches!(
        stmt.stmt.as_ref().and_then(|s| s.node.as_ref()),
        Some(NodeEnum::CreateStmt(_) | NodeEnum::CreateTableAsStmt(_) | NodeEnum::IndexStmt(_))
    )
}

fn is_explain(stmt: &RawStmt) -> bool {
    matches!(
        stmt.stmt.as_ref().and_then(|s| s.node.as_ref()),
        Some(NodeEnum::ExplainStmt(_))
    )
}

/// Plans the one statement of a Parse; `None` for empty text.
pub fn plan_one(sql: &str, ask: &Ask<'_>) -> Result<Option<Plan>, Refusal> {
    let mut statements = parse::parse(sql, ask.max_sql_bytes).map_err(|r| r.in_characters(sql))?;
    if statements.len() > 1 {
        return Err(Refusal::syntax("cannot insert multiple commands into a prepared statement"));
    }
    match statements.pop() {
        None => Ok(None),
        Some(parsed) => {
            let mut plan = plan(parsed, ask).map_err(|r| r.in_characters(sql))?;
            cursor::told_as(&mut plan, sql, ask);
            Ok(Some(plan))
        }
    }
}

fn plan(parsed: Parsed, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let RawStmt { stmt: Some(stmt), .. } = parsed.stmt else {
        return Err(Refusal::internal("a statement is empty"));
    };
    plan_node(*stmt, ask)
}

/// Plans one statement.
pub(crate) fn plan_node(stmt: Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    if let Some(token) = token_call(&stmt)? {
        return Ok(answered(
            "SELECT 1",
            Effect::Token {
                token,
                local: false,
                as_select: true,
            },
        ));
    }
    let Some(inner) = &stmt.node else {
        return Err(Refusal::internal("a statement is empty"));
    };
    if let Some(call) = only_call(inner)
        && let Some(setting) = session::set_config(call, ask)
    {
        return set_config(&stmt, ask, setting);
    }
    match inner {
        NodeEnum::CreateSchemaStmt(c) => session::create_schema(c, &stmt, ask),
        NodeEnum::SelectStmt(s) if ddl::into_of(s).is_some() => match ddl::may_run(ask.login) {
            true => ddl::plan(&ddl::select_into(s)?, ask),
            false => Err(Refusal::construct("SELECT INTO").hint("Use CREATE TABLE … AS with a login that may run DDL.")),
        },
        NodeEnum::SelectStmt(_) | NodeEnum::InsertStmt(_) | NodeEnum::DeleteStmt(_) | NodeEnum::MergeStmt(_) => {
            data(&stmt, ask, Effect::None)
        }
        NodeEnum::UpdateStmt(u) => match update_plan(u, ask)? {
            UpdatePlan::Once => data(&stmt, ask, Effect::None),
            UpdatePlan::PerRow(parts) => {
                let mut gathered = Gathered::default();
                let steps = per_row(u, &parts, ask, &mut gathered)?;
                Ok(finish(Run::PerRow(Box::new(steps)), Effect::None, gathered))
            }
        },
        NodeEnum::ExplainStmt(e) => explain::plan(e, ask),
        NodeEnum::PrepareStmt(p) => prepare(p, ask),
        NodeEnum::DeclareCursorStmt(d) => cursor::declare(d, &stmt, ask),
        NodeEnum::TransactionStmt(t) => session::transaction(t, &stmt, ask),
        NodeEnum::VariableSetStmt(v) => session::set(v, &stmt, ask),
        NodeEnum::VariableShowStmt(v) => session::show(v, &stmt, ask),
        NodeEnum::ExecuteStmt(e) => execute::plan(e, &stmt, ask),
        NodeEnum::DeallocateStmt(d) => session::deallocate(d, &stmt, ask),
        NodeEnum::FetchStmt(f) => session::fetch(f, &stmt, ask),
        NodeEnum::ClosePortalStmt(c) => session::close(c, &stmt, ask),
        NodeEnum::DiscardStmt(d) => session::discard(d, &stmt, ask),
        NodeEnum::CopyStmt(c) => copy::plan(c, &stmt, ask),
        NodeEnum::ListenStmt(l) => shared_names::listen(l, ask),
        NodeEnum::UnlistenStmt(u) => shared_names::unlisten(u, &stmt, ask),
        NodeEnum::NotifyStmt(n) => shared_names::notify(n, ask),
        NodeEnum::TruncateStmt(_)
        | NodeEnum::LockStmt(_)
        | NodeEnum::CommentStmt(_)
        | NodeEnum::VacuumStmt(_)
        | NodeEnum::RefreshMatViewStmt(_)
        | NodeEnum::ReindexStmt(_)
        | NodeEnum::ConstraintsSetStmt(_) => upkeep::plan(&stmt, ask),
        _ => ddl::plan(&stmt, ask),
    }
}

/// SELECT, INSERT, UPDATE (in one step), DELETE, MERGE.
pub(crate) fn data(stmt: &Node, ask: &Ask<'_>, effect: Effect) -> Result<Plan, Refusal> {
    let mut gathered = Gathered::default();
    let judged = judged(stmt, ask, false, |judge, n| walk_data(judge, n, &Mode::Client))?;
    let output = judged.value.output();
    gathered.opened.extend(judged.value.opened().map(|s| s.column.clone()));
    let (statement, _) = gathered.statement(judged, output);
    Ok(finish(Run::Once(statement), effect, gathered))
}

/// Walks one data statement.
pub(crate) fn walk_data(judge: &mut crate::judge::Judge<'_>, n: &mut Node, mode: &Mode) -> Result<Projection, Refusal> {
    match &mut n.node {
        Some(NodeEnum::SelectStmt(s)) => judge.select(s, None, mode),
        Some(NodeEnum::InsertStmt(i)) => judge.insert(i, None, mode),
        Some(NodeEnum::UpdateStmt(u)) => judge.update(u, None, mode),
        Some(NodeEnum::DeleteStmt(d)) => judge.delete(d, None, mode),
        Some(NodeEnum::MergeStmt(m)) => judge.merge(m),
        _ => Err(Refusal::statement("This kind of statement")),
    }
}

/// PREPARE: the inner statement's plan under a name; its parameter types become part of the plan.
fn prepare(p: &protobuf::PrepareStmt, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    session::own_name(&p.name)?;
    let Some(query) = &p.query else {
        return Err(Refusal::internal("a PREPARE is empty"));
    };
    if !matches!(
        query.node,
        Some(
            NodeEnum::SelectStmt(_)
                | NodeEnum::InsertStmt(_)
                | NodeEnum::UpdateStmt(_)
                | NodeEnum::DeleteStmt(_)
                | NodeEnum::MergeStmt(_)
        )
    ) {
        return Err(Refusal::statement("PREPARE of this kind of statement"));
    }
    let mut plan = plan_node((**query).clone(), ask)?;
    if plan.effect != Effect::None {
        return Err(Refusal::statement("PREPARE of this kind of statement"));
    }
    for (i, n) in p.argtypes.iter().enumerate() {
        let Some(NodeEnum::TypeName(ty)) = &n.node else {
            return Err(Refusal::internal("PREPARE holds something else"));
        };
        let index = u16::try_from(i).map_err(|_| Refusal::syntax("too many parameter types"))?;
        // Types PostgreSQL would be told; sealed parameters keep their declared one.
        if !plan.param_types.iter().any(|(n, _)| *n == index) {
            plan.param_types.push((index, session::declared_type(ty, ask)?));
        }
        plan.client_params = plan.client_params.max(index + 1);
    }
    plan.param_types.sort_by_key(|(i, _)| *i);
    plan.effect = Effect::Prepare(p.name.as_str().into());
    Ok(plan)
}

/// `SELECT set_config(…)` by itself: what SET does, answered with a row.
fn set_config(stmt: &Node, ask: &Ask<'_>, setting: &'static str) -> Result<Plan, Refusal> {
    let judged = judged(stmt, ask, false, |judge, n| {
        judge.sets_config = true;
        walk_data(judge, n, &Mode::Client)
    })?;
    let output = judged.value.output();
    let mut gathered = Gathered::default();
    let (statement, _) = gathered.statement(judged, output);
    Ok(finish(Run::Once(statement), Effect::Setting(setting), gathered))
}

/// The call of `SELECT f(…)` and nothing else in the statement.
fn only_call(stmt: &NodeEnum) -> Option<&protobuf::FuncCall> {
    let NodeEnum::SelectStmt(s) = stmt else { return None };
    let [
        Node {
            node: Some(NodeEnum::ResTarget(t)),
        },
    ] = s.target_list.as_slice()
    else {
        return None;
    };
    let bare = protobuf::SelectStmt {
        target_list: s.target_list.clone(),
        limit_option: s.limit_option,
        op: s.op,
        ..protobuf::SelectStmt::default()
    };
    match t.val.as_ref().and_then(|v| v.node.as_ref()) {
        Some(NodeEnum::FuncCall(f)) if **s == bare => Some(f),
        _ => None,
    }
}

/// `SELECT postern.set_token(…)` and nothing else in the statement.
fn token_call(stmt: &Node) -> Result<Option<Value>, Refusal> {
    let Some(NodeEnum::SelectStmt(s)) = &stmt.node else {
        return Ok(None);
    };
    let [
        Node {
            node: Some(NodeEnum::ResTarget(t)),
        },
    ] = s.target_list.as_slice()
    else {
        return Ok(None);
    };
    let Some(NodeEnum::FuncCall(f)) = t.val.as_ref().and_then(|v| v.node.as_ref()) else {
        return Ok(None);
    };
    if tree::parts(&f.funcname).as_deref() != Some(&["postern", "set_token"]) {
        return Ok(None);
    }
    let mut bare = protobuf::SelectStmt {
        target_list: s.target_list.clone(),
        ..protobuf::SelectStmt::default()
    };
    bare.limit_option = s.limit_option;
    bare.op = s.op;
    if **s != bare || f.args.len() != 1 {
        return Err(Refusal::syntax(
            "postern.set_token stands in a SELECT by itself, with one argument",
        ));
    }
    let mut arg = f.args.first();
    while let Some(Node {
        node: Some(NodeEnum::TypeCast(c)),
    }) = arg
    {
        arg = c.arg.as_deref();
    }
    match arg.and_then(|a| a.node.as_ref()) {
        Some(NodeEnum::ParamRef(p)) if p.number == 1 => Ok(Some(Value::Client(0, postern_config::ColumnType::Text))),
        Some(NodeEnum::AConst(k)) => match crate::expr::string_constant(k) {
            Some(token) => Ok(Some(Value::Text(Some(token.into()), postern_config::ColumnType::Text))),
            None => Err(Refusal::syntax("postern.set_token takes a token")),
        },
        _ => Err(Refusal::syntax("postern.set_token takes a constant or the parameter $1")),
    }
}

/// A plan that Postern answers by itself.
pub(crate) fn answered(tag: &'static str, effect: Effect) -> Plan {
    let mut gathered = Gathered::default();
    let param = matches!(
        &effect,
        Effect::Token {
            token: Value::Client(..),
            ..
        }
    );
    if param {
        gathered.highest = 1;
        gathered.param_types.insert(1, postern_config::ColumnType::Text);
    }
    let mut plan = finish(Run::Answer(tag), effect, gathered);
    // A token is in it.
    plan.cacheable = false;
    plan
}

/// Bytes that a plan holds, roughly.
pub(crate) fn weight(run: &Run) -> usize {
    let of = |s: &Statement| s.sql.sql().len() + s.params.len() * size_of::<Param>() * 2 + 256;
    let statements = match run {
        Run::Once(s) => of(s),
        Run::PerRow(p) => of(&p.read) + of(&p.write),
        Run::Answer(_) => 0,
    };
    statements + 512
}

/// A plan from its parts.
pub(crate) fn finish(run: Run, effect: Effect, gathered: Gathered) -> Plan {
    let weight = weight(&run);
    let cacheable = !matches!(effect, Effect::Token { .. });
    Plan {
        run,
        effect,
        keeps: gathered.keeps,
        param_types: gathered.param_types.into_iter().map(|(n, ty)| (n - 1, ty)).collect(),
        client_params: gathered.highest,
        relations: gathered.relations.into_iter().collect(),
        policies: gathered.policies.into_iter().collect(),
        operations: gathered.operations.into_iter().collect(),
        opened: gathered.opened.into_iter().collect(),
        weight,
        cacheable,
    }
}
