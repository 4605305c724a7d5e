//! Claims as the tools over policies take them.

use postern_config::expr::Claim;
use postern_config::policy::fold::{self, Known};
use serde_json::{Map, Value};

use super::token::typed_claims;
use super::{ClaimValue, TokenError, slot};

/// What a token's claims say to policies: all of them are known, those that are missing as NULL.
///
/// # Errors
/// What no token may claim: a value of the wrong type, nobody (no `sub`), to be a service.
pub fn known(claims: &Map<String, Value>) -> Result<Known, TokenError> {
    let typed = typed_claims(claims)?;
    if typed[slot(Claim::Sub)].is_none() || typed[slot(Claim::Service)].is_some() {
        return Err(TokenError::Claim);
    }
    let mut known = Known::guest();
    for claim in Claim::ALL {
        let value = match &typed[slot(claim)] {
            None => continue,
            Some(ClaimValue::Bool(b)) => fold::ClaimValue::Bool(*b),
            Some(ClaimValue::Text(text)) => fold::ClaimValue::Text(text.to_string()),
            Some(ClaimValue::List(items)) => fold::ClaimValue::List(items.iter().map(ToString::to_string).collect()),
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
        known(claims.as_object().expect("an object"))
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
