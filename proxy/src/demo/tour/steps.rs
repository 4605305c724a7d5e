//! First chapter: the same rows, seen by different people.

use super::{Expect, Part, Step, Who};
use crate::demo::visitor::Visitor;

/// Three people's survey entries, as every observer asks for them.
const THREE: &str = "SELECT survey_user_id, survey_user_name, birth_date FROM survey_users \
                     WHERE survey_user_id IN ('su-bob', 'su-carl', 'su-dora') ORDER BY survey_user_id";

const ROOT_IN_DISCO: Who = Who::Visitor(Visitor::person("disco", "root"));
const BOB_IN_DISCO: Who = Who::Visitor(Visitor::person("disco", "bob"));
const DORA_IN_DISCO: Who = Who::Visitor(Visitor::person("disco", "dora"));

/// Chapter nought: three modules through `psql`.
pub(super) const PSQL: &[Step] = &[
    Step {
        title: "sys_account: Bob looks himself up by e-mail",
        story: "An ordinary client, an ordinary statement. The e-mail is stored sealed; it is found by a keyed tag.",
        parts: &[Part {
            who: Who::Psql(Visitor::person("sys_account", "bob")),
            says: &[(
                "SELECT id, email, verified FROM accounts WHERE email = 'bob@people.example'",
                Expect::Shows("bob@people.example", None),
            )],
        }],
    },
    Step {
        title: "disco: Bob's survey entry and what he offered",
        story: "No WHERE clause: what he may not see is not there.",
        parts: &[Part {
            who: Who::Psql(Visitor::person("disco", "bob")),
            says: &[(
                "SELECT u.survey_user_name, v.pledged, v.comment FROM survey_users u \
                 JOIN support_role_values v ON v.survey_user_ref_id = u.survey_user_id ORDER BY v.id LIMIT 3",
                Expect::Shows("Bob Okafor", Some("Dora")),
            )],
        }],
    },
    Step {
        title: "chat: Bob's groups",
        story: "Messages are stored sealed and shown to the members of their group.",
        parts: &[Part {
            who: Who::Psql(Visitor::person("chat", "bob")),
            says: &[(
                "SELECT group_id, count(*) AS messages, max(sent_at)::date AS last FROM messages GROUP BY group_id",
                Expect::Shows("g-pa1-00", Some("g-pb1")),
            )],
        }],
    },
];

pub(super) const STEPS: &[Step] = &[
    Step {
        title: "The superadmin reads three people's survey entries",
        story: "Names and birth dates are stored sealed; the proxy opens them for those who may read them.",
        parts: &[Part {
            who: ROOT_IN_DISCO,
            says: &[(THREE, Expect::First(&["su-bob", "su-carl", "su-dora"]))],
        }],
    },
    Step {
        title: "Bob asks the same",
        story: "Nothing in his SQL limits it to himself. The row filter does.",
        parts: &[Part {
            who: BOB_IN_DISCO,
            says: &[
                (THREE, Expect::First(&["su-bob"])),
                ("SELECT survey_user_name FROM survey_users", Expect::Table(&[&["Bob Okafor"]])),
            ],
        }],
    },
    Step {
        title: "Dora asks the same",
        story: "She belongs to another organisation and sees herself.",
        parts: &[Part {
            who: DORA_IN_DISCO,
            says: &[
                (THREE, Expect::First(&["su-dora"])),
                ("SELECT survey_user_name FROM survey_users", Expect::Table(&[&["Dora Weiss"]])),
            ],
        }],
    },
    Step {
        title: "The DBA asks the same, with every privilege PostgreSQL has",
        story: "All three rows are there, and none can be read.",
        parts: &[Part {
            who: Who::Dba,
            says: &[(
                "SELECT survey_user_id, survey_user_name, birth_date FROM disco.survey_users \
                 WHERE survey_user_id IN ('su-bob', 'su-carl', 'su-dora') ORDER BY survey_user_id",
                Expect::Sealed(3, &["survey_user_name", "birth_date"]),
            )],
        }],
    },
    Step {
        title: "The third-party module asks the same",
        story: "For it these tables do not exist: the answer is that of a table nobody ever made.",
        parts: &[Part {
            who: Who::Visitor(Visitor::person("evilmod", "bob")),
            says: &[
                ("SELECT survey_user_id FROM disco.survey_users", Expect::Refused(&["42P01"])),
                ("SELECT survey_user_id FROM disco.never_was", Expect::Refused(&["42P01"])),
                ("SELECT count(*) FROM notes", Expect::Table(&[&["40"]])),
            ],
        }],
    },
    Step {
        title: "It steals its own PostgreSQL password and goes past the proxy",
        story: "The second lock is PostgreSQL's own: privileges and row-level security stand without the proxy.",
        parts: &[
            Part {
                who: Who::Thief("evilmod"),
                says: &[
                    ("SELECT survey_user_id FROM disco.survey_users", Expect::Refused(&["42501"])),
                    ("SELECT email FROM sys_account.accounts", Expect::Refused(&["42501"])),
                ],
            },
            Part {
                who: Who::Thief("disco"),
                says: &[
                    ("SELECT survey_user_id FROM disco.survey_users", Expect::Nothing),
                    ("SELECT set_config('postern.super', 'true', false)", Expect::Runs),
                    ("SELECT survey_user_id FROM disco.survey_users", Expect::Nothing),
                ],
            },
        ],
    },
    Step {
        title: "A sealed column is searched",
        story: "Equality works on a keyed tag. Whoever is not permitted to see the row does not find it either.",
        parts: &[
            Part {
                who: Who::Visitor(Visitor::person("sys_account", "root")),
                says: &[
                    (
                        "SELECT id, email FROM accounts WHERE email = 'dora@people.example'",
                        Expect::Table(&[&["dora", "dora@people.example"]]),
                    ),
                    (
                        "SELECT id FROM accounts WHERE email LIKE 'dora%'",
                        Expect::Refused(&["0A000", "42501", "42883"]),
                    ),
                ],
            },
            Part {
                who: Who::Visitor(Visitor::person("sys_account", "bob")),
                says: &[(
                    "SELECT id, email FROM accounts WHERE email = 'dora@people.example'",
                    Expect::Nothing,
                )],
            },
            Part {
                who: Who::Dba,
                says: &[(
                    "SELECT id, email FROM sys_account.accounts WHERE id = 'dora'",
                    Expect::Sealed(1, &["email"]),
                )],
            },
        ],
    },
    Step {
        title: "A mask: where and how an action will happen is for its members",
        story: "Both projects are public. Place, plan, contact and budget show as NULL to everybody else.",
        parts: &[
            Part {
                who: BOB_IN_DISCO,
                says: &[(
                    "SELECT sys_account_project_ref_id, action_location, strategy FROM projects \
                     WHERE sys_account_project_ref_id IN ('PA1', 'PB1') ORDER BY 1",
                    Expect::Table(&[
                        &["PA1", "Pier 4, north side", "Boats first, then the bridge"],
                        &["PB1", "∅", "∅"],
                    ]),
                )],
            },
            Part {
                who: DORA_IN_DISCO,
                says: &[(
                    "SELECT sys_account_project_ref_id, action_location, strategy FROM projects \
                     WHERE sys_account_project_ref_id IN ('PA1', 'PB1') ORDER BY 1",
                    Expect::Table(&[
                        &["PA1", "∅", "∅"],
                        &["PB1", "Main station, track 11", "Pyjamas and suitcases"],
                    ]),
                )],
            },
        ],
    },
    Step {
        title: "Chat: members of a group read it, nobody else",
        story: "The same statement, two people, no group in common.",
        parts: &[
            Part {
                who: Who::Visitor(Visitor::person("chat", "bob")),
                says: &[
                    ("SELECT DISTINCT group_id FROM messages", Expect::Table(&[&["g-pa1-00"]])),
                    (
                        "SELECT content FROM messages WHERE group_id = 'g-pa1-00' ORDER BY id LIMIT 3",
                        Expect::AtLeast(3),
                    ),
                ],
            },
            Part {
                who: Who::Visitor(Visitor::person("chat", "dora")),
                says: &[("SELECT DISTINCT group_id FROM messages", Expect::Table(&[&["g-pb1-00"]]))],
            },
            Part {
                who: Who::Dba,
                says: &[(
                    "SELECT id, content FROM chat.messages WHERE group_id = 'g-pa1-00' ORDER BY id LIMIT 3",
                    Expect::Sealed(3, &["content"]),
                )],
            },
        ],
    },
    Step {
        title: "Eve's account is disabled",
        story: "She has a valid token and sees nothing anywhere.",
        parts: &[
            Part {
                who: Who::Visitor(Visitor::person("disco", "eve")),
                says: &[
                    ("SELECT survey_user_id FROM survey_users", Expect::Nothing),
                    ("SELECT project_id FROM projects", Expect::Nothing),
                ],
            },
            Part {
                who: Who::Visitor(Visitor::person("chat", "eve")),
                says: &[("SELECT id FROM messages", Expect::Nothing)],
            },
        ],
    },
    Step {
        title: "The DBA moves a sealed value to another row",
        story: "A value is bound to its column and row: what was moved does not open, and nothing of it is said.",
        parts: &[
            Part {
                who: Who::Dba,
                says: &[
                    (
                        "CREATE TABLE IF NOT EXISTS public.tour_keep AS SELECT id, comment FROM disco.support_role_values WHERE id = 'srv-0001'",
                        Expect::Runs,
                    ),
                    (
                        "UPDATE disco.support_role_values SET comment = (SELECT comment FROM disco.support_role_values WHERE id = 'srv-0002') \
                         WHERE id = 'srv-0001'",
                        Expect::Touched(1),
                    ),
                ],
            },
            Part {
                who: ROOT_IN_DISCO,
                says: &[(
                    "SELECT comment FROM support_role_values WHERE id = 'srv-0001'",
                    Expect::Refused(&["XX001"]),
                )],
            },
            Part {
                who: Who::Dba,
                says: &[
                    (
                        "UPDATE disco.support_role_values v SET comment = k.comment FROM public.tour_keep k WHERE v.id = k.id",
                        Expect::Touched(1),
                    ),
                    ("DROP TABLE public.tour_keep", Expect::Runs),
                ],
            },
            Part {
                who: ROOT_IN_DISCO,
                says: &[(
                    "SELECT comment FROM support_role_values WHERE id = 'srv-0001'",
                    Expect::AtLeast(1),
                )],
            },
        ],
    },
    Step {
        title: "Any client's own work: lab makes a table, uses it, drops it",
        story: "lab has a schema of its own and no policies; it still reads no row of the others.",
        parts: &[Part {
            who: Who::Visitor(Visitor::service("lab")),
            says: &[
                ("CREATE TABLE tour_scratch (n int4 PRIMARY KEY, word text)", Expect::Runs),
                ("INSERT INTO tour_scratch VALUES (1, 'one'), (2, 'two')", Expect::Touched(2)),
                ("SELECT word FROM tour_scratch ORDER BY n", Expect::First(&["one", "two"])),
                ("DROP TABLE tour_scratch", Expect::Runs),
                ("SELECT id FROM evilmod.notes", Expect::Refused(&["42P01"])),
            ],
        }],
    },
];
