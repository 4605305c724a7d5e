//! What of an identity PostgreSQL is told: claims that are not sealed, and equality tags of claims that policies compare with protected
//! columns, those of what a module imports among them. Which ones, and in which order, is the configuration's; the values are the identity's.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use postern_config::expr::{Claim, ClaimTag};
use postern_config::names::{ColumnRef, ModuleName};
use postern_config::{ColumnType, Config};
use postern_keys::{KeyRing, SessionFormat, value};

use super::{Identity, mac};

/// What there is to tell.
pub struct Told {
    claims: Vec<Claim>,
    settings: Vec<String>,
    tags: BTreeMap<ModuleName, Vec<Tag>>,
}

/// One claim's tag for one protected column.
struct Tag {
    name: String,
    claim: Claim,
    column: ColumnRef,
    ty: ColumnType,
}

impl Told {
    /// What this configuration tells.
    pub fn of(config: &Config) -> Self {
        let tags = config.modules.iter().map(|manifest| {
            let of = |tag: ClaimTag| {
                let mut tables = config.modules.iter().flat_map(|m| &m.tables);
                let table = tables.find(|t| t.name == tag.column.table)?;
                let ty = table.column(tag.column.column.as_str())?.ty.unconstrained();
                Some(Tag {
                    name: tag.name(),
                    claim: tag.claim,
                    column: tag.column,
                    ty,
                })
            };
            (
                manifest.module.clone(),
                config.claim_tags(manifest).into_iter().filter_map(of).collect(),
            )
        });
        Self {
            claims: config.told_claims(),
            settings: config.claim_settings(),
            tags: tags.collect(),
        }
    }

    /// These claims and no tag.
    #[cfg(test)]
    pub(super) fn claims_alone(claims: &[Claim]) -> Self {
        let names = claims.iter().map(|c| c.setting()).chain([ClaimTag::SETTING.to_owned()]);
        Self {
            claims: claims.to_vec(),
            settings: names.collect(),
            tags: BTreeMap::new(),
        }
    }

    /// The settings' names behind `postern.`, in their order.
    pub fn settings(&self) -> &[String] {
        &self.settings
    }

    /// The settings' texts: the claims', then the tags'.
    pub(super) fn texts(&self, identity: &Identity, module: &ModuleName, ring: Option<&KeyRing>) -> Vec<String> {
        let claims = self.claims.iter().map(|c| identity.claim_text(*c).unwrap_or_default());
        let mut texts: Vec<String> = claims.collect();
        texts.push(ring.map(|ring| self.tags_of(identity, module, ring)).unwrap_or_default());
        texts
    }

    /// A claim that is missing, or that the column's type cannot hold, equals no value: it has no tag, which is NULL in PostgreSQL.
    fn tags_of(&self, identity: &Identity, module: &ModuleName, ring: &KeyRing) -> String {
        let mut tags = String::new();
        for tag in self.tags.get(module).into_iter().flatten() {
            let (Some(text), Some(keys)) = (identity.claim_text(tag.claim), ring.column(&tag.column)) else {
                continue;
            };
            let Ok(canonical) = value::from_text(&tag.ty, &text, &SessionFormat::default()) else {
                continue;
            };
            let bytes = keys.eq_tag(&tag.ty, canonical.expose());
            write!(tags, "{}={};", tag.name, mac::hex(&bytes)).expect("a String takes any text");
        }
        tags
    }
}
