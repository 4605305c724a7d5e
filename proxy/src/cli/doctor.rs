//! `postern doctor`.

use std::io::Write;
use std::path::Path;

use super::{CliError, check, wait_for};
use crate::control::{self, ControlError, doctor};

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// By area, for people.
    Text,
    /// One array of objects.
    Json,
}

pub(super) fn run(file: &Path, format: Format, out: &mut impl Write) -> Result<(), CliError> {
    let config = check::validated(file)?;
    let failed = |source: ControlError| CliError::Control {
        doing: "examining the database",
        source: Box::new(source),
    };
    let findings = wait_for(async {
        let pool = control::connect(&config.settings).await?;
        doctor::examine(&pool, &config).await
    })?
    .map_err(failed)?;
    let text = match format {
        Format::Json => serde_json::to_string_pretty(&findings).expect("strings are JSON") + "\n",
        Format::Text => in_words(&findings),
    };
    out.write_all(text.as_bytes()).map_err(|source| CliError::Stream {
        doing: "write the findings",
        source,
    })?;
    if findings.is_empty() { Ok(()) } else { Err(CliError::Found) }
}

fn in_words(findings: &[doctor::Finding]) -> String {
    if findings.is_empty() {
        return "nothing found: the database is as the manifests say\n".to_owned();
    }
    let mut text = String::new();
    let mut area = None;
    for finding in findings {
        if area != Some(finding.area) {
            text.push_str(&format!("{}\n", finding.area.title()));
            area = Some(finding.area);
        }
        text.push_str(&format!("  {}: {}\n    → {}\n", finding.object, finding.found, finding.fix));
    }
    text
}
