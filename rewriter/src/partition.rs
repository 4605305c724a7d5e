//! Partitions of tables that no manifest declares.
//!
//! A declared table never becomes a partition, nor gets one, by a client's DDL: read under the other's name its rows would come without
//! their filter.

use pg_query::NodeEnum;
use pg_query::protobuf;

use crate::ddl::anything;
use crate::judge::Judge;
use crate::plan::Refusal;
use crate::tree;

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
}
