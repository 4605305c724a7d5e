//! What is fuzzed: every decoder that meets bytes of a client, of a server or of the database's owner.
//!
//! Each target states more than that nothing panics: what was decoded encodes to the same bytes, a canonical form is its own canonical
//! form, text and binary readings agree, what was not sealed or signed by us never opens or verifies. All run under a bound on memory
//! that grows with the input alone ([`bounds`]), and under libFuzzer's bound on time.

pub mod bounds;
pub mod secrets;
pub mod seeds;
pub mod values;
pub mod wire;

/// A target: its name, what it does with one input, and how long an input may be.
pub struct Target {
    /// What `TARGET=` selects; also its directory in `corpus/`.
    pub name: &'static str,
    /// Panics where the property does not hold.
    pub check: fn(&[u8]),
    /// Bytes; also what `-max_len` gets.
    pub longest: usize,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("frames", wire::frames, 512),
    target("startup", wire::startup, 10_240),
    target("client_messages", wire::client_messages, 2_048),
    target("server_messages", wire::server_messages, 2_048),
    target("copy_rows", wire::copy_rows, 512),
    target("leading_token", wire::leading_token, 512),
    target("upstream_login", wire::upstream_login, 512),
    target("scram", secrets::scram, 1_024),
    target("verifier_file", secrets::verifier_file, 256),
    target("token_text", secrets::token_text, 1_024),
    target("token_claims", secrets::token_claims, 2_048),
    target("jwk_set", secrets::jwk_set, 2_048),
    target("envelope", secrets::envelope, 1_024),
    target("catalogue", secrets::catalogue, 4_096),
    target("value_text", values::text, 256),
    target("value_binary", values::binary, 256),
    target("numeric", values::numeric, 512),
    target("datetime", values::datetime, 128),
    target("json", values::json, 2_048),
    target("array_text", values::array_text, 512),
    target("array_binary", values::array_binary, 512),
    target("session_format", values::session_format, 128),
];

const fn target(name: &'static str, check: fn(&[u8]), longest: usize) -> Target {
    Target { name, check, longest }
}

/// The target that `POSTERN_FUZZ` names.
///
/// # Panics
/// When it names none: there is nothing to do then.
pub fn chosen() -> &'static Target {
    let name = std::env::var("POSTERN_FUZZ").unwrap_or_default();
    let found = TARGETS.iter().find(|t| t.name == name);
    found.unwrap_or_else(|| {
        let all: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
        panic!("POSTERN_FUZZ={name}: no such target; there are {}", all.join(" "))
    })
}
