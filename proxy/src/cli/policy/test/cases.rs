//! Files of cases: what is tried, as whom, and what must come of it.
//!
//! A misspelt word is a mistake, and so is a case that nothing could fail. All mistakes are told at once, with file and line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use postern_config::{Config, ConfigError, Login, LoginKind, Manifest, Problem};
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use crate::cli::CliError;
use crate::identity::{mint, policy};

/// How NULL is written among expected values. A text that reads so is not NULL and differs from it.
pub(super) const NULL: &str = "NULL";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    module: Option<String>,
    login: Option<String>,
    #[serde(default)]
    people: BTreeMap<String, Map<String, Value>>,
    #[serde(default)]
    case: Vec<Written>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Spanned<String>,
    module: Option<String>,
    login: Option<String>,
    #[serde(rename = "as")]
    who: Option<Who>,
    #[serde(default)]
    setup: Vec<String>,
    sql: String,
    expect: WrittenExpect,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Who {
    Named(String),
    Claims(Map<String, Value>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenExpect {
    rows: Option<Vec<Vec<toml::Value>>>,
    #[serde(default)]
    ordered: bool,
    columns: Option<Vec<String>>,
    count: Option<u64>,
    #[serde(default)]
    masked: Vec<String>,
    denied: Option<WrittenDenied>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum WrittenDenied {
    Plainly(bool),
    With(String),
    Told(Denied),
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Denied {
    /// Its SQLSTATE.
    pub(super) sqlstate: String,
    /// A part of the message.
    pub(super) message: Option<String>,
    /// A part of the HINT.
    pub(super) hint: Option<String>,
}

/// One row of expected values.
pub(super) type Row = Vec<Option<String>>;

/// What must come of a case; everything that is there must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expect {
    /// It is answered.
    Answered {
        /// Exactly these rows.
        rows: Option<Vec<Row>>,
        /// In this order.
        ordered: bool,
        /// Columns of these names.
        columns: Option<Vec<String>>,
        /// So many rows came or were written.
        count: Option<u64>,
        /// These columns are NULL in every row, and there is a row.
        masked: Vec<String>,
    },
    /// It is refused.
    Denied(Denied),
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) name: String,
    /// `sub` among them.
    pub(super) claims: Map<String, Value>,
}

/// One case, proven usable.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) file: PathBuf,
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) module: postern_config::ModuleName,
    pub(super) login: Login,
    /// `None` is a guest, or the service itself.
    pub(super) person: Option<Person>,
    pub(super) setup: Vec<String>,
    pub(super) sql: String,
    pub(super) expect: Expect,
}

/// Reads files of cases.
pub(super) fn read(files: &[PathBuf], config: &Config) -> Result<Vec<Case>, CliError> {
    let (mut cases, mut problems) = (Vec::new(), Vec::new());
    for path in files {
        let text = std::fs::read_to_string(path).map_err(|source| CliError::File {
            path: path.clone(),
            source,
        })?;
        of_file(path, &text, config, &mut cases, &mut problems);
    }
    problems.sort();
    if problems.is_empty() {
        Ok(cases)
    } else {
        Err(CliError::Config(ConfigError(problems)))
    }
}

fn of_file(path: &Path, text: &str, config: &Config, cases: &mut Vec<Case>, problems: &mut Vec<Problem>) {
    let mut note = |line: usize, message: String| {
        problems.push(Problem {
            file: path.to_owned(),
            line,
            message,
        });
    };
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(e) => {
            let line = e.span().map_or(1, |span| line_of(text, span.start));
            return note(line, format!("{}; see config/examples/README.md", e.message().trim()));
        }
    };
    if file.case.is_empty() {
        note(
            1,
            "the file has no case; write [[case]] with `name`, `sql` and `expect`".to_owned(),
        );
    }
    let defaults = Defaults {
        module: file.module,
        login: file.login,
        people: file.people,
    };
    for written in file.case {
        let line = line_of(text, written.name.span().start);
        if cases.iter().any(|c| c.file == path && c.name == *written.name.get_ref()) {
            note(
                line,
                format!(
                    "a case `{}` is there already; give each a name of its own",
                    written.name.get_ref()
                ),
            );
        }
        match defaults.case(path, line, written, config) {
            Ok(case) => cases.push(case),
            Err(message) => note(line, message),
        }
    }
}

struct Defaults {
    module: Option<String>,
    login: Option<String>,
    people: BTreeMap<String, Map<String, Value>>,
}

impl Defaults {
    fn case(&self, path: &Path, line: usize, written: Written, config: &Config) -> Result<Case, String> {
        let module = written.module.as_ref().or(self.module.as_ref());
        let module = module.ok_or("the case names no module; write `module = \"…\"` in it or at the top of the file")?;
        let manifest = config.modules.iter().find(|m| m.module.as_str() == module);
        let manifest = manifest.ok_or_else(|| {
            let known: Vec<&str> = config.modules.iter().map(|m| m.module.as_str()).collect();
            format!("the configuration has no module `{module}`; there are {}", known.join(", "))
        })?;
        let login = login(manifest, written.login.as_deref().or(self.login.as_deref()))?;
        let person = written.who.map(|who| self.person(who, config)).transpose()?;
        if written.sql.trim().is_empty() {
            return Err("`sql` is empty; write the statement that is tried".to_owned());
        }
        // The parser must not be asked on this thread's stack: whether the text ends its transaction is seen before it runs.
        Ok(Case {
            file: path.to_owned(),
            line,
            name: written.name.into_inner(),
            module: manifest.module.clone(),
            login,
            person,
            setup: written.setup,
            sql: written.sql,
            expect: expect(written.expect)?,
        })
    }

    fn person(&self, who: Who, config: &Config) -> Result<Person, String> {
        let (name, mut claims) = match who {
            Who::Claims(claims) => {
                let name = claims.get("sub").and_then(Value::as_str);
                let name = name.ok_or("claims need a `sub`; without a token leave `as` out")?.to_owned();
                (name, claims)
            }
            Who::Named(name) => match (self.people.get(&name), &config.settings.tokens.dev_people) {
                (Some(claims), _) => (name, claims.clone()),
                (None, Some(path)) => {
                    let claims = mint::person_claims(path, &name, &config.settings.tokens.claims)
                        .map_err(|e| format!("{e}. {}", e.remedy()))?;
                    (name, claims)
                }
                (None, None) => {
                    return Err(format!(
                        "nobody is called `{name}`; write [people.{name}] with claims, or set tokens.dev_people"
                    ));
                }
            },
        };
        claims.entry("sub").or_insert_with(|| name.as_str().into());
        let all = &config.settings.tokens.claims;
        if let Some(unknown) = claims.keys().find(|k| all.iter().all(|c| c.name() != *k)) {
            return Err(format!("there is no claim `{unknown}`; it would silently be missing"));
        }
        policy::known(&claims, all).map_err(|e| format!("the claims of `{name}` are not accepted: {e}"))?;
        Ok(Person { name, claims })
    }
}

fn login(manifest: &Manifest, asked: Option<&str>) -> Result<Login, String> {
    let of = |kind| manifest.logins.iter().find(|l| l.kind == kind);
    let found = match asked {
        None => of(LoginKind::Runtime).or(of(LoginKind::Service)),
        Some("runtime") => of(LoginKind::Runtime),
        Some("service") => of(LoginKind::Service),
        Some("migrator") => of(LoginKind::Migrator),
        Some(name) => manifest.logins.iter().find(|l| l.name.as_str() == name),
    };
    found.cloned().ok_or_else(|| {
        let known: Vec<&str> = manifest.logins.iter().map(|l| l.name.as_str()).collect();
        format!(
            "module {} has no login `{}`; write runtime, service, migrator, or one of {}",
            manifest.module,
            asked.unwrap_or("runtime"),
            known.join(", ")
        )
    })
}

fn expect(written: WrittenExpect) -> Result<Expect, String> {
    let answered = written.rows.is_some() || written.columns.is_some() || written.count.is_some() || !written.masked.is_empty();
    match written.denied {
        None | Some(WrittenDenied::Plainly(false)) if !answered => {
            Err("`expect` says nothing, so nothing could fail; write rows, count, masked or denied".to_owned())
        }
        None | Some(WrittenDenied::Plainly(false)) => {
            if written.ordered && written.rows.is_none() {
                return Err("`ordered` is about `rows`, which is not there".to_owned());
            }
            Ok(Expect::Answered {
                rows: written
                    .rows
                    .map(|rows| rows.iter().map(|r| row(r)).collect::<Result<_, _>>())
                    .transpose()?,
                ordered: written.ordered,
                columns: written.columns,
                count: written.count,
                masked: written.masked,
            })
        }
        Some(_) if answered || written.ordered => Err("`denied` and an answer exclude each other; expect one of them".to_owned()),
        Some(denied) => {
            let denied = match denied {
                WrittenDenied::Told(denied) => denied,
                WrittenDenied::With(sqlstate) => plain(sqlstate),
                WrittenDenied::Plainly(_) => plain("42501".to_owned()),
            };
            let state = &denied.sqlstate;
            if state.len() != 5 || !state.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
                return Err(format!("`{state}` is no SQLSTATE; write five characters such as 42501"));
            }
            Ok(Expect::Denied(denied))
        }
    }
}

fn plain(sqlstate: String) -> Denied {
    Denied {
        sqlstate,
        message: None,
        hint: None,
    }
}

/// Values as PostgreSQL writes them in text.
fn row(written: &[toml::Value]) -> Result<Row, String> {
    let cell = |value: &toml::Value| match value {
        toml::Value::String(text) if text == NULL => Ok(None),
        toml::Value::String(text) => Ok(Some(text.clone())),
        toml::Value::Integer(number) => Ok(Some(number.to_string())),
        toml::Value::Boolean(truth) => Ok(Some(if *truth { "t" } else { "f" }.to_owned())),
        other => Err(format!(
            "`{other}` cannot be compared with what PostgreSQL writes; write it as text"
        )),
    };
    written.iter().map(cell).collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Config {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postern.toml");
        postern_config::load(&file).expect("the examples load")
    }

    fn read_text(text: &str) -> Result<Vec<Case>, Vec<Problem>> {
        let (mut cases, mut problems) = (Vec::new(), Vec::new());
        of_file(Path::new("x.toml"), text, &examples(), &mut cases, &mut problems);
        if problems.is_empty() { Ok(cases) } else { Err(problems) }
    }

    const HEAD: &str = "module = \"disco\"\n[people.bob]\nproject_member_of = [\"PA1\"]\n[[case]]\nname = \"a\"\n";

    #[test]
    fn a_case_has_its_login_its_person_and_its_expectation() {
        let cases = read_text(&format!(
            "{HEAD}as = \"bob\"\nsql = \"SELECT 1\"\nexpect = {{ rows = [[1, true, \"x\", \"NULL\"]] }}\n\
             [[case]]\nname = \"b\"\nlogin = \"service\"\nsql = \"SELECT 1\"\nexpect = {{ denied = true }}\n"
        ))
        .expect("these are cases");
        assert_eq!((cases[0].login.name.as_str(), cases[0].line), ("disco", 5));
        let person = cases[0].person.as_ref().expect("bob asks");
        assert_eq!(person.claims.get("sub"), Some(&Value::from("bob")));
        let text = |t: &str| Some(t.to_owned());
        let Expect::Answered { rows: Some(rows), .. } = &cases[0].expect else {
            panic!("{:?}", cases[0].expect)
        };
        assert_eq!(rows[0], [text("1"), text("t"), text("x"), None]);
        assert_eq!(cases[1].login.name.as_str(), "disco_service");
        assert_eq!(cases[1].expect, Expect::Denied(plain("42501".to_owned())));
    }

    #[test]
    fn what_could_never_fail_or_is_misspelt_is_refused() {
        for (rest, why) in [
            ("sql = \"SELECT 1\"\nexpect = {}", "says nothing"),
            ("sql = \"SELECT 1\"\nexpect = { denied = false }", "says nothing"),
            ("sql = \"SELECT 1\"\nexpect = { denied = true, count = 1 }", "exclude"),
            ("sql = \"SELECT 1\"\nexpect = { denied = \"no\" }", "SQLSTATE"),
            ("sql = \"SELECT 1\"\nexpect = { count = 1, ordered = true }", "ordered"),
            ("sql = \"SELECT 1\"\nexpect = { rows = [[1.5]] }", "write it as text"),
            ("sql = \"SELECT 1\"\nexpect = { row = [[1]] }", "row"),
            ("sql = \" \"\nexpect = { count = 1 }", "empty"),
            (
                "as = \"nobody\"\nsql = \"SELECT 1\"\nexpect = { count = 1 }",
                "nobody is called",
            ),
            ("as = { verified = true }\nsql = \"SELECT 1\"\nexpect = { count = 1 }", "sub"),
            (
                "as = { sub = \"x\", org_admin = [\"A\"] }\nsql = \"SELECT 1\"\nexpect = { count = 1 }",
                "no claim `org_admin`",
            ),
            (
                "as = { sub = \"x\", service = \"disco\" }\nsql = \"SELECT 1\"\nexpect = { count = 1 }",
                "not accepted",
            ),
            (
                "login = \"elsewhere\"\nsql = \"SELECT 1\"\nexpect = { count = 1 }",
                "no login",
            ),
            (
                "module = \"elsewhere\"\nsql = \"SELECT 1\"\nexpect = { count = 1 }",
                "no module",
            ),
            ("sqll = \"SELECT 1\"\nexpect = { count = 1 }", "sqll"),
        ] {
            let problems = read_text(&format!("{HEAD}{rest}\n")).expect_err(rest);
            assert!(problems[0].message.contains(why), "{rest}: {problems:?}");
        }
        assert!(
            read_text("module = \"disco\"\n").is_err(),
            "a file without cases tests nothing"
        );
    }
}
