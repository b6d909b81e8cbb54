//! Links by which somebody ends the mails of one kind with one click (RFC 8058): what they name, and the proof that we made them.
//!
//! Pure. A link is a right of its own: whoever has it can end these mails and do nothing else, so it is proved by a seal
//! (HMAC under a key of the operator's) and by no login. It is good for as long as the key is the same. Made for letters by
//! `provider::stationery`, read by `api::unsubscribe`.

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use url::Url;
use wire::limits::NAME_BYTES_MAX;
use wire::message::Priority;

use crate::contacts::MARK_BYTES;
use crate::limits::{CATEGORY_BYTES_MAX, UNSUBSCRIBE_URL_BYTES_MAX};
use crate::otp;
use crate::preferences::OTHERS;
use crate::provider::letter::{Address, Letter};
use crate::same::same;

/// The parameter of the address that has the token.
pub const TOKEN_PARAMETER: &str = "t";
/// Characters of a token.
pub const TOKEN_CHARS_MAX: usize =
    (2 + CATEGORY_BYTES_MAX + MARK_BYTES + NAME_BYTES_MAX + SEAL_BYTES).div_ceil(3) * 4;

const VERSION: u8 = 1;
/// Bytes of HMAC-SHA256 that a token carries: nobody guesses 128 bits.
const SEAL_BYTES: usize = 16;
/// What the key may seal elsewhere is no token.
const PURPOSE: &[u8] = b"tocsin unsubscribe 1";

/// SES takes no longer header (API_MessageHeader: 870 characters).
const _: () = assert!(UNSUBSCRIBE_URL_BYTES_MAX + "<?t=>".len() + TOKEN_CHARS_MAX <= 870);

/// Who wants no more mails, of what, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub user: String,
    /// `None`: of anything, since the mail was of no category.
    pub category: Option<String>,
    /// Of the address that the mail went to.
    pub mark: [u8; MARK_BYTES],
}

/// Makes links and knows them again.
#[derive(Debug, Clone)]
pub struct Exits {
    url: Url,
    key: hmac::Key,
}

impl Exits {
    pub fn new(url: Url, key: &[u8]) -> Exits {
        Exits { url, key: hmac::Key::new(hmac::HMAC_SHA256, key) }
    }

    /// `None`: there is no way out of this one. What is critical passes over preferences, and so do one-use codes.
    pub fn of(&self, letter: &Letter) -> Option<String> {
        let is_mail = matches!(letter.to, Address::Email(_));
        let is_code = letter.category.as_deref() == Some(otp::CATEGORY);
        if !is_mail || is_code || letter.priority == Priority::Critical {
            return None;
        }
        let category = letter.category.clone().filter(|category| category != OTHERS);
        let leaving = Leaving { user: letter.delivery.user.clone(), category, mark: letter.to.mark() };
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair(TOKEN_PARAMETER, &self.write(&leaving));
        Some(url.into())
    }

    /// base64url of a version, the category with its length, the address's mark, the user, and the seal of it all.
    fn write(&self, leaving: &Leaving) -> String {
        let category = leaving.category.as_deref().unwrap_or_default().as_bytes();
        let length = u8::try_from(category.len()).expect("a category is shorter than 256 bytes");
        let mut token =
            [&[VERSION, length], category, leaving.mark.as_slice(), leaving.user.as_bytes()].concat();
        let seal = self.seal(&token);
        token.extend(seal);
        BASE64URL_NOPAD.encode(&token)
    }

    /// `None`: we did not make it.
    pub fn read(&self, token: &str) -> Option<Leaving> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let token = BASE64URL_NOPAD.decode(token.as_bytes()).ok()?;
        let (told, seal) = token.split_last_chunk::<SEAL_BYTES>()?;
        if !same(&self.seal(told), seal) {
            return None;
        }
        let ([VERSION, length], rest) = told.split_first_chunk()? else { return None };
        let (category, rest) = rest.split_at_checked(usize::from(*length))?;
        let (mark, user) = rest.split_first_chunk()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let category = Some(text(category)?).filter(|category| !category.is_empty());
        Some(Leaving { user: text(user)?, category, mark: *mark })
    }

    fn seal(&self, told: &[u8]) -> [u8; SEAL_BYTES] {
        let mut sealing = hmac::Context::with_key(&self.key);
        sealing.update(PURPOSE);
        sealing.update(told);
        *sealing.sign().as_ref().first_chunk().expect("SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::words::tests::letter;
    use crate::record::Channel;

    fn exits(key: &[u8]) -> Exits {
        Exits::new(Url::parse("https://shop.example/bye?lang=de").unwrap(), key)
    }

    fn mail(user: &str, category: Option<&str>, priority: Priority) -> Letter {
        let mut mail = letter(Channel::Email, Address::Email("Ada@x.example".to_owned()));
        user.clone_into(&mut mail.delivery.user);
        Letter { priority, category: category.map(str::to_owned), ..mail }
    }

    fn token(link: &str) -> String {
        let url = Url::parse(link).unwrap();
        let (_, token) = url.query_pairs().find(|(name, _)| name == TOKEN_PARAMETER).expect("a token");
        token.into_owned()
    }

    #[test]
    fn a_link_names_who_leaves_what_and_nothing_else_does() {
        let exits = exits(b"key");
        let longest = "k".repeat(CATEGORY_BYTES_MAX);
        for (user, category) in
            [("ada", None), ("a/b c?&=#%", Some("news")), (&"ü".repeat(NAME_BYTES_MAX / 2), Some(&*longest))]
        {
            let link = exits.of(&mail(user, category, Priority::High)).expect("a link");
            assert!(link.starts_with("https://shop.example/bye?lang=de&t="), "{link}");
            let token = token(&link);
            assert!(token.len() <= TOKEN_CHARS_MAX);
            let left = exits.read(&token).expect("ours");
            assert_eq!((left.user.as_str(), left.category.as_deref()), (user, category));
            assert_eq!(left.mark, Address::Email("ada@X.example".to_owned()).mark());
        }
        let of_all_others = exits.of(&mail("ada", Some("*"), Priority::Low)).expect("a link");
        assert_eq!(exits.read(&token(&of_all_others)).expect("ours").category, None);
    }

    #[test]
    fn every_character_of_a_token_counts_and_another_key_makes_others() {
        let exits = exits(b"key");
        let token = token(&exits.of(&mail("ada", Some("news"), Priority::Low)).expect("a link"));
        for at in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(exits.read(&forged), None, "character {at}");
            assert_eq!(exits.read(&token[..at]), None, "cut to {at}");
        }
        assert_eq!(super::tests::exits(b"another").read(&token), None);
        for wrong in ["", "AAAA", "no base64!", &"A".repeat(TOKEN_CHARS_MAX + 4)] {
            assert_eq!(exits.read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn there_is_no_way_out_of_what_is_critical_a_code_or_no_mail() {
        let exits = exits(b"key");
        assert_eq!(exits.of(&mail("ada", Some(otp::CATEGORY), Priority::High)), None);
        assert_eq!(exits.of(&mail("ada", Some("news"), Priority::Critical)), None);
        let phone = Letter {
            priority: Priority::Low,
            ..letter(Channel::Sms, Address::Phone("+4930123456".to_owned()))
        };
        assert_eq!(exits.of(&phone), None);
    }
}
