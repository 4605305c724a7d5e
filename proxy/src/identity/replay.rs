//! Ids of tokens (`jti`) that were shown to this proxy and still live: an id belongs to the one token that came with it first.
//!
//! Promised: of two different tokens with one id, signed both, the second is refused for as long as the first lives. The same token may be
//! shown again and again until it ends, which pools do with every connection; so a token that was stolen is not noticed by this. What is
//! known here is known to this process alone: another proxy, or this one after a restart, has seen nothing.
//!
//! An id is never forgotten before its token ends: where there is no room, tokens with new ids are refused.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Ids that may live at once, some 20 MB of them: 436 new tokens in each second, of ten minutes each.
pub(super) const MOST: usize = 262_144;
/// Below this many nothing is swept.
const FEW: usize = 1024;

/// 128 bits of a SHA-256. Only what the issuer signed is kept, so nobody else can look for two of one value.
type Short = [u8; 16];

/// Whether a token may be shown under its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is the first with that id, or the same as the first.
    Admitted,
    /// The id is another token's, which lives.
    Taken,
    /// No further id can be remembered.
    NoRoom,
}

pub(super) struct Replay {
    ids: Mutex<Ids>,
    most: usize,
}

struct Ids {
    by_id: HashMap<Short, Shown>,
    /// At so many the dead ones are looked for.
    sweep_at: usize,
    /// When that was done last, unix seconds: tokens end by the second, so once in each is enough.
    swept: Option<u64>,
}

/// The token that came with an id.
struct Shown {
    token: Short,
    /// Unix seconds.
    ends: u64,
}

impl Replay {
    /// Room for that many ids.
    pub(super) fn holding(most: usize) -> Self {
        Self {
            ids: Mutex::new(Ids {
                by_id: HashMap::new(),
                sweep_at: FEW.min(most),
                swept: None,
            }),
            most,
        }
    }

    /// Takes note of a token under its id. `ends` is its `exp`, both times are unix seconds. Only for tokens that are right in everything
    /// else: nobody but the issuer may take up room.
    #[must_use]
    pub(super) fn admit(&self, jti: &str, token: &str, ends: u64, now: u64) -> Admission {
        let (id, token) = (short(jti), short(token));
        // Whole between any two operations, so a panic elsewhere cannot have spoilt it.
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shown) = ids.by_id.get_mut(&id) {
            if shown.token == token {
                return Admission::Admitted;
            }
            if shown.ends > now {
                return Admission::Taken;
            }
            *shown = Shown { token, ends };
            return Admission::Admitted;
        }
        if ids.by_id.len() >= ids.sweep_at {
            ids.sweep(now, self.most);
        }
        if ids.by_id.len() >= self.most {
            return Admission::NoRoom;
        }
        ids.by_id.insert(id, Shown { token, ends });
        Admission::Admitted
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).by_id.len()
    }
}

impl Ids {
    /// Forgets the ids of tokens that have ended. Done each time their number has doubled, so it costs each id little; and at most once in a
    /// second, so that it costs little where there is no room.
    fn sweep(&mut self, now: u64, most: usize) {
        if self.swept == Some(now) {
            return;
        }
        self.swept = Some(now);
        self.by_id.retain(|_, shown| shown.ends > now);
        self.sweep_at = (self.by_id.len() * 2).max(FEW).min(most);
    }
}

fn short(text: &str) -> Short {
    let digest: [u8; 32] = Sha256::digest(text).into();
    *digest.first_chunk().expect("32 bytes begin with 16")
}

#[cfg(test)]
mod tests {
    use super::Admission::{Admitted, NoRoom, Taken};
    use super::*;

    #[test]
    fn an_id_belongs_to_the_first_token_until_that_ends() {
        let replay = Replay::holding(10);
        assert_eq!(replay.admit("a", "first", 100, 50), Admitted);
        for now in [50, 60, 99] {
            assert_eq!(replay.admit("a", "first", 100, now), Admitted, "the same token again");
            assert_eq!(replay.admit("a", "second", 200, now), Taken, "at {now}");
        }
        assert_eq!(replay.admit("b", "second", 200, 60), Admitted, "another id");
        assert_eq!(replay.admit("a", "second", 200, 100), Admitted, "the first one has ended");
        assert_eq!(replay.admit("a", "first", 100, 101), Taken);
    }

    #[test]
    fn where_there_is_no_room_new_ids_are_refused_and_none_is_forgotten() {
        let replay = Replay::holding(3);
        for (id, ends) in [("a", 100), ("b", 200), ("c", 300)] {
            assert_eq!(replay.admit(id, id, ends, 50), Admitted);
        }
        assert_eq!(replay.admit("d", "d", 300, 50), NoRoom);
        assert_eq!(replay.admit("d", "d", 300, 51), NoRoom);
        assert_eq!(replay.admit("b", "b", 200, 99), Admitted, "those that are in may come again");
        assert_eq!(replay.admit("b", "other", 200, 99), Taken);
        assert_eq!(replay.admit("d", "d", 300, 100), Admitted, "a has ended");
        assert_eq!(replay.len(), 3);
        assert_eq!(replay.admit("e", "e", 300, 100), NoRoom);
    }

    #[test]
    fn what_has_ended_does_not_pile_up() {
        let replay = Replay::holding(MOST);
        for n in 0..20_000u64 {
            assert_eq!(replay.admit(&n.to_string(), "token", n + 10, n), Admitted);
        }
        assert!(replay.len() <= FEW, "{} of which 10 live", replay.len());
    }
}
