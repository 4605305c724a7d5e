//! What SCRAM is bound to: the certificate that the server showed (`tls-server-end-point`, RFC 5929 section 4.1), so that who sits
//! between with another certificate that we trust cannot pass the proof on.

use postern_config::settings::ChannelBinding;
use postgres_protocol::authentication::sasl;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// What is to be done about channel binding on one connection.
pub(super) enum Binding {
    /// There is no TLS, or it was switched off, or the certificate's signature has no hash to bind by.
    None,
    /// Bind where the server offers it; where it does not, say that we could have, so that it notices whoever hid its offer.
    Offered(Vec<u8>),
    /// Bind or refuse.
    Required(Option<Vec<u8>>),
}

impl Binding {
    pub(super) fn to(wanted: ChannelBinding, certificate: Option<&rustls_pki_types::CertificateDer<'_>>) -> Self {
        let hash = certificate.and_then(|der| end_point(der));
        match (wanted, hash) {
            (ChannelBinding::Disable, _) | (ChannelBinding::Prefer, None) => Self::None,
            (ChannelBinding::Prefer, Some(hash)) => Self::Offered(hash),
            (ChannelBinding::Require, hash) => Self::Required(hash),
        }
    }

    /// Whether to bind, and how; or why not at all.
    pub(super) fn choose(self, server_offers_plus: bool) -> Result<(bool, sasl::ChannelBinding), &'static str> {
        match self {
            Self::None => Ok((false, sasl::ChannelBinding::unsupported())),
            Self::Offered(hash) | Self::Required(Some(hash)) if server_offers_plus => {
                Ok((true, sasl::ChannelBinding::tls_server_end_point(hash)))
            }
            Self::Offered(_) => Ok((false, sasl::ChannelBinding::unrequested())),
            Self::Required(Some(_)) => Err("it does not offer channel binding, which is required here"),
            Self::Required(None) => Err("its certificate's signature has no hash that channel binding could use"),
        }
    }
}

/// The certificate's hash by the algorithm of its own signature, MD5 and SHA-1 replaced by SHA-256. `None` for an algorithm without a
/// hash of its own (Ed25519) or an unknown one.
fn end_point(der: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_algorithm(der)? {
        // RSA with MD5, SHA-1, SHA-256, SHA-384, SHA-512 (1.2.840.113549.1.1).
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 4 | 5 | 11] => Sha256::digest(der).to_vec(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 12] => Sha384::digest(der).to_vec(),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 13] => Sha512::digest(der).to_vec(),
        // ECDSA with SHA-1 (1.2.840.10045.4.1), with SHA-256, SHA-384, SHA-512 (1.2.840.10045.4.3).
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1] | [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2] => Sha256::digest(der).to_vec(),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3] => Sha384::digest(der).to_vec(),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4] => Sha512::digest(der).to_vec(),
        _ => return None,
    })
}

/// Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER, … }, … }
fn signature_algorithm(der: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(der, 0x30)?;
    let (_, behind) = element(certificate, 0x30)?;
    let (algorithm, _) = element(behind, 0x30)?;
    element(algorithm, 0x06).map(|(oid, _)| oid)
}

/// One DER element with that tag: its content, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_follows_the_signature() {
        for (algorithm, length) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(32)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(48)),
            (&rcgen::PKCS_ED25519, None),
        ] {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let made = rcgen::CertificateParams::new(vec!["db".to_owned()])
                .unwrap()
                .self_signed(&key)
                .unwrap();
            let der = made.der();
            assert_eq!(end_point(der).map(|h| h.len()), length);
            for cut in 0..der.len().min(300) {
                let _ = end_point(&der[..cut]);
            }
        }
        for noise in [
            &b""[..],
            b"\x30",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x83\xff\xff\xff",
            b"\x30\x02\x30\x00",
        ] {
            assert_eq!(end_point(noise), None);
        }
    }

    #[test]
    fn what_is_required_is_not_bargained_away() {
        let plus = |binding: Binding, offered| binding.choose(offered).map(|(plus, _)| plus).ok();
        assert_eq!(plus(Binding::None, true), Some(false));
        assert_eq!(plus(Binding::Offered(vec![1]), true), Some(true));
        assert_eq!(plus(Binding::Offered(vec![1]), false), Some(false));
        assert_eq!(plus(Binding::Required(Some(vec![1])), true), Some(true));
        assert_eq!(plus(Binding::Required(Some(vec![1])), false), None);
        assert_eq!(plus(Binding::Required(None), true), None);
    }
}
