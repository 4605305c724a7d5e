//! Claims as the tools over policies take them.

use postern_config::expr::Claim;
use postern_config::policy::fold::{self, Known};
use serde_json::{Map, Value};

use super::token::typed_claims;
use super::{ClaimValue, TokenError, value_of};

/// What a token's claims say to policies: all of them are known, those that are missing as NULL.
///
/// # Errors
/// What no token may claim: a value of the wrong type, nobody (no `sub`), to be a service.
pub fn known(claims: &Map<String, Value>, all: &[Claim]) -> Result<Known, TokenError> {
    let typed = typed_claims(claims, all)?;
    if value_of(&typed, Claim::Sub).is_none() || value_of(&typed, Claim::Service).is_some() {
        return Err(TokenError::Claim);
    }
    let mut known = Known::guest();
    for (claim, value) in typed {
        let value = match value {
            ClaimValue::Bool(b) => fold::ClaimValue::Bool(b),
            ClaimValue::Int(n) => fold::ClaimValue::Int(n),
            ClaimValue::Text(text) => fold::ClaimValue::Text(text.into()),
            ClaimValue::List(items) => fold::ClaimValue::List(items.into_iter().map(Into::into).collect()),
        };
        known.set(claim, value).map_err(|_| TokenError::Claim)?;
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(claims: Value) -> Result<Known, TokenError> {
        known(claims.as_object().expect("an object"), &Claim::BUILT_IN)
    }

    #[test]
    fn claims_are_known_and_missing_ones_are_null() {
        let known = of(json!({ "sub": "bob", "org_admin_of": ["A"], "verified": true, "colour": "ignored" })).expect("accepted");
        assert_eq!(known.get(Claim::Sub), Some(&fold::ClaimValue::Text("bob".to_owned())));
        assert_eq!(
            known.get(Claim::OrgAdminOf),
            Some(&fold::ClaimValue::List(vec!["A".to_owned()]))
        );
        assert_eq!(known.get(Claim::Verified), Some(&fold::ClaimValue::Bool(true)));
        assert_eq!(known.get(Claim::Super), Some(&fold::ClaimValue::Null));
    }

    #[test]
    fn what_no_token_may_claim_is_refused() {
        for denied in [
            json!({ "org_admin_of": ["A"] }),
            json!({ "sub": "" }),
            json!({ "sub": "bob", "service": "disco" }),
            json!({ "sub": "bob", "verified": "true" }),
        ] {
            assert_eq!(of(denied.clone()), Err(TokenError::Claim), "{denied}");
        }
    }
}
