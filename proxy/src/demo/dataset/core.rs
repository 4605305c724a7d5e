//! `sys_core`: files and the log of what modules did.

use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};
use rand_chacha::ChaCha8Rng;

use super::{Account, Cell, Rows, Writer, hex, moment, names};

pub(super) fn tables(rng: &mut ChaCha8Rng, accounts: &[Account]) -> Vec<Rows> {
    let files = (1..=200)
        .map(|n| {
            let mut bytes = vec![0; rng.random_range(64..1_500)];
            rng.fill_bytes(&mut bytes);
            let owner = accounts.choose(rng).expect("not empty");
            vec![
                Cell::Text(format!("file-{n:03}")),
                Cell::Bytes(bytes),
                Cell::Text(hex(rng, 32)),
                Cell::Text(format!("resource-{n:03}")),
                Cell::Bool(n % 20 == 0),
                moment(rng),
                moment(rng),
                Cell::Text((*["disco", "chat"].choose(rng).expect("two")).to_owned()),
                owner.id.as_str().into(),
            ]
        })
        .collect();
    let events = (0..4_000)
        .map(|_| {
            let a = accounts.choose(rng).expect("not empty");
            let kind = names::EVENTS.choose(rng).expect("not empty");
            vec![
                (*kind).into(),
                Cell::Json(format!("{{\"kind\": \"{kind}\", \"amount\": {}}}", rng.random_range(1..500))),
                "module".into(),
                a.id.as_str().into(),
                a.name.as_str().into(),
                Cell::Float(rng.random_range(5.9..15.0)),
                Cell::Float(rng.random_range(47.3..54.9)),
                a.org.into(),
                a.project.into(),
                moment(rng),
            ]
        })
        .collect();
    vec![
        Rows {
            module: "sys_core",
            table: "files",
            writer: Writer::Service,
            columns: &[
                "id",
                "binary",
                "sha_hash",
                "resource_id",
                "is_dir",
                "created_at",
                "updated_at",
                "owner_module",
                "owner_account_id",
            ],
            rows: files,
        },
        Rows {
            module: "sys_core",
            table: "mod_events",
            writer: Writer::Service,
            columns: &[
                "event_type",
                "payload",
                "actor",
                "user_id",
                "user_name",
                "geo_long",
                "geo_lat",
                "org_id",
                "project_id",
                "datetime",
            ],
            rows: events,
        },
    ]
}
