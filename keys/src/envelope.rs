//! The sealed form of one value, which opens at its own place only.
//!
//! `magic 2 · version 1 · algorithm 1 · key id 4 · nonce 12 · ciphertext · tag 16`: 36 bytes over the value, big-endian. Associated
//! data: the first eight bytes, then length-prefixed the UUIDs of database, table and column, the value's type, whether a row is
//! bound, and each bound value with its type or a mark for NULL. Whoever copies an envelope to another row, column, table or database,
//! or changes a bound value beside it, gets [`OpenError`], which says nothing more.
//!
//! Values of variable length are padded before sealing: 0x80 and zeros (ISO/IEC 7816-4) up to the PADMÉ length (Nikitin et al.,
//! "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", 2019), in steps of at least 16 bytes, so at most
//! 12.5 % from 128 bytes on. Types of fixed size are not padded.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use postern_config::ColumnType;
use uuid::Uuid;
use zeroize::Zeroize;

use crate::secret::{Secret, push_part};
use crate::value::type_tag;

/// The largest value that is sealed or opened, bytes.
pub const MAX_CELL_BYTES: usize = 64 << 20;

const MAGIC: [u8; 2] = [0xC5, 0x50];
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What an envelope adds to the (padded) value, bytes.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

/// AES-256-GCM-SIV over the value as it is.
const EXACT: u8 = 1;
/// AES-256-GCM-SIV over the padded value.
const PADDED: u8 = 2;

/// A value of the same row that an envelope is bound to.
#[derive(Clone, Copy)]
pub enum Bound<'a> {
    /// The column is NULL.
    Null,
    /// The column's type and canonical bytes. A protected column binds by its equality tag, as `bytea`.
    Value(&'a ColumnType, &'a [u8]),
}

/// Why a value was not sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Larger than [`MAX_CELL_BYTES`].
    #[error("the value is larger than {MAX_CELL_BYTES} bytes")]
    TooLarge,
    /// The column binds its values to their row, and none was given.
    #[error("the value cannot be sealed without the row it belongs to")]
    NoRow,
    /// A bound column's type has no canonical form.
    #[error("a column of type {0} cannot be bound to")]
    BoundType(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(getrandom::Error),
}

impl SealError {
    /// The SQLSTATE for the client.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::TooLarge => "54000",
            Self::NoRow | Self::BoundType(_) => "0A000",
            Self::Randomness(_) => "58000",
        }
    }
}

/// An envelope did not open here. One error for every cause, so that nothing can be learned from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a protected value cannot be opened at this place")]
pub struct OpenError;

impl OpenError {
    /// The SQLSTATE for the client: data corrupted.
    pub fn sqlstate(&self) -> &'static str {
        "XX001"
    }
}

/// Nonces from the operating system's randomness, drawn 256 at a time (one system call costs more than sealing a short value).
/// Belongs to one owner; a process that forks must make a new one in the child.
pub struct NonceSource {
    /// Nothing before the first one is drawn: most sessions seal nothing.
    batch: Box<[u8]>,
    used: usize,
}

impl NonceSource {
    /// An empty source; the first nonce fills it.
    pub fn new() -> Self {
        Self {
            batch: Box::default(),
            used: 0,
        }
    }

    fn draw(&mut self) -> Result<[u8; NONCE_BYTES], SealError> {
        if self.used == self.batch.len() {
            if self.batch.is_empty() {
                self.batch = vec![0; NONCE_BYTES * 256].into();
            }
            // Where this fails, all of it counts as used.
            self.used = self.batch.len();
            getrandom::fill(&mut self.batch).map_err(SealError::Randomness)?;
            self.used = 0;
        }
        let nonce = self.batch[self.used..self.used + NONCE_BYTES]
            .try_into()
            .expect("a nonce's length");
        self.used += NONCE_BYTES;
        Ok(nonce)
    }
}

impl Default for NonceSource {
    fn default() -> Self {
        Self::new()
    }
}

/// The id of the key that an envelope names; `None` where the bytes are no envelope.
pub fn key_id(envelope: &[u8]) -> Option<u32> {
    Envelope::parse(envelope).map(|e| e.key_id)
}

/// Where a column's values live.
pub(crate) struct Place<'a> {
    pub(crate) database: &'a Uuid,
    pub(crate) table: &'a Uuid,
    pub(crate) column: &'a Uuid,
    pub(crate) ty: &'a ColumnType,
    /// Whether values are bound to their row.
    pub(crate) row: bool,
}

/// One version of a column's data key, ready for use.
pub(crate) struct EnvelopeKey {
    id: u32,
    /// Keys are wrapped by another implementation of the same cipher (`wrap`); a test holds the two against each other.
    cipher: LessSafeKey,
    /// The part of the associated data that is the same for all values of the column.
    place: Box<[u8]>,
    algorithm: u8,
    row: bool,
}

impl EnvelopeKey {
    /// Construction: the cipher's key is HKDF(data key, "postern/v1/aead"), so that the commitment and any later use of the data key are
    /// independent of it. `None` where the type has no canonical form.
    pub(crate) fn new(id: u32, data_key: &Secret, place: &Place<'_>) -> Option<Self> {
        let tag = type_tag(place.ty)?;
        let mut bytes = Vec::with_capacity(80);
        for uuid in [place.database, place.table, place.column] {
            push_part(&mut bytes, uuid.as_bytes());
        }
        push_part(&mut bytes, &[tag, u8::from(place.row)]);
        let key = data_key.derive("postern/v1/aead", &[]);
        let key = UnboundKey::new(&AES_256_GCM_SIV, key.expose()).expect("a secret is as long as the cipher's key");
        Some(Self {
            id,
            cipher: LessSafeKey::new(key),
            place: bytes.into(),
            algorithm: if place.ty.typlen() == -1 { PADDED } else { EXACT },
            row: place.row,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Appends the envelope of `plaintext` to `out`.
    ///
    /// Construction: AES-256-GCM-SIV (RFC 8452). Nonce: 96 random bits for each value, at most 2^32 values for one data key (a repeat
    /// would show that two values of one place are equal, and nothing else). Bound identity: see the module's first paragraph.
    pub(crate) fn seal(
        &self,
        plaintext: &[u8],
        bound: &[Bound<'_>],
        nonces: &mut NonceSource,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if plaintext.len() > MAX_CELL_BYTES {
            return Err(SealError::TooLarge);
        }
        let bound = self.row_values(bound).ok_or(SealError::NoRow)?;
        if let Some(ty) = bound.iter().find_map(unbindable) {
            return Err(SealError::BoundType(ty.to_string()));
        }
        let nonce = nonces.draw()?;
        let header = header(self.algorithm, self.id);
        let body = match self.algorithm {
            PADDED => padded_length(plaintext.len() + 1),
            _ => plaintext.len(),
        };
        let start = out.len();
        // All at once: growing later would leave a copy of the plaintext behind.
        out.reserve(OVERHEAD_BYTES + body + self.associated_length(bound));
        out.extend_from_slice(&header);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plaintext);
        if self.algorithm == PADDED {
            out.push(0x80);
        }
        out.resize(start + HEADER_BYTES + NONCE_BYTES + body + TAG_BYTES, 0);
        let end = out.len();
        // The associated data is laid out behind the envelope and cut off again: no allocation but `out`.
        self.push_associated(&header, bound, out);
        let (envelope, associated) = out[start..].split_at_mut(end - start);
        let (text, tag) = envelope[HEADER_BYTES + NONCE_BYTES..].split_at_mut(body);
        let made = self
            .cipher
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*associated), text)
            .expect("64 MiB and a row's keys are below the cipher's 64 GiB");
        tag.copy_from_slice(made.as_ref());
        out.truncate(end);
        Ok(())
    }

    /// Appends the value in `envelope` to `out`. The caller has chosen this key by [`Envelope::key_id`].
    pub(crate) fn open(&self, envelope: &Envelope<'_>, bound: &[Bound<'_>], out: &mut Vec<u8>) -> Result<(), OpenError> {
        let bound = self.row_values(bound).ok_or(OpenError)?;
        if envelope.key_id != self.id || bound.iter().any(|b| unbindable(b).is_some()) {
            return Err(OpenError);
        }
        let start = out.len();
        let end = start + envelope.ciphertext.len();
        out.reserve(envelope.ciphertext.len() + self.associated_length(bound));
        out.resize(end, 0);
        self.push_associated(&header(envelope.algorithm, envelope.key_id), bound, out);
        let (text, associated) = out[start..].split_at_mut(end - start);
        let opened = self.cipher.open_separate_gather(
            Nonce::assume_unique_for_key(envelope.nonce),
            Aad::from(&*associated),
            envelope.ciphertext,
            &envelope.tag,
            text,
        );
        out.truncate(end);
        let kept = match (opened, envelope.algorithm) {
            (Err(_), _) => None,
            (Ok(()), PADDED) => unpadded_length(&out[start..]),
            (Ok(()), _) => Some(end - start),
        };
        match kept {
            Some(length) => {
                out.truncate(start + length);
                Ok(())
            }
            None => {
                out[start..].zeroize();
                out.truncate(start);
                Err(OpenError)
            }
        }
    }

    /// What a value is bound to beyond its column: nothing where the column is bound alone, at least one value elsewhere.
    fn row_values<'a, 'b>(&self, bound: &'a [Bound<'b>]) -> Option<&'a [Bound<'b>]> {
        match (self.row, bound) {
            (false, _) => Some(&[]),
            (true, []) => None,
            (true, values) => Some(values),
        }
    }

    fn associated_length(&self, bound: &[Bound<'_>]) -> usize {
        let values: usize = bound
            .iter()
            .map(|b| if let Bound::Value(_, bytes) = b { 5 + bytes.len() } else { 1 })
            .sum();
        HEADER_BYTES + self.place.len() + 4 + values
    }

    fn push_associated(&self, header: &[u8; HEADER_BYTES], bound: &[Bound<'_>], out: &mut Vec<u8>) {
        out.extend_from_slice(header);
        out.extend_from_slice(&self.place);
        let count = u32::try_from(bound.len()).expect("PostgreSQL has at most 1,600 columns");
        out.extend_from_slice(&count.to_be_bytes());
        for value in bound {
            match value {
                Bound::Null => out.push(0),
                Bound::Value(ty, bytes) => {
                    out.push(type_tag(ty).expect("checked by the caller: every bound type has a tag"));
                    push_part(out, bytes);
                }
            }
        }
    }
}

/// An envelope taken apart; nothing in it is authenticated yet.
pub(crate) struct Envelope<'a> {
    algorithm: u8,
    pub(crate) key_id: u32,
    nonce: [u8; NONCE_BYTES],
    ciphertext: &'a [u8],
    tag: [u8; TAG_BYTES],
}

impl<'a> Envelope<'a> {
    /// Lengths first, then every fixed byte.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (&nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (ciphertext, &tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let [m0, m1, version, algorithm, k0, k1, k2, k3] = header;
        let longest = match algorithm {
            EXACT => MAX_CELL_BYTES,
            PADDED => padded_length(MAX_CELL_BYTES + 1),
            _ => return None,
        };
        let known = [m0, m1] == MAGIC && version == VERSION && ciphertext.len() <= longest;
        known.then_some(Self {
            algorithm,
            key_id: u32::from_be_bytes([k0, k1, k2, k3]),
            nonce,
            ciphertext,
            tag,
        })
    }
}

fn header(algorithm: u8, key_id: u32) -> [u8; HEADER_BYTES] {
    let [k0, k1, k2, k3] = key_id.to_be_bytes();
    [MAGIC[0], MAGIC[1], VERSION, algorithm, k0, k1, k2, k3]
}

fn unbindable<'a>(bound: &Bound<'a>) -> Option<&'a ColumnType> {
    match bound {
        Bound::Value(ty, _) if type_tag(ty).is_none() => Some(ty),
        _ => None,
    }
}

/// PADMÉ: of a length's bits only the leading ones up to the length of the length stay, the rest round up; here in steps of 16 at least.
fn padded_length(length: usize) -> usize {
    let exponent = length.max(2).ilog2();
    let step = (1usize << (exponent - (exponent.ilog2() + 1).min(exponent))).max(16);
    length.div_ceil(step) * step
}

fn unpadded_length(padded: &[u8]) -> Option<usize> {
    let mark = padded.iter().rposition(|b| *b != 0)?;
    (padded[mark] == 0x80).then_some(mark)
}

#[cfg(test)]
mod tests;
