//! Whose connection this is when a proxy stands in front: the PROXY protocol's header (version 2, binary),
//! `X-Forwarded-For`, and the list of peers whose word about that is taken.
//!
//! Reads bytes and names; whom to trust is the caller's list, and what is not asked for from a trusted peer
//! must not be read at all: anybody can send these. Source: the PROXY protocol's specification, version 2
//! (haproxy.org, `doc/proxy-protocol.txt`, §2.2). Called by the gateway's shards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

use crate::limits::PROXY_BYTES_MAX;

/// What opens every header; no HTTP request and no TLS hello begins so.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, length.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;

/// Who a proxy says is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Client(SocketAddr),
    /// The proxy itself (LOCAL: a health check), or somebody without an internet address.
    Unnamed,
}

/// What stands at the front of a trusted peer's first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prelude {
    /// No header: what comes is the client's.
    Absent,
    /// It may become one.
    Incomplete,
    Header {
        origin: Origin,
        /// Bytes of the header; the client's follow.
        header_bytes: usize,
    },
}

/// A header that is begun and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPrelude {
    #[error("it begins like a PROXY header and goes on otherwise")]
    Signature,
    #[error("only version 2 is understood")]
    Version,
    #[error("the command is neither LOCAL nor PROXY")]
    Command,
    #[error("the family or the transport is not one of a TCP connection")]
    Family,
    #[error("the addresses do not fit into the header")]
    Addresses,
    #[error("an extension does not fit into the header")]
    Extension,
    #[error("the header is too large")]
    TooLarge,
}

/// Reads a header off the front of `input`. What is wrong is said on the first byte that shows it.
pub fn parse(input: &[u8]) -> Result<Prelude, BadPrelude> {
    let Some(first) = input.first() else { return Ok(Prelude::Incomplete) };
    if *first != SIGNATURE[0] {
        return Ok(Prelude::Absent);
    }
    let begun = input.len().min(SIGNATURE.len());
    if input[..begun] != SIGNATURE[..begun] {
        return Err(BadPrelude::Signature);
    }
    let rest = &input[begun..];
    let is_proxied = match rest.first() {
        None => return Ok(Prelude::Incomplete),
        Some(byte) if byte >> 4 != 2 => return Err(BadPrelude::Version),
        Some(byte) => match byte & 0x0f {
            0 => false,
            1 => true,
            _ => return Err(BadPrelude::Command),
        },
    };
    let Some(family) = rest.get(1).map(|byte| family(*byte)).transpose()? else {
        return Ok(Prelude::Incomplete);
    };
    let Some(length) = rest.get(2..4) else { return Ok(Prelude::Incomplete) };
    let body_bytes = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let header_bytes = FIXED_BYTES + body_bytes;
    if header_bytes > PROXY_BYTES_MAX {
        return Err(BadPrelude::TooLarge);
    }
    if is_proxied && body_bytes < family.address_bytes() {
        return Err(BadPrelude::Addresses);
    }
    let Some(body) = input.get(FIXED_BYTES..header_bytes) else { return Ok(Prelude::Incomplete) };
    // What a LOCAL header carries is to be skipped, whatever it is.
    let origin = if is_proxied { read_body(family, body)? } else { Origin::Unnamed };
    Ok(Prelude::Header { origin, header_bytes })
}

/// Kinds of addresses.
#[derive(Debug, Clone, Copy)]
enum Family {
    Unspecified,
    V4,
    V6,
    Unix,
}

impl Family {
    fn address_bytes(self) -> usize {
        match self {
            Family::Unspecified => 0,
            Family::V4 => 12,
            Family::V6 => 36,
            Family::Unix => 216,
        }
    }
}

/// Family and transport, in one byte. Datagrams do not come over TCP.
fn family(byte: u8) -> Result<Family, BadPrelude> {
    match byte {
        0x00 => Ok(Family::Unspecified),
        0x11 => Ok(Family::V4),
        0x21 => Ok(Family::V6),
        0x31 => Ok(Family::Unix),
        _ => Err(BadPrelude::Family),
    }
}

fn read_body(family: Family, body: &[u8]) -> Result<Origin, BadPrelude> {
    let (addresses, extensions) = body.split_at(family.address_bytes());
    let origin = match family {
        Family::Unspecified => return Ok(Origin::Unnamed),
        Family::Unix => Origin::Unnamed,
        Family::V4 => {
            let address = Ipv4Addr::from(array::<4>(addresses, 0));
            Origin::Client(SocketAddr::new(address.into(), port(addresses, 8)))
        }
        Family::V6 => {
            let address = Ipv6Addr::from(array::<16>(addresses, 0));
            Origin::Client(SocketAddr::new(IpAddr::V6(address).to_canonical(), port(addresses, 32)))
        }
    };
    check_extensions(extensions)?;
    Ok(origin)
}

/// `type u8, length u16, value`, again and again: none is needed here, but each must end inside the header.
fn check_extensions(mut rest: &[u8]) -> Result<(), BadPrelude> {
    while !rest.is_empty() {
        let head = rest.get(..3).ok_or(BadPrelude::Extension)?;
        let value_bytes = usize::from(u16::from_be_bytes([head[1], head[2]]));
        rest = rest.get(3 + value_bytes..).ok_or(BadPrelude::Extension)?;
    }
    Ok(())
}

/// `from` bytes in; the caller has checked the length.
fn array<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut found = [0; N];
    found.copy_from_slice(&bytes[from..from + N]);
    found
}

fn port(addresses: &[u8], from: usize) -> u16 {
    u16::from_be_bytes(array(addresses, from))
}

/// The header that a proxy sends: for the load tester and for tests.
pub fn header(client: Option<SocketAddr>, proxy: SocketAddr) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    let both = client.map(|client| (client, proxy));
    let (command, family, addresses) = match both {
        None => (0x20, 0x00, Vec::new()),
        Some((SocketAddr::V4(client), SocketAddr::V4(proxy))) => {
            (0x21, 0x11, [client.ip().octets(), proxy.ip().octets()].concat())
        }
        Some((client, proxy)) => (0x21, 0x21, [v6(client.ip()), v6(proxy.ip())].concat()),
    };
    let ports: Vec<u8> = both.map_or(Vec::new(), |(client, proxy)| {
        [client.port().to_be_bytes(), proxy.port().to_be_bytes()].concat()
    });
    out.extend([command, family]);
    let length = u16::try_from(addresses.len() + ports.len()).expect("36 at the most");
    out.extend(length.to_be_bytes());
    out.extend(addresses);
    out.extend(ports);
    out
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// Addresses that begin alike: `10.0.0.0/8`, `fd00::/8`, or one address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// Text that names no [`Prefix`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPrefix {
    #[error("{0:?} is no address and no prefix; 10.0.0.7, 10.0.0.0/8 and fd00::/8 are")]
    Malformed(String),
    #[error("{0:?} has bits behind its prefix")]
    BitsBehind(String),
}

impl Prefix {
    /// An IPv4 address is the same in its IPv6 clothes.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }

    /// Whether one of these is meant by `prefixes`.
    pub fn any_contains(prefixes: &[Prefix], address: IpAddr) -> bool {
        prefixes.iter().any(|prefix| prefix.contains(address))
    }
}

impl FromStr for Prefix {
    type Err = BadPrefix;

    fn from_str(text: &str) -> Result<Prefix, BadPrefix> {
        let malformed = || BadPrefix::Malformed(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => {
                let digits = bits.bytes().all(|byte| byte.is_ascii_digit());
                (address, Some(bits.parse::<u8>().ok().filter(|_| digits).ok_or_else(malformed)?))
            }
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        let behind = match address {
            _ if bits > most => return Err(malformed()),
            IpAddr::V4(v4) => v4.to_bits().checked_shl(u32::from(bits)).unwrap_or(0) != 0,
            IpAddr::V6(v6) => v6.to_bits().checked_shl(u32::from(bits)).unwrap_or(0) != 0,
        };
        if behind { Err(BadPrefix::BitsBehind(text.to_owned())) } else { Ok(Prefix { address, bits }) }
    }
}

impl TryFrom<String> for Prefix {
    type Error = BadPrefix;

    fn try_from(text: String) -> Result<Prefix, BadPrefix> {
        text.parse()
    }
}

/// The client behind proxies, by `X-Forwarded-For` as a trusted one sent it: each proxy adds the peer that it
/// saw at the end, so the last address that is no trusted proxy's is the client, and what stands before it
/// may be the client's invention. `None`: the header does not tell.
pub fn forwarded_client<'a>(members: impl Iterator<Item = &'a str>, trusted: &[Prefix]) -> Option<IpAddr> {
    let members: Vec<&str> = members.collect();
    for member in members.into_iter().rev() {
        let address = forwarded_address(member)?;
        if !Prefix::any_contains(trusted, address) {
            return Some(address);
        }
    }
    None
}

/// One member of the header: an address, an IPv6 address in brackets, either with a port.
fn forwarded_address(member: &str) -> Option<IpAddr> {
    if let Ok(address) = member.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Ok(with_port) = member.parse::<SocketAddr>() {
        return Some(with_port.ip().to_canonical());
    }
    let bare: Ipv6Addr = member.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(IpAddr::V6(bare).to_canonical())
}

#[cfg(test)]
mod tests;
