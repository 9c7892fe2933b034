//! What stands for an identifier: a keyed hash of it, HMAC-SHA-256 (RFC 2104).
//!
//! The same key makes the same of the same, on every machine and in every version; without the key
//! nothing can be said of what a name stands for, nor be found out by trying.

use sha2::{Digest, Sha256};

/// Shortest key, bytes: as long as what it makes (RFC 2104 3).
pub const KEY_BYTES_MIN: usize = 32;

/// Bytes of a block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// Most days that dates are moved by: ten years.
const SHIFT_DAYS_MAX: u64 = 3650;

/// What well-known Frames of Reference and palettes begin with (PS3.6 A): those of the standard itself.
const WELL_KNOWN: [&str; 2] = ["1.2.840.10008.1.4.", "1.2.840.10008.1.5."];
/// What may follow in them is too short to say anything else.
const WELL_KNOWN_REST_MAX: usize = 4;
/// Universal Coordinated Time, as a Synchronization Frame of Reference (PS3.6 A).
const UTC: &str = "1.2.840.10008.15.1.1";

/// The key is too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key has at least {KEY_BYTES_MIN} bytes")]
pub struct KeyTooShort;

/// The key, ready to be used.
#[derive(Clone)]
pub(super) struct Key {
    inner: Sha256,
    outer: Sha256,
}

impl Key {
    pub(super) fn new(secret: &[u8]) -> Result<Key, KeyTooShort> {
        if secret.len() < KEY_BYTES_MIN {
            return Err(KeyTooShort);
        }
        let mut block = [0; BLOCK_BYTES];
        if secret.len() > BLOCK_BYTES {
            block[..32].copy_from_slice(&Sha256::digest(secret));
        } else {
            block[..secret.len()].copy_from_slice(secret);
        }
        Ok(Key::of_block(block))
    }

    fn of_block(block: [u8; BLOCK_BYTES]) -> Key {
        let padded = |pad: u8| Sha256::new_with_prefix(block.map(|byte| byte ^ pad));
        Key {
            inner: padded(0x36),
            outer: padded(0x5C),
        }
    }

    fn mac(&self, message: &[&[u8]]) -> [u8; 32] {
        let mut inner = self.inner.clone();
        message.iter().for_each(|part| inner.update(part));
        let mut outer = self.outer.clone();
        outer.update(inner.finalize());
        outer.finalize().into()
    }

    /// The digest of something of one kind; kinds have nothing to do with each other.
    pub(super) fn digest(&self, kind: &str, of: &[u8]) -> [u8; 32] {
        self.mac(&[kind.as_bytes(), b"\0", of])
    }

    fn number(&self, kind: &str, of: &[u8]) -> u128 {
        let digest = self.digest(kind, of);
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        u128::from_be_bytes(half)
    }

    /// What stands for the UID of an instance, or of what goes with some: a UUID (version 8) as a UID
    /// (PS3.5 B.2). Those that PS3.6 itself gives to such things and an empty one stand for
    /// themselves; that one begins like those of the standard says nothing.
    pub(super) fn uid(&self, uid: &str) -> String {
        if uid.is_empty() || is_well_known(uid) {
            return uid.to_owned();
        }
        let bits = self.number("uid", uid.as_bytes());
        let version = bits & !(0xF << 76) | 0x8 << 76;
        let uuid = version & !(0x3 << 62) | 0x2 << 62;
        format!("2.25.{uuid}")
    }

    /// What stands for a patient, by ID.
    pub(super) fn pseudonym(&self, patient: &str) -> String {
        let number = self.number("patient", patient.as_bytes());
        format!("DEID-{:016X}", (number >> 64) as u64)
    }

    /// Days by which a patient's dates are moved to the past: 1 to ten years' worth.
    pub(super) fn days(&self, patient: &str) -> u32 {
        let number = self.number("days", patient.as_bytes()) >> 64;
        (number as u64 % SHIFT_DAYS_MAX) as u32 + 1
    }
}

fn is_well_known(uid: &str) -> bool {
    let rest = WELL_KNOWN.iter().find_map(|root| uid.strip_prefix(root));
    uid == UTC || rest.is_some_and(|rest| rest.len() <= WELL_KNOWN_REST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hex;

    #[test]
    fn rfc_4231() {
        let mut block = [0; BLOCK_BYTES];
        block[..4].copy_from_slice(b"Jefe");
        let digest = Key::of_block(block).mac(&[b"what do ya want ", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(&digest), expected);
        // A key that is longer than a block.
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        let digest = Key::new(&[0xAA; 131]).unwrap().mac(&[text]);
        let expected = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54";
        assert_eq!(hex(&digest), expected);
    }

    #[test]
    fn what_stands_for_what_never_changes() {
        let key = Key::new(&[7; 32]).unwrap();
        let other = Key::new(&[8; 32]).unwrap();
        let uid = key.uid("1.2.3");
        assert_eq!(uid, KNOWN_UID);
        assert!(uid.len() <= 64);
        assert_ne!(uid, other.uid("1.2.3"));
        assert_ne!(uid, key.uid("1.2.4"));
        assert_eq!(key.pseudonym("4711"), KNOWN_PSEUDONYM);
        assert_ne!(key.pseudonym("4711"), other.pseudonym("4711"));
        for patient in 0..1000 {
            let days = key.days(&patient.to_string());
            assert!((1..=3650).contains(&days), "{days}");
        }
        // No UID, Talairach's Frame of Reference and others, a palette, UTC.
        for same in [
            "",
            "1.2.840.10008.1.4.1.1",
            "1.2.840.10008.1.4.1.18",
            "1.2.840.10008.1.5.8",
            "1.2.840.10008.15.1.1",
        ] {
            assert_eq!(key.uid(same), same);
        }
        // Whoever takes the root of the standard for his own instances.
        for other in [
            "1.2.840.10008.20200301.4711",
            "1.2.840.10008.1.4.1.20200301",
            "1.2.840.10008.15.1.1.4711",
        ] {
            assert!(key.uid(other).starts_with("2.25."), "{other}");
        }
        assert!(Key::new(&[7; 31]).is_err());
    }

    // By another implementation of HMAC.
    const KNOWN_UID: &str = "2.25.156106980995948517982689731135984193128";
    const KNOWN_PSEUDONYM: &str = "DEID-2F096A58444A0D21";
}
