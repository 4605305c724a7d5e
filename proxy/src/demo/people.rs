//! The people of the reference data set and the claims that the development issuer vouches for.
//!
//! The issuer spells a hierarchy out: an organisation's admin is a member and admin of each of its projects, so that a policy that
//! reads project claims need not know which project lies in which organisation.

use serde_json::{Map, Value, json};

/// One person.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// Account id, which is the token's subject.
    pub id: &'static str,
    /// Name as other people write it.
    pub name: &'static str,
    /// Organisations the person belongs to.
    pub org_member_of: &'static [&'static str],
    /// Organisations the person administers.
    pub org_admin_of: &'static [&'static str],
    /// Projects the person belongs to.
    pub project_member_of: &'static [&'static str],
    /// Projects the person administers.
    pub project_admin_of: &'static [&'static str],
    /// The account was verified.
    pub verified: bool,
    /// The account was disabled.
    pub disabled: bool,
    /// Superadmin.
    pub superadmin: bool,
}

/// Organisation A as a tenant of elsewhere.
const TENANT: &str = "0a0a0a0a-0000-4000-8000-00000000000a";

const NOBODY: Person = Person {
    id: "",
    name: "",
    org_member_of: &[],
    org_admin_of: &[],
    project_member_of: &[],
    project_admin_of: &[],
    verified: true,
    disabled: false,
    superadmin: false,
};

/// Everybody who has a part in the tour.
pub const PEOPLE: [Person; 7] = [
    Person {
        id: "root",
        name: "Root Admin",
        superadmin: true,
        ..NOBODY
    },
    Person {
        id: "ana",
        name: "Ana Lindqvist",
        org_member_of: &["A"],
        org_admin_of: &["A"],
        project_member_of: &["PA1", "PA2"],
        project_admin_of: &["PA1", "PA2"],
        ..NOBODY
    },
    Person {
        id: "carl",
        name: "Carl Brandt",
        org_member_of: &["A"],
        project_member_of: &["PA1"],
        project_admin_of: &["PA1"],
        ..NOBODY
    },
    Person {
        id: "bob",
        name: "Bob Okafor",
        org_member_of: &["A"],
        project_member_of: &["PA1"],
        ..NOBODY
    },
    Person {
        id: "dora",
        name: "Dora Weiss",
        org_member_of: &["B"],
        project_member_of: &["PB1"],
        ..NOBODY
    },
    Person {
        id: "gus",
        name: "Gus Moreau",
        verified: false,
        ..NOBODY
    },
    Person {
        id: "eve",
        name: "Eve Santos",
        org_member_of: &["A"],
        project_member_of: &["PA1"],
        disabled: true,
        ..NOBODY
    },
];

impl Person {
    /// The claims as a token carries them. Empty lists are left out: a missing claim is NULL.
    pub fn claims(&self) -> Value {
        let mut claims = Map::new();
        for (name, values) in [
            ("org_member_of", self.org_member_of),
            ("org_admin_of", self.org_admin_of),
            ("project_member_of", self.project_member_of),
            ("project_admin_of", self.project_admin_of),
        ] {
            if !values.is_empty() {
                claims.insert(name.to_owned(), json!(values));
            }
        }
        claims.insert("verified".to_owned(), json!(self.verified));
        claims.insert("disabled".to_owned(), json!(self.disabled));
        claims.insert("email".to_owned(), json!(self.email()));
        claims.insert("level".to_owned(), json!(self.level()));
        if self.org_member_of.contains(&"A") {
            claims.insert("tenants".to_owned(), json!([TENANT]));
        }
        if self.superadmin {
            claims.insert("super".to_owned(), json!(true));
        }
        Value::Object(claims)
    }

    /// 2 user, 3 project admin, 4 org admin, 5 superadmin.
    pub fn level(&self) -> i32 {
        match (self.superadmin, self.org_admin_of, self.project_admin_of) {
            (true, ..) => 5,
            (_, [_, ..], _) => 4,
            (.., [_, ..]) => 3,
            _ => 2,
        }
    }

    /// The e-mail address in the data set.
    pub fn email(&self) -> String {
        format!("{}@people.example", self.id)
    }
}

/// `people.json`: claims by account id.
pub fn people_json() -> String {
    let people: Map<String, Value> = PEOPLE.iter().map(|p| (p.id.to_owned(), p.claims())).collect();
    serde_json::to_string_pretty(&Value::Object(people)).expect("maps of strings serialise")
}
