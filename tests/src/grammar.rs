//! Queries by a grammar: SELECTs over a module's declared tables, of every shape whose answer is determined by the rows alone.
//!
//! No volatile function, no LIMIT without a total order, nothing that may raise on one plan and not on another (but for the one form
//! that is made to: a single table and a single predicate that divides or casts). Protected columns are asked for what equality carries.

use std::fmt::Write as _;

use postern_config::{ColumnType, Table};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What can be done with a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Bool,
    Time,
    Other,
}

/// A column as queries use it.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    kind: Kind,
    /// PostgreSQL's name of the type: columns of one type are compared with each other.
    ty: String,
    /// Not protected.
    plain: bool,
    /// Protected and searchable.
    eq: bool,
    /// Literals, as SQL.
    values: Vec<String>,
}

/// A table that queries read.
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    fields: Vec<Field>,
}

impl Source {
    /// A declared table; `values` answers literals for a column, as SQL text of its type.
    pub fn of(table: &Table, mut values: impl FnMut(&str) -> Vec<String>) -> Self {
        let fields = table.columns.iter().filter(|c| !c.never).map(|c| {
            let kind = match &c.ty {
                ColumnType::Text | ColumnType::Varchar(_) => Kind::Text,
                ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => Kind::Int,
                ColumnType::Bool => Kind::Bool,
                ColumnType::Date | ColumnType::TimestampTz => Kind::Time,
                _ => Kind::Other,
            };
            let texts = values(c.name.as_str());
            let literal = |text: &String| match kind {
                Kind::Int | Kind::Bool => text.clone(),
                _ => format!("'{}'", text.replace('\'', "''")),
            };
            Field {
                name: c.name.quoted(),
                kind,
                ty: c.ty.to_string(),
                plain: c.protection.is_none(),
                eq: c.protection.as_ref().is_some_and(|p| p.eq()),
                values: texts.iter().filter(|t| !t.contains('\\')).map(literal).collect(),
            }
        });
        Self {
            name: table.name.name.quoted(),
            fields: fields.collect(),
        }
    }
}

/// A query and whether the order of its rows is determined.
#[derive(Debug, Clone)]
pub struct Query {
    /// Its text.
    pub sql: String,
    /// Rows come in one order only.
    pub ordered: bool,
}

/// One FROM item in sight.
#[derive(Clone)]
struct Item {
    alias: String,
    fields: Vec<Field>,
}

/// Makes queries, the same ones for the same seed.
pub struct Grammar<'s> {
    sources: &'s [Source],
    random: ChaCha8Rng,
    aliases: usize,
}

impl<'s> Grammar<'s> {
    /// Over these tables, which must not be empty.
    pub fn new(sources: &'s [Source], seed: u64) -> Self {
        Self {
            sources,
            random: ChaCha8Rng::seed_from_u64(seed),
            aliases: 0,
        }
    }

    /// The next query.
    pub fn next_query(&mut self) -> Query {
        self.aliases = 0;
        match self.below(20) {
            0 => self.raising(),
            1 => self.set_operation(),
            2 => self.with(),
            _ => self.whole(),
        }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n.max(1))
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let at = self.below(from.len());
        from.get(at).cloned()
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("t{}", self.aliases)
    }

    /// A predicate that raises on some rows, alone on its table: it raises exactly where a row that is seen makes it.
    fn raising(&mut self) -> Query {
        let source = self.pick(self.sources).expect("there are tables");
        let usable: Vec<Field> = source
            .fields
            .iter()
            .filter(|f| f.plain && matches!(f.kind, Kind::Int | Kind::Text) && !f.values.is_empty())
            .cloned()
            .collect();
        let predicate = match self.pick(&usable) {
            Some(f) if f.kind == Kind::Int => {
                let value = self.pick(&f.values).unwrap_or_else(|| "1".to_owned());
                format!("1 / ({} - ({value})) = 1", f.name)
            }
            Some(f) => format!("{}::int = 1", f.name),
            None => "true".to_owned(),
        };
        Query {
            sql: format!("SELECT count(*) FROM {} WHERE {predicate}", source.name),
            ordered: false,
        }
    }

    fn set_operation(&mut self) -> Query {
        let arms = [self.one_text(), self.one_text()];
        let operation = self.pick(&["UNION", "UNION ALL", "INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL"]);
        Query {
            sql: format!("{} {} {}", arms[0], operation.unwrap_or("UNION"), arms[1]),
            ordered: false,
        }
    }

    /// One plain text.
    fn one_text(&mut self) -> String {
        let (from, items) = self.from(0);
        let texts = columns(&items, |f| f.plain && f.kind == Kind::Text);
        let output = self.pick(&texts).map_or_else(|| "'x'".to_owned(), |(name, _)| name);
        let filter = self.filter(&items, 1);
        format!("SELECT {output}::text AS o FROM {from}{filter}")
    }

    fn with(&mut self) -> Query {
        let (sql, fields) = self.derived(1);
        let name = self.alias();
        let item = Item {
            alias: name.clone(),
            fields,
        };
        let (outputs, _) = self.outputs(std::slice::from_ref(&item), 3);
        let filter = self.filter(std::slice::from_ref(&item), 1);
        Query {
            sql: format!("WITH {name} AS ({sql}) SELECT {} FROM {name}{filter}", outputs.join(", ")),
            ordered: false,
        }
    }

    fn whole(&mut self) -> Query {
        let (from, items) = self.from(2);
        let filter = self.filter(&items, 2);
        if self.chance(25) {
            return self.grouped(&from, &items, &filter);
        }
        let (mut outputs, mut plain) = self.outputs(&items, 4);
        if self.chance(15) {
            let window = self.window(&items, outputs.len());
            plain &= window.is_some();
            outputs.extend(window);
        }
        let distinct = if plain && self.chance(15) { "DISTINCT " } else { "" };
        let mut sql = format!("SELECT {distinct}{} FROM {from}{filter}", outputs.join(", "));
        let ordered = plain && self.chance(35);
        if ordered {
            let keys: Vec<String> = (1..=outputs.len())
                .map(|n| format!("{n}{}", if self.chance(30) { " DESC" } else { "" }))
                .collect();
            let _ = write!(sql, " ORDER BY {}", keys.join(", "));
            if self.chance(40) {
                let _ = write!(sql, " LIMIT {} OFFSET {}", self.below(20), self.below(3));
            }
        }
        Query { sql, ordered }
    }

    fn grouped(&mut self, from: &str, items: &[Item], filter: &str) -> Query {
        let plain = columns(items, |f| f.plain && f.kind != Kind::Other);
        let mut keys: Vec<String> = Vec::new();
        for _ in 0..self.below(3) {
            keys.extend(self.pick(&plain).map(|(name, _)| name));
        }
        keys.sort();
        keys.dedup();
        let mut outputs: Vec<String> = keys.iter().enumerate().map(|(n, k)| format!("{k} AS k{n}")).collect();
        for n in 0..=self.below(2) {
            outputs.push(format!("{} AS a{n}", self.aggregate(items)));
        }
        let mut sql = format!("SELECT {} FROM {from}{filter}", outputs.join(", "));
        if !keys.is_empty() {
            let _ = write!(sql, " GROUP BY {}", keys.join(", "));
        }
        if self.chance(30) {
            let _ = write!(sql, " HAVING count(*) > {}", self.below(4));
        }
        Query { sql, ordered: false }
    }

    fn aggregate(&mut self, items: &[Item]) -> String {
        let plain = columns(items, |f| f.plain && f.kind != Kind::Other);
        let Some((name, field)) = self.pick(&plain) else {
            return "count(*)".to_owned();
        };
        match (self.below(6), field.kind) {
            (0, _) => "count(*)".to_owned(),
            (1, _) => format!("count({name})"),
            (2, _) => format!("count(DISTINCT {name})"),
            (3, Kind::Int) => format!("sum({name})"),
            (3, Kind::Text) => format!("string_agg({name}::text, ',' ORDER BY {name}::text)"),
            (3, Kind::Bool) => format!("bool_and({name})"),
            (_, Kind::Bool) => format!("count(*) FILTER (WHERE {name})"),
            (4, _) => format!("min({name})"),
            _ => format!("max({name})"),
        }
    }

    fn window(&mut self, items: &[Item], number: usize) -> Option<String> {
        let plain = columns(items, |f| f.plain && f.kind != Kind::Other);
        let (name, _) = self.pick(&plain)?;
        let (other, _) = self.pick(&plain)?;
        Some(match self.below(3) {
            0 => format!("rank() OVER (ORDER BY {name}) AS w{number}"),
            1 => format!("count(*) OVER (PARTITION BY {name}) AS w{number}"),
            _ => format!("count({other}) OVER (PARTITION BY {name}) AS w{number}"),
        })
    }

    /// FROM, and what is in sight behind it.
    fn from(&mut self, depth: usize) -> (String, Vec<Item>) {
        let (mut sql, first) = self.item(depth);
        let mut items = vec![first];
        let joins = match self.below(20) {
            0..10 => 0,
            10..17 => 1,
            _ => 2,
        };
        for _ in 0..joins {
            let (text, item) = self.item(depth.min(1));
            let condition = self.condition(&items, &item);
            let kind = self.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN"]).unwrap_or("JOIN");
            // Without a column to join by, one row of it is enough.
            match condition {
                Some(condition) => {
                    items.push(item);
                    let also = if self.chance(25) {
                        format!(" AND {}", self.predicate(&items, 0))
                    } else {
                        String::new()
                    };
                    let _ = write!(sql, " {kind} {text} ON {condition}{also}");
                }
                None => continue,
            }
        }
        (sql, items)
    }

    fn item(&mut self, depth: usize) -> (String, Item) {
        if depth > 0 && self.chance(20) {
            let (sql, fields) = self.derived(depth - 1);
            let alias = self.alias();
            return (format!("({sql}) AS {alias}"), Item { alias, fields });
        }
        let source = self.pick(self.sources).expect("there are tables");
        let alias = self.alias();
        (
            format!("{} AS {alias}", source.name),
            Item {
                alias,
                fields: source.fields,
            },
        )
    }

    /// A subquery with plain outputs.
    fn derived(&mut self, depth: usize) -> (String, Vec<Field>) {
        let (from, items) = self.from(depth);
        let filter = self.filter(&items, 1);
        let plain = columns(&items, |f| f.plain);
        let mut fields = Vec::new();
        let mut outputs = Vec::new();
        for n in 0..=self.below(3) {
            let Some((name, field)) = self.pick(&plain) else { break };
            outputs.push(format!("{name} AS d{n}"));
            fields.push(Field {
                name: format!("d{n}"),
                ..field
            });
        }
        if outputs.is_empty() {
            outputs.push("1 AS d0".to_owned());
            fields.push(Field {
                name: "d0".to_owned(),
                kind: Kind::Int,
                ty: "int4".to_owned(),
                plain: true,
                eq: false,
                values: vec!["1".to_owned()],
            });
        }
        let distinct = if self.chance(20) && fields.iter().all(|f| f.kind != Kind::Other) {
            "DISTINCT "
        } else {
            ""
        };
        (format!("SELECT {distinct}{} FROM {from}{filter}", outputs.join(", ")), fields)
    }

    /// Some outputs, and whether all are plain and can be ordered.
    fn outputs(&mut self, items: &[Item], most: usize) -> (Vec<String>, bool) {
        let all = columns(items, |_| true);
        let mut outputs = Vec::new();
        let mut plain = true;
        for n in 0..=self.below(most) {
            let Some((name, field)) = self.pick(&all) else { break };
            let expression = match (self.below(8), field.kind) {
                (0, Kind::Text) if field.plain => format!("length({name})"),
                (1, Kind::Text) if field.plain => format!("upper({name})"),
                (0 | 1, Kind::Int) if field.plain => format!("{name} % 7"),
                (2, _) if field.plain => format!("{name} IS NULL"),
                (3, Kind::Text) if field.plain => format!("coalesce({name}, 'none')"),
                _ => name,
            };
            plain &= field.plain && field.kind != Kind::Other;
            outputs.push(format!("{expression} AS o{n}"));
        }
        (outputs, plain)
    }

    fn filter(&mut self, items: &[Item], depth: usize) -> String {
        if self.chance(25) {
            return String::new();
        }
        format!(" WHERE {}", self.predicate(items, depth))
    }

    /// An equality between an item and those before it.
    fn condition(&mut self, items: &[Item], item: &Item) -> Option<String> {
        let mine = columns(std::slice::from_ref(item), |f| {
            f.plain && matches!(f.kind, Kind::Text | Kind::Int)
        });
        let theirs = columns(items, |f| f.plain && matches!(f.kind, Kind::Text | Kind::Int));
        let pairs: Vec<String> = mine
            .iter()
            .flat_map(|(a, f)| {
                theirs
                    .iter()
                    .filter(|(_, g)| g.ty == f.ty)
                    .map(move |(b, _)| format!("{a} = {b}"))
            })
            .collect();
        self.pick(&pairs)
    }

    fn predicate(&mut self, items: &[Item], depth: usize) -> String {
        if depth > 0 && self.chance(40) {
            let parts = [self.predicate(items, depth - 1), self.predicate(items, depth - 1)];
            return match self.below(5) {
                0 => format!("({} OR {})", parts[0], parts[1]),
                1 => format!("NOT ({})", parts[0]),
                2 => format!("CASE WHEN {} THEN true ELSE {} END", parts[0], parts[1]),
                _ => format!("({} AND {})", parts[0], parts[1]),
            };
        }
        if depth > 0
            && self.chance(25)
            && let Some(subquery) = self.subquery(items)
        {
            return subquery;
        }
        let all = columns(items, |_| true);
        let Some((name, field)) = self.pick(&all) else {
            return "true".to_owned();
        };
        let value = self.pick(&field.values).unwrap_or_else(|| "NULL".to_owned());
        let other = self.pick(&field.values).unwrap_or_else(|| "NULL".to_owned());
        if !field.plain {
            return match self.below(3) {
                0 if field.eq => format!("{name} = {value}"),
                1 if field.eq => format!("{name} IN ({value}, {other})"),
                _ => format!("{name} IS NOT NULL"),
            };
        }
        match (self.below(10), field.kind) {
            (0, _) => format!("{name} IS NULL"),
            (1, _) => format!("{name} IS NOT NULL"),
            (_, Kind::Other) => format!("{name} IS NOT NULL"),
            (2 | 3, Kind::Bool) => format!("{name} IS NOT TRUE"),
            (_, Kind::Bool) => name,
            (2, _) => format!("{name} IN ({value}, {other})"),
            (3, _) => format!("{name} BETWEEN {value} AND {other}"),
            (4, Kind::Text) => format!("{name} LIKE '%{}%'", ["a", "1", "B", "o"][self.below(4)]),
            (5, Kind::Text) => format!("length({name}) > {}", self.below(12)),
            (5, Kind::Int) => format!("{name} + 1 > {value}"),
            (6, Kind::Text) => format!("upper({name}) = upper({value})"),
            (7, _) => {
                let same = columns(items, |f| f.plain && f.ty == field.ty);
                let (second, _) = self.pick(&same).unwrap_or((name.clone(), field));
                let operator = self.pick(&["=", "<>", "<", ">="]).unwrap_or("=");
                format!("{name} {operator} {second}")
            }
            _ => {
                let operator = self.pick(&["=", "=", "=", "<>", "<", "<=", ">", ">="]).unwrap_or("=");
                format!("{name} {operator} {value}")
            }
        }
    }

    /// EXISTS or IN over a table.
    fn subquery(&mut self, items: &[Item]) -> Option<String> {
        let source = self.pick(self.sources)?;
        let alias = self.alias();
        let inner = Item {
            alias: alias.clone(),
            fields: source.fields,
        };
        let condition = self.condition(items, &inner)?;
        let also = if self.chance(40) {
            format!(" AND {}", self.predicate(std::slice::from_ref(&inner), 0))
        } else {
            String::new()
        };
        if self.chance(50) {
            let not = if self.chance(30) { "NOT " } else { "" };
            return Some(format!(
                "{not}EXISTS (SELECT 1 FROM {} AS {alias} WHERE {condition}{also})",
                source.name
            ));
        }
        // `inner = outer`, as `condition` writes it.
        let (mine, theirs) = condition.split_once(" = ")?;
        Some(format!(
            "{theirs} IN (SELECT {mine} FROM {} AS {alias} WHERE true{also})",
            source.name
        ))
    }
}

/// The columns in sight, qualified, that fit.
fn columns(items: &[Item], fits: impl Fn(&Field) -> bool) -> Vec<(String, Field)> {
    items
        .iter()
        .flat_map(|i| i.fields.iter().map(move |f| (format!("{}.{}", i.alias, f.name), f)))
        .filter(|(_, f)| fits(f))
        .map(|(name, f)| (name, f.clone()))
        .collect()
}
