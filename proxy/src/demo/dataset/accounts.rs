//! `sys_account`: accounts, organisations, their projects, roles and failed logins.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::{Account, Cell, PROJECTS, Rows, Writer, hex, moment};

pub(super) fn tables(rng: &mut ChaCha8Rng, accounts: &[Account]) -> Vec<Rows> {
    let orgs = [("A", "Alder Alliance", "ana"), ("B", "Birch Bureau", "dora")]
        .into_iter()
        .map(|(id, name, owner)| {
            vec![
                id.into(),
                name.into(),
                Cell::Text(format!("logo-{id}")),
                Cell::Text(format!("+49 30 555 {:04}", rng.random_range(0..10_000))),
                moment(rng),
                owner.into(),
            ]
        })
        .collect();
    let projects = PROJECTS
        .iter()
        .map(|(id, org, name, org_name)| {
            let owner = if *org == "A" { "ana" } else { "dora" };
            let logo = Cell::Text(format!("logo-{id}"));
            vec![
                (*id).into(),
                (*name).into(),
                logo,
                moment(rng),
                owner.into(),
                (*org).into(),
                (*org_name).into(),
            ]
        })
        .collect();
    let mut people = Vec::new();
    let mut roles = Vec::new();
    for a in accounts {
        let verified = a.person.map_or_else(|| rng.random_bool(0.9), |p| p.verified);
        let disabled = a.person.map_or_else(|| rng.random_bool(0.02), |p| p.disabled);
        people.push(vec![
            a.id.as_str().into(),
            a.email.as_str().into(),
            Cell::Text(format!("argon2id$v=19$m=65536,t=3,p=4${}", hex(rng, 24))),
            moment(rng),
            moment(rng),
            if rng.random_bool(0.8) { moment(rng) } else { Cell::Null },
            Cell::Bool(disabled),
            Cell::Bool(verified),
            if verified { Cell::Null } else { Cell::Text(hex(rng, 16)) },
            if rng.random_bool(0.3) {
                Cell::Text(format!("avatar-{}", a.id))
            } else {
                Cell::Null
            },
        ]);
        let role = match a.person {
            Some(p) if p.superadmin => 5,
            Some(p) if !p.org_admin_of.is_empty() => 4,
            Some(p) if !p.project_admin_of.is_empty() => 3,
            Some(p) if p.project_member_of.is_empty() => 1,
            Some(_) => 2,
            None if rng.random_bool(0.02) => 3,
            None => 2,
        };
        // A superadmin's and a guest's role lies in no organisation; the application writes '' for that, not NULL.
        roles.push(role_row(rng, roles.len(), a, role, a.project, a.org));
        if a.person.is_none() && rng.random_bool(0.15) {
            roles.push(role_row(rng, roles.len(), a, 1, "", ""));
        }
    }
    let attempts = (0..400)
        .map(|n| {
            let a = accounts.choose(rng).expect("not empty");
            vec![
                Cell::Text(format!("10.{}.{}.{}", n / 200, n % 200, rng.random_range(1..255))),
                a.email.as_str().into(),
                Cell::Int(rng.random_range(1..12)),
                if n % 7 == 0 { moment(rng) } else { Cell::Null },
            ]
        })
        .collect();
    let rows = |table, writer, columns, rows| Rows {
        module: "sys_account",
        table,
        writer,
        columns,
        rows,
    };
    vec![
        rows(
            "accounts",
            Writer::Superadmin,
            &[
                "id",
                "email",
                "password",
                "created_at",
                "updated_at",
                "last_login",
                "disabled",
                "verified",
                "verification_token",
                "avatar_resource_id",
            ],
            people,
        ),
        rows(
            "orgs",
            Writer::Superadmin,
            &["id", "name", "logo_resource_id", "contact", "created_at", "account_id"],
            orgs,
        ),
        rows(
            "projects",
            Writer::Superadmin,
            &[
                "id",
                "name",
                "logo_resource_id",
                "created_at",
                "account_id",
                "org_id",
                "org_name",
            ],
            projects,
        ),
        rows(
            "roles",
            Writer::Superadmin,
            &["id", "account_id", "role", "project_id", "org_id", "created_at", "updated_at"],
            roles,
        ),
        rows(
            "login_attempts",
            Writer::Service,
            &["origin_ip", "account_email", "total_attempts", "ban_period"],
            attempts,
        ),
    ]
}

fn role_row(rng: &mut ChaCha8Rng, n: usize, a: &Account, role: i64, project: &str, org: &str) -> Vec<Cell> {
    vec![
        Cell::Text(format!("role-{n:04}")),
        a.id.as_str().into(),
        Cell::Int(role),
        project.into(),
        org.into(),
        moment(rng),
        moment(rng),
    ]
}
