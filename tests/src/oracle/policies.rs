//! The reference domain's policies on reading, by hand: which rows and cells of the data set somebody sees.
//!
//! A line of the domain's table stands above each arm. Where the table leaves something open, the comment says how it is read.

use super::data::{Cell, Data, Rows};
use super::own;
use super::people::Identity;

/// Columns that no role reads.
pub const NEVER: [(&str, &str); 2] = [("accounts", "password"), ("accounts", "verification_token")];

/// Whether a column can be read by nobody.
pub fn never(table: &str, column: &str) -> bool {
    NEVER.contains(&(table, column))
}

/// What somebody sees of a table: the rows, cells that are hidden from them NULL or what the column's mask says.
pub fn seen(who: &Identity, data: &Data, module: &str, table: &str) -> Vec<Vec<Cell>> {
    let rows = data.table(module, table);
    let shown = |row: &Vec<Cell>| {
        let hidden = hidden_cells(who, data, rows, row)?;
        let cell = |(column, cell): (&String, &Cell)| match never(table, column) || hidden.contains(&column.as_str()) {
            true => own::mask(module, table, column).map(str::to_owned),
            false => cell.clone(),
        };
        Some(rows.columns.iter().zip(row).map(cell).collect())
    };
    rows.rows.iter().filter_map(shown).collect()
}

/// `None` where the row is hidden from them, else the columns that are (beside those that nobody reads).
pub fn hidden_cells(who: &Identity, data: &Data, rows: &Rows, row: &[Cell]) -> Option<&'static [&'static str]> {
    const NOTHING: &[&str] = &[];
    const CONTACT: &[&str] = &["contact"];
    const NAME: &[&str] = &["survey_user_name"];
    const INNER: &[&str] = &["action_location", "strategy", "contact", "budget"];
    // "An account that is disabled sees nothing anywhere."
    if who.disabled {
        return None;
    }
    let at = |column: &str| rows.cell(row, column);
    let when = |seen: bool| seen.then_some(NOTHING);
    match (rows.module.as_str(), rows.table.as_str()) {
        ("guild" | "lender" | "borrower", _) => own::hidden_cells(who, data, rows, row),
        // "public; contact masked to non-members"
        ("sys_account", "orgs") => {
            let member = who.superadmin || among(who.org_member_of, at("id")) || among(who.org_admin_of, at("id"));
            Some(if member { NOTHING } else { CONTACT })
        }
        // "public"
        ("sys_account", "projects") => Some(NOTHING),
        // "self; org/project admins whose scope it is in; super"
        ("sys_account", "accounts") => when(who.superadmin || is(who, at("id")) || in_scope(who, data, at("id"))),
        // "own, or in a scope one administers": a superadmin administers every scope.
        ("sys_account", "roles") => {
            when(who.superadmin || is(who, at("account_id")) || administers(who, at("org_id"), at("project_id")))
        }
        // "service `sys_account` only"
        ("sys_account", "login_attempts") => when(who.service == Some("sys_account")),
        // "owner module's service; super": the module that owns the table.
        ("sys_core", "files" | "mod_events") => when(who.service == Some("sys_core") || who.superadmin),
        // "public; location, strategy, contact, budget masked to non-members": members of the project, its admins, its organisation's
        // admins. Belonging to the organisation alone does not count.
        ("disco", "projects") => {
            let (project, org) = (at("sys_account_project_ref_id"), at("sys_account_org_ref_id"));
            let member = who.superadmin || among(who.project_member_of, project) || administers(who, org, project);
            Some(if member { NOTHING } else { INNER })
        }
        // "every user": whoever shows a token, gus too, though the domain calls him a guest.
        ("disco", "survey_projects" | "support_role_types" | "user_need_types") => when(who.sub.is_some()),
        // "self; project/org admin of its project; super (admins see a column list without the name)"
        ("disco", "survey_users") => {
            if who.superadmin || is(who, at("sys_account_account_ref_id")) {
                Some(NOTHING)
            } else {
                administers_survey(who, data, at("survey_project_ref_id")).then_some(NAME)
            }
        }
        // "through survey_users"
        ("disco", "support_role_values" | "user_need_values") => {
            let users = data.table("disco", "survey_users");
            let behind = users
                .rows
                .iter()
                .find(|u| users.cell(u, "survey_user_id") == at("survey_user_ref_id"));
            when(behind.is_some_and(|u| hidden_cells(who, data, users, u).is_some()))
        }
        // "members of the group"
        ("chat", "group_members") => when(in_group(who, data, at("group_id"))),
        // "members of the group". A superadmin may delete messages, and what is deleted must be found, so superadmins see all.
        ("chat", "messages") => when(who.superadmin || in_group(who, data, at("group_id"))),
        // "members of the message's group"
        ("chat", "read_receipts") => {
            let messages = data.table("chat", "messages");
            let message = messages.rows.iter().find(|m| messages.cell(m, "id") == at("message_id"));
            when(message.is_some_and(|m| in_group(who, data, messages.cell(m, "group_id"))))
        }
        // "every identity of evilmod"
        ("evilmod", "notes") => Some(NOTHING),
        (module, table) => panic!("the oracle knows no policies of {module}.{table}"),
    }
}

pub(super) fn among(list: &[&str], value: Option<&str>) -> bool {
    value.is_some_and(|v| list.contains(&v))
}

pub(super) fn is(who: &Identity, account: Option<&str>) -> bool {
    who.sub.is_some() && who.sub == account
}

pub(super) fn administers(who: &Identity, org: Option<&str>, project: Option<&str>) -> bool {
    among(who.org_admin_of, org) || among(who.project_admin_of, project)
}

/// An account has a role in a scope that they administer.
pub(super) fn in_scope(who: &Identity, data: &Data, account: Option<&str>) -> bool {
    let roles = data.table("sys_account", "roles");
    let of_account = roles.rows.iter().filter(|r| roles.cell(r, "account_id") == account);
    let mut scopes = of_account.map(|r| (roles.cell(r, "org_id"), roles.cell(r, "project_id")));
    account.is_some() && scopes.any(|(org, project)| administers(who, org, project))
}

/// A survey belongs to a project that they administer, or to one of an organisation that they administer.
pub(super) fn administers_survey(who: &Identity, data: &Data, survey: Option<&str>) -> bool {
    let surveys = data.table("disco", "survey_projects");
    let Some(found) = surveys.rows.iter().find(|s| surveys.cell(s, "survey_project_id") == survey) else {
        return false;
    };
    let project = surveys.cell(found, "sys_account_project_ref_id");
    let campaigns = data.table("disco", "projects");
    let campaign = campaigns
        .rows
        .iter()
        .find(|c| campaigns.cell(c, "sys_account_project_ref_id") == project);
    administers(
        who,
        campaign.and_then(|c| campaigns.cell(c, "sys_account_org_ref_id")),
        project,
    )
}

pub(super) fn in_group(who: &Identity, data: &Data, group: Option<&str>) -> bool {
    let members = data.table("chat", "group_members");
    let mut rows = members.rows.iter();
    rows.any(|m| members.cell(m, "group_id") == group && is(who, members.cell(m, "account_id")))
}

#[cfg(test)]
mod tests {
    use super::super::people::IDENTITIES;
    use super::*;

    fn keys(who: &str, module: &str, table: &str) -> Vec<String> {
        let who = IDENTITIES.iter().find(|i| i.slug() == who).expect("somebody");
        let rows = seen(who, &Data::reference(), module, table);
        rows.into_iter().filter_map(|r| r.into_iter().next().flatten()).collect()
    }

    #[test]
    fn the_oracle_says_what_the_domain_says() {
        assert_eq!(keys("bob", "sys_account", "accounts"), ["bob"]);
        assert_eq!(
            keys("carl", "sys_account", "accounts"),
            ["carl", "bob", "eve", "x-a1", "x-both"]
        );
        assert_eq!(keys("root", "sys_account", "accounts").len(), 18);
        assert_eq!(keys("root", "sys_account", "login_attempts"), [""; 0]);
        assert_eq!(keys("sys_account_service", "sys_account", "login_attempts").len(), 5);
        assert_eq!(keys("dora", "chat", "messages"), ["m-4", "m-5", "m-6", "m-7"]);
        assert_eq!(keys("guest", "chat", "messages"), [""; 0]);
        assert!(super::super::people::MODULES.iter().all(|module| {
            let tables = Data::reference().0.into_iter().filter(|r| r.module == *module);
            tables.into_iter().all(|r| keys("eve", module, &r.table).is_empty())
        }));
    }

    /// For everybody but a service something is hidden, and everybody sees something but who is disabled and a service that no policy names.
    #[test]
    fn there_is_something_to_hide_and_something_to_see() {
        let data = Data::reference();
        for who in &IDENTITIES {
            let mut counts = [0, 0];
            for rows in data.0.iter().filter(|r| who.modules().contains(&r.module.as_str())) {
                for row in &rows.rows {
                    counts[usize::from(hidden_cells(who, &data, rows, row).is_some())] += 1;
                }
            }
            assert!(counts[0] > 0 || who.service.is_some(), "{}: {counts:?}", who.name);
            assert!(
                counts[1] > 0 || who.disabled || who.service.is_some(),
                "{}: {counts:?}",
                who.name
            );
        }
    }
}
