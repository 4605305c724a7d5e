//! `[[login]]`: who may log in for a module.

use std::collections::BTreeSet;

use super::document::{At, Notes, Section};
use crate::manifest::{Login, LoginKind};
use crate::names::LoginName;

pub(super) fn read(root: &mut Section<'_, '_>, notes: &mut Notes) -> Vec<At<Login>> {
    let mut logins: Vec<At<Login>> = Vec::new();
    let mut names = BTreeSet::new();
    for mut section in root.sections("login", notes) {
        let login = one(&mut section, notes);
        section.finish(notes);
        let Some(login) = login else { continue };
        if !names.insert(login.value.name.as_str().to_owned()) {
            notes.add(
                login.line,
                format!("the login `{}` is declared twice; rename or remove one", login.value.name),
            );
        }
        logins.push(login);
    }
    logins
}

fn one(section: &mut Section<'_, '_>, notes: &mut Notes) -> Option<At<Login>> {
    let name = section.need_text("name", "\"disco\"", notes);
    let kind = section.need_text("kind", "\"runtime\"", notes);
    let ddl = section.flag("ddl", notes);
    let line = name.as_ref().map_or(section.line(), |n| n.line);
    let name = name.and_then(|n| match LoginName::new(&n.value) {
        Ok(name) => Some(name),
        Err(e) => {
            notes.add(n.line, format!("{e}; a login is lower-case letters, digits and underscores"));
            None
        }
    });
    let kind = kind.and_then(|k| {
        let kind = match k.value.as_str() {
            "runtime" => LoginKind::Runtime,
            "migrator" => LoginKind::Migrator,
            "service" => LoginKind::Service,
            other => {
                notes.add(
                    k.line,
                    format!("there is no kind of login `{other}`; write \"runtime\", \"migrator\" or \"service\""),
                );
                return None;
            }
        };
        Some(kind)
    })?;
    let ddl = match (kind, ddl) {
        (LoginKind::Migrator, Some(At { value: false, line })) => {
            notes.add(
                line,
                "a migrator exists to run DDL; remove `ddl = false`, or make the login a service",
            );
            true
        }
        (LoginKind::Runtime, Some(At { value: true, line })) => {
            notes.add(
                line,
                "a runtime login serves users and may not run DDL; remove `ddl`, and use a migrator for that",
            );
            false
        }
        (LoginKind::Migrator, _) => true,
        (_, ddl) => ddl.is_some_and(|d| d.value),
    };
    Some(At {
        value: Login { name: name?, kind, ddl },
        line,
    })
}
