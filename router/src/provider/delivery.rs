//! A delivery's name as providers carry it: in addresses, tags and headers, and back.
//!
//! base64url of the id's sixteen bytes, the channel's letter and the user: safe in a URL and in SES's tags, whatever a user is
//! called. It proves nothing; what comes back counts because the provider's signature is over it.

use data_encoding::BASE64URL_NOPAD;
use uuid::Uuid;
use wire::limits::NAME_BYTES_MAX;

use crate::owner::DeliveryKey;
use crate::record::Channel;

/// Bytes of the text.
pub const BYTES_MAX: usize = (16 + 1 + NAME_BYTES_MAX).div_ceil(3) * 4;

pub fn write(delivery: &DeliveryKey) -> String {
    let letter = delivery.channel.name().as_bytes()[0];
    BASE64URL_NOPAD.encode(&[delivery.id.as_bytes().as_slice(), &[letter], delivery.user.as_bytes()].concat())
}

pub fn read(text: &str) -> Option<DeliveryKey> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (id, rest) = bytes.split_first_chunk::<16>()?;
    let (letter, user) = rest.split_first()?;
    let channel = Channel::ALL.into_iter().find(|channel| channel.name().as_bytes()[0] == *letter)?;
    let user = String::from_utf8(user.to_vec()).ok().filter(|user| !user.is_empty())?;
    Some(DeliveryKey { id: Uuid::from_bytes(*id), channel, user })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delivery_finds_its_way_back() {
        for user in ["ada", "a/b c?&=#%", "Zoë \u{1F600}", &"x".repeat(NAME_BYTES_MAX)] {
            for channel in Channel::ALL {
                let delivery =
                    DeliveryKey { id: Uuid::from_u128(u128::MAX / 3), channel, user: user.to_owned() };
                let text = write(&delivery);
                assert!(text.len() <= BYTES_MAX);
                assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
                assert_eq!(read(&text), Some(delivery));
            }
        }
    }

    #[test]
    fn what_is_no_delivery_is_none() {
        for wrong in ["", "AAAA", "not base64!", &"A".repeat(BYTES_MAX + 4), &"A".repeat(24)] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
