//! FROM: each item adds its entries to the scope and says which columns `*` stands for.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, RangeVar};

use crate::judge::Judge;
use crate::locks::unguarded;
use crate::plan::Refusal;
use crate::relations::{Listed, names_of, rename};
use crate::scope::{Col, Entry, Nature, Origin, Scope};
use crate::select::Mode;
use crate::tree;

/// One column that `*` stands for, or all of an entry whose columns are not known.
pub(crate) enum Star {
    /// `alias.name`.
    Column { alias: Box<str>, name: Box<str>, sealed: bool },
    /// A column merged by USING.
    Merged(Box<str>),
    /// Every column of the alias.
    Unknown { alias: Box<str> },
}

impl Star {
    fn name(&self) -> Option<&str> {
        match self {
            Star::Column { name, .. } | Star::Merged(name) => Some(name),
            Star::Unknown { .. } => None,
        }
    }
}

impl Judge<'_> {
    /// One item of a FROM list.
    pub(crate) fn range_item(&mut self, n: &mut Node, scope: &mut Scope<'_>) -> Result<Vec<Star>, Refusal> {
        let Some(inner) = &mut n.node else {
            return Err(Refusal::internal("FROM holds nothing"));
        };
        match inner {
            NodeEnum::RangeVar(r) => {
                let (entry, replacement) = self.range_var(r, scope, None)?;
                if let Some(replacement) = replacement {
                    *n = replacement;
                }
                self.add(scope, entry)
            }
            NodeEnum::RangeTableSample(_) => self.sampled(n, scope),
            NodeEnum::RangeSubselect(s) => {
                let Some(NodeEnum::SelectStmt(query)) = s.subquery.as_mut().and_then(|q| q.node.as_mut()) else {
                    return Err(Refusal::internal("a FROM subquery is not a SELECT"));
                };
                self.refuse_beside_lock(s.lateral, scope)?;
                let barriers = self.barriers;
                // Without LATERAL a subquery sees the CTEs of this level, not its siblings.
                let hidden = (!s.lateral).then(|| std::mem::take(&mut scope.entries));
                let result = self.select(query, Some(scope), &Mode::Derived);
                if let Some(entries) = hidden {
                    scope.entries = entries;
                }
                let projection = result?;
                let (alias, names) = match &s.alias {
                    Some(a) => (a.aliasname.clone(), names_of(&a.colnames)?),
                    None => (String::new(), Vec::new()),
                };
                if self.locked.reaches(&alias) && self.barriers > barriers {
                    return Err(unguarded("A lock on a subquery")
                        .hint("Write FOR UPDATE within the subquery, or name the tables to lock."));
                }
                let (columns, guarded) = projection.derived(&names, Listed::table(&alias))?;
                let mut entry = Entry::plain(&alias, columns);
                entry.guarded = guarded;
                if alias.is_empty() && guarded {
                    return Err(Refusal::syntax("subquery in FROM must have an alias"));
                }
                self.add(scope, entry)
            }
            NodeEnum::RangeFunction(f) => {
                self.refuse_beside_lock(self.takes_columns(&f.functions)?, scope)?;
                for function in &mut f.functions {
                    // Each is a list of the call and its column definitions.
                    let Some(NodeEnum::List(parts)) = &mut function.node else {
                        return Err(Refusal::internal("a FROM function has another form"));
                    };
                    let [call, definitions @ ..] = parts.items.as_mut_slice() else {
                        return Err(Refusal::internal("a FROM function has another form"));
                    };
                    let several =
                        definitions.iter().all(|d| d.node.is_none()) && f.coldeflist.is_empty() && unnests_several(call);
                    self.plain(call, scope)?;
                    if several && let Some(NodeEnum::FuncCall(c)) = &mut call.node {
                        c.funcname = vec![tree::string("unnest")];
                    }
                    for d in definitions {
                        self.column_definitions(d, scope)?;
                    }
                }
                for d in &mut f.coldeflist {
                    self.column_definitions(d, scope)?;
                }
                let alias = match &f.alias {
                    Some(a) => a.aliasname.clone(),
                    None => function_name(f).unwrap_or_default(),
                };
                let mut entry = Entry::plain(&alias, None);
                entry.origin = Origin::Call;
                let renamed = f.alias.iter().flat_map(|a| &a.colnames).filter_map(tree::text_of);
                let defined = f.coldeflist.iter().filter_map(|d| match &d.node {
                    Some(NodeEnum::ColumnDef(d)) => Some(d.colname.as_str()),
                    _ => None,
                });
                entry.named = renamed.chain(defined).map(Box::from).collect();
                self.add(scope, entry)
            }
            NodeEnum::JoinExpr(_) => self.join(n, scope),
            NodeEnum::RangeTableFunc(f) => self.xml_table(f, scope),
            _ => Err(Refusal::construct("This kind of FROM item")),
        }
    }

    /// XMLTABLE: a value's parts as rows.
    fn xml_table(&mut self, f: &mut pg_query::protobuf::RangeTableFunc, scope: &mut Scope<'_>) -> Result<Vec<Star>, Refusal> {
        self.plain_opt(f.docexpr.as_mut(), scope)?;
        self.plain_opt(f.rowexpr.as_mut(), scope)?;
        for n in &mut f.namespaces {
            match &mut n.node {
                Some(NodeEnum::ResTarget(t)) => self.plain_opt(t.val.as_mut(), scope)?,
                _ => return Err(Refusal::internal("XMLTABLE holds something else")),
            }
        }
        let mut columns = Vec::with_capacity(f.columns.len());
        for n in &mut f.columns {
            let Some(NodeEnum::RangeTableFuncCol(c)) = &mut n.node else {
                return Err(Refusal::internal("XMLTABLE holds something else"));
            };
            if let Some(ty) = &mut c.type_name {
                self.type_name(ty, scope)?;
            }
            self.plain_opt(c.colexpr.as_mut(), scope)?;
            self.plain_opt(c.coldefexpr.as_mut(), scope)?;
            columns.push(Col::plain(&c.colname));
        }
        let (alias, names) = match &f.alias {
            Some(a) => (a.aliasname.clone(), names_of(&a.colnames)?),
            None => ("xmltable".to_owned(), Vec::new()),
        };
        let columns = rename(Some(columns), &names, Listed::table(&alias))?;
        self.add(scope, Entry::plain(&alias, columns))
    }

    fn sampled(&mut self, n: &mut Node, scope: &mut Scope<'_>) -> Result<Vec<Star>, Refusal> {
        let Some(NodeEnum::RangeTableSample(s)) = &mut n.node else {
            return Err(Refusal::internal("TABLESAMPLE has another form"));
        };
        match tree::parts(&s.method).as_deref() {
            Some(["bernoulli" | "system"]) => {}
            _ => return Err(Refusal::construct("This TABLESAMPLE method").at(s.location)),
        }
        // In a view they stand between the table and its mark.
        if self.outlives && !s.args.iter().chain(s.repeatable.as_deref()).all(is_number) {
            return Err(Refusal::construct("TABLESAMPLE in a view, of anything but a number").at(s.location));
        }
        self.plain_all(&mut s.args, scope)?;
        self.plain_opt(s.repeatable.as_mut(), scope)?;
        let sample = n.clone();
        let Some(NodeEnum::RangeTableSample(s)) = &mut n.node else {
            return Err(Refusal::internal("TABLESAMPLE has another form"));
        };
        let Some(NodeEnum::RangeVar(r)) = s.relation.as_mut().and_then(|r| r.node.as_mut()) else {
            return Err(Refusal::internal("TABLESAMPLE of something else"));
        };
        let (entry, replacement) = self.range_var(r, scope, Some(&sample))?;
        if let Some(replacement) = replacement {
            *n = replacement;
        }
        self.add(scope, entry)
    }

    fn column_definitions(&mut self, n: &mut Node, scope: &Scope<'_>) -> Result<(), Refusal> {
        match &mut n.node {
            Some(NodeEnum::ColumnDef(d)) => match &mut d.type_name {
                Some(ty) => self.type_name(ty, scope),
                None => Ok(()),
            },
            Some(NodeEnum::List(l)) => l.items.iter_mut().try_for_each(|i| self.column_definitions(i, scope)),
            None => Ok(()),
            _ => Err(Refusal::internal("a column definition list holds something else")),
        }
    }

    fn join(&mut self, n: &mut Node, scope: &mut Scope<'_>) -> Result<Vec<Star>, Refusal> {
        let Some(NodeEnum::JoinExpr(j)) = &mut n.node else {
            return Err(Refusal::internal("a join has another form"));
        };
        let (Some(left), Some(right)) = (&mut j.larg, &mut j.rarg) else {
            return Err(Refusal::internal("a join lacks a side"));
        };
        let first = scope.entries.len();
        let left = self.range_item(left, scope)?;
        let right = self.range_item(right, scope)?;
        let guarded = scope.entries[first..].iter().any(|e| e.guarded);
        if j.is_natural && guarded {
            // Hidden columns would take part in a natural join: name the visible common ones.
            let common: Vec<Node> = left
                .iter()
                .filter_map(Star::name)
                .filter(|l| right.iter().any(|r| r.name() == Some(l)))
                .map(tree::string)
                .collect();
            if common.is_empty() || left.iter().chain(&right).any(|s| s.name().is_none()) {
                return Err(Refusal::construct("NATURAL JOIN of these relations").hint("Use ON or USING."));
            }
            j.is_natural = false;
            j.using_clause = common;
        }
        let mut shown = Vec::new();
        let merged = if j.is_natural {
            left.iter()
                .filter_map(Star::name)
                .filter(|l| right.iter().any(|r| r.name() == Some(l)))
                .map(Box::from)
                .collect()
        } else {
            names_of(&j.using_clause)?
                .into_iter()
                .map(Box::<str>::from)
                .collect::<Vec<_>>()
        };
        let on_names = merged.clone();
        for name in &merged {
            for star in left.iter().chain(&right) {
                if let Star::Column {
                    name: n, sealed: true, ..
                } = star
                    && n == name
                {
                    return Err(Refusal::construct("USING over a protected column").hint("Write the join condition with ON."));
                }
            }
            shown.push(Star::Merged(name.clone()));
        }
        shown.extend(
            left.into_iter()
                .chain(right)
                .filter(|s| s.name().is_none_or(|n| !merged.iter().any(|m| &**m == n))),
        );
        let common = merged.clone();
        scope.merged.extend(merged);
        // ON sees the two sides of its join and outer queries, not the items that stand before it in the list.
        let before: Vec<Entry> = scope.entries.drain(..first).collect();
        let mut judged = self.plain_opt(j.quals.as_mut(), scope);
        if judged.is_ok() {
            if let Some(quals) = &mut j.quals {
                self.note_predicate(quals, scope);
            }
            self.copy_inside_join(j, scope);
            if let Some(quals) = &mut j.quals {
                self.guard_locked(quals, scope);
            }
            judged = self.refuse_merged_lock(&on_names, j.is_natural, scope);
        }
        scope.entries.splice(0..0, before);
        judged?;
        if let Some(alias) = &j.join_using_alias {
            if guarded {
                return Err(Refusal::construct(
                    "An alias for USING columns of relations with protected columns",
                ));
            }
            let mut entry = Entry::plain(&alias.aliasname, Some(common.iter().map(|n| Col::plain(n)).collect()));
            entry.qualified_only = true;
            self.add(scope, entry)?;
        }
        if let Some(alias) = &j.alias {
            if guarded {
                return Err(Refusal::construct("An alias for a join over protected columns").hint("Alias the joined relations."));
            }
            let known: Option<Vec<Col>> = shown.iter().map(|s| s.name().map(Col::plain)).collect();
            let columns = rename(known, &names_of(&alias.colnames)?, Listed::join(&alias.aliasname))?;
            scope.entries.truncate(first);
            return self.add(scope, Entry::plain(&alias.aliasname, columns));
        }
        Ok(shown)
    }

    /// Adds an entry and lists what `*` takes of it.
    fn add(&self, scope: &mut Scope<'_>, entry: Entry) -> Result<Vec<Star>, Refusal> {
        let known = !entry.alias.is_empty() && scope.entries.iter().any(|e| e.alias == entry.alias);
        // Beneath a join with an alias of its own a name may come again; where nothing is hidden PostgreSQL says whether it may.
        if known && self.ask.catalog.declares() {
            return Err(Refusal::new(
                "42712",
                "relation",
                format!("table name \"{}\" specified more than once", entry.alias),
            ));
        }
        let stars = stars_of(&entry);
        scope.entries.push(entry);
        Ok(stars)
    }
}

/// What `alias.*` stands for.
pub(crate) fn stars_of(entry: &Entry) -> Vec<Star> {
    match &entry.columns {
        None => vec![Star::Unknown {
            alias: entry.alias.clone(),
        }],
        Some(columns) => columns
            .iter()
            .filter(|c| !matches!(c.nature, Nature::Never(_)))
            .map(|c| Star::Column {
                alias: entry.alias.clone(),
                name: c.name.clone(),
                sealed: matches!(c.nature, Nature::Sealed(_)),
            })
            .collect(),
    }
}

/// `unnest(a, b)` in FROM is a construct of the grammar rather than a function, and one only by this bare name; PostgreSQL makes calls of
/// `pg_catalog.unnest` of it, whatever the search path.
fn unnests_several(call: &Node) -> bool {
    match &call.node {
        Some(NodeEnum::FuncCall(c)) => {
            let plain = !c.func_variadic && !c.agg_distinct && !c.agg_star && c.over.is_none();
            tree::parts(&c.funcname).as_deref() == Some(&["unnest"])
                && c.args.len() > 1
                && plain
                && c.agg_order.is_empty()
                && c.agg_filter.is_none()
        }
        _ => false,
    }
}

fn function_name(f: &pg_query::protobuf::RangeFunction) -> Option<String> {
    let Some(NodeEnum::List(parts)) = &f.functions.first()?.node else {
        return None;
    };
    match &parts.items.first()?.node {
        Some(NodeEnum::FuncCall(call)) => call.funcname.last().and_then(tree::text_of).map(str::to_owned),
        Some(NodeEnum::SqlvalueFunction(_)) => Some("value".to_owned()),
        _ => None,
    }
}

/// A relation that a write targets.
pub(crate) fn target_alias(r: &RangeVar) -> String {
    r.alias.as_ref().map_or_else(|| r.relname.clone(), |a| a.aliasname.clone())
}

fn is_number(n: &Node) -> bool {
    use pg_query::protobuf::a_const::Val;
    matches!(&n.node, Some(NodeEnum::AConst(k)) if matches!(k.val, Some(Val::Ival(_) | Val::Fval(_))))
}
