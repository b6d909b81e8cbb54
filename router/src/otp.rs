//! One-use codes: how one is made, what is kept of it, and what a guess comes to.
//!
//! The code is never kept, only its seal (HMAC under a key of the operator's): six digits behind a plain hash are guessed
//! at once by whoever reads the disk. Owns the rule of the guesses. Kept by `owner`, asked by `api`.

use std::collections::BTreeMap;

use bytes::Bytes;
use ring::hmac;
use uuid::Uuid;
use wire::time::Wall;

use crate::contacts::Contacts;
use crate::record::Channel;
use crate::same::same;
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys;
use crate::store::turn::Turn;
use crate::store::{Space, Store, StoreError};
use tries::Tries;

pub mod backup;
pub mod newest;
pub mod tries;

const VERSION: u8 = 1;
/// The kind of row behind a user's key in [`Space::People`]; the service's name follows it. Persistent.
const KIND: u8 = b'o';
/// Of the notification that brings a code.
pub const CATEGORY: &str = "otp";
/// Digits of a code that is drawn here.
const DIGITS: usize = 6;
/// Wrong guesses that one code bears.
pub const GUESSES_MAX: u8 = 5;

/// `[otp]`: where codes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// By these channels, one after the other.
    pub ladder: Vec<Channel>,
    /// Seconds that each of them is given.
    pub within_s: BTreeMap<Channel, u32>,
}

/// Under what codes are sealed.
#[derive(Clone)]
pub struct SealKey {
    key: hmac::Key,
    /// Tells two keys apart, and nothing of either.
    fingerprint: Seal,
}

impl PartialEq for SealKey {
    fn eq(&self, other: &SealKey) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for SealKey {}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(…)")
    }
}

/// What is kept of a code.
pub type Seal = [u8; 32];

impl SealKey {
    pub fn new(key: &[u8]) -> SealKey {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let fingerprint = hmac::sign(&key, b"fingerprint");
        let fingerprint = fingerprint.as_ref().try_into().expect("SHA-256 has 32 bytes");
        SealKey { key, fingerprint }
    }

    /// One code under two ids has two seals.
    pub fn seal(&self, id: Uuid, code: &str) -> Seal {
        let mut sealing = hmac::Context::with_key(&self.key);
        sealing.update(id.as_bytes());
        sealing.update(code.as_bytes());
        sealing.sign().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// The code of an id for which none was given: the same whenever it is asked for, so that a request that is sent
    /// again brings no second one. Every code is as likely as any other to whoever does not have the key.
    pub fn code(&self, id: Uuid) -> String {
        const CODES: u32 = 10_u32.pow(DIGITS as u32);
        // Numbers beyond the last whole run of codes would make the first ones likelier.
        const FAIR: u32 = u32::MAX - u32::MAX % CODES;
        let fair = (0_u32..).find_map(|try_| {
            let drawn = self.seal(id, &format!("draw {try_}"));
            let number = u32::from_le_bytes([drawn[0], drawn[1], drawn[2], drawn[3]]);
            (number < FAIR).then_some(number % CODES)
        });
        format!("{:0DIGITS$}", fair.unwrap_or_default())
    }
}

/// One code that was sent, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otp {
    /// Who asked for it: nobody else may try it.
    pub service: String,
    pub user: String,
    pub seal: Seal,
    pub guesses_left: u8,
    /// On the owner's steady clock.
    pub over_at: Wall,
    /// The same by the date, for people.
    pub expires_at: Wall,
    pub verified_at: Option<Wall>,
    /// Where it goes, in place of what is known of the user.
    pub contacts: Option<Contacts>,
}

/// What a guess came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guess {
    Right,
    Wrong {
        left: u8,
    },
    /// There were too many wrong ones.
    Spent,
    /// Its time is over.
    Over,
    /// It was right once.
    Used,
}

impl Otp {
    pub fn guess(&mut self, seal: &Seal, steady: Wall, wall: Wall) -> Guess {
        if self.verified_at.is_some() {
            return Guess::Used;
        }
        if self.over_at <= steady {
            return Guess::Over;
        }
        if self.guesses_left == 0 {
            return Guess::Spent;
        }
        if same(&self.seal, seal) {
            self.verified_at = Some(wall);
            return Guess::Right;
        }
        self.guesses_left -= 1;
        Guess::Wrong { left: self.guesses_left }
    }

    pub fn encode(&self) -> Bytes {
        let mut row = Encoder::new(VERSION);
        row.text(&self.service).text(&self.user).run(&self.seal);
        row.u8(self.guesses_left).wall(self.over_at).wall(self.expires_at).optional_wall(self.verified_at);
        row.json(&self.contacts);
        row.finish()
    }

    pub fn decode(row: Bytes) -> Result<Otp, StoreError> {
        let mut row = Decoder::new(Space::Otp, row, VERSION)?;
        let (service, user, seal) = (row.text()?, row.text()?, row.bytes()?);
        let seal = seal.try_into().map_err(|_| row.damaged("a seal of another length"))?;
        let (guesses_left, over_at, expires_at) = (row.u8()?, row.wall()?, row.wall()?);
        let verified_at = row.optional_wall()?;
        let contacts = serde_json::from_slice(&row.rest()).map_err(|error| row.damaged(error.to_string()))?;
        Ok(Otp { service, user, seal, guesses_left, over_at, expires_at, verified_at, contacts })
    }
}

/// What is known of a user's codes of one service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recent {
    /// The newest code: the only one that is good.
    pub newest: Uuid,
    /// Wrong guesses of whatever code.
    wrong: Tries,
}

/// Wrong guesses at all codes of one user and service in an hour: whoever can have codes sent must not have
/// a few guesses more with each.
const WRONG_MAX: usize = 20;

impl Recent {
    fn key(user: &str, service: &str) -> Vec<u8> {
        keys::within(&keys::user(user), &[&[KIND], service.as_bytes()].concat())
    }

    pub fn load<S: Store>(turn: &Turn<S>, user: &str, service: &str) -> Result<Recent, StoreError> {
        let row = turn.get(Space::People, &Recent::key(user, service))?;
        Ok(row.map(Recent::decode).transpose()?.unwrap_or_default())
    }

    pub fn keep<S: Store>(&self, turn: &mut Turn<S>, user: &str, service: &str) {
        let mut row = Encoder::new(VERSION);
        row.run(self.newest.as_bytes());
        self.wrong.encode(&mut row);
        turn.put(Space::People, Recent::key(user, service), row.finish());
    }

    fn decode(row: Bytes) -> Result<Recent, StoreError> {
        let mut row = Decoder::new(Space::People, row, VERSION)?;
        let newest = row.bytes()?.try_into().map_err(|_| row.damaged("an id of another length"))?;
        Ok(Recent { newest: Uuid::from_bytes(newest), wrong: Tries::decode(&mut row)? })
    }

    pub fn may_guess(&self, steady: Wall) -> bool {
        self.wrong.has_room(WRONG_MAX, steady)
    }

    pub fn note_wrong(&mut self, steady: Wall) {
        self.wrong.note(steady);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);
    const NOW: Wall = Wall(1_000);

    fn key() -> SealKey {
        SealKey::new(b"a key of tests")
    }

    fn otp(code: &str) -> Otp {
        Otp {
            service: "shop".to_owned(),
            user: "ada".to_owned(),
            seal: key().seal(ID, code),
            guesses_left: GUESSES_MAX,
            over_at: Wall(2_000),
            expires_at: Wall(2_500),
            verified_at: None,
            contacts: None,
        }
    }

    #[test]
    fn the_right_code_is_right_once() {
        let mut otp = otp("012345");
        let right = key().seal(ID, "012345");
        assert_eq!(otp.guess(&right, NOW, NOW), Guess::Right);
        assert_eq!(otp.guess(&right, NOW, NOW), Guess::Used);
    }

    #[test]
    fn five_wrong_guesses_are_all_there_are_also_for_the_right_code() {
        let mut otp = otp("012345");
        for left in (0..GUESSES_MAX).rev() {
            assert_eq!(otp.guess(&key().seal(ID, "543210"), NOW, NOW), Guess::Wrong { left });
        }
        assert_eq!(otp.guess(&key().seal(ID, "012345"), NOW, NOW), Guess::Spent);
        assert_eq!(otp.verified_at, None);
    }

    #[test]
    fn its_time_ends_to_the_microsecond_and_other_ids_and_keys_do_not_open_it() {
        assert_eq!(otp("1").guess(&key().seal(ID, "1"), Wall(1_999), NOW), Guess::Right);
        assert_eq!(otp("1").guess(&key().seal(ID, "1"), Wall(2_000), NOW), Guess::Over);
        for seal in [key().seal(Uuid::from_u128(8), "1"), SealKey::new(b"another").seal(ID, "1")] {
            assert!(matches!(otp("1").guess(&seal, NOW, NOW), Guess::Wrong { .. }));
        }
    }

    #[test]
    fn a_row_is_read_as_it_was_written_and_holds_no_code() {
        let mut one = otp("271828");
        one.guess(&key().seal(ID, "271828"), NOW, Wall(5));
        let row = one.encode();
        assert!(!row.windows(6).any(|part| part == b"271828"));
        assert_eq!(Otp::decode(row.clone()), Ok(one));
        for length in 0..row.len() {
            assert!(Otp::decode(row.slice(..length)).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn codes_that_are_made_have_six_digits_are_the_same_for_an_id_and_begin_with_each() {
        let mut first = [0; 10];
        for id in (0..2_000).map(Uuid::from_u128) {
            let code = key().code(id);
            assert!(code.len() == DIGITS && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
            assert_eq!(key().code(id), code);
            first[usize::from(code.as_bytes()[0] - b'0')] += 1;
        }
        // 200 of each are expected; seven standard deviations are 94.
        assert!(first.iter().all(|count| (106..=294).contains(count)), "{first:?}");
        assert_ne!(key().code(ID), SealKey::new(b"another").code(ID));
    }
}
