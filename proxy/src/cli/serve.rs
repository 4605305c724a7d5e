//! `postern serve`.

use std::path::Path;

use super::{CliError, check, wait_for};
use crate::observe::logs;
use crate::serve;
use crate::stop::Stop;

pub(super) fn run(file: &Path) -> Result<(), CliError> {
    let config = check::validated(file)?;
    logs::start();
    wait_for(async {
        let mut stop = Stop::listen().map_err(|source| CliError::Runtime { source })?;
        serve::serve(config, None, async move { stop.asked().await })
            .await
            .map_err(CliError::from)
    })?
}
