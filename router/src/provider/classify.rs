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
    Smtp,
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
use Speaker::{Apns, Fcm, Google, Ses, Smtp, Twilio, WebPush};

/// (speaker, its code or `HTTP` and the status, meaning)
const TABLE: &[(Speaker, &str, Meaning)] = &[
    // https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
    (Fcm, "UNREGISTERED", No(Gone)),
    (Fcm, "INVALID_TOKEN", No(Gone)),
    (Fcm, "SENDER_ID_MISMATCH", No(Recipient)),
    (Fcm, "INVALID_ARGUMENT", No(Content)),
    (Fcm, "QUOTA_EXCEEDED", No(Quota)),
    (Fcm, "RESOURCE_EXHAUSTED", No(Quota)),
    (Fcm, "THIRD_PARTY_AUTH_ERROR", No(Auth)),
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
    // Of another app: the address is somebody's, but not ours.
    (Apns, "DeviceTokenNotForTopic", No(Gone)),
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
    // A VAPID key that is not the one the subscription was made with.
    (WebPush, "HTTP 401", No(Auth)),
    (WebPush, "HTTP 403", No(Auth)),
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
    (Ses, "InternalFailure", No(Fault)),
    (Ses, "ServiceUnavailable", No(Fault)),
    // A gateway of theirs between us and them: nobody knows.
    (Ses, "HTTP 502", Unsure),
    (Ses, "HTTP 504", Unsure),
    // RFC 5321 and RFC 3463; the step at which it was said is the carrier's business.
    (Smtp, "421", No(Fault)),
    (Smtp, "450", No(Recipient)),
    (Smtp, "451", No(Fault)),
    (Smtp, "452", No(Quota)),
    (Smtp, "454", No(Quota)),
    (Smtp, "530", No(Auth)),
    (Smtp, "534", No(Auth)),
    (Smtp, "535", No(Auth)),
    (Smtp, "538", No(Auth)),
    (Smtp, "550", No(Gone)),
    (Smtp, "551", No(Gone)),
    (Smtp, "552", No(Recipient)),
    (Smtp, "553", No(Gone)),
    (Smtp, "554", No(Content)),
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
    // Twilio's own 5xx in JSON have a code and are safe to send again (its article on retries); one without is a
    // gateway's that stands in front, and what lies behind may have acted.
    (Twilio, "HTTP 500", Unsure),
    (Twilio, "HTTP 502", Unsure),
    (Twilio, "HTTP 503", Unsure),
    (Twilio, "HTTP 504", Unsure),
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
        // SMTP has its replies where the others have their status; what is not in the table is said by its first digit.
        500..=599 if speaker == Smtp => No(Content),
        500..=599 => No(Fault),
        // A redirect, or something that no provider says: the endpoint is not theirs.
        _ => No(Auth),
    }
}
