//! A letter as an e-mail: subject, text, HTML and names, for SES and SMTP alike.
//!
//! Nothing of a letter can add a header: the subject is one line, the text is encoded, and addresses are parsed.

use data_encoding::BASE64;
use lettre::Address as MailAddress;
use lettre::Message;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use url::Host;
use uuid::Uuid;

use super::letter::{Address, Letter};
use super::words;

/// Characters of a subject: what a mail program shows, and more.
const SUBJECT_CHARS_MAX: usize = 200;

/// What a mail says, and to whom.
#[derive(Debug)]
pub struct Mail {
    pub to: MailAddress,
    pub subject: String,
    pub text: String,
    /// The same for programs that show it, beside the text.
    pub html: Option<String>,
    /// The same at every try, so that a second copy can be known as one.
    pub message_id: String,
    /// Beside those that every mail has.
    pub headers: Vec<Header>,
}

/// A header's name and its text, in ASCII.
pub type Header = (&'static str, String);

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMail {
    /// Nobody can be written to there.
    Address,
    /// There is nothing to say.
    Empty,
}

/// `sender`: its domain names the mail.
pub fn mail(letter: &Letter, sender: &Mailbox) -> Result<Mail, NoMail> {
    let Address::Email(address) = &letter.to else { return Err(NoMail::Address) };
    let to = recipient(address).ok_or(NoMail::Address)?;
    let title = letter.title.as_deref().map(words::one_line).filter(|title| !title.is_empty());
    let body = letter.body.as_deref().map(words::plain).filter(|body| !body.is_empty());
    let (subject, text) = match (title, body) {
        (Some(title), Some(body)) => (title, body),
        (Some(title), None) => (title.clone(), title),
        (None, Some(body)) => (words::one_line(body.lines().next().unwrap_or_default()), body),
        (None, None) => return Err(NoMail::Empty),
    };
    let name = Uuid::new_v5(&letter.delivery.id, letter.delivery.to_string().as_bytes());
    Ok(Mail {
        to,
        subject: subject.chars().take(SUBJECT_CHARS_MAX).collect(),
        text,
        html: letter.html.as_deref().map(html).filter(|html| !html.is_empty()),
        message_id: format!("<{name}@{}>", sender.email.domain()),
        headers: headers(letter),
    })
}

/// A tab parts the words of a tag.
fn html(text: &str) -> String {
    words::plain(&text.replace('\t', " "))
}

/// No program answers it, and mail programs offer to have no more of them (RFC 2369, RFC 8058).
fn headers(letter: &Letter) -> Vec<Header> {
    let mut headers = vec![("Auto-Submitted", "auto-generated".to_owned())];
    if let Some(link) = &letter.unsubscribe {
        headers.push(("List-Unsubscribe", format!("<{link}>")));
        headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
    }
    headers
}

/// An address whose domain is in the form that servers know (IDNA).
fn recipient(text: &str) -> Option<MailAddress> {
    let address: MailAddress = text.parse().ok()?;
    if address.domain().is_ascii() {
        return Some(address);
    }
    let domain = Host::parse(address.domain()).ok()?.to_string();
    MailAddress::new(address.user(), domain).ok()
}

/// The sender as SES takes it: a name beyond ASCII is an encoded word (RFC 2047).
pub fn sender(from: &Mailbox) -> String {
    match &from.name {
        Some(name) if !name.is_ascii() => {
            format!("=?UTF-8?B?{}?= <{}>", BASE64.encode(name.as_bytes()), from.email)
        }
        _ => from.to_string(),
    }
}

/// As it goes over SMTP.
pub fn message(mail: &Mail, from: &Mailbox) -> Result<Message, lettre::error::Error> {
    let mut builder = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, mail.to.clone()))
        .subject(&mail.subject)
        .message_id(Some(mail.message_id.clone()));
    for (name, text) in &mail.headers {
        builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), text.clone()));
    }
    match &mail.html {
        Some(html) => builder.multipart(MultiPart::alternative_plain_html(mail.text.clone(), html.clone())),
        None => builder.header(ContentType::TEXT_PLAIN).body(mail.text.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::words::tests::letter;
    use crate::record::Channel;

    fn to(address: &str, title: Option<&str>, body: Option<&str>) -> Letter {
        Letter {
            title: title.map(str::to_owned),
            body: body.map(str::to_owned),
            ..letter(Channel::Email, Address::Email(address.to_owned()))
        }
    }

    fn sender() -> Mailbox {
        "The Shop <alerts@shop.example>".parse().unwrap()
    }

    #[test]
    fn no_text_becomes_a_header() {
        let evil =
            to("ada@x.example", Some("Hi\r\nBcc: eve@x.example"), Some("a\r\n.\r\nBcc: eve@x.example"));
        let mail = mail(&evil, &sender()).unwrap();
        let formatted = String::from_utf8(message(&mail, &sender()).unwrap().formatted()).unwrap();
        let (head, _) = formatted.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.to_ascii_lowercase().starts_with("bcc")), "{head}");
        assert!(head.contains("Subject: Hi Bcc: eve@x.example"), "{head}");
    }

    #[test]
    fn an_address_is_an_address_or_nothing_goes() {
        for wrong in [
            "",
            "ada",
            "ada@x.example\r\nRCPT TO:<eve@x.example>",
            "ada@x.example, eve@x.example",
            "<ada@x.example>",
            "ada@x.example\0",
        ] {
            let letter = to(wrong, Some("T"), None);
            assert_eq!(mail(&letter, &sender()).unwrap_err(), NoMail::Address, "{wrong:?}");
        }
        assert_eq!(mail(&to("ada@x.example", None, Some("\n")), &sender()).unwrap_err(), NoMail::Empty);
        let far = mail(&to("ada@bücher.example", Some("T"), None), &sender()).unwrap();
        assert_eq!(far.to.to_string(), "ada@xn--bcher-kva.example");
        let named: Mailbox = "Bücher <alerts@shop.example>".parse().unwrap();
        assert_eq!(super::sender(&named), "=?UTF-8?B?QsO8Y2hlcg==?= <alerts@shop.example>");
    }

    #[test]
    fn a_mail_that_can_be_ended_says_so_in_one_line_and_another_does_not() {
        let plain = to("ada@x.example", Some("T"), None);
        let link = format!("https://shop.example/bye?t={}", "x".repeat(700));
        let leaving = Letter { unsubscribe: Some(link.clone()), ..plain.clone() };
        let head = |letter: &Letter| {
            let mail = mail(letter, &sender()).unwrap();
            String::from_utf8(message(&mail, &sender()).unwrap().formatted()).unwrap()
        };
        let told = head(&leaving).replace("\r\n ", " ");
        let line = told.lines().find(|line| line.starts_with("List-Unsubscribe:")).unwrap();
        assert_eq!(line.split_once(':').unwrap().1.trim(), format!("<{link}>"));
        assert!(told.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), "{told}");
        assert!(head(&leaving).lines().all(|line| line.len() <= 998));
        assert!(!head(&plain).contains("Unsubscribe") && head(&plain).contains("Auto-Submitted"));
    }

    #[test]
    fn html_goes_beside_the_text_and_becomes_no_header() {
        let mut letter = to("ada@x.example", Some("T"), Some("plain words"));
        letter.html = Some("<p\tid=a>ün\r\n.\r\nBcc: eve@x.example\u{0}\u{202e}</p>".to_owned());
        let mail = mail(&letter, &sender()).unwrap();
        assert_eq!(mail.html.as_deref(), Some("<p id=a>ün\n.\nBcc: eve@x.example</p>"));
        let formatted = String::from_utf8(message(&mail, &sender()).unwrap().formatted()).unwrap();
        let (head, body) = formatted.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("multipart/alternative") && head.contains("Auto-Submitted"), "{head}");
        assert!(!head.contains("Bcc"), "{head}");
        let place = |text: &str| body.find(text).unwrap_or_else(|| panic!("no {text} in {body}"));
        assert!(place("plain words") < place("text/html"), "the best form is the last (RFC 2046, 5.1.4)");
    }

    #[test]
    fn a_mail_has_the_same_name_at_every_try() {
        let letter = to("ada@x.example", None, Some("first line\nsecond"));
        let (one, two) = (mail(&letter, &sender()).unwrap(), mail(&letter, &sender()).unwrap());
        assert_eq!((one.message_id.as_str(), one.subject.as_str()), (two.message_id.as_str(), "first line"));
        assert!(one.message_id.ends_with("@shop.example>"));
    }
}
