//! Queries by Debian's `sqlsmith`, and what is done to them so that the rows alone determine their answers.
//!
//! It generates by the catalogue of a database of its own, which holds one module's tables without rows. It prints and runs nothing.
//! A LIMIT of a whole row set is taken out, one that picks a value gets its order, samples become whole tables. What calls a function that
//! is not immutable, or an aggregate or window function that looks at the order of rows, is left out, and so is what locks or writes.
//!
//! Of a protected column Postern carries little more than equality, and most of what can be said of its type is refused. So that more is
//! compared than refusals, [`Columns::Sealed`] gives such columns types of their own, which have no function and no operator but `=`.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

use postern_config::names::quote_ident;
use postern_config::{Column, Table};

use crate::connection::Connection;
use crate::target::Target;

/// The database that queries are made by.
const DATABASE: &str = "smith";
/// Immutable by the catalogue, and yet the order of rows shows: in what they build, in which row they take, or in how floats add up.
const BY_ORDER: &str = "array_agg json_agg jsonb_agg json_object_agg jsonb_object_agg string_agg xmlagg range_agg \
    row_number lag lead first_value last_value nth_value ntile \
    corr covar_pop covar_samp regr_avgx regr_avgy regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy \
    stddev stddev_pop stddev_samp variance var_pop var_samp";

/// Nothing has a polymorphic type; `sqlsmith` takes their operators and casts NULL to them, which always fails. It looks for operators in
/// the catalogue of this database, where nothing but its own look-ups runs.
const FEWER_OPERATORS: [&str; 2] = [
    "SET allow_system_table_mods = on",
    "DELETE FROM pg_catalog.pg_operator o USING pg_catalog.pg_type t WHERE t.typtype = 'p' AND t.oid IN (o.oprleft, o.oprright)",
];

/// Makes queries over one module's tables.
pub struct Smith {
    target: Target,
    module: String,
    /// Functions whose answers other things than their arguments determine.
    unsteady: BTreeSet<String>,
    /// Types that were made for protected columns, and the columns' own.
    sealed: BTreeMap<String, String>,
    /// Tables' plain keys, where rows are to be told apart by them: protected columns have no order.
    keys: BTreeMap<String, String>,
}

/// Which columns queries are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// Those that are stored as they are.
    Plain,
    /// Protected ones too, of which most expressions are refused.
    Readable,
    /// Protected ones too, of which only equality is asked, and that only where they are searched by it.
    Sealed,
}

/// A type like another one, by the catalogue alone: no value is ever made of it.
fn sealed_type(name: &str, ty: &str, number: usize, eq: bool) -> String {
    let oid = 900_000 + number;
    let mut all = format!(
        "CREATE TEMP TABLE made AS SELECT * FROM pg_catalog.pg_type WHERE oid = '{ty}'::regtype; \
         UPDATE made SET oid = {oid}, typname = '{name}', typarray = 0; \
         INSERT INTO pg_catalog.pg_type SELECT * FROM made; DROP TABLE made;"
    );
    if eq {
        all += &format!(
            "CREATE TEMP TABLE made AS SELECT * FROM pg_catalog.pg_operator \
             WHERE oprname = '=' AND oprleft = '{ty}'::regtype AND oprright = '{ty}'::regtype; \
             UPDATE made SET oid = {oid}, oprleft = {oid}, oprright = {oid}, oprcom = {oid}, oprnegate = 0; \
             INSERT INTO pg_catalog.pg_operator SELECT * FROM made; DROP TABLE made;"
        );
    }
    all
}

impl Smith {
    /// Makes the database anew with the relations of one module, in its schema, as tables in it.
    ///
    /// # Panics
    /// When that does not work.
    pub fn new(server: &Target, tables: &[Table], columns: Columns) -> Self {
        let mut dba = connect(&server.clone().in_database("postgres"));
        for sql in [
            format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"),
            format!("CREATE DATABASE {DATABASE} TEMPLATE template0"),
        ] {
            dba.run(&sql).good(&sql);
        }
        let target = server.clone().in_database(DATABASE);
        let mut there = connect(&target);
        let schema = &tables.first().expect("a module has tables").name.schema;
        let mut make = format!("CREATE SCHEMA {}; SET allow_system_table_mods = on;", schema.quoted());
        let (mut sealed, mut keys) = (BTreeMap::new(), BTreeMap::new());
        for table in tables {
            let key = |c: &&Column| table.primary_key.contains(&c.name);
            if columns == Columns::Sealed && table.columns.iter().filter(key).all(|c| c.protection.is_none()) {
                let names: Vec<String> = table.columns.iter().filter(key).map(|c| c.name.quoted()).collect();
                keys.insert(table.name.name.as_str().to_owned(), names.join(", "));
            }
            let shown = table.columns.iter().filter(|c| match columns {
                Columns::Plain => c.protection.is_none(),
                Columns::Readable | Columns::Sealed => !c.never,
            });
            let mut ty = |c: &Column| match &c.protection {
                Some(p) if columns == Columns::Sealed => {
                    let whole = c.ty.to_string();
                    let ty = whole.split('(').next().expect("a text has a first part").to_owned();
                    let name = format!("sealed_{ty}{}", if p.eq() { "_eq" } else { "" });
                    let number = sealed.len();
                    if let Entry::Vacant(new) = sealed.entry(name.clone()) {
                        make += &sealed_type(&name, &ty, number, p.eq());
                        new.insert(ty);
                    }
                    name
                }
                _ => c.ty.to_string(),
            };
            let columns: Vec<String> = shown.map(|c| format!("{} {}", c.name.quoted(), ty(c))).collect();
            make += &format!("CREATE TABLE {} ({});", table.name.quoted(), columns.join(", "));
        }
        there.run(&make).good(&make);
        for sql in FEWER_OPERATORS {
            there.run(sql).good(sql);
        }
        let sql = "SELECT DISTINCT proname FROM pg_catalog.pg_proc WHERE provolatile <> 'i'";
        let rows = there.run(sql).good(sql).texts();
        let mut unsteady: BTreeSet<String> = rows.into_iter().flatten().flatten().collect();
        unsteady.extend(BY_ORDER.split_whitespace().map(str::to_owned));
        Self {
            target,
            module: schema.as_str().to_owned(),
            unsteady,
            sealed,
            keys,
        }
    }

    /// Has so many queries made; those that rows alone determine are returned.
    ///
    /// # Panics
    /// When `sqlsmith` cannot be run.
    pub fn queries(&self, seed: u64, count: usize) -> Vec<String> {
        let t = &self.target;
        let place = format!(
            "host={} port={} user={} password={} dbname={}",
            t.host, t.port, t.user, t.password, t.database
        );
        let output = Command::new("sqlsmith")
            .arg(format!("--target={place}"))
            .arg(format!("--seed={}", seed % (1 << 31)))
            .arg(format!("--max-queries={count}"))
            .args(["--dry-run", "--exclude-catalog"])
            .stdin(Stdio::null())
            .output()
            .expect("Debian's sqlsmith is installed: .ci/setup test");
        let text = String::from_utf8_lossy(&output.stdout);
        let made = text.split(';').filter_map(|q| self.determined(q));
        made.collect()
    }

    /// The query, so that the rows alone determine its answer; `None` where it cannot be.
    fn determined(&self, query: &str) -> Option<String> {
        let tokens = tokens(query);
        if !matches!(tokens.first()?.to_ascii_lowercase().as_str(), "select" | "with") {
            return None;
        }
        let mut out: Vec<String> = Vec::new();
        let mut n = 0;
        while let Some(token) = tokens.get(n) {
            let next = |ahead: usize| tokens.get(n + ahead).copied().unwrap_or_default();
            let mut taken = 1;
            match *token {
                // `limit 1 offset N` picks a value of a column.
                "limit" if next(2) == "offset" => {
                    let key = out.last().and_then(|table| self.keys.get(table)).map_or("1", String::as_str);
                    out.push(format!("order by {key} limit {} offset {}", next(1), next(3)));
                    taken = 4;
                }
                "limit" => taken = 2,
                "tablesample" => taken = 5,
                "for" if matches!(next(1), "update" | "share" | "no" | "key") => return None,
                "insert" | "update" | "delete" | "merge" | "into" => return None,
                other => {
                    let (schema, name) = other.split_once('.').unwrap_or(("", other));
                    if next(1) == "(" && self.unsteady.contains(name.trim_matches('"')) {
                        return None;
                    }
                    // A function of a polymorphic type, or of one that no value has in SQL.
                    let polymorphic = name.starts_with("any") && name.len() > 3;
                    if schema.is_empty() && (polymorphic || matches!(name, "cstring" | "trigger" | "internal")) {
                        return None;
                    }
                    if matches!(schema, "information_schema" | "pg_toast") || schema == "pg_catalog" && next(1) != "(" {
                        return None;
                    }
                    match schema == self.module || schema == quote_ident(&self.module) {
                        true => out.push(name.to_owned()),
                        false => out.push(self.sealed.get(other).cloned().unwrap_or_else(|| other.to_owned())),
                    }
                }
            }
            n += taken;
        }
        Some(out.join(" "))
    }
}

/// Words, and each parenthesis and comma by itself. `sqlsmith` writes neither strings nor comments with blanks in them.
fn tokens(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    for word in text.lines().filter(|l| !l.starts_with("--")).flat_map(str::split_whitespace) {
        let mut rest = word;
        while let Some(at) = rest.find(['(', ')', ',']) {
            if at > 0 {
                all.push(&rest[..at]);
            }
            all.push(&rest[at..=at]);
            rest = &rest[at + 1..];
        }
        if !rest.is_empty() {
            all.push(rest);
        }
    }
    all
}

fn connect(target: &Target) -> Connection {
    Connection::open(target).unwrap_or_else(|e| panic!("{}: {e}", target.database))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smith() -> Smith {
        Smith {
            target: Target::parse("postgresql://u:p@127.0.0.1:1/smith"),
            module: "disco".to_owned(),
            unsteady: BTreeSet::from(["now".to_owned(), "string_agg".to_owned()]),
            sealed: BTreeMap::from([("sealed_text_eq".to_owned(), "text".to_owned())]),
            keys: BTreeMap::from([("accounts".to_owned(), "id".to_owned())]),
        }
    }

    #[test]
    fn what_is_asked_is_determined_by_rows() {
        let smith = smith();
        let made = |q| smith.determined(q);
        assert_eq!(
            made("select\n  ref_0.id as c0,\n (select name from disco.projects limit 1 offset 4)\n as c1 from disco.projects as ref_0 where true limit 97"),
            Some(
                "select ref_0.id as c0 , ( select name from projects order by 1 limit 1 offset 4 ) as c1 from projects as ref_0 where true"
                    .to_owned()
            )
        );
        assert_eq!(
            made("select 1 from disco.a as s tablesample bernoulli (9.1) where pg_catalog.upper(cast(s.b as text)) is not NULL"),
            Some("select 1 from a as s where pg_catalog.upper ( cast ( s.b as text ) ) is not NULL".to_owned())
        );
        assert_eq!(
            made("select cast(null as sealed_text_eq) as c0, s.email from disco.a as s"),
            Some("select cast ( null as text ) as c0 , s.email from a as s".to_owned())
        );
        assert_eq!(
            made("select (select email from disco.accounts limit 1 offset 2) as c0 from disco.a"),
            Some("select ( select email from accounts order by id limit 1 offset 2 ) as c0 from a".to_owned())
        );
    }

    #[test]
    fn what_something_else_determines_is_left_out() {
        let smith = smith();
        for query in [
            "select pg_catalog.now() from disco.a",
            "select pg_catalog.string_agg(a, b) from disco.a",
            "select 1 from disco.a for update",
            "select 1 from pg_catalog.pg_class",
            "select 1 from information_schema.tables",
            "insert into disco.a values (1)",
            "WITH j AS (delete from disco.a returning 1) select 1",
            "",
        ] {
            assert_eq!(smith.determined(query), None, "{query}");
        }
    }
}
