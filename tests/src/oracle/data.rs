//! Rows in plain text, as `tests/oracle/rows.txt` has them.

/// A value as PostgreSQL reads it; `None` is NULL.
pub type Cell = Option<String>;

/// The rows of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Module, which is also the schema.
    pub module: String,
    /// Table.
    pub table: String,
    /// Columns, in the order of each row's cells; the first ones are the key.
    pub columns: Vec<String>,
    /// Rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Rows {
    /// The cell of that column.
    ///
    /// # Panics
    /// When the table has no such column.
    pub fn cell<'r>(&self, row: &'r [Cell], column: &str) -> Option<&'r str> {
        row[self.position(column)].as_deref()
    }

    /// Where a column stands.
    ///
    /// # Panics
    /// When the table has no such column.
    pub fn position(&self, column: &str) -> usize {
        let found = self.columns.iter().position(|c| c == column);
        found.unwrap_or_else(|| panic!("{}.{} has no {column}", self.module, self.table))
    }

    /// How many columns, from the first, are the primary key.
    pub fn key_width(&self) -> usize {
        match self.table.as_str() {
            "group_members" | "read_receipts" => 2,
            _ => 1,
        }
    }
}

/// The rows of all tables, parents before children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data(pub Vec<Rows>);

impl Data {
    /// The data set.
    pub fn reference() -> Self {
        Self::read(include_str!("../../oracle/rows.txt"))
    }

    fn read(text: &str) -> Self {
        let mut all: Vec<Rows> = Vec::new();
        let mut inside = false;
        for line in text.lines().filter(|l| !l.starts_with('#')) {
            if line.is_empty() {
                inside = false;
            } else if inside {
                let rows = all.last_mut().expect("a heading comes first");
                let row: Vec<Cell> = line.split('|').map(|c| (c != "~").then(|| c.to_owned())).collect();
                assert_eq!(row.len(), rows.columns.len(), "{}.{}: {line}", rows.module, rows.table);
                rows.rows.push(row);
            } else {
                let mut words = line.split(' ');
                let name = words.next().and_then(|n| n.split_once('.'));
                let (module, table) = name.unwrap_or_else(|| panic!("not a heading: {line}"));
                all.push(Rows {
                    module: module.to_owned(),
                    table: table.to_owned(),
                    columns: words.map(str::to_owned).collect(),
                    rows: Vec::new(),
                });
                inside = true;
            }
        }
        Self(all)
    }

    /// A table.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn table(&self, module: &str, table: &str) -> &Rows {
        let found = self.0.iter().find(|r| r.module == module && r.table == table);
        found.unwrap_or_else(|| panic!("no rows of {module}.{table}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Data;

    #[test]
    fn keys_are_unique_and_whole() {
        for rows in &Data::reference().0 {
            let width = rows.key_width();
            let keys: BTreeSet<_> = rows.rows.iter().map(|r| &r[..width]).collect();
            assert_eq!(keys.len(), rows.rows.len(), "{}.{} has a key twice", rows.module, rows.table);
            assert!(keys.iter().all(|k| k.iter().all(Option::is_some)), "{}", rows.table);
        }
    }
}
