//! From a parsed statement to its plan: each kind that is available has an arm here, and every other kind is refused.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, Node, RawStmt};

use crate::catalog::RelationKind;
use crate::foreseen::Ahead;
use crate::judge::{Ask, judged};
use crate::parse::{self, Parsed};
use crate::plan::{Effect, Keeps, Param, Plan, Refusal, Run, Statement, Value};
use crate::project::Projection;
use crate::select::Mode;
use crate::update::{Gathered, UpdatePlan, per_row, update_plan};
use crate::{copy, ddl, foreseen, session, shared_names, tree, upkeep};

/// Plans every statement of a simple-protocol batch; if one is refused, none runs. Empty text gives no plans.
pub fn plan_batch(sql: &str, ask: &Ask<'_>) -> Result<Vec<Plan>, Refusal> {
    let statements = parse::parse(sql, ask.max_sql_bytes).map_err(|r| r.in_characters(sql))?;
    let mut plans = Vec::with_capacity(statements.len());
    // What an earlier statement of the batch makes, a later one may use.
    let mut ahead = Ahead::new(ask.catalog);
    for parsed in statements {
        let (change, plan) = {
            let ask = Ask {
                catalog: ahead.catalog(),
                ..*ask
            };
            let change = foreseen::foreseen(&parsed.stmt, &ask);
            (change, plan(parsed, &ask).map_err(|r| r.in_characters(sql))?)
        };
        ahead.pass(change, &plan);
        plans.push(plan);
    }
    Ok(plans)
}

/// Plans the one statement of a Parse; `None` for empty text.
pub fn plan_one(sql: &str, ask: &Ask<'_>) -> Result<Option<Plan>, Refusal> {
    let mut statements = parse::parse(sql, ask.max_sql_bytes).map_err(|r| r.in_characters(sql))?;
    if statements.len() > 1 {
        return Err(Refusal::syntax("cannot insert multiple commands into a prepared statement"));
    }
    match statements.pop() {
        None => Ok(None),
        Some(parsed) => plan(parsed, ask).map(Some).map_err(|r| r.in_characters(sql)),
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
        NodeEnum::SelectStmt(s) if ddl::may_run(ask.login) && ddl::into_of(s).is_some() => ddl::plan(&ddl::select_into(s)?, ask),
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
        NodeEnum::ExplainStmt(e) => explain(e, ask),
        NodeEnum::PrepareStmt(p) => prepare(p, ask),
        NodeEnum::DeclareCursorStmt(d) => declare(d, &stmt, ask),
        NodeEnum::TransactionStmt(t) => session::transaction(t, &stmt, ask),
        NodeEnum::VariableSetStmt(v) => session::set(v, &stmt, ask),
        NodeEnum::VariableShowStmt(v) => session::show(v, &stmt, ask),
        NodeEnum::ExecuteStmt(e) => session::execute(e),
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

/// EXPLAIN, bounded: it never runs the statement, and shows costs (which count hidden rows) to superadmins only. Where a module declares no
/// tables it hides no rows from itself, and its statements on its own relations may be run and measured; what runs is judged like any statement.
fn explain(e: &protobuf::ExplainStmt, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let open = !ask.catalog.declares();
    let mut measured = false;
    for option in &e.options {
        let Some(NodeEnum::DefElem(d)) = &option.node else {
            return Err(Refusal::internal("EXPLAIN holds something else"));
        };
        match d.defname.to_ascii_lowercase().as_str() {
            "costs" | "format" => {}
            "analyze" | "buffers" | "settings" | "summary" | "timing" | "verbose" | "wal" if open => measured = true,
            "analyze" if option_is_off(d) => {}
            "analyze" => {
                return Err(Refusal::denied("explain", "permission denied for EXPLAIN ANALYZE")
                    .hint("It would tell how many hidden rows there are; use plain EXPLAIN."));
            }
            other => {
                return Err(
                    Refusal::denied("explain", format!("permission denied for EXPLAIN option {other}"))
                        .hint("Use COSTS or FORMAT."),
                );
            }
        }
    }
    let mut wrapped = e.clone();
    let whole = tree::node(NodeEnum::ExplainStmt(Box::new(e.clone())));
    if matches!(e.query.as_ref().and_then(|q| q.node.as_ref()), Some(NodeEnum::ExecuteStmt(_))) {
        return Err(Refusal::statement("EXPLAIN EXECUTE"));
    }
    if let Some(NodeEnum::UpdateStmt(u)) = e.query.as_ref().and_then(|q| q.node.as_ref())
        && let UpdatePlan::PerRow(_) = update_plan(u, ask)?
    {
        return Err(Refusal::statement("EXPLAIN of an UPDATE that is carried out row by row"));
    }
    let superadmin = ask.superadmin;
    let options = std::mem::take(&mut wrapped.options);
    let judged = judged(&whole, ask, false, move |judge, n| {
        let Some(NodeEnum::ExplainStmt(e)) = &mut n.node else {
            return Err(Refusal::internal("an EXPLAIN was expected"));
        };
        let Some(query) = &mut e.query else {
            return Err(Refusal::internal("an EXPLAIN is empty"));
        };
        walk_data(judge, query, &Mode::Client)?;
        if measured && judge.reads_catalogue {
            return Err(Refusal::denied("explain", "permission denied for EXPLAIN ANALYZE")
                .hint("The catalogue holds what is others'; EXPLAIN with COSTS and FORMAT alone does not run the statement."));
        }
        let imports = || ask.catalog.relations().any(|r| r.kind == RelationKind::Imported);
        if judge.shows_imports && imports() {
            return Err(Refusal::denied(
                "explain",
                "permission denied for EXPLAIN of a view over another module's table",
            )
            .hint("The plan would show the other module's table and its policies."));
        }
        if !superadmin && !judge.policies.is_empty() {
            e.options = options.iter().filter(|o| !is_option(o, "costs")).cloned().collect();
            e.options.push(costs_off());
        }
        Ok(())
    })?;
    let mut gathered = Gathered::default();
    let (statement, ()) = gathered.statement(judged, None);
    Ok(finish(Run::Once(statement), Effect::None, gathered))
}

fn is_option(n: &Node, name: &str) -> bool {
    matches!(&n.node, Some(NodeEnum::DefElem(d)) if d.defname.eq_ignore_ascii_case(name))
}

fn option_is_off(d: &protobuf::DefElem) -> bool {
    match d.arg.as_ref().and_then(|a| a.node.as_ref()) {
        Some(NodeEnum::String(s)) => matches!(s.sval.to_ascii_lowercase().as_str(), "off" | "false" | "0"),
        Some(NodeEnum::Integer(i)) => i.ival == 0,
        Some(NodeEnum::Boolean(b)) => !b.boolval,
        _ => false,
    }
}

fn costs_off() -> Node {
    tree::node(NodeEnum::DefElem(Box::new(protobuf::DefElem {
        defnamespace: String::new(),
        defname: "costs".to_owned(),
        arg: Some(Box::new(tree::string("off"))),
        defaction: protobuf::DefElemAction::DefelemUnspec as i32,
        location: -1,
        arg_location: -1,
    })))
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

/// `CURSOR_OPT_HOLD` of PostgreSQL's `parsenodes.h`.
const CURSOR_HOLD: i32 = 0x0020;

/// DECLARE CURSOR: rows are read when they are fetched.
fn declare(d: &protobuf::DeclareCursorStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
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
