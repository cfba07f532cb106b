//! The envelope around records as a target of `crate::fuzzing`.

use xxhash_rust::xxh3::Xxh3;

use super::{codec, key::Key};

/// Any bytes are an envelope or damage, also where the checksum is right; what is read is written the same.
pub(crate) fn envelope(bytes: &[u8]) {
    let key = Key::from_bytes([7; 32]);
    let _damage = codec::decode(&key, bytes);
    let mut signed = bytes.to_vec();
    let mut sum = Xxh3::new();
    sum.update(key.as_bytes());
    sum.update(bytes);
    signed.extend_from_slice(&sum.digest().to_le_bytes());
    if let Ok(envelope) = codec::decode(&key, &signed) {
        assert_eq!(codec::encode(&key, &envelope), signed);
        envelope.body.matches(bytes);
        assert!(codec::decode(&Key::from_bytes([8; 32]), &signed).is_err());
    }
}
