//! Backup codes: what a person writes down for the day when no channel brings a code.
//!
//! Owns how they are drawn, hashed (argon2id) and compared. Ten at a time, each good once; new ones take the place of the
//! old ones. Hashing is slow on purpose: the API does it beside the threads that carry requests.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use wire::time::Wall;

use super::tries::Tries;
use crate::store::codec::{Decoder, Encoder};
use crate::store::keys;
use crate::store::turn::Turn;
use crate::store::{Space, Store, StoreError};

const VERSION: u8 = 1;
/// The kind of row behind a user's key in [`Space::People`]. Persistent.
const KIND: u8 = b'b';
/// Codes that are given at once.
pub const CODES: usize = 10;
/// Tries in an hour.
pub const TRIES_MAX: usize = 10;
/// Random bytes of one code: 50 bits behind a slow hash and a bound on tries.
const CODE_BYTES: usize = 7;
const SALT_BYTES: usize = 16;
/// Characters of a code, in two groups.
const CODE_CHARS: usize = 10;
/// KiB of memory that one hash takes, and its passes: what OWASP recommends for argon2id.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).expect("they are in argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// New codes, as they are shown once: `abcde-fgh23`.
pub fn draw() -> Vec<String> {
    let code = || {
        let mut random = [0; CODE_BYTES];
        getrandom::fill(&mut random).expect("the kernel has random numbers");
        let text = BASE32_NOPAD.encode(&random).to_ascii_lowercase();
        format!("{}-{}", &text[..CODE_CHARS / 2], &text[CODE_CHARS / 2..CODE_CHARS])
    };
    (0..CODES).map(|_| code()).collect()
}

/// As people type it: blanks, hyphens and capitals make no difference. `None`: it cannot be a code.
pub fn normal(typed: &str) -> Option<String> {
    let text: String =
        typed.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_lowercase()).collect();
    let is_code = text.len() == CODE_CHARS && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then_some(text)
}

/// Slow. What is kept of a code.
pub fn hash(code: &str) -> Result<String, argon2::password_hash::Error> {
    let code = normal(code).unwrap_or_default();
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).expect("the kernel has random numbers");
    Ok(argon2().hash_password(code.as_bytes(), &SaltString::encode_b64(&salt)?)?.to_string())
}

/// Slow. Whether this is a code of that hash.
pub fn matches(hash: &str, normal: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| argon2().verify_password(normal.as_bytes(), &hash).is_ok())
}

fn key(user: &str) -> Vec<u8> {
    keys::within(&keys::user(user), &[KIND])
}

/// A user's codes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackupCodes {
    pub made_at: Wall,
    /// Of those that were not used.
    pub hashes: Vec<String>,
    /// Since the last right one.
    pub tries: Tries,
}

impl BackupCodes {
    /// False: it was used meanwhile.
    pub fn take(&mut self, hash: &str) -> bool {
        let before = self.hashes.len();
        self.hashes.retain(|one| one != hash);
        let is_there = self.hashes.len() < before;
        if is_there {
            self.tries.clear();
        }
        is_there
    }

    pub fn load<S: Store>(turn: &Turn<S>, user: &str) -> Result<Option<BackupCodes>, StoreError> {
        turn.get(Space::People, &key(user))?.map(BackupCodes::decode).transpose()
    }

    /// The same, of what is committed.
    pub fn read<S: Store>(store: &S, user: &str) -> Result<Option<BackupCodes>, StoreError> {
        store.get(Space::People, &key(user))?.map(BackupCodes::decode).transpose()
    }

    pub fn keep<S: Store>(&self, turn: &mut Turn<S>, user: &str) {
        turn.put(Space::People, key(user), self.encode());
    }

    pub fn encode(&self) -> Bytes {
        let mut row = Encoder::new(VERSION);
        row.wall(self.made_at).u32(self.hashes.len() as u32);
        for hash in &self.hashes {
            row.text(hash);
        }
        self.tries.encode(&mut row);
        row.finish()
    }

    pub fn decode(row: Bytes) -> Result<BackupCodes, StoreError> {
        let mut row = Decoder::new(Space::People, row, VERSION)?;
        let made_at = row.wall()?;
        let count = row.count(4)?;
        let hashes = (0..count).map(|_| row.text()).collect::<Result<_, _>>()?;
        Ok(BackupCodes { made_at, hashes, tries: Tries::decode(&mut row)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_however_it_is_typed_and_no_other_is() {
        let codes = draw();
        let hash = hash(&codes[0]).expect("it hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let typed = codes[0].to_uppercase().replace('-', " ");
        assert!(matches(&hash, &normal(&typed).expect("a code")));
        assert!(!matches(&hash, &normal(&codes[1]).expect("a code")));
        assert!(!matches("no hash", &normal(&codes[0]).expect("a code")));
    }

    #[test]
    fn codes_differ_and_what_cannot_be_one_is_none() {
        let mut codes = draw();
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), CODES);
        for wrong in ["", "abcde-fgh2", "abcde-fgh233", "abcde-fgh2ä", "abcde_fgh23"] {
            assert_eq!(normal(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_is_good_once_and_a_right_one_ends_the_counting() {
        let mut codes = BackupCodes { hashes: vec!["a".into(), "b".into()], ..BackupCodes::default() };
        codes.tries.note(Wall(5));
        assert!(!codes.take("c") && !codes.tries.is_empty());
        assert_eq!(BackupCodes::decode(codes.encode()), Ok(codes.clone()));
        assert!(codes.take("a") && !codes.take("a") && codes.hashes == ["b"] && codes.tries.is_empty());
    }
}
