//! `postern policy test`: cases go through a gate like any client's statements, and what comes of them is compared with what they expect.

mod cases;
mod compare;
mod coverage;
mod gate;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern_config::{Config, ModuleName};
use postern_rewriter::catalog::Catalog;
use serde_json::{Value, json};

use super::{CliError, ReportFormat, TestArgs, printable, write};
use crate::cli::{PARSER_STACK, check, wait_for};
use crate::control::{self, ControlError};
use cases::Case;
use coverage::Coverage;
use gate::Outcome;

pub(super) fn run(args: &TestArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = check::validated(&args.config.config)?;
    let files = if args.files.is_empty() {
        beside(&args.config.config)?
    } else {
        args.files.clone()
    };
    let mut cases = cases::read(&files, &config)?;
    if let Some(text) = &args.only {
        cases.retain(|c| c.name.contains(text.as_str()));
    }
    if cases.is_empty() {
        return Err(CliError::NoCase(args.only.clone().unwrap_or_default()));
    }
    let (outcomes, catalogs) = wait_for(async {
        let outcomes = gate::run(&config, &cases).await?;
        let catalogs = catalogs(&config).await.map_err(|source| CliError::Control {
            doing: "reading the catalogue",
            source: Box::new(source),
        })?;
        Ok::<_, CliError>((outcomes, catalogs))
    })??;
    let verdicts: Vec<Verdict<'_>> = cases
        .iter()
        .zip(&outcomes)
        .map(|(case, outcome)| Verdict {
            case,
            outcome,
            differences: compare::differences(&case.expect, outcome),
        })
        .collect();
    let coverage = coverage(&config, &catalogs, &verdicts)?;
    let report = match args.format {
        ReportFormat::Text => text(&verdicts, &coverage),
        ReportFormat::Json => super::json(&object(&verdicts, &coverage)),
    };
    write(&report, out)?;
    let failed = verdicts.iter().filter(|v| !v.holds()).count();
    match (failed, args.min_coverage) {
        (0, Some(wanted)) if coverage.percent() < wanted => Err(CliError::Coverage {
            have: coverage.percent(),
            wanted,
        }),
        (0, _) => Ok(()),
        (failed, _) => Err(CliError::Cases(failed)),
    }
}

/// A case and what came of it.
struct Verdict<'c> {
    case: &'c Case,
    outcome: &'c Outcome,
    differences: Vec<String>,
}

impl Verdict<'_> {
    fn holds(&self) -> bool {
        self.differences.is_empty()
    }
}

/// `tests/*.toml` beside the configuration, by name.
fn beside(config: &Path) -> Result<Vec<PathBuf>, CliError> {
    let directory = config.with_file_name("tests");
    let failed = |source| CliError::File {
        path: directory.clone(),
        source,
    };
    let entries = std::fs::read_dir(&directory).map_err(failed)?;
    let mut files = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    files.retain(|f| f.extension().is_some_and(|e| e == "toml"));
    files.sort();
    if files.is_empty() {
        return Err(CliError::Option {
            option: "FILES",
            why: "there is no tests/*.toml beside the configuration",
        });
    }
    Ok(files)
}

async fn catalogs(config: &Config) -> Result<BTreeMap<ModuleName, Arc<Catalog>>, ControlError> {
    let pool = control::connect(&config.settings).await?;
    let catalogs = control::Catalogs::load(&pool, config).await?;
    Ok(config
        .modules
        .iter()
        .map(|m| (m.module.clone(), catalogs.of(&m.module)))
        .collect())
}

fn coverage(
    config: &Config,
    catalogs: &BTreeMap<ModuleName, Arc<Catalog>>,
    verdicts: &[Verdict<'_>],
) -> Result<Coverage, CliError> {
    // What policies find by way of imports depends on who asks; data is asked without anybody's claims.
    let config = &config.beneath();
    // On a stack on which the parser can recurse.
    let exercised = std::thread::scope(|scope| {
        let reading = std::thread::Builder::new()
            .name("coverage".to_owned())
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || {
                let held = verdicts.iter().filter(|v| v.holds());
                coverage::exercised(config, catalogs, held.map(|v| (v.case, v.outcome)))
            })
            .map_err(|source| CliError::Runtime { source })?;
        Ok::<_, CliError>(reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let questions = coverage::questions(&exercised);
    let answers = wait_for(async {
        let pool = control::connect(&config.settings).await?;
        control::satisfied::satisfied(&pool, &questions).await
    })?
    .map_err(|source| CliError::Control {
        doing: "reading the data",
        source: Box::new(source),
    })?;
    let nowhere: Vec<_> = questions
        .into_iter()
        .zip(answers)
        .filter(|(_, any)| !any)
        .map(|(q, _)| q)
        .collect();
    Ok(Coverage::of(config, &exercised, &nowhere))
}

fn text(verdicts: &[Verdict<'_>], coverage: &Coverage) -> String {
    let mut text = String::new();
    let mut file = None;
    for verdict in verdicts {
        let case = verdict.case;
        // Writing to a String cannot fail, here and below.
        if file != Some(&case.file) {
            let _ = writeln!(text, "{}", case.file.display());
            file = Some(&case.file);
        }
        if verdict.holds() {
            let _ = writeln!(text, "  ok    {}", printable(&case.name));
            continue;
        }
        let _ = writeln!(text, "  FAIL  {} (line {})", printable(&case.name), case.line);
        let who = case.person.as_ref().map_or("without a token", |p| p.name.as_str());
        let _ = writeln!(text, "          as        {} on login {}", printable(who), case.login.name);
        let _ = writeln!(text, "          sql       {}", printable(&case.sql));
        for line in &verdict.differences {
            let _ = writeln!(text, "          {}", printable(line));
        }
    }
    let held = verdicts.iter().filter(|v| v.holds()).count();
    let _ = writeln!(
        text,
        "{} cases: {held} hold, {} do not\n",
        verdicts.len(),
        verdicts.len() - held
    );
    text.push_str(&printable_lines(&coverage.text()));
    text
}

fn printable_lines(text: &str) -> String {
    text.lines().map(|l| printable(l) + "\n").collect()
}

fn object(verdicts: &[Verdict<'_>], coverage: &Coverage) -> Value {
    let cases: Vec<Value> = verdicts
        .iter()
        .map(|v| {
            json!({
                "file": v.case.file.display().to_string(),
                "line": v.case.line,
                "name": v.case.name,
                "module": v.case.module.as_str(),
                "login": v.case.login.name.as_str(),
                "as": v.case.person.as_ref().map(|p| p.name.as_str()),
                "holds": v.holds(),
                "differences": v.differences,
            })
        })
        .collect();
    json!({ "cases": cases, "coverage": coverage.json() })
}
