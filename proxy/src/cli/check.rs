//! `postern check`: all mistakes at once; where there are none, what was understood and what each search gives away.

use std::io::Write;
use std::path::Path;

use postern_config::settings::{Enforce, SessionAttrs};
use postern_config::{Config, ConfigError, LoginKind, Manifest, Problem, Search};

use super::CliError;
use crate::identity::JwkSet;
use crate::identity::jwks::JwksProblem;

pub(super) fn run(file: &Path, out: &mut impl Write) -> Result<(), CliError> {
    let config = validated(file)?;
    let keys = issuer_keys(&config)?;
    summary(&config, keys.as_ref(), out).map_err(|source| CliError::Stream {
        doing: "write the summary",
        source,
    })
}

/// Loads the configuration and has PostgreSQL's own parser confirm how the policies read.
pub(super) fn validated(file: &Path) -> Result<Config, CliError> {
    let config = postern_config::load(file)?;
    let mut problems = Vec::new();
    for manifest in &config.modules {
        let file = config.manifest_file(manifest);
        if let Err(misread) = postern_rewriter::verify_policies(manifest) {
            problems.extend(misread.into_iter().map(|(line, message)| Problem {
                file: file.clone(),
                line,
                message,
            }));
        }
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(CliError::Config(ConfigError(problems)))
    }
}

/// The issuer's JWK Set, where one is configured and is there: a check may be made on another host than the one that serves.
fn issuer_keys(config: &Config) -> Result<Option<JwkSet>, CliError> {
    let Some(path) = &config.settings.tokens.jwks_file else {
        return Ok(None);
    };
    match JwkSet::read(path) {
        Ok(set) => Ok(Some(set)),
        Err(error) => match error.problem {
            JwksProblem::Io(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            problem => Err(CliError::Config(ConfigError(vec![Problem {
                file: error.path,
                line: problem.line(),
                message: problem.to_string(),
            }]))),
        },
    }
}

fn summary(config: &Config, keys: Option<&JwkSet>, out: &mut impl Write) -> std::io::Result<()> {
    let settings = &config.settings;
    writeln!(out, "{}: valid", config.file.display())?;
    writeln!(
        out,
        "  listens on     {}, metrics on {}",
        settings.listen.address, settings.admin
    )?;
    let tls = match (&settings.listen.tls, settings.listen.require_tls) {
        (None, _) => "none: clients connect in the clear",
        (Some(_), false) => "offered to clients",
        (Some(_), true) => "required of clients",
    };
    writeln!(out, "  TLS            {tls}")?;
    let upstream = &settings.upstream;
    let secured = if upstream.tls_ca.is_some() { "TLS" } else { "in the clear" };
    let hosts: Vec<String> = upstream.hosts.iter().map(ToString::to_string).collect();
    let which = match (upstream.target_session_attrs, &hosts[..]) {
        (SessionAttrs::Any, [_]) => String::new(),
        (attrs, _) => format!(", {}", attrs.as_str()),
    };
    writeln!(
        out,
        "  upstream       {}/{}, {secured}{which}",
        hosts.join(", "),
        upstream.database
    )?;
    let pool = &settings.pool;
    writeln!(
        out,
        "  pools          {} mode, {} connections for each login, {} may wait {} s",
        pool.mode.as_str(),
        pool.size,
        pool.queue,
        pool.queue_timeout.as_secs()
    )?;
    let locks = match settings.enforce {
        Enforce::Both => "by the proxy and by PostgreSQL's row-level security",
        Enforce::Rewrite => "by the proxy; what is written is checked by PostgreSQL",
        Enforce::Rls => "by PostgreSQL's row-level security; masks and column lists by the proxy",
    };
    writeln!(out, "  row filters    {locks}")?;
    if let Some(path) = &settings.tokens.jwks_file {
        let file = path.display();
        match keys {
            Some(set) => {
                let kids: Vec<&str> = set.kids().collect();
                writeln!(out, "  issuer's keys  {} in {file}", kids.join(", "))?;
            }
            None => writeln!(
                out,
                "  issuer's keys  {file} is not here, so it was not read; `serve` needs it"
            )?,
        }
        for key in keys.map(JwkSet::ignored).unwrap_or_default() {
            let kid = key.kid.as_deref().unwrap_or("(none)");
            writeln!(out, "                 {kid:?} is not used: {}", key.why)?;
        }
    }
    if settings.tokens.dev_issuer {
        writeln!(out, "  tokens         of a DEVELOPMENT issuer, whose private key lies here")?;
    }
    for manifest in &config.modules {
        module(manifest, out)?;
    }
    Ok(())
}

fn module(manifest: &Manifest, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "\nmodule {} (schema {})", manifest.module, manifest.schema)?;
    for login in &manifest.logins {
        let kind = match login.kind {
            LoginKind::Runtime => "runtime",
            LoginKind::Migrator => "migrator",
            LoginKind::Service => "service",
        };
        let ddl = if login.ddl { ", DDL" } else { "" };
        writeln!(out, "  login {} ({kind}{ddl})", login.name)?;
    }
    if manifest.accepts_second_lock_only_bodies {
        writeln!(
            out,
            "  functions may be made: inside a plpgsql body only PostgreSQL's own privileges hold"
        )?;
    }
    for table in &manifest.tables {
        let sealed = table.columns.iter().filter(|c| c.protection.is_some()).count();
        writeln!(
            out,
            "  table {}: {} columns, {sealed} sealed, {} policies{}",
            table.name.name,
            table.columns.len(),
            table.policies.len(),
            if table.policies.is_empty() {
                " (nobody may use it)"
            } else {
                ""
            },
        )?;
        for column in &table.columns {
            let Some(protection) = &column.protection else {
                continue;
            };
            let never = if column.never {
                "; no role may read it through SQL"
            } else {
                ""
            };
            writeln!(out, "    {} {}: {}{never}", column.name, column.ty, leak(&protection.search))?;
        }
    }
    Ok(())
}

/// What somebody who reads the database learns of a column, beyond the size of each value and which are NULL.
fn leak(search: &[Search]) -> String {
    if search.is_empty() {
        return "no search; gives away sizes and NULLs only".to_owned();
    }
    let parts: Vec<&str> = search
        .iter()
        .map(|s| match s {
            Search::Eq => "eq gives away which rows hold the same value, and how often",
            Search::Range => "range: sealed, its search comes in a later version, so it gives away nothing yet",
            Search::Match => "match: sealed, its search comes in a later version, so it gives away nothing yet",
        })
        .collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_search_says_what_it_gives_away() {
        assert!(leak(&[]).contains("sizes"));
        assert!(leak(&[Search::Eq, Search::Match]).contains("same value"));
    }

    #[test]
    fn the_examples_are_valid_and_a_missing_file_is_a_problem() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postern.toml");
        let mut out = Vec::new();
        run(&examples, &mut out).expect("the examples are valid");
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("module disco") && text.contains("eq gives away"), "{text}");
        let missing = run(Path::new("/nonexistent/postern.toml"), &mut Vec::new()).expect_err("nothing is there");
        assert_eq!(missing.exit_code(), 64);
    }
}
