//! `COPY … FROM STDIN` into a declared table: each of its rows is an INSERT.
//!
//! PostgreSQL checks no row of a COPY against row-level security, and nobody seals its values. So what runs is `INSERT … VALUES ($1, …)`
//! over the same columns, judged like a client's; the session reads the rows and binds each. What one may not insert, one may not copy.
//! Refused: `WHERE`, and the options that PostgreSQL refuses, in its words.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CopyStmt, DefElem, InsertStmt, LimitOption, List, Node, OverridingKind, ParamRef, ResTarget, SelectStmt, SetOperation,
};
use postern_config::Table;

use crate::insert::column_of;
use crate::judge::Ask;
use crate::plan::{Effect, Form, Header, Layout, Marks, Plan, Refusal};
use crate::{copy, statement, tree};

/// Plans it.
pub(crate) fn plan(c: &CopyStmt, table: &Table, ask: &Ask<'_>) -> Result<Plan, Refusal> {
    if c.where_clause.is_some() {
        return Err(
            Refusal::new("0A000", "copy-from", "WHERE of COPY FROM is not available for this table")
                .hint("Leave the rows out in the client."),
        );
    }
    let columns = columns(c, table)?;
    let form = form(&c.options, table, &columns)?;
    let row = (1..).take(columns.len()).map(field).collect();
    let values = SelectStmt {
        values_lists: vec![tree::node(NodeEnum::List(List { items: row }))],
        limit_option: LimitOption::Default as i32,
        op: SetOperation::SetopNone as i32,
        ..SelectStmt::default()
    };
    let insert = InsertStmt {
        relation: c.relation.clone(),
        cols: columns.iter().map(|name| target(name)).collect(),
        select_stmt: Some(Box::new(tree::node(NodeEnum::SelectStmt(Box::new(values))))),
        r#override: OverridingKind::OverridingNotSet as i32,
        ..InsertStmt::default()
    };
    let columns = columns.into_iter().map(Into::into).collect();
    let effect = Effect::CopyRows(Box::new(Layout { columns, form }));
    statement::data(&tree::node(NodeEnum::InsertStmt(Box::new(insert))), ask, effect)
}

/// The columns that are filled, in the order of a row's fields: those that are listed, or all.
fn columns<'t>(c: &'t CopyStmt, table: &'t Table) -> Result<Vec<&'t str>, Refusal> {
    if c.attlist.is_empty() {
        return Ok(table.columns.iter().map(|column| column.name.as_str()).collect());
    }
    copy::listed(c, table)
}

/// A row's field, like a parameter that a client writes: its location tells it from ours.
fn field(number: i32) -> Node {
    tree::node(NodeEnum::ParamRef(ParamRef { number, location: 0 }))
}

fn target(name: &str) -> Node {
    tree::node(NodeEnum::ResTarget(Box::new(ResTarget {
        name: name.to_owned(),
        indirection: Vec::new(),
        val: None,
        location: -1,
    })))
}

/// What was given of the options, each at most once.
#[derive(Default)]
struct Given<'o> {
    format: Option<&'o str>,
    delimiter: Option<&'o str>,
    null: Option<&'o str>,
    quote: Option<&'o str>,
    escape: Option<&'o str>,
    header: Option<Header>,
    not_null: Option<&'o DefElem>,
    null_if: Option<&'o DefElem>,
    forces_quote: bool,
}

impl<'o> Given<'o> {
    fn read(options: &'o [Node]) -> Result<Self, Refusal> {
        let mut given = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for option in options {
            let Some(NodeEnum::DefElem(d)) = &option.node else {
                return Err(Refusal::internal("COPY's options hold something else"));
            };
            if seen.contains(&d.defname.as_str()) {
                return Err(Refusal::syntax("conflicting or redundant options"));
            }
            seen.push(&d.defname);
            let text = d.arg.as_deref().and_then(tree::text_of);
            match d.defname.as_str() {
                "format" => given.format = text,
                "delimiter" => given.delimiter = text,
                "null" => given.null = text,
                "quote" => given.quote = text,
                "escape" => given.escape = text,
                "header" => given.header = Some(header(d)?),
                "force_not_null" => given.not_null = Some(d),
                "force_null" => given.null_if = Some(d),
                "force_quote" => given.forces_quote = true,
                // Judged before: it is UTF8.
                "encoding" => {}
                _ => return Err(Refusal::internal("an option of COPY was not judged")),
            }
        }
        Ok(given)
    }
}

impl Given<'_> {
    /// The first option that CSV alone has.
    fn of_csv_alone(&self) -> Option<&'static str> {
        let options = [
            (self.quote.is_some(), "quote"),
            (self.escape.is_some(), "escape"),
            (self.forces_quote, "force quote"),
            (self.not_null.is_some(), "force not null"),
            (self.null_if.is_some(), "force null"),
        ];
        options.into_iter().find_map(|(given, what)| given.then_some(what))
    }
}

/// How the fields are written; what PostgreSQL refuses of the options is refused in its words.
fn form(options: &[Node], table: &Table, columns: &[&str]) -> Result<Form, Refusal> {
    let given = Given::read(options)?;
    let csv = match given.format {
        Some("binary") => return binary(&given),
        Some("csv") => true,
        _ => false,
    };
    let delimiter = given.delimiter.unwrap_or(if csv { "," } else { "\t" });
    let null = given.null.unwrap_or(if csv { "" } else { "\\N" });
    let mark = byte(delimiter).ok_or_else(|| unavailable("COPY delimiter must be a single one-byte character"))?;
    if matches!(mark, b'\r' | b'\n') {
        return Err(invalid("COPY delimiter cannot be newline or carriage return"));
    }
    if null.contains(['\r', '\n']) {
        return Err(invalid("COPY null representation cannot use newline or carriage return"));
    }
    if !csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&mark) {
        return Err(invalid(format!("COPY delimiter cannot be \"{delimiter}\"")));
    }
    if let Some(what) = given.of_csv_alone().filter(|_| !csv) {
        return Err(unavailable(format!("COPY {what} available only in CSV mode")));
    }
    if given.forces_quote {
        return Err(unavailable("COPY force quote only available using COPY TO"));
    }
    if null.as_bytes().contains(&mark) {
        return Err(unavailable("COPY delimiter must not appear in the NULL specification"));
    }
    let marks = Marks {
        delimiter: mark,
        null: null.into(),
        header: given.header.unwrap_or(Header::None),
    };
    if !csv {
        return Ok(Form::Text(marks));
    }
    let quote = byte(given.quote.unwrap_or("\"")).ok_or_else(|| unavailable("COPY quote must be a single one-byte character"))?;
    if quote == mark {
        return Err(invalid("COPY delimiter and quote must be different"));
    }
    let escape = match given.escape {
        None => quote,
        Some(text) => byte(text).ok_or_else(|| unavailable("COPY escape must be a single one-byte character"))?,
    };
    if null.as_bytes().contains(&quote) {
        return Err(unavailable("CSV quote character must not appear in the NULL specification"));
    }
    Ok(Form::Csv {
        marks,
        quote,
        escape,
        not_null: forced(given.not_null, "FORCE_NOT_NULL", table, columns)?,
        null_if: forced(given.null_if, "FORCE_NULL", table, columns)?,
    })
}

fn binary(given: &Given<'_>) -> Result<Form, Refusal> {
    if given.delimiter.is_some() {
        return Err(Refusal::syntax("cannot specify DELIMITER in BINARY mode"));
    }
    if given.null.is_some() {
        return Err(Refusal::syntax("cannot specify NULL in BINARY mode"));
    }
    if given.header.is_some_and(|h| h != Header::None) {
        return Err(unavailable("cannot specify HEADER in BINARY mode"));
    }
    if let Some(what) = given.of_csv_alone() {
        return Err(unavailable(format!("COPY {what} available only in CSV mode")));
    }
    Ok(Form::Binary)
}

fn header(d: &DefElem) -> Result<Header, Refusal> {
    let wanted = |wanted| if wanted { Header::Skipped } else { Header::None };
    let wrong = || Refusal::syntax("header requires a Boolean value or \"match\"");
    match d.arg.as_deref().map(|a| &a.node) {
        None => Ok(Header::Skipped),
        Some(Some(NodeEnum::Boolean(b))) => Ok(wanted(b.boolval)),
        Some(Some(NodeEnum::Integer(i))) if matches!(i.ival, 0 | 1) => Ok(wanted(i.ival == 1)),
        Some(Some(NodeEnum::String(s))) => match s.sval.to_ascii_lowercase().as_str() {
            "true" | "on" => Ok(Header::Skipped),
            "false" | "off" => Ok(Header::None),
            "match" => Ok(Header::Matched),
            _ => Err(wrong()),
        },
        Some(_) => Err(wrong()),
    }
}

/// For each column whether the option names it.
fn forced(option: Option<&DefElem>, name: &str, table: &Table, columns: &[&str]) -> Result<Box<[bool]>, Refusal> {
    let mut flags = vec![false; columns.len()];
    let Some(list) = option.and_then(|d| d.arg.as_deref()) else {
        return Ok(flags.into());
    };
    match &list.node {
        Some(NodeEnum::AStar(_)) => flags.fill(true),
        Some(NodeEnum::List(l)) => {
            for n in &l.items {
                let column = tree::text_of(n).ok_or_else(|| Refusal::internal("a column list holds something else"))?;
                column_of(table, column, -1)?;
                let at = columns.iter().position(|c| *c == column);
                let at = at.ok_or_else(|| {
                    Refusal::new(
                        "42P10",
                        "copy-option",
                        format!("{name} column \"{column}\" not referenced by COPY"),
                    )
                })?;
                flags[at] = true;
            }
        }
        _ => return Err(Refusal::internal("a column list was expected")),
    }
    Ok(flags.into())
}

fn byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [one] => Some(*one),
        _ => None,
    }
}

fn unavailable(message: impl Into<String>) -> Refusal {
    Refusal::new("0A000", "copy-option", message.into())
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new("22023", "copy-option", message.into())
}
