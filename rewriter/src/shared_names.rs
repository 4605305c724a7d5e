//! Names that all of a database's sessions share: notification channels and advisory locks. Each module has its own.
//!
//! Promised: no module hears or wakes another by NOTIFY, and none takes or tests another's lock. A channel `c` of module `m` is `m:c` to
//! PostgreSQL (a module's name holds no colon); the limit of 63 bytes counts both. A lock's key is 64 bits of SHA-256 over module and key,
//! so that no module can look for a key that meets another's. Refused: what lists either (`pg_listening_channels`, `pg_locks`).

use pg_query::NodeEnum;
use pg_query::protobuf::{self, AExpr, AExprKind, FuncCall, ListenStmt, Node, NotifyStmt, UnlistenStmt};
use postern_config::ModuleName;

use crate::judge::{Ask, Judge};
use crate::plan::{Effect, Keeps, Plan, Refusal};
use crate::scope::Scope;
use crate::session::verbatim;
use crate::tree;

/// PostgreSQL's longest identifier, and longest channel.
const MAX_NAME_BYTES: usize = 63;

/// How many of the calls here may stand in each other's arguments.
const MAX_NESTED: usize = 2;

/// What stands before the names of a module's channels.
pub fn channel_prefix(module: &ModuleName) -> String {
    format!("{module}:")
}

/// A channel that PostgreSQL names, as the module knows it; `None` if it is not the module's.
pub fn own_channel<'a>(module: &ModuleName, channel: &'a str) -> Option<&'a str> {
    channel.strip_prefix(module.as_str())?.strip_prefix(':')
}

fn channel(name: &str, ask: &Ask<'_>) -> Result<String, Refusal> {
    let whole = channel_prefix(ask.module) + name;
    if whole.len() > MAX_NAME_BYTES {
        let rest = MAX_NAME_BYTES.saturating_sub(ask.module.as_str().len() + 1);
        return Err(Refusal::new("22023", "channel", "channel name too long").hint(format!(
            "A channel of this module may have {rest} bytes: its name counts too."
        )));
    }
    Ok(whole)
}

pub(crate) fn listen(l: &ListenStmt, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let conditionname = channel(&l.conditionname, ask)?;
    let stmt = tree::node(NodeEnum::ListenStmt(ListenStmt { conditionname }));
    let mut plan = verbatim(&stmt, ask, Effect::Listen(l.conditionname.as_str().into()))?;
    plan.keeps.add(Keeps::LISTEN);
    Ok(plan)
}

pub(crate) fn unlisten(u: &UnlistenStmt, stmt: &Node, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    if u.conditionname.is_empty() {
        return verbatim(stmt, ask, Effect::Unlisten(None));
    }
    let conditionname = channel(&u.conditionname, ask)?;
    let stmt = tree::node(NodeEnum::UnlistenStmt(UnlistenStmt { conditionname }));
    verbatim(&stmt, ask, Effect::Unlisten(Some(u.conditionname.as_str().into())))
}

pub(crate) fn notify(n: &NotifyStmt, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    let stmt = tree::node(NodeEnum::NotifyStmt(NotifyStmt {
        conditionname: channel(&n.conditionname, ask)?,
        ..n.clone()
    }));
    verbatim(&stmt, ask, Effect::Notify)
}

/// Whether a function's arguments name something that sessions share.
pub(crate) fn names_shared(function: &str) -> bool {
    function == "pg_notify" || is_lock(function)
}

fn is_lock(function: &str) -> bool {
    matches!(
        function,
        "pg_advisory_lock"
            | "pg_advisory_lock_shared"
            | "pg_try_advisory_lock"
            | "pg_try_advisory_lock_shared"
            | "pg_advisory_unlock"
            | "pg_advisory_unlock_shared"
            | "pg_advisory_unlock_all"
            | "pg_advisory_xact_lock"
            | "pg_advisory_xact_lock_shared"
            | "pg_try_advisory_xact_lock"
            | "pg_try_advisory_xact_lock_shared"
    )
}

impl Judge<'_> {
    /// A call of one of [`names_shared`]: its arguments are judged like any other's, then the module's own name stands in place of what
    /// they name.
    // Kept out of the walk's frames, which are as many as a statement is deep.
    #[inline(never)]
    pub(crate) fn shared_name_call(&mut self, f: &mut FuncCall, function: &str, scope: &Scope<'_>) -> Result<(), Refusal> {
        self.sharing += 1;
        if self.sharing > MAX_NESTED {
            // Each call becomes several levels of calls, so a bound on the client's depth alone would not bound the depth of what runs.
            return Err(Refusal::construct("This call inside others of its kind").at(f.location));
        }
        self.arguments(f, function, scope)?;
        self.sharing -= 1;
        self.own_name_for_shared(f, function)
    }

    fn own_name_for_shared(&mut self, f: &mut FuncCall, function: &str) -> Result<(), Refusal> {
        // Named and variadic notation: none of these functions has it.
        let plain = !f.func_variadic && f.args.iter().all(|a| !matches!(a.node, Some(NodeEnum::NamedArgExpr(_))));
        let args = std::mem::take(&mut f.args);
        let prefix = channel_prefix(self.ask.module);
        let missing = || Refusal::new("42883", "function", format!("function {function} does not exist")).at(f.location);
        f.args = match <[Node; 2]>::try_from(args) {
            _ if !plain => return Err(missing()),
            Ok([name, payload]) if function == "pg_notify" => {
                // A channel without a name stays without one, and is refused by PostgreSQL.
                let name = null_if_empty(tree::cast(name, "text"));
                vec![
                    tree::call(["pg_catalog", "textcat"], vec![tree::text(&prefix), name]),
                    payload,
                ]
            }
            Ok(keys) if is_lock(function) && function != "pg_advisory_unlock_all" => {
                let [a, b] = keys.map(|key| tree::cast(tree::cast(key, "int4"), "text"));
                let first = tree::call(["pg_catalog", "textcat"], vec![tree::text(&prefix), a]);
                let second = tree::call(["pg_catalog", "textcat"], vec![tree::text(","), b]);
                vec![lock_key(tree::call(["pg_catalog", "textcat"], vec![first, second]))]
            }
            Ok(_) => return Err(missing()),
            Err(mut args) => match (args.pop(), function) {
                (None, "pg_advisory_unlock_all") => Vec::new(),
                (Some(key), _) if args.is_empty() && is_lock(function) && function != "pg_advisory_unlock_all" => {
                    let key = tree::cast(tree::cast(key, "int8"), "text");
                    vec![lock_key(tree::call(
                        ["pg_catalog", "textcat"],
                        vec![tree::text(&prefix), key],
                    ))]
                }
                _ => return Err(missing()),
            },
        };
        if is_lock(function) && !function.contains("_xact_") && function != "pg_advisory_unlock_all" {
            self.keeps.add(Keeps::SESSION_LOCKS);
        }
        Ok(())
    }
}

/// `hashtextextended(encode(sha256(convert_to(name, 'UTF8')), 'hex'), 0)`: the hash alone could be inverted. NULL stays NULL.
fn lock_key(name: Node) -> Node {
    let bytes = tree::call(["pg_catalog", "convert_to"], vec![name, tree::text("UTF8")]);
    let digest = tree::call(["pg_catalog", "sha256"], vec![bytes]);
    let hex = tree::call(["pg_catalog", "encode"], vec![digest, tree::text("hex")]);
    tree::call(["pg_catalog", "hashtextextended"], vec![hex, tree::integer(0)])
}

fn null_if_empty(value: Node) -> Node {
    tree::node(NodeEnum::AExpr(Box::new(AExpr {
        kind: AExprKind::AexprNullif as i32,
        name: vec![tree::string("=")],
        lexpr: Some(Box::new(value)),
        rexpr: Some(Box::new(tree::text(""))),
        ..protobuf::AExpr::default()
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_heard_by_its_module_alone() {
        let lab = ModuleName::new("lab").unwrap();
        let laboratory = ModuleName::new("laboratory").unwrap();
        let heard = channel_prefix(&lab) + "x:y";
        assert_eq!(own_channel(&lab, &heard), Some("x:y"));
        assert_eq!(own_channel(&laboratory, &heard), None);
        assert_eq!(own_channel(&lab, "laboratory:x"), None);
        assert_eq!(own_channel(&lab, "x"), None);
        assert_eq!(own_channel(&lab, "lab"), None);
    }
}
