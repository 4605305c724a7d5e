use super::*;
use crate::policy::evaluate::{World, column, compare, ident, is_null, is_true, leaves, not, text, unaries, within, worlds};

const CLAIMS: [Claim; 3] = [Claim::Sub, Claim::OrgAdminOf, Claim::Super];

/// Every choice of claims that are known.
fn choices() -> impl Iterator<Item = Vec<Claim>> {
    (0..1u8 << CLAIMS.len()).map(|bits| {
        let chosen = CLAIMS.into_iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0);
        chosen.map(|(_, claim)| claim).collect()
    })
}

/// Whatever is known of the claims, what is left lets through the same rows.
#[track_caller]
fn same_rows(exprs: &[Expr], worlds: &[World]) {
    for claims in choices() {
        let mut groups: Vec<(Known, Vec<&World>)> = Vec::new();
        for world in worlds {
            let known = world.known(|c| claims.contains(&c));
            match groups.iter_mut().find(|(k, _)| *k == known) {
                Some((_, group)) => group.push(world),
                None => groups.push((known, vec![world])),
            }
        }
        for (expr, (known, group)) in exprs.iter().flat_map(|e| groups.iter().map(move |g| (e, g))) {
            let rest = fold(expr, known).into_expr();
            for world in group {
                assert_eq!(
                    world.lets_through(&rest),
                    world.lets_through(expr),
                    "{} with {known:?} became {} in {world:?}",
                    expr.source(),
                    rest.source()
                );
            }
        }
    }
}

/// Some of all worlds. The step shares no factor with the number of values of any column or claim, so every value is met.
fn some_worlds(step: usize) -> Vec<World> {
    assert!(
        !step.is_multiple_of(2) && !step.is_multiple_of(3),
        "two and three are the numbers of values"
    );
    worlds().into_iter().step_by(step).collect()
}

#[test]
fn conditions_of_one_operator_let_through_the_same_rows() {
    same_rows(&unaries(&unaries(&leaves())), &some_worlds(5));
}

#[test]
fn conjunctions_and_disjunctions_let_through_the_same_rows() {
    let parts = unaries(&leaves());
    let mut made = Vec::new();
    for (n, a) in parts.iter().enumerate() {
        for b in parts.iter().skip(n % 7).step_by(7) {
            made.push(Expr::And(vec![a.clone(), b.clone()]));
            made.push(not(Expr::Or(vec![a.clone(), b.clone()])));
            made.push(is_null(Expr::Or(vec![a.clone(), not(b.clone())]), false));
        }
    }
    same_rows(&made, &some_worlds(35));
}

#[test]
fn a_guest_is_left_with_what_claims_do_not_decide() {
    let sub = || Expr::Claim(Claim::Sub);
    let own = compare(Compare::Eq, column("owner"), sub());
    assert_eq!(fold(&own, &Known::guest()), Folded::None);
    assert_eq!(fold(&not(own.clone()), &Known::guest()), Folded::None, "NOT NULL is NULL");
    assert_eq!(fold(&is_null(sub(), false), &Known::guest()), Folded::All);
    assert_eq!(
        fold(&is_true(Expr::Claim(Claim::Disabled), true), &Known::guest()),
        Folded::All
    );
    let public = compare(Compare::Eq, column("kind"), text("public"));
    assert_eq!(
        fold(&Expr::Or(vec![own.clone(), public.clone()]), &Known::guest()),
        Folded::Some(public)
    );
    assert_eq!(fold(&own, &Known::nothing()), Folded::Some(own.clone()));
}

#[test]
fn a_persons_claims_become_constants() {
    let mut known = Known::guest();
    known.set(Claim::Sub, ClaimValue::Text("bob".to_owned())).expect("text");
    let orgs = ["A", "B"].map(str::to_owned).to_vec();
    known.set(Claim::OrgAdminOf, ClaimValue::List(orgs)).expect("a list");
    let folded = |e: &Expr| fold(e, &known).into_expr().source();
    assert_eq!(
        folded(&compare(Compare::Eq, column("owner"), Expr::Claim(Claim::Sub))),
        "(\"owner\" = 'bob')"
    );
    assert_eq!(
        folded(&Expr::AnyClaim(Box::new(column("org")), Claim::OrgAdminOf)),
        "(\"org\" IN ('A', 'B'))"
    );
    // Within a subquery too; one that no row of the table can pass is FALSE, so its negation is TRUE.
    assert_eq!(
        folded(&within(
            column("t"),
            compare(Compare::Eq, column("o"), Expr::Claim(Claim::Sub))
        )),
        "(\"t\" IN (SELECT \"o\" FROM \"other\" WHERE (\"o\" = 'bob')))"
    );
    assert_eq!(folded(&not(within(column("t"), Expr::Claim(Claim::Super)))), "true");
}

#[test]
fn empty_claims_are_null_and_wrong_ones_are_refused() {
    let mut known = Known::nothing();
    known.set(Claim::Sub, ClaimValue::Text(String::new())).expect("text");
    known.set(Claim::OrgMemberOf, ClaimValue::List(Vec::new())).expect("a list");
    assert_eq!(known.get(Claim::Sub), Some(&ClaimValue::Null));
    assert_eq!(known.get(Claim::OrgMemberOf), Some(&ClaimValue::Null));
    assert_eq!(known.get(Claim::Super), None);
    let wrong = known.set(Claim::Super, ClaimValue::Text("true".to_owned()));
    assert_eq!(wrong, Err(WrongClaim { claim: Claim::Super }));
    assert!(known.set(Claim::Sub, ClaimValue::Bool(true)).is_err());
    assert!(known.set(Claim::OrgAdminOf, ClaimValue::Text("A".to_owned())).is_err());
}

#[test]
fn the_order_of_texts_is_left_to_the_database() {
    let less = compare(Compare::Lt, text("a"), text("B"));
    assert_eq!(fold(&less, &Known::nothing()), Folded::Some(less.clone()));
    assert_eq!(
        fold(&compare(Compare::Le, text("a"), text("a")), &Known::nothing()),
        Folded::All
    );
    assert_eq!(
        fold(&compare(Compare::Eq, text("a"), text("B")), &Known::nothing()),
        Folded::None
    );
}

#[test]
fn what_would_grow_out_of_hand_stays_as_it_is() {
    let mut nested = Expr::Column(ident("b"));
    for n in 0..40 {
        nested = is_null(Expr::And(vec![nested, Expr::Column(ident(&format!("c{n}")))]), false);
    }
    assert_eq!(fold(&nested, &Known::nothing()), Folded::Some(nested.clone()));
}
