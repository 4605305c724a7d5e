//! Loads the data set **through the proxy**, as ordinary clients: with module logins, tokens and parameters, never straight into
//! PostgreSQL. That is what seals the protected columns. What only a person may write is written with that person's token, one
//! transaction for each author, on one connection as a pool would do it.

use std::collections::{BTreeMap, HashMap};

use postern_config::names::quote_ident;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::{Cell, Rows, Writer, generate};
use crate::demo::error::DemoError;
use crate::demo::visitor::{Door, Visitor};

/// PostgreSQL takes 65,535 parameters; sealed columns need several each, and smaller statements keep memory low.
const PARAMETERS_PER_STATEMENT: usize = 1_500;

/// Loads everything; calls `progress` after each table with its name and number of rows. Returns the number of rows.
pub async fn load(door: &Door<'_>, mut progress: impl FnMut(&str, usize)) -> Result<usize, DemoError> {
    let mut total = 0;
    for table in generate() {
        total += match &table.writer {
            Writer::Superadmin => at_once(door, &table, &Visitor::person(table.module, "root")).await?,
            Writer::Service => at_once(door, &table, &Visitor::service(table.module)).await?,
            Writer::Authors(authors) => by_author(door, &table, authors).await?,
        };
        progress(&format!("{}.{}", table.module, table.table), table.rows.len());
    }
    Ok(total)
}

/// One writer, one transaction.
async fn at_once(door: &Door<'_>, table: &Rows, visitor: &Visitor) -> Result<usize, DemoError> {
    let client = door.connect(visitor).await?;
    let doing = || format!("loading {}.{}", table.module, table.table);
    let mut inserts = Inserts::new(&client, table);
    client.batch_execute("BEGIN").await.map_err(DemoError::sql(doing()))?;
    let mut written = 0;
    for rows in table.rows.chunks((PARAMETERS_PER_STATEMENT / table.columns.len()).max(1)) {
        let rows: Vec<&Vec<Cell>> = rows.iter().collect();
        written += inserts.run(&rows).await?;
    }
    client.batch_execute("COMMIT").await.map_err(DemoError::sql(doing()))?;
    Ok(written)
}

/// Each author's rows in a transaction that carries the author's token and ends with it.
async fn by_author(door: &Door<'_>, table: &Rows, authors: &[String]) -> Result<usize, DemoError> {
    let client = door.connect(&Visitor::guest(table.module)).await?;
    let doing = || format!("loading {}.{}", table.module, table.table);
    let mut by_author: BTreeMap<&String, Vec<&Vec<Cell>>> = BTreeMap::new();
    for (author, row) in authors.iter().zip(&table.rows) {
        by_author.entry(author).or_default().push(row);
    }
    let mut inserts = Inserts::new(&client, table);
    let mut written = 0;
    for (author, rows) in by_author {
        let token = door.author_token(table.module, author)?;
        let begin = format!("BEGIN; SET LOCAL postern.token = '{token}'");
        client.batch_execute(&begin).await.map_err(DemoError::sql(doing()))?;
        written += inserts.run(&rows).await?;
        client.batch_execute("COMMIT").await.map_err(DemoError::sql(doing()))?;
    }
    Ok(written)
}

/// Prepared INSERTs of one table, by their number of rows.
struct Inserts<'c> {
    client: &'c Client,
    table: &'c Rows,
    prepared: HashMap<usize, Statement>,
}

impl<'c> Inserts<'c> {
    fn new(client: &'c Client, table: &'c Rows) -> Self {
        Self {
            client,
            table,
            prepared: HashMap::new(),
        }
    }

    async fn run(&mut self, rows: &[&Vec<Cell>]) -> Result<usize, DemoError> {
        let doing = || format!("loading {}.{}", self.table.module, self.table.table);
        let statement = match self.prepared.get(&rows.len()) {
            Some(statement) => statement.clone(),
            None => {
                let sql = insert(self.table, rows.len());
                let made = self.client.prepare(&sql).await.map_err(DemoError::sql(doing()))?;
                self.prepared.insert(rows.len(), made.clone());
                made
            }
        };
        let cells: Vec<&(dyn ToSql + Sync)> = rows.iter().flat_map(|r| r.iter()).map(|c| c as &(dyn ToSql + Sync)).collect();
        let written = self
            .client
            .execute(&statement, &cells)
            .await
            .map_err(DemoError::sql(doing()))?;
        Ok(usize::try_from(written).expect("no more than the rows given"))
    }
}

fn insert(table: &Rows, rows: usize) -> String {
    let width = table.columns.len();
    // `binary` is a keyword.
    let columns: Vec<String> = table.columns.iter().map(|c| quote_ident(c)).collect();
    let mut sql = format!(
        "INSERT INTO {}.{} ({}) VALUES ",
        table.module,
        table.table,
        columns.join(", ")
    );
    for r in 0..rows {
        let holes: Vec<String> = (1..=width).map(|c| format!("${}", r * width + c)).collect();
        sql.push_str(if r == 0 { "(" } else { ", (" });
        sql.push_str(&holes.join(", "));
        sql.push(')');
    }
    sql
}
