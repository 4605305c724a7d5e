//! One manifest, and what must hold between manifests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::Problem;
use super::document::{At, Notes, Section};
use super::{exchange, keys, login, policies, roles, table};
use crate::expr::{Claim, Expr};
use crate::manifest::{Export, Import, ImportKey, Login, LoginKind, Manifest, Written};
use crate::names::{Ident, ModuleName};
use crate::predicate::Shape;
use crate::settings::Settings;

/// A manifest and the lines that comparisons with other manifests speak of.
pub(super) struct Read {
    pub(super) manifest: Manifest,
    module_line: usize,
    schema_line: usize,
    tablespace_line: usize,
    login_lines: Vec<usize>,
}

/// A manifest whose roles and policies are still to be read.
pub(super) struct Begun<'d, 't> {
    module: Option<ModuleName>,
    schema: Option<At<Ident>>,
    tablespace: Option<At<Option<Ident>>>,
    logins: Vec<At<Login>>,
    accepts: bool,
    drafts: Vec<table::Draft<'d, 't>>,
    roles: roles::Roles,
    exports: Vec<Export>,
    imports: Vec<Import>,
    import_keys: Vec<ImportKey>,
}

/// What policies of other modules may know of a module.
pub(super) struct Offered {
    module: Option<ModuleName>,
    tables: Vec<Shape>,
}

/// Reads all but roles and policies.
pub(super) fn begin<'d, 't>(
    document: &'d Spanned<DeTable<'t>>,
    path: &Path,
    claims: &[Claim],
    notes: &mut Notes,
) -> Begun<'d, 't> {
    let mut root = Section::root(document);
    let module = module_name(&mut root, path, notes);
    let schema = schema(&mut root, module.as_ref(), notes);
    let tablespace = tablespace(&mut root, notes);
    let accepts = root.flag("accepts_second_lock_only_bodies", notes);
    let logins = login::read(&mut root, notes);
    if logins.is_empty() && !root.has("login") {
        notes.add(
            1,
            "nobody could log in for this module; add a [[login]] with `name` and `kind`",
        );
    }
    let accepts = check_bodies(&logins, accepts, notes);

    // Tables are read in three passes, because keys and policies look at other tables' columns; policies at those of imports, too.
    let placeholder = unnamed();
    let home = schema.as_ref().map_or(&placeholder, |s| &s.value);
    let mut drafts = table::read(&mut root, home, claims, notes);
    let roles = roles::read(&mut root, notes);
    let exports = exchange::exports(&mut root, notes);
    let imports = exchange::imports(&mut root, notes);
    root.finish(notes);
    let import_keys = keys::check(&mut drafts, &imports, notes);
    Begun {
        module,
        schema,
        tablespace,
        logins,
        accepts,
        drafts,
        roles,
        exports,
        imports,
        import_keys,
    }
}

impl Begun<'_, '_> {
    pub(super) fn offered(&self) -> Offered {
        Offered {
            module: self.module.clone(),
            tables: self.drafts.iter().map(table::Draft::shape).collect(),
        }
    }

    /// Reads roles and policies, which may look into what `others` offer.
    pub(super) fn finish(
        self,
        restriction: Option<&(At<String>, Expr)>,
        claims: &[Claim],
        others: &[Offered],
        notes: &mut Notes,
    ) -> Option<Read> {
        let Self {
            module,
            schema,
            logins,
            mut drafts,
            ..
        } = self;
        let mut shapes: Vec<Shape> = drafts.iter().map(table::Draft::shape).collect();
        let placeholder = unnamed();
        let home = schema.as_ref().map_or(&placeholder, |s| &s.value);
        shapes.extend(self.imports.iter().map(|i| exchange::shape(i, home, others)));
        let mut predicates: Vec<Written> = Vec::new();
        if let Some((written, expr)) = restriction {
            for draft in &mut drafts {
                draft.table.restrictions.push(expr.clone());
            }
            predicates.push(Written {
                line: written.line,
                text: written.value.clone(),
                expr: expr.clone(),
            });
        }
        let mut said = Vec::new();
        if let Some(module) = &module {
            let places = self.roles.place(&drafts, module, &shapes, claims, &mut predicates, notes);
            for (number, draft) in drafts.iter_mut().enumerate() {
                policies::read(draft, number, module, &shapes, &places, &mut predicates, notes);
            }
            said = places.said();
            keys::bind(&mut drafts, notes);
        }
        let tables = drafts.into_iter().map(|draft| draft.finish(notes)).collect();

        let (module, schema, tablespace) = (module?, schema?, self.tablespace?);
        let manifest = Manifest {
            module,
            schema: schema.value,
            tablespace: tablespace.value,
            logins: logins.iter().map(|l| l.value.clone()).collect(),
            tables,
            exports: self.exports,
            imports: self.imports,
            import_keys: self.import_keys,
            accepts_second_lock_only_bodies: self.accepts,
            predicates,
            roles: said,
        };
        exchange::check(&manifest, notes);
        Some(Read {
            module_line: 1,
            schema_line: schema.line,
            tablespace_line: tablespace.line,
            login_lines: logins.iter().map(|l| l.line).collect(),
            manifest,
        })
    }
}

impl Offered {
    /// What is known of one of that module's tables; `None` for another module's.
    pub(super) fn table(&self, module: &ModuleName, name: &Ident) -> Option<&Shape> {
        let mut tables = self.tables.iter().filter(|_| self.module.as_ref() == Some(module));
        tables.find(|t| t.name.name == *name)
    }
}

/// Stands in for a schema's name that was not understood.
fn unnamed() -> Ident {
    Ident::new("unnamed").expect("a plain lower-case name is an identifier")
}

fn module_name(root: &mut Section<'_, '_>, path: &Path, notes: &mut Notes) -> Option<ModuleName> {
    let text = root.need_text("module", "\"disco\"", notes)?;
    let name = match ModuleName::new(&text.value) {
        Ok(name) => name,
        Err(e) => {
            notes.add(
                text.line,
                format!("{e}; a module is lower-case letters, digits and underscores"),
            );
            return None;
        }
    };
    if path.file_stem().is_none_or(|stem| stem != name.as_str()) {
        notes.add(
            text.line,
            format!("module `{name}` must stand in a file of its own name; rename the file to {name}.toml"),
        );
    }
    Some(name)
}

fn schema(root: &mut Section<'_, '_>, module: Option<&ModuleName>, notes: &mut Notes) -> Option<At<Ident>> {
    let Some(text) = root.text("schema", notes) else {
        let value = Ident::new(module?.as_str()).expect("a module's name is an identifier");
        return Some(At { value, line: 1 });
    };
    let reserved = ["public", "information_schema", "postern"].contains(&text.value.as_str())
        || text.value.starts_with("pg_")
        || text.value.starts_with("postern_");
    if reserved {
        notes.add(
            text.line,
            format!(
                "the schema `{}` belongs to PostgreSQL, to everybody or to Postern; name one of the module's own",
                text.value
            ),
        );
        return None;
    }
    identifier(&text, notes)
}

/// A module without a tablespace of its own must say so, because then its files lie among the others'.
fn tablespace(root: &mut Section<'_, '_>, notes: &mut Notes) -> Option<At<Option<Ident>>> {
    let text = root.need_text(
        "tablespace",
        "\"disco\" (or \"pg_default\" where the platform has none to give)",
        notes,
    )?;
    if text.value == "pg_default" {
        return Some(At {
            value: None,
            line: text.line,
        });
    }
    if text.value.starts_with("pg_") {
        notes.add(
            text.line,
            "tablespaces named `pg_…` are PostgreSQL's; write another name or \"pg_default\"",
        );
        return None;
    }
    identifier(&text, notes).map(|i| At {
        value: Some(i.value),
        line: i.line,
    })
}

/// Makes an identifier of what was written, or says why it cannot be one.
pub(super) fn identifier(text: &At<String>, notes: &mut Notes) -> Option<At<Ident>> {
    match Ident::new(&text.value) {
        Ok(value) => Some(At { value, line: text.line }),
        Err(e) => {
            notes.add(text.line, format!("{e}; choose another"));
            None
        }
    }
}

fn check_bodies(logins: &[At<crate::manifest::Login>], accepts: Option<At<bool>>, notes: &mut Notes) -> bool {
    let accepted = accepts.as_ref().is_some_and(|a| a.value);
    for login in logins {
        if login.value.kind == LoginKind::Service && login.value.ddl && !accepted {
            notes.add(
                login.line,
                format!(
                    "`{}` may create functions, and inside a plpgsql body only the second lock sees; write \
                     `accepts_second_lock_only_bodies = true` at the top of the manifest, or remove `ddl`",
                    login.value.name
                ),
            );
        }
    }
    accepted
}

/// Names that must not meet: modules, schemas, tablespaces, logins, and the roles that provisioning derives from them.
pub(super) fn check_together(modules: &[(PathBuf, Read)], settings: Option<&Settings>, problems: &mut Vec<Problem>) {
    let mut roles: BTreeMap<String, String> = BTreeMap::new();
    if let Some(settings) = settings {
        roles.insert(
            settings.upstream.control_user.clone(),
            "the control role of postern.toml".to_owned(),
        );
    }
    for (_, read) in modules {
        roles.insert(
            read.manifest.owner_role(),
            format!("the owner role of module {}", read.manifest.module),
        );
    }
    let (mut names, mut schemas, mut tablespaces) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (file, read) in modules {
        let manifest = &read.manifest;
        let module = manifest.module.to_string();
        let mut note = |line: usize, message: String| {
            problems.push(Problem {
                file: file.clone(),
                line,
                message,
            });
        };
        if names.insert(module.clone(), ()).is_some() {
            note(
                read.module_line,
                format!("module `{module}` is declared by two files; keep one"),
            );
        }
        if let Some(other) = schemas.insert(manifest.schema.clone(), module.clone()) {
            note(
                read.schema_line,
                format!(
                    "the schema `{}` is already module {other}'s; give each module its own",
                    manifest.schema
                ),
            );
        }
        if let Some(name) = &manifest.tablespace
            && let Some(other) = tablespaces.insert(name.clone(), module.clone())
        {
            note(
                read.tablespace_line,
                format!("the tablespace `{name}` is already module {other}'s; give each module its own, or write \"pg_default\""),
            );
        }
        for (login, line) in manifest.logins.iter().zip(&read.login_lines) {
            // A name declared twice in one manifest was reported when that file was read.
            let owner = format!("a login of module {module}");
            match roles.insert(login.name.to_string(), owner.clone()) {
                Some(other) if other != owner => {
                    note(
                        *line,
                        format!("the login `{}` is already {other}; choose another name", login.name),
                    );
                }
                _ => {}
            }
        }
    }
}
