//! `postern provision [--dry-run]`.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use postern_config::Config;

use super::{CliError, check, wait_for};
use crate::control::{self, ControlError, provision};
use crate::root_key;

pub(super) fn run(file: &Path, dry_run: bool, out: &mut impl Write) -> Result<(), CliError> {
    let config = check::validated(file)?;
    let report = wait_for(async { if dry_run { dry(&config).await } else { apply(&config).await } })??;
    out.write_all(report.as_bytes()).map_err(|source| CliError::Stream {
        doing: "write the report",
        source,
    })
}

fn failed(source: ControlError) -> CliError {
    CliError::Control {
        doing: "provisioning",
        source: Box::new(source),
    }
}

/// What a run would execute; where the database cannot be asked, every step there is.
async fn dry(config: &Config) -> Result<String, CliError> {
    let mut text = String::new();
    let steps = match control::connect(&config.settings).await {
        Ok(pool) => provision::pending(&pool, config).await.map_err(failed)?,
        Err(e) => {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "-- Every step, needed or not, since the database could not be asked: {e}\n"
            );
            provision::sql(config)
        }
    };
    if steps.is_empty() {
        text.push_str("-- nothing to do: the database is as the manifests say\n");
    }
    for step in steps {
        let _ = writeln!(text, "-- {}\n{}\n", step.title, step.sql);
    }
    Ok(text)
}

async fn apply(config: &Config) -> Result<String, CliError> {
    let pool = control::connect(&config.settings).await.map_err(failed)?;
    let (root, made) = root_key::open_or_make(&config.settings.keys, &pool).await?;
    let report = provision::apply(&pool, config, &root).await.map_err(failed)?;
    let mut text = String::new();
    if made {
        let _ = writeln!(
            text,
            "made the root key {}: keep a copy of it and of its passphrase, without them every sealed value is lost",
            config.settings.keys.root_file.display()
        );
    }
    let _ = writeln!(text, "{report}");
    Ok(text)
}
