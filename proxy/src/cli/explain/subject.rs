//! On whose behalf, and against which catalogue, `explain` judges.

use std::collections::BTreeMap;
use std::fs;

use postern_config::manifest::Default as ColumnDefault;
use postern_config::settings::Enforce;
use postern_config::{Config, Ident, Login, LoginKind, LoginName, Manifest, ModuleName};
use postern_rewriter::catalog::{Catalog, Native, Partitioning, Relation, RelationColumn, RelationKind};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::{CatalogSource, PATIENCE};
use crate::cli::{CliError, ExplainArgs, check, token, wait_for};
use crate::control;

/// The longest statement where no configuration says otherwise, bytes.
const MAX_SQL_BYTES: usize = 4 << 20;
/// The module that is assumed where there is no configuration.
const PLAIN_MODULE: &str = "lab";

/// Everything a verdict depends on.
pub(super) struct Subject {
    pub(super) catalog: Arc<Catalog>,
    pub(super) module: ModuleName,
    pub(super) login: Login,
    pub(super) superadmin: bool,
    pub(super) enforce: Enforce,
    pub(super) max_sql_bytes: usize,
    /// Where the catalogue came from.
    source: CatalogSource,
    /// Who asks, and with which claims.
    pub(super) person: Option<(String, Map<String, Value>)>,
}

impl Subject {
    /// Reads whatever the arguments ask for.
    pub(super) fn find(args: &ExplainArgs) -> Result<Self, CliError> {
        match (&args.config, args.catalog) {
            (None, Some(CatalogSource::None)) => Self::without_configuration(args),
            (None, _) => Err(CliError::Option {
                option: "--config FILE",
                why: "only --catalog none can do without one",
            }),
            (Some(file), source) => {
                let config = check::validated(file)?;
                let name = match (&args.module, source) {
                    (Some(name), _) => name.as_str(),
                    (None, Some(CatalogSource::None)) => PLAIN_MODULE,
                    (None, _) => {
                        return Err(CliError::Option {
                            option: "--module NAME",
                            why: "a statement means something else to each module",
                        });
                    }
                };
                let manifest = token::module(&config, name)?;
                let (catalog, source) = catalog(&config, manifest, source)?;
                let person = args.person.as_deref().map(|p| person(&config, p)).transpose()?;
                Ok(Self {
                    catalog,
                    module: manifest.module.clone(),
                    login: login(manifest, args.login.as_deref())?,
                    superadmin: person
                        .as_ref()
                        .is_some_and(|(_, c)| c.get("super") == Some(&Value::Bool(true))),
                    enforce: config.settings.enforce,
                    max_sql_bytes: config.settings.limits.max_sql_bytes,
                    source,
                    person,
                })
            }
        }
    }

    fn without_configuration(args: &ExplainArgs) -> Result<Self, CliError> {
        let name = args.module.as_deref().unwrap_or(PLAIN_MODULE);
        let wrong = |_| CliError::Unknown {
            what: "module",
            name: name.to_owned(),
            known: vec!["any name of a-z, 0-9 and _".to_owned()],
        };
        if args.person.is_some() {
            return Err(CliError::Option {
                option: "--config FILE",
                why: "--as needs to know the person's claims",
            });
        }
        Ok(Self {
            catalog: Arc::new(Catalog::open(Ident::new(name).map_err(wrong)?)),
            module: ModuleName::new(name).map_err(wrong)?,
            login: Login {
                name: LoginName::new(name).map_err(wrong)?,
                kind: LoginKind::Service,
                ddl: true,
            },
            superadmin: false,
            enforce: Enforce::Both,
            max_sql_bytes: MAX_SQL_BYTES,
            source: CatalogSource::None,
            person: None,
        })
    }

    /// One line that says what the verdict rests on.
    pub(super) fn headline(&self) -> String {
        let who = match &self.person {
            None if self.login.kind == LoginKind::Service => "the module itself".to_owned(),
            None => "a guest".to_owned(),
            Some((name, claims)) => {
                let claims: Vec<String> = claims.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!("{name} ({})", claims.join(", "))
            }
        };
        let known = match self.source {
            CatalogSource::Live => "the database's catalogue",
            CatalogSource::Manifest => "the manifests alone",
            CatalogSource::None => "no catalogue: every relation is taken as own and plain",
        };
        format!("module {}, login {}, {who}; judged by {known}", self.module, self.login.name)
    }
}

fn login(manifest: &Manifest, asked: Option<&str>) -> Result<Login, CliError> {
    let of = |kind| manifest.logins.iter().find(|l| l.kind == kind);
    let found = match asked {
        Some(name) => manifest.logins.iter().find(|l| l.name.as_str() == name),
        None => of(LoginKind::Runtime).or(of(LoginKind::Service)).or(of(LoginKind::Migrator)),
    };
    found.cloned().ok_or_else(|| CliError::Unknown {
        what: "login",
        name: asked.unwrap_or("(any)").to_owned(),
        known: manifest.logins.iter().map(|l| l.name.to_string()).collect(),
    })
}

/// The person's claims, from the file that `token mint` uses as well.
pub(in crate::cli) fn person(config: &Config, name: &str) -> Result<(String, Map<String, Value>), CliError> {
    let Some(path) = &config.settings.tokens.dev_people else {
        return Err(CliError::Option {
            option: "tokens.dev_people",
            why: "--as looks the person's claims up there",
        });
    };
    let bytes = fs::read(path).map_err(|source| CliError::File {
        path: path.clone(),
        source,
    })?;
    let people: BTreeMap<String, Map<String, Value>> = serde_json::from_slice(&bytes).map_err(|e| CliError::Secret {
        what: "the people's file cannot be read",
        reason: e.to_string(),
    })?;
    match people.get(name) {
        Some(claims) => Ok((name.to_owned(), claims.clone())),
        None => Err(CliError::Unknown {
            what: "person",
            name: name.to_owned(),
            known: people.into_keys().collect(),
        }),
    }
}

fn catalog(
    config: &Config,
    manifest: &Manifest,
    asked: Option<CatalogSource>,
) -> Result<(Arc<Catalog>, CatalogSource), CliError> {
    match asked {
        Some(CatalogSource::None) => Ok((Arc::new(Catalog::open(manifest.schema.clone())), CatalogSource::None)),
        Some(CatalogSource::Manifest) => Ok((Arc::new(declared(manifest)), CatalogSource::Manifest)),
        Some(CatalogSource::Live) => Ok((live(config, manifest)?, CatalogSource::Live)),
        None => Ok(match live(config, manifest) {
            Ok(catalog) => (catalog, CatalogSource::Live),
            // The headline says that it was not the database's.
            Err(_) => (Arc::new(declared(manifest)), CatalogSource::Manifest),
        }),
    }
}

fn live(config: &Config, manifest: &Manifest) -> Result<Arc<Catalog>, CliError> {
    let failed = |source: control::ControlError| CliError::Control {
        doing: "reading the catalogue",
        source: Box::new(source),
    };
    let mut settings = config.settings.clone();
    settings.upstream.connect_timeout = settings.upstream.connect_timeout.min(PATIENCE);
    wait_for(async {
        let pool = control::connect(&settings).await.map_err(failed)?;
        let catalogs = control::Catalogs::load(&pool, config).await.map_err(failed)?;
        Ok(catalogs.of(&manifest.module))
    })?
}

/// The catalogue that the manifest promises.
fn declared(manifest: &Manifest) -> Catalog {
    let mut relations = Vec::new();
    for table in &manifest.tables {
        let columns = table.columns.iter().map(|c| RelationColumn {
            name: c.name.as_str().into(),
            ty: c.ty.clone(),
            collated: false,
        });
        relations.push(Relation {
            schema: table.name.schema.as_str().into(),
            name: table.name.name.as_str().into(),
            kind: RelationKind::Table,
            columns: Some(columns.collect()),
            declared: Some(Arc::new(table.clone())),
            native: Native::Rows,
            forced: true,
            outdated: false,
            partitioning: Partitioning {
                partitioned: table.partition_by.is_some(),
                ..Partitioning::default()
            },
        });
        for column in table.columns.iter().filter(|c| c.default == Some(ColumnDefault::Serial)) {
            relations.push(Relation::undeclared(
                table.name.schema.as_str(),
                format!("{}_{}_seq", table.name.name, column.name),
                RelationKind::Sequence,
            ));
        }
    }
    for import in &manifest.imports {
        relations.push(Relation::undeclared(
            manifest.schema.as_str(),
            import.name.as_str(),
            RelationKind::Imported,
        ));
    }
    let mut catalog = Catalog::new(0, manifest.schema.clone(), relations);
    catalog.second_lock_only_bodies = manifest.accepts_second_lock_only_bodies;
    catalog
}
