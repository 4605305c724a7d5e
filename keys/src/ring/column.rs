//! The keys of one column, expanded.

use postern_config::ColumnType;

use crate::envelope::{Bound, Envelope, EnvelopeKey, NonceSource, OpenError, SealError};
use crate::tag::{TAG_BYTES, TagKey};

/// Everything that one protected column needs: the current data key, older ones by id, the tag key.
pub struct ColumnKeys {
    pub(super) current: EnvelopeKey,
    /// Versions that still open values and seal none.
    pub(super) older: Box<[EnvelopeKey]>,
    pub(super) tags: TagKey,
}

impl ColumnKeys {
    /// Appends to `out` the envelope of a value in canonical form, bound to this column and to the row's `bound` values, in the order
    /// of `Table::bound`. A column that is bound alone ignores `bound`; any other refuses an empty one.
    ///
    /// Construction, nonce rule and bound identity: [`crate::envelope`]. Allocates nothing but room in `out`.
    pub fn seal(
        &self,
        plaintext: &[u8],
        bound: &[Bound<'_>],
        nonces: &mut NonceSource,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.current.seal(plaintext, bound, nonces, out)
    }

    /// Appends to `out` the canonical form of the value in `envelope`, which must have been sealed for this column and these `bound`
    /// values. `out` holds plaintext afterwards: give one that is wiped. On an error it is as it was.
    ///
    /// The key is the one that the envelope names, never several in turn: GCM-SIV does not commit to its key.
    pub fn open(&self, envelope: &[u8], bound: &[Bound<'_>], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let envelope = Envelope::parse(envelope).ok_or(OpenError)?;
        let key = std::iter::once(&self.current)
            .chain(&self.older)
            .find(|key| key.id() == envelope.key_id)
            .ok_or(OpenError)?;
        key.open(&envelope, bound, out)
    }

    /// The equality tag of a value in canonical form. Construction and bound identity: [`crate::tag`].
    pub fn eq_tag(&self, ty: &ColumnType, canonical: &[u8]) -> [u8; TAG_BYTES] {
        self.tags.tag(ty, canonical)
    }

    /// The id of the key that new values are sealed with.
    pub fn current_key_id(&self) -> u32 {
        self.current.id()
    }
}
