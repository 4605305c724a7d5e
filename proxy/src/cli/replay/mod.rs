//! `postern replay`: what would become of the statements of a log if they came through the gate. Nothing is run; of the database, only the
//! catalogue is read.
//!
//! Each statement is judged for itself, as by `postern explain`: what earlier ones of its session made (temporary tables, cursors) is not
//! known. Memory is bounded by one record, a cache of verdicts, and a bounded number of reasons.

mod advice;
mod judge;
mod log;
mod summary;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use postern_config::{Config, LoginKind, ModuleName};
use postern_rewriter::catalog::Catalog;

use super::{CliError, ConfigArgs, PARSER_STACK, check, wait_for};
use crate::control::{self, CatalogFields, ControlError};
use judge::{Judge, Subject};
pub(super) use log::Form;
use log::{Entry, Logged, Prefix};
use summary::Summary;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The log; `-` is standard input.
    log: PathBuf,
    /// The log's form [default: by its name: .csv, .json, .jsonl, .sql, else stderr].
    #[arg(long)]
    form: Option<Form>,
    /// The server's log_line_prefix, for logs of form stderr.
    #[arg(long, value_name = "PREFIX", default_value = "%m [%p] %q%u@%d ")]
    line_prefix: String,
    /// All statements are this module's, on its runtime login (else its service login).
    #[arg(long)]
    module: Option<String>,
    /// Statements of this user are to come on that login; as often as there are users.
    #[arg(long = "map", value_name = "USER=LOGIN")]
    maps: Vec<String>,
    /// Only statements of this database.
    #[arg(long)]
    database: Option<String>,
    /// Judge by the manifests alone, or by a file that --save-catalog wrote [default: the database].
    #[arg(long, value_name = "manifest|FILE")]
    catalog: Option<String>,
    /// Write the database's catalogue, as it was read, for --catalog.
    #[arg(long, value_name = "FILE", conflicts_with = "catalog")]
    save_catalog: Option<PathBuf>,
    /// Show statements with their literals: logs hold people's data.
    #[arg(long)]
    show_values: bool,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = super::policy::ReportFormat::Text)]
    format: super::policy::ReportFormat,
}

pub(super) fn run(args: &ReplayArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = check::validated(&args.config.config)?;
    let prefix = Prefix::parse(&args.line_prefix).map_err(|e| CliError::Argument {
        option: "--line-prefix",
        reason: e.to_string(),
    })?;
    let subjects = Subjects::of(&config, args)?;
    let catalogs = catalogs(&config, args)?;
    let (mut input, form) = open(args)?;
    let judging = || {
        let mut judge = Judge::new(&config, catalogs);
        let mut summary = Summary::default();
        log::read(form, &prefix, &mut input, &mut |entry| {
            summary.records += 1;
            match entry {
                Entry::Other => summary.others += 1,
                Entry::Malformed => summary.malformed += 1,
                Entry::Statement(logged) => statement(&config, args, &subjects, &mut judge, &mut summary, &logged),
            }
            Ok::<_, std::io::Error>(())
        })
        .map(|()| summary)
    };
    // The parser recurses.
    let summary = std::thread::scope(|scope| {
        let judging = std::thread::Builder::new()
            .name("replay".to_owned())
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, judging)
            .map_err(|source| CliError::Runtime { source })?;
        let read = judging.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        read.map_err(|source| CliError::File {
            path: args.log.clone(),
            source,
        })
    })?;
    let report = match args.format {
        super::policy::ReportFormat::Text => summary.text(),
        super::policy::ReportFormat::Json => super::policy::json(&summary.json()),
    };
    super::policy::write(&report, out)?;
    if summary.refuses() { Err(CliError::Found) } else { Ok(()) }
}

fn statement(
    config: &Config,
    args: &ReplayArgs,
    subjects: &Subjects,
    judge: &mut Judge<'_>,
    summary: &mut Summary,
    logged: &Logged,
) {
    if args.database.is_some() && logged.database.is_some() && args.database != logged.database {
        summary.elsewhere += 1;
        return;
    }
    match subjects.find(config, logged) {
        None => summary.unknown(logged.user.as_deref()),
        Some(subject) => {
            let verdict = judge.verdict(&subject, &logged.sql);
            let most = config.settings.limits.max_sql_bytes;
            summary.count(
                subject.manifest.module.as_str(),
                &verdict,
                &logged.sql,
                args.show_values,
                most,
            );
        }
    }
}

/// Whose statements are whose.
struct Subjects {
    all: Option<Subject>,
    mapped: BTreeMap<String, Subject>,
}

impl Subjects {
    fn of(config: &Config, args: &ReplayArgs) -> Result<Self, CliError> {
        let all = args.module.as_deref().map(|name| {
            super::token::module(config, name)?;
            of_module(config, name).ok_or_else(|| CliError::Unknown {
                what: "login of module",
                name: name.to_owned(),
                known: Vec::new(),
            })
        });
        let mut mapped = BTreeMap::new();
        for map in &args.maps {
            let (user, login) = map.split_once('=').ok_or_else(|| CliError::Argument {
                option: "--map",
                reason: format!("`{map}` is not USER=LOGIN"),
            })?;
            let subject = of_login(config, login).ok_or_else(|| CliError::Unknown {
                what: "login",
                name: login.to_owned(),
                known: config
                    .modules
                    .iter()
                    .flat_map(|m| &m.logins)
                    .map(|l| l.name.to_string())
                    .collect(),
            })?;
            mapped.insert(user.to_owned(), subject);
        }
        Ok(Self {
            all: all.transpose()?,
            mapped,
        })
    }

    fn find(&self, config: &Config, logged: &Logged) -> Option<Subject> {
        let captured = logged.module.as_deref().and_then(|m| of_module(config, m));
        let user = logged.user.as_deref();
        captured
            .or_else(|| user.and_then(|u| self.mapped.get(u)).cloned())
            .or_else(|| self.all.clone())
            .or_else(|| user.and_then(|u| of_login(config, u)))
    }
}

fn of_login(config: &Config, name: &str) -> Option<Subject> {
    let (manifest, login) = config.login(name)?;
    Some(Subject {
        manifest: manifest.clone(),
        login: login.clone(),
    })
}

fn of_module(config: &Config, name: &str) -> Option<Subject> {
    let manifest = config.modules.iter().find(|m| m.module.as_str() == name)?;
    let of = |kind| manifest.logins.iter().find(|l| l.kind == kind);
    let login = of(LoginKind::Runtime)
        .or(of(LoginKind::Service))
        .or(of(LoginKind::Migrator))?;
    Some(Subject {
        manifest: manifest.clone(),
        login: login.clone(),
    })
}

fn open(args: &ReplayArgs) -> Result<(BufReader<Box<dyn Read + Send>>, Form), CliError> {
    let form = args.form.unwrap_or_else(|| Form::of(&args.log.to_string_lossy()));
    let input: Box<dyn Read + Send> = if args.log == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(&args.log).map_err(|source| CliError::File {
            path: args.log.clone(),
            source,
        })?;
        Box::new(file)
    };
    Ok((BufReader::with_capacity(1 << 20, input), form))
}

/// The lines of each module.
type Rows = BTreeMap<String, Vec<CatalogFields>>;

fn catalogs(config: &Config, args: &ReplayArgs) -> Result<BTreeMap<ModuleName, Arc<Catalog>>, CliError> {
    let rows = match args.catalog.as_deref() {
        Some("manifest") => return Ok(BTreeMap::new()),
        Some(file) => saved(Path::new(file))?,
        None => live(config)?,
    };
    if let Some(path) = &args.save_catalog {
        let failed = |source| CliError::File {
            path: path.clone(),
            source,
        };
        std::fs::write(path, serde_json::to_vec(&rows).expect("rows are strings")).map_err(failed)?;
    }
    let catalog = |m: &Arc<postern_config::Manifest>| {
        let rows = control::catalog_rows(rows.get(m.module.as_str())?);
        Some((m.module.clone(), Arc::new(control::catalog_from_rows(rows, m, 1))))
    };
    Ok(config.modules.iter().filter_map(catalog).collect())
}

fn saved(path: &Path) -> Result<Rows, CliError> {
    let bytes = std::fs::read(path).map_err(|source| CliError::File {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|e| CliError::Argument {
        option: "--catalog",
        reason: format!("{} is not what --save-catalog writes: {e}", path.display()),
    })
}

fn live(config: &Config) -> Result<Rows, CliError> {
    let failed = |source: ControlError| CliError::Control {
        doing: "reading the catalogue",
        source: Box::new(source),
    };
    wait_for(async {
        let pool = control::connect(&config.settings).await?;
        let mut rows = Rows::new();
        for manifest in &config.modules {
            rows.insert(manifest.module.to_string(), control::read_catalog(&pool, manifest).await?);
        }
        Ok(rows)
    })?
    .map_err(failed)
}
