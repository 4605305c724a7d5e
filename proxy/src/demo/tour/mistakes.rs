//! Second chapter: mistakes that module developers really made, replayed. Each shows that the mistake did no harm.

use super::{Expect, Part, Step, Who};
use crate::demo::visitor::Visitor;

const BOB: Who = Who::Visitor(Visitor::person("sys_account", "bob"));
const ROOT: Who = Who::Visitor(Visitor::person("sys_account", "root"));
const GUEST: Who = Who::Visitor(Visitor::guest("sys_account"));
const BOB_IN_DISCO: Who = Who::Visitor(Visitor::person("disco", "bob"));

pub(super) const STEPS: &[Step] = &[
    Step {
        title: "Mistake 1: the client chooses the operator",
        story: "`WHERE id = me` becomes `WHERE id <> me` and would list everybody else.",
        parts: &[
            Part {
                who: BOB,
                says: &[
                    ("SELECT id, email FROM accounts WHERE id = 'bob'", Expect::First(&["bob"])),
                    ("SELECT id, email FROM accounts WHERE id <> 'bob'", Expect::Nothing),
                ],
            },
            Part {
                who: ROOT,
                says: &[("SELECT count(*) FROM accounts WHERE id <> 'bob'", Expect::Table(&[&["1999"]]))],
            },
        ],
    },
    Step {
        title: "Mistake 2: a filter's key and the sort order are pasted into the SQL",
        story: "The key brings `OR true`, the order brings a subquery, and at last a second statement.",
        parts: &[
            Part {
                who: BOB,
                says: &[
                    (
                        "SELECT id FROM accounts WHERE (avatar_resource_id) = '' OR true ORDER BY created_at",
                        Expect::First(&["bob"]),
                    ),
                    (
                        "SELECT id FROM accounts ORDER BY (SELECT password FROM accounts a WHERE a.id = 'root')",
                        Expect::Refused(&["42501"]),
                    ),
                    (
                        "SELECT id FROM accounts ORDER BY 1; DROP TABLE accounts --",
                        Expect::Refused(&["42501"]),
                    ),
                ],
            },
            Part {
                who: Who::Dba,
                says: &[("SELECT count(*) FROM sys_account.accounts", Expect::Table(&[&["2000"]]))],
            },
        ],
    },
    Step {
        title: "Mistake 3: a guest falls through the check",
        story: "Without a token the handler reads, disables and deletes any account it is told to.",
        parts: &[
            Part {
                who: GUEST,
                says: &[
                    ("SELECT id, email FROM accounts WHERE id = 'dora'", Expect::Nothing),
                    ("UPDATE accounts SET disabled = true WHERE id = 'dora'", Expect::Touched(0)),
                    ("DELETE FROM accounts WHERE id = 'dora'", Expect::Touched(0)),
                ],
            },
            Part {
                who: Who::Dba,
                says: &[(
                    "SELECT id, disabled FROM sys_account.accounts WHERE id = 'dora'",
                    Expect::Table(&[&["dora", "f"]]),
                )],
            },
        ],
    },
    Step {
        title: "Mistake 4: the first role of a new account is checked, and all are inserted",
        story: "The second one makes Bob an organisation's admin.",
        parts: &[
            Part {
                who: BOB,
                says: &[(
                    "INSERT INTO roles (id, account_id, role, project_id, org_id, created_at, updated_at) VALUES \
                     ('tour-1', 'bob', 2, 'PA1', 'A', now(), now()), ('tour-2', 'bob', 4, '', 'B', now(), now())",
                    Expect::Refused(&["42501"]),
                )],
            },
            Part {
                who: Who::Dba,
                says: &[(
                    "SELECT count(*) FROM sys_account.roles WHERE id LIKE 'tour-%'",
                    Expect::Table(&[&["0"]]),
                )],
            },
        ],
    },
    Step {
        title: "Mistake 5: UPDATE login_attempts without WHERE",
        story: "One forgotten clause would lift every ban.",
        parts: &[
            Part {
                who: BOB,
                says: &[("UPDATE login_attempts SET total_attempts = 0", Expect::Touched(0))],
            },
            Part {
                who: Who::Dba,
                says: &[(
                    "SELECT count(*) FROM sys_account.login_attempts WHERE total_attempts = 0",
                    Expect::Table(&[&["0"]]),
                )],
            },
        ],
    },
    Step {
        title: "Mistake 6: a handler updates survey_projects instead of its own table",
        story: "Bob's request would rename every survey. Carl administers one project and reaches that one alone.",
        parts: &[
            Part {
                who: BOB_IN_DISCO,
                says: &[("UPDATE survey_projects SET updated_at = now()", Expect::Touched(0))],
            },
            Part {
                who: Who::Visitor(Visitor::person("disco", "carl")),
                says: &[
                    ("BEGIN", Expect::Runs),
                    ("UPDATE survey_projects SET updated_at = now()", Expect::Touched(1)),
                    ("ROLLBACK", Expect::Runs),
                ],
            },
        ],
    },
    Step {
        title: "Mistake 7: a delete authorises by one id and deletes by another",
        story: "Bob is permitted to delete his own entry; the statement names Dora's.",
        parts: &[
            Part {
                who: BOB_IN_DISCO,
                says: &[(
                    "DELETE FROM survey_users WHERE survey_user_id = 'su-dora'",
                    Expect::Touched(0),
                )],
            },
            Part {
                who: Who::Dba,
                says: &[(
                    "SELECT count(*) FROM disco.survey_users WHERE survey_user_id = 'su-dora'",
                    Expect::Table(&[&["1"]]),
                )],
            },
        ],
    },
    Step {
        title: "Mistake 8: one process-wide token serves every user of a pool",
        story: "On one pooled connection each transaction brings its own token; none outlives its transaction.",
        parts: &[Part {
            who: GUEST,
            says: &[
                ("BEGIN", Expect::Runs),
                ("SET LOCAL postern.token = '{token:bob}'", Expect::Runs),
                ("SELECT id FROM accounts", Expect::First(&["bob"])),
                ("COMMIT", Expect::Runs),
                ("SELECT id FROM accounts", Expect::Nothing),
                ("BEGIN", Expect::Runs),
                ("SET LOCAL postern.token = '{token:dora}'", Expect::Runs),
                ("SELECT id FROM accounts", Expect::First(&["dora"])),
                ("COMMIT", Expect::Runs),
                ("SELECT id FROM accounts", Expect::Nothing),
            ],
        }],
    },
    Step {
        title: "Mistake 9: exp in nanoseconds",
        story: "Such a token would hold for some fifty billion years.",
        parts: &[Part {
            who: GUEST,
            says: &[
                ("BEGIN", Expect::Runs),
                ("SET LOCAL postern.token = '{nanoseconds:bob}'", Expect::Refused(&["28000"])),
                ("ROLLBACK", Expect::Runs),
                ("SELECT id FROM accounts", Expect::Nothing),
            ],
        }],
    },
    Step {
        title: "Mistake 10: an empty string means \"no organisation\"",
        story: "The application writes '' for it, so an identity whose organisation is '' would match all those rows.",
        parts: &[
            Part {
                who: Who::Dba,
                says: &[(
                    "SELECT count(*) FROM sys_account.roles WHERE org_id = ''",
                    Expect::CountAtLeast(100),
                )],
            },
            Part {
                who: GUEST,
                says: &[
                    ("BEGIN", Expect::Runs),
                    ("SET LOCAL postern.token = '{nowhere:gus}'", Expect::Refused(&["28000"])),
                    ("ROLLBACK", Expect::Runs),
                    ("SELECT count(*) FROM roles WHERE org_id = ''", Expect::Table(&[&["0"]])),
                ],
            },
        ],
    },
    Step {
        title: "Mistake 11: a module asks for another module's account e-mails",
        story: "For disco that table does not exist.",
        parts: &[Part {
            who: Who::Visitor(Visitor::person("disco", "root")),
            says: &[
                ("SELECT email FROM sys_account.accounts", Expect::Refused(&["42P01"])),
                (
                    "SELECT u.survey_user_id FROM survey_users u JOIN sys_account.accounts a ON a.id = u.sys_account_account_ref_id",
                    Expect::Refused(&["42P01"]),
                ),
            ],
        }],
    },
];
