//! Whether a predicate without claims is true of any row of a table: asked as the control role, without filters, in a transaction that cannot
//! write. The answer is one truth value; no value of a row leaves the database.

use postern_config::TableRef;
use postern_config::expr::{Expr, Subqueries};
use postern_config::names::quote_ident;

use super::{ControlError, Pool};

/// Alias of the table.
const ROW: &str = "postern$t";

/// For each predicate whether a committed row satisfies it.
pub async fn satisfied(pool: &Pool, predicates: &[(TableRef, Expr)]) -> Result<Vec<bool>, ControlError> {
    let failed = |e| ControlError::query("asking whether a policy lets any row through")(e);
    let mut client = pool.get().await?;
    let transaction = (**client).build_transaction().read_only(true).start().await.map_err(failed)?;
    // A filter that would apply to the control role raises instead of hiding rows.
    transaction
        .batch_execute("SET LOCAL row_security = off")
        .await
        .map_err(failed)?;
    let mut answers = Vec::with_capacity(predicates.len());
    for (table, predicate) in predicates {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {} AS {} WHERE {})",
            table.quoted(),
            quote_ident(ROW),
            predicate.sql(ROW, Subqueries::Inline)
        );
        answers.push(transaction.query_one(&sql, &[]).await.map_err(failed)?.get(0));
    }
    transaction.rollback().await.map_err(failed)?;
    Ok(answers)
}
