//! Policies that look into imports: what must hold of them once every module is read.
//!
//! An import shows each person other rows, and none to whoever has no claims. So a policy may let somebody through for a row that is shown to
//! them, and never for one that is not: who sees less of the import would get more here. What an import shows is decided by the exporting module's policies, which may look into imports of theirs. Nobody may arrive where they
//! began: it would never end, and neither module could say who sees what.

use std::path::PathBuf;

use super::Problem;
use super::module::Read;
use crate::expr::{Expr, InSelect};
use crate::manifest::{Import, Manifest, SharedRows, Table};
use crate::names::Ident;

/// No policy decides by a column that is masked or by a row that is not shown, and none goes in a circle.
pub(super) fn check_together(modules: &[(PathBuf, Read)], problems: &mut Vec<Problem>) {
    let manifests: Vec<&Manifest> = modules.iter().map(|(_, r)| &r.manifest).collect();
    for (file, read) in modules {
        let mut note = |line: usize, message: String| {
            problems.push(Problem {
                file: file.clone(),
                line,
                message,
            });
        };
        let manifest = &read.manifest;
        for table in &manifest.tables {
            let mut lookups = Vec::new();
            table.predicates().for_each(|e| collect(e, true, &mut lookups));
            for (select, lets_through) in lookups {
                let import = manifest.looked_into(select);
                let Some((import, exported)) = import.and_then(|i| Some((i, exported(&manifests, i)?.1))) else {
                    continue;
                };
                check_masks(manifest, select, import, exported, &mut note);
                if !lets_through && !same_for_all(import, exported) {
                    note(
                        line_of(manifest, import, |s| s == select),
                        format!(
                            "this lets somebody through where the import `{}` does not show them a row, so whoever it shows less gets more here; \
                             write it without NOT, as a condition joined by AND and OR alone, or share the table with `rows = \"all\"`",
                            import.name
                        ),
                    );
                }
            }
        }
    }
    check_circles(modules, &manifests, problems);
}

fn exported<'m>(manifests: &[&'m Manifest], import: &Import) -> Option<(&'m Manifest, &'m Table)> {
    manifests.iter().find_map(|m| Some((*m, m.exported(import)?)))
}

/// The subqueries of an expression, each with whether more rows in it could only let more through: where nothing but AND, OR, IS TRUE and other
/// such subqueries stands around it.
fn collect<'e>(expr: &'e Expr, lets_through: bool, found: &mut Vec<(&'e InSelect, bool)>) {
    match expr {
        Expr::Bool(_) | Expr::Column(_) | Expr::Claim(_) | Expr::Tag(_) | Expr::ClaimTag(_) | Expr::Const(_) => {}
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|e| collect(e, lets_through, found)),
        Expr::IsTrue { of, negated: false } => collect(of, lets_through, found),
        Expr::InSelect(select) => {
            found.push((select, lets_through));
            collect(&select.value, false, found);
            collect(&select.predicate, lets_through, found);
        }
        Expr::Compare(_, a, b) => {
            collect(a, false, found);
            collect(b, false, found);
        }
        Expr::IsTrue { of, .. } | Expr::IsNull { of, .. } | Expr::Not(of) | Expr::InList(of, _) | Expr::AnyClaim(of, _) => {
            collect(of, false, found);
        }
    }
}

/// Whether everybody is shown the same rows, restrictions of all modules apart: those hold for the policy's own table as well.
fn same_for_all(import: &Import, exported: &Table) -> bool {
    import.rows == SharedRows::All && exported.lines.restrict.is_none()
}

/// A masked column shows different things to different people, so a policy over it would decide by what the asker may be shown.
fn check_masks(manifest: &Manifest, select: &InSelect, import: &Import, exported: &Table, note: &mut impl FnMut(usize, String)) {
    let mut read = select.predicate.own_columns();
    read.push(select.column.clone());
    for name in read {
        if exported.column(name.as_str()).is_some_and(|c| c.shown_when.is_some()) {
            note(
                line_of(manifest, import, |s| s.table == select.table && reads(s, &name)),
                format!(
                    "column `{name}` of the import `{}` is masked by {}, so what it holds depends on who asks, and no policy may decide by it; \
                     use another column",
                    import.name, import.from
                ),
            );
        }
    }
}

fn reads(select: &InSelect, column: &Ident) -> bool {
    select.column == *column || select.predicate.own_columns().contains(column)
}

/// The line of the predicate with such a subquery; the import's, where none was written (a table's `scope_through`).
fn line_of(manifest: &Manifest, import: &Import, such: impl Fn(&InSelect) -> bool) -> usize {
    let written = manifest.predicates.iter();
    let mut found = written.filter(|w| w.expr.subqueries().into_iter().any(&such));
    found.next().map_or(import.line, |w| w.line)
}

/// One import of one module, by their numbers.
type Place = (usize, usize);

fn check_circles(modules: &[(PathBuf, Read)], manifests: &[&Manifest], problems: &mut Vec<Problem>) {
    let places = (manifests.iter().enumerate()).flat_map(|(m, manifest)| (0..manifest.imports.len()).map(move |i| (m, i)));
    for start in places {
        let Some(circle) = circle(manifests, start) else { continue };
        // Each circle once, where its first module stands.
        if circle.iter().any(|place| *place < start) {
            continue;
        }
        let (manifest, import) = at(manifests, start);
        problems.push(Problem {
            file: modules[start.0].0.clone(),
            line: line_of(manifest, import, |s| manifest.looked_into(s) == Some(import)),
            message: format!(
                "policies look into imports in a circle: {}; let one of them decide by a claim, or by a table of its own module",
                told(manifests, &circle)
            ),
        });
    }
}

fn at<'m>(manifests: &[&'m Manifest], (module, import): Place) -> (&'m Manifest, &'m Import) {
    let manifest = manifests[module];
    (manifest, &manifest.imports[import])
}

/// The imports that decide what this one shows.
fn beneath(manifests: &[&Manifest], place: Place) -> Vec<Place> {
    let (importer, import) = at(manifests, place);
    let Some((exporter, table)) = exported(manifests, import).filter(|_| import.from != importer.module) else {
        return Vec::new();
    };
    let Some(module) = manifests.iter().position(|m| m.module == exporter.module) else {
        return Vec::new();
    };
    let decided = import.decided_by(table);
    let looked_into: Vec<&Import> = decided.iter().flat_map(|e| exporter.imports_in(e)).collect();
    let numbers = (0..exporter.imports.len()).filter(|i| looked_into.contains(&&exporter.imports[*i]));
    numbers.map(|i| (module, i)).collect()
}

/// The shortest way from an import back to itself.
fn circle(manifests: &[&Manifest], start: Place) -> Option<Vec<Place>> {
    let mut ways = vec![vec![start]];
    let mut seen = Vec::new();
    while let Some(way) = ways.iter().min_by_key(|w| w.len()).cloned() {
        ways.retain(|w| *w != way);
        for next in beneath(manifests, *way.last()?) {
            if next == start {
                return Some(way);
            }
            if !seen.contains(&next) {
                seen.push(next);
                ways.push(way.iter().copied().chain([next]).collect());
            }
        }
    }
    None
}

/// The circle in words: which import shows whose rows, and into what their policies look.
fn told(manifests: &[&Manifest], circle: &[Place]) -> String {
    let named = |place: Place| {
        let (importer, import) = at(manifests, place);
        (
            format!("{}.{}", importer.schema, import.name),
            format!("{}.{}", import.from, import.table),
        )
    };
    let steps: Vec<String> = circle
        .iter()
        .zip(circle.iter().cycle().skip(1))
        .map(|(this, next)| {
            let ((import, table), (looked_into, _)) = (named(*this), named(*next));
            format!("{import} shows rows of {table}, whose policies look into {looked_into}")
        })
        .collect();
    steps.join("; ")
}
