//! From a tree to its text: PostgreSQL's own printer, and the forms that it prints so that they read back as others.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, AlterTableCmd, AlterTableType, Node, RawStmt, Token};

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

/// Printed text with every `char` that has no length as `pg_catalog.bpchar`; `None` where there is none. PostgreSQL's `bpchar` without a
/// length holds any, but it is printed as `char`, which is read as `char(1)`, and before a constant as a literal's type, which only
/// strings have. Whether the new text means what the tree says is for whoever reads it back.
pub(crate) fn with_unbounded_chars(text: &str) -> Option<String> {
    let tokens = pg_query::scan(text).ok()?.tokens;
    let kind = |n: usize| tokens.get(n).map(|t| t.token());
    let place = |n: usize| {
        let token = tokens.get(n)?;
        Some((usize::try_from(token.start).ok()?, usize::try_from(token.end).ok()?))
    };
    let (mut out, mut copied) = (String::with_capacity(text.len() + 16), 0);
    for n in 0..tokens.len() {
        let before = if n > 0 { kind(n - 1) } else { None };
        let casts = matches!(before, Some(Token::Typecast | Token::As));
        let (from, to) = place(n)?;
        match (kind(n), kind(n + 1)) {
            (Some(Token::CharP), Some(Token::Ascii40)) => {}
            // A column is called so.
            (Some(Token::CharP), next) if before == Some(Token::As) && next != Some(Token::Ascii41) => {}
            // `char 'x'` is read as it was meant.
            (Some(Token::CharP), Some(Token::Sconst)) if !casts => {}
            (Some(Token::CharP), Some(Token::NullP | Token::Iconst | Token::Fconst | Token::TrueP | Token::FalseP)) if !casts => {
                let (value, end) = place(n + 1)?;
                out.push_str(text.get(copied..from)?);
                out.push_str(&format!("({}::pg_catalog.bpchar)", text.get(value..end)?));
                copied = end;
            }
            (Some(Token::CharP), _) => {
                out.push_str(text.get(copied..from)?);
                out.push_str("pg_catalog.bpchar");
                copied = to;
            }
            _ => {}
        }
    }
    if copied == 0 {
        return None;
    }
    out.push_str(text.get(copied..)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::with_unbounded_chars;

    #[test]
    fn a_char_without_length_holds_any() {
        let named = |text: &str| with_unbounded_chars(text);
        assert_eq!(named("SELECT a::char(3), char 'x', 'char' AS char"), None);
        assert_eq!(named("SELECT a::char").as_deref(), Some("SELECT a::pg_catalog.bpchar"));
        assert_eq!(
            named("SELECT char NULL = char 'é', (b || 'char')::char, char 5, CAST(a AS char)").as_deref(),
            Some(
                "SELECT (NULL::pg_catalog.bpchar) = char 'é', (b || 'char')::pg_catalog.bpchar, (5::pg_catalog.bpchar), \
                 CAST(a AS pg_catalog.bpchar)"
            )
        );
    }
}
