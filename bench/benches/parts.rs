//! What one query passes, part by part, without sockets: `make bench-micro`.
//!
//! The session's own plan cache and row writer have no public door; the template that serves a statement whose literals differ, the
//! decoding and encoding of a row, and the cells of protected columns have one.

#![expect(clippy::unwrap_used, reason = "a benchmark of a configuration that is in the repository")]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::BytesMut;
use divan::{Bencher, black_box, counter::BytesCount};
use postern::wire::{frame, message};
use postern_config::settings::Enforce;
use postern_config::{ColumnType, Config, LoginKind, ModuleName};
use postern_keys::store::PassphraseStore;
use postern_keys::value::from_text;
use postern_keys::{Bound, Canonical, ColumnKeys, KeyRing, NonceSource, SessionFormat, wanted};
use postern_rewriter::catalog::Catalog;
use postern_rewriter::template::{Masked, Template, mask};
use postern_rewriter::{Ask, plan_one};

/// The rewriter recurses: it wants the stack that the proxy gives it.
fn main() {
    let all = std::thread::Builder::new().stack_size(8 << 20).spawn(divan::main);
    all.unwrap().join().unwrap();
}

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    postern_config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples/postern.toml")).unwrap()
});

fn asked<T>(module: &str, f: impl FnOnce(&Ask<'_>) -> T) -> T {
    let manifest = CONFIG.module(&ModuleName::new(module).unwrap()).unwrap();
    let login = manifest.logins.iter().find(|l| l.kind == LoginKind::Runtime).unwrap();
    f(&Ask {
        catalog: &Catalog::of_manifest(manifest, 1),
        module: &manifest.module,
        login,
        superadmin: false,
        undeclared: false,
        enforce: Enforce::Rewrite,
        max_sql_bytes: 1 << 20,
    })
}

/// Sixteen pipelined messages in one read, as a batch of Bind, Execute and Sync is.
#[divan::bench]
fn frame_split(bencher: Bencher<'_, '_>) {
    let mut bytes = Vec::new();
    for kind in *b"BESBESBESBESBESS" {
        bytes.push(kind);
        bytes.extend_from_slice(&24_i32.to_be_bytes());
        bytes.extend_from_slice(&[7; 20]);
    }
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| {
        let (mut rest, mut found) = (black_box(&bytes[..]), 0);
        while let Ok(Some((head, _))) = frame::first(rest, 1 << 20) {
            rest = &rest[head.total..];
            found += 1;
        }
        found
    });
}

const POINT: &str = "SELECT id, group_id, sender_id FROM messages WHERE id = $1";
const JOIN: &str = "SELECT m.id, m.sent_at, r.account_id FROM messages m JOIN read_receipts r ON r.message_id = m.id \
                    JOIN group_members g ON g.group_id = m.group_id WHERE g.account_id = $1 ORDER BY m.sent_at DESC LIMIT 20";
const SEALED: &str = "SELECT id, email FROM accounts WHERE email = $1";
const LITERAL: &str = "SELECT id, group_id, sender_id FROM messages WHERE id = 'm-000123' AND group_id = 'g-17'";

/// Parse, judge, rewrite, second reading.
#[divan::bench(args = ["point", "three tables", "protected"])]
fn judge(bencher: Bencher<'_, '_>, which: &str) {
    let (module, sql) = match which {
        "point" => ("chat", POINT),
        "three tables" => ("chat", JOIN),
        _ => ("sys_account", SEALED),
    };
    asked(module, |ask| bencher.bench_local(|| plan_one(black_box(sql), ask).unwrap()));
}

/// Finding the literals of a statement.
#[divan::bench]
fn template_mask(bencher: Bencher<'_, '_>) {
    let mut masked = Masked::default();
    bencher.bench_local(|| assert!(mask(black_box(LITERAL), &mut masked)));
}

/// Putting them into what was planned before.
#[divan::bench]
fn template_fill(bencher: Bencher<'_, '_>) {
    let mut masked = Masked::default();
    assert!(mask(LITERAL, &mut masked));
    let template = asked("chat", |ask| Template::of(LITERAL, &masked, ask)).unwrap();
    bencher.bench_local(|| template.fill_plain(black_box(&masked)).unwrap());
}

/// A row of five text cells, read and written again with one of them replaced.
#[divan::bench]
fn row_rebuild(bencher: Bencher<'_, '_>) {
    let mut row = BytesMut::new();
    message::put_count(&mut row, 5).unwrap();
    for cell in [&b"12345"[..], &[b'x'; 64], b"2026-01-01 00:00:00+00", &[b'y'; 100], b"t"] {
        message::put_value(&mut row, Some(cell)).unwrap();
    }
    let mut out = BytesMut::with_capacity(1024);
    bencher.counter(BytesCount::of_slice(&row[..])).bench_local(|| {
        let mut fields = Vec::with_capacity(5);
        message::data_row(black_box(&row), &mut fields).unwrap();
        out.clear();
        message::put(&mut out, b'D', |body| {
            message::put_count(body, fields.len())?;
            for (n, field) in fields.iter().enumerate() {
                message::put_value(body, if n == 1 { Some(b"opened") } else { *field })?;
            }
            Ok(())
        })
        .unwrap();
        out.len()
    });
}

/// A protected column of the reference domain, and a value of its.
static CELL: LazyLock<(Arc<ColumnKeys>, Canonical)> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("postern-bench-root-{}", std::process::id()));
    let root = PassphraseStore::create(&file, b"of no value").unwrap();
    std::fs::remove_file(file).unwrap();
    let wanted = wanted(&CONFIG);
    let (catalogue, _) = KeyRing::create_missing(None, &wanted, &root).unwrap();
    let ring = KeyRing::open(&catalogue, &wanted, &root).unwrap();
    let column = wanted
        .iter()
        .find(|w| w.column.to_string().ends_with("accounts.email"))
        .unwrap();
    let text = "somebody.with.a.name@people.example";
    let value = from_text(&column.ty, text, &SessionFormat::default()).unwrap();
    (ring.column(&column.column).unwrap(), value)
});

fn bound() -> Bound<'static> {
    static TYPE: LazyLock<ColumnType> = LazyLock::new(|| ColumnType::parse("text"));
    Bound::Value(&TYPE, b"account-000123")
}

#[divan::bench]
fn seal(bencher: Bencher<'_, '_>) {
    let (keys, value) = &*CELL;
    let (mut nonces, mut out) = (NonceSource::new(), Vec::with_capacity(256));
    bencher.bench_local(|| {
        out.clear();
        keys.seal(black_box(value.expose()), &[bound()], &mut nonces, &mut out)
            .unwrap();
    });
}

#[divan::bench]
fn open(bencher: Bencher<'_, '_>) {
    let (keys, value) = &*CELL;
    let (mut nonces, mut sealed, mut out) = (NonceSource::new(), Vec::new(), Vec::with_capacity(256));
    keys.seal(value.expose(), &[bound()], &mut nonces, &mut sealed).unwrap();
    bencher.bench_local(|| {
        out.clear();
        keys.open(black_box(&sealed), &[bound()], &mut out).unwrap();
    });
}

#[divan::bench]
fn eq_tag(bencher: Bencher<'_, '_>) {
    let (keys, value) = &*CELL;
    let text = ColumnType::parse("text");
    bencher.bench_local(|| keys.eq_tag(&text, black_box(value.expose())));
}
