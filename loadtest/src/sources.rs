//! Source addresses: one address and port pair holds one connection to one server address, so many clients need many
//! addresses. Pure; called by `plan` and the engine.

use std::net::{IpAddr, Ipv4Addr};

use crate::limits::SOURCES_MAX;

/// A run of addresses to connect from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources {
    first: IpAddr,
    count: u32,
}

impl Sources {
    /// `127.0.0.0/24` (network and broadcast address are left out), or one address.
    pub fn parse(text: &str) -> Result<Sources, String> {
        let bad = |why: &str| format!("{text:?} is not a range of source addresses: {why}");
        let Some((address, prefix)) = text.split_once('/') else {
            let first = text.parse().map_err(|_| bad("write 127.0.0.0/24 or one address"))?;
            return Ok(Sources { first, count: 1 });
        };
        let address: Ipv4Addr = address.parse().map_err(|_| bad("write 127.0.0.0/24 or one address"))?;
        let prefix: u32 = prefix.parse().map_err(|_| bad("the prefix is a number"))?;
        if !(8..=32).contains(&prefix) {
            return Err(bad("the prefix is 8 to 32"));
        }
        let size = 1_u64 << (32 - prefix);
        let bits = u32::from(address);
        if u64::from(bits) % size != 0 {
            return Err(bad("the address has bits behind its prefix"));
        }
        if prefix >= 31 {
            return Ok(Sources { first: address.into(), count: size as u32 });
        }
        let count = (size - 2).min(u64::from(SOURCES_MAX)) as u32;
        Ok(Sources { first: Ipv4Addr::from(bits + 1).into(), count })
    }

    /// The first `count` addresses of 127.0.0.0/8.
    pub fn loopback(count: u32) -> Sources {
        Sources { first: Ipv4Addr::LOCALHOST.into(), count: count.clamp(1, SOURCES_MAX - 2) }
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Address number `k`, round and round.
    pub fn address(&self, k: u64) -> IpAddr {
        match self.first {
            IpAddr::V4(first) => {
                let step = (k % u64::from(self.count)) as u32;
                Ipv4Addr::from(u32::from(first).wrapping_add(step)).into()
            }
            alone @ IpAddr::V6(_) => alone,
        }
    }

    /// May a socket with such an address reach that server at all?
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }
}

impl std::fmt::Display for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            1 => write!(f, "{}", self.first),
            n => write!(f, "{}..{}", self.first, self.address(u64::from(n) - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_leaves_network_and_broadcast_out() {
        let range = Sources::parse("127.0.0.0/24").expect("a range");
        assert_eq!((range.count(), range.to_string().as_str()), (254, "127.0.0.1..127.0.0.254"));
        assert_eq!(range.address(254), range.address(0));
        assert_eq!(Sources::parse("10.0.0.4/31").map(|r| r.to_string()), Ok("10.0.0.4..10.0.0.5".to_owned()));
        assert_eq!(Sources::parse("127.0.0.0/8").map(|r| r.count()), Ok((1 << 24) - 2));
        assert_eq!(Sources::parse("::1").map(|r| r.count()), Ok(1));
    }

    #[test]
    fn every_address_of_a_range_is_used() {
        let range = Sources::loopback(300);
        let all: std::collections::BTreeSet<_> = (0..300).map(|k| range.address(k)).collect();
        assert_eq!(all.len(), 300);
        assert!(all.iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in
            ["", "127.0.0.0/", "127.0.0.0/7", "127.0.0.0/33", "127.0.0.1/24", "::/64", "host", "1.2.3"]
        {
            assert!(Sources::parse(text).is_err(), "{text:?}");
        }
    }
}
