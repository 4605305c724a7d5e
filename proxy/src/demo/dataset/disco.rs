//! `disco`: campaign projects, their surveys, and what people offer and need.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::{Account, Cell, PROJECTS, Rows, Writer, moment, names};

pub(super) fn tables(rng: &mut ChaCha8Rng, accounts: &[Account]) -> Vec<Rows> {
    let mut projects = Vec::new();
    let mut surveys = Vec::new();
    let mut role_types = Vec::new();
    let mut need_types = Vec::new();
    for (n, (id, org, name, _)) in PROJECTS.iter().enumerate() {
        let place = ["Pier 4, north side", "Meadow behind the mill", "Main station, track 11"][n];
        let plan = ["Boats first, then the bridge", "Picnic that grows", "Pyjamas and suitcases"][n];
        let pledged = rng.random_range(3..40);
        projects.push(vec![
            Cell::Text(format!("dp-{id}")),
            (*id).into(),
            (*org).into(),
            Cell::Text(format!("{name}: a goal that many share")),
            Cell::Int(pledged),
            moment(rng),
            place.into(),
            Cell::Int(15),
            "campaign".into(),
            Cell::Text(format!("contact.{}@people.example", id.to_lowercase())),
            plan.into(),
            Cell::Cents(rng.random_range(50_000..900_000)),
            Cell::Texts(vec![format!("https://video.example/{}", id.to_lowercase())]),
            moment(rng),
            moment(rng),
        ]);
        surveys.push(vec![
            Cell::Text(format!("sp-{id}")),
            Cell::Text(format!("Survey of {name}")),
            (*id).into(),
            moment(rng),
            moment(rng),
        ]);
        for (t, (role, unit)) in names::ROLE_TYPES.iter().enumerate() {
            role_types.push(vec![
                Cell::Text(format!("srt-{id}-{t}")),
                Cell::Text(format!("sp-{id}")),
                (*role).into(),
                Cell::Null,
                Cell::Text(format!("{role} for {name}")),
                (*unit).into(),
            ]);
        }
        for (t, (need, group, kind)) in names::NEED_TYPES.iter().enumerate() {
            need_types.push(vec![
                Cell::Text(format!("unt-{id}-{t}")),
                Cell::Text(format!("sp-{id}")),
                (*need).into(),
                (*group).into(),
                Cell::Text(format!("{need}, as {name} asks it")),
                Cell::Null,
                (*kind).into(),
            ]);
        }
    }
    // Everybody who is in a project answers its survey.
    let surveyed: Vec<&Account> = accounts.iter().filter(|a| !a.project.is_empty()).collect();
    let users = surveyed
        .iter()
        .map(|a| {
            vec![
                Cell::Text(format!("su-{}", a.id)),
                a.name.as_str().into(),
                Cell::Text(format!("sp-{}", a.project)),
                a.id.as_str().into(),
                Cell::Date(rng.random_range(-14_600..2_900)),
                moment(rng),
                moment(rng),
            ]
        })
        .collect();
    // The people of the tour have two entries each, so that each step shows something.
    let told: Vec<&Account> = surveyed.iter().copied().filter(|a| a.person.is_some()).collect();
    let mut writers = |count: usize| -> Vec<&Account> {
        (0..count)
            .map(|n| {
                told.get(n / 2)
                    .copied()
                    .unwrap_or_else(|| surveyed.choose(rng).copied().expect("not empty"))
            })
            .collect()
    };
    let offering = writers(3_000);
    let needing = writers(2_500);
    let offers = offering
        .iter()
        .enumerate()
        .map(|(n, a)| {
            let kind = rng.random_range(0..names::ROLE_TYPES.len());
            vec![
                Cell::Text(format!("srv-{n:04}")),
                Cell::Text(format!("su-{}", a.id)),
                Cell::Text(format!("srt-{}-{kind}", a.project)),
                Cell::Int(rng.random_range(1..60)),
                (*names::OFFERS.choose(rng).expect("not empty")).into(),
                moment(rng),
            ]
        })
        .collect();
    let needs = needing
        .iter()
        .enumerate()
        .map(|(n, a)| {
            let kind = rng.random_range(0..names::NEED_TYPES.len());
            vec![
                Cell::Text(format!("unv-{n:04}")),
                Cell::Text(format!("su-{}", a.id)),
                Cell::Text(format!("unt-{}-{kind}", a.project)),
                (*names::NEEDS.choose(rng).expect("not empty")).into(),
                moment(rng),
            ]
        })
        .collect();
    let rows = |table, writer, columns, rows| Rows {
        module: "disco",
        table,
        writer,
        columns,
        rows,
    };
    let superadmin = Writer::Superadmin;
    // Nobody else may write what a person says of themselves, not even a superadmin.
    let authors = |accounts: &[&Account]| Writer::Authors(accounts.iter().map(|a| a.id.clone()).collect());
    vec![
        rows(
            "projects",
            superadmin.clone(),
            &[
                "project_id",
                "sys_account_project_ref_id",
                "sys_account_org_ref_id",
                "goal",
                "already_pledged",
                "action_time",
                "action_location",
                "min_pioneers",
                "category",
                "contact",
                "strategy",
                "budget",
                "video_url",
                "created_at",
                "updated_at",
            ],
            projects,
        ),
        rows(
            "survey_projects",
            superadmin.clone(),
            &[
                "survey_project_id",
                "survey_project_name",
                "sys_account_project_ref_id",
                "created_at",
                "updated_at",
            ],
            surveys,
        ),
        rows(
            "survey_users",
            authors(&surveyed),
            &[
                "survey_user_id",
                "survey_user_name",
                "survey_project_ref_id",
                "sys_account_account_ref_id",
                "birth_date",
                "created_at",
                "updated_at",
            ],
            users,
        ),
        rows(
            "support_role_types",
            superadmin.clone(),
            &[
                "id",
                "survey_project_ref_id",
                "name",
                "comment",
                "description",
                "unit_of_measures",
            ],
            role_types,
        ),
        rows(
            "support_role_values",
            authors(&offering),
            &[
                "id",
                "survey_user_ref_id",
                "support_role_type_ref_id",
                "pledged",
                "comment",
                "created_at",
            ],
            offers,
        ),
        rows(
            "user_need_types",
            superadmin,
            &[
                "id",
                "survey_project_ref_id",
                "name",
                "question_group",
                "description",
                "unit_of_measures",
                "question_type",
            ],
            need_types,
        ),
        rows(
            "user_need_values",
            authors(&needing),
            &["id", "survey_user_ref_id", "user_needs_type_ref_id", "comment", "created_at"],
            needs,
        ),
    ]
}
