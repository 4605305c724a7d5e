//! The tests' own modules by hand: what `gate/guild.toml`, `gate/lender.toml` and `gate/borrower.toml` say in words (roles with heirs, lists
//! of columns, presets, masks that show something, typed claims, a protected column compared with a claim, exports, policies over imports).

use super::data::{Cell, Data, Rows};
use super::people::Identity;
use super::policies::{among, is, seen};
use super::writing::Write;

/// Something that a module reads of another one.
pub struct Imported {
    /// Whose schema it is in.
    pub module: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Whose table it is.
    pub from: &'static str,
    /// The table's name.
    pub table: &'static str,
    /// What is shown of it.
    pub columns: &'static [&'static str],
    /// Every row, whatever the exporting module's policies say.
    pub all: bool,
}

/// All of them.
pub const IMPORTED: [Imported; 2] = [
    Imported {
        module: "borrower",
        name: "lent",
        from: "lender",
        table: "books",
        columns: &["id", "title", "shelf_id", "pages"],
        all: false,
    },
    Imported {
        module: "borrower",
        name: "shelves",
        from: "lender",
        table: "shelves",
        columns: &["id"],
        all: true,
    },
];

/// What somebody sees of an import. Whose rows are all shown shows them to everybody, but nothing is shown to an account that is disabled.
pub fn seen_of_import(who: &Identity, data: &Data, import: &Imported) -> Vec<Vec<Cell>> {
    let rows = data.table(import.from, import.table);
    let visible = match import.all {
        true if who.disabled => Vec::new(),
        true => rows.rows.clone(),
        false => seen(who, data, import.from, import.table),
    };
    let shown: Vec<usize> = import.columns.iter().map(|c| rows.position(c)).collect();
    let project = |row: Vec<Cell>| shown.iter().map(|&n| row[n].clone()).collect();
    visible.into_iter().map(project).collect()
}

/// What somebody is shown in module borrower of the book with that id: its shelf and its pages.
fn lent(who: &Identity, data: &Data, id: Option<&str>) -> Option<[Cell; 2]> {
    let import = IMPORTED.iter().find(|i| i.name == "lent").expect("it is imported");
    let books = seen_of_import(who, data, import);
    let book = books.into_iter().find(|b| id.is_some() && b[0].as_deref() == id)?;
    Some([book[2].clone(), book[3].clone()])
}

/// What stands in a masked cell's place; NULL where nothing is said.
pub fn mask(module: &str, table: &str, column: &str) -> Option<&'static str> {
    match (module, table, column) {
        ("guild", "halls", "seats") => Some("-1"),
        ("guild", "halls", "door_code") => Some("***"),
        ("guild", "halls", "contact") => Some("ask the office"),
        _ => None,
    }
}

/// Roles of module guild, each with all that stand before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// Belongs to the project.
    Member,
    /// Administers it.
    ProjectAdmin,
}

/// Whether somebody has that role where a project and an organisation are these. Admins of the organisation and superadmins inherit all.
fn has(who: &Identity, role: Role, project: Option<&str>, org: Option<&str>) -> bool {
    let member = role == Role::Member && among(who.project_member_of, project);
    member || among(who.project_admin_of, project) || among(who.org_admin_of, org) || who.superadmin
}

/// The same for what lies in a hall; a superadmin is one wherever it lies.
fn has_by_hall(who: &Identity, data: &Data, role: Role, hall: Option<&str>) -> bool {
    let halls = data.table("guild", "halls");
    let found = halls.rows.iter().find(|h| hall.is_some() && halls.cell(h, "id") == hall);
    let within = found.is_some_and(|h| has(who, role, halls.cell(h, "project"), halls.cell(h, "org_id")));
    within || who.superadmin
}

/// The contact is of their address.
fn of_address(who: &Identity, data: &Data, contact: Option<&str>) -> bool {
    let contacts = data.table("guild", "contacts");
    let mine = |c: &&Vec<Cell>| who.email().is_some() && contacts.cell(c, "email") == who.email().as_deref();
    contacts.rows.iter().filter(mine).any(|c| contacts.cell(c, "id") == contact)
}

fn number(cell: Option<&str>) -> Option<i32> {
    cell.map(|c| c.parse().expect("a number"))
}

/// [`super::policies::hidden_cells`] for these modules.
pub(super) fn hidden_cells(who: &Identity, data: &Data, rows: &Rows, row: &[Cell]) -> Option<&'static [&'static str]> {
    const NOTHING: &[&str] = &[];
    // Of a hall: to members, to project admins.
    const OUTSIDE: &[&str] = &["seats", "door_code", "contact"];
    const INSIDE: &[&str] = &["door_code"];
    // "Admins are shown the hall, whose it is, its state and seats, and who touched it."
    const OF_OTHERS: &[&str] = &["source", "touched_at", "note"];
    let at = |column: &str| rows.cell(row, column);
    let when = |seen: bool| seen.then_some(NOTHING);
    match (rows.module.as_str(), rows.table.as_str()) {
        // Every user; what is in a hall, its members; the door code, its project's admins.
        ("guild", "halls") => {
            let role = |role| has(who, role, at("project"), at("org_id"));
            let hidden = match (role(Role::ProjectAdmin), role(Role::Member)) {
                (true, _) => NOTHING,
                (_, true) => INSIDE,
                _ => OUTSIDE,
            };
            who.sub.is_some().then_some(hidden)
        }
        // One's own as a whole; admins of the hall some columns.
        ("guild", "bookings") => {
            if is(who, at("owner")) {
                return Some(NOTHING);
            }
            has_by_hall(who, data, Role::ProjectAdmin, at("hall_id")).then_some(OF_OTHERS)
        }
        ("guild", "letters") => when(is(who, at("author"))),
        ("guild", "stamps") => when(who.sub.is_some()),
        // Up to one's level, and one's tenants'.
        ("guild", "grades") => {
            let below = number(at("level")).is_some_and(|level| who.level.is_some_and(|mine| level <= mine));
            when(below || among(who.tenants, at("tenant")))
        }
        ("guild", "contacts") => when(who.email().is_some() && at("email") == who.email().as_deref()),
        ("guild", "calls") => when(of_address(who, data, at("contact"))),
        ("lender", "shelves") => when(who.service == Some("lender")),
        // Its owner's, those on shelves of one's organisations, the module's; titles are shown to the owner and the module.
        ("lender", "books") => {
            const TITLE: &[&str] = &["title"];
            let shelves = data.table("lender", "shelves");
            let shelf = shelves.rows.iter().find(|s| shelves.cell(s, "id") == at("shelf_id"));
            let reached = shelf.is_some_and(|s| among(who.org_member_of, shelves.cell(s, "org_id")));
            match is(who, at("owner")) || who.service == Some("lender") {
                true => Some(NOTHING),
                false => reached.then_some(TITLE),
            }
        }
        ("borrower", "loans") => when(who.sub.is_some() || who.service == Some("borrower")),
        ("borrower", "reminders") => when(who.service == Some("borrower")),
        // One's own, and those of books that one is shown and that have pages; what is written, to who is shown a shelf with the book.
        ("borrower", "reviews") => {
            const BODY: &[&str] = &["body"];
            let own = is(who, at("owner"));
            let book = lent(who, data, at("book_id"));
            let shelves = data.table("lender", "shelves");
            let shelved = |[shelf, _]: &[Cell; 2]| shelf.is_some() && shelves.rows.iter().any(|s| s[0] == *shelf);
            let told = own || book.as_ref().is_some_and(shelved);
            let paged = book.is_some_and(|[_, pages]| number(pages.as_deref()).is_some_and(|n| n >= 0));
            (own || paged).then_some(if told { NOTHING } else { BODY })
        }
        (module, table) => panic!("the oracle knows no policies of {module}.{table}"),
    }
}

/// [`super::writing::may`] for these modules, of a row that is seen.
pub(super) fn may(who: &Identity, data: &Data, rows: &Rows, row: &[Cell], write: Write) -> bool {
    let at = |column: &str| rows.cell(row, column);
    match (rows.module.as_str(), rows.table.as_str()) {
        ("guild", "halls") => has(who, Role::ProjectAdmin, at("project"), at("org_id")),
        // The owner says how many seats, an admin of the hall that and whether it is confirmed; who made it takes it back.
        ("guild", "bookings") => {
            let (own, admin) = (
                is(who, at("owner")),
                has_by_hall(who, data, Role::ProjectAdmin, at("hall_id")),
            );
            match write {
                Write::Update("state") => admin,
                Write::Update(_) => own || admin,
                Write::Delete => own,
            }
        }
        ("guild", "letters" | "stamps" | "contacts") => true,
        // Below one's level, and nothing goes.
        ("guild", "grades") => {
            let below = number(at("level")).is_some_and(|level| who.level.is_some_and(|mine| level < mine));
            write != Write::Delete && below
        }
        ("guild", "calls") | ("borrower", "reminders") => false,
        ("lender", "books") => is(who, at("owner")) || who.service == Some("lender"),
        ("lender", "shelves") | ("borrower", "loans") => true,
        // One's own, which stays with a book that one is shown.
        ("borrower", "reviews") => {
            let kept = write == Write::Delete || lent(who, data, at("book_id")).is_some();
            is(who, at("owner")) && kept
        }
        (module, table) => panic!("the oracle knows no policies of {module}.{table}"),
    }
}

/// [`super::inserting::may_insert`] for these modules: a row as it would be written, and the columns that the statement names.
pub(super) fn may_insert(who: &Identity, data: &Data, rows: &Rows, row: &[Cell], named: &[&str]) -> bool {
    let at = |column: &str| rows.cell(row, column);
    match (rows.module.as_str(), rows.table.as_str()) {
        ("guild", "halls") => has(who, Role::ProjectAdmin, at("project"), at("org_id")),
        // Whoever makes one names the hall, the seats and a note; an admin of the hall what they like.
        ("guild", "bookings") => {
            // Naming what would be there anyway says nothing.
            let said = |c: &&&str| **c != "state" || at("state") != Some("asked");
            let own = named
                .iter()
                .filter(said)
                .all(|c| ["id", "hall_id", "seats", "note"].contains(c));
            who.sub.is_some() && own || has_by_hall(who, data, Role::ProjectAdmin, at("hall_id"))
        }
        ("guild", "letters" | "stamps") => who.sub.is_some(),
        ("guild", "grades") => number(at("level")).is_some_and(|level| who.level.is_some_and(|mine| level < mine)),
        ("guild", "contacts") => who.email().is_some() && at("email") == who.email().as_deref(),
        ("guild", "calls") => of_address(who, data, at("contact")),
        ("lender", "shelves" | "books") => who.service == Some("lender"),
        ("borrower", "loans") => who.sub.is_some() || who.service == Some("borrower"),
        ("borrower", "reminders") => who.service == Some("borrower"),
        ("borrower", "reviews") => is(who, at("owner")) && lent(who, data, at("book_id")).is_some(),
        (module, table) => panic!("the oracle knows no policies of {module}.{table}"),
    }
}

/// What a column of a new row is set to whatever the client says: the value, where it is one. `None` where the client says it.
pub(super) fn preset(who: &Identity, module: &str, table: &str, column: &str) -> Option<Cell> {
    let sub = || Some(who.sub.map(str::to_owned));
    let text = |text: &str| Some(Some(text.to_owned()));
    match (module, table, column) {
        ("guild", "bookings", "owner" | "touched_by") | ("guild", "letters", "author") | ("guild", "stamps", "signer") => sub(),
        ("guild", "bookings", "source") => text("web"),
        // The time of the statement: no policy reads it.
        ("guild", "bookings", "touched_at") => Some(None),
        ("guild", "letters", "checked") => Some(None),
        ("guild", "letters", "kind") => text("7"),
        ("guild", "stamps", "seal") => text("approved"),
        ("guild", "grades", "given_by") => Some(who.level.map(|l| l.to_string())),
        ("guild", "calls", "caller") => Some(who.email()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::people::IDENTITIES;
    use super::*;

    fn somebody(slug: &str) -> &'static Identity {
        IDENTITIES.iter().find(|i| i.slug() == slug).expect("somebody")
    }

    fn keys(who: &str, module: &str, table: &str) -> Vec<String> {
        let rows = seen(somebody(who), &Data::reference(), module, table);
        rows.into_iter().filter_map(|r| r.into_iter().next().flatten()).collect()
    }

    #[test]
    fn the_oracle_says_what_the_modules_say() {
        assert_eq!(keys("carl", "guild", "bookings"), ["b-bob", "b-carl", "b-eve", "9"]);
        assert_eq!(keys("root", "guild", "bookings").len(), 9);
        assert_eq!(keys("gus", "guild", "bookings"), ["b-lost"]);
        assert_eq!(keys("guest", "guild", "halls"), [""; 0]);
        assert_eq!(keys("bob", "guild", "grades"), ["1", "3", "4", "5", "7"]);
        assert_eq!(keys("bob", "guild", "calls"), ["1", "3"]);
        assert_eq!(keys("dora", "lender", "books"), ["book-2", "7"]);
        assert_eq!(keys("bob", "borrower", "reviews"), ["rv-1", "rv-2", "rv-3", "rv-6"]);
        assert_eq!(keys("dora", "borrower", "reviews"), ["rv-2", "rv-5", "rv-6"]);
        assert_eq!(keys("guest", "borrower", "reviews"), [""; 0]);
        let data = Data::reference();
        let imported = |who, n: usize| seen_of_import(somebody(who), &data, &IMPORTED[n]);
        let text = |t: &str| Some(t.to_owned());
        let of_carl: Vec<Cell> = imported("bob", 0)
            .into_iter()
            .find(|r| r[0] == text("book-4"))
            .expect("it is seen");
        assert_eq!(
            of_carl,
            [text("book-4"), None, text("shelf-a"), text("0")],
            "its title is masked"
        );
        assert_eq!((imported("guest", 0).len(), imported("guest", 1).len()), (0, 4));
        assert_eq!(imported("eve", 1).len(), 0);
    }

    #[test]
    fn a_masked_cell_shows_its_mask() {
        let rows = seen(somebody("bob"), &Data::reference(), "guild", "halls");
        let shown: Vec<[&str; 3]> = (rows.iter().take(3))
            .map(|r| [4, 5, 6].map(|n| r[n].as_deref().unwrap_or("NULL")))
            .collect();
        assert_eq!(
            shown,
            [
                ["40", "***", "north@guild.example"],
                ["-1", "***", "ask the office"],
                ["-1", "***", "ask the office"]
            ]
        );
    }
}
