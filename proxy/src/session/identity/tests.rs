use std::time::Duration;

use postern_config::{Login, LoginName, ModuleName};

use super::*;

fn identities() -> Identities {
    let context = LoginContext {
        module: ModuleName::new("disco").unwrap(),
        login: Login {
            name: LoginName::new("disco_rt").unwrap(),
            kind: LoginKind::Runtime,
            ddl: false,
        },
    };
    Identities::new(&context, None)
}

fn somebody() -> Arc<Identity> {
    Identity::service(&ModuleName::new("disco").unwrap())
}

#[test]
fn a_local_identity_ends_with_its_transaction() {
    let mut identities = identities();
    identities.adopt(Some(somebody()), true);
    assert_eq!(identities.standing().who(), "service");
    identities.ready(false);
    assert_eq!(identities.standing().who(), "service");
    identities.ended(true);
    assert_eq!(identities.standing().who(), "guest");
}

#[test]
fn a_session_identity_needs_the_commit_of_its_transaction() {
    for commits in [true, false] {
        let mut identities = identities();
        identities.adopt(Some(somebody()), false);
        assert_eq!(identities.standing().who(), "service");
        identities.ended(commits);
        identities.failed();
        identities.ready(true);
        assert_eq!(identities.standing().who(), if commits { "service" } else { "guest" });
    }
}

#[test]
fn an_identity_taken_on_in_a_group_that_fails_never_was() {
    for fails in [true, false] {
        let mut identities = identities();
        identities.adopt(Some(somebody()), false);
        if fails {
            identities.failed();
        }
        assert_eq!(identities.ready(true), fails);
        assert_eq!(identities.standing().who(), if fails { "guest" } else { "service" });
        identities.adopt(None, false);
        assert!(!identities.ready(true), "a failure is over with its group");
    }
}

#[test]
fn a_rollback_to_a_savepoint_brings_back_who_it_was() {
    let mut identities = identities();
    let then = identities.taken();
    identities.adopt(Some(somebody()), true);
    identities.reverted(Some(then));
    assert_eq!(identities.standing().who(), "guest");
    identities.reverted(None);
    assert!(identities.conflicts(&Identity::guest()), "nobody is anybody");
    identities.ended(false);
    assert!(!identities.conflicts(&Identity::guest()));
}

#[test]
fn claims_are_unknown_after_a_reset_and_sent_again_in_time() {
    let mut identities = identities();
    let now = SystemTime::now();
    identities.arrived(crate::session::Memory::default().claims);
    assert!(identities.on_server(now).is_some());
    identities.server_local = ServerLocal::Set(somebody(), Some(now + Duration::from_secs(1)));
    assert!(identities.on_server(now).is_some());
    assert!(identities.on_server(now + Duration::from_secs(1)).is_none());
    identities.reset_on_server();
    assert!(identities.on_server(now).is_none());
    identities.ended(true);
    assert!(identities.on_server(now).is_none());
}

#[test]
fn who_has_touched_rows_stays_until_the_end() {
    let mut identities = identities();
    identities.touch(&Identity::guest());
    assert!(identities.conflicts(&somebody()));
    assert!(!identities.conflicts(&Identity::guest()));
    identities.ready(true);
    assert!(!identities.conflicts(&somebody()));
}
