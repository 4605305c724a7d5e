//! Hearing of changes to the catalogue that no session of this proxy made: a DBA's, or another proxy's.
//!
//! An event trigger (made by `postern provision` where the control role is a superuser) notifies with the schema's name; the notification arrives
//! behind the commit, so what is read then is what was committed. Where there is no trigger, and for what it does not see, every module's
//! catalogue is read again every [`EVERY`]; a reading that finds nothing new changes nothing.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use postern_config::ModuleName;
use tokio_postgres::AsyncMessage;

use super::ControlError;
use super::connect::Messages;
use crate::shared::Shared;

/// The channel. Clients' channels have their module's prefix, so none of them can speak here.
pub(super) const CHANNEL: &str = "postern$catalogue";
/// Between two readings that nothing asked for.
const EVERY: Duration = Duration::from_secs(10);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a burst of changes is waited out.
const BURST: Duration = Duration::from_millis(20);

/// Keeps every module's snapshot what the database says, until dropped.
pub async fn watch_catalogues(shared: Arc<Shared>) {
    loop {
        if let Err(error) = listen(&shared).await {
            tracing::warn!(%error, "changes to the catalogue are not heard of for now");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens until the connection ends.
async fn listen(shared: &Shared) -> Result<(), ControlError> {
    let failed = ControlError::query("listening for changes to the catalogue");
    let (client, mut messages) = match shared.pool.dial.connect().await {
        Ok(both) => both,
        Err(error) => return Err(failed(error)),
    };
    let (heard, mut changes) = tokio::sync::mpsc::channel(64);
    let reading = tokio::spawn(async move {
        while let Some(schema) = next(&mut messages).await {
            if heard.send(schema).await.is_err() {
                return;
            }
        }
    });
    // Whatever ends this function ends the reader too.
    let _reading = AbortOnDrop(reading);
    if let Err(error) = client.batch_execute(&format!("LISTEN \"{CHANNEL}\"")).await {
        if error.code().is_none_or(|c| c.code() != "25006") {
            return Err(failed(error));
        }
        tracing::info!("a standby does not let anybody listen: the catalogue is read every {EVERY:?}");
    }
    // What changed while nobody listened.
    shared.catalogs.refresh_all(&shared.pool).await?;
    loop {
        let first = tokio::select! {
            heard = changes.recv() => match heard {
                Some(schema) => schema,
                None => return Ok(()),
            },
            () = tokio::time::sleep(EVERY) => {
                shared.catalogs.refresh_all(&shared.pool).await?;
                continue;
            }
        };
        let mut schemas = BTreeSet::from([first]);
        let burst = tokio::time::sleep(BURST);
        tokio::pin!(burst);
        loop {
            tokio::select! {
                heard = changes.recv() => match heard {
                    Some(schema) => drop(schemas.insert(schema)),
                    None => break,
                },
                () = &mut burst => break,
            }
        }
        let modules: Vec<ModuleName> = schemas.iter().filter_map(|s| shared.catalogs.module_of(s)).cloned().collect();
        for module in &modules {
            shared.catalogs.refresh(&shared.pool, module).await?;
        }
    }
}

/// The next schema that changed; `None` at the connection's end.
async fn next(messages: &mut Messages) -> Option<String> {
    loop {
        match poll_fn(|cx| messages(cx)).await? {
            Ok(AsyncMessage::Notification(n)) if n.channel() == CHANNEL => return Some(n.payload().to_owned()),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the connection that hears of changes to the catalogue ended");
                return None;
            }
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
