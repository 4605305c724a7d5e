//! `postern policy diff`.

use std::fmt::Write as _;
use std::io::Write;

use postern_config::policy::diff::{Change, diff};
use serde_json::{Value, json};

use super::{CliError, DiffArgs, ReportFormat, printable, write};
use crate::cli::check;

pub(super) fn run(args: &DiffArgs, out: &mut impl Write) -> Result<(), CliError> {
    let (old, new) = (check::validated(&args.old)?, check::validated(&args.new)?);
    let changes = diff(&old, &new);
    let report = match args.format {
        ReportFormat::Text => text(&changes),
        ReportFormat::Json => super::json(&changes.iter().map(object).collect()),
    };
    write(&report, out)?;
    match changes.iter().filter(|c| c.verdict.needs_acceptance()).count() {
        wider if wider > 0 && !args.accept => Err(CliError::Wider(wider)),
        _ => Ok(()),
    }
}

fn text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "both let through the same\n".to_owned();
    }
    let mut text = String::new();
    for change in changes {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<9} {}: {}",
            change.verdict.as_str(),
            printable(&place(change)),
            change.what
        );
        let _ = writeln!(text, "            old  {}", printable(&change.old));
        let _ = writeln!(text, "            new  {}", printable(&change.new));
    }
    text
}

/// `module.table operation column`, as far as the change is about one.
fn place(change: &Change) -> String {
    let mut place = change.module.clone().unwrap_or_else(|| "postern.toml".to_owned());
    if let Some(table) = &change.table {
        let _ = write!(place, ".{table}");
    }
    if let Some(operation) = change.operation {
        let _ = write!(place, " {}", operation.as_str());
    }
    if let Some(column) = &change.column {
        let _ = write!(place, " {column}");
    }
    place
}

fn object(change: &Change) -> Value {
    json!({
        "verdict": change.verdict.as_str(),
        "module": change.module,
        "table": change.table,
        "operation": change.operation.map(|o| o.as_str()),
        "column": change.column,
        "what": change.what,
        "old": change.old,
        "new": change.new,
    })
}
