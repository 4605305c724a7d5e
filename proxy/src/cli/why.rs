//! `postern why`.

use std::fmt::Write as _;
use std::io::Write;

use postern_config::manifest::Operation;
use serde_json::Map;

use super::explain::person;
use super::{CliError, WhyArgs, check, token, wait_for};
use crate::control::why::{Answer, Verdict};
use crate::control::{self, ControlError, why};
use crate::identity;

pub(super) fn run(args: &WhyArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = check::validated(&args.config.config)?;
    let manifest = token::module(&config, &args.module)?;
    let table = manifest.table(&args.table).ok_or_else(|| CliError::Unknown {
        what: "table",
        name: args.table.clone(),
        known: manifest.tables.iter().map(|t| t.name.name.to_string()).collect(),
    })?;
    if args.key.len() != table.primary_key.len() {
        return Err(CliError::Option {
            option: "KEY",
            why: "the row is named by a value for each column of its primary key",
        });
    }
    let protected = |name: &postern_config::Ident| table.column(name.as_str()).is_some_and(|c| c.protection.is_some());
    if table.primary_key.is_empty() || table.primary_key.iter().any(protected) {
        return Err(CliError::Option {
            option: "TABLE",
            why: "a row is found by a plain primary key, which this table does not have",
        });
    }
    let (who, claims) = match &args.person {
        Some(name) => {
            let (name, mut claims) = person(&config, name)?;
            claims.insert("sub".to_owned(), name.as_str().into());
            (name, claims)
        }
        None => ("a guest".to_owned(), Map::new()),
    };
    let mut beneath = table.predicates().map(|e| config.expr_beneath(manifest, e.clone()));
    if beneath.any(|e| !e.claim_tags().is_empty()) {
        return Err(CliError::Option {
            option: "TABLE",
            why: "its policies compare protected columns with claims, by tags that `serve` alone makes",
        });
    }
    let all = &config.told_claims();
    let claims = identity::claim_settings(&claims, all).ok_or(CliError::Secret {
        what: "the person's claims",
        reason: "one of them is not of its type".to_owned(),
    })?;
    let claims: Vec<_> = all.iter().copied().zip(claims).collect();
    let failed = |source: ControlError| CliError::Control {
        doing: "asking why",
        source: Box::new(source),
    };
    let answer = wait_for(async {
        let pool = control::connect(&config.settings).await?;
        why::ask(&pool, (&config, manifest, table), &claims, &args.key).await
    })?
    .map_err(failed)?;
    let text = match &answer {
        Some(answer) => in_words(&who, &args.table, &args.key.join(", "), answer),
        None => format!("{} {}: there is no such row\n", args.table, args.key.join(", ")),
    };
    out.write_all(text.as_bytes()).map_err(|source| CliError::Stream {
        doing: "write the answer",
        source,
    })?;
    match answer {
        Some(answer) if answer.permits(Operation::Select) => Ok(()),
        _ => Err(CliError::Found),
    }
}

fn in_words(who: &str, table: &str, key: &str, answer: &Answer) -> String {
    let mut text = format!("{table} {key}, for {who}\n");
    if !answer.restrictions.is_empty() {
        text.push_str("restrictions, all of which must hold\n");
        answer.restrictions.iter().for_each(|v| tree(&mut text, "", v, 1));
    }
    for (operation, policies) in &answer.operations {
        let (name, rows) = match operation {
            Operation::Select => ("select", "is seen"),
            Operation::Insert => ("insert", "could be written as it is"),
            Operation::Update => ("update", "may be changed"),
            Operation::Delete => ("delete", "may be deleted"),
        };
        let says = if answer.permits(*operation) {
            rows.to_owned()
        } else {
            format!("NOT: no row that {rows}")
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name}: {says}");
        if policies.is_empty() {
            text.push_str("  no policy speaks of it\n");
        }
        for (policy, verdict) in policies {
            tree(&mut text, &format!("{policy}: "), verdict, 1);
        }
    }
    for (column, verdict) in &answer.masks {
        let _ = writeln!(
            text,
            "column {column}: {}",
            if verdict.value == Some(true) { "shown" } else { "masked" }
        );
        tree(&mut text, "", verdict, 1);
    }
    text
}

fn tree(text: &mut String, label: &str, verdict: &Verdict, depth: usize) {
    let (mark, value) = match verdict.value {
        Some(true) => ("✓", "true"),
        Some(false) => ("✗", "false"),
        None => ("✗", "null"),
    };
    let _ = writeln!(text, "{}{mark} {label}{} ({value})", "  ".repeat(depth), verdict.source);
    verdict.parts.iter().for_each(|part| tree(text, "", part, depth + 1));
}
