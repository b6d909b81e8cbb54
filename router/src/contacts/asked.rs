//! The body of `PUT /v1/users/{user}/contacts`, checked: each fault names its field, and quotes nothing of it.
//!
//! Pure. Says whether an address could exist, never whether it does.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use serde_json::value::RawValue;
use wire::time::Wall;

use super::{Contacts, PushKeys, Registration, Token};
use crate::api::problem::{Kind, Problem};
use crate::ingest::fields::{Object, typed, unknown_value};
use crate::limits::{
    APNS_TOKEN_BYTES_MAX, EMAIL_BYTES_MAX, FCM_TOKEN_BYTES_MAX, PUSH_REGISTRATIONS_MAX,
    WEB_PUSH_ENDPOINT_BYTES_MAX,
};

const FIELDS: [&str; 3] = ["email", "phone", "push"];
const KINDS: [&str; 3] = ["fcm", "apns", "webpush"];
/// E.164: the country's code and the number together.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// An uncompressed point of P-256 (RFC 8291), and its first byte.
const P256DH_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;
/// The secret that a browser shares (RFC 8291).
const AUTH_BYTES: usize = 16;

/// What a service says of one person. It takes the place of all that was known.
#[derive(Clone, PartialEq, Eq)]
pub struct Asked {
    email: Option<String>,
    phone: Option<String>,
    push: Vec<(Token, Option<Wall>)>,
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("push", &self.push.len()).finish_non_exhaustive()
    }
}

impl Asked {
    pub fn read(bytes: &[u8]) -> Result<Asked, Problem> {
        Asked::of(&Object::read(bytes)?)
    }

    /// As a field of another request.
    pub fn read_field(text: &str, name: &str) -> Result<Asked, Problem> {
        let within = |problem: Problem| Problem {
            pointer: Some(format!("/{name}{}", problem.pointer.as_deref().unwrap_or_default())),
            ..problem
        };
        Object::parse(text, "").and_then(|object| Asked::of(&object)).map_err(within)
    }

    fn of(object: &Object<'_>) -> Result<Asked, Problem> {
        object.only(&FIELDS)?;
        let email = object.text("email", 3, EMAIL_BYTES_MAX)?.map(email).transpose()?;
        let phone = object.text("phone", 1, 64)?.map(phone).transpose()?;
        let push = object.field("push").map_or_else(|| Ok(Vec::new()), push)?;
        Ok(Asked { email, phone, push })
    }

    /// A registration that says no date was told to us when it first came.
    pub fn stamped(&self, before: &Contacts, now: Wall) -> Contacts {
        let known = |token: &Token| before.push.iter().find(|known| known.token == *token);
        let registered_at = |token: &Token, said: Option<Wall>| match said {
            Some(at) => at.min(now),
            None => known(token).map_or(now, |known| known.registered_at),
        };
        let push = self.push.iter().map(|(token, said)| Registration {
            token: token.clone(),
            registered_at: registered_at(token, *said),
        });
        Contacts { email: self.email.clone(), phone: self.phone.clone(), push: push.collect() }
    }
}

fn malformed(pointer: &str, why: impl Into<String>) -> Problem {
    if pointer.is_empty() {
        Problem::new(Kind::Malformed, why)
    } else {
        Problem::at(Kind::Malformed, pointer, why)
    }
}

fn email(text: String) -> Result<String, Problem> {
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || "<>(),;:\\\"[]".contains(c);
    let parts = text.rsplit_once('@');
    let is_one = parts.is_some_and(|(local, domain)| {
        let labels = domain.split('.');
        !local.is_empty()
            && local.len() <= 64
            && !local.contains('@')
            && labels.clone().count() > 1
            && labels.into_iter().all(|label| !label.is_empty() && label.len() <= 63)
    });
    if is_one && !text.contains(is_odd) {
        Ok(text)
    } else {
        Err(malformed("/email", "an address like ann@example.org, without a name or quotes"))
    }
}

fn phone(text: String) -> Result<String, Problem> {
    let digits = text.strip_prefix('+').filter(|digits| !digits.starts_with('0'));
    let is_one = digits.is_some_and(|digits| {
        PHONE_DIGITS.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    if is_one {
        Ok(text)
    } else {
        let why =
            "a number in E.164, like +4930123456: a plus, the country's code, no spaces, 15 digits at most";
        Err(malformed("/phone", why))
    }
}

fn push(raw: &RawValue) -> Result<Vec<(Token, Option<Wall>)>, Problem> {
    let list: Vec<&RawValue> = typed(raw, "/push", "a list of registrations")?;
    if list.len() > PUSH_REGISTRATIONS_MAX {
        let why = format!("at most {PUSH_REGISTRATIONS_MAX} registrations; there are {}", list.len());
        return Err(malformed("/push", why));
    }
    let mut push: Vec<(Token, Option<Wall>)> = Vec::with_capacity(list.len());
    for (i, raw) in list.into_iter().enumerate() {
        let one = registration(raw, &format!("/push/{i}"))?;
        if push.iter().any(|(known, _)| is_same_device(known, &one.0)) {
            return Err(malformed(&format!("/push/{i}"), "it stands twice"));
        }
        push.push(one);
    }
    Ok(push)
}

/// A browser has one subscription under an endpoint, whatever its keys are.
fn is_same_device(one: &Token, other: &Token) -> bool {
    match (one, other) {
        (Token::Webpush { endpoint: one, .. }, Token::Webpush { endpoint: other, .. }) => one == other,
        _ => one == other,
    }
}

fn registration(raw: &RawValue, at: &str) -> Result<(Token, Option<Wall>), Problem> {
    let object = Object::parse(raw.get(), at.to_owned())?;
    let kind = object.text("kind", 1, 16)?;
    let kind =
        kind.ok_or_else(|| malformed(&format!("{at}/kind"), "`kind` is needed: fcm, apns or webpush"))?;
    let token = match kind.as_str() {
        "fcm" => {
            object.only(&["kind", "token", "registered_at"])?;
            Token::Fcm { token: fcm(needed(&object, at, "token", FCM_TOKEN_BYTES_MAX)?, at)? }
        }
        "apns" => {
            object.only(&["kind", "token", "registered_at"])?;
            Token::Apns { token: apns(&needed(&object, at, "token", 2 * APNS_TOKEN_BYTES_MAX)?, at)? }
        }
        "webpush" => {
            object.only(&["kind", "endpoint", "keys", "registered_at"])?;
            web_push(&object, at)?
        }
        other => return Err(unknown_value(&format!("{at}/kind"), other, &KINDS)),
    };
    let registered_at = match object.field("registered_at") {
        Some(raw) => Some(
            serde_json::from_str(raw.get())
                .map_err(|_| malformed(&format!("{at}/registered_at"), "a date like 2026-02-20T10:00:00Z"))?,
        ),
        None => None,
    };
    Ok((token, registered_at))
}

fn needed(object: &Object<'_>, at: &str, name: &str, bytes_max: usize) -> Result<String, Problem> {
    let text = object.text(name, 1, bytes_max)?;
    text.ok_or_else(|| malformed(&format!("{at}/{name}"), format!("`{name}` is needed")))
}

fn fcm(token: String, at: &str) -> Result<String, Problem> {
    if token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_:.=%".contains(&byte)) {
        Ok(token)
    } else {
        Err(malformed(&format!("{at}/token"), "a registration token as the FCM SDK gives it"))
    }
}

/// Apple's tokens are bytes; their one spelling here is lower-case hex.
fn apns(token: &str, at: &str) -> Result<String, Problem> {
    match HEXLOWER_PERMISSIVE.decode(token.as_bytes()) {
        Ok(bytes) => Ok(data_encoding::HEXLOWER.encode(&bytes)),
        Err(_) => Err(malformed(&format!("{at}/token"), "a device token in hex")),
    }
}

fn web_push(object: &Object<'_>, at: &str) -> Result<Token, Problem> {
    let endpoint = needed(object, at, "endpoint", WEB_PUSH_ENDPOINT_BYTES_MAX)?;
    if !is_endpoint(&endpoint) {
        let why = "an https:// address, as the browser gives it";
        return Err(malformed(&format!("{at}/endpoint"), why));
    }
    let pointer = format!("{at}/keys");
    let Some(raw) = object.field("keys") else {
        return Err(malformed(&pointer, "`keys` is needed: p256dh and auth, as the browser gives them"));
    };
    let keys = Object::parse(raw.get(), pointer.clone())?;
    keys.only(&["p256dh", "auth"])?;
    let p256dh = base64url(&keys, &pointer, "p256dh", P256DH_BYTES)?;
    if p256dh.first() != Some(&UNCOMPRESSED) {
        return Err(malformed(&format!("{pointer}/p256dh"), "an uncompressed point of P-256"));
    }
    let auth = base64url(&keys, &pointer, "auth", AUTH_BYTES)?;
    let keys = PushKeys { p256dh: BASE64URL_NOPAD.encode(&p256dh), auth: BASE64URL_NOPAD.encode(&auth) };
    Ok(Token::Webpush { endpoint, keys })
}

/// On a host, by TLS; or on this machine, where a simulator may stand in for a browser vendor. Who may be posted to there is
/// the carrier's to say.
fn is_endpoint(text: &str) -> bool {
    let local = ["http://127.0.0.1:", "http://localhost:", "http://[::1]:"];
    let rest = local.iter().find_map(|scheme| text.strip_prefix(scheme)).or(text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte))
}

fn base64url(keys: &Object<'_>, at: &str, name: &str, bytes: usize) -> Result<Vec<u8>, Problem> {
    let text = needed(keys, at, name, 2 * bytes)?;
    match BASE64URL_NOPAD.decode(text.trim_end_matches('=').as_bytes()) {
        Ok(decoded) if decoded.len() == bytes => Ok(decoded),
        _ => Err(malformed(&format!("{at}/{name}"), format!("{bytes} bytes in base64url"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn p256dh() -> String {
        BASE64URL_NOPAD.encode(&[&[4], [7; 64].as_slice()].concat())
    }

    fn web_push() -> Value {
        let keys = json!({"p256dh": p256dh(), "auth": BASE64URL_NOPAD.encode(&[1; 16])});
        json!({"kind": "webpush", "endpoint": "https://push.example/x?y=1", "keys": keys})
    }

    fn read(body: &Value) -> Result<Asked, Problem> {
        Asked::read(body.to_string().as_bytes())
    }

    #[test]
    fn every_kind_of_address_is_taken() {
        let asked = read(&json!({
            "email": "ann+x@mail.example.org", "phone": "+4930123456",
            "push": [{"kind": "fcm", "token": "cR:APA91b-_x"}, {"kind": "apns", "token": "00FCde"}, web_push()],
        }));
        let contacts = asked.expect("all right").stamped(&Contacts::default(), Wall(5));
        assert_eq!((contacts.push.len(), contacts.phone.as_deref()), (3, Some("+4930123456")));
        assert!(contacts.push.iter().all(|one| one.registered_at == Wall(5)));
        assert_eq!(contacts.push[1].token, Token::Apns { token: "00fcde".to_owned() }, "one spelling");
        assert_eq!(read(&json!({})).map(|asked| asked.stamped(&contacts, Wall(6))), Ok(Contacts::default()));
    }

    #[test]
    fn what_was_shown_can_be_put_again_and_known_tokens_keep_their_dates() {
        let body = json!({"push": [{"kind": "fcm", "token": "a"}, web_push()]});
        let first = read(&body).expect("all right").stamped(&Contacts::default(), Wall(5_000_000));
        let shown = serde_json::to_value(&first).expect("JSON");
        assert_eq!(read(&shown).expect("all right").stamped(&first, Wall(9_000_000)), first);
        assert_eq!(read(&body).expect("all right").stamped(&first, Wall(9_000_000)), first);
        let anew = json!({"push": [{"kind": "fcm", "token": "a", "registered_at": "1970-01-01T00:00:07Z"}]});
        let anew = read(&anew).expect("all right");
        assert_eq!(anew.stamped(&first, Wall(9_000_000)).push[0].registered_at, Wall(7_000_000));
        assert_eq!(anew.stamped(&first, Wall(6_000_000)).push[0].registered_at, Wall(6_000_000), "not ahead");
    }

    #[test]
    fn each_fault_names_its_field_and_repeats_nothing_of_it() {
        let auth = BASE64URL_NOPAD.encode(&[1; 16]);
        let with = |change: &dyn Fn(&mut Value)| {
            let mut one = web_push();
            change(&mut one);
            json!({"push": [one]})
        };
        let cases = [
            (json!({"mail": "secret"}), "/mail"),
            (json!({"email": "secret"}), "/email"),
            (json!({"email": "secret@host"}), "/email"),
            (json!({"email": "Ann <secret@example.org>"}), "/email"),
            (json!({"email": "a@secret@example.org"}), "/email"),
            (json!({"email": "secret\r\n@example.org"}), "/email"),
            (json!({"email": format!("secret@{}.org", "x".repeat(300))}), "/email"),
            (json!({"phone": "0301234567"}), "/phone"),
            (json!({"phone": "+49 301234567"}), "/phone"),
            (json!({"phone": "+0301234567"}), "/phone"),
            (json!({"phone": "+1234567890123456"}), "/phone"),
            (json!({"phone": 4_930_123_456_u64}), "/phone"),
            (json!({"push": {"kind": "fcm"}}), "/push"),
            (json!({"push": vec![json!({"kind": "fcm", "token": "a"}); 2]}), "/push/1"),
            (json!({"push": [{"token": "secret"}]}), "/push/0/kind"),
            (json!({"push": [{"kind": "gcm", "token": "secret"}]}), "/push/0/kind"),
            (json!({"push": [{"kind": "fcm"}]}), "/push/0/token"),
            (json!({"push": [{"kind": "fcm", "token": "secret token"}]}), "/push/0/token"),
            (json!({"push": [{"kind": "apns", "token": "secret"}]}), "/push/0/token"),
            (json!({"push": [{"kind": "apns", "token": "abc"}]}), "/push/0/token"),
            (json!({"push": [{"kind": "fcm", "token": "a", "endpoint": "b"}]}), "/push/0/endpoint"),
            (
                json!({"push": [{"kind": "fcm", "token": "a", "registered_at": "secret"}]}),
                "/push/0/registered_at",
            ),
            (with(&|one| one["endpoint"] = json!("http://secret.example/")), "/push/0/endpoint"),
            (with(&|one| one["endpoint"] = json!("https://user:secret@h/")), "/push/0/endpoint"),
            (with(&|one| one["endpoint"] = json!("https:///secret")), "/push/0/endpoint"),
            (with(&|one| one["keys"] = Value::Null), "/push/0/keys"),
            (with(&|one| one["keys"] = json!({"p256dh": p256dh()})), "/push/0/keys/auth"),
            (with(&|one| one["keys"]["auth"] = json!("secret")), "/push/0/keys/auth"),
            (with(&|one| one["keys"]["p256dh"] = json!(auth)), "/push/0/keys/p256dh"),
        ];
        for (body, pointer) in cases {
            let problem = read(&body).expect_err(pointer);
            assert_eq!(problem.pointer.as_deref(), Some(pointer), "{body}: {}", problem.detail);
            assert!(!problem.detail.contains("secret"), "{}", problem.detail);
        }
        let many: Vec<_> =
            (0..=PUSH_REGISTRATIONS_MAX).map(|i| json!({"kind": "fcm", "token": i.to_string()})).collect();
        assert_eq!(read(&json!({"push": many})).expect_err("many").pointer.as_deref(), Some("/push"));
    }
}
