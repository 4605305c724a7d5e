//! Which predicate keeps a row from somebody: every part of every policy, evaluated by PostgreSQL on that one row.
//!
//! Reads as the control role, without filters, in a transaction that cannot write; what is answered are truth values of predicates, never a
//! value of the row. The claims stand in the transaction's settings, as those that native policies read. No import's view is asked, since it
//! shows nothing without the claims' MAC: where a policy looks into one, what the view says is asked of the table beneath it.

use postern_config::expr::{Claim, Expr, Subqueries};
use postern_config::manifest::{Operation, Policy};
use postern_config::names::quote_ident;
use postern_config::{Config, Ident, Manifest, Table};

use super::{ControlError, Pool};

/// Alias of the row's table.
const ROW: &str = "postern$t";

/// One predicate and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// As the manifest has it.
    pub source: String,
    /// `None` is NULL, which lets nothing through.
    pub value: Option<bool>,
    /// What it is made of, where that is more than one thing.
    pub parts: Vec<Verdict>,
}

/// What was found of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Restrictions: each must hold, for every operation.
    pub restrictions: Vec<Verdict>,
    /// For each operation its policies, by name: one must hold.
    pub operations: Vec<(Operation, Vec<(Ident, Verdict)>)>,
    /// Masked columns, and what decides whether each is shown.
    pub masks: Vec<(Ident, Verdict)>,
}

impl Answer {
    /// Whether the row is there for an operation: restrictions and one of its policies, and to change it one must also see it.
    pub fn permits(&self, operation: Operation) -> bool {
        let restricted = self.restrictions.iter().all(|v| v.value == Some(true));
        let permitted = |wanted: Operation| {
            let mut policies = self.operations.iter().filter(|(o, _)| *o == wanted).flat_map(|(_, p)| p);
            policies.any(|(_, v)| v.value == Some(true))
        };
        restricted && permitted(operation) && (operation == Operation::Insert || permitted(Operation::Select))
    }
}

/// Asks about the row of a module's table with that primary key (one text for each of its columns, in order). `claims` are the settings' texts.
/// `None` where there is no such row.
pub async fn ask(
    pool: &Pool,
    (config, manifest, table): (&Config, &Manifest, &Table),
    claims: &[(Claim, String)],
    key: &[String],
) -> Result<Option<Answer>, ControlError> {
    let insert = |p: &Policy| Some((p.name.clone(), table.check_by(p, Operation::Insert)?));
    let inserts: Vec<(Ident, Expr)> = table.policies.iter().filter_map(insert).collect();
    let mut asked = Vec::new();
    let restrictions: Vec<Shape<'_>> = table.restrictions.iter().map(|e| shape(e, &mut asked)).collect();
    let mut operations = Vec::new();
    for operation in [Operation::Select, Operation::Insert, Operation::Update, Operation::Delete] {
        let deciding: Vec<(&Ident, &Expr)> = match operation {
            Operation::Insert => inserts.iter().map(|(name, expr)| (name, expr)).collect(),
            _ => {
                let policies = table.policies.iter().filter(|p| p.operations.contains(&operation));
                policies.filter_map(|p| Some((&p.name, p.using.as_ref()?))).collect()
            }
        };
        let deciding = deciding
            .into_iter()
            .map(|(name, expr)| (name.clone(), shape(expr, &mut asked)));
        operations.push((operation, deciding.collect::<Vec<_>>()));
    }
    let masks: Vec<(Ident, Shape<'_>)> = table
        .columns
        .iter()
        .filter_map(|c| Some((c.name.clone(), shape(c.shown_when.as_ref()?, &mut asked))))
        .collect();

    let failed = |e| ControlError::query("reading the row")(e);
    let mut client = pool.get().await?;
    let transaction = (**client).build_transaction().read_only(true).start().await.map_err(failed)?;
    // A filter that would apply to the control role raises instead of hiding the row.
    transaction
        .batch_execute("SET LOCAL row_security = off")
        .await
        .map_err(failed)?;
    for (claim, value) in claims {
        let name = format!("postern.{}", claim.setting());
        transaction
            .execute("SELECT pg_catalog.set_config($1, $2, true)", &[&name, value])
            .await
            .map_err(failed)?;
    }
    let condition: Vec<String> = table
        .primary_key
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let ty = table
                .column(column.as_str())
                .map_or_else(|| "text".to_owned(), |c| c.ty.to_string());
            format!("{}.{} = (${}::text)::{ty}", quote_ident(ROW), column.quoted(), i + 1)
        })
        .collect();
    let outputs: Vec<String> = asked
        .iter()
        .map(|e| config.expr_beneath(manifest, (*e).clone()))
        .map(|e| format!("({})::bool", e.sql(ROW, Subqueries::Inline)))
        .collect();
    let sql = format!(
        "SELECT ARRAY[{}]::bool[] FROM {} AS {} WHERE {}",
        outputs.join(", "),
        table.name.quoted(),
        quote_ident(ROW),
        condition.join(" AND ")
    );
    let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = key.iter().map(|k| k as _).collect();
    let row = transaction.query_opt(&sql, &parameters).await.map_err(failed)?;
    transaction.rollback().await.map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let values: Vec<Option<bool>> = row.get(0);
    let named = |(name, shape): (Ident, Shape<'_>)| (name, shape.verdict(&values));
    Ok(Some(Answer {
        restrictions: restrictions.into_iter().map(|s| s.verdict(&values)).collect(),
        operations: operations
            .into_iter()
            .map(|(operation, policies)| (operation, policies.into_iter().map(named).collect()))
            .collect(),
        masks: masks.into_iter().map(named).collect(),
    }))
}

/// A predicate, where its value will be, and its parts'.
struct Shape<'e> {
    expr: &'e Expr,
    place: usize,
    parts: Vec<Shape<'e>>,
}

fn shape<'e>(expr: &'e Expr, asked: &mut Vec<&'e Expr>) -> Shape<'e> {
    let place = asked.len();
    asked.push(expr);
    let parts: Vec<&Expr> = match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().collect(),
        Expr::Not(of) | Expr::IsTrue { of, .. } => vec![of],
        _ => Vec::new(),
    };
    let parts = parts.into_iter().map(|e| shape(e, asked)).collect();
    Shape { expr, place, parts }
}

impl Shape<'_> {
    fn verdict(&self, values: &[Option<bool>]) -> Verdict {
        Verdict {
            source: self.expr.source(),
            value: values.get(self.place).copied().flatten(),
            parts: self.parts.iter().map(|p| p.verdict(values)).collect(),
        }
    }
}
