//! `postern policy`: what policies let through. The answers are calculated from the configuration (`postern_config::policy`); here they
//! are only asked for and printed.

mod diff;
mod html;
mod lint;
mod matrix;
mod sheet;
mod test;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{CliError, ConfigArgs};

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Finds mistakes in policies that load without complaint.
    #[command(after_help = "Examples:
  postern policy lint --config config/examples/postern.toml
      One finding a line: FILE:LINE: SEVERITY[CODE]: what follows; what to do. Exit code 0 where nothing is found, else 65.
  postern policy lint --format json | jq -r '.[] | select(.severity == \"error\") | .file'
      The same as a JSON array.

A finding that is meant so is accepted where it stands: allow_lint = [\"P004\"] and allow_lint_reason = \"why\", in the [[table.policy]] that
it is about, or else in its [[table]]. The codes are listed in config/examples/README.md.")]
    Lint(LintArgs),

    /// Shows who gets which rows and columns of which table, by which operation.
    #[command(after_help = "Examples:
  postern policy matrix --config postern.toml
      A guest and each module's service login.
  postern policy matrix --config postern.toml --as bob ana --module disco
      And these people, as `postern token mint --as` knows them.
  postern policy matrix --claims '{\"sub\": \"x\", \"org_admin_of\": [\"A\"]}' --format csv > matrix.csv
      And somebody with these claims, as a table for a spreadsheet: one line for each column and subject.
  postern policy matrix --config postern.toml --format html > matrix.html
      As one page without anything from elsewhere.

`all` and `none` hold for every row there could be; `some` has a footnote that says which rows; `–` stands where the module has no login
that the subject could come by. Columns are listed where they differ from their row.")]
    Matrix(MatrixArgs),

    /// Runs cases through the gate and compares what comes of them: who may read and write what, told by examples.
    #[command(after_help = "Examples:
  postern policy test --config postern.toml
      Runs tests/*.toml beside the configuration; exit code 0 where all hold, else 65 with what differs.
  postern policy test --config postern.toml tests/disco.toml --only 'bob'
      The cases of one file whose names hold a word.
  postern policy test --config postern.toml --min-coverage 80
      And 65 where the cases exercise less of the policies.

A gate of its own, on a port of 127.0.0.1 that nobody else can use, is started for the run with this configuration, its secrets and its
database; people get tokens of an issuer that is made for it. Each case is a transaction that is rolled back. Values that sequences
gave away stay given away. What differs is shown with the values that came: use a database of test data. config/examples/README.md
says how cases are written.")]
    Test(TestArgs),

    /// Compares what two configurations let through.
    #[command(after_help = "Examples:
  postern policy diff deployed/postern.toml postern.toml
      What is wider, narrower or cannot be told, by table, operation and column. Exit code 65 where anything may let more through.
  postern policy diff deployed/postern.toml postern.toml --accept
      The same, and 0: somebody has looked at it.
  postern policy diff deployed/postern.toml postern.toml --format json
      As a JSON array.")]
    Diff(DiffArgs),
}

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

#[derive(Debug, Args)]
pub(super) struct MatrixArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// People of the file named by `tokens.dev_people`.
    #[arg(long = "as", value_name = "PERSON", num_args = 1..)]
    people: Vec<String>,
    /// Somebody with these claims and no others: a JSON object, as in a token.
    #[arg(long, value_name = "JSON", num_args = 1..)]
    claims: Vec<String>,
    /// This module alone.
    #[arg(long)]
    module: Option<String>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = MatrixFormat::Text)]
    format: MatrixFormat,
}

#[derive(Debug, Args)]
pub(super) struct TestArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Files of cases [default: tests/*.toml beside the configuration].
    files: Vec<PathBuf>,
    /// Only cases whose names hold this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Fail where the cases exercise less than this of the policies.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_coverage: Option<u8>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// What is deployed.
    #[arg(value_name = "OLD_CONFIG")]
    old: PathBuf,
    /// What is to be deployed.
    #[arg(value_name = "NEW_CONFIG")]
    new: PathBuf,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    format: ReportFormat,
    /// What lets more through is meant so.
    #[arg(long)]
    accept: bool,
}

/// How findings and differences are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ReportFormat {
    /// Lines for people and editors.
    Text,
    /// A JSON array.
    Json,
}

/// How the matrix is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MatrixFormat {
    /// Tables for a terminal.
    Text,
    /// Comma-separated values (RFC 4180), which no spreadsheet takes for formulas.
    Csv,
    /// One page that refers to nothing else.
    Html,
}

pub(super) fn run(command: PolicyCommand, out: &mut impl Write) -> Result<(), CliError> {
    match command {
        PolicyCommand::Lint(args) => lint::run(&args, out),
        PolicyCommand::Matrix(args) => matrix::run(&args, out),
        PolicyCommand::Test(args) => test::run(&args, out),
        PolicyCommand::Diff(args) => diff::run(&args, out),
    }
}

/// Writes a whole report, so that one that fails half-way is told from a short one.
pub(in crate::cli) fn write(report: &str, out: &mut impl Write) -> Result<(), CliError> {
    out.write_all(report.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|source| CliError::Stream {
            doing: "write the report",
            source,
        })
}

pub(in crate::cli) fn json(report: &serde_json::Value) -> String {
    format!("{report:#}\n")
}

/// Text for a terminal: what comes from files and arguments cannot move the cursor or begin a new line.
pub(in crate::cli) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
