//! Output lists: `*` spelled out where something must stay hidden, envelopes followed by what opening them needs.

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use crate::expr::{SealedRef, Yield};
use crate::from::{Star, stars_of};
use crate::judge::Judge;
use crate::plan::{DoorCheck, Field, Open, Output, Refusal, Sealed};
use crate::relations::Listed;
use crate::scope::{Col, Nature, Scope, SealedCol};
use crate::sealed::Matched;
use crate::select::Mode;
use crate::tree;

/// An output column while its query level is being judged; one of an unknown `*` has no name.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) name: Option<Box<str>>,
    pub(crate) sealed: Option<SealedRef>,
}

/// Equalities to check on the opened value.
#[derive(Default)]
pub(crate) struct Doors(Vec<Matched>);

impl Doors {
    pub(crate) fn add(&mut self, matched: Matched) {
        self.0.push(matched);
    }
}

/// What a query level gives.
pub(crate) struct Projection {
    /// Its visible columns; `None` where an unknown `*` is among them.
    columns: Option<Vec<Given>>,
    fields: usize,
    doors: Vec<DoorCheck>,
}

struct Given {
    name: Box<str>,
    sealed: Option<GivenSealed>,
}

struct GivenSealed {
    base: Rc<SealedCol>,
    /// Field index and name of the tag.
    tag: Option<(usize, Box<str>)>,
    /// Field index and name of each bound value.
    bound: Vec<(usize, Box<str>)>,
}

impl Projection {
    pub(crate) fn plain(outputs: &[Shown]) -> Self {
        let columns = outputs
            .iter()
            .map(|o| o.name.clone().map(|name| Given { name, sealed: None }))
            .collect();
        Self {
            columns,
            fields: outputs.len(),
            doors: Vec::new(),
        }
    }

    pub(crate) fn of_names(names: Vec<String>) -> Self {
        let fields = names.len();
        Self {
            columns: Some(
                names
                    .into_iter()
                    .map(|n| Given {
                        name: n.into(),
                        sealed: None,
                    })
                    .collect(),
            ),
            fields,
            doors: Vec::new(),
        }
    }

    pub(crate) fn carries_sealed(&self) -> bool {
        self.columns.as_ref().is_some_and(|cs| cs.iter().any(|c| c.sealed.is_some()))
    }

    /// Whether two arms of UNION ALL give the same protected columns at the same places.
    pub(crate) fn aligned_with(&self, other: &Projection) -> bool {
        let (Some(a), Some(b)) = (&self.columns, &other.columns) else {
            return false;
        };
        a.len() == b.len()
            && self.fields == other.fields
            && a.iter().zip(b).all(|(x, y)| match (&x.sealed, &y.sealed) {
                (None, None) => true,
                (Some(x), Some(y)) => {
                    x.base.sealed == y.base.sealed
                        && x.tag.as_ref().map(|t| t.0) == y.tag.as_ref().map(|t| t.0)
                        && x.bound.iter().map(|b| b.0).eq(y.bound.iter().map(|b| b.0))
                }
                _ => false,
            })
    }

    /// The protected output that an ORDER BY item of a set operation names.
    pub(crate) fn sealed_output(&self, key: &Node) -> Option<&SealedCol> {
        let columns = self.columns.as_ref()?;
        let given = match &key.node {
            Some(NodeEnum::ColumnRef(c)) => {
                let name = c.fields.first().and_then(tree::text_of)?;
                columns.iter().find(|g| &*g.name == name)
            }
            Some(NodeEnum::AConst(k)) => match &k.val {
                Some(pg_query::protobuf::a_const::Val::Ival(i)) => columns.get(usize::try_from(i.ival).ok()?.checked_sub(1)?),
                _ => None,
            },
            _ => None,
        };
        given.and_then(|g| g.sealed.as_ref()).map(|s| &*s.base)
    }

    /// As the columns of a derived table, renamed by position; and whether it has something to hide.
    pub(crate) fn derived(&self, names: &[String], listed: Listed<'_>) -> Result<(Option<Vec<Col>>, bool), Refusal> {
        // A `*` over unknown columns stands beside nothing protected, so nothing is hidden behind it.
        let Some(columns) = &self.columns else {
            return Ok((None, false));
        };
        listed.within(columns.len(), names)?;
        let cols = columns
            .iter()
            .enumerate()
            .map(|(i, given)| {
                let name: Box<str> = names.get(i).map_or_else(|| given.name.clone(), |n| n.as_str().into());
                let nature = match &given.sealed {
                    None => Nature::Plain,
                    Some(s) => Nature::Sealed(Rc::new(SealedCol {
                        sealed: s.base.sealed.clone(),
                        envelope: name.clone(),
                        tag: s.tag.as_ref().map(|t| t.1.clone()),
                        tag_key: s.base.tag_key.clone(),
                        bound: s
                            .bound
                            .iter()
                            .zip(&s.base.bound)
                            .map(|((_, n), (_, ty))| (n.clone(), ty.clone()))
                            .collect(),
                        mask: s.base.mask.clone(),
                        declared_later: s.base.declared_later,
                        line: s.base.line,
                        module: s.base.module.clone(),
                    })),
                };
                Col {
                    name,
                    nature,
                    mask: None,
                }
            })
            .collect();
        Ok((Some(cols), self.carries_sealed()))
    }

    /// How the proxy reads the rows; `None` where they pass unread.
    pub(crate) fn output(&self) -> Option<Output> {
        if !self.carries_sealed() && self.doors.is_empty() {
            return None;
        }
        self.output_of_all()
    }

    /// The same where every row is read, whether it needs to be opened or not; `None` where the columns are not known.
    pub(crate) fn output_of_all(&self) -> Option<Output> {
        let columns = self.columns.as_ref();
        if columns.is_none() && self.doors.is_empty() {
            return None;
        }
        let visible = columns
            .into_iter()
            .flatten()
            .map(|c| match &c.sealed {
                None => Field::Plain,
                Some(s) => Field::Open(Open {
                    column: s.base.sealed.clone(),
                    bound: s
                        .bound
                        .iter()
                        .zip(&s.base.bound)
                        .map(|((i, _), (_, ty))| (*i, ty.clone()))
                        .collect(),
                    mask: s.base.mask.clone(),
                }),
            })
            .collect();
        Some(Output {
            visible,
            upstream_fields: self.fields,
            door: self.doors.clone(),
        })
    }

    /// Where the first visible column of that name stands.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().flatten().position(|c| *c.name == *name)
    }

    /// Base columns that it opens.
    pub(crate) fn opened(&self) -> impl Iterator<Item = &Sealed> {
        self.columns
            .iter()
            .flatten()
            .filter_map(|c| c.sealed.as_ref())
            .map(|s| &s.base.sealed)
    }
}

impl Judge<'_> {
    /// Walks an output list and spells `*` out where entries hide columns.
    pub(crate) fn targets(
        &mut self,
        list: &mut Vec<Node>,
        scope: &Scope<'_>,
        shown: &[Star],
        mode: &Mode,
    ) -> Result<Vec<Shown>, Refusal> {
        let mut outputs = Vec::with_capacity(list.len());
        let mut rewritten = Vec::with_capacity(list.len());
        let guarded = scope.entries.iter().any(|e| e.guarded);
        for mut item in list.drain(..) {
            let Some(NodeEnum::ResTarget(t)) = &mut item.node else {
                return Err(Refusal::internal("an output list holds something else"));
            };
            let Some(val) = &mut t.val else {
                return Err(Refusal::internal("an expression is empty"));
            };
            match star_of(val) {
                Some(qualifier) => {
                    self.seen.column_refs += 1;
                    let one;
                    let (stars, hides, unqualify): (&[Star], bool, bool) = match &qualifier {
                        None => (shown, guarded, false),
                        Some((schema, alias)) => {
                            let foreign = schema
                                .as_ref()
                                .is_some_and(|s| self.ask.catalog.closed && s != self.ask.catalog.schema.as_str());
                            let entry = scope.entry(alias).filter(|_| !foreign).ok_or_else(|| {
                                Refusal::new(
                                    "42P01",
                                    "relation",
                                    format!("missing FROM-clause entry for table \"{alias}\""),
                                )
                            })?;
                            one = stars_of(entry);
                            (&one, entry.guarded, schema.is_some())
                        }
                    };
                    self.star(item, stars, hides, unqualify, scope, &mut outputs, &mut rewritten)?;
                }
                None => {
                    let name = if t.name.is_empty() { output_name(val) } else { t.name.clone() };
                    let reference = self.catalogue_reference(val);
                    let sealed = match self.expr_as_it_is(val, scope)? {
                        Yield::Sealed(r) => Some(r),
                        Yield::Plain => None,
                    };
                    if reference && *mode != Mode::Client {
                        // Beneath another level it is shown, or compared with an oid.
                        let ty = if *mode == Mode::Values { "oid" } else { "text" };
                        **val = tree::cast(std::mem::take(val), ty);
                    }
                    // What stands in a reference's or an expression's place keeps its name.
                    if t.name.is_empty() && (sealed.is_some() || output_name(val) != name) {
                        t.name = name.clone();
                    }
                    let known = !expands(val);
                    outputs.push(Shown {
                        name: known.then(|| name.into()),
                        sealed,
                    });
                    rewritten.push(item);
                }
            }
        }
        *list = rewritten;
        Ok(outputs)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one output list")]
    fn star(
        &mut self,
        item: Node,
        stars: &[Star],
        hides: bool,
        unqualify: bool,
        scope: &Scope<'_>,
        outputs: &mut Vec<Shown>,
        rewritten: &mut Vec<Node>,
    ) -> Result<(), Refusal> {
        if !hides && !unqualify {
            for star in stars {
                outputs.push(match star {
                    Star::Column { alias, name, .. } => {
                        if let Some(entry) = scope.entry(alias) {
                            scope.note_use(entry, name);
                        }
                        Shown {
                            name: Some(name.clone()),
                            sealed: None,
                        }
                    }
                    Star::Merged(name) => Shown {
                        name: Some(name.clone()),
                        sealed: None,
                    },
                    Star::Unknown { .. } => Shown {
                        name: None,
                        sealed: None,
                    },
                });
            }
            rewritten.push(item);
            return Ok(());
        }
        for star in stars {
            let (mut node, name) = match star {
                Star::Column { alias, name, .. } => (tree::column(alias, name), Some(name.clone())),
                Star::Merged(name) => (tree::bare_column(name), Some(name.clone())),
                Star::Unknown { alias } => {
                    let mut star = tree::column(alias, "");
                    if let Some(NodeEnum::ColumnRef(c)) = &mut star.node {
                        c.fields[1] = tree::node(NodeEnum::AStar(pg_query::protobuf::AStar {}));
                    }
                    (star, None)
                }
            };
            let sealed = match &name {
                None => None,
                Some(_) => {
                    // Not a node of the client's: it is resolved like one, but not counted.
                    let before = self.seen.column_refs;
                    let y = self.expr(&mut node, scope)?;
                    self.seen.column_refs = before;
                    match y {
                        Yield::Sealed(r) => Some(r),
                        Yield::Plain => None,
                    }
                }
            };
            let shown_name = name.clone().filter(|n| output_name(&node) != **n || sealed.is_some());
            rewritten.push(match shown_name {
                Some(n) => tree::target(node, &n),
                None => tree::target(node, ""),
            });
            outputs.push(Shown { name, sealed });
        }
        Ok(())
    }

    /// Puts behind the visible outputs what opening them needs. A grouped envelope is taken, with its siblings, from the group's first
    /// row: all rows of a group have equal values.
    pub(crate) fn seal_outputs(
        &mut self,
        list: &mut Vec<Node>,
        outputs: &mut [Shown],
        grouped: &[SealedRef],
        doors: Doors,
        mode: &Mode,
    ) -> Result<Projection, Refusal> {
        // Only where another level looks on can a tag still be asked for.
        let with_tags = *mode == Mode::Derived;
        let known = outputs.iter().all(|o| o.name.is_some());
        if !known {
            if outputs.iter().any(|o| o.sealed.is_some()) || !doors.0.is_empty() {
                return Err(
                    Refusal::construct("A * over relations whose columns are not known, beside protected columns")
                        .hint("Name the columns."),
                );
            }
            return Ok(Projection::plain(outputs));
        }
        let mut fields = outputs.len();
        // Several envelopes of one relation share their siblings.
        let mut carried: Vec<(Node, usize, Box<str>)> = Vec::new();
        let mut given = Vec::with_capacity(outputs.len());
        for (i, output) in outputs.iter().enumerate() {
            let name = output.name.clone().unwrap_or_default();
            let Some(r) = &output.sealed else {
                given.push(Given { name, sealed: None });
                continue;
            };
            let by_group = grouped.iter().any(|g| g.same_as(r));
            if by_group
                && let Some(Node {
                    node: Some(NodeEnum::ResTarget(t)),
                }) = list.get_mut(i)
            {
                t.val = Some(Box::new(tree::first_of_group(r.envelope())));
            }
            let sealed = self.append_parts(list, &mut fields, &mut carried, r, by_group, with_tags);
            given.push(Given {
                name,
                sealed: Some(sealed),
            });
        }
        let mut checks = Vec::new();
        for matched in doors.0 {
            let r = &matched.column;
            let shown = outputs.iter().position(|o| o.sealed.as_ref().is_some_and(|s| s.same_as(r)));
            let (envelope, bound) = match shown.and_then(|i| given[i].sealed.as_ref().map(|s| (i, s))) {
                Some((i, s)) => (i, s.bound.iter().map(|(f, _)| *f).collect::<Vec<_>>()),
                None => {
                    let envelope = fields;
                    let name = self.hidden_name();
                    list.push(tree::target(r.envelope(), &name));
                    fields += 1;
                    let s = self.append_parts(list, &mut fields, &mut carried, r, false, false);
                    (envelope, s.bound.iter().map(|(f, _)| *f).collect())
                }
            };
            self.opened.insert(r.col.sealed.column.clone());
            checks.push(DoorCheck {
                envelope,
                open: Open {
                    column: r.col.sealed.clone(),
                    bound: bound
                        .into_iter()
                        .zip(&r.col.bound)
                        .map(|(f, (_, ty))| (f, ty.clone()))
                        .collect(),
                    mask: r.col.mask.clone(),
                },
                one_of: matched.one_of,
                array: matched.array,
            });
        }
        Ok(Projection {
            columns: Some(given),
            fields,
            doors: checks,
        })
    }

    fn append_parts(
        &mut self,
        list: &mut Vec<Node>,
        fields: &mut usize,
        carried: &mut Vec<(Node, usize, Box<str>)>,
        r: &SealedRef,
        grouped: bool,
        with_tag: bool,
    ) -> GivenSealed {
        let mut carry = |judge: &mut Self, node: Node| match carried.iter().find(|(n, ..)| *n == node) {
            Some((_, field, name)) => (*field, name.clone()),
            None => {
                let name: Box<str> = judge.hidden_name().into();
                list.push(tree::target(node.clone(), &name));
                carried.push((node, *fields, name.clone()));
                *fields += 1;
                (*fields - 1, name)
            }
        };
        let mut bound = Vec::with_capacity(r.col.bound.len());
        for node in r.bound() {
            bound.push(carry(self, if grouped { tree::first_of_group(node) } else { node }));
        }
        let tag = match r.tag() {
            Ok(node) if with_tag => Some(carry(self, node)),
            _ => None,
        };
        GivenSealed {
            base: r.col.clone(),
            tag,
            bound,
        }
    }
}

/// `(value).*`: as many outputs as the value's type has fields.
pub(crate) fn expands(n: &Node) -> bool {
    matches!(&n.node, Some(NodeEnum::AIndirection(i)) if matches!(i.indirection.last(), Some(Node { node: Some(NodeEnum::AStar(_)) })))
}

/// `*`, `alias.*` or `schema.table.*`: the qualifier, if there is one.
fn star_of(n: &Node) -> Option<Option<(Option<String>, String)>> {
    let Some(NodeEnum::ColumnRef(c)) = &n.node else { return None };
    match c.fields.as_slice() {
        [
            ..,
            Node {
                node: Some(NodeEnum::AStar(_)),
            },
        ] => {}
        _ => return None,
    }
    let names: Vec<&str> = c.fields[..c.fields.len() - 1].iter().filter_map(tree::text_of).collect();
    Some(match names.as_slice() {
        [] => None,
        [alias] => Some((None, (*alias).to_owned())),
        [.., schema, alias] => Some((Some((*schema).to_owned()), (*alias).to_owned())),
    })
}

/// The name PostgreSQL gives an output that has none (`FigureColname`).
fn output_name(n: &Node) -> String {
    figure(n).map_or_else(|| "?column?".to_owned(), |(name, _)| name)
}

fn figure(n: &Node) -> Option<(String, bool)> {
    let strong = |s: &str| Some((s.to_owned(), true));
    match &n.node {
        Some(NodeEnum::ColumnRef(c)) => c.fields.iter().rev().find_map(tree::text_of).and_then(strong),
        Some(NodeEnum::AIndirection(i)) => match i.indirection.iter().rev().find_map(tree::text_of) {
            Some(field) => strong(field),
            None => i.arg.as_deref().and_then(figure),
        },
        Some(NodeEnum::FuncCall(f)) => f.funcname.last().and_then(tree::text_of).and_then(strong),
        Some(NodeEnum::AExpr(e)) if e.kind() == pg_query::protobuf::AExprKind::AexprNullif => strong("nullif"),
        Some(NodeEnum::TypeCast(c)) => match c.arg.as_deref().and_then(figure).filter(|(_, strong)| *strong) {
            Some(named) => Some(named),
            None => c
                .type_name
                .as_ref()
                .and_then(|t| t.names.last())
                .and_then(tree::text_of)
                .map(|t| (t.to_owned(), false)),
        },
        Some(NodeEnum::CollateClause(c)) => c.arg.as_deref().and_then(figure),
        Some(NodeEnum::GroupingFunc(_)) => strong("grouping"),
        Some(NodeEnum::SubLink(s)) => match s.sub_link_type() {
            pg_query::protobuf::SubLinkType::ExistsSublink => strong("exists"),
            pg_query::protobuf::SubLinkType::ArraySublink => strong("array"),
            pg_query::protobuf::SubLinkType::ExprSublink => match s.subselect.as_ref().and_then(|q| q.node.as_ref()) {
                Some(NodeEnum::SelectStmt(q)) => match q.target_list.first().and_then(|t| t.node.as_ref()) {
                    Some(NodeEnum::ResTarget(t)) if !t.name.is_empty() => strong(&t.name),
                    Some(NodeEnum::ResTarget(t)) => t.val.as_deref().and_then(figure),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        },
        Some(NodeEnum::CaseExpr(c)) => match c.defresult.as_deref().and_then(figure).filter(|(_, strong)| *strong) {
            Some(named) => Some(named),
            None => Some(("case".to_owned(), false)),
        },
        Some(NodeEnum::AArrayExpr(_)) => strong("array"),
        Some(NodeEnum::RowExpr(_)) => strong("row"),
        Some(NodeEnum::CoalesceExpr(_)) => strong("coalesce"),
        Some(NodeEnum::MinMaxExpr(m)) => strong(if m.op == pg_query::protobuf::MinMaxOp::IsGreatest as i32 {
            "greatest"
        } else {
            "least"
        }),
        Some(NodeEnum::SqlvalueFunction(f)) => {
            use pg_query::protobuf::SqlValueFunctionOp as Op;
            strong(match f.op() {
                Op::SvfopCurrentDate => "current_date",
                Op::SvfopCurrentTime | Op::SvfopCurrentTimeN => "current_time",
                Op::SvfopCurrentTimestamp | Op::SvfopCurrentTimestampN => "current_timestamp",
                Op::SvfopLocaltime | Op::SvfopLocaltimeN => "localtime",
                Op::SvfopLocaltimestamp | Op::SvfopLocaltimestampN => "localtimestamp",
                Op::SvfopCurrentRole => "current_role",
                Op::SvfopCurrentUser => "current_user",
                Op::SvfopUser => "user",
                Op::SvfopSessionUser => "session_user",
                Op::SvfopCurrentCatalog => "current_catalog",
                Op::SvfopCurrentSchema => "current_schema",
                _ => return None,
            })
        }
        _ => None,
    }
}
