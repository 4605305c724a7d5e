//! Exports and imports: what one module shows to another, through the proxy in all three ways to enforce, and straight at PostgreSQL.

use postern_tests::attack::Family;
use postern_tests::connection::Connection;
use postern_tests::product::{fresh_directory, run_postern, workspace};
use postern_tests::rewriting::{Rewriting, native_alone};
use postern_tests::stand::Stand;
use postern_tests::target::Target;

/// Rows of the two modules, gone again at the end.
pub(crate) struct Lent<'s>(&'s Stand);

impl<'s> Lent<'s> {
    /// Writes them.
    pub(crate) fn rows(stand: &'s Stand) -> Self {
        let this = Self(stand);
        let mut lender = Connection::open(&stand.through_gate("lender.service", None)).expect("a session");
        for sql in [
            "INSERT INTO shelves (id, org_id) VALUES ('shelf-a', 'A'), ('shelf-b', 'B')",
            "INSERT INTO books (id, owner, shelf_id, title, pages, contact) VALUES ('book-1', 'bob', 'shelf-a', 'One', 10, 'c1'), \
             ('book-2', 'dora', 'shelf-b', 'Two', 20, 'c2'), ('book-3', 'bob', NULL, 'Three', 30, 'c3'), \
             ('book-4', 'carl', 'shelf-a', 'Four', 40, 'c4')",
        ] {
            lender.run(sql).good(sql);
        }
        let mut borrower = Connection::open(&stand.through_gate("borrower.service", None)).expect("a session");
        let sql = "INSERT INTO loans (id, book_id) VALUES ('loan-1', 'book-1')";
        borrower.run(sql).good(sql);
        let mut dba = stand.dba_connection();
        for sql in [
            "INSERT INTO borrower.reviews (id, book_id, owner, stars, body) VALUES ('rv-1', 'book-1', 'ana', 5, 'good one'), \
             ('rv-2', 'book-2', 'ana', 4, 'good two'), ('rv-3', 'book-3', 'ana', 1, 'good three'), ('rv-4', 'book-4', 'carl', 3, 'good four')",
            "INSERT INTO readers.answers (id, review_id, text) VALUES ('a-1', 'rv-1', 'yes one'), ('a-2', 'rv-2', 'yes two'), \
             ('a-3', 'rv-3', 'yes three'), ('a-4', 'rv-4', 'yes four')",
        ] {
            dba.run(sql).good(sql);
        }
        this
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let sql = "TRUNCATE borrower.loans, borrower.reminders, borrower.reviews, lender.books, lender.shelves, readers.answers";
        self.0.dba_connection().run(sql);
    }
}

fn attack(stand: &Stand, port: u16, way: &str) {
    let mut failures = Vec::new();
    for name in ["exchange.toml", "lookups.toml", "ddl.toml"] {
        let family = Family::read(&workspace().join("tests/attacks").join(name));
        failures.extend(family.run_through(stand, port));
    }
    assert!(
        failures.is_empty(),
        "{way}: {}\n\n{}\n",
        failures.len(),
        failures.join("\n\n")
    );
}

/// What modules make is tried here, too.
#[test]
fn what_is_imported_and_nothing_else() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _rows = Lent::rows(stand);
    attack(stand, stand.gate().port, "both");
    let native = native_alone(stand, "exchange-native");
    attack(stand, native.port, "rls");
    drop(native);
    let rewriting = Rewriting::start(stand, "exchange-rewrite");
    attack(stand, rewriting.proxy.port, "rewrite");
}

/// Somebody found an upstream password of the importing module: the view shows what the proxy would show, and nothing lies beside it.
#[test]
fn the_second_lock_holds_by_columns() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _rows = Lent::rows(stand);
    for login in ["borrower", "borrower.service", "borrower.migrator"] {
        let through = stand.through_gate(login, None);
        let target = Target {
            user: through.user,
            password: through.password,
            ..stand.dba()
        };
        let mut c = Connection::open(&target).expect("straight at PostgreSQL");
        for (sql, answer) in [
            ("SELECT count(*) FROM borrower.lent", Ok("0")),
            // All rows were said aloud; whoever forges claims sees none.
            ("SELECT count(*) FROM borrower.shelves", Ok("2")),
            ("SELECT id FROM lender.books", Err("42501")),
            ("SELECT id FROM lender.shelves", Err("42501")),
            ("INSERT INTO borrower.lent (id) VALUES ('x')", Err("42501")),
            ("UPDATE borrower.lent SET pages = 1", Err("42501")),
            ("DELETE FROM borrower.lent", Err("42501")),
            ("SELECT * FROM borrower.lent FOR UPDATE", Err("42501")),
            ("CREATE TABLE lender.t (a int)", Err("42501")),
            ("SET postern.sub = 'bob'", Ok("")),
            ("SET postern.service = 'lender'", Ok("")),
            ("SELECT count(*) FROM borrower.lent", Ok("0")),
            ("SELECT count(*) FROM borrower.shelves", Ok("0")),
        ] {
            let reply = c.run(sql);
            match answer {
                Ok("") => assert!(reply.error.is_none(), "{login}: {sql}: {:?}", reply.error),
                Ok(value) => assert_eq!(reply.good(sql).scalar().as_deref(), Some(value), "{login}: {sql}"),
                Err(state) => assert_eq!(reply.sqlstate(), state, "{login}: {sql}"),
            }
        }
    }
}

/// The functions by which policies look into imports: whoever calls them by hand with claims of their own making gets nothing, no other
/// module calls them at all, and their owner reads the view and nothing beneath it.
#[test]
fn functions_over_imports_give_nothing_away() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _rows = Lent::rows(stand);
    let mut dba = stand.dba_connection();
    let sql = "SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'postern' \
               AND p.proname LIKE 'p$borrower$len%' ORDER BY 1";
    let found = dba.run(sql).good(sql);
    let functions: Vec<String> = found
        .texts()
        .into_iter()
        .filter_map(|row| row.into_iter().next().flatten())
        .collect();
    assert_eq!(functions.len(), 3, "{functions:?}");
    let straight = |login: &str| {
        let through = stand.through_gate(login, None);
        let target = Target {
            user: through.user,
            password: through.password,
            ..stand.dba()
        };
        Connection::open(&target).expect("straight at PostgreSQL")
    };
    let mut own = straight("borrower");
    own.run("SET postern.sub = 'bob'").good("claims of their own making");
    let mut others = straight("lender.service");
    let sql = "SELECT count(*) FROM borrower.reviews";
    assert_eq!(own.run(sql).good(sql).scalar().as_deref(), Some("0"));
    for function in &functions {
        let sql = format!("SELECT count(*) FROM {function}");
        assert_eq!(own.run(&sql).good(&sql).scalar().as_deref(), Some("0"), "{function}");
        assert_eq!(others.run(&sql).sqlstate(), "42501", "{function}");
    }
    for (relation, right, has) in [
        ("borrower.lent", "SELECT", "t"),
        ("borrower.lent", "UPDATE", "f"),
        ("readers.reviews", "SELECT", "t"),
        ("lender.books", "SELECT", "f"),
        ("borrower.reviews", "SELECT", "f"),
    ] {
        let sql = format!("SELECT pg_catalog.has_table_privilege('postern_policy', '{relation}', '{right}')");
        assert_eq!(dba.run(&sql).good(&sql).scalar().as_deref(), Some(has), "{relation} {right}");
    }
}

/// What the exporting module says anew holds for who looks there, at once and without a word in the importing module's manifest; what is looked
/// into no longer is not readable any more.
#[test]
fn policies_over_imports_follow_both_manifests() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _rows = Lent::rows(stand);
    let config = stand.gate().config.clone();
    let file = config.to_str().expect("a path in UTF-8");
    let provision = || {
        let done = run_postern(&["provision", "--config", file]);
        let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{text}");
        text
    };
    let modules = config.parent().expect("a directory").join("modules");
    let files = [modules.join("lender.toml"), modules.join("borrower.toml")];
    let texts = files.clone().map(|f| std::fs::read_to_string(f).expect("a manifest"));
    let replaced = |text: &str, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let mut bob = Connection::open(&stand.through_gate("borrower", Some("bob"))).expect("a session");
    let mut seen = || {
        let sql = "SELECT string_agg(id, ' ' ORDER BY id) FROM reviews";
        bob.run(sql).good(sql).scalar()
    };
    let readable = || {
        let sql = "SELECT pg_catalog.has_table_privilege('postern_policy', 'borrower.lent', 'SELECT')";
        stand.dba_connection().run(sql).good(sql).scalar()
    };
    let before = (seen(), readable());
    // What the importing module has built on it holds no change up.
    let mut migrator = Connection::open(&stand.through_gate("borrower.migrator", None)).expect("a session");
    let built = "CREATE VIEW built_on_lent AS SELECT id FROM lent";
    migrator.run(built).good(built);
    // Another function, which the view must call before the old one can go.
    std::fs::write(
        &files[0],
        replaced(&texts[0], "ANY(claim.org_member_of)", "ANY(claim.org_admin_of)"),
    )
    .expect("written");
    provision();
    let again = provision();
    let exporter_changed = seen();
    std::fs::write(&files[0], &texts[0]).expect("written");
    // The import stays, and nothing looks into it.
    std::fs::write(
        &files[1],
        replaced(
            &replaced(
                &texts[1],
                "book_id IN (SELECT id FROM lent WHERE shelf_id IN (SELECT id FROM shelves WHERE true))",
                "claim.super",
            ),
            "book_id IN (SELECT id FROM lent WHERE",
            "book_id IN (SELECT book_id FROM loans WHERE",
        )
        .replace("pages >= 0", "true"),
    )
    .expect("written");
    provision();
    let looked_away = readable();
    std::fs::write(&files[1], &texts[1]).expect("written");
    provision();
    migrator.run("DROP VIEW built_on_lent").good("DROP VIEW");
    assert!(again.contains("nothing to do"), "{again}");
    let text = |t: &str| Some(t.to_owned());
    assert_eq!(before, (text("rv-1 rv-3 rv-4"), text("t")));
    assert_eq!(exporter_changed, text("rv-1 rv-3"));
    assert_eq!(looked_away, text("f"));
    assert_eq!((seen(), readable()), before);
}

/// `postern why` says which part of a policy over an import is false or null for a person.
#[test]
fn why_a_row_is_not_shown_by_way_of_an_import() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _rows = Lent::rows(stand);
    let config = stand.gate().config.to_str().expect("a path in UTF-8");
    let why = |who: &[&str], module: &str, table: &str, key: &str| {
        let asked = run_postern(&[&["why", "--config", config, "--module", module], who, &[table, key]].concat());
        let text = String::from_utf8_lossy(&asked.stdout).into_owned() + &String::from_utf8_lossy(&asked.stderr);
        (asked.status.success(), text)
    };
    let of_book = "(\"book_id\" IN (SELECT \"id\" FROM \"lent\" WHERE (\"pages\" >= 0)))";
    for (who, key, shown, says) in [
        ("bob", "rv-1", true, "true"),
        ("bob", "rv-2", false, "false"),
        ("dora", "rv-2", true, "true"),
        ("dora", "rv-1", false, "false"),
    ] {
        let (seen, text) = why(&["--as", who], "borrower", "reviews", key);
        assert_eq!(seen, shown, "{who} {key}: {text}");
        let line = text.lines().find(|l| l.contains("lent: ")).unwrap_or_default();
        assert!(line.contains(of_book) && line.contains(says), "{who} {key}: {text}");
    }
    let (seen, text) = why(&[], "borrower", "reviews", "rv-1");
    assert!(!seen && text.contains("NOT: no row that is seen"), "{text}");
    // Two imports one beneath the other.
    assert!(why(&["--as", "dora"], "readers", "answers", "a-2").0);
    assert!(!why(&["--as", "dora"], "readers", "answers", "a-1").0);
}

/// `postern policy test` tells which policy let somebody through by way of an import.
#[test]
fn coverage_is_told_of_policies_over_imports() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _rows = Lent::rows(stand);
    let config = stand.gate().config.to_str().expect("a path in UTF-8");
    let directory = fresh_directory("lookups-policy-test");
    let file = directory.join("cases.toml");
    let cases = "module = \"borrower\"\n[[case]]\nname = \"her book's\"\nas = \"dora\"\nsql = \"SELECT id FROM reviews\"\nexpect = { rows = \
                 [[\"rv-2\"]] }\n[[case]]\nname = \"no other\"\nas = \"dora\"\nsql = \"SELECT id FROM reviews WHERE id <> 'rv-2'\"\nexpect = \
                 { count = 0 }\n";
    std::fs::write(&file, cases).expect("written");
    let path = file.to_str().expect("a path in UTF-8");
    let done = run_postern(&["policy", "test", "--config", config, path]);
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    std::fs::remove_dir_all(directory).expect("the directory is ours");
    assert!(done.status.success() && text.contains("2 cases: 2 hold, 0 do not"), "{text}");
    // She has written none, so that it can have been no other policy.
    assert!(
        text.contains("select lent             let through: dora; not let through: dora"),
        "{text}"
    );
    assert!(
        text.contains("select own              let through: never; not let through: dora"),
        "{text}"
    );
}

/// A cascade was declared, and lint says what it means.
#[test]
fn a_cascade_across_modules_is_carried_out_and_found() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let _rows = Lent::rows(stand);
    let mut borrower = Connection::open(&stand.through_gate("borrower.service", None)).expect("a session");
    let sql = "INSERT INTO reminders (id, book_id) VALUES ('r', 'book-3')";
    borrower.run(sql).good(sql);
    let unknown = borrower.run("INSERT INTO reminders (id, book_id) VALUES ('s', 'no-such-book')");
    assert_eq!(unknown.sqlstate(), "23503");
    let mut lender = Connection::open(&stand.through_gate("lender.service", None)).expect("a session");
    lender.run("DELETE FROM books WHERE id = 'book-3'").good("the book goes");
    let left = borrower.run("SELECT count(*) FROM reminders").good("the reminders").scalar();
    assert_eq!(left.as_deref(), Some("0"));

    let config = stand.gate().config.to_str().expect("a path in UTF-8");
    let found = run_postern(&["policy", "lint", "--config", config]);
    let text = String::from_utf8_lossy(&found.stdout).into_owned() + &String::from_utf8_lossy(&found.stderr);
    assert_eq!(text.matches("P016").count(), 2, "{text}");
    // What a foreign key tells of rows that the other module hides; an import of all rows, or one without `references`, hides none.
    assert_eq!(text.matches("to the imported lent may be written").count(), 2, "{text}");
    assert!(!text.contains("to the imported shelves"), "{text}");
    assert!(text.contains("rows of lender.books may be removed"), "{text}");
    assert!(
        !text.contains(
            "rows of lender.shelves may be removed, or their key changed, by somebody who does not see the rows of other"
        ),
        "{text}"
    );
    assert!(
        text.contains("on_delete = \"cascade\"") && text.contains("on_update = \"set null\""),
        "{text}"
    );
}

/// Provisioning twice changes nothing, and an import that is withdrawn leaves nothing behind.
#[test]
fn a_withdrawn_import_is_gone() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let config = stand.gate().config.clone();
    let file = config.to_str().expect("a path in UTF-8");
    let provision = || {
        let done = run_postern(&["provision", "--config", file]);
        let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{text}");
        text
    };
    provision();
    assert!(provision().contains("nothing to do"));
    let modules = config.parent().expect("a directory").join("modules");
    let (lender, borrower) = (modules.join("lender.toml"), modules.join("borrower.toml"));
    let texts = [&lender, &borrower].map(|f| std::fs::read_to_string(f).expect("a manifest"));
    let without = |text: &str, head: &str| {
        let at = text.rfind(head).expect("the section");
        let end = text[at..].find("rows = \"all\"").expect("its last line") + at + "rows = \"all\"".len();
        format!("{}{}", &text[..at], &text[end..])
    };
    // Not as long as a policy looks into it.
    std::fs::write(&borrower, without(&texts[1], "[[import]]")).expect("written");
    let refused = run_postern(&["check", "--config", file]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(
        !refused.status.success() && told.contains("declares no table `shelves` and imports none"),
        "{told}"
    );
    let looked = "shelf_id IN (SELECT id FROM shelves WHERE true)";
    assert!(texts[1].contains(looked), "{looked}");
    let importer = texts[1].replace(looked, "shelf_id IS NOT NULL");
    // One side alone does not load.
    std::fs::write(&borrower, without(&importer, "[[import]]")).expect("written");
    let refused = run_postern(&["check", "--config", file]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && told.contains("does not import it"), "{told}");
    std::fs::write(&lender, without(&texts[0], "[[export]]")).expect("written");
    provision();
    let there = "SELECT pg_catalog.to_regclass('borrower.shelves') IS NOT NULL";
    let gone = stand.dba_connection().run(there).good(there).scalar();
    std::fs::write(&lender, &texts[0]).expect("written");
    std::fs::write(&borrower, &texts[1]).expect("written");
    provision();
    let back = stand.dba_connection().run(there).good(there).scalar();
    assert_eq!((gone.as_deref(), back.as_deref()), (Some("f"), Some("t")));
}
