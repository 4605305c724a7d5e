//! The reference domain's policies on INSERT, by hand, as [`super::policies`] has those on reading, and the rows that are tried.

use std::collections::BTreeSet;

use super::data::{Cell, Data, Rows};
use super::own;
use super::people::Identity;
use super::policies::{administers, administers_survey, among, hidden_cells, in_group, in_scope, is};
use super::writing::both_ends;

/// A row that somebody tries to insert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    /// Columns and values, as the statement names them.
    pub named: Vec<(String, Cell)>,
    /// They may write it.
    pub allowed: bool,
    /// They would see it once it is there: without that PostgreSQL gives nothing of it back.
    pub seen: bool,
}

/// Columns that say whose a row is.
const WHOSE: [&str; 6] = [
    "account_id",
    "sender_id",
    "owner_account_id",
    "sys_account_account_ref_id",
    "user_id",
    "owner",
];

/// What a statement leaves out unless it is tried by itself: what a list of columns leaves to others.
const LEFT_OUT: [(&str, &str); 1] = [("bookings", "state")];

/// The rows that somebody tries in a table: each that is there once more, under keys that nobody has, as it is, as one's own, with a
/// unique value that is taken, with a column that is not theirs to say.
pub fn tried(who: &Identity, data: &Data, rows: &Rows, unique: &[Vec<String>]) -> Vec<Attempt> {
    let (module, table) = (rows.module.as_str(), rows.table.as_str());
    let mut all = BTreeSet::new();
    for row in &rows.rows {
        for taken in [false, true] {
            for own in [false, true] {
                for key in keys(table) {
                    let mut row = row.clone();
                    for (n, column) in rows.columns.iter().enumerate() {
                        if own && WHOSE.contains(&column.as_str()) {
                            row[n] = who.sub.map(str::to_owned);
                        }
                        if own && column == "email" {
                            row[n] = who.email();
                        }
                        if !taken && unique.iter().any(|u| u.contains(column)) {
                            row[n] = Some(format!("new-{table}-{column}"));
                        }
                    }
                    for (n, fresh) in key.iter().enumerate() {
                        let sub = || who.sub.unwrap_or("nobody").to_owned();
                        let keep = row[n].clone();
                        row[n] = match *fresh {
                            "=" => keep,
                            "sub" => Some(sub()),
                            _ if numbered(rows, n) => Some("777777".to_owned()),
                            fresh => Some(fresh.to_owned()),
                        };
                    }
                    all.extend(attempts(who, data, rows, &row, (module, table)));
                }
            }
        }
    }
    all.into_iter().collect()
}

/// The key is a number.
fn numbered(rows: &Rows, column: usize) -> bool {
    let number = |row: &Vec<Cell>| row[column].as_deref().is_some_and(|c| c.parse::<i64>().is_ok());
    rows.rows.iter().all(number)
}

/// Keys that are tried: `=` is the row's own.
fn keys(table: &str) -> &'static [&'static [&'static str]] {
    match table {
        // Somebody has a role in a scope already, and no account yet.
        "accounts" => &[&["new-0"], &["x-new"]],
        "group_members" | "read_receipts" => &[&["=", "new-1"], &["=", "sub"], &["new-0", "sub"]],
        _ => &[&["new-0"]],
    }
}

/// One row in the ways of naming its columns.
fn attempts(who: &Identity, data: &Data, rows: &Rows, row: &[Cell], (module, table): (&str, &str)) -> Vec<Attempt> {
    let preset = |column: &str| own::preset(who, module, table, column);
    let left_out = |column: &str| preset(column).is_some() || LEFT_OUT.contains(&(table, column));
    let usual: Vec<usize> = (0..rows.columns.len()).filter(|&n| !left_out(&rows.columns[n])).collect();
    let also = (0..rows.columns.len()).filter(|&n| left_out(&rows.columns[n]));
    let lists = [usual.clone()].into_iter().chain(also.map(|n| {
        let mut list = usual.clone();
        list.push(n);
        list
    }));
    let attempt = |list: Vec<usize>| {
        let names: Vec<&str> = list.iter().map(|&n| rows.columns[n].as_str()).collect();
        let mut written: Vec<Cell> = Vec::new();
        for (n, column) in rows.columns.iter().enumerate() {
            written.push(match preset(column) {
                Some(value) => value,
                None if list.contains(&n) => row[n].clone(),
                None => None,
            });
        }
        // What is preset nobody says, not even what it would be.
        let said = list.iter().any(|&n| preset(&rows.columns[n]).is_some());
        let allowed = !said && !who.disabled && may_insert(who, data, rows, &written, &names);
        Attempt {
            named: list.iter().map(|&n| (rows.columns[n].clone(), row[n].clone())).collect(),
            allowed,
            seen: hidden_cells(who, data, rows, &written).is_some(),
        }
    };
    lists.map(attempt).collect()
}

/// Whether somebody may write that row, naming these columns, where they are not disabled.
fn may_insert(who: &Identity, data: &Data, rows: &Rows, row: &[Cell], named: &[&str]) -> bool {
    let at = |column: &str| rows.cell(row, column);
    match (rows.module.as_str(), rows.table.as_str()) {
        ("guild" | "lender" | "borrower", _) => own::may_insert(who, data, rows, row, named),
        // "super"
        ("sys_account", "orgs") => who.superadmin,
        // "super, org admin of its org"
        ("sys_account", "projects") => who.superadmin || among(who.org_admin_of, at("org_id")),
        // "super, or admins in their scope"
        ("sys_account", "accounts") => who.superadmin || in_scope(who, data, at("id")),
        // "admins within scope and role ≤ 3; self only role = 2", both ends of the scope being the admin's.
        ("sys_account", "roles") => {
            let role: i32 = at("role").and_then(|r| r.parse().ok()).expect("a role");
            let own = is(who, at("account_id")) && role == 2;
            who.superadmin || own || role <= 3 && both_ends(who, data, at("org_id"), at("project_id"))
        }
        // "service `sys_account` only"
        ("sys_account", "login_attempts") => who.service == Some("sys_account"),
        // "owner module's service"
        ("sys_core", "files" | "mod_events") => who.service == Some("sys_core"),
        // "super, org/project admin"
        ("disco", "projects") => {
            who.superadmin || administers(who, at("sys_account_org_ref_id"), at("sys_account_project_ref_id"))
        }
        // "project/org admin of its project, super"
        ("disco", "survey_projects") => {
            let project = at("sys_account_project_ref_id");
            let campaigns = data.table("disco", "projects");
            let mut of_project = (campaigns.rows.iter())
                .filter(|c| project.is_some() && campaigns.cell(c, "sys_account_project_ref_id") == project);
            let by_org = of_project.any(|c| among(who.org_admin_of, campaigns.cell(c, "sys_account_org_ref_id")));
            who.superadmin || among(who.project_admin_of, project) || by_org
        }
        ("disco", "support_role_types" | "user_need_types") => {
            who.superadmin || administers_survey(who, data, at("survey_project_ref_id"))
        }
        // "self"
        ("disco", "survey_users") => is(who, at("sys_account_account_ref_id")),
        // "through self"
        ("disco", "support_role_values" | "user_need_values") => {
            let users = data.table("disco", "survey_users");
            let behind = (users.rows.iter()).find(|u| users.cell(u, "survey_user_id") == at("survey_user_ref_id"));
            behind.is_some_and(|u| is(who, users.cell(u, "sys_account_account_ref_id")))
        }
        // "oneself, or by a member"
        ("chat", "group_members") => is(who, at("account_id")) || in_group(who, data, at("group_id")),
        // "sender is oneself, and a member"
        ("chat", "messages") => is(who, at("sender_id")) && in_group(who, data, at("group_id")),
        // "oneself, for a message one may read". A superadmin reads all, and is the reader of those of their groups alone.
        ("chat", "read_receipts") => {
            let messages = data.table("chat", "messages");
            let message = messages.rows.iter().find(|m| messages.cell(m, "id") == at("message_id"));
            is(who, at("account_id")) && message.is_some_and(|m| in_group(who, data, messages.cell(m, "group_id")))
        }
        ("evilmod", "notes") => true,
        (module, table) => panic!("the oracle knows no policies of {module}.{table}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::people::IDENTITIES;
    use super::*;

    fn of(who: &str, module: &str, table: &str) -> Vec<Attempt> {
        let who = IDENTITIES.iter().find(|i| i.slug() == who).expect("somebody");
        let data = Data::reference();
        let unique = if table == "accounts" {
            vec![vec!["email".to_owned()]]
        } else {
            Vec::new()
        };
        tried(who, &data, data.table(module, table), &unique)
    }

    fn value<'a>(attempt: &'a Attempt, column: &str) -> Option<&'a str> {
        let found = attempt.named.iter().find(|(name, _)| name == column);
        found.and_then(|(_, cell)| cell.as_deref())
    }

    #[test]
    fn the_oracle_says_who_inserts() {
        for attempt in of("bob", "chat", "messages") {
            let mine = value(&attempt, "sender_id") == Some("bob") && value(&attempt, "group_id") == Some("g-a");
            assert_eq!(attempt.allowed, mine, "{attempt:?}");
        }
        for attempt in of("carl", "sys_account", "accounts") {
            assert_eq!(attempt.allowed, value(&attempt, "id") == Some("x-new"), "{attempt:?}");
        }
        for attempt in of("dora", "guild", "bookings") {
            // The default by name is the default.
            let usual = attempt.named.len() == 4 || value(&attempt, "state") == Some("asked");
            assert_eq!(attempt.allowed, usual, "{attempt:?}");
        }
        assert!(of("eve", "evilmod", "notes").iter().all(|a| !a.allowed));
        // What is written need not be seen.
        let joined = of("bob", "chat", "group_members");
        assert!(joined.iter().any(|a| a.allowed && !a.seen) && joined.iter().any(|a| a.allowed && a.seen));
    }

    /// In every table something is allowed to somebody and something is denied to somebody.
    #[test]
    fn both_answers_are_met_in_every_table() {
        let data = Data::reference();
        for rows in &data.0 {
            let mut met = [false; 2];
            for who in IDENTITIES.iter().filter(|i| i.modules().contains(&rows.module.as_str())) {
                for attempt in tried(who, &data, rows, &[]) {
                    met[usize::from(attempt.allowed)] = true;
                }
            }
            assert_eq!(met, [true; 2], "{}.{}", rows.module, rows.table);
        }
    }
}
