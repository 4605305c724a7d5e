//! `chat`: groups, their messages and who has read them.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::{Account, PROJECTS, Rows, Writer, moment, names};

pub(super) fn tables(rng: &mut ChaCha8Rng, accounts: &[Account]) -> Vec<Rows> {
    let mut members = Vec::new();
    let mut messages = Vec::new();
    let mut receipts = Vec::new();
    let (mut joiners, mut senders, mut readers) = (Vec::new(), Vec::new(), Vec::new());
    for (id, org, _, _) in PROJECTS {
        let of_project: Vec<&Account> = accounts.iter().filter(|a| a.project == id && a.person.is_none()).collect();
        for n in 0..8 {
            let group = format!("g-{}-{n:02}", id.to_lowercase());
            let size = rng.random_range(12..30);
            let mut inside: Vec<&Account> = of_project.choose_multiple(rng, size).copied().collect();
            if n == 0 {
                // The first group of each project holds its people of the tour.
                inside.extend(accounts.iter().filter(|a| {
                    a.person
                        .is_some_and(|p| p.project_member_of.contains(&id) || p.org_admin_of.contains(&org))
                }));
            }
            for a in &inside {
                joiners.push(a.id.clone());
                members.push(vec![group.as_str().into(), a.id.as_str().into()]);
            }
            for _ in 0..150 {
                let message = format!("msg-{:05}", messages.len());
                let sender = inside.choose(rng).expect("not empty");
                senders.push(sender.id.clone());
                messages.push(vec![
                    message.as_str().into(),
                    (*names::MESSAGES.choose(rng).expect("not empty")).into(),
                    moment(rng),
                    group.as_str().into(),
                    sender.id.as_str().into(),
                ]);
                if rng.random_bool(0.6) {
                    let reader = inside.choose(rng).expect("not empty");
                    readers.push(reader.id.clone());
                    receipts.push(vec![message.into(), reader.id.as_str().into()]);
                }
            }
        }
    }
    // Each person joins, writes and reads for themselves: nobody may do it in another's name.
    let rows = |table, authors, columns, rows| Rows {
        module: "chat",
        table,
        writer: Writer::Authors(authors),
        columns,
        rows,
    };
    vec![
        rows("group_members", joiners, &["group_id", "account_id"], members),
        rows(
            "messages",
            senders,
            &["id", "content", "sent_at", "group_id", "sender_id"],
            messages,
        ),
        rows("read_receipts", readers, &["message_id", "account_id"], receipts),
    ]
}
