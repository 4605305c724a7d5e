//! Statements about the session: transactions, settings, prepared statements, cursors.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    self, AConst, DeallocateStmt, DiscardMode, DiscardStmt, FetchStmt, Node, TransactionStmt, TransactionStmtKind,
    VariableSetKind, VariableSetStmt, VariableShowStmt, a_const,
};
use postern_config::{ColumnType, names::RESERVED_PREFIX};

use crate::allow::{self, SettingRule};
use crate::expr::string_constant;
use crate::function::literal;
use crate::judge::{Ask, judged};
use crate::plan::{Effect, Plan, Refusal, Run, Transaction, Value};
use crate::statement::{answered, finish};
use crate::update::Gathered;
use crate::{ddl, tree};

/// A statement that holds no name of a relation, function or type: printed and read again, nothing in it changes.
pub(crate) fn verbatim(stmt: &Node, ask: &Ask<'_>, effect: Effect) -> Result<Plan, Refusal> {
    let judged = judged(stmt, ask, false, |_, _| Ok(()))?;
    let mut gathered = Gathered::default();
    let (statement, ()) = gathered.statement(judged, None);
    Ok(finish(Run::Once(statement), effect, gathered))
}

pub(crate) fn transaction(t: &TransactionStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    use TransactionStmtKind as Kind;
    let effect = match t.kind() {
        Kind::TransStmtBegin | Kind::TransStmtStart => Transaction::Begin,
        Kind::TransStmtCommit => Transaction::Commit,
        Kind::TransStmtRollback => Transaction::Rollback,
        Kind::TransStmtSavepoint | Kind::TransStmtRelease => Transaction::Savepoint,
        Kind::TransStmtRollbackTo => Transaction::RollbackTo,
        _ => return Err(Refusal::statement("Two-phase commit")),
    };
    verbatim(stmt, ask, Effect::Transaction(effect))
}

pub(crate) fn set(v: &VariableSetStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let kind = v.kind();
    let name = v.name.to_ascii_lowercase();
    match kind {
        VariableSetKind::VarSetMulti => {
            return match v.name.as_str() {
                "TRANSACTION" | "SESSION CHARACTERISTICS" => verbatim(stmt, ask, Effect::Transaction(Transaction::Set)),
                _ => Err(Refusal::statement("SET TRANSACTION SNAPSHOT")),
            };
        }
        VariableSetKind::VarResetAll => return verbatim(stmt, ask, Effect::Setting("all")),
        _ => {}
    }
    if name == "postern.token" {
        return token(v, kind);
    }
    let denied = || {
        Refusal::denied("setting", format!("permission denied to set parameter \"{name}\""))
            .hint("The settings that a module may change are listed in the reference.")
    };
    let (canonical, rule) = allow::setting(&name).ok_or_else(denied)?;
    if matches!(kind, VariableSetKind::VarSetCurrent) {
        return Err(denied());
    }
    let values: Vec<String> = v.args.iter().map(setting_text).collect::<Option<_>>().ok_or_else(denied)?;
    let resets = matches!(kind, VariableSetKind::VarSetDefault | VariableSetKind::VarReset);
    let allowed = match rule {
        SettingRule::Show => false,
        SettingRule::Answered(_) if resets => return Ok(answered("RESET", Effect::None)),
        SettingRule::Answered(these) => match values.as_slice() {
            [v] if these.contains(&v.to_ascii_lowercase().as_str()) => return Ok(answered("SET", Effect::None)),
            _ => false,
        },
        _ => resets || permits(rule, &values, ask),
    };
    if !allowed {
        return Err(denied());
    }
    verbatim(stmt, ask, Effect::Setting(canonical))
}

/// Whether a setting that PostgreSQL is to set may have these values.
fn permits(rule: SettingRule, values: &[String], ask: &Ask<'_>) -> bool {
    match rule {
        SettingRule::Free => true,
        SettingRule::Show | SettingRule::Answered(_) => false,
        SettingRule::Only(only) => {
            let folded: Vec<String> = values
                .iter()
                .map(|s| s.to_ascii_lowercase().replace(['-', '_'], ""))
                .collect();
            match (only, folded.as_slice()) {
                ("on", [v]) => matches!(v.as_str(), "on" | "true" | "yes" | "1"),
                ("utf8", [v]) => matches!(v.as_str(), "utf8" | "unicode"),
                (only, [v]) => *v == only.replace('_', ""),
                _ => false,
            }
        }
        SettingRule::OwnSchema => values.iter().all(|s| in_own_path(s, ask)),
    }
}

/// Whether a schema may stand in the search path.
fn in_own_path(schema: &str, ask: &Ask<'_>) -> bool {
    schema.is_empty() || schema == ask.catalog.schema.as_str() || matches!(schema, "pg_catalog" | "pg_temp" | "$user")
}

/// CREATE SCHEMA: a module has its own already, which is what a dump of it makes first.
pub(crate) fn create_schema(c: &protobuf::CreateSchemaStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let own = c.schemaname == ask.catalog.schema.as_str() && c.schema_elts.is_empty();
    if !own || !ddl::may_run(ask.login) {
        return Err(ddl::refused(stmt, ask));
    }
    if c.if_not_exists {
        return Ok(answered("CREATE SCHEMA", Effect::None));
    }
    Err(Refusal::new(
        "42P06",
        "ddl",
        format!("schema \"{}\" already exists", c.schemaname),
    ))
}

/// The setting that a call of `set_config` changes, where SET may change it to any value and nothing but PostgreSQL must know the value, or
/// where the value is a constant list of schemas that may stand in the search path. The name and whether it is local are constants; any other
/// value may be a parameter.
pub(crate) fn set_config(f: &protobuf::FuncCall, ask: &Ask<'_>) -> Option<&'static str> {
    if !matches!(
        tree::parts(&f.funcname).as_deref(),
        Some(["set_config"] | ["pg_catalog", "set_config"])
    ) {
        return None;
    }
    let [name, value, local] = f.args.as_slice() else {
        return None;
    };
    let plain_value = match &value.node {
        Some(NodeEnum::ParamRef(_)) => true,
        _ => literal(value).is_some(),
    };
    let local = matches!(&local.node, Some(NodeEnum::AConst(k)) if matches!(k.val, Some(a_const::Val::Boolval(_))) && !k.isnull);
    match allow::setting(literal(name)?)? {
        // These two are followed by their statements' texts, and a quota looks at the third's.
        ("bytea_output" | "extra_float_digits" | "statement_timeout", _) => None,
        (canonical, SettingRule::Free) if plain_value && local => Some(canonical),
        (canonical, SettingRule::OwnSchema) if local => literal(value)?
            .split(',')
            .all(|schema| in_own_path(schema.trim().trim_matches('"'), ask))
            .then_some(canonical),
        _ => None,
    }
}

fn token(v: &VariableSetStmt, kind: VariableSetKind) -> Result<Plan, Refusal> {
    match kind {
        VariableSetKind::VarSetValue => match v.args.as_slice() {
            [
                Node {
                    node: Some(NodeEnum::AConst(k)),
                },
            ] => match string_constant(k) {
                Some(text) => {
                    let token = Value::Text(Some(text.into()), ColumnType::Text);
                    Ok(answered(
                        "SET",
                        Effect::Token {
                            token,
                            local: v.is_local,
                            as_select: false,
                        },
                    ))
                }
                None => Err(Refusal::new("28000", "token", "postern.token takes a token in quotes")),
            },
            _ => Err(Refusal::new("28000", "token", "postern.token takes a token in quotes")),
        },
        // The session's token would be forgotten beyond the transaction.
        _ if v.is_local => Err(Refusal::construct("SET LOCAL postern.token TO DEFAULT")
            .hint("RESET postern.token forgets it for the session; SET LOCAL postern.token = '…' takes on another one.")),
        _ => Ok(answered("RESET", Effect::ForgetToken)),
    }
}

fn setting_text(n: &Node) -> Option<String> {
    match &n.node {
        Some(NodeEnum::AConst(k)) => constant_text(k)?,
        _ => None,
    }
}

pub(crate) fn show(v: &VariableShowStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    match allow::setting(&v.name) {
        Some(_) => verbatim(stmt, ask, Effect::None),
        None => Err(
            Refusal::denied("setting", format!("permission denied to examine parameter \"{}\"", v.name))
                .hint("The settings that a module may see are listed in the reference."),
        ),
    }
}

pub(crate) fn deallocate(d: &DeallocateStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    if d.isall {
        // Postern's own prepared statements must stay: the session drops the client's, one by one.
        return Ok(answered("DEALLOCATE ALL", Effect::Deallocate(None)));
    }
    own_name(&d.name)?;
    verbatim(stmt, ask, Effect::Deallocate(Some(d.name.as_str().into())))
}

pub(crate) fn fetch(f: &FetchStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    own_name(&f.portalname)?;
    verbatim(stmt, ask, Effect::Fetch(f.portalname.as_str().into()))
}

pub(crate) fn close(c: &protobuf::ClosePortalStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    if c.portalname.is_empty() {
        return verbatim(stmt, ask, Effect::CloseCursor(None));
    }
    own_name(&c.portalname)?;
    verbatim(stmt, ask, Effect::CloseCursor(Some(c.portalname.as_str().into())))
}

pub(crate) fn discard(d: &DiscardStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let effect = match d.target() {
        DiscardMode::DiscardAll => Effect::DiscardAll,
        DiscardMode::DiscardSequences => Effect::DiscardSequences,
        DiscardMode::DiscardTemp => Effect::Ddl,
        DiscardMode::DiscardPlans => Effect::None,
        DiscardMode::Undefined => return Err(Refusal::internal("a DISCARD is of no kind")),
    };
    verbatim(stmt, ask, effect)
}

/// A name for a prepared statement or cursor that is not one of Postern's own.
pub(crate) fn own_name(name: &str) -> Result<(), Refusal> {
    if name.len() >= RESERVED_PREFIX.len()
        && name.as_bytes()[..RESERVED_PREFIX.len()].eq_ignore_ascii_case(RESERVED_PREFIX.as_bytes())
    {
        return Err(Refusal::new(
            "42602",
            "reserved-name",
            "names that start with postern$ are reserved",
        ));
    }
    Ok(())
}

/// A parameter type as PREPARE declares it.
pub(crate) fn declared_type(ty: &protobuf::TypeName, ask: &Ask<'_>) -> Result<ColumnType, Refusal> {
    let own = |schema: &str, name: &str| schema == ask.catalog.schema.as_str() && ask.catalog.has_type(name);
    let name = match tree::parts(&ty.names).as_deref() {
        Some([name] | ["pg_catalog", name]) if allow::builtin_type(name) => (*name).to_owned(),
        // PostgreSQL infers it from where the parameter stands.
        Some([name]) if own(ask.catalog.schema.as_str(), name) => return Ok(ColumnType::Other((*name).into())),
        Some([schema, name]) if own(schema, name) => return Ok(ColumnType::Other((*name).into())),
        Some(parts) => return Err(Refusal::missing_type(&parts.join("."), ty.location)),
        None => return Err(Refusal::internal("a type has no name")),
    };
    Ok(if ty.array_bounds.is_empty() {
        ColumnType::parse(&name)
    } else {
        ColumnType::Other(format!("{name}[]").into())
    })
}

/// A constant as text; the outer `None` is something that has no plain text form.
#[expect(clippy::option_option, reason = "not a plain constant, or NULL, or text")]
pub(crate) fn constant_text(k: &AConst) -> Option<Option<String>> {
    if k.isnull {
        return Some(None);
    }
    match &k.val {
        Some(a_const::Val::Sval(s)) => Some(Some(s.sval.clone())),
        Some(a_const::Val::Ival(i)) => Some(Some(i.ival.to_string())),
        Some(a_const::Val::Fval(f)) => Some(Some(f.fval.clone())),
        Some(a_const::Val::Boolval(b)) => Some(Some(b.boolval.to_string())),
        Some(a_const::Val::Bsval(_)) => None,
        // A zero integer prints as an absent value in the protobuf form.
        None => Some(Some("0".to_owned())),
    }
}
