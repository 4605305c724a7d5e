//! What the statements of one batch will have done to the catalogue by the time the next of them runs.
//!
//! A batch is judged before any of it runs, so what an earlier statement makes, renames or drops is foreseen. Only relations that no manifest
//! declares are foreseen, and none ever takes a declared one's place. Where a statement leaves open what a name stands for when the next one runs
//! ([`Catalog::doubt`]), whatever names it is refused and must be sent by itself: the catalogue is read again before it is judged. That is so
//! - of a partition that is made of a declared table or detached from one,
//! - of what `IF EXISTS`, `IF NOT EXISTS` or `OR REPLACE` may have left as it was, where that would make a difference,
//! - after the end of a transaction that brings back what the catalogue at hand was read without, of everything that no manifest declares.

use pg_query::NodeEnum;
use pg_query::protobuf::{AlterTableStmt, AlterTableType, CreateStmt, Node, ObjectType, RangeVar, RawStmt};

use crate::catalog::{Catalog, Relation, RelationKind, Signature};
use crate::ddl::{dropped_kind, named};
use crate::judge::Ask;
use crate::plan::{Effect, Plan, Refusal, Transaction};
use crate::{create_function, tree};

/// A relation's schema and name.
type Name = (String, String);

/// What a DDL statement of a batch will have done to the catalogue when the next one runs.
pub(crate) enum Change {
    /// A relation is made. `or_kept`: unless it was there, or it may have gone elsewhere.
    Made { name: Name, kind: RelationKind, or_kept: bool },
    /// Relations are gone.
    Gone(Vec<Name>),
    /// A relation has another name. `if_there`: unless it had gone.
    Renamed { name: Name, new: String, if_there: bool },
    /// What a name stands for is not known.
    Unknown(Name),
    /// A type is made.
    Type(String),
    /// A function is made.
    Function(String, Signature),
}

/// The catalogue as the next statement of a batch will find it.
pub(crate) struct Ahead<'a> {
    now: &'a Catalog,
    changed: Option<Catalog>,
    /// A statement of the batch has changed something, or may have.
    has_changed: bool,
    /// A statement stands before that PostgreSQL refuses in a failed transaction: COMMIT commits.
    commits: bool,
}

impl<'a> Ahead<'a> {
    pub(crate) fn new(now: &'a Catalog) -> Self {
        Self {
            now,
            changed: None,
            has_changed: false,
            commits: false,
        }
    }

    /// The catalogue that the next statement is judged with.
    pub(crate) fn catalog(&self) -> &Catalog {
        self.changed.as_ref().unwrap_or(self.now)
    }

    /// Goes past a statement that was judged with that catalogue.
    pub(crate) fn pass(&mut self, change: Option<Change>, plan: &Plan) {
        if let Some(change) = change {
            change.apply(self.changed.get_or_insert_with(|| self.now.clone()));
        }
        self.has_changed |= plan.effect == Effect::Ddl;
        match plan.effect {
            Effect::Transaction(Transaction::Commit) if self.commits => {}
            Effect::Transaction(Transaction::Commit | Transaction::Rollback | Transaction::RollbackTo) => {
                if self.has_changed || self.now.uncommitted {
                    self.changed.get_or_insert_with(|| self.now.clone()).revert();
                }
            }
            _ => self.commits = true,
        }
    }
}

/// Foresees a statement's effect on the names that later statements of the same batch may use. Columns of what is made are not known
/// until it runs, so they are taken as plain.
pub(crate) fn foreseen(stmt: &RawStmt, ask: &Ask<'_>) -> Option<Change> {
    let made = |r: Option<&RangeVar>, kind, or_kept| {
        Some(Change::Made {
            name: place(r?, ask),
            kind,
            or_kept,
        })
    };
    match stmt.stmt.as_ref()?.node.as_ref()? {
        NodeEnum::CreateStmt(c) if c.partbound.is_some() && of_declared(c, ask) => {
            Some(Change::Unknown(place(c.relation.as_ref()?, ask)))
        }
        NodeEnum::CreateStmt(c) => made(c.relation.as_ref(), RelationKind::Table, c.if_not_exists),
        NodeEnum::SelectStmt(s) => made(crate::ddl::into_of(s)?.rel.as_ref(), RelationKind::Table, false),
        NodeEnum::CreateTableAsStmt(c) => {
            let kind = match c.objtype() {
                ObjectType::ObjectMatview => RelationKind::MaterialisedView,
                _ => RelationKind::Table,
            };
            made(c.into.as_ref()?.rel.as_ref(), kind, c.if_not_exists)
        }
        NodeEnum::ViewStmt(v) => {
            let r = v.view.as_ref()?;
            // One over a temporary relation is made elsewhere.
            let anywhere = r.schemaname.is_empty() && r.relpersistence != "t";
            made(Some(r), RelationKind::View, v.replace || anywhere)
        }
        NodeEnum::CreateSeqStmt(s) => made(s.sequence.as_ref(), RelationKind::Sequence, s.if_not_exists),
        NodeEnum::IndexStmt(i) if !i.idxname.is_empty() => Some(Change::Made {
            name: (there(i.relation.as_ref()?, ask).0, i.idxname.clone()),
            kind: RelationKind::Index,
            or_kept: i.if_not_exists,
        }),
        NodeEnum::CompositeTypeStmt(c) => made(c.typevar.as_ref(), RelationKind::Composite, false),
        NodeEnum::CreateEnumStmt(e) => tree::parts(&e.type_name)?.last().map(|n| Change::Type((*n).to_owned())),
        NodeEnum::CreateDomainStmt(d) => tree::parts(&d.domainname)?.last().map(|n| Change::Type((*n).to_owned())),
        NodeEnum::RenameStmt(r) if matches!(r.rename_type(), ObjectType::ObjectType | ObjectType::ObjectDomain) => {
            let name = there(&relation_of(r.object.as_deref()?)?, ask);
            Some(match ask.catalog.relation(&name.0, &name.1) {
                Some(_) => Change::Renamed {
                    name,
                    new: r.newname.clone(),
                    if_there: false,
                },
                None => Change::Type(r.newname.clone()),
            })
        }
        NodeEnum::RenameStmt(r) if renames_relation(r.rename_type()) => Some(Change::Renamed {
            name: there(r.relation.as_ref()?, ask),
            new: r.newname.clone(),
            if_there: r.missing_ok,
        }),
        NodeEnum::CreateFunctionStmt(f) => create_function::made(f, ask).map(|(name, s)| Change::Function(name, s)),
        NodeEnum::DropStmt(d) if dropped_kind(d.remove_type()).is_some() || d.remove_type() == ObjectType::ObjectType => {
            let gone = d.objects.iter().filter_map(relation_of).map(|r| there(&r, ask));
            Some(Change::Gone(gone.collect()))
        }
        NodeEnum::AlterTableStmt(a) => {
            let (schema, name) = there(detached(a)?, ask);
            let partition = ask.catalog.relation(&schema, &name)?;
            partition.is_manifests().then_some(Change::Unknown((schema, name)))
        }
        _ => None,
    }
}

/// The refusal of a name that stands for nobody knows what.
pub(crate) fn in_doubt(r: &RangeVar) -> Refusal {
    Refusal::new(
        "0A000",
        "batch",
        format!(
            "what \"{}\" is after the statements before it in the same query cannot be told in advance",
            r.relname
        ),
    )
    .hint("Send this statement as a query of its own.")
    .at(r.location)
}

/// The relation that a name stands for in a statement about an existing one.
fn there(r: &RangeVar, ask: &Ask<'_>) -> Name {
    let schema = match r.schemaname.as_str() {
        "" if ask.catalog.relation("pg_temp", &r.relname).is_some() => "pg_temp",
        "" => ask.catalog.schema.as_str(),
        s => s,
    };
    (schema.to_owned(), r.relname.clone())
}

/// Where a new relation goes.
fn place(r: &RangeVar, ask: &Ask<'_>) -> Name {
    let schema = match r.schemaname.as_str() {
        "" if r.relpersistence == "t" => "pg_temp",
        "" => ask.catalog.schema.as_str(),
        s => s,
    };
    (schema.to_owned(), r.relname.clone())
}

/// A relation's name where one of any kind may stand, or a type's.
fn relation_of(n: &Node) -> Option<RangeVar> {
    let parts = match n.node.as_ref()? {
        NodeEnum::List(l) => tree::parts(&l.items)?,
        NodeEnum::TypeName(ty) => tree::parts(&ty.names)?,
        _ => return None,
    };
    Some(named(&parts))
}

fn renames_relation(kind: ObjectType) -> bool {
    matches!(
        kind,
        ObjectType::ObjectTable
            | ObjectType::ObjectView
            | ObjectType::ObjectMatview
            | ObjectType::ObjectIndex
            | ObjectType::ObjectSequence
    )
}

/// The partition of a DETACH.
fn detached(a: &AlterTableStmt) -> Option<&RangeVar> {
    a.cmds.iter().find_map(|n| match &n.node {
        Some(NodeEnum::AlterTableCmd(c))
            if matches!(
                c.subtype(),
                AlterTableType::AtDetachPartition | AlterTableType::AtDetachPartitionFinalize
            ) =>
        {
            match c.def.as_ref()?.node.as_ref()? {
                NodeEnum::PartitionCmd(p) => p.name.as_ref(),
                _ => None,
            }
        }
        _ => None,
    })
}

/// Whether a table to be made is a partition of a declared one.
fn of_declared(c: &CreateStmt, ask: &Ask<'_>) -> bool {
    let parents = c.inh_relations.iter().filter_map(|n| match &n.node {
        Some(NodeEnum::RangeVar(r)) => Some(r),
        _ => None,
    });
    let own = ask.catalog.schema.as_str();
    parents.into_iter().any(|r| {
        let schema = if r.schemaname.is_empty() { own } else { &r.schemaname };
        ask.catalog.relation(schema, &r.relname).is_some_and(|p| p.declared.is_some())
    })
}

impl Change {
    fn apply(self, catalog: &mut Catalog) {
        if !catalog.closed {
            return;
        }
        match self {
            Change::Made { name, kind, or_kept } => made(catalog, name, kind, or_kept),
            Change::Type(name) => catalog.add_type(&name),
            Change::Function(name, signature) => catalog.add_function(&name, signature),
            Change::Unknown((schema, name)) => catalog.doubt(&schema, &name),
            Change::Gone(names) => {
                for (schema, name) in names {
                    if catalog.relation(&schema, &name).is_some_and(|r| !r.is_manifests()) {
                        catalog.remove(&schema, &name);
                    }
                }
            }
            Change::Renamed { name, new, if_there } => renamed(catalog, &name, &new, if_there),
        }
    }
}

fn made(catalog: &mut Catalog, (schema, name): Name, kind: RelationKind, or_kept: bool) {
    match catalog.relation(&schema, &name) {
        Some(there) if there.is_manifests() => return,
        // One that is dropped along with another may have made room for this one.
        Some(there) if or_kept && there.kind != kind => return catalog.doubt(&schema, &name),
        Some(_) if or_kept => return,
        None if or_kept && catalog.may_hold_more(&schema, &name) => return catalog.doubt(&schema, &name),
        _ if catalog.leaves_out(&schema, &name) => return,
        _ => {}
    }
    if !or_kept {
        // It succeeds where the name was free.
        catalog.settle(&schema, &name);
    }
    catalog.insert(Relation::undeclared(schema, name, kind));
}

fn renamed(catalog: &mut Catalog, (schema, name): &Name, new: &str, if_there: bool) {
    let Some(old) = catalog.relation(schema, name).filter(|r| !r.is_manifests()).cloned() else {
        return;
    };
    let taken = catalog.relation(schema, new).is_some_and(|r| r.is_manifests()) || catalog.leaves_out(schema, new);
    if if_there {
        // It may have gone along with another, and then nothing is renamed.
        catalog.doubt(schema, name);
        if !taken {
            catalog.doubt(schema, new);
        }
        return;
    }
    catalog.remove(schema, name);
    if !taken {
        catalog.settle(schema, new);
        catalog.insert(Relation {
            name: new.into(),
            ..(*old).clone()
        });
    }
}
