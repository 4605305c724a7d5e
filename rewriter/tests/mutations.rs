//! Statements made at random from ordinary and hostile ones: none brings the judge down, and whatever it lets through holds what it
//! promises. The promise is checked by a reading of its own, which shares nothing with the judge.

#![expect(clippy::unwrap_used, reason = "a test")]

mod desk;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use desk::{judge, on_a_deep_stack, with_guild};
use postern_config::expr::Subqueries;
use postern_config::manifest::Operation;
use postern_config::settings::Enforce;
use postern_config::{Column, ColumnType, Config, Manifest, Table, policy};
use postern_rewriter::plan::{Plan, Run};
use serde_json::Value;

/// A small generator of our own, so that a failure's seed reproduces it anywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n.max(1) as u64).unwrap()
    }

    fn of<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len())]
    }
}

/// Words that a hostile developer would try at any place.
const WORDS: &[&str] = &[
    "accounts",
    "sys_account.accounts",
    "disco.projects",
    "roles",
    "projects",
    "notes",
    "evilmod.notes",
    "survey_users",
    "email",
    "accounts.email",
    "password",
    "contact",
    "id",
    "a",
    "a.*",
    "*",
    "accounts.*",
    "(a).email",
    "x",
    "r",
    "g",
    "excluded.email",
    "generate_series(1, 2) g",
    "(SELECT email FROM accounts)",
    "(SELECT id FROM roles LIMIT 1)",
    "query_to_xml('x', true, true, '')",
    "('x'::text).ts_stat",
    "pg_read_file('x')",
    "set_config('a', 'b', true)",
    "current_setting('postern.sub')",
    "nextval('s')",
    "pg_notify('a', 'b')",
    "pg_notify(email, id)",
    "pg_advisory_lock(1)",
    "pg_try_advisory_xact_lock(1, 2)",
    "('1'::bigint).pg_advisory_unlock",
    "COPY",
    "COPY accounts",
    "COPY notes (id)",
    "TO STDOUT",
    "FROM STDIN",
    "TO '/tmp/x'",
    "FROM PROGRAM 'id'",
    "(FORMAT csv, HEADER)",
    "(FREEZE)",
    "LISTEN",
    "NOTIFY",
    "count(*)",
    "max(id)",
    "row_to_json(a)",
    "'x'",
    "$1",
    "$2",
    "1",
    "0",
    "-1",
    "NULL",
    "DEFAULT",
    "'notes'::regclass",
    "'sys_account.accounts'::regclass",
    "pg_class",
    "pg_catalog.pg_authid",
    "pg_temp.t",
    "postern.keys",
    "\"postern$t\"",
    "\"postern$eq$email\"",
    "WITH accounts AS (SELECT 1)",
    "WITH RECURSIVE roles AS (SELECT 1 UNION SELECT 1 FROM roles)",
    "LATERAL",
    "UNION",
    "UNION ALL",
    "ORDER BY 1",
    "GROUP BY id",
    "DISTINCT",
    "FOR UPDATE",
    "RETURNING *",
    "RETURNING email",
    "USING (id)",
    "NATURAL JOIN",
    "JOIN accounts ON true",
    "LEFT JOIN roles ON",
    "WHERE",
    "AND",
    "OR",
    "NOT",
    "IS NULL",
    "= ANY",
    "IN",
    "EXISTS",
    "::text",
    "::bytea",
    "::accounts",
    "COLLATE \"C\"",
    "AS",
    "FROM",
    "SELECT",
    ",",
    "(",
    ")",
    ".",
    "=",
    "<>",
    "<",
    "||",
    "OPERATOR(pg_catalog.=)",
];

/// Every statement of the other tests, with its login.
fn seeds() -> Vec<(String, String)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut out = Vec::new();
    for entry in std::fs::read_dir(tests.join("golden")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for case in text.split("\n\n").filter_map(|c| c.trim().strip_prefix("-- ")) {
            let (who, rest) = case.split_once('\n').unwrap();
            out.push((who.to_owned(), rest.split("\n=>").next().unwrap().to_owned()));
        }
    }
    for entry in std::fs::read_dir(tests.join("ordinary")).unwrap() {
        let mut who = "sys_account".to_owned();
        for line in std::fs::read_to_string(entry.unwrap().path()).unwrap().lines() {
            match line.strip_prefix("-- ") {
                Some(login) => login.clone_into(&mut who),
                None => out.push((who.clone(), line.to_owned())),
            }
        }
    }
    out.sort();
    out
}

fn tokens(sql: &str) -> Vec<String> {
    let Ok(scanned) = pg_query::scan(sql) else {
        return sql.split_whitespace().map(str::to_owned).collect();
    };
    scanned
        .tokens
        .iter()
        .filter_map(|t| sql.get(usize::try_from(t.start).ok()?..usize::try_from(t.end).ok()?))
        .map(str::to_owned)
        .collect()
}

fn mutated(dice: &mut Dice, seed: &str, other: &str) -> String {
    let mut words = tokens(seed);
    let donor = tokens(other);
    for _ in 0..=dice.below(3) {
        let at = dice.below(words.len() + 1);
        match dice.below(7) {
            0 if at < words.len() => {
                words.remove(at);
            }
            1 if at < words.len() => words[at] = (*dice.of(WORDS)).to_owned(),
            2 => words.insert(at, (*dice.of(WORDS)).to_owned()),
            3 if at < words.len() => {
                let to = dice.below(words.len());
                words.swap(at, to);
            }
            4 if at < words.len() => words.insert(at, words[at].clone()),
            5 if !donor.is_empty() => {
                let from = dice.below(donor.len());
                let to = (from + 1 + dice.below(8)).min(donor.len());
                words.splice(at..at, donor[from..to].iter().cloned());
            }
            // One name of the statement for another one, wherever it stands.
            _ if at < words.len() => {
                let (old, new) = (words[at].clone(), (*dice.of(WORDS)).to_owned());
                words.iter_mut().filter(|w| **w == old).for_each(|w| w.clone_from(&new));
            }
            _ => {}
        }
    }
    words.join(" ")
}

/// What may be called, beyond the list: the judge looks at their arguments.
const WITH_ARGUMENTS: &[&str] = &[
    "nextval",
    "currval",
    "setval",
    "lastval",
    "to_regclass",
    "current_setting",
    "has_table_privilege",
    "has_column_privilege",
    "has_any_column_privilege",
    "has_sequence_privilege",
    "pg_notify",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_unlock_all",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
];

struct Reading<'r> {
    manifest: &'r Manifest,
    functions: &'r HashSet<String>,
    builtin: &'r HashSet<String>,
    twins: &'r HashSet<String>,
    ctes: HashSet<String>,
    reads_target: bool,
    /// Filters have a fence, beneath which the client's comparisons may be copied.
    rewrites: bool,
    /// One had none.
    unfenced: bool,
    /// The statement is LOCK, which reads nothing.
    locks: bool,
    /// There are no filters but PostgreSQL's.
    native_alone: bool,
    /// Barriers that say whether their filter let a row through, and how many of them stand in a locking read that is guarded.
    telling: usize,
    guarded: usize,
    /// The query that stands in no other one.
    outermost: Option<&'r Value>,
    wrong: Vec<String>,
}

fn text<'v>(v: &'v Value, key: &str) -> &'v str {
    v.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The strings of a list of `String` nodes.
fn names(v: Option<&Value>) -> Vec<String> {
    let items = v.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .filter_map(|n| n.pointer("/node/String/sval").and_then(Value::as_str))
        .map(str::to_owned)
        .collect()
}

impl Reading<'_> {
    fn collect(&mut self, v: &Value) {
        match v {
            Value::Object(o) => {
                if let Some(name) = o.get("ctename").and_then(Value::as_str) {
                    self.ctes.insert(name.to_owned());
                }
                o.values().for_each(|v| self.collect(v));
            }
            Value::Array(a) => a.iter().for_each(|v| self.collect(v)),
            _ => {}
        }
    }

    fn check(&mut self, v: &Value, key: &str, parent: &str) {
        match v {
            Value::Array(a) => a.iter().for_each(|v| self.check(v, key, parent)),
            Value::Object(o) => {
                if o.contains_key("relname") && o.contains_key("relpersistence") {
                    self.relation(v, key, parent);
                }
                if o.contains_key("funcname") && o.contains_key("agg_star") {
                    let name = names(o.get("funcname"));
                    self.function(&name, v);
                    self.shared(name.last().map_or("", String::as_str), v);
                }
                if o.contains_key("conditionname") {
                    let channel = text(v, "conditionname");
                    let own = format!("{}:", self.manifest.module);
                    if !channel.is_empty() && (!channel.starts_with(&own) || channel.len() > 63) {
                        self.wrong.push(format!("uses channel {channel}"));
                    }
                }
                if o.contains_key("is_program")
                    && (o.get("is_program") == Some(&Value::Bool(true)) || !text(v, "filename").is_empty())
                {
                    self.wrong.push("copies past the client".to_owned());
                }
                if o.contains_key("indirection") && o.contains_key("arg") {
                    for name in names(o.get("indirection")) {
                        if self.builtin.contains(&name) && !self.functions.contains(&name) {
                            self.wrong.push(format!("calls {name} behind a dot"));
                        }
                    }
                }
                if let Some(filter) = v
                    .get("where_clause")
                    .filter(|w| !w.is_null() && o.contains_key("from_clause"))
                {
                    self.inside(v, filter);
                }
                if self.rewrites && matches!(key, "UpdateStmt" | "DeleteStmt" | "MergeStmt") {
                    self.filtered_write(v);
                }
                if self.rewrites && o.contains_key("locking_clause") {
                    self.locking_read(v);
                }
                for (k, inner) in o {
                    let (key, parent) = if k == "node" { (key, parent) } else { (k.as_str(), key) };
                    self.check(inner, key, parent);
                }
            }
            _ => {}
        }
    }

    fn relation(&mut self, v: &Value, key: &str, parent: &str) {
        if parent == "locked_rels" {
            return;
        }
        let (schema, name) = (text(v, "schemaname"), text(v, "relname"));
        let alias = v.get("alias").map_or("", |a| text(a, "aliasname"));
        let own = schema == self.manifest.schema.as_str();
        if schema.is_empty() {
            if !self.ctes.contains(name) || self.manifest.table(name).is_some() {
                self.wrong.push(format!("reads {name} without its schema"));
            }
        } else if !(own || matches!(schema, "pg_temp" | "postern_catalog" | "postern_information")) {
            self.wrong.push(format!("names {schema}.{name}"));
        } else if own && self.manifest.table(name).is_some() && alias != "postern$t" {
            // Without native row-level security a policy's own subquery sees every row; clients cannot write its alias.
            let of_policy = self.rewrites && alias == "postern$in";
            let written =
                key == "relation" && matches!(parent, "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" | "IndexStmt");
            let target = written || self.locks;
            if !target && !self.reads_target && !of_policy {
                self.wrong.push(format!("reads {name} past its filter ({key} of {parent})"));
            }
        }
    }

    /// What stands beneath a table's filter beside it: comparisons of one plain column with constants and parameters, and nothing else.
    fn inside(&mut self, select: &Value, filter: &Value) {
        let from = select.pointer("/from_clause/0/node").unwrap_or(&Value::Null);
        let from = from.pointer("/RangeTableSample/relation/node").unwrap_or(from);
        let relation = from.get("RangeVar").unwrap_or(&Value::Null);
        if relation.get("alias").map_or("", |a| text(a, "aliasname")) != "postern$t" {
            return;
        }
        let Some(table) = self.manifest.table(text(relation, "relname")) else {
            return;
        };
        let telling = self.rewrites && tells(select);
        let filter_sql = |subqueries| {
            let select = table.using(Operation::Select);
            if !telling {
                return select.filter_sql("postern$t", subqueries);
            }
            // Whoever locks must be allowed to change.
            let both = policy::all([select, table.using(Operation::Update)]);
            let printed = both.filter_sql("postern$t", subqueries);
            match both.becomes_join() {
                true => format!("CASE WHEN {printed} THEN true ELSE false END"),
                false => printed,
            }
        };
        let own = [
            Subqueries::Once,
            Subqueries::Point,
            Subqueries::Functions,
            Subqueries::PointFunctions,
        ]
        .map(|s| conjuncts(&predicate(&filter_sql(s))));
        let all = unmarked(conjuncts(filter), table);
        // PostgreSQL has the filter; a view outlives that.
        let nothing = self.native_alone.then(|| conjuncts(&predicate("true")));
        let own: Vec<_> = own.into_iter().chain(nothing).collect();
        let Some(own) = own.iter().find(|own| all.starts_with(own)) else {
            self.wrong.push(format!("reads {} with another filter", table.name));
            return;
        };
        let fenced = self.rewrites && select.get("limit_offset").is_some_and(|o| !o.is_null());
        self.telling += usize::from(telling);
        self.unfenced |= self.rewrites && !fenced && !telling;
        for copy in &all[own.len()..] {
            if !fenced || !harmless(copy, table) {
                self.wrong.push(format!(
                    "runs a predicate of the client on hidden rows of {}: {copy}",
                    table.name
                ));
            }
        }
    }

    /// A write without native row-level security: beside the filter, which alone reads claims, stands what is harmless, all else behind it.
    fn filtered_write(&mut self, write: &Value) {
        let relation = write.get("relation").unwrap_or(&Value::Null);
        let Some(table) = self.manifest.table(text(relation, "relname")) else {
            return;
        };
        let alias = relation.get("alias").map_or("", |a| text(a, "aliasname"));
        let alias = if alias.is_empty() { text(relation, "relname") } else { alias };
        let mut items = vec![(
            Item {
                alias: alias.to_owned(),
                table,
                columns: table
                    .columns
                    .iter()
                    .map(|c| c.name.to_string())
                    .chain(table.columns.iter().map(|c| format!("postern$eq${}", c.name)))
                    .map(|name| (name.clone(), name))
                    .collect(),
            },
            false,
        )];
        for key in ["from_clause", "using_clause"] {
            for n in write.get(key).and_then(Value::as_array).into_iter().flatten() {
                locked_item(n, self.manifest, &mut items, &mut Vec::new(), &mut false);
            }
        }
        if let Some(n) = write.get("source_relation") {
            locked_item(n, self.manifest, &mut items, &mut Vec::new(), &mut false);
        }
        let column = |v: &Value| compared(v, &items);
        let of_policy = |v: &Value| {
            let when = v.pointer("/node/CaseExpr/args/0/node/CaseWhen/expr");
            let otherwise = v.pointer("/node/CaseExpr/defresult/node/AConst/val/Boolval");
            let closed = otherwise.is_some_and(|b| b.get("boolval") != Some(&Value::Bool(true)));
            let filter = if closed { when.unwrap_or(v) } else { v };
            filter.to_string().contains("current_setting")
        };
        let asked = ["where_clause", "join_condition"]
            .iter()
            .find_map(|key| write.get(*key).filter(|w| !w.is_null()));
        let conjuncts = asked.map(conjuncts).unwrap_or_default();
        if !conjuncts.iter().all(|c| calm(c, &column) || of_policy(c)) {
            self.wrong.push(format!("asks hidden rows of {} that it writes", table.name));
        }
    }

    /// A query that locks: what it asks of a locked table's rows is harmless, or asked only of those that the filter let through.
    fn locking_read(&mut self, select: &Value) {
        let from = select
            .get("from_clause")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let (mut items, mut predicates, mut strange) = (Vec::new(), Vec::new(), false);
        for n in from {
            locked_item(n, self.manifest, &mut items, &mut predicates, &mut strange);
        }
        let locked: Vec<&str> = items
            .iter()
            .filter(|(_, told)| *told)
            .map(|(i, _)| i.alias.as_str())
            .collect();
        if locked.is_empty() {
            return;
        }
        let no_lock = select
            .get("locking_clause")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty);
        predicates.extend(select.get("where_clause").filter(|w| !w.is_null()));
        let column = |v: &Value| compared(v, &items);
        let guard = |v: &Value| {
            let whens = v
                .pointer("/node/CaseExpr/args")
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            let [when] = whens else { return false };
            let asked = when.pointer("/node/CaseWhen/expr").map(conjuncts).unwrap_or_default();
            let seen = asked.iter().all(|c| {
                let fields = names(c.pointer("/node/ColumnRef/fields"));
                matches!(fields.as_slice(), [_, name] if name == "postern$seen")
            });
            let otherwise = v.pointer("/node/CaseExpr/defresult/node/AConst/val/Boolval");
            // Of a join within, the guard has the tables of that join.
            seen && !asked.is_empty() && otherwise.is_some_and(|b| b.get("boolval") != Some(&Value::Bool(true)))
        };
        let all = predicates
            .iter()
            .flat_map(|p| conjuncts(p))
            .all(|c| calm(&c, &column) || guard(&c));
        if no_lock || strange || !all {
            self.wrong.push("asks hidden rows beneath a lock".to_owned());
        }
        let bounded = ["limit_count", "limit_offset"]
            .iter()
            .any(|k| select.get(*k).is_some_and(|l| !l.is_null()));
        if !bounded && !self.outermost.is_some_and(|o| std::ptr::eq(o, select)) {
            self.wrong
                .push("lets another query's predicates into a locked one".to_owned());
        }
        self.guarded += locked.len();
    }

    /// Names that all sessions share must be the module's own.
    fn shared(&mut self, name: &str, call: &Value) {
        let lock = name.contains("advisory") && name != "pg_advisory_unlock_all";
        let made_by = match (name, lock) {
            ("pg_notify", _) => "textcat",
            (_, true) => "hashtextextended",
            _ => return,
        };
        let first = call.pointer("/args/0/node/FuncCall").unwrap_or(&Value::Null);
        let made = names(first.get("funcname"));
        // The innermost of what comes first is the module's prefix.
        let mut inner = first;
        while let Some(deeper) = inner.pointer("/args/0/node/FuncCall") {
            inner = deeper;
        }
        let prefix = inner.pointer("/args/0/node/AConst/val/Sval/sval").and_then(Value::as_str);
        let one = call.get("args").and_then(Value::as_array).map(Vec::len) == Some(if lock { 1 } else { 2 });
        let own = format!("{}:", self.manifest.module);
        if made != ["pg_catalog", made_by] || prefix != Some(own.as_str()) || !one {
            self.wrong.push(format!("calls {name} with another's name"));
        }
    }

    /// `set_config` of a setting that says nothing of who asks, nor where names are looked up but for the path that dumps begin with.
    fn harmless_setting(call: &Value) -> bool {
        let constant = |i: usize| {
            let text = call.pointer(&format!("/args/{i}/node/AConst/val/Sval/sval"));
            text.and_then(Value::as_str).map(str::to_ascii_lowercase)
        };
        match constant(0).as_deref() {
            None | Some("role" | "session_authorization" | "row_security") => false,
            Some("search_path") => constant(1).as_deref() == Some(""),
            Some(name) => !name.contains('.'),
        }
    }

    fn function(&mut self, name: &[String], call: &Value) {
        let arguments = call.get("args").and_then(Value::as_array).map_or(0, Vec::len);
        let allowed = match name {
            [schema, f] if schema == "pg_catalog" && f == "set_config" => Self::harmless_setting(call),
            [schema, f] if schema == "information_schema" => f == "_pg_expandarray",
            // Of a module's own; what their bodies may hold is seen where they are made.
            [schema, f] if *schema == self.manifest.schema.as_str() => !self.builtin.contains(f),
            // Of several arrays PostgreSQL's own grammar makes calls of its own function.
            [f] => f == "unnest" && arguments > 1,
            [schema, f] if schema == "pg_catalog" => self.functions.contains(f) || WITH_ARGUMENTS.contains(&f.as_str()),
            [schema, f] if schema == "postern_catalog" => self.twins.contains(f) || f.starts_with("as_reg"),
            [schema, f] => schema == "postern" && (f.starts_with("p$") || f == "refused"),
            _ => false,
        };
        if !allowed {
            self.wrong.push(format!("calls {}", name.join(".")));
        }
    }
}

/// A predicate as a tree.
fn predicate(sql: &str) -> Value {
    let parsed = pg_query::parse(&format!("SELECT 1 WHERE {sql}"), 0).unwrap();
    let tree = serde_json::to_value(&parsed.protobuf).unwrap();
    tree.pointer("/stmts/0/stmt/node/SelectStmt/where_clause").unwrap().clone()
}

/// The conjuncts of a predicate, without their places in the text.
fn conjuncts(filter: &Value) -> Vec<Value> {
    fn placeless(v: &mut Value) {
        match v {
            Value::Object(o) => {
                o.retain(|k, _| !k.ends_with("location") && !k.starts_with("rexpr_list") && !k.starts_with("list_"));
                o.values_mut().for_each(placeless);
            }
            Value::Array(a) => a.iter_mut().for_each(placeless),
            _ => {}
        }
    }
    let mut filter = filter.clone();
    placeless(&mut filter);
    match filter.pointer("/node/BoolExpr") {
        Some(b) if b.get("boolop") == predicate("a AND b").pointer("/node/BoolExpr/boolop") => {
            b.get("args").and_then(Value::as_array).unwrap().clone()
        }
        _ => vec![filter],
    }
}

/// What stands behind the mark of a view's filter.
fn unmarked(all: Vec<Value>, table: &Table) -> Vec<Value> {
    let mark = format!("'{}'::pg_catalog.text IS NOT NULL", postern_rewriter::mark(table));
    match all.as_slice() {
        [first, filter] if conjuncts(&predicate(&mark)).first() == Some(first) => conjuncts(filter),
        [first, rest @ ..] if conjuncts(&predicate(&mark)).first() == Some(first) => rest.to_vec(),
        _ => all,
    }
}

/// A plain column, or the tag of a protected one: (column, tag).
type Compared<'t> = Option<(&'t Column, bool)>;

/// A column that may be compared as it is stored, by the name under which it stands in its table.
fn open_column<'t>(table: &'t Table, name: &str) -> Compared<'t> {
    let open = |c: &&Column| !c.never && c.shown_when.is_none();
    let tag = |c: &&Column| name.strip_prefix("postern$eq$") == Some(c.name.as_str());
    let plain = table.columns.iter().filter(open).find(|c| c.name.as_str() == name);
    let tagged = table.columns.iter().filter(open).find(tag);
    plain.map(|c| (c, false)).or(tagged.map(|c| (c, true)))
}

/// Whether a conjunct beneath a filter can tell nothing of a row but by letting it through, as far as its form shows.
fn harmless(v: &Value, table: &Table) -> bool {
    harmless_of(v, &|v| {
        let fields = names(v.pointer("/node/ColumnRef/fields"));
        let [alias, name] = fields.as_slice() else { return None };
        (alias == "postern$t").then(|| open_column(table, name))?
    })
}

/// What a query without fences reads: each barrier's alias, table and columns (its own name, the table's).
struct Item<'t> {
    alias: String,
    table: &'t Table,
    columns: Vec<(String, String)>,
}

/// Whether a whole statement can tell nothing of hidden rows, whatever runs first: one query over barriers and joins with ON.
fn tells_nothing(statement: &Value, manifest: &Manifest) -> bool {
    let query = ["ExplainStmt", "DeclareCursorStmt"]
        .iter()
        .find_map(|k| statement.get(*k)?.pointer("/query/node"))
        .unwrap_or(statement);
    let Some(select) = query.get("SelectStmt") else { return false };
    let absent = |key: &str| match select.get(key) {
        None | Some(Value::Null) => true,
        Some(v) => v.as_array().is_some_and(Vec::is_empty),
    };
    if ![
        "with_clause",
        "having_clause",
        "values_lists",
        "locking_clause",
        "larg",
        "rarg",
        "into_clause",
    ]
    .into_iter()
    .all(absent)
    {
        return false;
    }
    // Nothing but what stands beneath a filter reads anything.
    let subqueries = |key: &str| select.get(key).is_some_and(|v| v.to_string().contains("\"SelectStmt\""));
    if [
        "target_list",
        "where_clause",
        "group_clause",
        "sort_clause",
        "distinct_clause",
        "window_clause",
        "limit_count",
    ]
    .into_iter()
    .any(subqueries)
    {
        return false;
    }
    let (mut items, mut predicates) = (Vec::new(), Vec::new());
    let from = select
        .get("from_clause")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if !from.iter().all(|n| from_item(n, manifest, &mut items, &mut predicates)) {
        return false;
    }
    predicates.extend(select.get("where_clause").filter(|w| !w.is_null()));
    let column = |v: &Value| {
        let fields = names(v.pointer("/node/ColumnRef/fields"));
        let (alias, name) = match fields.as_slice() {
            [name] => (None, name),
            [alias, name] => (Some(alias), name),
            _ => return None,
        };
        let mut found = items
            .iter()
            .filter(|i| alias.is_none_or(|a| *a == i.alias))
            .flat_map(|i| i.columns.iter().map(move |(shown, stored)| (i.table, shown, stored)))
            .filter(|(_, shown, _)| *shown == name);
        let (table, _, stored) = found.next()?;
        found.next().is_none().then(|| open_column(table, stored))?
    };
    predicates.into_iter().all(|p| calm(p, &column))
}

fn from_item<'t, 'v>(n: &'v Value, manifest: &'t Manifest, items: &mut Vec<Item<'t>>, predicates: &mut Vec<&'v Value>) -> bool {
    if let Some(join) = n.pointer("/node/JoinExpr") {
        predicates.extend(join.get("quals").filter(|q| !q.is_null()));
        return join.get("is_natural") == Some(&Value::Bool(false))
            && join.get("using_clause").and_then(Value::as_array).is_none_or(Vec::is_empty)
            && ["larg", "rarg"]
                .iter()
                .all(|side| join.get(*side).is_some_and(|n| from_item(n, manifest, items, predicates)));
    }
    let Some(sub) = n.pointer("/node/RangeSubselect") else {
        // Columns of other relations are not among those that may be compared.
        return n.pointer("/node/RangeVar").is_some();
    };
    let Some(inner) = sub.pointer("/subquery/node/SelectStmt") else {
        return false;
    };
    let relation = inner.pointer("/from_clause/0/node/RangeVar").unwrap_or(&Value::Null);
    if relation.get("alias").map_or("", |a| text(a, "aliasname")) != "postern$t" {
        return false;
    }
    let Some(table) = manifest.table(text(relation, "relname")) else {
        return false;
    };
    // A conjunct that is a subquery becomes a join.
    let filter = inner.get("where_clause").map(conjuncts).unwrap_or_default();
    if filter.iter().any(|c| c.pointer("/node/SubLink").is_some()) {
        return false;
    }
    let renamed = names(sub.pointer("/alias/colnames"));
    let targets = inner
        .get("target_list")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let stored = targets
        .iter()
        .map(|t| text(t.pointer("/node/ResTarget").unwrap_or(&Value::Null), "name").to_owned());
    items.push(Item {
        alias: sub.get("alias").map_or("", |a| text(a, "aliasname")).to_owned(),
        table,
        columns: stored
            .enumerate()
            .map(|(i, stored)| (renamed.get(i).unwrap_or(&stored).clone(), stored))
            .collect(),
    });
    true
}

/// The stored column that a reference means among these items.
fn compared<'t>(v: &Value, items: &[(Item<'t>, bool)]) -> Compared<'t> {
    let fields = names(v.pointer("/node/ColumnRef/fields"));
    let (alias, name) = match fields.as_slice() {
        [name] => (None, name),
        [alias, name] => (Some(alias), name),
        _ => return None,
    };
    let mut found = items
        .iter()
        .map(|(i, _)| i)
        .filter(|i| alias.is_none_or(|a| *a == i.alias))
        .flat_map(|i| i.columns.iter().map(move |(shown, stored)| (i.table, shown, stored)))
        .filter(|(_, shown, _)| *shown == name);
    let (table, _, stored) = found.next()?;
    found.next().is_none().then(|| open_column(table, stored))?
}

/// The query that a text is, explains or declares.
fn outermost(tree: &Value) -> Option<&Value> {
    let statement = tree.pointer("/stmts/0/stmt/node")?;
    let query = ["ExplainStmt", "DeclareCursorStmt", "CopyStmt"]
        .iter()
        .find_map(|k| statement.get(*k)?.pointer("/query/node"));
    query.unwrap_or(statement).get("SelectStmt")
}

/// Whether a barrier says of each row whether its filter let it through.
fn tells(select: &Value) -> bool {
    let targets = select
        .get("target_list")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    (targets.iter()).any(|t| {
        t.pointer("/node/ResTarget")
            .is_some_and(|t| text(t, "name") == "postern$seen")
    })
}

/// An item of a locking read's FROM: each barrier and whether it is locked, and the conditions of joins.
fn locked_item<'t, 'v>(
    n: &'v Value,
    manifest: &'t Manifest,
    items: &mut Vec<(Item<'t>, bool)>,
    predicates: &mut Vec<&'v Value>,
    strange: &mut bool,
) {
    if let Some(join) = n.pointer("/node/JoinExpr") {
        predicates.extend(join.get("quals").filter(|q| !q.is_null()));
        let before = items.len();
        for side in ["larg", "rarg"] {
            if let Some(n) = join.get(side) {
                locked_item(n, manifest, items, predicates, strange);
            }
        }
        let merged = names(join.get("using_clause"));
        let told = items[before..].iter().any(|(_, told)| *told);
        let alike = |name: &String| {
            let types: Vec<_> = items[before..]
                .iter()
                .filter_map(|(i, _)| {
                    i.columns
                        .iter()
                        .find(|(shown, _)| shown == name)
                        .and_then(|(_, c)| open_column(i.table, c))
                })
                .map(|(c, _)| &c.ty)
                .collect();
            let leaky = |ty: &&ColumnType| matches!(ty, ColumnType::Float8 | ColumnType::Numeric(_) | ColumnType::Jsonb);
            matches!(types.as_slice(), [l, r] if l.unconstrained() == r.unconstrained() && !leaky(l))
        };
        *strange |= told && (join.get("is_natural") == Some(&Value::Bool(true)) || !merged.iter().all(alike));
        return;
    }
    let sub = n.pointer("/node/RangeSubselect");
    let told = sub.and_then(|s| s.pointer("/subquery/node/SelectStmt")).is_some_and(tells);
    let among = items.iter().any(|(_, told)| *told);
    *strange |= among && sub.is_some_and(|s| s.get("lateral") == Some(&Value::Bool(true)));
    *strange |= among
        && n.pointer("/node/RangeFunction")
            .is_some_and(|f| f.to_string().contains("\"ColumnRef\""));
    if let Some(sub) = sub {
        let inner = sub.pointer("/subquery/node/SelectStmt").unwrap_or(&Value::Null);
        let relation = inner.pointer("/from_clause/0/node").unwrap_or(&Value::Null);
        let relation = relation.pointer("/RangeTableSample/relation/node").unwrap_or(relation);
        let relation = relation.get("RangeVar").unwrap_or(&Value::Null);
        let barrier = relation.get("alias").map_or("", |a| text(a, "aliasname")) == "postern$t";
        if let (true, Some(table)) = (barrier, manifest.table(text(relation, "relname"))) {
            let renamed = names(sub.pointer("/alias/colnames"));
            let targets = inner
                .get("target_list")
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            let stored = targets
                .iter()
                .map(|t| text(t.pointer("/node/ResTarget").unwrap_or(&Value::Null), "name").to_owned());
            let item = Item {
                alias: sub.get("alias").map_or("", |a| text(a, "aliasname")).to_owned(),
                table,
                columns: stored
                    .enumerate()
                    .map(|(i, stored)| (renamed.get(i).unwrap_or(&stored).clone(), stored))
                    .collect(),
            };
            items.push((item, told));
        }
    }
}

/// A predicate of which every part is harmless.
fn calm<'t>(v: &Value, column: &dyn Fn(&Value) -> Compared<'t>) -> bool {
    if let Some(b) = v.pointer("/node/BoolExpr") {
        return b
            .get("args")
            .and_then(Value::as_array)
            .is_some_and(|args| args.iter().all(|a| calm(a, column)));
    }
    let boolean = |v: &Value| column(v).is_some_and(|(c, _)| c.ty == ColumnType::Bool && c.protection.is_none());
    if let Some(test) = v.pointer("/node/BooleanTest") {
        return test.get("arg").is_some_and(boolean);
    }
    if let Some(e) = v.pointer("/node/AExpr")
        && let (Some(left), Some(right)) = (e.get("lexpr").and_then(column), e.get("rexpr").and_then(column))
    {
        let plain = e.get("kind") == predicate("a = b").pointer("/node/AExpr/kind")
            && matches!(
                names(e.get("name")).last().map(String::as_str),
                Some("=" | "<>" | "<" | "<=" | ">" | ">=")
            );
        let texts = |c: &Column| matches!(c.ty, ColumnType::Text | ColumnType::Varchar(_));
        let without_collation = matches!(
            left.0.ty,
            ColumnType::Int2
                | ColumnType::Int4
                | ColumnType::Int8
                | ColumnType::Uuid
                | ColumnType::Bool
                | ColumnType::Date
                | ColumnType::TimestampTz
                | ColumnType::Bytea
                | ColumnType::Other(_)
        );
        return plain
            && left.1 == right.1
            && (left.1
                || ((without_collation && left.0.ty == right.0.ty || texts(left.0) && texts(right.0))
                    && left.0.protection.is_none()
                    && right.0.protection.is_none()));
    }
    boolean(v) || (v.pointer("/node/CaseExpr").is_none() && harmless_of(v, column))
}

fn harmless_of<'t>(v: &Value, column: &dyn Fn(&Value) -> Compared<'t>) -> bool {
    if let Some(test) = v.pointer("/node/NullTest") {
        return test.get("arg").is_some_and(|a| column(a).is_some());
    }
    if let Some(case) = v.pointer("/node/CaseExpr") {
        return never_computed(case);
    }
    let Some(e) = v.pointer("/node/AExpr") else { return false };
    // Of one kind with these, not IS DISTINCT FROM or LIKE.
    let kinds = ["a = b", "a IN (b)", "a = ANY(b)", "a BETWEEN b AND c"].map(predicate);
    if !kinds.iter().any(|k| k.pointer("/node/AExpr/kind") == e.get("kind")) {
        return false;
    }
    let operator = names(e.get("name"));
    if !matches!(
        operator.last().map(String::as_str),
        Some("=" | "<>" | "<" | "<=" | ">" | ">=" | "BETWEEN")
    ) {
        return false;
    }
    let (left, right) = (e.get("lexpr").unwrap_or(&Value::Null), e.get("rexpr").unwrap_or(&Value::Null));
    let (column, other) = match (column(left), column(right)) {
        (Some(c), None) => (c, right),
        (None, Some(c)) => (c, left),
        _ => return false,
    };
    let leaky = matches!(column.0.ty, ColumnType::Float8 | ColumnType::Numeric(_) | ColumnType::Jsonb);
    let sealed = column.0.protection.is_some();
    sealed == column.1 && (sealed || !leaky) && value(other)
}

/// A constant, a parameter, a list of them, or one with zero added.
fn value(v: &Value) -> bool {
    let Some((kind, inner)) = v.get("node").and_then(Value::as_object).and_then(|o| o.iter().next()) else {
        return false;
    };
    let all = |key: &str| {
        inner
            .get(key)
            .and_then(Value::as_array)
            .is_some_and(|items| items.iter().all(value))
    };
    match kind.as_str() {
        "AConst" | "ParamRef" => true,
        "List" => all("items"),
        "AArrayExpr" => all("elements"),
        "AExpr" => {
            names(inner.get("name")) == ["pg_catalog", "+"]
                && inner.get("lexpr").is_some_and(value)
                && inner.pointer("/rexpr/node/TypeCast/arg").is_some_and(is_zero)
        }
        _ => false,
    }
}

fn is_zero(v: &Value) -> bool {
    v.pointer("/node/AConst/val/Ival/ival") == Some(&Value::from(0))
}

/// `CASE WHEN true THEN true ELSE … END` without a column, a call or a subquery: it is never computed.
fn never_computed(case: &Value) -> bool {
    let whens = case.get("args").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let [when] = whens else { return false };
    let holds = |key: &str| {
        let at = format!("/node/CaseWhen/{key}/node/AConst/val/Boolval/boolval");
        when.pointer(&at) == Some(&Value::Bool(true))
    };
    let text = case.to_string();
    holds("expr")
        && holds("result")
        && !["\"ColumnRef\"", "\"FuncCall\"", "\"SubLink\""]
            .iter()
            .any(|k| text.contains(k))
}

struct Lists {
    functions: HashSet<String>,
    builtin: HashSet<String>,
    twins: HashSet<String>,
}

fn list(name: &str) -> HashSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| l.trim().to_owned())
        .collect()
}

/// What is wrong with a plan, by another reading of its texts.
fn faults(plan: &Plan, enforce: Enforce, manifest: &Manifest, lists: &Lists) -> Vec<String> {
    let texts: Vec<(&str, bool)> = match &plan.run {
        Run::Once(s) => vec![(s.sql.sql(), false)],
        // The first step locks the rows it reads, filtered, in place.
        Run::PerRow(p) => vec![(p.read.sql.sql(), true), (p.write.sql.sql(), false)],
        Run::Answer(_) => Vec::new(),
    };
    texts
        .into_iter()
        .flat_map(|(sql, reads_target)| faults_of(sql, reads_target, enforce, manifest, lists))
        .collect()
}

/// What is wrong with one text.
fn faults_of(sql: &str, reads_target: bool, enforce: Enforce, manifest: &Manifest, lists: &Lists) -> Vec<String> {
    let Ok(parsed) = pg_query::parse(sql, 0) else {
        return vec![format!("does not read back: {sql}")];
    };
    let tree = serde_json::to_value(&parsed.protobuf).unwrap();
    let mut reading = Reading {
        manifest,
        functions: &lists.functions,
        builtin: &lists.builtin,
        twins: &lists.twins,
        ctes: HashSet::new(),
        reads_target,
        rewrites: enforce == Enforce::Rewrite,
        unfenced: false,
        locks: tree.pointer("/stmts/0/stmt/node/LockStmt").is_some(),
        native_alone: enforce == Enforce::Rls,
        telling: 0,
        guarded: 0,
        outermost: outermost(&tree),
        wrong: Vec::new(),
    };
    reading.collect(&tree);
    reading.check(&tree, "", "");
    if reading.unfenced && !tells_nothing(tree.pointer("/stmts/0/stmt/node").unwrap(), manifest) {
        reading.wrong.push("leaves out a fence".to_owned());
    }
    if reading.telling != reading.guarded {
        reading.wrong.push("leaves out a fence without a lock".to_owned());
    }
    reading.wrong.into_iter().map(|w| format!("{w}: {sql}")).collect()
}

impl Lists {
    fn read() -> Self {
        Self {
            functions: list("functions.txt"),
            builtin: list("builtin_functions.txt"),
            twins: list("catalogue_functions.txt"),
        }
    }
}

#[test]
fn the_second_opinion_notices_each_breach() {
    let config = with_guild();
    let manifest = manifest(&config, "sys_account");
    let lists = Lists::read();
    for (sql, breach) in [
        ("SELECT id FROM accounts", true),
        ("SELECT id FROM sys_account.accounts", true),
        ("SELECT id FROM sys_account.accounts \"postern$t\"", false),
        ("WITH accounts AS (SELECT 1) SELECT * FROM accounts", true),
        ("WITH a AS (SELECT 1) SELECT * FROM a FOR UPDATE OF b", false),
        ("SELECT * FROM disco.projects \"postern$t\"", true),
        ("SELECT * FROM pg_catalog.pg_class", true),
        ("UPDATE sys_account.accounts SET id = 'x'", false),
        (
            "UPDATE sys_account.accounts SET id = (SELECT id FROM sys_account.accounts)",
            true,
        ),
        ("DELETE FROM sys_account.roles USING sys_account.accounts a", true),
        ("INSERT INTO sys_account.roles SELECT * FROM sys_account.accounts", true),
        ("SELECT lower('x')", true),
        ("SELECT pg_catalog.lower('x')", false),
        ("SELECT pg_catalog.pg_read_file('x')", true),
        ("SELECT ('x'::text).ts_stat", true),
        ("SELECT lab.f()", true),
        ("SELECT pg_catalog.pg_notify('a', 'b')", true),
        ("SELECT pg_catalog.pg_notify(pg_catalog.textcat('sys_core:', 'a'), 'b')", true),
        (
            "SELECT pg_catalog.pg_notify(pg_catalog.textcat('sys_account:', 'a'), 'b')",
            false,
        ),
        ("SELECT pg_catalog.pg_advisory_lock(1)", true),
        (
            "SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended(pg_catalog.textcat('lab:', '1'), 0))",
            true,
        ),
        (
            "SELECT pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended(pg_catalog.textcat('sys_account:', '1'), 0))",
            false,
        ),
        ("LISTEN jobs", true),
        ("LISTEN \"sys_core:jobs\"", true),
        ("LISTEN \"sys_account:jobs\"", false),
        ("UNLISTEN *", false),
        ("COPY sys_account.accounts TO STDOUT", true),
        ("COPY sys_account.accounts FROM STDIN", true),
        ("COPY (SELECT * FROM sys_account.accounts) TO STDOUT", true),
        ("COPY (SELECT * FROM sys_account.accounts \"postern$t\") TO STDOUT", false),
        ("COPY sys_account.plain TO PROGRAM 'cat'", true),
        ("COPY sys_account.plain FROM '/etc/passwd'", true),
        ("COPY sys_account.plain FROM STDIN", false),
    ] {
        assert_eq!(
            !faults_of(sql, false, Enforce::Both, manifest, &lists).is_empty(),
            breach,
            "{sql}"
        );
    }
}

fn manifest<'c>(config: &'c Config, who: &str) -> &'c Manifest {
    let module = who.split('/').next().unwrap();
    config.modules.iter().find(|m| m.module.as_str() == module).unwrap()
}

#[test]
fn the_second_opinion_notices_what_runs_on_hidden_rows() {
    let config = with_guild();
    let manifest = manifest(&config, "sys_account");
    let lists = Lists::read();
    let accounts = manifest.table("accounts").unwrap();
    let orgs = manifest.table("orgs").unwrap();
    for (table, copy, breach) in [
        (accounts, "", false),
        (accounts, " AND \"postern$t\".id = $1", false),
        (accounts, " AND $1 = \"postern$t\".id AND \"postern$t\".id IS NOT NULL", false),
        (
            accounts,
            " AND \"postern$t\".id = ANY($1) AND \"postern$t\".id BETWEEN 'a' AND $2",
            false,
        ),
        (accounts, " AND \"postern$t\".\"postern$eq$email\" IN ($1, $2)", false),
        (accounts, " AND \"postern$t\".id = $1 OPERATOR(pg_catalog.+) 0::bigint", false),
        (
            accounts,
            " AND \"postern$t\".id = ANY($1) AND CASE WHEN true THEN true ELSE ($1)[1] IS NULL END",
            false,
        ),
        (accounts, " AND \"postern$t\".id = $1 OPERATOR(pg_catalog.+) 1::bigint", true),
        (accounts, " AND CASE WHEN $1 THEN true ELSE ($1)[1] IS NULL END", true),
        (
            accounts,
            " AND CASE WHEN true THEN true ELSE \"postern$t\".id = 'x' END",
            true,
        ),
        (accounts, " AND \"postern$t\".email = $1", true),
        (accounts, " AND \"postern$t\".password IS NULL", true),
        (accounts, " AND \"postern$t\".id LIKE 'x'", true),
        (accounts, " AND \"postern$t\".id::int = 1", true),
        (accounts, " AND \"postern$t\".id = $1::text", true),
        (accounts, " AND \"postern$t\".id = \"postern$t\".disabled", true),
        (accounts, " AND \"postern$t\".id = (SELECT 'x')", true),
        (accounts, " AND \"postern$t\".id = pg_catalog.lower('x')", true),
        (accounts, " AND pg_catalog.lower(\"postern$t\".id) = 'x'", true),
        (accounts, " AND (\"postern$t\".id = 'x' OR \"postern$t\".id = 'y')", true),
        (accounts, " AND NOT \"postern$t\".id = 'x'", true),
        (accounts, " AND \"postern$t\".id IS DISTINCT FROM 'x'", true),
        (orgs, " AND \"postern$t\".contact IS NULL", true),
        (orgs, " AND \"postern$t\".\"postern$eq$contact\" = $1", true),
        (orgs, " AND \"postern$t\".id = $1", false),
    ] {
        let name = &table.name;
        let noticed = |enforce, fence: &str| {
            let subqueries = match enforce {
                Enforce::Rewrite => Subqueries::Once,
                Enforce::Both | Enforce::Rls => Subqueries::Functions,
            };
            let filter = table.using(Operation::Select).filter_sql("postern$t", subqueries);
            let sql = format!("SELECT 1 FROM (SELECT 1 FROM {name} \"postern$t\" WHERE {filter}{copy}{fence}) t");
            !faults_of(&sql, false, enforce, manifest, &lists).is_empty()
        };
        assert_eq!(noticed(Enforce::Rewrite, " OFFSET 0"), breach, "{copy}");
        // Without a fence, or with native row-level security, the filter stands alone.
        assert_eq!(noticed(Enforce::Rewrite, ""), !copy.is_empty(), "{copy}");
        assert_eq!(noticed(Enforce::Both, ""), !copy.is_empty(), "{copy}");
    }
}

#[test]
fn the_second_opinion_notices_a_fence_that_is_missing() {
    let config = with_guild();
    let manifest = manifest(&config, "sys_account");
    let lists = Lists::read();
    let barrier = |name: &str| {
        let table = manifest.table(name).unwrap();
        let filter = table.using(Operation::Select).filter_sql("postern$t", Subqueries::Once);
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|c| format!("\"postern$t\".{0} AS {0}", c.name))
            .collect();
        format!(
            "(SELECT {} FROM {} \"postern$t\" WHERE {filter})",
            columns.join(", "),
            table.name
        )
    };
    let (accounts, roles) = (barrier("accounts"), barrier("roles"));
    for (sql, breach) in [
        (format!("SELECT id FROM {accounts} a WHERE id = $1"), false),
        (
            format!("SELECT id FROM {accounts} a WHERE (a.id = $1 OR NOT id < 'x') AND disabled"),
            false,
        ),
        (
            format!("SELECT 1 FROM {accounts} a JOIN {roles} r ON r.role = 2 WHERE r.id IS NOT NULL"),
            false,
        ),
        (format!("EXPLAIN SELECT id FROM {accounts} a WHERE id = $1"), false),
        (
            format!("SELECT 1 FROM {accounts} a JOIN {roles} r ON r.account_id = a.id"),
            false,
        ),
        (format!("SELECT 1 FROM {accounts} a JOIN {roles} r USING (id)"), true),
        (format!("SELECT 1 FROM {accounts} a NATURAL JOIN {roles} r"), true),
        (format!("SELECT id FROM {accounts} a WHERE pg_catalog.lower(id) = 'x'"), true),
        (format!("SELECT id FROM {accounts} a WHERE id::int = 1"), true),
        (format!("SELECT id FROM {accounts} a WHERE id LIKE 'x'"), true),
        (format!("SELECT id FROM {accounts} a WHERE id = $1 HAVING true"), true),
        (format!("SELECT id FROM {accounts} a UNION SELECT id FROM {roles} r"), true),
        (
            format!("WITH c AS (SELECT 1) SELECT id FROM {accounts} a WHERE id = $1"),
            true,
        ),
        (format!("SELECT (SELECT 1) FROM {accounts} a WHERE id = $1"), true),
        (format!("SELECT 1 FROM (SELECT id FROM {accounts} a) b WHERE id = $1"), true),
        (format!("SELECT id FROM {accounts} a(email, id) WHERE id = $1"), true),
        (
            format!("INSERT INTO sys_account.plain SELECT id FROM {accounts} a WHERE id = $1"),
            true,
        ),
    ] {
        let faults = faults_of(&sql, false, Enforce::Rewrite, manifest, &lists);
        assert_eq!(!faults.is_empty(), breach, "{sql}\n{faults:?}");
    }
}

#[test]
fn whatever_is_let_through_keeps_the_promise() {
    on_a_deep_stack(|| {
        let config = with_guild();
        let lists = Lists::read();
        let seeds = seeds();
        let (mut wrong, mut accepted) = (String::new(), 0);
        let mut try_one = |who: &str, sql: &str, enforce: Enforce| {
            let result = catch_unwind(AssertUnwindSafe(|| judge(&config, who, sql, None, enforce)));
            match result {
                Err(_) => writeln!(wrong, "panicked [{who}]: {sql}").unwrap(),
                Ok(Err(_)) => {}
                Ok(Ok(plans)) => {
                    accepted += 1;
                    for plan in &plans {
                        for fault in faults(plan, enforce, manifest(&config, who), &lists) {
                            writeln!(wrong, "[{who}] {sql}\n    {fault}").unwrap();
                        }
                    }
                }
            }
        };
        for (who, sql) in &seeds {
            try_one(who, sql, Enforce::Rewrite);
            try_one(who, sql, Enforce::Both);
            try_one(who, sql, Enforce::Rls);
        }
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let rounds = std::env::var("POSTERN_MUTATIONS").ok().and_then(|n| n.parse().ok());
        for _ in 0..rounds.unwrap_or(if cfg!(debug_assertions) { 2_000 } else { 20_000 }) {
            let (who, seed) = dice.of(&seeds).clone();
            let donor = dice.of(&seeds).1.clone();
            let enforce = *dice.of(&[Enforce::Both, Enforce::Rewrite, Enforce::Rls]);
            try_one(&who, &mutated(&mut dice, &seed, &donor), enforce);
        }
        assert!(accepted > seeds.len() / 2, "only {accepted} were accepted");
        assert!(wrong.is_empty(), "{wrong}");
    });
}
