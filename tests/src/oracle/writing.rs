//! The reference domain's policies on UPDATE and DELETE, by hand, as [`super::policies`] has those on reading. What one does not see one does not
//! write either.

use super::data::{Cell, Data, Rows};
use super::own;
use super::people::Identity;
use super::policies::{administers, administers_survey, among, hidden_cells, in_group, in_scope, is};

/// What is done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// A column is assigned the value that it has.
    Update(&'static str),
    /// The row is deleted.
    Delete,
}

/// What is tried on rows of a table: a deletion, and assignments to a column, or to two whose rules differ.
pub fn tried(module: &str, table: &str) -> Vec<Write> {
    let columns: &[&'static str] = match table {
        "projects" if module == "disco" => &["goal"],
        "projects" => &["org_name"],
        "orgs" => &["account_id"],
        "accounts" => &["disabled", "avatar_resource_id"],
        "roles" | "survey_projects" | "survey_users" => &["updated_at"],
        "login_attempts" => &["total_attempts"],
        "files" => &["sha_hash"],
        "mod_events" => &["actor"],
        "support_role_types" | "user_need_types" => &["description"],
        "support_role_values" | "user_need_values" => &["created_at"],
        "group_members" | "read_receipts" => &["account_id"],
        "messages" => &["sent_at"],
        "notes" => &["body"],
        "halls" => &["title"],
        "bookings" => &["seats", "state"],
        "grades" => &["level"],
        "letters" | "stamps" | "contacts" => &["body"],
        "calls" => &["contact"],
        "shelves" => &["org_id"],
        "books" => &["pages"],
        "loans" | "reminders" => &["book_id"],
        "reviews" => &["stars"],
        other => panic!("nothing is tried on {other}"),
    };
    let updates = columns.iter().map(|c| Write::Update(c));
    updates.chain([Write::Delete]).collect()
}

/// Whether somebody may do that to that row.
pub fn may(who: &Identity, data: &Data, rows: &Rows, row: &[Cell], write: Write) -> bool {
    if hidden_cells(who, data, rows, row).is_none() {
        return false;
    }
    let at = |column: &str| rows.cell(row, column);
    let deletes = write == Write::Delete;
    match (rows.module.as_str(), rows.table.as_str()) {
        ("guild" | "lender" | "borrower", _) => own::may(who, data, rows, row, write),
        // "super, org admin of it"
        ("sys_account", "orgs") => who.superadmin || among(who.org_admin_of, at("id")),
        // "super, org admin, project admin"
        ("sys_account", "projects") => who.superadmin || administers(who, at("org_id"), at("id")),
        // "self; admins may set disabled, verified"; "super, self, scoped admin"
        ("sys_account", "accounts") => match write {
            Write::Update("disabled") => who.superadmin || in_scope(who, data, at("id")),
            Write::Update(_) => is(who, at("id")),
            Write::Delete => who.superadmin || is(who, at("id")) || in_scope(who, data, at("id")),
        },
        // "admins within scope and role ≤ 3; self only role = 2". What is written must lie in the admin's scope with both its ends.
        ("sys_account", "roles") => {
            let role: i32 = at("role").and_then(|r| r.parse().ok()).expect("a role");
            let (org, project) = (at("org_id"), at("project_id"));
            let own = is(who, at("account_id")) && role == 2;
            let scoped = administers(who, org, project) && role <= 3;
            who.superadmin || own || scoped && (deletes || both_ends(who, data, org, project))
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
        ("disco", "survey_projects") => who.superadmin || administers_survey(who, data, at("survey_project_id")),
        ("disco", "support_role_types" | "user_need_types") => {
            who.superadmin || administers_survey(who, data, at("survey_project_ref_id"))
        }
        // "self, super"
        ("disco", "survey_users") => who.superadmin || is(who, at("sys_account_account_ref_id")),
        // "self"; "self, super"
        ("disco", "support_role_values" | "user_need_values") => {
            let users = data.table("disco", "survey_users");
            let behind = (users.rows.iter()).find(|u| users.cell(u, "survey_user_id") == at("survey_user_ref_id"));
            let own = behind.is_some_and(|u| is(who, users.cell(u, "sys_account_account_ref_id")));
            own || deletes && who.superadmin
        }
        // "–"; "oneself"
        ("chat", "group_members") => deletes && is(who, at("account_id")),
        // "sender"; "sender, super"
        ("chat", "messages") => {
            let sender = is(who, at("sender_id")) && (deletes || in_group(who, data, at("group_id")));
            sender || deletes && who.superadmin
        }
        // "–"; "–"
        ("chat", "read_receipts") => false,
        ("evilmod", "notes") => true,
        (module, table) => panic!("the oracle knows no policies of {module}.{table}"),
    }
}

/// A project admin names no foreign organisation, an org admin no foreign project.
pub(super) fn both_ends(who: &Identity, data: &Data, org: Option<&str>, project: Option<&str>) -> bool {
    let projects = data.table("sys_account", "projects");
    let org_of = |id: Option<&str>| {
        let found = projects.rows.iter().find(|p| id.is_some() && projects.cell(p, "id") == id);
        found.and_then(|p| projects.cell(p, "org_id"))
    };
    let by_org = among(who.org_admin_of, org) && (project.is_none() || among(who.org_admin_of, org_of(project)));
    let of_projects = |org| who.project_admin_of.iter().any(|p| org_of(Some(p)) == Some(org));
    let by_project = among(who.project_admin_of, project) && org.is_none_or(of_projects);
    by_org || by_project
}

#[cfg(test)]
mod tests {
    use super::super::people::IDENTITIES;
    use super::*;

    #[test]
    fn the_oracle_says_who_writes() {
        let data = Data::reference();
        let keys = |who: &str, module: &str, table: &str, write| -> Vec<String> {
            let who = IDENTITIES.iter().find(|i| i.slug() == who).expect("somebody");
            let rows = data.table(module, table);
            let allowed = rows.rows.iter().filter(|r| may(who, &data, rows, r, write));
            allowed.filter_map(|r| r[0].clone()).collect()
        };
        assert_eq!(keys("bob", "chat", "messages", Write::Delete), ["m-2"]);
        assert_eq!(keys("bob", "sys_account", "roles", Write::Delete), ["r-bob"]);
        assert_eq!(keys("bob", "sys_account", "accounts", Write::Update("disabled")), [""; 0]);
        assert_eq!(keys("gus", "sys_account", "accounts", Write::Delete), ["gus"]);
        assert!(keys("ana", "sys_account", "roles", Write::Delete).contains(&"r-mix".to_owned()));
        assert!(!keys("ana", "sys_account", "roles", Write::Update("updated_at")).contains(&"r-mix".to_owned()));
    }
}
