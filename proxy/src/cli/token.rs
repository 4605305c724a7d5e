//! `postern token mint`.

use std::io::Write;
use std::time::{Duration, SystemTime};

use postern_config::{Config, Manifest};

use super::{CliError, MintArgs};
use crate::identity::mint;

pub(super) fn mint(args: &MintArgs, out: &mut impl Write) -> Result<(), CliError> {
    let config = postern_config::load(&args.config.config)?;
    let module = &module(&config, &args.module)?.module;
    let life = Duration::from_secs(args.ttl);
    let token = mint::mint(
        &config.settings.tokens,
        module,
        &args.person,
        life,
        args.reason.as_deref(),
        SystemTime::now(),
    )?;
    writeln!(out, "{token}").map_err(|source| CliError::Stream {
        doing: "write the token",
        source,
    })
}

/// The manifest of the module that was named.
pub(super) fn module<'c>(config: &'c Config, name: &str) -> Result<&'c Manifest, CliError> {
    config
        .modules
        .iter()
        .find(|m| m.module.as_str() == name)
        .map(|m| &**m)
        .ok_or_else(|| CliError::Unknown {
            what: "module",
            name: name.to_owned(),
            known: config.modules.iter().map(|m| m.module.to_string()).collect(),
        })
}
