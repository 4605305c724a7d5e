//! The corpus gives the same through the proxy as on an unencrypted copy queried directly.

use postern_config::Table;
use postern_tests::connection::Connection;
use postern_tests::corpus::{self, Group, Way, difference};
use postern_tests::plain;
use postern_tests::product::workspace;
use postern_tests::rewriting::{Rewriting, native_alone};
use postern_tests::stand::Stand;
use postern_tests::target::Target;

const COPY: &str = "unencrypted_copy";

#[test]
fn the_proxy_answers_like_plain_postgresql() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    compare(stand, stand.gate().port);
}

/// Without a filter of PostgreSQL's.
#[test]
fn the_rewriter_by_itself_answers_like_plain_postgresql() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let rewriting = Rewriting::start(stand, "rewriting-differential");
    compare(stand, rewriting.proxy.port);
}

/// Without a filter of the proxy's: native row-level security alone gives the same.
#[test]
fn native_row_level_security_by_itself_answers_like_plain_postgresql() {
    let stand = Stand::shared();
    let _alone = stand.alone();
    let native = native_alone(stand, "native-differential");
    compare(stand, native.port);
}

/// Runs the corpus through the proxy on that port.
fn compare(stand: &Stand, port: u16) {
    let groups = corpus::read(&workspace().join("tests/differential"));
    let statements: usize = groups.iter().map(|g| g.statements.len()).sum();
    assert!(statements >= 300, "the corpus shrank to {statements} statements");
    let copy = make_copy(stand);
    let mut failures = Vec::new();
    for way in [Way::Simple, Way::Extended] {
        for group in &groups {
            run(stand, &copy, port, group, way, &mut failures);
        }
    }
    stand
        .dba_connection()
        .run(&format!("DROP DATABASE {COPY} WITH (FORCE)"))
        .good("dropping the copy");
    assert!(
        failures.is_empty(),
        "{} differences in {statements} statements:\n\n{}\n",
        failures.len(),
        failures.join("\n\n")
    );
}

/// The copy lies in the same cluster, so both sides have one version, one collation and one clock.
fn make_copy(stand: &Stand) -> Target {
    let mut dba = stand.dba_connection();
    dba.run(&format!("DROP DATABASE IF EXISTS {COPY} WITH (FORCE)"))
        .good("dropping an old copy");
    dba.run(&format!("CREATE DATABASE {COPY} TEMPLATE template0"))
        .good("creating the copy");
    let config = postern_config::load(&stand.gate().config).unwrap_or_else(|e| panic!("the configuration: {e:?}"));
    let target = stand.dba().in_database(COPY);
    let mut connection = open(&target);
    plain::fill(&mut connection, &config, |table| open(&reader(stand, table)));
    target
}

/// Who may read all of a table in the clear: the DBA where nothing is sealed, else the module's service where a policy says so, else
/// the superadmin.
fn reader(stand: &Stand, table: &Table) -> Target {
    if !table.has_protected() {
        return stand.dba();
    }
    let module = table.name.schema.as_str();
    if table.policies.iter().any(|p| p.name.as_str() == "service") {
        stand.through_gate(&format!("{module}.service"), None)
    } else {
        stand.through_gate(module, Some("root"))
    }
}

fn open(target: &Target) -> Connection {
    Connection::open(target).unwrap_or_else(|e| panic!("{}: {e}", target.user))
}

fn run(stand: &Stand, copy: &Target, port: u16, group: &Group, way: Way, failures: &mut Vec<String>) {
    let module = group.login.split('.').next().unwrap_or_default();
    let mut plain = open(&copy.clone().with("options", &format!("-c search_path={module}")));
    let mut proxy = open(&stand.through(port, &group.login, group.who.as_deref()));
    for statement in group.statements.iter().filter(|s| s.goes(way)) {
        let here = format!("{}:{} ({way:?})\n    {}", group.file.display(), statement.line, statement.sql);
        let got = match statement.send(&mut proxy, way) {
            Ok(replies) => replies,
            Err(e) => {
                failures.push(format!(
                    "{here}\n    the connection ended: {e}; the rest of this group was not run"
                ));
                return;
            }
        };
        let expected = match statement.send(&mut plain, way) {
            Ok(replies) => replies,
            Err(e) => panic!("{here}: the copy itself failed: {e}"),
        };
        let failed = expected.iter().find_map(|r| r.error.as_ref());
        let state = failed.map(|e| e.sqlstate().to_owned());
        if state != statement.fails {
            failures.push(format!(
                "{here}\n    the copy was to give {:?}, it gave {failed:?}",
                statement.fails
            ));
        }
        if let Some(later) = &statement.later {
            let refusal = got.iter().find_map(|r| r.error.as_ref());
            if refusal.is_none_or(|e| e.sqlstate() != later || e.hint().is_empty()) {
                failures.push(format!(
                    "{here}\n    it was to be refused with {later} and a HINT for now: {refusal:?}"
                ));
            }
            continue;
        }
        if expected.len() != got.len() {
            failures.push(format!(
                "{here}\n    expected {} answers, got {}: {got:?}",
                expected.len(),
                got.len()
            ));
        }
        let ordered = statement.ordered();
        for problem in expected.iter().zip(&got).filter_map(|(e, g)| difference(e, g, ordered)) {
            failures.push(format!("{here}\n    {problem}"));
        }
        if plain.status != proxy.status {
            failures.push(format!(
                "{here}\n    expected transaction status {}, got {}",
                plain.status, proxy.status
            ));
            // Out of step from here on: what follows would only repeat it.
            return;
        }
    }
}
