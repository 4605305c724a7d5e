use super::*;
use crate::expr::{Claim, Compare, Const};
use crate::policy::evaluate::{
    Value, World, column, compare, is_null, is_true, leaves, not, number, text, unaries, within, worlds,
};

/// On every world: wherever `a` lets a row through, `b` does.
fn holds_everywhere(a: &[bool], b: &[bool]) -> bool {
    a.iter().zip(b).all(|(a, b)| !a || *b)
}

#[test]
fn what_is_proven_holds_in_every_world() {
    let worlds = worlds();
    let mut exprs = unaries(&leaves());
    let pairs: Vec<Expr> = leaves()
        .iter()
        .flat_map(|a| leaves().into_iter().map(move |b| Expr::And(vec![a.clone(), b])))
        .collect();
    exprs.extend(pairs.into_iter().step_by(3));
    let values: Vec<Vec<bool>> = exprs
        .iter()
        .map(|e| worlds.iter().map(|w| w.lets_through(e)).collect())
        .collect();
    let (mut proven, mut lacking) = (0, 0);
    for (a, a_values) in exprs.iter().zip(&values) {
        for (b, b_values) in exprs.iter().zip(&values) {
            let true_everywhere = holds_everywhere(a_values, b_values);
            match implies(a, b) {
                Some(true) => {
                    proven += 1;
                    assert!(true_everywhere, "{} does not imply {}", a.source(), b.source());
                }
                Some(false) | None if true_everywhere => lacking += 1,
                Some(false) | None => {}
            }
        }
    }
    // The worlds are few, so much holds in them that does not hold in general (text is x or y in every one); most must be found.
    assert!(proven > lacking, "{proven} implications were proven, {lacking} were not");
}

/// Atoms that know nothing of each other: the table is exact.
#[test]
fn over_independent_conditions_it_is_exact() {
    let values = [Some(true), Some(false), None];
    let mut lines = Vec::new();
    for p in values {
        for q in values {
            for r in values {
                lines.push([p, q, r]);
            }
        }
    }
    let names = ["p", "q", "r"];
    let plain: Vec<Expr> = names.map(column).into();
    let mut exprs = unaries(&plain);
    for a in unaries(&plain).into_iter().step_by(2) {
        for b in &plain {
            exprs.push(Expr::And(vec![a.clone(), b.clone()]));
            exprs.push(Expr::Or(vec![not(b.clone()), a.clone()]));
        }
    }
    let value_in = |e: &Expr, line: &[Option<bool>; 3]| {
        let columns = names
            .into_iter()
            .zip(line)
            .map(|(name, value)| (name.to_owned(), value.map_or(Value::Null, Value::Bool)));
        let world = World {
            columns: columns.collect(),
            ..Default::default()
        };
        world.lets_through(e)
    };
    let tables: Vec<Vec<bool>> = exprs.iter().map(|e| lines.iter().map(|l| value_in(e, l)).collect()).collect();
    for (a, a_values) in exprs.iter().zip(&tables) {
        for (b, b_values) in exprs.iter().zip(&tables) {
            assert_eq!(
                implies(a, b),
                Some(holds_everywhere(a_values, b_values)),
                "{} and {}",
                a.source(),
                b.source()
            );
        }
    }
}

/// Each pair holds one way, and its denied twin is the other way.
#[test]
fn laws_of_comparisons() {
    let sub = || Expr::Claim(Claim::Sub);
    let n = || column("n");
    let own = || compare(Compare::Eq, column("t"), sub());
    for (narrow, wide) in [
        (own(), is_null(sub(), true)),
        (own(), is_null(column("t"), true)),
        (
            Expr::AnyClaim(Box::new(column("t")), Claim::OrgAdminOf),
            is_null(Expr::Claim(Claim::OrgAdminOf), true),
        ),
        (compare(Compare::Eq, n(), number(2)), compare(Compare::Le, n(), number(3))),
        (compare(Compare::Lt, n(), number(2)), compare(Compare::Ne, n(), number(5))),
        (compare(Compare::Gt, n(), number(3)), compare(Compare::Ge, n(), number(3))),
        (
            Expr::InList(Box::new(n()), vec![Const::Int(1), Const::Int(2)]),
            compare(Compare::Le, n(), number(2)),
        ),
        (compare(Compare::Eq, sub(), text("x")), compare(Compare::Ne, sub(), text("y"))),
        (compare(Compare::Lt, n(), column("m")), compare(Compare::Ne, column("m"), n())),
        (compare(Compare::Lt, n(), column("m")), compare(Compare::Ge, column("m"), n())),
        (
            within(
                column("t"),
                Expr::And(vec![compare(Compare::Eq, column("o"), sub()), Expr::Claim(Claim::Super)]),
            ),
            within(column("t"), Expr::Claim(Claim::Super)),
        ),
        (within(column("t"), Expr::Bool(true)), is_null(column("t"), true)),
    ] {
        assert_eq!(implies(&narrow, &wide), Some(true), "{} → {}", narrow.source(), wide.source());
        assert_eq!(
            implies(&wide, &narrow),
            Some(false),
            "{} → {}",
            wide.source(),
            narrow.source()
        );
    }
}

#[test]
fn ways_to_write_the_same() {
    let (n, super_) = (|| column("n"), || Expr::Claim(Claim::Super));
    for (one, other) in [
        (super_(), is_true(super_(), false)),
        (
            not(compare(Compare::Lt, n(), number(2))),
            compare(Compare::Le, number(2), n()),
        ),
        (
            not(Expr::Or(vec![super_(), column("b")])),
            Expr::And(vec![not(column("b")), compare(Compare::Eq, super_(), Expr::Bool(false))]),
        ),
        (
            Expr::InList(Box::new(n()), vec![Const::Int(1), Const::Int(2)]),
            Expr::Or(vec![
                compare(Compare::Eq, number(2), n()),
                compare(Compare::Eq, n(), number(1)),
            ]),
        ),
    ] {
        assert_eq!(implies(&one, &other), Some(true), "{} → {}", one.source(), other.source());
        assert_eq!(implies(&other, &one), Some(true), "{} → {}", other.source(), one.source());
    }
}

#[test]
fn with_too_many_atoms_parts_are_compared_or_nothing_is_said() {
    let conditions = |from: usize, to: usize| -> Vec<Expr> { (from..to).map(|n| column(&format!("c{n}"))).collect() };
    let (all, most) = (conditions(0, 14), conditions(0, 12));
    assert_eq!(atoms(&Expr::Or(all.clone())).len(), 14);
    assert_eq!(implies(&Expr::And(all.clone()), &Expr::And(most.clone())), Some(true));
    assert_eq!(
        implies(&Expr::And(most.clone()), &Expr::And(all.clone())),
        None,
        "no part says so"
    );
    assert_eq!(implies(&Expr::Or(most.clone()), &Expr::Or(all.clone())), Some(true));
    assert_eq!(implies(&Expr::Or(all), &Expr::Or(most)), None, "no part says so");
}
