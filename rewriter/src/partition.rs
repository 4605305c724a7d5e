//! Partitions: of tables that no manifest declares like any relation of the module's own, of declared tables with care.
//!
//! Rows of a declared table must never come without its filter, nor get there without its checks. So:
//! - A partition of a declared table is read by its own name as that table is, limited to the rows that lie in it; what it is made, changed and
//!   removed by is its table's name.
//! - PostgreSQL keeps it closed: row-level security without a policy, and no right to write (`postern provision`, and where it may make event
//!   triggers as soon as the partition is made).
//! - A migrator makes partitions (`CREATE TABLE … PARTITION OF`), which are empty, and detaches them. What was detached stays closed
//!   ([`Relation::is_closed`]): it is there to be dropped.
//! - Its name begins with its table's and an underscore, and nothing else that a module makes is named so: a statement may wait for a lock, and what
//!   its name stands for when it goes on is looked up anew. What was judged as the module's own never becomes a partition.
//! - ATTACH is refused: no check ever saw the rows that would come with it. Nor does a declared table become a partition, or get children.

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{self, AlterTableType, Node};
use postern_config::Table;

use crate::catalog::Relation;
use crate::ddl::{anything, by_manifest, not_by};
use crate::judge::Judge;
use crate::plan::Refusal;
use crate::relations::Target;
use crate::tree;

/// Whether a name is one of those that only partitions of that table have.
fn named_as_partition(table: &Table, name: &str) -> bool {
    table.partition_by.is_some()
        && name
            .strip_prefix(table.name.name.as_str())
            .is_some_and(|rest| rest.starts_with('_'))
}

impl Judge<'_> {
    /// `PARTITION BY`.
    pub(crate) fn partition_key(&mut self, by: &mut protobuf::PartitionSpec) -> Result<(), Refusal> {
        for n in &mut by.part_params {
            let Some(NodeEnum::PartitionElem(e)) = &mut n.node else {
                return Err(Refusal::internal("a partition key holds something else"));
            };
            let collation = tree::parts(&e.collation);
            if !e.collation.is_empty() && !collation.is_some_and(|c| self.may_name_collation(&c)) || e.opclass.len() > 1 {
                return Err(Refusal::construct("This form of a partition key"));
            }
            self.plain_opt(e.expr.as_mut(), &anything())?;
        }
        Ok(())
    }

    /// `FOR VALUES …` or `DEFAULT`.
    pub(crate) fn partition_bound(&mut self, bound: &mut protobuf::PartitionBoundSpec) -> Result<(), Refusal> {
        let values = [&mut bound.listdatums, &mut bound.lowerdatums, &mut bound.upperdatums];
        // MINVALUE and MAXVALUE are read as columns of those names.
        values.into_iter().try_for_each(|list| self.plain_all(list, &anything()))
    }

    /// `ATTACH` and `DETACH PARTITION`: the partition.
    pub(crate) fn partition_command(&mut self, p: &mut protobuf::PartitionCmd) -> Result<(), Refusal> {
        self.own_undeclared(p.name.as_mut())?;
        match &mut p.bound {
            Some(bound) => self.partition_bound(bound),
            None => Ok(()),
        }
    }

    /// The rest of `CREATE TABLE … PARTITION OF` a declared table: its columns and constraints are that table's. `false` for any other table.
    pub(crate) fn partition_of_declared(&mut self, c: &mut protobuf::CreateStmt) -> Result<bool, Refusal> {
        let (
            Some(_),
            [
                Node {
                    node: Some(NodeEnum::RangeVar(r)),
                },
            ],
        ) = (&c.partbound, c.inh_relations.as_mut_slice())
        else {
            return Ok(false);
        };
        let Some(parent) = self.partitioned_and_declared(r)? else {
            return Ok(false);
        };
        let Some(table) = &parent.declared else {
            return Err(Refusal::internal("a declared table has no declaration"));
        };
        if !self.ask.undeclared {
            return Err(not_by(self.ask));
        }
        self.seen.range_vars += 1;
        if !(c.table_elts.is_empty() && c.constraints.is_empty() && c.nnconstraints.is_empty() && c.of_typename.is_none()) {
            return Err(by_manifest(&parent.name).hint("A partition's columns and constraints are its table's; name none."));
        }
        let by = c.partspec.iter().flat_map(|by| &by.part_params);
        for n in by {
            let Some(NodeEnum::PartitionElem(e)) = &n.node else {
                return Err(Refusal::internal("a partition key holds something else"));
            };
            // A partition beside a DEFAULT one is made only where that holds no row of it, so the key tells of hidden rows.
            let declared = table
                .partition_by
                .as_ref()
                .is_some_and(|by| by.columns.iter().any(|column| column.as_str() == e.name));
            if e.expr.is_some() || !declared {
                return Err(Refusal::construct("A partition key of this kind")
                    .hint("Name columns that the table itself is partitioned by."));
            }
        }
        let name = c.relation.as_ref().map_or("", |r| r.relname.as_str());
        if !named_as_partition(table, name) {
            return Err(Refusal::denied(
                "ddl",
                format!("permission denied to name a partition of table \"{}\" so", table.name.name),
            )
            .hint(format!("Its name begins with {}_.", table.name.name)));
        }
        self.qualify_target(r, &parent);
        Ok(true)
    }

    /// Refuses a name that only a partition of a declared table may have.
    pub(crate) fn no_partitions_name(&self, schema: &str, name: &str) -> Result<(), Refusal> {
        let taken = self.ask.catalog.relations().find_map(|r| {
            let table = r.declared.as_deref()?;
            (*table.name.schema.as_str() == *schema && named_as_partition(table, name)).then(|| table.name.name.clone())
        });
        match taken {
            Some(table) => Err(Refusal::denied(
                "ddl",
                format!("permission denied for \"{name}\": only partitions of table \"{table}\" are named so"),
            )
            .hint(format!("Choose a name that does not begin with {table}_."))),
            None => Ok(()),
        }
    }

    /// `ALTER TABLE … DETACH PARTITION` of a declared table. `false` for any other statement.
    pub(crate) fn detaches_from_declared(&mut self, a: &mut protobuf::AlterTableStmt) -> Result<bool, Refusal> {
        let (
            Some(r),
            [
                Node {
                    node: Some(NodeEnum::AlterTableCmd(command)),
                },
            ],
        ) = (&mut a.relation, a.cmds.as_mut_slice())
        else {
            return Ok(false);
        };
        let subtype = command.subtype();
        if !matches!(
            subtype,
            AlterTableType::AtAttachPartition | AlterTableType::AtDetachPartition | AlterTableType::AtDetachPartitionFinalize
        ) {
            return Ok(false);
        }
        let Some(parent) = self.partitioned_and_declared(r)? else {
            return Ok(false);
        };
        if !self.ask.undeclared {
            return Err(not_by(self.ask));
        }
        if subtype == AlterTableType::AtAttachPartition {
            return Err(Refusal::denied(
                "ddl",
                format!("permission denied to attach a partition to table \"{}\"", parent.name),
            )
            .hint("No policy has checked the rows that would come with it. Make the partition with CREATE TABLE … PARTITION OF and insert them."));
        }
        let Some(Some(NodeEnum::PartitionCmd(p))) = command.def.as_mut().map(|d| &mut d.node) else {
            return Err(Refusal::internal("DETACH PARTITION holds something else"));
        };
        let Some(name) = &mut p.name else {
            return Err(Refusal::internal("a relation has no name"));
        };
        self.seen.range_vars += 2;
        let Target::Own(partition) = self.resolve(name)? else {
            return Err(Refusal::missing_relation(&name.relname, -1));
        };
        let theirs = |r: &Relation| r.declared.as_ref().map(|t| t.name.clone());
        if !partition.is_partition() || theirs(&partition) != theirs(&parent) {
            return Err(Refusal::new(
                "42P01",
                "relation",
                format!(
                    "relation \"{}\" is not a partition of relation \"{}\"",
                    partition.name, parent.name
                ),
            ));
        }
        if !partition.partitioning.closed {
            return Err(Refusal::new(
                "0A000",
                "unsecured",
                format!(
                    "row-level security is off for partition {}, so whoever asked for it could read its rows",
                    partition.name
                ),
            )
            .hint("The database differs from the manifests; `postern provision` mends it."));
        }
        self.qualify_target(name, &partition);
        self.qualify_target(r, &parent);
        Ok(true)
    }

    /// A declared table that has partitions, or a partition of one that does; `None` for every other relation.
    fn partitioned_and_declared(&mut self, r: &protobuf::RangeVar) -> Result<Option<Arc<Relation>>, Refusal> {
        // A name that is missing is told by whoever reads it next.
        Ok(match Judge::scout(self.ask).resolve(r) {
            Ok(Target::Own(relation)) if relation.declared.is_some() && relation.partitioning.partitioned => {
                self.resolve(r)?;
                Some(relation)
            }
            _ => None,
        })
    }

    /// Qualifies a declared relation whose definition the statement changes.
    fn qualify_target(&mut self, r: &mut protobuf::RangeVar, relation: &Relation) {
        self.targets.push((relation.schema.to_string(), relation.name.to_string()));
        r.schemaname = relation.schema.to_string();
    }
}

/// The refusal of a write by the name of a partition of a declared table.
pub(crate) fn written(partition: &Relation) -> Refusal {
    let table = partition.declared.as_ref().map_or("its table", |t| t.name.name.as_str());
    Refusal::new(
        "0A000",
        "partition",
        format!(
            "rows of partition \"{}\" are written by the name of its table",
            partition.name
        ),
    )
    .hint(format!("Name \"{table}\" instead: PostgreSQL finds the partition."))
}
