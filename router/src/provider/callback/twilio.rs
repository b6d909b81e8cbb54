//! Twilio's status callbacks: whether one is Twilio's, and what it says. Pure.
//!
//! Source: https://www.twilio.com/docs/usage/security and …/docs/messaging/guides/outbound-message-status-in-status-callbacks

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use ring::{digest, hmac};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};
use wire::time::Wall;

use super::{Receipt, What};
use crate::config::Hidden;
use crate::provider::classify::{Meaning, Speaker, meaning};
use crate::provider::delivery;
use crate::provider::letter::{Address, Class};
use crate::provider::twilio::DELIVERY_PARAMETER;
use crate::same::same;

/// Parameters of one callback.
const PARAMETERS_MAX: usize = 100;
const BODY_HASH: &str = "bodySHA256";
/// Of a message to somebody who said STOP.
const OPTED_OUT: &str = "21610";

/// One request, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Behind the question mark, as it was written.
    pub query: &'a str,
    /// `Content-Type` says JSON.
    pub is_json: bool,
    pub body: &'a [u8],
    /// `X-Twilio-Signature`.
    pub signature: &'a str,
}

/// Why it is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    #[error("the signature is not Twilio's")]
    Forged,
    #[error("it is not a status callback of ours")]
    Unreadable,
}

/// What it says, if Twilio says it. `callback`: the address that the settings gave Twilio; what a proxy made of it does not
/// count. `Ok(None)`: it is on its way, which is no news.
pub fn read(
    told: &Told<'_>,
    callback: &Url,
    token: &Hidden,
    now: Wall,
) -> Result<Option<Receipt>, Disbelief> {
    let parameters = if told.is_json { Vec::new() } else { form(told.body)? };
    if !is_twilio_s(told, &parameters, callback, token) {
        return Err(Disbelief::Forged);
    }
    let said = if told.is_json { object(told.body)? } else { parameters };
    let field = |name: &str| {
        said.iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|text| !text.is_empty())
    };
    let name = query(told.query, DELIVERY_PARAMETER).ok_or(Disbelief::Unreadable)?;
    let delivery = delivery::read(&name).ok_or(Disbelief::Unreadable)?;
    let is_call = field("CallSid").is_some();
    let status =
        if is_call { field("CallStatus") } else { field("MessageStatus").or_else(|| field("SmsStatus")) };
    let status = status.ok_or(Disbelief::Unreadable)?;
    let reference = if is_call { field("CallSid") } else { field("MessageSid").or_else(|| field("SmsSid")) };
    let what = what(is_call, status, field("ErrorCode"));
    let to = field("To").map(|number| Address::Phone(number.to_owned()));
    Ok(what.map(|what| Receipt { delivery, what, to, reference: reference.map(str::to_owned), at: now }))
}

fn what(is_call: bool, status: &str, error: Option<&str>) -> Option<What> {
    match (is_call, status) {
        (false, "delivered" | "read") | (true, "completed") => Some(What::Delivered),
        (false, _) if error == Some(OPTED_OUT) => Some(What::OptedOut),
        (false, "failed" | "undelivered" | "canceled")
        | (true, "failed" | "busy" | "no-answer" | "canceled") => {
            let code = error.unwrap_or(status);
            // No request of ours was answered here: a code that the table does not have is a fault of theirs.
            let known = meaning(Speaker::Twilio, 500, Some(code));
            let class = match known {
                Meaning::No(class) => class,
                Meaning::Unsure => Class::Fault,
            };
            Some(What::Failed { class, code: code.chars().take(32).collect() })
        }
        _ => None,
    }
}

/// HMAC-SHA1 over the address and the sorted parameters; of JSON over the address, in which the hash of the body stands.
fn is_twilio_s(told: &Told<'_>, form: &[(String, String)], callback: &Url, token: &Hidden) -> bool {
    if told.is_json {
        let hash =
            query(told.query, BODY_HASH).and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok());
        let is_whole =
            hash.is_some_and(|hash| same(&hash, digest::digest(&digest::SHA256, told.body).as_ref()));
        if !is_whole {
            return false;
        }
    }
    let mut sorted = form.to_vec();
    sorted.sort();
    sorted.dedup();
    let fields: String = sorted.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]).collect();
    let Ok(signature) = BASE64.decode(told.signature.as_bytes()) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.reveal().as_bytes());
    let is_signed = |address: &String| {
        hmac::verify(&key, format!("{address}?{}{fields}", told.query).as_bytes(), &signature).is_ok()
    };
    spellings(callback).iter().any(is_signed)
}

/// The address with its port and without: Twilio signs now the one and now the other.
fn spellings(callback: &Url) -> [String; 2] {
    let host = callback.host_str().unwrap_or_default();
    let (scheme, path) = (callback.scheme(), callback.path());
    let port = callback.port_or_known_default().unwrap_or_default();
    [format!("{scheme}://{host}{path}"), format!("{scheme}://{host}:{port}{path}")]
}

fn form(body: &[u8]) -> Result<Vec<(String, String)>, Disbelief> {
    let pairs: Vec<_> = form_urlencoded::parse(body).into_owned().take(PARAMETERS_MAX + 1).collect();
    if pairs.len() > PARAMETERS_MAX { Err(Disbelief::Unreadable) } else { Ok(pairs) }
}

fn object(body: &[u8]) -> Result<Vec<(String, String)>, Disbelief> {
    let object: Map<String, Value> = serde_json::from_slice(body).map_err(|_| Disbelief::Unreadable)?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(object.into_iter().take(PARAMETERS_MAX).map(|(key, value)| (key, text(value))).collect())
}

fn query(query: &str, name: &str) -> Option<String> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use uuid::Uuid;

    use super::*;
    use crate::owner::DeliveryKey;
    use crate::record::Channel;

    const NOW: Wall = Wall(5);

    fn token() -> Hidden {
        Hidden::new("12345")
    }

    fn callback() -> Url {
        Url::parse("https://hooks.example/v1/callbacks/twilio?tenant=1").unwrap()
    }

    fn delivery() -> DeliveryKey {
        DeliveryKey { id: Uuid::from_u128(9), channel: Channel::Sms, user: "ada & co".to_owned() }
    }

    fn our_query() -> String {
        format!("tenant=1&d={}", delivery::write(&delivery()))
    }

    fn sign(text: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345");
        BASE64.encode(hmac::sign(&key, text.as_bytes()).as_ref())
    }

    fn told(query: &str, form: &str) -> Result<Option<Receipt>, Disbelief> {
        let mut pairs: Vec<(String, String)> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        pairs.sort();
        let joined: String = pairs.iter().flat_map(|(key, value)| [&**key, &**value]).collect();
        let signature = sign(&format!("https://hooks.example/v1/callbacks/twilio?{query}{joined}"));
        let told = Told { query, is_json: false, body: form.as_bytes(), signature: &signature };
        read(&told, &callback(), &token(), NOW)
    }

    /// The example of Twilio's documentation.
    #[test]
    fn twilio_s_own_example_is_believed_and_no_mutant_of_it() {
        let url = Url::parse("https://example.com/myapp.php?foo=1&bar=2").unwrap();
        let body = "CallSid=CA1234567890ABCDE&Caller=%2B14158675310&Digits=1234&From=%2B14158675310&To=%2B18005551212";
        let good = Told {
            query: "foo=1&bar=2",
            is_json: false,
            body: body.as_bytes(),
            signature: "L/OH5YylLD5NRKLltdqwSvS0BnU=",
        };
        let is_believed = |told: &Told<'_>, token: &str| {
            is_twilio_s(told, &form(told.body).unwrap(), &url, &Hidden::new(token))
        };
        assert!(is_believed(&good, "12345"));
        assert!(!is_believed(&good, "12346"));
        let with_port = sign(
            "https://example.com:443/myapp.php?foo=1&bar=2CallSidCA1234567890ABCDECaller+14158675310Digits1234From+14158675310To+18005551212",
        );
        assert!(
            is_believed(&Told { signature: &with_port, ..good }, "12345"),
            "with its port it is the same address"
        );
        for signature in ["", "L/OH5YylLD5NRKLltdqwSvS0BnV=", "L/OH5YylLD5NRKLltdqwSvS0", "====", "é"] {
            assert!(!is_believed(&Told { signature, ..good }, "12345"), "{signature}");
        }
        for at in 0..body.len() {
            let mut mutant = body.as_bytes().to_vec();
            mutant[at] ^= 1;
            assert!(!is_believed(&Told { body: &mutant, ..good }, "12345"), "{at}");
        }
        assert!(!is_believed(&Told { query: "foo=1&bar=3", ..good }, "12345"));
    }

    #[test]
    fn a_status_is_news_when_it_is_the_end() {
        let what = |form: &str| told(&our_query(), form).unwrap().map(|receipt| receipt.what);
        let failed = |class, code: &str| Some(What::Failed { class, code: code.to_owned() });
        for on_its_way in ["accepted", "queued", "sending", "sent", "scheduled", "something-new"] {
            assert_eq!(what(&format!("MessageSid=SM1&MessageStatus={on_its_way}")), None, "{on_its_way}");
        }
        assert_eq!(what("MessageSid=SM1&MessageStatus=delivered"), Some(What::Delivered));
        assert_eq!(what("MessageSid=SM1&MessageStatus=read"), Some(What::Delivered));
        let undelivered =
            |code: &str| what(&format!("MessageSid=SM1&MessageStatus=undelivered&ErrorCode={code}"));
        assert_eq!(undelivered("30003"), failed(Class::Recipient, "30003"));
        assert_eq!(undelivered("30005"), failed(Class::Gone, "30005"));
        assert_eq!(undelivered("30007"), failed(Class::Content, "30007"));
        assert_eq!(undelivered("30008"), failed(Class::Fault, "30008"));
        assert_eq!(undelivered("99999"), failed(Class::Fault, "99999"));
        assert_eq!(undelivered("21610"), Some(What::OptedOut));
        assert_eq!(what("CallSid=CA1&CallStatus=completed"), Some(What::Delivered));
        assert_eq!(what("CallSid=CA1&CallStatus=busy"), failed(Class::Recipient, "busy"));
        assert_eq!(what("CallSid=CA1&CallStatus=ringing"), None);
    }

    #[test]
    fn a_receipt_names_its_delivery() {
        let receipt =
            told(&our_query(), "MessageSid=SM1&MessageStatus=delivered&To=%2B491").unwrap().unwrap();
        assert!(receipt.to == Some(Address::Phone("+491".to_owned())));
        assert_eq!(
            (receipt.delivery, receipt.reference.as_deref(), receipt.at),
            (delivery(), Some("SM1"), NOW)
        );
        for query in ["tenant=1", "tenant=1&d=nonsense"] {
            let answer = told(query, "MessageSid=SM1&MessageStatus=delivered");
            assert_eq!(answer, Err(Disbelief::Unreadable), "{query}");
        }
        assert_eq!(told(&our_query(), "MessageSid=SM1"), Err(Disbelief::Unreadable));
    }

    #[test]
    fn a_body_of_json_is_believed_by_its_hash() {
        let body = br#"{"MessageSid":"SM1","MessageStatus":"delivered","ErrorCode":null}"#;
        let hash = HEXLOWER.encode(digest::digest(&digest::SHA256, body).as_ref());
        let query = format!("{}&bodySHA256={hash}", our_query());
        let signature = sign(&format!("https://hooks.example/v1/callbacks/twilio?{query}"));
        let good = Told { query: &query, is_json: true, body, signature: &signature };
        let receipt = read(&good, &callback(), &token(), NOW).unwrap().unwrap();
        assert_eq!(receipt.what, What::Delivered);
        let other = body.map(|byte| if byte == b'1' { b'2' } else { byte });
        assert_eq!(read(&Told { body: &other, ..good }, &callback(), &token(), NOW), Err(Disbelief::Forged));
        // Without the hash a signature over the address alone would serve any body.
        let query = our_query();
        let signature = sign(&format!("https://hooks.example/v1/callbacks/twilio?{query}"));
        let bare = Told { query: &query, is_json: true, body, signature: &signature };
        assert_eq!(read(&bare, &callback(), &token(), NOW), Err(Disbelief::Forged));
    }
}
