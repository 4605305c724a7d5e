//! From a tree to its text: PostgreSQL's own printer, and the one form that it prints so that it reads back as another.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, AlterTableCmd, AlterTableType, Node, RawStmt};

use crate::plan::Refusal;
use crate::tree;

/// Prints one statement. Whoever sends the text on reads it again first.
pub(crate) fn deparse(stmt: &RawStmt) -> Result<String, Refusal> {
    match stmt.stmt.as_ref().and_then(|s| s.node.as_ref()) {
        Some(NodeEnum::AlterTableStmt(a)) if a.cmds.iter().any(converts_with_collation) => by_commands(a),
        _ => printed(stmt.stmt.as_deref().cloned()),
    }
}

fn printed(stmt: Option<Node>) -> Result<String, Refusal> {
    let tree = protobuf::ParseResult {
        version: 0,
        stmts: vec![RawStmt {
            stmt: stmt.map(Box::new),
            stmt_location: 0,
            stmt_len: 0,
        }],
    };
    pg_query::deparse(&tree, Default::default()).map_err(|_| cannot_be_printed())
}

fn cannot_be_printed() -> Refusal {
    Refusal::internal("the statement could not be printed")
}

/// `ALTER COLUMN … TYPE … COLLATE … USING …`: the printer puts COLLATE last, where it belongs to the expression.
fn converts_with_collation(command: &Node) -> bool {
    let Some(NodeEnum::AlterTableCmd(c)) = &command.node else {
        return false;
    };
    match c.def.as_ref().and_then(|d| d.node.as_ref()) {
        Some(NodeEnum::ColumnDef(d)) => {
            c.subtype() == AlterTableType::AtAlterColumnType && d.coll_clause.is_some() && d.raw_default.is_some()
        }
        _ => false,
    }
}

/// ALTER TABLE, each command printed by itself, and USING behind its command.
fn by_commands(a: &protobuf::AlterTableStmt) -> Result<String, Refusal> {
    let alone = |command: Node| {
        printed(Some(tree::node(NodeEnum::AlterTableStmt(protobuf::AlterTableStmt {
            cmds: vec![command],
            ..a.clone()
        }))))
    };
    // What stands before every command is seen before one that is known.
    let known = alone(tree::node(NodeEnum::AlterTableCmd(Box::new(AlterTableCmd {
        subtype: AlterTableType::AtSetLogged as i32,
        behavior: protobuf::DropBehavior::DropRestrict as i32,
        ..AlterTableCmd::default()
    }))))?;
    let head = known.strip_suffix("SET LOGGED").ok_or_else(cannot_be_printed)?;
    let mut commands = Vec::with_capacity(a.cmds.len());
    for command in &a.cmds {
        let mut command = command.clone();
        let using = if converts_with_collation(&command) {
            take_using(&mut command)
        } else {
            None
        };
        let mut text = alone(command)?.strip_prefix(head).ok_or_else(cannot_be_printed)?.to_owned();
        if let Some(using) = using {
            text.push_str(" USING (");
            text.push_str(&expression(using)?);
            text.push(')');
        }
        commands.push(text);
    }
    Ok(format!("{head}{}", commands.join(", ")))
}

fn take_using(command: &mut Node) -> Option<Node> {
    let Some(NodeEnum::AlterTableCmd(c)) = &mut command.node else {
        return None;
    };
    match &mut c.def.as_mut()?.node {
        Some(NodeEnum::ColumnDef(d)) => d.raw_default.take().map(|n| *n),
        _ => None,
    }
}

fn expression(value: Node) -> Result<String, Refusal> {
    let target = tree::node(NodeEnum::ResTarget(Box::new(protobuf::ResTarget {
        val: Some(Box::new(value)),
        ..protobuf::ResTarget::default()
    })));
    let select = printed(Some(tree::node(NodeEnum::SelectStmt(Box::new(protobuf::SelectStmt {
        target_list: vec![target],
        limit_option: protobuf::LimitOption::Default as i32,
        op: protobuf::SetOperation::SetopNone as i32,
        ..protobuf::SelectStmt::default()
    })))))?;
    Ok(select.strip_prefix("SELECT ").ok_or_else(cannot_be_printed)?.to_owned())
}
