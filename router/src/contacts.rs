//! Where a person is reached: an e-mail address, a phone number, and where pushes go.
//!
//! Pure. Owns the document of one user, its persistent form and what may be shown of it. What is asked of it is checked in
//! `contacts/asked.rs`. Kept by the `owner` in [`Space::People`], read by it for every call of a provider and by the API.
//! No address of anybody stands in a `Debug` or a log.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wire::time::Wall;

use crate::provider::letter::Address;
use crate::record::Channel;
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys;
use crate::store::turn::Turn;
use crate::store::{Space, Store, StoreError};
use crate::tickets;

pub mod asked;

const VERSION: u8 = 1;
/// The kind of row behind a user's key in [`Space::People`]. Persistent.
const KIND: u8 = b'c';
/// Bytes of an address's mark.
pub const MARK_BYTES: usize = 16;

/// What is known of one user.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Contacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// E.164, with its plus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    #[serde(default)]
    pub push: Vec<Registration>,
}

/// Where one app on one device is pushed to, and when we were told of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    #[serde(flatten)]
    pub token: Token,
    pub registered_at: Wall,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Token {
    Fcm { token: String },
    Apns { token: String },
    Webpush { endpoint: String, keys: PushKeys },
}

/// A browser's public key and its secret, both base64url without padding.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushKeys {
    pub p256dh: String,
    pub auth: String,
}

impl std::fmt::Debug for Contacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contacts")
            .field("email", &self.email.is_some())
            .field("phone", &self.phone.is_some())
            .field("push", &self.push.len())
            .finish()
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {}", self.token, self.registered_at)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Token::Fcm { .. } => "fcm",
            Token::Apns { .. } => "apns",
            Token::Webpush { .. } => "webpush",
        })
    }
}

impl std::fmt::Debug for PushKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PushKeys(…)")
    }
}

impl Contacts {
    pub fn load<S: Store>(turn: &Turn<S>, user: &str) -> Result<Contacts, StoreError> {
        let row = turn.get(Space::People, &key(user))?;
        Ok(row.map(decode).transpose()?.unwrap_or_default())
    }

    pub fn keep<S: Store>(&self, turn: &mut Turn<S>, user: &str) {
        if *self == Contacts::default() {
            turn.delete(Space::People, key(user));
        } else {
            turn.put(Space::People, key(user), Encoder::new(VERSION).json(self).finish());
        }
    }

    /// Where this channel reaches the user, the newest registration first.
    pub fn addresses(&self, channel: Channel) -> Vec<Address> {
        match channel {
            Channel::Inapp => Vec::new(),
            Channel::Email => self.email.iter().cloned().map(Address::Email).collect(),
            Channel::Sms | Channel::Voice => self.phone.iter().cloned().map(Address::Phone).collect(),
            Channel::Push => {
                let mut push: Vec<&Registration> = self.push.iter().collect();
                push.sort_by_key(|registration| std::cmp::Reverse(registration.registered_at));
                push.into_iter().map(Registration::address).collect()
            }
        }
    }

    /// Takes out exactly what this address is, and nothing that was registered since it was read. True: it was there.
    pub fn prune(&mut self, address: &Address) -> bool {
        let before = (self.push.len(), self.email.is_some(), self.phone.is_some());
        match address {
            Address::Email(email) => drop(self.email.take_if(|known| known == email)),
            Address::Phone(phone) => drop(self.phone.take_if(|known| known == phone)),
            token => self.push.retain(|registration| registration.address() != *token),
        }
        before != (self.push.len(), self.email.is_some(), self.phone.is_some())
    }
}

impl Registration {
    fn address(&self) -> Address {
        match self.token.clone() {
            Token::Fcm { token } => Address::Fcm(token),
            Token::Apns { token } => Address::Apns { token, registered_at: self.registered_at },
            Token::Webpush { endpoint, keys: PushKeys { p256dh, auth } } => {
                Address::WebPush { endpoint, p256dh, auth }
            }
        }
    }
}

impl Address {
    /// `fcm`, `apns`, `webpush`, `email`, `phone`: as the API and timelines call it.
    pub fn kind(&self) -> &'static str {
        match self {
            Address::Fcm(_) => "fcm",
            Address::Apns { .. } => "apns",
            Address::WebPush { .. } => "webpush",
            Address::Email(_) => "email",
            Address::Phone(_) => "phone",
        }
    }

    /// Tells one address from another without holding it. Persistent. Spelling that does not matter makes no difference; nor
    /// does it when a device was registered.
    pub fn mark(&self) -> [u8; MARK_BYTES] {
        let text = match self {
            Address::Fcm(token) | Address::Apns { token, .. } => token.clone(),
            Address::WebPush { endpoint, .. } => endpoint.clone(),
            Address::Email(email) => email.to_lowercase(),
            Address::Phone(phone) => phone.clone(),
        };
        let hash = tickets::hash(&format!("{}\n{text}", self.kind()));
        *hash.first_chunk().expect("a hash is longer than a mark")
    }

    /// What a timeline may show: enough to tell two devices apart, too little to write to anybody.
    pub fn masked(&self) -> String {
        match self {
            Address::Phone(phone) => {
                let shown: String = phone.chars().skip(phone.chars().count().saturating_sub(2)).collect();
                format!("phone …{shown}")
            }
            Address::Email(email) => {
                let first = email.chars().next().unwrap_or('…');
                format!("email {first}…")
            }
            token => {
                let [a, b, c, ..] = token.mark();
                format!("{} {a:02x}{b:02x}{c:02x}", token.kind())
            }
        }
    }
}

fn key(user: &str) -> Vec<u8> {
    keys::within(&keys::user(user), &[KIND])
}

fn decode(row: Bytes) -> Result<Contacts, StoreError> {
    let mut row = Decoder::new(Space::People, row, VERSION)?;
    // The parser's words may quote an address.
    serde_json::from_slice(&row.rest())
        .map_err(|error| row.damaged(format!("contacts at line {} column {}", error.line(), error.column())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn fcm(token: &str, at: i64) -> Registration {
        Registration { token: Token::Fcm { token: token.to_owned() }, registered_at: Wall(at) }
    }

    fn contacts() -> Contacts {
        let keys = PushKeys { p256dh: "public".to_owned(), auth: "secret".to_owned() };
        let endpoint = "https://push.example/endpoint".to_owned();
        let apns = Token::Apns { token: "00fcde".to_owned() };
        Contacts {
            email: Some("Ann@Example.org".to_owned()),
            phone: Some("+4915112345678".to_owned()),
            push: vec![
                fcm("old-token", 1),
                Registration { token: apns, registered_at: Wall(3) },
                Registration { token: Token::Webpush { endpoint, keys }, registered_at: Wall(2) },
            ],
        }
    }

    #[test]
    fn what_was_kept_is_read_and_nothing_is_a_row_less() {
        let mut turn = Turn::new(MemoryStore::new());
        contacts().keep(&mut turn, "ann");
        assert_eq!(Contacts::load(&turn, "ann"), Ok(contacts()));
        assert_eq!(Contacts::load(&turn, "bob"), Ok(Contacts::default()));
        Contacts::default().keep(&mut turn, "ann");
        turn.commit().expect("memory");
        assert_eq!(turn.store().get(Space::People, &key("ann")), Ok(None));
    }

    #[test]
    fn a_damaged_row_is_told_without_what_stands_in_it() {
        let row = Encoder::new(VERSION).rest(br#"{"email":7,"phone":"+4915112345678"}"#).finish();
        let error = decode(row).expect_err("it is none").to_string();
        assert!(!error.contains("4915"), "{error}");
    }

    #[test]
    fn each_channel_has_its_addresses_the_newest_device_first() {
        let contacts = contacts();
        let kinds = |channel| contacts.addresses(channel).iter().map(Address::kind).collect::<Vec<_>>();
        assert_eq!(kinds(Channel::Push), ["apns", "webpush", "fcm"]);
        assert_eq!((kinds(Channel::Email), kinds(Channel::Sms)), (vec!["email"], vec!["phone"]));
        assert_eq!((kinds(Channel::Voice), kinds(Channel::Inapp)), (vec!["phone"], vec![]));
    }

    #[test]
    fn a_token_is_given_up_alone_and_only_as_it_was_registered() {
        let mut contacts = contacts();
        let newer = Address::Apns { token: "00fcde".to_owned(), registered_at: Wall(2) };
        assert!(!contacts.prune(&newer), "it was registered again since that was read");
        assert!(!contacts.prune(&Address::Fcm("old".to_owned())), "a part of a token is none");
        assert!(contacts.prune(&Address::Fcm("old-token".to_owned())));
        assert!(!contacts.prune(&Address::Email("bob@example.org".to_owned())));
        assert_eq!((contacts.push.len(), contacts.email.is_some()), (2, true));
    }

    #[test]
    fn nothing_shown_holds_an_address() {
        let contacts = contacts();
        let all = [Channel::Push, Channel::Email, Channel::Sms].map(|channel| contacts.addresses(channel));
        let shown: Vec<String> = all.concat().iter().map(|to| format!("{to:?} {}", to.masked())).collect();
        let shown = shown.join(" ");
        let shown = format!("{shown}{contacts:?}{:?}", contacts.push);
        for part in ["Ann@", "xample", "4915", "old-token", "00fcde", "endpoint", "public", "secret"] {
            assert!(!shown.contains(part), "{part} in {shown}");
        }
        assert!(shown.contains("phone …78"), "{shown}");
    }

    #[test]
    fn marks_tell_addresses_apart_and_pass_over_spelling() {
        let contacts = contacts();
        let mut marks: Vec<_> = [Channel::Push, Channel::Email, Channel::Sms]
            .iter()
            .flat_map(|channel| contacts.addresses(*channel))
            .map(|address| address.mark())
            .collect();
        let count = marks.len();
        marks.sort_unstable();
        marks.dedup();
        assert_eq!((marks.len(), count), (5, 5));
        let spelled = |email: &str| Address::Email(email.to_owned()).mark();
        assert_eq!(spelled("Ann@Example.org"), spelled("ann@example.org"));
        let registered = |at| Address::Apns { token: "a".to_owned(), registered_at: Wall(at) }.mark();
        assert_eq!(registered(1), registered(2));
        assert_ne!(Address::Fcm("a".to_owned()).mark(), registered(1));
    }
}
