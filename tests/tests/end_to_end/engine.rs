//! The session between two connections: groups of statements that fail in the middle, tokens that are rolled back, checks that come too
//! late, names that PostgreSQL cuts, and the end of the server.

use std::time::{Duration, Instant};

use postern_tests::another::Another;
use postern_tests::connection::{Connection, Failure};
use postern_tests::kept::Kept;
use postern_tests::message::{Reply, bind_body, cstring, message, parse_body};
use postern_tests::stand::{Stand, eventually};
use postern_tests::target::Target;

const SYNC: &[u8] = b"S\0\0\0\x04";

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', &parse_body(name, sql, &[]))
}

fn bind(portal: &str, name: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|v| Some(v.as_bytes().to_vec())).collect();
    message(b'B', &bind_body(portal, name, &values, 0, 0))
}

fn execute(portal: &str) -> Vec<u8> {
    message(b'E', &[cstring(portal), vec![0; 4]].concat())
}

/// Parse, Bind and Execute without a Sync.
fn whole(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", "", &[]), execute("")].concat()
}

/// Sends, and reads one group of replies.
#[track_caller]
fn group(c: &mut Connection, parts: &[Vec<u8>]) -> Vec<Reply> {
    c.send_raw(&parts.concat()).expect("sent");
    c.replies().unwrap_or_else(|e| panic!("{e}"))
}

/// The SQLSTATE of the last reply.
fn code(replies: &[Reply]) -> &str {
    replies.last().map_or("", Reply::sqlstate)
}

#[track_caller]
fn names_seen(c: &mut Connection) -> usize {
    c.run("SELECT survey_user_name FROM survey_users").good("reading").rows.len()
}

/// PostgreSQL looks at 63 bytes of a name: two longer ones would be one there and two here, and a Bind would reach another's text.
#[test]
fn names_longer_than_postgresql_keeps_are_refused() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("evilmod", None);
    let longest = "n".repeat(63);
    assert_eq!(code(&group(&mut c, &[parse(&longest, "SELECT 1"), SYNC.to_vec()])), "");
    for end in ["x", "y"] {
        let name = format!("{longest}{end}");
        let messages = [
            parse(&name, "SELECT 1"),
            bind("", &name, &[]),
            bind(&name, "", &[]),
            message(b'C', &[b"S".to_vec(), cstring(&name)].concat()),
            message(b'D', &[b"P".to_vec(), cstring(&name)].concat()),
            execute(&name),
        ];
        for m in messages {
            assert_eq!(
                code(&group(&mut c, &[m.clone(), SYNC.to_vec()])),
                "42622",
                "{:?}",
                char::from(m[0])
            );
        }
    }
    let found = group(&mut c, &[bind("", &longest, &[]), execute(""), SYNC.to_vec()]);
    assert_eq!(found.last().and_then(Reply::scalar).as_deref(), Some("1"));
}

#[test]
fn a_token_for_the_transaction_holds_in_its_batch_and_no_longer() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let bob = stand.token("disco", "bob");
    let read = "SELECT survey_user_name FROM survey_users";
    let mut c = stand.connect("disco", None);
    let set = format!("SET LOCAL postern.token = '{bob}'");
    let batch = c.simple(&format!("{set}; {read}")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(batch.last().map(|r| r.rows.len()), Some(1), "in a batch");
    assert_eq!(names_seen(&mut c), 0);
    let pipeline = group(&mut c, &[whole(&set), whole(read), SYNC.to_vec()]);
    assert_eq!(pipeline.last().map(|r| r.rows.len()), Some(1), "in a pipeline");
    assert_eq!(names_seen(&mut c), 0);
    let ended = c
        .simple(&format!("BEGIN; {set}; {read}; COMMIT; {read}"))
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((ended[2].rows.len(), ended[4].rows.len()), (1, 0), "behind COMMIT");
}

#[test]
fn what_is_rolled_back_takes_its_tokens_along() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let bob = stand.token("disco", "bob");
    let set = format!("SET postern.token = '{bob}'");
    let guest = || stand.connect("disco", None);

    let mut c = guest();
    assert_eq!(
        code(&c.simple(&format!("{set}; SELECT 1/0")).unwrap_or_else(|e| panic!("{e}"))),
        "22012"
    );
    assert_eq!(names_seen(&mut c), 0, "a batch that fails");
    assert_eq!(
        code(&group(&mut c, &[whole(&set), whole("SELECT 1/0"), SYNC.to_vec()])),
        "22012"
    );
    assert_eq!(names_seen(&mut c), 0, "a pipeline that fails");
    c.run(&set);
    assert_eq!(names_seen(&mut c), 1, "and one that does not");
    c.run("RESET ALL");
    assert_eq!(names_seen(&mut c), 0, "RESET ALL");

    for (name, sets) in [
        ("local", format!("SET LOCAL postern.token = '{bob}'")),
        ("session", set.clone()),
    ] {
        let mut c = guest();
        for sql in ["BEGIN", "SAVEPOINT \"a b\"", &sets, "SAVEPOINT c", "ROLLBACK TO c"] {
            c.run(sql).good(sql);
        }
        c.run("ROLLBACK TO \"a b\"").good(name);
        assert_eq!(names_seen(&mut c), 0, "{name}: behind the savepoint");
        c.run("COMMIT").good(name);
        assert_eq!(names_seen(&mut c), 0, "{name}: behind COMMIT");
        for sql in ["BEGIN", &sets, "SAVEPOINT a", "ROLLBACK TO a"] {
            c.run(sql).good(sql);
        }
        assert_eq!(names_seen(&mut c), 1, "{name}: a token from before the savepoint stays");
    }
}

#[test]
fn what_a_superadmin_prepared_is_judged_again_for_others() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let root = stand.token("disco", "root");
    let mut c = stand.connect("disco", Some("bob"));
    let count = "SELECT count(*) FROM survey_users";
    let all = c.run(&format!("/*postern:{root}*/ {count}")).scalar();
    c.run(&format!("/*postern:{root}*/ PREPARE p AS {count}")).good("PREPARE");
    assert_eq!(c.run("EXECUTE p").good("EXECUTE").scalar().as_deref(), Some("1"));
    assert_eq!(
        c.run(&format!("/*postern:{root}*/ EXECUTE p")).scalar(),
        all,
        "the comment holds for EXECUTE"
    );
    assert_eq!(c.run("EXECUTE p").scalar().as_deref(), Some("1"));
    // One of several in a batch has no text of its own to judge again.
    c.run(&format!("/*postern:{root}*/ SELECT 1; PREPARE q AS {count}"))
        .good("PREPARE");
    assert_eq!(c.run("EXECUTE q").sqlstate(), "0A000");
    // The other way round: a comment with fewer rights than the session.
    let bob = stand.token("disco", "bob");
    let mut c = stand.connect("disco", Some("root"));
    c.run(&format!("PREPARE p AS {count}")).good("PREPARE");
    assert_eq!(c.run(&format!("/*postern:{bob}*/ EXECUTE p")).scalar().as_deref(), Some("1"));
}

fn things(stand: &Stand) -> Connection {
    Connection::open(&stand.through_gate("alltypes.service", None)).unwrap_or_else(|e| panic!("{e}"))
}

/// A stored value that fails its check fails the transaction, even where COMMIT is under way with it.
#[test]
fn a_commit_waits_for_the_checks_before_it() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = things(stand);
    c.run("INSERT INTO things (id, secret, note) VALUES (880001, 'a', 'old'), (880002, 'b', 'old')")
        .good("INSERT");
    let mut dba = stand.dba_connection();
    dba.run("UPDATE alltypes.things SET secret = (SELECT secret FROM alltypes.things WHERE id = 880002) WHERE id = 880001")
        .good("harm");
    let write = "UPDATE things SET note = 'new' WHERE id = 880001 RETURNING secret";
    let read = "SELECT secret FROM things WHERE id = 880001";
    let harmless = "UPDATE things SET note = 'new' WHERE id = 880001";
    let mut unchanged = |how: &str| {
        let note = dba.run("SELECT note FROM alltypes.things WHERE id = 880001").scalar();
        assert_eq!(note.as_deref(), Some("old"), "{how}: what failed its check was committed");
    };

    assert_eq!(c.run(write).sqlstate(), "XX001");
    unchanged("by itself");
    let all = [whole("BEGIN"), whole(write), whole("COMMIT"), SYNC.to_vec()];
    assert!(group(&mut c, &all).iter().any(|r| r.sqlstate() == "XX001"));
    c.run("ROLLBACK");
    unchanged("in a pipeline");
    let batch = c.simple(&format!("BEGIN; {write}; COMMIT")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(code(&batch), "XX001");
    c.run("ROLLBACK");
    unchanged("in a batch");
    // COMMIT in a group of its own, sent before the answer to the read is there: the session may end, but not with a commit.
    let sync = || SYNC.to_vec();
    let mut other = things(stand);
    let all = [
        whole("BEGIN"),
        whole(harmless),
        sync(),
        whole(read),
        sync(),
        whole("COMMIT"),
        sync(),
    ];
    other.send_raw(&all.concat()).expect("sent");
    assert!(other.closes() || other.status != 'I');
    unchanged("in several groups");
    c.run("DELETE FROM things WHERE id IN (880001, 880002)").good("DELETE");
}

#[test]
fn a_batch_leaves_no_statement_and_a_portal_of_ours_runs_once() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = things(stand);
    group(&mut c, &[parse("", "SELECT 1"), SYNC.to_vec()]);
    c.run("INSERT INTO things (id, v_text, v_int4) VALUES (880010, 'x', 1)")
        .good("INSERT");
    // The unnamed statement is gone, and is not the batch's INSERT.
    assert_eq!(
        code(&group(&mut c, &[bind("", "", &[]), execute(""), SYNC.to_vec()])),
        "26000"
    );
    // An UPDATE that is carried out row by row.
    let update = parse("", "UPDATE things SET v_int4 = $1 WHERE v_text = 'x' RETURNING id");
    let twice = group(
        &mut c,
        &[update, bind("p", "", &["2"]), execute("p"), execute("p"), SYNC.to_vec()],
    );
    assert_eq!((twice[0].rows.len(), code(&twice)), (1, "55000"));
    c.run("DELETE FROM things WHERE id = 880010").good("DELETE");
}

/// A name that comes to stand for other rows must not have them read as the first ones: hidden columns would be seen.
#[test]
fn a_cursors_name_never_has_anothers_rows_read() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = things(stand);
    c.run("INSERT INTO things (id, secret, note) VALUES (880040, 'hidden', 'note')")
        .good("INSERT");
    let plain = "DECLARE c CURSOR FOR SELECT note FROM things WHERE id = 880040";
    let sealed = "SELECT secret FROM things WHERE id = 880040";
    let declare = format!("DECLARE c CURSOR FOR {sealed}");
    let portal = |sql: &str| [parse("", sql), bind("c", "", &[])].concat();
    let close = message(b'C', b"Pc\0");
    let cases = [
        (
            "a FETCH bound before",
            "34000",
            vec![
                whole(plain),
                parse("", "FETCH 1 FROM c"),
                bind("f", "", &[]),
                whole("CLOSE c"),
                whole(&declare),
                execute("f"),
            ],
        ),
        (
            "closed by the protocol",
            "34000",
            vec![whole(plain), close, portal(sealed), whole("FETCH 1 FROM c")],
        ),
        (
            "a cursor rolled back",
            "34000",
            vec![
                whole("SAVEPOINT a"),
                whole(plain),
                whole("ROLLBACK TO a"),
                portal(sealed),
                whole("FETCH 1 FROM c"),
            ],
        ),
        (
            "a portal rolled back",
            "0A000",
            vec![
                whole("SAVEPOINT a"),
                portal("SELECT note FROM things WHERE id = 880040"),
                whole("ROLLBACK TO a"),
                whole(&declare),
                execute("c"),
            ],
        ),
    ];
    for (how, sqlstate, mut messages) in cases {
        messages.push(SYNC.to_vec());
        c.run("BEGIN").good(how);
        let replies = group(&mut c, &messages);
        assert_eq!(code(&replies), sqlstate, "{how}");
        assert!(replies.iter().all(|r| r.rows.is_empty()), "{how}: rows were read");
        c.run("ROLLBACK").good(how);
    }
    for sql in ["BEGIN", &declare] {
        c.run(sql).good(sql);
    }
    assert_eq!(c.run("FETCH 1 FROM c").scalar().as_deref(), Some("hidden"));
    c.run("COMMIT").good("COMMIT");
    c.run("DELETE FROM things WHERE id = 880040").good("DELETE");
}

/// PostgreSQL reports a new time zone only at the end of the group that sets it.
#[test]
fn values_are_not_read_in_a_zone_that_is_not_known_yet() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = things(stand);
    let insert = "INSERT INTO things (id, v_timestamptz) VALUES (880020, '2020-01-01 00:00')";
    let batch = c
        .simple(&format!("SET TimeZone = 'Asia/Tokyo'; {insert}"))
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(code(&batch), "0A000");
    // In groups of their own, even without waiting in between.
    let sync = || SYNC.to_vec();
    c.send_raw(&[whole("SET TimeZone = 'Asia/Tokyo'"), sync(), whole(insert), sync()].concat())
        .expect("sent");
    c.replies().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(code(&c.replies().unwrap_or_else(|e| panic!("{e}"))), "");
    c.run("SET TimeZone = 'UTC'").good("SET");
    let stored = c.run("SELECT v_timestamptz FROM things WHERE id = 880020").scalar();
    assert_eq!(stored.as_deref(), Some("2019-12-31 15:00:00+00"));
    c.run("DELETE FROM things WHERE id = 880020").good("DELETE");
}

/// A sealed value is bound to the key that PostgreSQL stores, whatever type the client declared it in.
#[test]
fn a_key_of_another_declared_type_is_the_key_that_is_stored() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = Connection::open(&stand.through_gate("alltypes.service", None)).unwrap_or_else(|e| panic!("{e}"));
    for (oid, given, stored) in [
        (16, "on", "true"),
        (23, "0088", "88"),
        (1042, "88 b  ", "88 b"),
        (701, "8.8e3", "8800"),
    ] {
        let value = |v: &str| Some(v.as_bytes().to_vec());
        // `owner` is read by the policy, so `a` is bound to it.
        let sql = "INSERT INTO pairs (id, owner, a) VALUES (880030, $1, $2)";
        c.extended_with(sql, &[oid, 25], &[value(given), value("secret 880030")], 0, 0)
            .unwrap_or_else(|e| panic!("{e}"))
            .good(given);
        let read = c.run("SELECT owner, a FROM pairs WHERE id = 880030").good(given);
        let row = [stored, "secret 880030"].map(|t| Some(t.to_owned())).to_vec();
        assert_eq!(read.texts(), vec![row], "{given} as {oid}");
        c.run("DELETE FROM pairs WHERE id = 880030").good("DELETE");
    }
}

/// Replies of ours behind one of PostgreSQL's that it holds back must not stand in the way of the client's Sync.
#[test]
fn many_statements_of_ours_before_a_sync() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("evilmod", None);
    c.patience(Duration::from_secs(20)).expect("a deadline can be set");
    let mut all = parse("", "SELECT 1");
    for _ in 0..5000 {
        all.extend(parse("", "RESET postern.token"));
    }
    all.extend(SYNC);
    let began = Instant::now();
    assert_eq!(code(&group(&mut c, &[all])), "", "after {:?}", began.elapsed());
}

/// A client that knows a statement's columns must not get others.
#[test]
fn a_statement_whose_columns_changed_is_prepared_again() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("lab", None);
    c.run("DROP TABLE IF EXISTS engine_columns").good("DROP");
    c.run("CREATE TABLE engine_columns (a int PRIMARY KEY, b text)")
        .good("CREATE");
    let star = "SELECT * FROM engine_columns";
    assert_eq!(code(&group(&mut c, &[parse("s", star), SYNC.to_vec()])), "");
    c.run(&format!("PREPARE p AS {star}")).good("PREPARE");
    c.run("ALTER TABLE engine_columns ADD COLUMN c int").good("ALTER");
    assert_eq!(
        code(&group(&mut c, &[bind("", "s", &[]), execute(""), SYNC.to_vec()])),
        "0A000"
    );
    assert_eq!(c.run("EXECUTE p").sqlstate(), "0A000");
    assert_eq!(
        code(&group(
            &mut c,
            &[parse("t", star), bind("", "t", &[]), execute(""), SYNC.to_vec()]
        )),
        ""
    );
    c.run("DROP TABLE engine_columns").good("DROP");
}

/// Another proxy before the stand's database, with a change to its settings.
fn another_proxy(stand: &Stand, purpose: &str, change: impl FnOnce(&mut toml::Table)) -> (Kept, Target) {
    let another = Another::start(stand, purpose, change);
    let target = stand.login_as("disco", Some("root")).on_port(another.port);
    (another.kept, target)
}

#[test]
fn shutdown_is_told_to_whoever_waits_and_lets_a_transaction_end() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (mut kept, target) = another_proxy(stand, "closing", |_| {});
    let open = || Connection::open(&target).unwrap_or_else(|e| panic!("{e}"));
    let (mut idle, mut busy) = (open(), open());
    busy.run("BEGIN").good("BEGIN");
    let stopping = std::thread::spawn(move || kept.stop());
    idle.patience(Duration::from_secs(3)).expect("a deadline can be set");
    let told = |c: &mut Connection| match c.replies() {
        Err(Failure::Io(_)) => String::from_utf8_lossy(&c.seen).into_owned(),
        other => panic!("the session goes on: {other:?}"),
    };
    idle.forget_seen();
    assert!(told(&mut idle).contains("57P01"));
    busy.run("SELECT 1").good("a statement of a transaction that is open");
    busy.run("COMMIT").good("COMMIT");
    busy.forget_seen();
    assert!(told(&mut busy).contains("57P01"));
    stopping.join().expect("stopped");
}

#[test]
fn a_superadmin_without_a_trail_is_refused() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (mut kept, target) = another_proxy(stand, "no-trail", |settings| {
        let audit: toml::Table = "file = '/dev/full'".parse().expect("TOML");
        settings.insert("audit".to_owned(), toml::Value::Table(audit));
    });
    let person = stand.login_as("disco", Some("bob")).on_port(target.port);
    // Its login is the event that finds the device full.
    let mut c = Connection::open(&person).unwrap_or_else(|e| panic!("{e}"));
    let sql = format!(
        "/*postern:{}*/ SELECT count(*) FROM survey_users",
        stand.token("disco", "root")
    );
    let refused = eventually(Duration::from_secs(10), || (c.run(&sql).sqlstate() == "58030").then_some(()));
    assert!(refused.is_some(), "superadmins go on without a trail");
    assert_eq!(names_seen(&mut c), 1, "others go on");
    kept.stop();
}

/// PostgreSQL makes values of constants when it reads a text: what it read under other settings does not serve.
#[test]
fn constants_are_read_under_the_settings_of_the_moment() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let sql = "SELECT '01/02/2024'::date - '2024-01-01'::date";
    let days = |c: &mut Connection| {
        let found = group(c, &[parse("", sql), bind("", "", &[]), execute(""), SYNC.to_vec()]);
        found.last().and_then(Reply::scalar)
    };
    for _ in 0..2 {
        let mut c = stand.connect("lab", None);
        for (style, expected) in [("DMY", "31"), ("MDY", "1"), ("DMY", "31")] {
            c.run(&format!("SET DateStyle = 'ISO, {style}'")).good(style);
            for _ in 0..3 {
                assert_eq!(days(&mut c).as_deref(), Some(expected), "{style}");
            }
        }
        c.run("SET DateStyle = 'ISO, MDY'").good("MDY");
        c.run("BEGIN").good("BEGIN");
        c.run("SET LOCAL DateStyle = 'ISO, DMY'").good("DMY");
        assert_eq!(days(&mut c).as_deref(), Some("31"), "in the transaction");
        c.run("COMMIT").good("COMMIT");
        assert_eq!(days(&mut c).as_deref(), Some("1"), "behind it");
        let local = whole("SET LOCAL DateStyle = 'ISO, DMY'");
        let found = group(&mut c, &[local, whole(sql), SYNC.to_vec()]);
        assert_eq!(found.last().and_then(Reply::scalar).as_deref(), Some("31"), "in a group");
        assert_eq!(days(&mut c).as_deref(), Some("1"), "behind the group");
        c.run("SET DateStyle = 'ISO, DMY'").good("DMY");
        c.run("RESET ALL").good("RESET ALL");
        assert_eq!(days(&mut c).as_deref(), Some("1"), "RESET ALL");
        c.run("SET DateStyle = 'ISO, DMY'").good("DMY");
        assert_eq!(days(&mut c).as_deref(), Some("31"));
        c.run("DISCARD ALL").good("DISCARD ALL");
        assert_eq!(days(&mut c).as_deref(), Some("1"), "DISCARD ALL");
    }
}

/// A client that goes away in the middle of a COPY leaves nothing behind that waits for its data; what it sent before it closed its side
/// is taken; and a COPY that other statements follow is no query of which PostgreSQL would read the rest as data.
#[test]
fn nobody_waits_for_the_data_of_a_client_that_is_gone() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let mut c = stand.connect("lab", None);
    c.run("CREATE TABLE fed (a int)").good("creating");
    let query = |sql: &str| message(b'Q', &cstring(sql));
    let copying = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY lab.fed FROM %' AND state = 'active'";
    let mut dba = stand.dba_connection();
    let mut none_copies = || {
        let none = || (dba.run(copying).scalar().as_deref() == Some("0")).then_some(());
        eventually(Duration::from_secs(5), none).is_some()
    };

    let mut gone = stand.connect("lab", None);
    gone.send_raw(&query("COPY fed FROM STDIN")).expect("sent");
    assert_eq!(gone.receive().expect("an answer").kind, b'G');
    gone.send_raw(&message(b'd', b"1\n")).expect("sent");
    drop(gone);
    assert!(none_copies(), "closed in the middle");
    assert_eq!(c.run("SELECT count(*) FROM fed").scalar().as_deref(), Some("0"));

    let mut half = stand.connect("lab", None);
    let all = [query("COPY fed FROM STDIN"), message(b'd', b"2\n"), message(b'c', b"")];
    half.send_raw(&all.concat()).expect("sent");
    half.hang_up().expect("closed");
    let fed = || (c.run("SELECT sum(a) FROM fed").scalar().as_deref() == Some("2")).then_some(());
    assert!(eventually(Duration::from_secs(5), fed).is_some(), "closed behind the data");

    for sql in [
        "EXECUTE p; COPY fed FROM STDIN",
        "COPY fed FROM STDIN; EXECUTE p",
        "EXECUTE p; COPY fed FROM STDIN; DEALLOCATE p",
    ] {
        let mut c = stand.connect("lab", None);
        c.run("PREPARE p AS SELECT 1").good("preparing");
        assert_eq!(code(&c.simple(sql).unwrap_or_else(|e| panic!("{e}"))), "0A000", "{sql}");
        assert_eq!(c.run("SELECT 1").scalar().as_deref(), Some("1"), "{sql}");
    }
    assert!(none_copies());
    c.run("DROP TABLE fed").good("dropping");
}

/// What one session makes is there for the next one, whether or not the first goes on.
#[test]
fn ddl_is_seen_by_other_sessions_while_its_own_rests() {
    let stand = Stand::shared();
    let _beside = stand.beside_others();
    let (mut maker, mut other) = (stand.connect("lab", None), stand.connect("lab", None));
    assert_eq!(other.run("SELECT * FROM made_at_rest").sqlstate(), "42P01");
    maker.run("CREATE TABLE made_at_rest (a int)").good("creating");
    let seen = || (other.run("SELECT * FROM made_at_rest").sqlstate() == "").then_some(());
    assert!(eventually(Duration::from_secs(5), seen).is_some());
    maker.run("DROP TABLE made_at_rest").good("dropping");
}
