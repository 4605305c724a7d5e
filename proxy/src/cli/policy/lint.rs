//! `postern policy lint`.

use std::fmt::Write as _;
use std::io::Write;

use postern_config::policy::lint::{Finding, lint};
use serde_json::{Value, json};

use super::{CliError, LintArgs, ReportFormat, printable, write};
use crate::cli::check;

pub(super) fn run(args: &LintArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = check::validated(&args.config.config)?;
    let findings = lint(&config);
    let report = match args.format {
        ReportFormat::Text => text(&findings),
        ReportFormat::Json => super::json(&findings.iter().map(object).collect()),
    };
    write(&report, out)?;
    match findings.len() {
        0 => Ok(()),
        found => Err(CliError::Findings(found)),
    }
}

fn text(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "nothing found\n".to_owned();
    }
    let mut text = String::new();
    for finding in findings {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", printable(&finding.to_string()));
    }
    text
}

fn object(finding: &Finding) -> Value {
    json!({
        "code": finding.code.as_str(),
        "severity": finding.severity.as_str(),
        "file": finding.file.display().to_string(),
        "line": finding.line,
        "module": finding.module.as_str(),
        "table": finding.table.name.as_str(),
        "policy": finding.policy.as_ref().map(|p| p.as_str()),
        "message": finding.message,
        "fix": finding.fix,
    })
}
