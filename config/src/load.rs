//! From `postern.toml` and `modules/*.toml` to a [`Config`] that has been proven usable, or to **all** mistakes in them.
//!
//! Nothing is ignored: an unknown key is a mistake, and so is a predicate that is not wholly understood. Reading goes on after a
//! mistake, so that an operator sees the whole list at once; whatever depends on something already reported stays silent.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::expr::Claim;
use crate::settings::Config;

mod allowance;
mod claims;
pub(crate) mod column;
mod document;
mod exchange;
mod keys;
mod login;
mod lookups;
mod module;
mod policies;
mod pool;
mod preset;
mod protection;
mod roles;
mod settings;
mod table;
mod upstream;

use document::Notes;
pub(crate) use document::nearest;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file it is in.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, then what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `file:line: message`, as compilers write it and editors read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// All mistakes found.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem(s)", .0.len())]
pub struct ConfigError(pub Vec<Problem>);

/// Reads `postern.toml` and the manifests in `modules/*.toml` beside it.
///
/// Problems come sorted by file and line. Files are opened for reading only; those that settings point at (secrets, certificates)
/// are not looked at here.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    let mut problems = Vec::new();
    let config = read_all(file, &mut problems);
    problems.sort();
    problems.dedup();
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigError(problems)),
    }
}

fn read_all(file: &Path, problems: &mut Vec<Problem>) -> Option<Config> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let (settings, restriction, named, claims) = match read(file, problems) {
        Some(text) => {
            let mut notes = Notes::new(file, &text);
            let read = settings::read(&text, directory, &mut notes);
            problems.extend(notes.into_problems());
            (read.settings, read.restriction, read.named, read.claims)
        }
        None => (None, None, Default::default(), Claim::BUILT_IN.to_vec()),
    };
    let files = manifest_files(&directory.join("modules"), problems);
    let count = files.len();
    let texts: Vec<(PathBuf, String)> = files
        .into_iter()
        .filter_map(|path| read(&path, problems).map(|text| (path, text)))
        .collect();
    let modules = read_modules(&texts, restriction.as_ref(), &claims, problems);
    module::check_together(&modules, settings.as_ref(), problems);
    if modules.len() == count {
        exchange::check_together(&modules, problems);
        lookups::check_together(&modules, problems);
        let manifests: Vec<_> = modules.iter().map(|(_, m)| &m.manifest).collect();
        named.check(file, &manifests, problems);
    }
    let mut modules: Vec<_> = modules.into_iter().map(|(_, m)| Arc::new(m.manifest)).collect();
    modules.sort_by(|a, b| a.module.cmp(&b.module));
    Some(Config {
        file: file.to_owned(),
        settings: settings?,
        modules,
    })
}

/// In two passes over all of them: policies look at columns of tables that are imported.
fn read_modules(
    texts: &[(PathBuf, String)],
    restriction: Option<&(document::At<String>, crate::expr::Expr)>,
    claims: &[Claim],
    problems: &mut Vec<Problem>,
) -> Vec<(PathBuf, module::Read)> {
    let mut notes: Vec<Notes> = texts.iter().map(|(path, text)| Notes::new(path, text)).collect();
    let documents: Vec<_> = texts
        .iter()
        .zip(&mut notes)
        .map(|((_, text), notes)| document::parse(text, notes))
        .collect();
    let begun: Vec<_> = texts
        .iter()
        .zip(&documents)
        .zip(&mut notes)
        .map(|(((path, _), document), notes)| module::begin(document, path, claims, notes))
        .collect();
    let offered: Vec<_> = begun.iter().map(module::Begun::offered).collect();
    let mut modules = Vec::new();
    for (((path, _), begun), mut notes) in texts.iter().zip(begun).zip(notes) {
        let found = begun.finish(restriction, claims, &offered, &mut notes);
        problems.extend(notes.into_problems());
        modules.extend(found.map(|module| (path.clone(), module)));
    }
    modules
}

fn read(path: &Path, problems: &mut Vec<Problem>) -> Option<String> {
    let complaint = match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => return Some(text),
        Ok(Err(_)) => "the file is not UTF-8; save it as UTF-8".to_owned(),
        Err(e) => format!("the file cannot be read ({e}); check the path and its permissions"),
    };
    problems.push(Problem {
        file: path.to_owned(),
        line: 1,
        message: complaint,
    });
    None
}

/// The manifests, by name, so that reports come in the same order everywhere.
fn manifest_files(directory: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut complain = |message: String| {
        problems.push(Problem {
            file: directory.to_owned(),
            line: 1,
            message,
        });
    };
    let entries = match std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(entries) => entries,
        Err(e) => {
            complain(format!(
                "the manifests' directory cannot be read ({e}); make `modules/` beside the configuration file"
            ));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|x| x == "toml"))
        .collect();
    if files.is_empty() {
        complain("no module is described here; write one manifest per module, such as `disco.toml`".to_owned());
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests;
