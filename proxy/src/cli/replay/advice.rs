//! Lines of a manifest that would let a statement through. What must be decided by a person (who may, what is shown) stands there as a
//! comment; nothing here is written into a file.

use postern_config::manifest::Operation;
use postern_config::{Config, LoginKind, Table, TableRef};
use postern_rewriter::catalog::Catalog;
use postern_rewriter::plan::Refusal;

use super::judge::Subject;

/// What would let a refused statement through.
pub(super) fn on_refusal(config: &Config, subject: &Subject, catalog: &Catalog, shown: &str, refusal: &Refusal) -> Vec<String> {
    let manifest = &subject.manifest;
    match (refusal.reason, refusal.sqlstate) {
        ("relation", "42P01") => missing(config, subject, catalog, &refusal.message),
        ("policy", _) => {
            let table = quoted_tail(&refusal.message).and_then(|name| manifest.table(name));
            match (table, operation(shown)) {
                (Some(table), Some(operation)) => policy(table, operation),
                _ => vec!["# a [[table.policy]] that permits the operation and, of an update, these `columns`".to_owned()],
            }
        }
        ("ddl", _) => match manifest.logins.iter().find(|l| l.kind == LoginKind::Migrator) {
            Some(login) => vec![format!(
                "# the schema is changed on login {}; declared tables by the manifest",
                login.name
            )],
            None => vec![format!(
                "login = [{{ name = \"{}_migrator\", kind = \"migrator\" }}]",
                manifest.module
            )],
        },
        ("sealed-operation" | "sealed-flow" | "copy-sealed", _) => {
            vec!["# protect.search of the column, as the hint says; or the statement compares by equality".to_owned()]
        }
        ("immutable-column", _) => vec!["# the column without `immutable = true`".to_owned()],
        ("never-column", _) => vec!["# the column without `never = true`".to_owned()],
        ("column", _) => vec!["# a column of that name, if the table has it: { name = \"…\", type = \"…\" }".to_owned()],
        ("check" | "unsecured", _) => {
            vec!["# nothing: run `postern provision`, with enforce = \"both\" in postern.toml".to_owned()]
        }
        ("size", "54000") => vec!["# limits.max_sql_bytes in postern.toml, where the statement is too long".to_owned()],
        ("syntax", _) => vec!["# nothing: PostgreSQL does not read it either".to_owned()],
        _ => vec!["# no line of a manifest lets it through; change the statement as the hint says".to_owned()],
    }
}

/// A table that is not there for the module.
fn missing(config: &Config, subject: &Subject, catalog: &Catalog, message: &str) -> Vec<String> {
    let Some(name) = quoted(message) else { return Vec::new() };
    let (schema, table) = name.rsplit_once('.').map_or((None, name), |(s, t)| (Some(s), t));
    let own = subject.manifest.schema.as_str();
    let owner = config.modules.iter().find(|m| {
        m.module != subject.manifest.module && schema.is_some_and(|s| s == m.schema.as_str()) && m.table(table).is_some()
    });
    if let Some(owner) = owner {
        return vec![format!(
            "# {name} is module {}'s, which no line here can read: carry the fact in a claim, or ask that module for it",
            owner.module
        )];
    }
    if schema.is_some_and(|s| s != own) {
        return vec![format!(
            "# {name} lies outside the module's schema {own}; its tables are those of that schema"
        )];
    }
    let (Ok(schema), Ok(table)) = (postern_config::Ident::new(own), postern_config::Ident::new(table)) else {
        return Vec::new();
    };
    declare(catalog, &TableRef { schema, name: table })
}

/// A declaration of a table, with its columns where the catalogue has it.
fn declare(catalog: &Catalog, table: &TableRef) -> Vec<String> {
    let text = |t: &str| toml::Value::from(t).to_string();
    let mut lines = vec!["[[table]]".to_owned(), format!("name = {}", text(table.name.as_str()))];
    let found = catalog.relation(table.schema.as_str(), table.name.as_str());
    match found.and_then(|r| r.columns.as_ref()) {
        Some(columns) => {
            lines.push("column = [".to_owned());
            let each = columns.iter();
            lines.extend(each.map(|c| format!("  {{ name = {}, type = {} }},", text(&c.name), text(&c.ty.to_string()))));
            lines.push("]".to_owned());
        }
        None => lines.push("column = [] # the database has no such table; where it is to come, name its columns".to_owned()),
    }
    lines.push("# keys and policies: `postern manifest draft`; without a policy nobody reads it".to_owned());
    lines
}

/// A policy for an operation that none permits; who may is a person's to say.
pub(super) fn policy(table: &Table, operation: Operation) -> Vec<String> {
    let predicate = if operation == Operation::Insert { "check" } else { "using" };
    vec![
        format!("[[table.policy]] # of {}", table.name.name),
        format!("name = \"{}\"", operation.as_str()),
        format!("for = [\"{}\"]", operation.as_str()),
        format!("{predicate} = \"false\" # say who may; `false` permits nobody"),
    ]
}

/// What stands between the first double quotes.
fn quoted(message: &str) -> Option<&str> {
    message.split('"').nth(1)
}

/// The last word.
fn quoted_tail(message: &str) -> Option<&str> {
    message.rsplit(' ').next()
}

fn operation(shown: &str) -> Option<Operation> {
    let words = shown.split_whitespace();
    let mut written = words.filter_map(|w| {
        let word = w.trim_start_matches('(').to_ascii_lowercase();
        Operation::ALL
            .into_iter()
            .find(|o| *o != Operation::Select && o.as_str() == word)
    });
    written.next_back()
}
