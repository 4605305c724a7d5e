//! `postern explain`: what becomes of a statement. Nothing is run, and nothing that is said holds a key, a token or a password.
//!
//! The verdict is the proxy's own: the same planner with the same catalogue, login and superadmin flag. What it cannot see is what
//! earlier statements of a session did (temporary tables, cursors), so each statement is judged for itself.

mod batch;
mod subject;

use std::fmt::Write as _;
use std::io::{BufReader, Write};
use std::time::Duration;

use clap::ValueEnum;
use postern_config::LoginKind;
use postern_rewriter::plan::{Field, Param, Plan, Refusal, Run, Statement};
use postern_rewriter::{Ask, plan_batch};

use super::{CliError, ExplainArgs, PARSER_STACK};
use subject::Subject;
pub(super) use subject::person;

/// Where the catalogue comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CatalogSource {
    /// The database's.
    Live,
    /// What the manifests declare.
    Manifest,
    /// Every relation is taken as own and plain.
    None,
}

/// How long an unreachable database may hold up an answer that the manifests can give as well.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn run(args: ExplainArgs, out: &mut (impl Write + Send)) -> Result<(), CliError> {
    let subject = Subject::find(&args)?;
    let judge = || match &args.sql {
        Some(sql) => one(&subject, sql, out),
        None => batch::run(&subject, &mut BufReader::new(std::io::stdin()), out),
    };
    // The parser is recursive; the main thread's stack is whatever the shell's limit says.
    std::thread::scope(|scope| {
        let judging = std::thread::Builder::new()
            .name("explain".to_owned())
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, judge)
            .map_err(|source| CliError::Runtime { source })?;
        judging.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn one(subject: &Subject, sql: &str, out: &mut impl Write) -> Result<(), CliError> {
    let answer = subject.plan(sql);
    let mut text = format!("{}\n", subject.headline());
    match &answer {
        Ok(plans) if plans.is_empty() => text.push_str("nothing: the text holds no statement\n"),
        Ok(plans) => {
            for (n, plan) in plans.iter().enumerate() {
                describe(n + 1, plan, &mut text);
            }
        }
        Err(refusal) => refused(refusal, &mut text),
    }
    out.write_all(text.as_bytes()).map_err(|source| CliError::Stream {
        doing: "write the answer",
        source,
    })?;
    answer.map(|_| ()).map_err(|_| CliError::Refused)
}

impl Subject {
    /// Judges a text as this subject would have it judged on the wire.
    fn plan(&self, sql: &str) -> Result<Vec<Plan>, Refusal> {
        plan_batch(
            sql,
            &Ask {
                catalog: &self.catalog,
                module: &self.module,
                login: &self.login,
                superadmin: self.superadmin,
                undeclared: self.person.is_none() && self.login.kind != LoginKind::Runtime,
                enforce: self.enforce,
                max_sql_bytes: self.max_sql_bytes,
            },
        )
    }
}

fn refused(refusal: &Refusal, text: &mut String) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "refused {}: {}", refusal.sqlstate, refusal.message);
    if let Some(hint) = &refusal.hint {
        let _ = writeln!(text, "  hint        {hint}");
    }
    if let Some(position) = refusal.position {
        let _ = writeln!(text, "  at          character {position}");
    }
}

fn describe(number: usize, plan: &Plan, text: &mut String) {
    let _ = writeln!(text, "statement {number}: allowed");
    let list = |items: Vec<String>| {
        if items.is_empty() {
            "–".to_owned()
        } else {
            items.join(", ")
        }
    };
    let _ = writeln!(
        text,
        "  relations   {}",
        list(plan.relations.iter().map(ToString::to_string).collect())
    );
    let _ = writeln!(text, "  policies    {}", list(plan.policies.clone()));
    let _ = writeln!(
        text,
        "  opens       {}",
        list(plan.opened.iter().map(ToString::to_string).collect())
    );
    match &plan.run {
        Run::Answer(tag) => {
            let _ = writeln!(text, "  answered    by Postern itself: {tag}");
        }
        Run::Once(statement) => statement_text("runs", statement, text),
        Run::PerRow(steps) => {
            statement_text("reads", &steps.read, text);
            statement_text("then, for each row", &steps.write, text);
        }
    }
}

fn statement_text(verb: &str, statement: &Statement, text: &mut String) {
    let _ = writeln!(text, "  {verb:<11} {}", statement.sql.sql());
    for (n, param) in statement.params.iter().enumerate() {
        let what = match param {
            Param::Client(_) if statement.forwards_params() => continue,
            Param::Client(n) => format!("the client's ${}, as it is", n + 1),
            Param::Text(_) => "a constant".to_owned(),
            Param::Row(n) => format!("field {} of the row that was read", n + 1),
            Param::Generated(n) => match statement.generate.get(*n) {
                Some(table) => format!("drawn from {table}'s sequence"),
                None => "drawn".to_owned(),
            },
            Param::Seal { column, bound, .. } => {
                format!(
                    "sealed for {} ({}), bound to {} values of its row",
                    column.column,
                    column.ty,
                    bound.len()
                )
            }
            Param::EqTag { column, .. } => format!("equality tag of {}", column.column),
            Param::EqTags { column, .. } => format!("equality tags of {}", column.column),
        };
        let _ = writeln!(text, "    ${:<9} {what}", n + 1);
    }
    if let Some(output) = &statement.output {
        let opened: Vec<String> = output
            .visible
            .iter()
            .enumerate()
            .filter_map(|(n, f)| match f {
                Field::Open(o) => Some(format!("column {} is opened as {} ({})", n + 1, o.column.column, o.column.ty)),
                Field::Plain => None,
            })
            .collect();
        for line in opened {
            let _ = writeln!(text, "    {line}");
        }
        for check in &output.door {
            let _ = writeln!(text, "    every row's {} is compared after opening", check.open.column.column);
        }
    }
}
