//! What the statements of one batch will have done to the catalogue by the time the next of them runs.

use pg_query::NodeEnum;
use pg_query::protobuf::{CreateStmt, ObjectType, RangeVar, RawStmt};

use crate::catalog::{Catalog, Native, Partitioning, Relation, RelationKind, Signature};
use crate::ddl::named;
use crate::judge::Ask;
use crate::{create_function, tree};

/// What a DDL statement of a batch will have done to the catalogue when the next one runs.
pub(crate) enum Change {
    Made(String, String, RelationKind),
    Gone(Vec<(String, String)>),
    Renamed(String, String, String),
    Type(String),
    Function(String, Signature),
}

/// Foresees a statement's effect on the names that later statements of the same batch may use. Columns of what is made are not known
/// until it runs, so they are taken as plain; only relations that no manifest declares can be made.
pub(crate) fn foreseen(stmt: &RawStmt, ask: &Ask<'_>) -> Option<Change> {
    let own = ask.catalog.schema.as_str();
    let existing = |schema: &str, name: &str| {
        let schema = match schema {
            "" if ask.catalog.relation("pg_temp", name).is_some() => "pg_temp",
            "" => own,
            s => s,
        };
        (schema.to_owned(), name.to_owned())
    };
    let place = |r: &RangeVar| {
        let schema = match r.schemaname.as_str() {
            "" if r.relpersistence == "t" => "pg_temp",
            "" => own,
            s => s,
        };
        (schema.to_owned(), r.relname.clone())
    };
    let made = |r: Option<&RangeVar>, kind| r.map(place).map(|(s, n)| Change::Made(s, n, kind));
    match stmt.stmt.as_ref()?.node.as_ref()? {
        // What a partition's table is was judged; by its own name it is missing until the catalogue was read again.
        NodeEnum::CreateStmt(c) if c.partbound.is_some() && of_declared(c, ask) => None,
        NodeEnum::CreateStmt(c) => made(c.relation.as_ref(), RelationKind::Table),
        NodeEnum::SelectStmt(s) => made(crate::ddl::into_of(s)?.rel.as_ref(), RelationKind::Table),
        NodeEnum::CreateTableAsStmt(c) => made(c.into.as_ref()?.rel.as_ref(), RelationKind::Table),
        NodeEnum::ViewStmt(v) => made(v.view.as_ref(), RelationKind::View),
        NodeEnum::CreateSeqStmt(s) => made(s.sequence.as_ref(), RelationKind::Sequence),
        NodeEnum::CompositeTypeStmt(c) => made(c.typevar.as_ref(), RelationKind::Composite),
        NodeEnum::CreateEnumStmt(e) => tree::parts(&e.type_name)?.last().map(|n| Change::Type((*n).to_owned())),
        NodeEnum::CreateDomainStmt(d) => tree::parts(&d.domainname)?.last().map(|n| Change::Type((*n).to_owned())),
        NodeEnum::RenameStmt(r) if matches!(r.rename_type(), ObjectType::ObjectType | ObjectType::ObjectDomain) => {
            Some(Change::Type(r.newname.clone()))
        }
        NodeEnum::CreateFunctionStmt(f) => create_function::made(f, ask).map(|(name, s)| Change::Function(name, s)),
        NodeEnum::DropStmt(d) => {
            let gone = d.objects.iter().filter_map(|o| match &o.node {
                Some(NodeEnum::List(l)) => tree::parts(&l.items)
                    .map(|p| named(&p))
                    .map(|r| existing(&r.schemaname, &r.relname)),
                _ => None,
            });
            Some(Change::Gone(gone.collect()))
        }
        NodeEnum::RenameStmt(r) if matches!(r.rename_type(), ObjectType::ObjectTable | ObjectType::ObjectView) => {
            let (schema, name) = existing(&r.relation.as_ref()?.schemaname, &r.relation.as_ref()?.relname);
            Some(Change::Renamed(schema, name, r.newname.clone()))
        }
        _ => None,
    }
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
    pub(crate) fn apply(self, catalog: &mut Catalog) {
        if !catalog.closed {
            return;
        }
        match self {
            Change::Made(schema, name, kind) => {
                if catalog.relation(&schema, &name).is_none() {
                    let relation = Relation {
                        schema: schema.into(),
                        name: name.into(),
                        kind,
                        columns: None,
                        declared: None,
                        native: Native::Nothing,
                        forced: false,
                        outdated: false,
                        partitioning: Partitioning::default(),
                    };
                    catalog.insert(relation);
                }
            }
            Change::Type(name) => catalog.add_type(&name),
            Change::Function(name, signature) => catalog.add_function(&name, signature),
            Change::Gone(names) => {
                for (schema, name) in names {
                    if catalog.relation(&schema, &name).is_some_and(|r| r.declared.is_none()) {
                        catalog.remove(&schema, &name);
                    }
                }
            }
            Change::Renamed(schema, name, new) => {
                if let Some(old) = catalog.relation(&schema, &name).filter(|r| r.declared.is_none()).cloned() {
                    catalog.remove(&schema, &name);
                    catalog.insert(Relation {
                        name: new.into(),
                        ..(*old).clone()
                    });
                }
            }
        }
    }
}
