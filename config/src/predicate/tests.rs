use super::*;
use crate::expr::Subqueries;

fn ident(name: &str) -> Ident {
    Ident::new(name).unwrap()
}

fn shape(name: &str, columns: &[(&str, &str)]) -> Shape {
    let columns = columns.iter().map(|(name, ty)| ShapeColumn {
        name: ident(name),
        ty: Some(ColumnType::parse(ty)),
        protected: *name == "email" || *name == "password",
        eq: *name == "email",
        never: *name == "password",
    });
    Shape {
        kind: ShapeKind::Table,
        name: TableRef {
            schema: ident("acme"),
            name: ident(name),
        },
        columns: columns.collect(),
    }
}

fn tables() -> Vec<Shape> {
    vec![
        shape(
            "accounts",
            &[
                ("id", "text"),
                ("email", "text"),
                ("password", "text"),
                ("disabled", "bool"),
                ("age", "int4"),
                ("key", "uuid"),
                ("tags", "text[]"),
            ],
        ),
        shape(
            "roles",
            &[
                ("account_id", "text"),
                ("role", "int4"),
                ("org_id", "text"),
                ("Odd Name", "text"),
            ],
        ),
    ]
}

fn read(text: &str) -> Result<Expr, Vec<String>> {
    let tables = tables();
    let module = ModuleName::new("acme").unwrap();
    parse(
        text,
        Scope {
            module: &module,
            table: &tables[0],
            tables: &tables,
            claims: &Claim::BUILT_IN,
        },
    )
}

#[track_caller]
fn printed(text: &str) -> String {
    match read(text) {
        Ok(e) => e.source(),
        Err(c) => panic!("{text}: {c:?}"),
    }
}

#[track_caller]
fn refused_with(text: &str, part: &str) {
    match read(text) {
        Ok(e) => panic!("{text} was read as {}", e.source()),
        Err(c) => assert!(c.iter().any(|c| c.contains(part)), "{text}: {c:?} lacks {part:?}"),
    }
}

#[test]
fn understood() {
    for (text, expected) in [
        ("true", "true"),
        ("claim.super", "claim.\"super\""),
        ("ID = Claim.SUB", "(\"id\" = claim.\"sub\")"),
        ("id = ANY(claim.org_admin_of)", "(\"id\" = ANY (claim.\"org_admin_of\"))"),
        ("disabled IS NOT TRUE", "(\"disabled\" IS NOT TRUE)"),
        ("claim.sub IS NOT NULL", "(claim.\"sub\" IS NOT NULL)"),
        ("claim.org_admin_of IS NULL", "(claim.\"org_admin_of\" IS NULL)"),
        ("age >= -3 and not disabled", "((\"age\" >= (-3)) AND (NOT \"disabled\"))"),
        ("id IN ('a', 'it''s')", "(\"id\" IN ('a', 'it''s'))"),
        ("id NOT IN ('a')", "(NOT (\"id\" IN ('a')))"),
        (
            "(id = 'a' OR (id = 'b')) OR id = 'c'",
            "((\"id\" = 'a') OR (\"id\" = 'b') OR (\"id\" = 'c'))",
        ),
        (
            "id = 'a' OR id = 'b' AND disabled",
            "((\"id\" = 'a') OR ((\"id\" = 'b') AND \"disabled\"))",
        ),
        ("claim.service = 'acme'", "(claim.\"service\" = 'acme')"),
        (
            "key = '00000000-0000-0000-0000-000000000000'",
            "(\"key\" = '00000000-0000-0000-0000-000000000000')",
        ),
        (
            "id IN (SELECT account_id FROM roles WHERE role <= 3)",
            "(\"id\" IN (SELECT \"account_id\" FROM \"roles\" WHERE (\"role\" <= 3)))",
        ),
        (
            "id in (select account_id from ACME.roles where \"Odd Name\" = 'x' and account_id in (select id from accounts where true))",
            "(\"id\" IN (SELECT \"account_id\" FROM \"roles\" WHERE ((\"Odd Name\" = 'x') AND (\"account_id\" IN (SELECT \"id\" FROM \
             \"accounts\" WHERE true)))))",
        ),
        ("disabled = false", "(\"disabled\" = false)"),
        ("(disabled) IS TRUE", "(\"disabled\" IS TRUE)"),
        ("'it\\' = id", "('it\\' = \"id\")"),
    ] {
        assert_eq!(printed(text), expected, "{text}");
    }
}

#[test]
fn names_that_are_not_there() {
    refused_with("idd = 'x'", "has no column `idd`; did you mean `id`?");
    refused_with("sub = id", "did you mean `claim.sub`?");
    refused_with("id = claim.subb", "did you mean `claim.sub`?");
    refused_with("id = claim.nothing_like_it", "use one of sub, org_member_of");
    refused_with("accounts.id = 'x'", "write `id`");
    refused_with("a.b.c = 'x'", "bare column");
    refused_with("\"ID\" = 'x'", "has no column `ID`");
    refused_with("id IN (SELECT account_id FROM rolls WHERE true)", "did you mean `roles`?");
    refused_with("id IN (SELECT account_id FROM other.roles WHERE true)", "outside module acme");
    refused_with(
        "id IN (SELECT account_id FROM a.acme.roles WHERE true)",
        "more than is understood",
    );
    refused_with(
        "id IN (SELECT account_id FROM roles WHERE key = 'x')",
        "column of the outer table",
    );
    let all = read("idd = 'x' AND claim.subb = id").unwrap_err();
    assert_eq!(all.len(), 2, "{all:?}");
}

#[test]
fn sealed_columns_decide_nothing() {
    refused_with("email = id", "is protected");
    refused_with("email <> claim.sub", "by `=` alone");
    assert_eq!(printed("email = claim.sub"), "(\"email\" = claim.\"sub\")");
    refused_with("password IS NULL", "marked `never`");
    refused_with("id IN (SELECT email FROM accounts WHERE true)", "is protected");
}

#[test]
fn types_must_agree() {
    refused_with("id = claim.org_admin_of", "write `id = ANY(claim.org_admin_of)`");
    refused_with("claim.org_admin_of = id", "write `id = ANY(claim.org_admin_of)`");
    refused_with("age = claim.sub", "compare values of one type");
    refused_with("age = '3'", "compare values of one type");
    refused_with("id = 3", "compare values of one type");
    refused_with("id IN ('a', 3)", "compare values of one type");
    refused_with("age = ANY(claim.org_admin_of)", "compare a text column");
    refused_with("key = claim.sub", "compare values of one type");
    refused_with("id = ANY(claim.sub)", "not a list of claims");
    refused_with("id = ANY(tags)", "not a list of claims");
    refused_with("id", "not a condition");
    refused_with("claim.sub AND disabled", "not a condition");
    refused_with(
        "age IN (SELECT account_id FROM roles WHERE true)",
        "compare values of one type",
    );
    refused_with("claim.service = 'other'", "never 'other'");
    refused_with("disabled IS TRUE AND age IS TRUE", "not a condition");
}

#[test]
fn constructs_outside_the_list() {
    for (text, part) in [
        ("lower(id) = 'x'", "a function call"),
        ("id::int4 = 3", "a cast"),
        ("CASE WHEN true THEN true END", "CASE"),
        ("EXISTS (SELECT id FROM accounts)", "EXISTS"),
        ("id = (SELECT id FROM accounts WHERE true)", "a scalar subquery"),
        ("age BETWEEN 1 AND 2", "BETWEEN"),
        ("id LIKE 'a%'", "a pattern match"),
        ("id ~ 'a'", "operator"),
        ("age + 1 = 2", "operator"),
        ("id || 'x' = 'ax'", "operator"),
        ("id = NULL", "IS NULL"),
        ("disabled IS FALSE", "IS FALSE"),
        ("id IS DISTINCT FROM 'x'", "IS DISTINCT FROM"),
        ("id <> ANY(claim.org_admin_of)", "= ANY"),
        ("id = ALL(claim.org_admin_of)", "ALL"),
        ("(id, age) = ('a', 1)", "a row of values"),
        ("id = E'a'", "plain constant"),
        ("id = $$a$$", "plain constant"),
        ("age = 1.5", "whole number"),
        ("age = 99999999999999999999", "whole number"),
        ("id = $1", "plain constant"),
        ("id IN (claim.sub)", "not a constant"),
        ("id = 'a'; DROP TABLE x", "syntax"),
        ("id = 'a' extra", "syntax"),
        ("", "syntax"),
        ("current_user = id", "function"),
    ] {
        refused_with(text, part);
    }
    refused_with(&"disabled OR ".repeat(1000), "longer than");
}

#[test]
fn subqueries_with_anything_more_are_refused() {
    for tail in [
        "SELECT account_id FROM roles",
        "SELECT DISTINCT account_id FROM roles WHERE true",
        "SELECT account_id AS a FROM roles WHERE true",
        "SELECT account_id, org_id FROM roles WHERE true",
        "SELECT * FROM roles WHERE true",
        "SELECT account_id FROM roles r WHERE true",
        "SELECT account_id FROM ONLY roles WHERE true",
        "SELECT account_id FROM roles, accounts WHERE true",
        "SELECT account_id FROM roles JOIN accounts ON true WHERE true",
        "SELECT account_id FROM roles WHERE true GROUP BY account_id",
        "SELECT account_id FROM roles WHERE true HAVING true",
        "SELECT account_id FROM roles WHERE true LIMIT 1",
        "SELECT account_id FROM roles WHERE true ORDER BY 1",
        "SELECT account_id FROM roles WHERE true FOR UPDATE",
        "SELECT account_id FROM roles WHERE true UNION SELECT id FROM accounts WHERE true",
        "WITH roles AS (SELECT 1) SELECT account_id FROM roles WHERE true",
        "SELECT account_id FROM roles TABLESAMPLE SYSTEM (1) WHERE true",
        "SELECT account_id FROM generate_series(1, 2) WHERE true",
        "VALUES ('a')",
    ] {
        let text = format!("id IN ({tail})");
        assert!(read(&text).is_err(), "{text}");
    }
    assert!(read("id IN (SELECT account_id FROM roles WHERE true)").is_ok());
}

#[test]
fn without_a_table_only_claims_are_understood() {
    assert!(parse_claims_only("claim.disabled IS NOT TRUE", &Claim::BUILT_IN).is_ok());
    assert!(parse_claims_only("disabled IS NOT TRUE", &Claim::BUILT_IN).is_err());
    assert!(parse_claims_only("claim.sub IN (SELECT id FROM accounts WHERE true)", &Claim::BUILT_IN).is_err());
}

/// A small fixed-seed generator; what matters is that every node occurs at every depth.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn text(&mut self) -> Const {
        let words = ["a", "", "it's", "back\\slash", "ü", "\"q\"", "--", "/*"];
        Const::Text(words[usize::try_from(self.roll(8)).unwrap()].to_owned())
    }

    fn int(&mut self) -> Const {
        Const::Int([0, 7, -1, i64::MAX, -i64::MAX][usize::try_from(self.roll(5)).unwrap()])
    }

    fn array_claim(&mut self) -> Claim {
        [
            Claim::OrgMemberOf,
            Claim::OrgAdminOf,
            Claim::ProjectMemberOf,
            Claim::ProjectAdminOf,
        ][usize::try_from(self.roll(4)).unwrap()]
    }

    fn text_column(&mut self, table: usize) -> Expr {
        let names: [&[&str]; 2] = [&["id"], &["account_id", "org_id", "Odd Name"]];
        let of = names[table];
        Expr::Column(ident(of[usize::try_from(self.roll(of.len() as u64)).unwrap()]))
    }

    fn number_column(&mut self, table: usize) -> Expr {
        Expr::Column(ident(["age", "role"][table]))
    }

    fn compare(&mut self) -> Compare {
        [Compare::Eq, Compare::Ne, Compare::Lt, Compare::Le, Compare::Gt, Compare::Ge][usize::try_from(self.roll(6)).unwrap()]
    }

    fn predicate(&mut self, table: usize, depth: u32) -> Expr {
        let sides = if depth == 0 { 7 } else { 12 };
        match self.roll(sides) {
            0 => Expr::Bool(self.roll(2) == 0),
            1 => Expr::Claim(Claim::Super),
            2 => Expr::Compare(
                self.compare(),
                Box::new(self.text_column(table)),
                Box::new(Expr::Claim(Claim::Sub)),
            ),
            3 => Expr::Compare(
                self.compare(),
                Box::new(self.number_column(table)),
                Box::new(Expr::Const(self.int())),
            ),
            4 => Expr::InList(
                Box::new(self.text_column(table)),
                (0..=self.roll(3)).map(|_| self.text()).collect(),
            ),
            5 => Expr::AnyClaim(Box::new(self.text_column(table)), self.array_claim()),
            6 => Expr::IsNull {
                of: Box::new(self.text_column(table)),
                negated: self.roll(2) == 0,
            },
            7 => Expr::Not(Box::new(self.predicate(table, depth - 1))),
            8 => Expr::IsTrue {
                of: Box::new(self.predicate(table, depth - 1)),
                negated: self.roll(2) == 0,
            },
            9 => Expr::And(self.terms(table, depth - 1, |e| !matches!(e, Expr::And(_)))),
            10 => Expr::Or(self.terms(table, depth - 1, |e| !matches!(e, Expr::Or(_)))),
            _ => {
                let inner = usize::try_from(self.roll(2)).unwrap();
                let Expr::Column(column) = self.text_column(inner) else {
                    unreachable!()
                };
                Expr::InSelect(Box::new(InSelect {
                    value: self.text_column(table),
                    table: tables()[inner].name.clone(),
                    column,
                    predicate: self.predicate(inner, depth - 1),
                }))
            }
        }
    }

    /// Nested AND in AND is read as one, so it is not made in the first place.
    fn terms(&mut self, table: usize, depth: u32, fits: fn(&Expr) -> bool) -> Vec<Expr> {
        let mut terms = Vec::new();
        while terms.len() < 2 {
            let term = self.predicate(table, depth);
            if fits(&term) {
                terms.push(term);
            }
        }
        terms
    }
}

/// Takes what only the database needs off the printed SQL, so that this crate's own reader understands it.
fn as_written(sql: &str) -> String {
    let mut text = sql.to_owned();
    for claim in Claim::BUILT_IN {
        text = text.replace(&claim.sql(), &format!("claim.{}", claim.name()));
    }
    text.replace("\"t\".", "")
        .replace("\"postern$in\".", "")
        .replace(" AS \"postern$in\"", "")
}

#[test]
fn what_is_printed_reads_back_as_itself() {
    let mut dice = Dice(42);
    for _ in 0..2_000 {
        let expr = dice.predicate(0, 4);
        for text in [expr.source(), as_written(&expr.sql("t", Subqueries::Inline))] {
            if text.len() > MAX_PREDICATE_BYTES {
                continue;
            }
            match read(&text) {
                Ok(again) => assert_eq!(again, expr, "{text}"),
                Err(c) => panic!("{text}: {c:?}"),
            }
        }
    }
}

#[test]
fn claims_are_read_once_and_columns_for_each_row() {
    let sub = Claim::Sub.sql();
    let orgs = "(SELECT (NULLIF(pg_catalog.current_setting('postern.org_admin_of'::text, true), ''::text))::text[])::text[]";
    let disabled = Claim::Disabled.sql();
    for (text, once) in [
        ("id = ANY(claim.org_admin_of)", format!("(t.id = ANY ({orgs}))")),
        ("id = claim.sub", format!("(t.id = (SELECT {sub}))")),
        // By itself a conjunct of claims is evaluated once as it is.
        ("claim.sub IS NOT NULL", format!("({sub} IS NOT NULL)")),
        (
            "claim.disabled IS NOT TRUE AND id = 'x'",
            format!("(({disabled} IS NOT TRUE) AND (t.id = 'x'))"),
        ),
        (
            "id = 'x' OR claim.sub = 'y'",
            format!("((t.id = 'x') OR (SELECT ({sub} = 'y')))"),
        ),
        ("id = 'x'", "(t.id = 'x')".to_owned()),
    ] {
        let expr = read(text).unwrap();
        let plain = |sql: String| sql.replace(['"'], "");
        assert_eq!(plain(expr.filter_sql("t", Subqueries::Once)), plain(once), "{text}");
        assert_eq!(
            expr.filter_sql("t", Subqueries::Point),
            expr.sql("t", Subqueries::Inline),
            "{text}"
        );
    }
}

#[test]
fn lists_of_claims_are_taken_apart_once_where_postgresql_filters() {
    let sub = Claim::Sub.sql();
    let orgs = "(SELECT (NULLIF(pg_catalog.current_setting('postern.org_admin_of'::text, true), ''::text))::text[])::text[]";
    for (text, once) in [
        ("id = ANY(claim.org_admin_of)", format!("(t.id = ANY ({orgs}))")),
        ("id = claim.sub", format!("(t.id = {sub})")),
        (
            "claim.sub = 'y' OR NOT id = ANY(claim.org_admin_of)",
            format!("(({sub} = 'y') OR (NOT (t.id = ANY ({orgs}))))"),
        ),
    ] {
        let expr = read(text).unwrap();
        for printed in [Subqueries::Lists, Subqueries::Functions] {
            assert_eq!(expr.sql("t", printed).replace('"', ""), once, "{text}");
        }
        assert_eq!(
            expr.sql("t", Subqueries::PointFunctions),
            expr.sql("t", Subqueries::Inline),
            "{text}"
        );
    }
}

#[test]
fn empty_claims_are_null() {
    for claim in Claim::BUILT_IN {
        let sql = claim.sql();
        assert!(sql.contains("NULLIF(") && sql.contains(", ''::text)"), "{sql}");
    }
}
