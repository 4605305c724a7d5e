//! What is asked in a test of noninterference: statements over all of a module's tables that would tell of a hidden row if anything did.

use postern_config::names::{quote_ident, quote_literal};
use postern_config::{ColumnType, Manifest, Table};

use super::data::{Data, Rows};
use super::hidden::hidden_rows;
use super::people::Identity;
use super::policies::never;
use crate::recorded::{How, Step};

/// Steps that belong together, on one connection at rest.
pub type Sequence = Vec<Step>;

/// Everything that is asked of a module.
pub fn sequences(who: &Identity, data: &Data, manifest: &Manifest) -> Vec<Sequence> {
    let module = manifest.module.as_str();
    let mut all = Vec::new();
    for table in &manifest.tables {
        let rows = data.table(module, table.name.name.as_str());
        Asking {
            table,
            rows,
            hidden: hidden_rows(who, data, rows),
            all: &mut all,
        }
        .everything();
    }
    all
}

struct Asking<'a> {
    table: &'a Table,
    rows: &'a Rows,
    hidden: Vec<usize>,
    all: &'a mut Vec<Sequence>,
}

impl Asking<'_> {
    fn everything(&mut self) {
        self.reads();
        for n in 0..self.table.columns.len() {
            self.column(n);
        }
        self.writes();
        self.inserts();
        self.cursors();
    }

    fn name(&self) -> &str {
        self.table.name.name.as_str()
    }

    fn read(&mut self, sql: &str) {
        self.all.push(vec![Step::simple(sql, false)]);
        self.all.push(vec![Step {
            how: How::Extended(Vec::new(), 1),
            ..Step::simple(sql, false)
        }]);
    }

    fn ordered(&mut self, sql: &str) {
        self.all.push(vec![Step::simple(sql, true)]);
        self.all.push(vec![
            Step::simple("BEGIN", true),
            Step {
                how: How::Portal,
                ..Step::simple(sql, true)
            },
            Step::simple("ROLLBACK", true),
        ]);
    }

    /// In a transaction that is rolled back.
    fn undone(&mut self, sql: &str) {
        let steps = ["BEGIN", sql, "ROLLBACK"];
        self.all.push(steps.map(|s| Step::simple(s, false)).into());
    }

    /// The key's columns, which make a total order.
    fn key(&self) -> Vec<String> {
        self.table.primary_key.iter().map(|c| c.quoted()).collect()
    }

    /// The key of a row, as a condition.
    fn is(&self, row: usize) -> String {
        let width = self.rows.key_width();
        let equal = |n: usize| {
            let value = self.rows.rows[row][n].as_deref().unwrap_or_default();
            format!("{} = {}", quote_ident(&self.rows.columns[n]), quote_literal(value))
        };
        (0..width).map(equal).collect::<Vec<_>>().join(" AND ")
    }

    /// A few rows that are hidden, and one that any row is.
    fn some(&self) -> Vec<usize> {
        let mut rows: Vec<usize> = self.hidden.iter().copied().take(2).collect();
        let seen = (0..self.rows.rows.len()).find(|n| !self.hidden.contains(n));
        rows.extend(seen);
        rows
    }

    fn reads(&mut self) {
        let t = self.name().to_owned();
        self.read(&format!("SELECT * FROM {t}"));
        self.read(&format!("SELECT count(*) FROM {t}"));
        self.read(&format!("SELECT x FROM {t} AS x"));
        self.read(&format!("SELECT count(*) FROM {t} a, {t} b"));
        self.read(&format!("SELECT count(*) FROM {t} TABLESAMPLE bernoulli (100)"));
        self.read(&format!("COPY (SELECT * FROM {t}) TO STDOUT"));
        self.read(&format!("COPY {t} TO STDOUT"));
        self.read(&format!("SELECT ctid, xmin, tableoid FROM {t}"));
        for row in self.some() {
            let is = self.is(row);
            self.read(&format!("SELECT * FROM {t} WHERE {is}"));
            self.read(&format!("SELECT EXISTS (SELECT 1 FROM {t} WHERE {is})"));
            self.read(&format!("SELECT count(*) FROM {t} WHERE NOT ({is}) OR random() < 2"));
            self.read(&format!("EXPLAIN (COSTS OFF) SELECT * FROM {t} WHERE {is}"));
            self.read(&format!("EXPLAIN SELECT * FROM {t} WHERE {is}"));
            self.read(&format!("EXPLAIN ANALYZE SELECT * FROM {t} WHERE {is}"));
            if self.rows.key_width() == 1 {
                let value = self.rows.rows[row][0].clone();
                let sql = format!("SELECT * FROM {t} WHERE {} = $1", self.key()[0]);
                for results in [0, 1] {
                    self.all.push(vec![Step {
                        how: How::Extended(vec![value.clone()], results),
                        ..Step::simple(&sql, false)
                    }]);
                }
                let name = quote_literal(value.as_deref().unwrap_or_default());
                let prepared = [
                    format!("PREPARE by_key AS {sql}"),
                    format!("EXECUTE by_key({name})"),
                    "DEALLOCATE by_key".to_owned(),
                ];
                self.all.push(prepared.map(|s| Step::simple(&s, false)).into());
            }
        }
        if self.table.columns[0].protection.is_none() {
            let key = self.key().join(", ");
            self.ordered(&format!("SELECT * FROM {t} ORDER BY {key} LIMIT 3 OFFSET 1"));
            self.ordered(&format!("SELECT {key} FROM {t} ORDER BY {key} DESC"));
            self.ordered(&format!("SELECT {key}, rank() OVER (ORDER BY {key}) FROM {t} ORDER BY {key}"));
        }
    }

    fn column(&mut self, n: usize) {
        let t = self.name().to_owned();
        let column = &self.table.columns[n];
        let c = column.name.quoted();
        self.read(&format!("SELECT count({c}), count(*) FILTER (WHERE {c} IS NULL) FROM {t}"));
        // A value that only a hidden row has.
        let value = |row: &usize| self.rows.rows[*row][n].as_deref().map(quote_literal);
        let of_hidden: Vec<String> = self.hidden.iter().filter_map(value).take(2).collect();
        for value in of_hidden {
            self.read(&format!("SELECT count(*) FROM {t} WHERE {c} = {value}"));
            self.read(&format!(
                "SELECT count(*) FROM {t} WHERE {c} IN ({value}, NULL) OR {c} IS NULL"
            ));
        }
        if column.protection.is_some() || never(&t, column.name.as_str()) {
            self.read(&format!("SELECT {c} FROM {t}"));
            self.read(&format!("SELECT {c}, count(*) FROM {t} GROUP BY {c}"));
            return;
        }
        match column.ty {
            ColumnType::Text | ColumnType::Varchar(_) => {
                for predicate in [
                    format!("{c}::int > 0"),
                    format!("1 / (length({c}) - 3) >= 0"),
                    format!("{c}::timestamptz IS NULL"),
                    format!("{c}::json IS NULL"),
                    format!("{c} ~ '^[a-z]'"),
                    format!("length({c}) > 100"),
                    format!("to_number({c}, '99') > 0"),
                ] {
                    self.read(&format!("SELECT count(*) FROM {t} WHERE {predicate}"));
                }
                self.read(&format!("SELECT string_agg({c}, ',' ORDER BY {c}) FROM {t}"));
                self.read(&format!("SELECT count(*) FROM {t} GROUP BY length({c}) HAVING count(*) > 1"));
                self.read(&format!("SELECT 1 FROM {t} ORDER BY {c}::int LIMIT 1"));
            }
            ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => {
                for value in ["0", "2147483647", "3", "1"] {
                    self.read(&format!("SELECT count(*) FROM {t} WHERE 1 / ({c} - {value}) = 0"));
                }
                self.read(&format!("SELECT sum({c}), avg({c}), max({c} + 1), min({c} - 1) FROM {t}"));
                self.read(&format!("SELECT count(*) FROM {t} WHERE {c}::int2 > 0"));
            }
            ColumnType::TimestampTz => {
                self.read(&format!(
                    "SELECT count(*) FROM {t} WHERE extract(epoch FROM {c})::int > 0 AND {c} > '2026-01-01 00:00:00+00'"
                ));
                self.read(&format!("SELECT date_trunc('month', {c}) AS m, count(*) FROM {t} GROUP BY m"));
            }
            _ => {}
        }
        if !matches!(column.ty, ColumnType::Bool) {
            self.read(&format!("SELECT max({c}), min({c}), count(DISTINCT {c}) FROM {t}"));
        }
        self.read(&format!("SELECT DISTINCT {c} FROM {t}"));
        self.read(&format!("SELECT {c}, count(*) FROM {t} GROUP BY {c}"));
        self.read(&format!("SELECT (SELECT count(*) FROM {t} b WHERE b.{c} = a.{c}) FROM {t} a"));
    }

    fn writes(&mut self) {
        let t = self.name().to_owned();
        let width = self.rows.key_width();
        let plain = |c: &&postern_config::manifest::Column| c.protection.is_none() && !c.immutable;
        let assigned = self.table.columns.iter().skip(width).find(plain).map(|c| c.name.quoted());
        let raising = match self.table.columns[0].ty {
            ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8 => format!("1 / ({} - 2) = 0", self.key()[0]),
            _ => format!("1 / (length({}) - 4) = 0", self.key()[0]),
        };
        for condition in ["true".to_owned(), raising] {
            self.undone(&format!("DELETE FROM {t} WHERE {condition}"));
            self.undone(&format!("SELECT 1 FROM {t} WHERE {condition} FOR UPDATE"));
            self.undone(&format!("SELECT 1 FROM {t} WHERE {condition} FOR KEY SHARE SKIP LOCKED"));
            if let Some(c) = &assigned {
                self.undone(&format!("UPDATE {t} SET {c} = {c} WHERE {condition}"));
                self.undone(&format!("UPDATE {t} SET {c} = NULL WHERE {condition} RETURNING {c}"));
            }
        }
        for row in self.some() {
            let is = self.is(row);
            self.undone(&format!("DELETE FROM {t} WHERE {is}"));
            self.undone(&format!("DELETE FROM {t} WHERE {is} RETURNING *"));
            self.undone(&format!("SELECT 1 FROM {t} WHERE {is} FOR UPDATE"));
            if let Some(c) = &assigned {
                self.undone(&format!("UPDATE {t} SET {c} = {c} WHERE {is} RETURNING {c}"));
                self.undone(&format!("UPDATE {t} AS x SET {c} = y.{c} FROM {t} y WHERE y.{is}"));
            }
            // One more of its kind, as somebody else's: whether that is allowed does not hang on rows that are hidden.
            self.undone(&format!(
                "MERGE INTO {t} x USING (SELECT 1) s ON x.{is} WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING"
            ));
        }
    }

    /// New rows under keys that nobody has, and under keys that somebody has.
    fn inserts(&mut self) {
        let t = self.name().to_owned();
        let width = self.rows.key_width();
        let columns: Vec<String> = self.table.columns.iter().map(|c| c.name.quoted()).collect();
        let columns = columns.join(", ");
        for row in self.some() {
            for fresh in [true, false] {
                let line: Vec<String> = (self.table.columns.iter().enumerate())
                    .map(|(n, column)| {
                        let unique = n < width || self.table.unique.iter().any(|u| u.contains(&column.name));
                        match (unique && fresh, &column.ty, &self.rows.rows[row][n]) {
                            (true, ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, _) => "777777".to_owned(),
                            (true, _, _) => format!("new-{n}"),
                            (false, _, Some(text)) => text.replace('\\', "\\\\"),
                            (false, _, None) => "\\N".to_owned(),
                        }
                    })
                    .collect();
                let copy = Step {
                    how: How::Copy(line.join("\t") + "\n"),
                    ..Step::simple(&format!("COPY {t} ({columns}) FROM STDIN"), false)
                };
                let ends = ["BEGIN", "ROLLBACK"].map(|s| Step::simple(s, false));
                let [begin, rollback] = ends;
                self.all.push(vec![begin, copy, rollback]);
                let values: Vec<String> = (self.table.columns.iter().enumerate())
                    .map(|(n, column)| {
                        let unique = n < width || self.table.unique.iter().any(|u| u.contains(&column.name));
                        let value = &self.rows.rows[row][n];
                        match (unique && fresh, &column.ty, value) {
                            (true, ColumnType::Int2 | ColumnType::Int4 | ColumnType::Int8, _) => "777777".to_owned(),
                            (true, _, _) => format!("'new-{n}'"),
                            (false, _, Some(text)) => quote_literal(text),
                            (false, _, None) => "NULL".to_owned(),
                        }
                    })
                    .collect();
                let insert = format!("INSERT INTO {t} ({columns}) VALUES ({})", values.join(", "));
                self.undone(&insert);
                self.undone(&format!("{insert} ON CONFLICT DO NOTHING"));
                let key = self.key();
                self.undone(&format!(
                    "{insert} ON CONFLICT ({}) DO UPDATE SET {} = excluded.{}",
                    key.join(", "),
                    key[0],
                    key[0]
                ));
            }
        }
    }

    fn cursors(&mut self) {
        let t = self.name().to_owned();
        if self.table.columns[0].protection.is_some() {
            return;
        }
        let key = self.key().join(", ");
        let steps = [
            "BEGIN".to_owned(),
            format!("DECLARE c SCROLL CURSOR FOR SELECT {key} FROM {t} ORDER BY {key}"),
            "FETCH 2 FROM c".to_owned(),
            "MOVE LAST FROM c".to_owned(),
            "FETCH BACKWARD 2 FROM c".to_owned(),
            "FETCH ABSOLUTE 4 FROM c".to_owned(),
            "FETCH ALL FROM c".to_owned(),
            "CLOSE c".to_owned(),
            "ROLLBACK".to_owned(),
        ];
        self.all.push(steps.map(|s| Step::simple(&s, true)).into());
    }
}
