//! `[roles.NAME]`: who somebody is, said once for all tables, and `roles` in policies.
//!
//! A role is a predicate over claims and over what it is scoped by (an organisation, a project). Whoever has a role has every role that it
//! `inherits`. All of it ends here: a policy that names roles becomes a policy whose predicates say what the roles say, so that every
//! way of enforcing and every tool meets plain predicates.
//!
//! On a table a scope's name stands for the column of that name, or for the one that the table's `scope` says. Where a table has no such
//! column, its rows may lie in the scope of rows of another table that they refer to (`scope_through`): the role then becomes a subquery
//! there. A role that can be placed neither way is a mistake where a policy names it.

use std::collections::BTreeMap;

use super::document::{At, Notes, Section};
use super::module::identifier;
use super::nearest;
use super::table::{Draft, Through};
use crate::expr::{Claim, Expr, InSelect};
use crate::manifest::{self, Written};
use crate::names::{Ident, ModuleName, TableRef, quote_ident};
use crate::policy::any;
use crate::predicate::{self, Scope, Shape, ShapeColumn, ShapeKind};

/// The roles of a module, in the order written.
pub(super) struct Roles {
    roles: Vec<Role>,
}

struct Role {
    name: Ident,
    when: At<String>,
    scope: Vec<Ident>,
    /// Whoever has one of these has this one: itself first.
    held_by: Vec<usize>,
}

/// Where the tables of a module have what roles are scoped by.
pub(super) struct Places<'r> {
    roles: &'r Roles,
    module: &'r ModuleName,
    shapes: &'r [Shape],
    claims: &'r [Claim],
    places: Vec<Place>,
    /// Roles of which everything wrong has been said already, by number.
    broken: Vec<usize>,
    /// What each of the others says.
    whens: Vec<(usize, Expr)>,
}

#[derive(Default)]
struct Place {
    /// Scope names, and the columns that stand for them.
    columns: Vec<(Ident, Ident)>,
    /// The other table, by number, and the subquery that finds its rows; its predicate is still to be filled in.
    through: Option<(usize, InSelect)>,
}

/// Reads all roles of a manifest.
pub(super) fn read(root: &mut Section<'_, '_>, notes: &mut Notes) -> Roles {
    let mut written = root
        .section("roles", notes)
        .map(|s| s.named("roles", notes))
        .unwrap_or_default();
    written.sort_by_key(|(name, _)| name.line);
    let mut roles = Vec::new();
    let mut inherits: Vec<Vec<At<String>>> = Vec::new();
    for (name, mut section) in written {
        let when = section.need_text("when", "\"claim.sub IS NOT NULL\"", notes);
        let scope = section.texts("scope", notes);
        let parents = section.texts("inherits", notes);
        section.finish(notes);
        let (Some(name), Some(when)) = (identifier(&name, notes), when) else {
            continue;
        };
        let scope = scope.map(|s| scope_names(&s.value, notes)).unwrap_or_default();
        check_used(&name.value, &when, &scope, notes);
        roles.push(Role {
            name: name.value,
            when,
            scope,
            held_by: Vec::new(),
        });
        inherits.push(parents.map(|p| p.value).unwrap_or_default());
    }
    inherit(&mut roles, &inherits, notes);
    Roles { roles }
}

fn scope_names(written: &[At<String>], notes: &mut Notes) -> Vec<Ident> {
    let mut names: Vec<Ident> = Vec::new();
    for text in written {
        let Some(name) = identifier(text, notes) else { continue };
        if names.contains(&name.value) {
            notes.add(text.line, format!("`scope` names `{}` twice; remove one", text.value));
        } else {
            names.push(name.value);
        }
    }
    names
}

/// A scope that `when` does not look at would decide where the role can be placed, and nothing else.
fn check_used(name: &Ident, when: &At<String>, scope: &[Ident], notes: &mut Notes) {
    for unused in scope.iter().filter(|s| !mentions(&when.value, s.as_str())) {
        notes.add(
            when.line,
            format!(
                "the role `{name}` is scoped by `{unused}`, but `when` does not look at it; use it, or remove it from `scope`"
            ),
        );
    }
}

/// Whether a predicate holds a word. It need not tell a name from a string: that is the parser's work.
fn mentions(text: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part_of_name) && !text[at + word.len()..].starts_with(part_of_name))
}

/// Resolves `inherits` and settles who holds what; circles are mistakes.
fn inherit(roles: &mut [Role], inherits: &[Vec<At<String>>], notes: &mut Notes) {
    let names: Vec<String> = roles.iter().map(|r| r.name.to_string()).collect();
    let count = roles.len();
    // `above[a][b]`: whoever has a has b.
    let mut above = vec![vec![false; count]; count];
    for (role, parents) in inherits.iter().enumerate() {
        for parent in parents {
            match names.iter().position(|n| *n == parent.value) {
                Some(found) if above[role][found] => {
                    notes.add(parent.line, format!("`inherits` names `{}` twice; remove one", parent.value));
                }
                Some(found) => above[role][found] = true,
                None => notes.add(
                    parent.line,
                    format!("there is no role `{}`; {}", parent.value, meant(&parent.value, &names)),
                ),
            }
        }
    }
    for middle in 0..count {
        let beyond = above[middle].clone();
        for row in above.iter_mut().filter(|row| row[middle]) {
            row.iter_mut().zip(&beyond).for_each(|(a, b)| *a |= *b);
        }
    }
    for role in 0..count {
        let circle: Vec<usize> = (0..count).filter(|o| above[role][*o] && above[*o][role]).collect();
        if circle.first() == Some(&role) {
            let members: Vec<String> = circle.iter().map(|r| format!("`{}`", names[*r])).collect();
            notes.add(
                roles[role].when.line,
                format!(
                    "roles may not inherit in a circle ({}); remove one `inherits`",
                    members.join(", ")
                ),
            );
        }
        let heirs = (0..count).filter(|o| *o != role && above[*o][role]);
        roles[role].held_by = std::iter::once(role).chain(heirs).collect();
    }
}

fn meant(typed: &str, names: &[String]) -> String {
    match nearest(typed, names.iter().map(String::as_str)) {
        Some(close) => format!("did you mean `{close}`?"),
        None if names.is_empty() => "declare it as `[roles.NAME]` with `when`".to_owned(),
        None => format!("declare it as `[roles.NAME]`, or write one of {}", names.join(", ")),
    }
}

impl Roles {
    fn scope_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.roles.iter().flat_map(|r| &r.scope).map(Ident::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Finds in every table what roles are scoped by, and checks each role by itself.
    pub(super) fn place<'r>(
        &'r self,
        drafts: &[Draft<'_, '_>],
        module: &'r ModuleName,
        shapes: &'r [Shape],
        claims: &'r [Claim],
        predicates: &mut Vec<Written>,
        notes: &mut Notes,
    ) -> Places<'r> {
        let (mut broken, mut whens) = (Vec::new(), Vec::new());
        for (number, role) in self.roles.iter().enumerate() {
            let shape = role.shape(None, module);
            match predicate::parse(&role.when.value, role.scope_in(&shape, module, shapes, claims)) {
                Ok(expr) => {
                    whens.push((number, expr.clone()));
                    predicates.push(Written {
                        line: role.when.line,
                        text: role.when.value.clone(),
                        expr,
                    });
                }
                Err(complaints) => {
                    broken.push(number);
                    for complaint in complaints {
                        notes.add(role.when.line, format!("role `{}`: {complaint}", role.name));
                    }
                }
            }
        }
        let mut places: Vec<Place> = drafts
            .iter()
            .zip(shapes)
            .map(|(draft, shape)| {
                let columns = self.scope_columns(draft, shape, notes);
                let through = draft
                    .through
                    .as_ref()
                    .and_then(|t| through(t, shape, drafts, module, shapes, notes));
                Place { columns, through }
            })
            .collect();
        // Of an import, columns of the very names.
        places.extend(shapes.iter().skip(drafts.len()).map(|shape| Place {
            columns: named_alike(&self.scope_names(), shape, BTreeMap::new()),
            through: None,
        }));
        check_circles(&places, drafts, notes);
        Places {
            roles: self,
            module,
            shapes,
            claims,
            places,
            broken,
            whens,
        }
    }

    /// `scope` of a table, then columns of the very names.
    fn scope_columns(&self, draft: &Draft<'_, '_>, shape: &Shape, notes: &mut Notes) -> Vec<(Ident, Ident)> {
        let names = self.scope_names();
        let mut columns = BTreeMap::new();
        for (name, column) in &draft.scope {
            if !names.contains(&name.value.as_str()) {
                let remedy = match nearest(&name.value, names.iter().copied()) {
                    Some(close) => format!("did you mean `{close}`?"),
                    None => "name it in `scope` of a role, or remove it".to_owned(),
                };
                notes.add(name.line, format!("no role is scoped by `{}`; {remedy}", name.value));
                continue;
            }
            if let [found] = draft.resolve(std::slice::from_ref(column), "`scope`", notes).as_slice() {
                columns.insert(name.value.as_str(), found.clone());
            }
        }
        named_alike(&names, shape, columns)
    }
}

/// The columns that stand for scope names: those said, then those of the very names.
fn named_alike<'n>(names: &[&'n str], shape: &Shape, mut said: BTreeMap<&'n str, Ident>) -> Vec<(Ident, Ident)> {
    for name in names {
        if let Some(column) = shape.columns.iter().find(|c| c.name.as_str() == *name) {
            said.entry(name).or_insert_with(|| column.name.clone());
        }
    }
    let columns = said.into_iter();
    columns
        .filter_map(|(name, column)| Some((Ident::new(name).ok()?, column)))
        .collect()
}

/// The subquery of `scope_through`, read as a predicate, so that its names and types are checked as those of any other.
fn through(
    through: &Through,
    shape: &Shape,
    drafts: &[Draft<'_, '_>],
    module: &ModuleName,
    shapes: &[Shape],
    notes: &mut Notes,
) -> Option<(usize, InSelect)> {
    let target = shapes.iter().position(|s| s.name.name.as_str() == through.table.value);
    let key = target.map(|t| drafts.get(t).map_or(&[][..], |d| &d.table.primary_key));
    let references = match (&through.references, key) {
        (Some(references), _) => references.value.clone(),
        (None, Some([key])) => key.to_string(),
        // It is missing; the predicate's reader says so.
        (None, None) => "id".to_owned(),
        (None, Some(_)) if target.is_some_and(|t| t >= drafts.len()) => {
            notes.add(
                through.table.line,
                format!(
                    "`{}` is imported; say with `references` which of its columns `scope_through` is compared with",
                    through.table.value
                ),
            );
            return None;
        }
        (None, Some(_)) => {
            notes.add(
                through.table.line,
                format!(
                    "`{}` has no primary key of one column; say with `references` which column `scope_through` is compared with",
                    through.table.value
                ),
            );
            return None;
        }
    };
    let text = format!(
        "{} IN (SELECT {} FROM {} WHERE true)",
        quote_ident(&through.column.value),
        quote_ident(&references),
        quote_ident(&through.table.value)
    );
    let scope = Scope {
        module,
        table: shape,
        tables: shapes,
        claims: &[],
    };
    match predicate::parse(&text, scope) {
        Ok(Expr::InSelect(select)) => Some((target?, *select)),
        Ok(_) => None,
        Err(complaints) => {
            for complaint in complaints {
                notes.add(through.column.line, format!("`scope_through`: {complaint}"));
            }
            None
        }
    }
}

/// Whoever follows `scope_through` must arrive.
fn check_circles(places: &[Place], drafts: &[Draft<'_, '_>], notes: &mut Notes) {
    for (start, place) in places.iter().enumerate() {
        let mut seen = Vec::new();
        let mut next = place.through.as_ref().map(|(t, _)| *t);
        while let Some(at) = next
            && !seen.contains(&at)
        {
            seen.push(at);
            next = places[at].through.as_ref().map(|(t, _)| *t);
        }
        // Each circle once, where its first table stands.
        if seen.contains(&start) && seen.iter().all(|t| *t >= start) {
            let line = drafts[start].through.as_ref().map_or(drafts[start].line, |t| t.table.line);
            let names: Vec<String> = seen.iter().map(|t| format!("`{}`", drafts[*t].table.name.name)).collect();
            notes.add(
                line,
                format!(
                    "`scope_through` goes in a circle ({}); let one of them name its columns in `scope` instead",
                    names.join(", ")
                ),
            );
        }
    }
}

impl Role {
    /// What `when` may look at: the scope's names, of the types that their columns have on a table.
    fn shape(&self, on: Option<(&Shape, &Place)>, module: &ModuleName) -> Shape {
        let columns = self.scope.iter().map(|name| {
            let found = on.and_then(|(shape, place)| {
                let (_, column) = place.columns.iter().find(|(n, _)| n == name)?;
                shape.columns.iter().find(|c| c.name == *column)
            });
            ShapeColumn {
                name: name.clone(),
                ty: found.and_then(|c| c.ty.clone()),
                protected: found.is_some_and(|c| c.protected),
                // Its tag would stand under another name.
                eq: false,
                never: found.is_some_and(|c| c.never),
            }
        });
        Shape {
            name: match on {
                Some((shape, _)) => shape.name.clone(),
                None => TableRef {
                    schema: Ident::new(module.as_str()).expect("a module's name is an identifier"),
                    name: self.name.clone(),
                },
            },
            columns: columns.collect(),
            kind: ShapeKind::Role,
        }
    }

    fn scope_in<'s>(&self, shape: &'s Shape, module: &'s ModuleName, shapes: &'s [Shape], claims: &'s [Claim]) -> Scope<'s> {
        Scope {
            module,
            table: shape,
            tables: shapes,
            claims,
        }
    }
}

impl Places<'_> {
    /// The claims that predicates may read.
    pub(super) fn claims(&self) -> &[Claim] {
        self.claims
    }

    /// The roles by themselves.
    pub(super) fn said(&self) -> Vec<manifest::Role> {
        let all = &self.roles.roles;
        let role = |(number, when): &(usize, Expr)| {
            let below = (0..all.len()).filter(|other| other != number && all[*other].held_by.contains(number));
            manifest::Role {
                name: all[*number].name.clone(),
                when: when.clone(),
                inherits: below.map(|other| all[other].name.clone()).collect(),
            }
        };
        self.whens.iter().map(role).collect()
    }

    /// Who has one of these roles for a row of table number `table`. `None` where something is wrong, and noted.
    pub(super) fn holders(&self, table: usize, names: &[At<String>], notes: &mut Notes) -> Option<Expr> {
        let known: Vec<String> = self.roles.roles.iter().map(|r| r.name.to_string()).collect();
        let mut holders = Vec::new();
        let mut whole = true;
        for (n, name) in names.iter().enumerate() {
            let Some(role) = self.roles.roles.iter().find(|r| r.name.as_str() == name.value) else {
                notes.add(
                    name.line,
                    format!("there is no role `{}`; {}", name.value, meant(&name.value, &known)),
                );
                whole = false;
                continue;
            };
            if names[..n].iter().any(|other| other.value == name.value) {
                notes.add(name.line, format!("`roles` names `{}` twice; remove one", name.value));
            }
            for number in &role.held_by {
                let heir = &self.roles.roles[*number];
                if self.broken.contains(number) {
                    whole = false;
                    continue;
                }
                match self.on(heir, table, notes) {
                    Found::Here(expr) => holders.push(expr),
                    Found::Mistake => whole = false,
                    // Nobody has that role for a row that lies in no such scope; for a role without scope its heirs need not be there.
                    Found::Nowhere if heir.name != role.name && role.scope.is_empty() => {}
                    Found::Nowhere => {
                        whole = false;
                        self.nowhere(name, role, heir, table, notes);
                    }
                }
            }
        }
        whole.then(|| any(merged(holders)))
    }

    fn nowhere(&self, name: &At<String>, role: &Role, heir: &Role, table: usize, notes: &mut Notes) {
        let place = &self.places[table];
        let missing = heir.scope.iter().find(|s| !place.columns.iter().any(|(n, _)| n == *s));
        let missing = missing.unwrap_or(&heir.name);
        let whose = if heir.name == role.name {
            format!("the role `{}` is", role.name)
        } else {
            format!("the role `{}` is inherited by `{}`, which is", role.name, heir.name)
        };
        notes.add(
            name.line,
            format!(
                "{whose} scoped by `{missing}`, and {} has no such column; write `scope = {{ {missing} = \"COLUMN\" }}` in the table, or \
                 `scope_through` where another table has it",
                self.shapes[table].name
            ),
        );
    }

    fn on(&self, role: &Role, table: usize, notes: &mut Notes) -> Found {
        self.on_within(role, table, self.places.len(), notes)
    }

    /// `left` bounds the way through other tables: a circle was noted when the places were read.
    fn on_within(&self, role: &Role, table: usize, left: usize, notes: &mut Notes) -> Found {
        let (place, shape) = (&self.places[table], &self.shapes[table]);
        let column = |name: &Ident| place.columns.iter().find(|(n, _)| n == name).map(|(_, c)| c);
        if role.scope.iter().any(|name| column(name).is_none()) {
            let Some((target, select)) = &place.through else {
                return Found::Nowhere;
            };
            if left == 0 {
                return Found::Mistake;
            }
            return match self.on_within(role, *target, left - 1, notes) {
                Found::Here(predicate) => Found::Here(Expr::InSelect(Box::new(InSelect {
                    predicate,
                    ..select.clone()
                }))),
                other => other,
            };
        }
        let own = role.shape(Some((shape, place)), self.module);
        match predicate::parse(&role.when.value, role.scope_in(&own, self.module, self.shapes, self.claims)) {
            Ok(expr) => Found::Here(expr.with_columns(&|name| column(name).cloned())),
            Err(complaints) => {
                for complaint in complaints {
                    notes.add(
                        role.when.line,
                        format!("role `{}`, for a policy of {}: {complaint}", role.name, shape.name),
                    );
                }
                Found::Mistake
            }
        }
    }
}

/// Alternatives without repetition; those that look into one table by the same column look there once.
fn merged(alternatives: Vec<Expr>) -> Vec<Expr> {
    let mut kept: Vec<Expr> = Vec::new();
    let mut subqueries: Vec<(usize, InSelect, Vec<Expr>)> = Vec::new();
    for alternative in alternatives {
        let Expr::InSelect(select) = alternative else {
            if !kept.contains(&alternative) {
                kept.push(alternative);
            }
            continue;
        };
        let same = |s: &InSelect| s.value == select.value && s.table == select.table && s.column == select.column;
        match subqueries.iter_mut().find(|(_, s, _)| same(s)) {
            Some((.., predicates)) => predicates.push(select.predicate),
            None => {
                let InSelect { predicate, .. } = &*select;
                subqueries.push((kept.len(), (*select).clone(), vec![predicate.clone()]));
            }
        }
    }
    // Each where its first stood; from the last on, so that the places of those before stay.
    for (place, select, predicates) in subqueries.into_iter().rev() {
        let predicate = any(merged(predicates));
        kept.insert(place, Expr::InSelect(Box::new(InSelect { predicate, ..select })));
    }
    kept
}

/// What a role is on a table.
enum Found {
    /// This predicate of its rows.
    Here(Expr),
    /// Its rows lie in no such scope.
    Nowhere,
    /// A mistake, which was noted.
    Mistake,
}
