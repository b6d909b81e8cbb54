//! What is shown of a letter, for each way out, and what may be repeated of a provider's words.
//!
//! Owns what a channel cannot take: control characters, lines in headers, markup. Pure.

use super::letter::{Address, Letter};
use super::segments;
use crate::limits::{CARRIER_DETAIL_CHARS, SMS_SEGMENTS_MAX, VOICE_CHARS_MAX};
use crate::otp;

/// Without control characters but line breaks, on as few lines as it has.
pub fn plain(text: &str) -> String {
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    unified.chars().filter(|c| *c == '\n' || !is_unseen(*c)).collect::<String>().trim().to_owned()
}

/// On one line: for headers and names.
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || is_unseen(c)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// Controls, and the marks that turn the direction of a text, by which one can be made to look like another.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}')
}

/// Title and body as one text. `None`: there is nothing to show.
pub fn text(letter: &Letter) -> Option<String> {
    let title = letter.title.as_deref().map(one_line).filter(|title| !title.is_empty());
    let body = letter.body.as_deref().map(plain).filter(|body| !body.is_empty());
    match (title, body) {
        (Some(title), Some(body)) => Some(format!("{title}\n{body}")),
        (one, two) => one.or(two),
    }
}

/// For a short message, no longer than is sent.
pub fn sms(letter: &Letter) -> Option<String> {
    text(letter).map(|text| segments::cut(&text, SMS_SEGMENTS_MAX))
}

/// What is read out, twice, as TwiML. A one-use code is spelled: nobody types in three hundred thousand and some.
pub fn twiml(letter: &Letter) -> Option<String> {
    let text = text(letter)?;
    let text = if letter.category.as_deref() == Some(otp::CATEGORY) { spelled(&text) } else { text };
    let text: String = text.chars().take(VOICE_CHARS_MAX).collect();
    Some(format!("<Response><Pause length=\"1\"/><Say loop=\"2\">{}</Say></Response>", xml(&text)))
}

/// With a pause behind each character of every longer word that has a digit.
fn spelled(text: &str) -> String {
    let is_code = |word: &str| word.len() > 2 && word.bytes().any(|byte| byte.is_ascii_digit());
    let spell = |word: &str| word.chars().flat_map(|c| [c, ',', ' ']).collect::<String>();
    let words = text.split_inclusive(char::is_whitespace);
    words
        .map(|word| if is_code(word.trim_end()) { spell(word.trim_end()) } else { word.to_owned() })
        .collect()
}

/// As text in XML, and in HTML.
pub fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // XML has no way to write these two.
            '\u{FFFE}' | '\u{FFFF}' => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// A provider's words for people: cut, on one line, without the address and without text of ours.
pub fn detail(said: &str, letter: &Letter) -> String {
    // A link of ours is read whole, to be known.
    let read_max = 4 * CARRIER_DETAIL_CHARS + letter.unsubscribe.as_ref().map_or(0, String::len);
    let mut said = one_line(&said.chars().take(read_max).collect::<String>());
    let user = Some(letter.delivery.user.as_str());
    let ours = [letter.unsubscribe.as_deref(), letter.title.as_deref(), letter.body.as_deref(), user];
    for text in ours.into_iter().flatten().map(one_line).chain(address(&letter.to)) {
        if text.len() > 2 {
            said = said.replace(&text, "…");
        }
    }
    // Numbers and addresses in another form than ours, and whatever looks like a token.
    let words = said.split(' ').map(|word| if is_telling(word) { "…" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(CARRIER_DETAIL_CHARS).collect()
}

fn address(to: &Address) -> Vec<String> {
    match to {
        Address::Fcm(text) | Address::Email(text) | Address::Phone(text) => vec![text.clone()],
        Address::Apns { token, .. } => vec![token.clone()],
        Address::WebPush { endpoint, p256dh, auth } => vec![endpoint.clone(), p256dh.clone(), auth.clone()],
    }
}

fn is_telling(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    word.contains('@') || digits >= 7 || (word.len() > 40 && !word.starts_with("https://"))
}

#[cfg(test)]
pub(crate) mod tests {
    use uuid::Uuid;
    use wire::message::Priority;

    use super::*;
    use crate::owner::DeliveryKey;
    use crate::record::Channel;

    pub(crate) fn letter(channel: Channel, to: Address) -> Letter {
        Letter {
            delivery: DeliveryKey { id: Uuid::from_u128(7), channel, user: "ada".to_owned() },
            to,
            priority: Priority::Critical,
            category: None,
            title: Some("Title".to_owned()),
            body: Some("Body".to_owned()),
            data: None,
            collapse_key: None,
            ttl: None,
            html: None,
            digest: None,
            unsubscribe: None,
        }
    }

    fn saying(title: &str, body: &str) -> Letter {
        let to = Address::Phone("+4915112345678".to_owned());
        Letter { title: Some(title.to_owned()), body: Some(body.to_owned()), ..letter(Channel::Sms, to) }
    }

    #[test]
    fn nothing_unseen_goes_out() {
        let odd = saying("Code\r\nBcc: x@y", "one\u{0}\u{1b}[2J\r\ntwo\u{202e}");
        assert_eq!(sms(&odd).unwrap(), "Code Bcc: x@y\none[2J\ntwo");
        assert_eq!(sms(&saying("\u{7}", " \n")), None);
    }

    #[test]
    fn what_is_read_out_cannot_leave_its_element() {
        let twiml = twiml(&saying("a", "</Say><Dial>+1</Dial>&\"'")).unwrap();
        assert!(twiml.contains("&lt;/Say&gt;&lt;Dial&gt;+1&lt;/Dial&gt;&amp;&quot;&apos;"), "{twiml}");
        assert_eq!(twiml.matches("<Say").count(), 1);
    }

    #[test]
    fn a_code_is_read_out_one_by_one() {
        let mut letter = saying("Your code", "A7K9 is your code. It is good for 5 minutes.");
        assert!(twiml(&letter).unwrap().contains("A7K9 is"), "not a code of ours");
        letter.category = Some(otp::CATEGORY.to_owned());
        let twiml = twiml(&letter).unwrap();
        assert!(
            twiml.contains(">Your code\nA, 7, K, 9, is your code. It is good for 5 minutes.<"),
            "{twiml}"
        );
    }

    #[test]
    fn a_detail_names_nobody_and_quotes_nothing() {
        let letter = saying("Your code", "123456 is it");
        let said =
            "The 'To' number +4915112345678 (or 15112345678, ada@x.example) cannot have:\n123456 is it";
        let told = detail(said, &letter);
        assert!(told.starts_with("The 'To' number … (or … …"), "{told}");
        for secret in ["15112345678", "ada", "123456"] {
            assert!(!told.contains(secret), "{told}");
        }
        let link = "https://shop.example/bye?lang=de&t=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let leaving = Letter { unsubscribe: Some(link.to_owned()), ..letter.clone() };
        assert_eq!(detail(&format!("550 spam: <{link}>"), &leaving), "550 spam: <…>");
        assert_eq!(detail(&"x ".repeat(5_000), &letter).chars().count(), CARRIER_DETAIL_CHARS);
    }
}
