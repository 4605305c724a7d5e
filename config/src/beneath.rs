//! What lies beneath an import: which rows it shows, said as a predicate of the exported table.
//!
//! A policy that looks into an import sees what the import's view shows to whoever asks. Whoever must know what that is without reading the
//! view (the tools over policies, `postern why`, claims' tags) takes [`Config::beneath`]: the same policies, which look into the exported
//! tables themselves and name the conditions under which the imports show their rows. No policy reads a column that the exporting module
//! masks, so rows are all that there is to say. Loading has seen to it that nobody goes in a circle here.

use std::sync::Arc;

use crate::expr::{ClaimTag, Expr, InSelect};
use crate::manifest::{Import, Manifest, Operation, SharedRows, Table};
use crate::policy::all;
use crate::settings::Config;

impl Import {
    /// The rows of the exported table that it shows.
    pub fn shown_rows(&self, table: &Table) -> Expr {
        match self.rows {
            SharedRows::Policies => table.using(Operation::Select),
            SharedRows::All => all(table.restrictions.iter().cloned()),
        }
    }

    /// Everything that decides what it shows: which rows, and the masks of its columns.
    pub fn decided_by(&self, table: &Table) -> Vec<Expr> {
        let columns = self.columns.iter().filter_map(|name| table.column(name.as_str()));
        let masks = columns.filter_map(|c| c.shown_when.clone());
        std::iter::once(self.shown_rows(table)).chain(masks).collect()
    }
}

impl Manifest {
    /// The import that a subquery of this module's policies looks into, if it is one.
    pub fn looked_into(&self, select: &InSelect) -> Option<&Import> {
        self.import(select.table.name.as_str())
            .filter(|_| select.table.schema == self.schema)
    }

    /// The table that an import shows, where this is the module that it comes from.
    pub(crate) fn exported(&self, import: &Import) -> Option<&Table> {
        self.table(import.table.as_str()).filter(|_| self.module == import.from)
    }

    /// The imports that expressions of this module look into, as often as they do.
    pub(crate) fn imports_in<'m>(&'m self, expr: &Expr) -> Vec<&'m Import> {
        expr.subqueries().into_iter().filter_map(|s| self.looked_into(s)).collect()
    }
}

impl Config {
    /// The table that an import shows, and the module whose it is.
    pub fn exported(&self, import: &Import) -> Option<(&Manifest, &Table)> {
        self.modules.iter().find_map(|m| Some((&**m, m.exported(import)?)))
    }

    /// How many imports lie one beneath the other under an expression of a module: 0 where it looks into none.
    pub fn depth(&self, manifest: &Manifest, expr: &Expr) -> usize {
        let imports = manifest.imports_in(expr).into_iter();
        imports.map(|import| self.import_depth(import)).max().unwrap_or(0)
    }

    /// [`Config::depth`] of an expression that looks into that import and no other.
    pub fn import_depth(&self, import: &Import) -> usize {
        let Some((exporter, table)) = self.exported(import) else {
            return 1;
        };
        let depths = import.decided_by(table).into_iter().map(|e| self.depth(exporter, &e));
        1 + depths.max().unwrap_or(0)
    }

    /// This configuration with policies that look into the tables beneath the imports. For telling what policies let through: no login has a
    /// right to ask like that.
    pub fn beneath(&self) -> Config {
        let modules = self.modules.iter().map(|m| Arc::new(self.module_beneath(m))).collect();
        Config { modules, ..self.clone() }
    }

    fn module_beneath(&self, manifest: &Manifest) -> Manifest {
        let mut beneath = manifest.clone();
        let look = |expr: &mut Expr| *expr = self.expr_beneath(manifest, expr.clone());
        for table in &mut beneath.tables {
            for policy in &mut table.policies {
                policy.using.iter_mut().chain(&mut policy.check).for_each(look);
            }
            table.restrictions.iter_mut().for_each(look);
            table.columns.iter_mut().filter_map(|c| c.shown_when.as_mut()).for_each(look);
        }
        beneath.roles.iter_mut().map(|r| &mut r.when).for_each(look);
        beneath
    }

    /// [`Config::beneath`] of one expression of a module.
    pub fn expr_beneath(&self, manifest: &Manifest, expr: Expr) -> Expr {
        expr.with_subqueries(&|select| {
            let exported = manifest.looked_into(&select).and_then(|i| Some((i, self.exported(i)?)));
            let Some((import, (exporter, table))) = exported else {
                return select;
            };
            let rows = self.expr_beneath(exporter, import.shown_rows(table));
            InSelect {
                table: table.name.clone(),
                predicate: all([rows, select.predicate]),
                ..select
            }
        })
    }

    /// Every equality tag of a claim that is asked for on behalf of a module's users: by its own policies, by those of what it imports, and so
    /// on beneath. By name, without repetition.
    pub fn claim_tags(&self, manifest: &Manifest) -> Vec<ClaimTag> {
        let mut tags = self.module_beneath(manifest).claim_tags();
        for import in &manifest.imports {
            let Some((exporter, table)) = self.exported(import) else {
                continue;
            };
            let decided = import.decided_by(table).into_iter();
            tags.extend(decided.flat_map(|e| self.expr_beneath(exporter, e).claim_tags()));
        }
        tags.sort_by_key(ClaimTag::name);
        tags.dedup();
        tags
    }
}
