//! The command line: what was typed becomes one call into the library, an error becomes its cause, its remedy and an exit code.
//!
//! Standard output carries what was asked for and nothing else; complaints go to standard error.

mod check;
mod doctor;
mod error;
mod explain;
mod manifest;
mod policy;
mod provision;
mod replay;
mod serve;
mod token;
mod why;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use error::CliError;

use crate::demo;

const EXIT_CODES: &str = "Exit codes:
  0    done
  2    the command line was not understood
  64   bad configuration (all problems are printed, as file:line: message)
  65   the input was refused: a statement that the gate does not let pass, a person whom nobody knows, a step of the tour that failed,
       policies or a database with findings, a row that is hidden, a configuration that lets more through than another
  69   something needed is not there: PostgreSQL's programs, a reachable database, a provisioned database
  70   a defect of postern
  73   a file or directory cannot be used
  75   busy: the port or the directory is in use; trying again later may help
  130  interrupted";

/// A gate in front of PostgreSQL: modules see their own tables, users their own rows, and the DBA ciphertext.
#[derive(Debug, Parser)]
#[command(name = "postern", version, about, after_help = EXIT_CODES, disable_help_subcommand = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows everything: an embedded PostgreSQL, the reference domain, 20,000 rows, a tour, and a proxy to try.
    #[command(after_help = "Examples:
  postern demo
      Everything in /var/tmp/postern-demo, the proxy on port 7432, until Ctrl-C.
  postern demo --dir /srv/try --port 0
      Another place, any free port (DIR/demo.json says which).
  postern demo --tour-only
      Ends after the tour: 0 if every step showed what it should, else 65.
  postern demo --pg-bin /usr/lib/postgresql/16/bin
      This PostgreSQL instead of the newest that is installed.

PostgreSQL runs as an ordinary user (as `postgres`, or else `nobody`, when root runs the demo). Remove DIR to start afresh.")]
    Demo(DemoArgs),

    /// Runs the proxy.
    #[command(after_help = "Examples:
  postern serve --config /etc/postern/postern.toml
      Runs until SIGINT or SIGTERM, then lets running transactions end.
  POSTERN_LOG=debug postern serve --config postern.toml
      Says more (never SQL literals, parameters or rows).

The database must have been provisioned: postern provision --config FILE")]
    Serve(ConfigArgs),

    /// Validates configuration and manifests: all problems at once, with file and line.
    #[command(after_help = "Examples:
  postern check --config config/examples/postern.toml
      Prints a summary and what each protected column's search gives away; exit code 0, or 64 with every problem.

Needs neither secrets nor a database. The issuer's JWK Set (tokens.jwks_file) is read where it is there.")]
    Check(ConfigArgs),

    /// Prints or applies the SQL of the second lock: roles, schemas, tables, privileges, row-level security, key catalogue.
    #[command(after_help = "Examples:
  postern provision --config postern.toml --dry-run
      Prints the SQL, changes nothing. Passwords and keys are left out.
  postern provision --config postern.toml
      Applies it in one transaction. Doing so again changes nothing.")]
    Provision(ProvisionArgs),

    /// Says in what the database differs from the manifests: owners, rights, row-level security, tablespaces, columns, and what reaches rows
    /// past a filter.
    #[command(after_help = "Examples:
  postern doctor --config postern.toml
      Every difference with what to do about it; exit code 0 where there is none, else 65.
  postern doctor --config postern.toml --format json | jq -r '.[] | .object'
      For scripts; run it daily and after every hand that was laid on the database.

Reads only. Some findings `postern provision` mends; the others somebody made, and somebody must say why.")]
    Doctor(DoctorArgs),

    /// Says what becomes of a statement: what was resolved, which policies fired, the SQL that runs, which columns are opened.
    #[command(after_help = "Examples:
  postern explain --config postern.toml --module disco --as bob 'SELECT survey_user_name FROM survey_users'
      Against the database's catalogue where it is reachable, else against the manifests alone.
  postern explain --config postern.toml --module disco --as root --catalog manifest 'SELECT 1'
      Against the manifests alone.
  postern explain --batch --config postern.toml --module disco < statements.jsonl
      One JSON string of SQL per line in, one JSON object per line out, in order:
      {\"verdict\":\"allow\"|\"refuse\",\"sqlstate\",\"reason\",\"hint\",\"sql\",\"relations\":[\"schema.table\"]}
  jq -c .statement query-log.json | postern explain --batch --catalog none
      Syntax and names alone: every relation is taken as own and plain. No configuration is needed.

Nothing is run. Keys, tokens and passwords are never shown, nor is the sealed form of a constant.")]
    Explain(ExplainArgs),

    /// Says why somebody sees a row or does not: which predicate of which policy is true, false or null on it.
    #[command(after_help = "Examples:
  postern why --config postern.toml --module disco --as bob survey_users su-dora
      The row with that primary key, for bob; exit code 0 where bob sees it, else 65.
  postern why --config postern.toml --module chat group_members g-pa1-00 bob
      A key of two columns, for a guest.

Reads the row as the control role. It shows truth values of predicates and no value of the row; it is for operators, not for users.")]
    Why(WhyArgs),

    /// Says what would become of the statements of a log: refused, masked or filtered, by module and reason, with the manifest's lines that would
    /// help.
    #[command(after_help = "Examples:
  postern replay --config postern.toml --map app=disco /var/log/postgresql/postgresql-15-main.log
      Statements of user `app` as they would come on login disco; exit code 0 where none would be refused, else 65.
  postern replay --config postern.toml --module disco --line-prefix '%t [%p]: user=%u,db=%d ' server.log
      Everything in the log as module disco's, behind another log_line_prefix.
  postern replay --config postern.toml --module disco --format json server.csv | jq '.reasons[] | select(.verdict == \"refused\")'
      A log of csvlog, for scripts.
  jq -c '{sql: .query, user: .role}' captured.json | postern replay --config postern.toml --form json -
      Statements that something else captured.
  postern replay --config postern.toml --module disco --catalog manifest statements.sql
      A script, judged without a database.

The server must have logged its statements: log_statement = 'all', or log_min_duration_statement = 0, with lc_messages = 'C' or English.
Nothing is run. Literals are left out of the report unless --show-values is given. Each statement is judged by itself: a temporary table
that an earlier one made is a missing relation here.")]
    Replay(replay::ReplayArgs),

    /// What policies let through, told from the configuration alone: no secrets, no database.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),

    /// Manifests from what is there.
    #[command(subcommand)]
    Manifest(manifest::ManifestCommand),

    /// Tokens of the development issuer.
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Prints a token for a person of the file named by `tokens.dev_people`.
    #[command(after_help = "Examples:
  postern token mint --config postern.toml --module disco --as bob
      A token that holds for ten minutes.
  postern token mint --config postern.toml --module disco --as root --reason 'restore of 12 May' --ttl 60
      A superadmin says why.
  PGOPTIONS=\"-c postern.token=$(postern token mint --config postern.toml --module disco --as bob)\" psql URL
      Used at once.

Works only where the configuration says dev_issuer = true; production tokens come from your own issuer. Where tokens.dev_kid is set,
the token names that key.")]
    Mint(MintArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration; manifests are read from modules/*.toml beside it.
    #[arg(long, value_name = "FILE", default_value = "postern.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Where everything lies [default: /var/tmp/postern-demo, with the user's id for others than root].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Port of the proxy on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 7432)]
    port: u16,
    /// Directory with initdb, pg_ctl and postgres [default: the newest installed].
    #[arg(long, value_name = "DIR")]
    pg_bin: Option<PathBuf>,
    /// End after the tour.
    #[arg(long)]
    tour_only: bool,
}

#[derive(Debug, Args)]
struct ProvisionArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the SQL and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// How findings are printed.
    #[arg(long, default_value = "text")]
    format: doctor::Format,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The configuration; not needed with --catalog none.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The module that asks [default with --catalog none: lab].
    #[arg(long)]
    module: Option<String>,
    /// The person who asks; without it a guest, or the service itself.
    #[arg(long = "as", value_name = "USER")]
    person: Option<String>,
    /// The login that asks [default: the module's runtime login, else its service login].
    #[arg(long)]
    login: Option<String>,
    /// What is known of the database: `live` reads it, `manifest` believes the manifests, `none` takes every name as own and plain
    /// [default: live where it is reachable, else manifest].
    #[arg(long)]
    catalog: Option<explain::CatalogSource>,
    /// Read statements from standard input.
    #[arg(long, conflicts_with = "sql")]
    batch: bool,
    /// The statement.
    #[arg(required_unless_present = "batch")]
    sql: Option<String>,
}

#[derive(Debug, Args)]
struct WhyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The module whose table it is.
    #[arg(long)]
    module: String,
    /// The person who asks; without it a guest.
    #[arg(long = "as", value_name = "USER")]
    person: Option<String>,
    /// The table.
    table: String,
    /// The row's primary key, a value for each of its columns.
    #[arg(required = true)]
    key: Vec<String>,
}

#[derive(Debug, Args)]
struct MintArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The module that the token is for; no other accepts it.
    #[arg(long)]
    module: String,
    /// The person's account id.
    #[arg(long = "as", value_name = "USER")]
    person: String,
    /// How long it holds, in seconds, at most 600.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    ttl: u64,
    /// Why a superadmin needs it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Runs what was typed.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version are answers (0); everything else was not understood (2).
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough.
        Err(CliError::Stream { source, .. }) if source.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            e.print(&mut std::io::stderr().lock());
            ExitCode::from(e.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Demo(args) => {
            let options = demo::Options {
                dir: args.dir.unwrap_or_else(demo::default_dir),
                port: args.port,
                pg_bin: args.pg_bin,
                tour_only: args.tour_only,
            };
            Ok(wait_for(demo::run(&options, &mut std::io::stdout()))??)
        }
        Command::Serve(args) => serve::run(&args.config),
        Command::Check(args) => check::run(&args.config, &mut out()),
        Command::Provision(args) => provision::run(&args.config.config, args.dry_run, &mut out()),
        Command::Doctor(args) => doctor::run(&args.config.config, args.format, &mut out()),
        Command::Explain(args) => explain::run(args, &mut out()),
        Command::Why(args) => why::run(&args, &mut out()),
        Command::Replay(args) => replay::run(&args, &mut out()),
        Command::Manifest(command) => manifest::run(command, &mut out()),
        Command::Policy(command) => policy::run(command, &mut out()),
        Command::Token(TokenCommand::Mint(args)) => token::mint(&args, &mut out()),
    }
}

fn out() -> impl Write + Send {
    std::io::stdout()
}

/// The parser is recursive: its threads need room, as in [`crate::serve::runtime`].
const PARSER_STACK: usize = 8 << 20;

/// How long threads that do not come to an end may hold up the process's.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Runs a future to its end on the main thread.
fn wait_for<T>(future: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = crate::serve::runtime().map_err(|source| CliError::Runtime { source })?;
    let value = runtime.block_on(future);
    runtime.shutdown_timeout(LAST_WAIT);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_examples() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        fn leaves(c: &clap::Command, found: &mut Vec<clap::Command>) {
            if c.has_subcommands() {
                c.get_subcommands().for_each(|s| leaves(s, found));
            } else {
                found.push(c.clone());
            }
        }
        let mut found = Vec::new();
        leaves(&command, &mut found);
        assert_eq!(found.len(), 14);
        for c in found {
            let help = c.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{} has no examples", c.get_name());
        }
    }

    #[test]
    fn batch_and_a_statement_exclude_each_other() {
        assert!(Cli::try_parse_from(["postern", "explain", "--batch", "--catalog", "none"]).is_ok());
        assert!(Cli::try_parse_from(["postern", "explain", "--batch", "SELECT 1"]).is_err());
        assert!(Cli::try_parse_from(["postern", "explain", "--module", "disco"]).is_err());
    }
}
