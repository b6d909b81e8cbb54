//! What each provider's no means, in one table: whose fault it is, from which retry, breaker and pruning follow.
//!
//! Owns the table and the order in which it is read: the provider's own code first, then the HTTP status, then the
//! kind of status. Pure. The tests beside it hold real answers against it.

use super::letter::Class;

/// Whose words they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    Fcm,
    /// Google's token server.
    Google,
    Apns,
    WebPush,
    Ses,
    Twilio,
}

/// What is known after such an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    No(Class),
    /// It may have acted on it all the same.
    Unsure,
}

use Class::{Auth, Content, Fault, Gone, Quota, Recipient, Spent};
use Meaning::{No, Unsure};
use Speaker::{Apns, Fcm, Google, Ses, Twilio, WebPush};

/// (speaker, its code or `HTTP` and the status, meaning)
const TABLE: &[(Speaker, &str, Meaning)] = &[
    // https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
    (Fcm, "UNREGISTERED", No(Gone)),
    (Fcm, "INVALID_TOKEN", No(Gone)),
    (Fcm, "SENDER_ID_MISMATCH", No(Recipient)),
    (Fcm, "INVALID_ARGUMENT", No(Content)),
    (Fcm, "QUOTA_EXCEEDED", No(Quota)),
    (Fcm, "RESOURCE_EXHAUSTED", No(Quota)),
    // Of the app's own credentials at Apple or a browser maker: others' tokens are not concerned.
    (Fcm, "THIRD_PARTY_AUTH_ERROR", No(Recipient)),
    (Fcm, "UNAUTHENTICATED", No(Auth)),
    (Fcm, "PERMISSION_DENIED", No(Auth)),
    (Fcm, "UNAVAILABLE", No(Fault)),
    (Fcm, "INTERNAL", No(Fault)),
    // Of a project that is not there; a token that is not there says UNREGISTERED.
    (Fcm, "HTTP 404", No(Auth)),
    // RFC 6749, section 5.2.
    (Google, "invalid_grant", No(Auth)),
    (Google, "invalid_client", No(Auth)),
    (Google, "HTTP 400", No(Auth)),
    (Google, "HTTP 404", No(Auth)),
    // https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
    (Apns, "BadDeviceToken", No(Gone)),
    (Apns, "ExpiredToken", No(Gone)),
    (Apns, "Unregistered", No(Gone)),
    // Of another app of the same people, or of a topic that is set wrong: not the token's end.
    (Apns, "DeviceTokenNotForTopic", No(Recipient)),
    (Apns, "TooManyRequests", No(Recipient)),
    (Apns, "PayloadTooLarge", No(Content)),
    (Apns, "PayloadEmpty", No(Content)),
    (Apns, "BadCollapseId", No(Content)),
    (Apns, "BadExpirationDate", No(Content)),
    (Apns, "BadMessageId", No(Content)),
    (Apns, "BadPriority", No(Content)),
    (Apns, "InvalidPushType", No(Content)),
    (Apns, "ExpiredProviderToken", No(Auth)),
    (Apns, "InvalidProviderToken", No(Auth)),
    (Apns, "MissingProviderToken", No(Auth)),
    (Apns, "BadCertificate", No(Auth)),
    (Apns, "BadCertificateEnvironment", No(Auth)),
    (Apns, "BadTopic", No(Auth)),
    (Apns, "MissingTopic", No(Auth)),
    (Apns, "TopicDisallowed", No(Auth)),
    (Apns, "Forbidden", No(Auth)),
    (Apns, "UnrelatedKeyIdInToken", No(Auth)),
    (Apns, "BadEnvironmentKeyIdInToken", No(Auth)),
    (Apns, "TooManyProviderTokenUpdates", No(Quota)),
    (Apns, "InternalServerError", No(Fault)),
    (Apns, "ServiceUnavailable", No(Fault)),
    (Apns, "Shutdown", No(Fault)),
    (Apns, "HTTP 410", No(Gone)),
    // RFC 8030, sections 5 and 7.3; push services say 410 or 404 when a subscription is over.
    (WebPush, "HTTP 404", No(Gone)),
    (WebPush, "HTTP 410", No(Gone)),
    (WebPush, "HTTP 413", No(Content)),
    // The subscription was made with another key than ours: its fault alone (Mozilla, Google, Apple).
    (WebPush, "HTTP 401", No(Recipient)),
    (WebPush, "HTTP 403", No(Recipient)),
    (WebPush, "VapidPkHashMismatch", No(Recipient)),
    // https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
    (Ses, "TooManyRequestsException", No(Quota)),
    (Ses, "ThrottlingException", No(Quota)),
    (Ses, "LimitExceededException", No(Spent)),
    // "Daily message quota exceeded" under the name of a throttle.
    (Ses, "DailyQuota", No(Spent)),
    (Ses, "AccountSuspendedException", No(Auth)),
    (Ses, "SendingPausedException", No(Auth)),
    (Ses, "MailFromDomainNotVerifiedException", No(Auth)),
    (Ses, "NotFoundException", No(Auth)),
    // In the sandbox, or with a sender that is not ours: "Email address is not verified".
    (Ses, "NotVerified", No(Auth)),
    (Ses, "MessageRejected", No(Content)),
    (Ses, "BadRequestException", No(Content)),
    (Ses, "InternalFailure", Unsure),
    (Ses, "InternalServiceErrorException", Unsure),
    // …/CommonErrors.html: of our key, under a status that says nothing.
    (Ses, "AccessDeniedException", No(Auth)),
    (Ses, "ExpiredTokenException", No(Auth)),
    (Ses, "IncompleteSignature", No(Auth)),
    (Ses, "InvalidClientTokenId", No(Auth)),
    (Ses, "InvalidSignatureException", No(Auth)),
    (Ses, "MissingAuthenticationToken", No(Auth)),
    (Ses, "NotAuthorized", No(Auth)),
    (Ses, "OptInRequired", No(Auth)),
    (Ses, "RequestExpired", No(Auth)),
    (Ses, "SignatureDoesNotMatch", No(Auth)),
    (Ses, "UnrecognizedClientException", No(Auth)),
    (Ses, "Throttling", No(Quota)),
    (Ses, "ServiceUnavailable", No(Fault)),
    // https://www.twilio.com/docs/api/errors, and of an undelivered message its ErrorCode.
    (Twilio, "20003", No(Auth)),
    (Twilio, "20005", No(Auth)),
    (Twilio, "20008", No(Auth)),
    (Twilio, "20404", No(Auth)),
    (Twilio, "20429", No(Quota)),
    (Twilio, "14107", No(Quota)),
    (Twilio, "30001", No(Quota)),
    (Twilio, "30022", No(Quota)),
    (Twilio, "63038", No(Spent)),
    // Not a number, or none that can be had by this channel ever.
    (Twilio, "21211", No(Gone)),
    (Twilio, "21217", No(Gone)),
    (Twilio, "21401", No(Gone)),
    (Twilio, "21614", No(Gone)),
    (Twilio, "30005", No(Gone)),
    (Twilio, "30006", No(Gone)),
    // Said STOP: theirs to take back.
    (Twilio, "21610", No(Gone)),
    (Twilio, "30004", No(Recipient)),
    (Twilio, "30003", No(Recipient)),
    (Twilio, "21612", No(Recipient)),
    // A country that the account may not send to.
    (Twilio, "21408", No(Recipient)),
    (Twilio, "21215", No(Recipient)),
    (Twilio, "21608", No(Recipient)),
    (Twilio, "21602", No(Content)),
    (Twilio, "21605", No(Content)),
    (Twilio, "21617", No(Content)),
    (Twilio, "21619", No(Content)),
    (Twilio, "30007", No(Content)),
    (Twilio, "30019", No(Content)),
    (Twilio, "30002", No(Auth)),
    (Twilio, "21210", No(Auth)),
    (Twilio, "21212", No(Auth)),
    (Twilio, "21603", No(Auth)),
    (Twilio, "21606", No(Auth)),
    (Twilio, "21609", No(Auth)),
    (Twilio, "21611", No(Quota)),
    (Twilio, "21703", No(Auth)),
    (Twilio, "30034", No(Auth)),
    (Twilio, "30008", No(Fault)),
    (Twilio, "20500", No(Fault)),
    (Twilio, "20503", No(Fault)),
    (Twilio, "busy", No(Recipient)),
    (Twilio, "no-answer", No(Recipient)),
    (Twilio, "canceled", No(Fault)),
    (Twilio, "failed", No(Fault)),
    (Twilio, "undelivered", No(Recipient)),
];

/// What `speaker` means by its own `code` (if it gave one) and by the HTTP status.
pub fn meaning(speaker: Speaker, status: u16, code: Option<&str>) -> Meaning {
    let by_status = format!("HTTP {status}");
    let known = |code: &str| TABLE.iter().find(|row| row.0 == speaker && row.1 == code).map(|row| row.2);
    code.and_then(known).or_else(|| known(&by_status)).unwrap_or_else(|| by_kind(speaker, status))
}

fn by_kind(speaker: Speaker, status: u16) -> Meaning {
    match status {
        401 | 402 | 403 | 407 => No(Auth),
        429 => No(Quota),
        408 | 425 => No(Fault),
        400..=499 => No(Content),
        // One of theirs in front of what sends answered: what lies behind may have acted.
        500..=599 if matches!(speaker, Twilio | Ses) => Unsure,
        500..=599 => No(Fault),
        // A redirect, or something that no provider says: the endpoint is not theirs.
        _ => No(Auth),
    }
}

/// How far a mail came when the server said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Greeting, TLS, who we are.
    Hello,
    From,
    To,
    Data,
    /// All of it is there.
    Text,
}

/// What a mail server means: by the step first, then by its enhanced code (RFC 3463), then by its code (RFC 5321).
pub fn smtp(step: Step, code: u16, said: &str) -> Class {
    if step == Step::Hello {
        return if (530..=538).contains(&code) { Auth } else { Fault };
    }
    match (code, enhanced(said)) {
        // SES over SMTP: "Throttling failure: Daily message quota exceeded"; Gmail: 5.4.5.
        (454, _) if said.contains("Daily") => Spent,
        (_, Some("5.4.5")) => Spent,
        (421, _) => Fault,
        // The mailbox, the domain or the address itself is not there. Nothing else gives an address up: what is said of our
        // sending would be said to everybody.
        (_, Some("5.1.1" | "5.1.2" | "5.1.3" | "5.1.6" | "5.1.10")) => {
            if step == Step::To {
                Gone
            } else {
                Recipient
            }
        }
        // The address takes no letters beyond ASCII here.
        (_, Some("5.6.7")) => Recipient,
        (_, Some("5.1.7" | "5.1.8")) => Auth,
        (_, Some("5.7.1")) => Content,
        (_, Some(enhanced)) if enhanced.starts_with("5.7.") => Auth,
        (_, Some("5.3.4")) => Content,
        (_, Some(enhanced)) if enhanced.starts_with("5.6.") => Content,
        (_, Some(enhanced)) if enhanced.starts_with("5.2.") => Recipient,
        // Greylisting, full for now, too many at once: later, and nobody is to blame.
        (450..=452 | 454, _) => Quota,
        (400..=499, _) => Fault,
        (530..=538, _) => Auth,
        (552, _) => Recipient,
        _ => match step {
            Step::Hello | Step::From => Auth,
            Step::To => Recipient,
            Step::Data | Step::Text => Content,
        },
    }
}

/// `5.1.1` at the beginning of a reply's words.
pub fn enhanced(said: &str) -> Option<&str> {
    let word = said.split_whitespace().next()?;
    let parts: Vec<&str> = word.split('.').collect();
    let is_code = parts.len() == 3
        && matches!(parts[0], "2" | "4" | "5")
        && parts
            .iter()
            .all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()));
    is_code.then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replies as Postfix, Exchange, Gmail and SES give them.
    #[test]
    fn a_mail_server_s_no_is_whose_fault_it_is() {
        use Step::{Data, From, Hello, Text, To};
        let cases = [
            (To, 550, "5.1.1 <x>: Recipient address rejected: User unknown in virtual mailbox table", Gone),
            (To, 550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found", Gone),
            // Of us, whoever it is for: nobody's address is given up for it.
            (Text, 550, "5.7.26 Your email has been blocked because the sender is unauthenticated.", Auth),
            (From, 550, "5.7.60 SMTP; Client does not have permissions to send as this sender", Auth),
            (To, 550, "5.7.708 Service unavailable. Access denied, traffic not accepted from this IP", Auth),
            (Text, 550, "5.7.1 Our system has detected that this message is likely spam", Content),
            (To, 550, "IP blacklisted", Recipient),
            (Hello, 554, "5.7.1 Service unavailable; client host blocked", Fault),
            (Text, 550, "5.1.1 user unknown", Recipient),
            (Text, 550, "5.4.5 Daily user sending limit exceeded", Spent),
            (To, 552, "5.2.2 The recipient's inbox is out of storage space", Recipient),
            (To, 553, "5.6.7 the server takes no such address", Recipient),
            (To, 452, "4.2.2 The email account that you tried to reach is over quota", Quota),
            (Text, 454, "Throttling failure: Maximum sending rate exceeded.", Quota),
            (Text, 454, "Throttling failure: Daily message quota exceeded.", Spent),
            (Hello, 535, "5.7.8 Error: authentication failed", Auth),
            (From, 530, "5.7.0 Must issue a STARTTLS command first", Auth),
            (Text, 554, "Message rejected: Email address is not verified.", Content),
            (To, 421, "4.7.0 Try again later, closing connection.", Fault),
            (To, 450, "4.2.0 <x>: Recipient address rejected: Greylisted", Quota),
            (To, 451, "4.7.1 Please try again later", Quota),
            (Data, 432, "4.3.2 not now", Fault),
        ];
        for (step, code, said, expected) in cases {
            assert_eq!(smtp(step, code, said), expected, "{step:?} {code} {said}");
        }
    }
}
