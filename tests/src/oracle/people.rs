//! Who asks: the people of the reference domain and the modules' own identities, with their claims written down by hand.

/// The modules that have declared tables: the reference domain's, and those that the tests alone have.
pub const MODULES: [&str; 8] = [
    "sys_account",
    "sys_core",
    "disco",
    "chat",
    "evilmod",
    "guild",
    "lender",
    "borrower",
];

/// Organisation A as a tenant of elsewhere.
pub const TENANT: &str = "0a0a0a0a-0000-4000-8000-00000000000a";

/// Somebody who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// How failures call them.
    pub name: &'static str,
    /// Whose token the session carries; a guest and a service have none.
    pub sub: Option<&'static str>,
    /// The module whose service login this is.
    pub service: Option<&'static str>,
    /// Organisations they belong to.
    pub org_member_of: &'static [&'static str],
    /// Organisations they administer.
    pub org_admin_of: &'static [&'static str],
    /// Projects they belong to.
    pub project_member_of: &'static [&'static str],
    /// Projects they administer.
    pub project_admin_of: &'static [&'static str],
    /// The account is disabled.
    pub disabled: bool,
    /// Superadmin.
    pub superadmin: bool,
    /// A number that policies compare with.
    pub level: Option<i32>,
    /// Tenants that they belong to.
    pub tenants: &'static [&'static str],
}

const NOBODY: Identity = Identity {
    name: "a guest without token",
    sub: None,
    service: None,
    org_member_of: &[],
    org_admin_of: &[],
    project_member_of: &[],
    project_admin_of: &[],
    disabled: false,
    superadmin: false,
    level: None,
    tenants: &[],
};

const fn person(name: &'static str) -> Identity {
    Identity {
        name,
        sub: Some(name),
        level: Some(2),
        ..NOBODY
    }
}

const fn service(name: &'static str, module: &'static str) -> Identity {
    Identity {
        name,
        service: Some(module),
        ..NOBODY
    }
}

/// Everybody.
pub const IDENTITIES: [Identity; 16] = [
    Identity {
        superadmin: true,
        level: Some(5),
        ..person("root")
    },
    // An organisation's admin is a member and admin of each of its projects.
    Identity {
        org_member_of: &["A"],
        org_admin_of: &["A"],
        project_member_of: &["PA1", "PA2"],
        project_admin_of: &["PA1", "PA2"],
        level: Some(4),
        tenants: &[TENANT],
        ..person("ana")
    },
    Identity {
        org_member_of: &["A"],
        project_member_of: &["PA1"],
        project_admin_of: &["PA1"],
        level: Some(3),
        tenants: &[TENANT],
        ..person("carl")
    },
    Identity {
        org_member_of: &["A"],
        project_member_of: &["PA1"],
        tenants: &[TENANT],
        ..person("bob")
    },
    Identity {
        org_member_of: &["B"],
        project_member_of: &["PB1"],
        ..person("dora")
    },
    person("gus"),
    Identity {
        org_member_of: &["A"],
        project_member_of: &["PA1"],
        disabled: true,
        tenants: &[TENANT],
        ..person("eve")
    },
    NOBODY,
    service("the service of sys_account", "sys_account"),
    service("the service of sys_core", "sys_core"),
    service("the service of disco", "disco"),
    service("the service of chat", "chat"),
    service("the service of evilmod", "evilmod"),
    service("the service of guild", "guild"),
    service("the service of lender", "lender"),
    service("the service of borrower", "borrower"),
];

impl Identity {
    /// The modules whose logins they come by: a service its own, anybody else all.
    pub fn modules(&self) -> Vec<&'static str> {
        match self.service {
            Some(module) => vec![module],
            None => MODULES.into(),
        }
    }

    /// Their address, as their token says it.
    pub fn email(&self) -> Option<String> {
        self.sub.map(|sub| format!("{sub}@people.example"))
    }

    /// The login in that module.
    pub fn login(&self, module: &str) -> String {
        match self.service {
            Some(_) => format!("{module}.service"),
            None => module.to_owned(),
        }
    }

    /// A schema's name for what they see.
    pub fn slug(&self) -> String {
        match (self.sub, self.service) {
            (Some(sub), _) => sub.to_owned(),
            (None, Some(module)) => format!("{module}_service"),
            (None, None) => "guest".to_owned(),
        }
    }
}
