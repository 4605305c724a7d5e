//! Says how to get in: `DIR/demo.json` for programs, a few lines for a person.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use postern_config::{Config, LoginKind, Manifest};
use serde_json::{Map, Value, json};

use super::cluster::Cluster;
use super::error::DemoError;
use super::place::{Place, write_file};
use super::visitor::{client_password, login_of};

/// `DIR/demo.json`, there for as long as this lives.
pub struct Announcement {
    path: PathBuf,
}

impl Announcement {
    /// Removes what an earlier, killed demonstration left.
    pub fn clear(place: &Place) {
        let _ = fs::remove_file(place.path("demo.json"));
    }

    /// Writes the file; it appears whole.
    pub fn write(place: &Place, config: &Config, cluster: &Cluster) -> Result<Self, DemoError> {
        let database = &config.settings.upstream.database;
        let mut modules = Map::new();
        for manifest in &config.modules {
            let mut urls = Map::new();
            for (name, url) in urls_of(config, manifest)? {
                urls.insert(name.to_owned(), json!(url));
            }
            modules.insert(manifest.module.to_string(), Value::Object(urls));
        }
        let address = config.settings.listen.address;
        let whole = json!({
            "proxy": { "host": address.ip().to_string(), "port": address.port() },
            "direct_dba_url": cluster.url(database),
            "metrics_url": format!("http://{}/metrics", config.settings.admin),
            "config": config.file.display().to_string(),
            "modules": modules,
        });
        let path = place.path("demo.json");
        let text = serde_json::to_string_pretty(&whole).expect("maps of strings serialise");
        write_file(&path, 0o600, text.as_bytes())?;
        Ok(Self { path })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A module's URLs through the proxy. One that has a service login alone gives that as its `url`.
fn urls_of(config: &Config, manifest: &Manifest) -> Result<Vec<(&'static str, String)>, DemoError> {
    let runtime = login_of(manifest, LoginKind::Runtime);
    let service = login_of(manifest, LoginKind::Service);
    let mut urls = Vec::new();
    for (name, login) in [
        ("url", runtime.or(service)),
        ("migrator_url", login_of(manifest, LoginKind::Migrator)),
        ("service_url", service.filter(|_| runtime.is_some())),
    ] {
        if let Some(login) = login {
            let address = config.settings.listen.address;
            let database = &config.settings.upstream.database;
            let password = client_password(config, login)?;
            urls.push((name, format!("postgresql://{}:{password}@{address}/{database}", login.name)));
        }
    }
    Ok(urls)
}

/// Tells a person how to connect.
pub fn invite(config: &Config, cluster: &Cluster, out: &mut impl Write) -> Result<(), DemoError> {
    let disco = config
        .modules
        .iter()
        .find(|m| m.module.as_str() == "disco")
        .ok_or_else(|| DemoError::Missing("module `disco`".to_owned()))?;
    let url = urls_of(config, disco)?.into_iter().next().map(|(_, u)| u).unwrap_or_default();
    let postern = std::env::current_exe().map_or_else(|_| "postern".to_owned(), |p| p.display().to_string());
    let text = format!(
        "
Ready: PostgreSQL's protocol on {address}, metrics on http://{admin}/metrics

  as bob, with a token that holds for ten minutes:
    export PGOPTIONS=\"-c postern.token=$({postern} token mint --config {file} --module disco --as bob)\"
    psql '{url}' -c 'SELECT survey_user_name, birth_date FROM survey_users'

  as the DBA, past the proxy:
    env -u PGOPTIONS psql '{dba}' -c 'SELECT * FROM disco.survey_users LIMIT 3'

  what a statement becomes:
    {postern} explain --config {file} --module disco --as bob 'SELECT survey_user_name FROM survey_users'

Ctrl-C stops everything.
",
        address = config.settings.listen.address,
        admin = config.settings.admin,
        file = config.file.display(),
        dba = cluster.url(&config.settings.upstream.database),
    );
    // Where it cannot be written there is nobody to tell.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(())
}
