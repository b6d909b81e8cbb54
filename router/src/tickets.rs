//! One-use tickets: what a browser shows instead of a token when it connects.
//!
//! Owns how a ticket is drawn and hashed. Only the hash is ever kept; the owner deletes its row in the same batch
//! that answers the first `Redeem`. Called by `api` (issue) and `owner` (redeem).

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};

/// Random bytes of a ticket.
const TICKET_BYTES: usize = 32;
/// Behind a ticket's partition.
const PARTITION_END: char = '.';

/// A new ticket, 43 characters that need no escaping in a URL.
pub fn draw() -> String {
    let mut random = [0; TICKET_BYTES];
    getrandom::fill(&mut random).expect("the kernel has random numbers");
    BASE64URL_NOPAD.encode(&random)
}

/// The same for a user of this partition: whichever router is shown it knows whether it could be its own.
pub fn draw_for(partition: u32) -> String {
    format!("{partition}{PARTITION_END}{}", draw())
}

/// The partition that a ticket names.
pub fn partition(ticket: &str) -> Option<u32> {
    ticket.split_once(PARTITION_END)?.0.parse().ok()
}

/// What is kept of a ticket. A ticket has 256 random bits, so a plain hash cannot be searched.
pub fn hash(ticket: &str) -> [u8; 32] {
    digest(&SHA256, ticket.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_differ_and_fit_in_a_url() {
        let (one, two) = (draw(), draw());
        assert_ne!(one, two);
        assert_ne!(hash(&one), hash(&two));
        assert_eq!(one.len(), 43);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_eq!((partition(&draw_for(12)), partition(&one)), (Some(12), None));
    }
}
