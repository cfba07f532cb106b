//! `Key`: what entries are stored under.

use std::{
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
};

/// SHA-256 of a cache key's text.
///
/// The digest is kept, not the text: a key costs 32 bytes whatever the URL, and an index on disk never shows one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Key([u8; 32]);

impl Key {
    /// From the 32 bytes of a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 bytes: enough to tell a million keys apart where a mistake costs nothing.
    pub(crate) fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// The smallest key with this prefix.
    pub(crate) fn first_with_prefix(prefix: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&prefix.to_be_bytes());
        Self(bytes)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.prefix());
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Takes the first 8 bytes of a [`Key`] as its hash: it already is one.
#[derive(Clone, Copy, Default)]
pub(crate) struct PrefixHasher(u64);

/// Builds [`PrefixHasher`]s.
pub(crate) type BuildPrefixHasher = BuildHasherDefault<PrefixHasher>;

impl Hasher for PrefixHasher {
    fn write_u64(&mut self, prefix: u64) {
        self.0 = prefix;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached by `Key`, whose `Hash` writes one u64; right for anything else, only slower.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_hex_and_hashes_to_its_first_bytes() {
        let mut bytes = [0; 32];
        bytes[0] = 0xab;
        bytes[7] = 0x01;
        let key = Key::from_bytes(bytes);
        assert!(format!("{key:?}").starts_with("ab00000000000001"));
        let mut hasher = PrefixHasher::default();
        key.hash(&mut hasher);
        assert_eq!(hasher.finish(), 0xab00_0000_0000_0001);
        assert_eq!(Key::first_with_prefix(key.prefix()), key);
    }
}
