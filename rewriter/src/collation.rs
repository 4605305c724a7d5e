//! Collations of the module's own: made, renamed, described and dropped in its schema.
//!
//! Their names are not in the snapshot. A collation holds neither rows nor code, `pg_catalog` and the module's schema are the whole path, and
//! what is named with a schema is the module's own or a built-in one; so PostgreSQL may answer whether there is such a one.

use pg_query::NodeEnum;
use pg_query::protobuf::{self, DropBehavior, Node, ObjectType};

use crate::ddl::not_by;
use crate::judge::Judge;
use crate::plan::Refusal;
use crate::tree;

impl Judge<'_> {
    /// `CREATE COLLATION … (…)` and `… FROM …`.
    pub(crate) fn create_collation(&mut self, d: &mut protobuf::DefineStmt) -> Result<(), Refusal> {
        if d.kind() != ObjectType::ObjectCollation || d.oldstyle || d.replace || !d.args.is_empty() {
            return Err(Refusal::statement("This kind of CREATE"));
        }
        if !self.ask.undeclared {
            return Err(not_by(self.ask));
        }
        let own = self.ask.catalog.schema.as_str();
        let name = match tree::parts(&d.defnames).as_deref() {
            Some([name]) => (*name).to_owned(),
            Some([schema, name]) if *schema == own => (*name).to_owned(),
            Some([schema, _]) => {
                return Err(Refusal::new(
                    "3F000",
                    "relation",
                    format!("schema \"{schema}\" does not exist"),
                ));
            }
            Some(_) => return Err(Refusal::construct("A reference to another database")),
            None => return Err(Refusal::internal("a collation has no name")),
        };
        d.defnames = vec![tree::string(own), tree::string(&name)];
        for option in &mut d.definition {
            let Some(NodeEnum::DefElem(option)) = &mut option.node else {
                return Err(Refusal::internal("CREATE COLLATION holds something else"));
            };
            let known = matches!(
                option.defname.as_str(),
                "locale" | "lc_collate" | "lc_ctype" | "provider" | "deterministic"
            );
            match option.arg.as_mut().and_then(|a| a.node.as_mut()) {
                None | Some(NodeEnum::String(_)) if known => {}
                // A word without quotes.
                Some(NodeEnum::TypeName(word))
                    if known
                        && word.names.len() == 1
                        && word.typmods.is_empty()
                        && word.array_bounds.is_empty()
                        && !word.setof =>
                {
                    self.seen.type_names += 1;
                }
                Some(NodeEnum::List(names)) if option.defname == "from" => {
                    let Some(parts) = tree::parts(&names.items) else {
                        return Err(Refusal::internal("a collation has no name"));
                    };
                    if !self.may_name_collation(&parts) {
                        return Err(missing(&parts));
                    }
                }
                _ => return Err(Refusal::construct("This option of CREATE COLLATION")),
            }
        }
        Ok(())
    }

    /// One collation of `DROP COLLATION`.
    pub(crate) fn drop_collation(&self, n: &mut Node, behavior: DropBehavior) -> Result<(), Refusal> {
        // A declared table's column may have it.
        if behavior == DropBehavior::DropCascade && self.ask.catalog.declares() {
            return Err(
                Refusal::construct("DROP COLLATION … CASCADE").hint("Drop what uses it first: then it is seen what goes.")
            );
        }
        self.existing_collation(n)
    }

    /// The name of a collation of the module's own; another's is missing.
    pub(crate) fn existing_collation(&self, n: &mut Node) -> Result<(), Refusal> {
        if !self.ask.undeclared {
            return Err(not_by(self.ask));
        }
        let own = self.ask.catalog.schema.as_str();
        let Some(NodeEnum::List(names)) = &mut n.node else {
            return Err(Refusal::internal("a collation has no name"));
        };
        let Some(parts) = tree::parts(&names.items) else {
            return Err(Refusal::internal("a collation has no name"));
        };
        let name = match parts.as_slice() {
            [name] => (*name).to_owned(),
            [schema, name] if *schema == own => (*name).to_owned(),
            ["pg_catalog", name] => return Err(Refusal::denied("ddl", format!("must be owner of collation {name}"))),
            _ => return Err(missing(&parts)),
        };
        names.items = vec![tree::string(own), tree::string(&name)];
        Ok(())
    }

    /// Whether a statement may name a collation so: without a schema, a built-in one or the module's own.
    pub(crate) fn may_name_collation(&self, parts: &[&str]) -> bool {
        match parts {
            [_] | ["pg_catalog", _] => true,
            [schema, _] => *schema == self.ask.catalog.schema.as_str(),
            _ => false,
        }
    }
}

fn missing(parts: &[&str]) -> Refusal {
    Refusal::new(
        "42704",
        "collation",
        format!("collation \"{}\" for encoding \"UTF8\" does not exist", parts.join(".")),
    )
}
