//! EXPLAIN: how a statement would run, and where nothing is hidden from the module, how it ran.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, Node};

use crate::catalog::RelationKind;
use crate::judge::{Ask, judged};
use crate::plan::{Effect, Plan, Refusal, Run};
use crate::select::Mode;
use crate::statement::{finish, walk_data};
use crate::update::{Gathered, UpdatePlan, update_plan};
use crate::{ddl, execute, tree};

/// EXPLAIN, bounded: it never runs the statement, and shows costs only where they count no hidden rows, which are those of tables that no manifest
/// declares, and to superadmins those of declared ones. Where a module declares no tables it hides no rows from itself, and its statements on its
/// own tables may be run and measured; what runs is judged like any statement. A view may read anything, so it is neither measured nor costed.
pub(crate) fn plan(e: &protobuf::ExplainStmt, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let open = !ask.catalog.declares();
    let (mut measured, mut runs) = (false, false);
    for option in &e.options {
        let Some(NodeEnum::DefElem(d)) = &option.node else {
            return Err(Refusal::internal("EXPLAIN holds something else"));
        };
        match d.defname.to_ascii_lowercase().as_str() {
            "costs" | "format" => {}
            option @ ("analyze" | "buffers" | "settings" | "summary" | "timing" | "verbose" | "wal") if open => {
                measured = true;
                runs |= option == "analyze" && !option_is_off(d);
            }
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
    if let Some(NodeEnum::SelectStmt(s)) = e.query.as_ref().and_then(|q| q.node.as_ref())
        && ddl::into_of(s).is_some()
    {
        wrapped.query = Some(Box::new(ddl::select_into(s)?));
    }
    let whole = tree::node(NodeEnum::ExplainStmt(Box::new(wrapped.clone())));
    let makes = matches!(
        wrapped.query.as_ref().and_then(|q| q.node.as_ref()),
        Some(NodeEnum::CreateTableAsStmt(_))
    );
    if makes && !ddl::may_run(ask.login) {
        return Err(ddl::not_by(ask));
    }
    if let Some(executed) = execute::of_explain(e) {
        return execute::explained(executed, &whole, ask);
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
        judge.only_explained = !runs;
        match &mut query.node {
            Some(NodeEnum::CreateTableAsStmt(c)) => judge.create_table_as(c)?,
            _ => drop(walk_data(judge, query, &Mode::Client)?),
        }
        let reaches = judge.reaches;
        if measured && (reaches.catalogue || reaches.view) {
            return Err(Refusal::denied("explain", "permission denied for EXPLAIN ANALYZE").hint(
                "The catalogue, which a view may read, holds what is others'; EXPLAIN with COSTS and FORMAT alone does not run the statement.",
            ));
        }
        let imports = || ask.catalog.relations().any(|r| r.kind == RelationKind::Imported);
        if reaches.view && imports() {
            return Err(Refusal::denied(
                "explain",
                "permission denied for EXPLAIN of a view over another module's table",
            )
            .hint("The plan would show the other module's table and its policies."));
        }
        if judge.looks_into_imports {
            return Err(Refusal::denied(
                "explain",
                "permission denied for EXPLAIN of a table whose policies look into another module's",
            )
            .hint("The plan would show the other module's table and its policies."));
        }
        if reaches.catalogue || reaches.view || reaches.declared && !superadmin {
            e.options = options.iter().filter(|o| !is_option(o, "costs")).cloned().collect();
            e.options.push(costs_off());
        }
        Ok(())
    })?;
    let mut gathered = Gathered::default();
    let (statement, ()) = gathered.statement(judged, None);
    let effect = if makes && runs { Effect::Ddl } else { Effect::None };
    let mut plan = finish(Run::Once(statement), effect, gathered);
    plan.cacheable &= !makes;
    Ok(plan)
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
