//! `[claims]` of `postern.toml`: what tokens carry beyond the claims that are always there.

use super::document::{Notes, Section};
use super::nearest;
use crate::expr::{Claim, ClaimType};

/// Longest name, bytes: `postern.claim_` goes before it.
const MAX_NAME: usize = 40;
/// Most of them: each travels with every change of identity, and PostgreSQL passes a function (that checks their MAC) at most 100 arguments.
const MAX_CLAIMS: usize = 16;
/// What every token says for itself.
const OF_TOKENS: [&str; 9] = ["iss", "aud", "exp", "iat", "nbf", "jti", "mod", "login", "reason"];

/// `sealed` before a type keeps the claim from PostgreSQL; lists and times have no tags.
fn claim_type(text: &str) -> Option<(bool, ClaimType)> {
    let (sealed, ty) = match text.strip_prefix("sealed ") {
        Some(ty) => (true, ClaimType::parse(ty.trim())?),
        None => (false, ClaimType::parse(text)?),
    };
    let has_tag = !ty.is_list() && ty != ClaimType::TimestampTz;
    (!sealed || has_tag).then_some((sealed, ty))
}

/// Those that are always there, then declared ones by name.
pub(super) fn read(root: &mut Section<'_, '_>, notes: &mut Notes) -> Vec<Claim> {
    let mut claims = Claim::BUILT_IN.to_vec();
    let Some(section) = root.section("claims", notes) else {
        return claims;
    };
    let line = section.line();
    let mut declared = Vec::new();
    for (name, ty) in section.named_texts(notes) {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.value.starts_with(|c: char| c.is_ascii_lowercase())
            || !name.value.chars().all(plain)
            || name.value.len() > MAX_NAME
        {
            notes.add(
                name.line,
                format!(
                    "`{}` cannot be a claim's name; use at most {MAX_NAME} lower-case letters, digits and underscores",
                    name.value
                ),
            );
        } else if claims.iter().any(|c| c.name() == name.value) {
            notes.add(
                name.line,
                format!("the claim `{}` is there without a declaration; remove it", name.value),
            );
        } else if OF_TOKENS.contains(&name.value.as_str()) {
            notes.add(
                name.line,
                format!(
                    "`{}` is what a token says of itself, and no claim; choose another name",
                    name.value
                ),
            );
        } else if let Some((sealed, ty)) = claim_type(&ty.value) {
            declared.push(Claim::declared(&name.value, ty, sealed));
        } else {
            let known: Vec<&str> = ClaimType::ALL.into_iter().map(ClaimType::sql).collect();
            let remedy = match nearest(&ty.value, known.iter().copied()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => format!("write one of {}", known.join(", ")),
            };
            notes.add(ty.line, format!("a claim cannot be `{}`; {remedy}", ty.value));
        }
    }
    if declared.len() > MAX_CLAIMS {
        notes.add(
            line,
            format!("[claims] declares more than {MAX_CLAIMS}; leave out what no policy reads"),
        );
    }
    declared.sort_by_key(|c| c.name());
    claims.extend(declared);
    claims
}
