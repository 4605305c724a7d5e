//! `postern manifest draft`: first manifests from a database that is there already.
//!
//! Only files that are not there are written. What was written is loaded again before anything is said.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use postern_config::ModuleName;
use postern_config::draft::{self, Division};
use postern_config::expr::Claim;

use super::policy::write;
use super::{CliError, check, wait_for};
use crate::control::survey::{Survey, survey};

#[derive(Debug, Subcommand)]
pub(super) enum ManifestCommand {
    /// Writes manifests for a database that is there already, a module for each schema.
    #[command(after_help = "Examples:
  postern manifest draft --database postgresql://dba@db.example.org/shop --out draft
      draft/postern.toml and draft/modules/*.toml, which `postern check --config draft/postern.toml` reads. PGPASSWORD is taken where the
      address has no password.
  postern manifest draft --database postgresql://dba@localhost/shop --schema public=shop --schema billing
      Two schemas, printed: public becomes module shop.
  postern manifest draft --database postgresql://dba@localhost/shop --out draft --claim app.user_id=sub --claim app.org_ids=org_member_of
      Native policies that read these settings become policies about claims.

Reads the catalogue and nothing else. Nobody gets anything by a draft that native policies did not give: a table without any has none.
Which columns to protect is suggested in comments, by their names. Files that are there already are never overwritten.")]
    Draft(DraftArgs),
}

#[derive(Debug, Args)]
pub(super) struct DraftArgs {
    /// The database, as libpq writes it.
    #[arg(long, value_name = "URL")]
    database: String,
    /// Where the files are written; without it they are printed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A schema to take, and the module that it becomes [default: all that are not PostgreSQL's].
    #[arg(long = "schema", value_name = "SCHEMA[=MODULE]")]
    schemas: Vec<String>,
    /// The claim that takes the place of a setting which native policies read.
    #[arg(long = "claim", value_name = "SETTING=CLAIM")]
    claims: Vec<String>,
    /// Require TLS by this CA's certificate.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
}

pub(super) fn run(command: ManifestCommand, out: &mut impl Write) -> Result<(), CliError> {
    let ManifestCommand::Draft(args) = command;
    let (wanted, asked) = schemas(&args.schemas)?;
    let claims = claims(&args.claims)?;
    let password = std::env::var("PGPASSWORD").ok();
    let found = wait_for(survey(&args.database, password.as_deref(), args.tls_ca.as_deref(), &wanted))?;
    let found = found.map_err(|source| CliError::Control {
        doing: "reading the database",
        source: Box::new(source),
    })?;
    if let Some(missing) = wanted.iter().find(|w| found.schemas.iter().all(|s| s.name != **w)) {
        return Err(CliError::Argument {
            option: "--schema",
            reason: format!("the database has no schema `{missing}`"),
        });
    }
    if found.schemas.is_empty() {
        return Err(CliError::Argument {
            option: "--schema",
            reason: "the database has no schema with a table in it".to_owned(),
        });
    }
    let names = found.schemas.iter().map(|s| s.name.as_str());
    let division = Division {
        modules: draft::module_names(names, &found.database, &asked),
        claims,
    };
    let mut files = vec![("postern.toml".to_owned(), settings(&found))];
    for schema in &found.schemas {
        let module = &division.modules[&schema.name];
        files.push((format!("modules/{module}.toml"), draft::manifest(schema, module, &division)));
    }
    match &args.out {
        None => {
            let all: Vec<String> = files.iter().map(|(name, text)| format!("# ==== {name}\n{text}")).collect();
            write(&all.join("\n"), out)
        }
        Some(directory) => {
            written(directory, &files)?;
            let config = check::validated(&directory.join("postern.toml"))?;
            let mut report = String::new();
            for schema in &found.schemas {
                let module = &division.modules[&schema.name];
                let manifest = config.modules.iter().find(|m| m.module == *module);
                let (tables, policies) =
                    manifest.map_or((0, 0), |m| (m.tables.len(), m.tables.iter().map(|t| t.policies.len()).sum()));
                // Writing to a String cannot fail, here and below.
                let _ = writeln!(
                    report,
                    "{}: schema {}, {tables} of {} tables, {policies} policies",
                    directory.join(format!("modules/{module}.toml")).display(),
                    schema.name,
                    schema.tables.len(),
                );
            }
            let _ = writeln!(
                report,
                "{}: say where secrets, keys and the issuer's key lie, then `postern check --config` it",
                directory.join("postern.toml").display()
            );
            write(&report, out)
        }
    }
}

type Asked = (Vec<String>, BTreeMap<String, ModuleName>);

fn schemas(written: &[String]) -> Result<Asked, CliError> {
    let (mut wanted, mut asked) = (Vec::new(), BTreeMap::new());
    for text in written {
        let (schema, module) = text.split_once('=').map_or((text.as_str(), None), |(s, m)| (s, Some(m)));
        wanted.push(schema.to_owned());
        if let Some(module) = module {
            let module = ModuleName::new(module).map_err(|e| CliError::Argument {
                option: "--schema",
                reason: e.to_string(),
            })?;
            if asked.values().any(|other| *other == module) {
                return Err(CliError::Argument {
                    option: "--schema",
                    reason: format!("module `{module}` cannot be two schemas"),
                });
            }
            asked.insert(schema.to_owned(), module);
        }
    }
    Ok((wanted, asked))
}

fn claims(written: &[String]) -> Result<BTreeMap<String, Claim>, CliError> {
    let of = |text: &String| {
        let wrong = |reason: String| CliError::Argument {
            option: "--claim",
            reason,
        };
        let (setting, claim) = text
            .split_once('=')
            .ok_or_else(|| wrong(format!("`{text}` is not SETTING=CLAIM")))?;
        let known: Vec<&str> = Claim::BUILT_IN.into_iter().map(Claim::name).collect();
        let claim = Claim::BUILT_IN
            .into_iter()
            .find(|c| c.name() == claim)
            .ok_or_else(|| wrong(format!("there is no claim `{claim}`; there are {}", known.join(", "))))?;
        Ok((setting.to_owned(), claim))
    };
    written.iter().map(of).collect()
}

/// Settings with what is known of the database; what is not is said where it stands.
fn settings(found: &Survey) -> String {
    let text = |t: &str| toml::Value::from(t).to_string();
    let (host, port) = &found.host;
    format!(
        "# Drafted beside the manifests in modules/. Paths are taken from this file's directory: put the files there, or say where they are.
enforce = \"both\"

[listen]
address = \"127.0.0.1:7432\"

[admin]
address = \"127.0.0.1:9432\"

[upstream]
host = {}
port = {port}
database = {}
control_user = \"postern_control\" # a role that may make roles, schemas and policies
control_password_file = \"secrets/control\"

[secrets] # per login NAME.client and NAME.upstream
dir = \"secrets\"

[keys]
root_file = \"root.key\"
passphrase_file = \"secrets/passphrase\"

[tokens]
issuer = \"https://id.example.org\" # your issuer's name
audience = \"postern\"
public_keys = [\"secrets/issuer.pem\"] # its Ed25519 key
",
        text(host),
        text(&found.database),
    )
}

fn written(directory: &Path, files: &[(String, String)]) -> Result<(), CliError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| CliError::File { path, source }
    };
    let modules = directory.join("modules");
    DirBuilder::new().recursive(true).create(&modules).map_err(failed(&modules))?;
    // All or none: a draft beside older files would be a mixture of two.
    if let Some((name, _)) = files.iter().find(|(name, _)| directory.join(name).exists()) {
        let path = directory.join(name);
        let there = std::io::Error::new(
            std::io::ErrorKind::AlreadyExists,
            "it is there already, and a draft overwrites nothing",
        );
        return Err(CliError::File { path, source: there });
    }
    for (name, text) in files {
        let path = directory.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)
            .map_err(failed(&path))?;
        file.write_all(text.as_bytes()).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_or_refused() {
        let (wanted, asked) = schemas(&["public=shop".to_owned(), "billing".to_owned()]).expect("two schemas");
        assert_eq!(wanted, ["public", "billing"]);
        assert_eq!(asked["public"].as_str(), "shop");
        assert!(schemas(&["public=Not A Module".to_owned()]).is_err());
        assert!(schemas(&["a=m".to_owned(), "b=m".to_owned()]).is_err());
        assert_eq!(claims(&["app.user=sub".to_owned()]).expect("a claim")["app.user"], Claim::Sub);
        assert!(claims(&["app.user=user".to_owned()]).is_err());
        assert!(claims(&["app.user".to_owned()]).is_err());
    }
}
