//! Names for modules, and what columns' names suggest.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::ModuleName;

/// Room for `_migrator` behind it.
const LONGEST_MODULE: usize = 38;

/// A module's name that is as close to `text` as one can be.
pub fn module_name(text: &str) -> ModuleName {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if name.len() >= LONGEST_MODULE {
            break;
        }
        match c {
            'a'..='z' | '0'..='9' | '_' => name.push(c),
            _ if name.ends_with('_') => {}
            _ => name.push('_'),
        }
    }
    let trimmed = name.trim_matches('_');
    let begins = trimmed.starts_with(|c: char| c.is_ascii_lowercase());
    let reserved = trimmed.starts_with("pg_") || trimmed == "postern" || trimmed.starts_with("postern_") || trimmed.is_empty();
    let name = if begins && !reserved {
        trimmed.to_owned()
    } else {
        format!("m_{trimmed}")
    };
    let name = name.trim_end_matches('_');
    ModuleName::new(if name == "m" { "module" } else { name }).expect("made of the characters that a module's name takes")
}

/// A module for each schema; `asked` are those that somebody named. The schema `public` is called as the database.
pub fn module_names<'s>(
    schemas: impl IntoIterator<Item = &'s str>,
    database: &str,
    asked: &BTreeMap<String, ModuleName>,
) -> BTreeMap<String, ModuleName> {
    let mut taken: BTreeSet<String> = asked.values().map(|m| m.as_str().to_owned()).collect();
    let mut modules = asked.clone();
    for schema in schemas {
        if modules.contains_key(schema) {
            continue;
        }
        let wanted = module_name(if schema == "public" { database } else { schema });
        // Its logins are `NAME`, `NAME_migrator` and `NAME_service`, its owner `NAME_owner`.
        let clashes = |name: &str| {
            taken.iter().any(|t| {
                t == name
                    || ["_migrator", "_service", "_owner"]
                        .iter()
                        .any(|end| format!("{t}{end}") == name || format!("{name}{end}") == *t)
            })
        };
        let mut name = wanted.as_str().to_owned();
        let mut number = 2;
        while clashes(&name) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        taken.insert(name.clone());
        modules.insert(
            schema.to_owned(),
            ModuleName::new(&name).expect("a name with a number behind it"),
        );
    }
    modules
}

/// Parts of names, and what a column that is called so is likely to hold.
const TELLING: &[(&str, &str, &str)] = &[
    ("password", "a password", "protect = { search = [] }, never = true"),
    ("passwd", "a password", "protect = { search = [] }, never = true"),
    ("pwd", "a password", "protect = { search = [] }, never = true"),
    ("secret", "a secret", "protect = { search = [] }, never = true"),
    ("token", "a token", "protect = { search = [\"eq\"] }"),
    ("apikey", "a key", "protect = { search = [\"eq\"] }"),
    ("api_key", "a key", "protect = { search = [\"eq\"] }"),
    ("privatekey", "a key", "protect = { search = [] }, never = true"),
    ("private_key", "a key", "protect = { search = [] }, never = true"),
    ("email", "an e-mail address", "protect = { search = [\"eq\"] }"),
    ("e_mail", "an e-mail address", "protect = { search = [\"eq\"] }"),
    ("phone", "a telephone number", "protect = { search = [\"eq\"] }"),
    ("mobile", "a telephone number", "protect = { search = [\"eq\"] }"),
    ("ssn", "a social security number", "protect = { search = [\"eq\"] }"),
    (
        "social_security",
        "a social security number",
        "protect = { search = [\"eq\"] }",
    ),
    ("passport", "a passport's number", "protect = { search = [\"eq\"] }"),
    ("iban", "an account's number", "protect = { search = [\"eq\"] }"),
    ("card_number", "a card's number", "protect = { search = [\"eq\"] }"),
    ("birth", "a date of birth", "protect = { search = [] }"),
    ("dob", "a date of birth", "protect = { search = [] }"),
    ("address", "an address", "protect = { search = [] }"),
    ("street", "an address", "protect = { search = [] }"),
    ("first_name", "a person's name", "protect = { search = [\"eq\"] }"),
    ("last_name", "a person's name", "protect = { search = [\"eq\"] }"),
    ("full_name", "a person's name", "protect = { search = [\"eq\"] }"),
    ("surname", "a person's name", "protect = { search = [\"eq\"] }"),
    ("salary", "an income", "protect = { search = [] }"),
    ("diagnos", "a diagnosis", "protect = { search = [] }"),
    ("health", "a state of health", "protect = { search = [] }"),
    ("latitude", "a place", "protect = { search = [] }"),
    ("longitude", "a place", "protect = { search = [] }"),
    ("ip_address", "an address of the network", "protect = { search = [\"eq\"] }"),
];

/// What a column's name suggests: what it may hold, and what would protect it.
pub(super) fn suggested(column: &str) -> Option<(&'static str, &'static str)> {
    let name = column.to_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).collect();
    TELLING.iter().find_map(|(part, what, protect)| {
        // Short ones are words of their own: `session` holds no ssn.
        let found = if part.len() <= 4 {
            words.contains(part)
        } else {
            name.contains(part)
        };
        found.then_some((*what, *protect))
    })
}
