//! Client: by what a client is told from another where limits per client are counted.
//!
//! An IPv4 address is one client. Of an IPv6 address the first 64 bits are: that is the least that one subscriber is given
//! (RFC 6177), and whoever has it can make up as many addresses as he likes.

use std::net::IpAddr;

/// A client, as limits count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKey {
    /// The whole address.
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

impl From<IpAddr> for ClientKey {
    /// An IPv4 address inside an IPv6 one is that IPv4 address.
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_subscriber_are_one_client() {
        for (one, other, want) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::1", "0.0.0.1", false),
        ] {
            let key = |text: &str| ClientKey::from(text.parse::<IpAddr>().unwrap());
            assert_eq!(key(one) == key(other), want, "{one} {other}");
        }
    }
}
