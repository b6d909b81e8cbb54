//! What SES tells of a mail: events in its own words, one behind the other. Pure.
//!
//! Source: https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html

use serde_json::{Map, Value, json};

/// Whose account it is; made up.
const ACCOUNT: &str = "123456789012";

/// A mail that was taken.
#[derive(Debug, Clone)]
pub(super) struct Mail {
    pub(super) id: String,
    pub(super) from: Value,
    pub(super) to: String,
    pub(super) subject: Value,
    pub(super) configuration_set: String,
    /// `EmailTags` as they were sent.
    pub(super) tags: Value,
}

impl Mail {
    /// If it is one of those of which events are told.
    pub(super) fn of(document: &Value, id: &str, to: &str) -> Option<Mail> {
        Some(Mail {
            id: id.to_owned(),
            from: document["FromEmailAddress"].clone(),
            to: to.to_owned(),
            subject: document["Content"]["Simple"]["Subject"]["Data"].clone(),
            configuration_set: document["ConfigurationSetName"].as_str()?.to_owned(),
            tags: document["EmailTags"].clone(),
        })
    }

    fn tags(&self) -> Map<String, Value> {
        let pairs = self.tags.as_array().into_iter().flatten();
        let named = pairs.filter_map(|tag| Some((tag["Name"].as_str()?.to_owned(), json!([tag["Value"]]))));
        let own = [
            ("ses:configuration-set", self.configuration_set.clone()),
            ("ses:caller-identity", "shop".to_owned()),
        ];
        named.chain(own.map(|(name, value)| (name.to_owned(), json!([value])))).collect()
    }
}

/// `Bounce` is for good, `SoftBounce` for now; SES calls both a bounce.
pub(crate) const KINDS: [&str; 6] = ["Send", "Delivery", "Bounce", "SoftBounce", "Complaint", "Reject"];

/// One event of a mail. `at`: in SES's words for a time.
pub(super) fn event(kind: &str, mail: &Mail, at: &str) -> Value {
    let recipient = json!({ "emailAddress": mail.to });
    let bounce = |kind: &str, status: &str, words: &str| {
        let mut recipient = recipient.clone();
        recipient["action"] = "failed".into();
        recipient["status"] = status.into();
        recipient["diagnosticCode"] = words.into();
        json!({ "bounceType": kind, "bounceSubType": "General", "bouncedRecipients": [recipient], "timestamp": at,
            "feedbackId": format!("{}-bounce", mail.id), "reportingMTA": "dns; mx.simulated.example" })
    };
    let (name, key, told) = match kind {
        "Delivery" => {
            let told = json!({ "timestamp": at, "processingTimeMillis": 546, "recipients": [mail.to],
                "smtpResponse": "250 2.6.0 Message received", "reportingMTA": "mx.simulated.example" });
            ("Delivery", "delivery", told)
        }
        "Bounce" => ("Bounce", "bounce", bounce("Permanent", "5.1.1", "smtp; 550 5.1.1 user unknown")),
        "SoftBounce" => ("Bounce", "bounce", bounce("Transient", "4.2.2", "smtp; 452 4.2.2 mailbox full")),
        "Complaint" => {
            let told = json!({ "complainedRecipients": [recipient], "timestamp": at, "feedbackId": format!("{}-complaint", mail.id),
                "userAgent": "a mail reader", "complaintFeedbackType": "abuse", "arrivalDate": at });
            ("Complaint", "complaint", told)
        }
        "Reject" => ("Reject", "reject", json!({ "reason": "Bad content" })),
        _ => ("Send", "send", json!({})),
    };
    let mut event = json!({ "eventType": name, "mail": {
        "timestamp": at, "source": mail.from, "sourceArn": format!("arn:aws:ses:eu-west-1:{ACCOUNT}:identity/shop.example"),
        "sendingAccountId": ACCOUNT, "messageId": mail.id, "destination": [mail.to], "headersTruncated": false, "headers": [],
        "commonHeaders": { "from": [mail.from], "to": [mail.to], "messageId": mail.id, "subject": mail.subject },
        "tags": mail.tags(),
    } });
    event[key] = told;
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_its_mail_and_what_the_sender_tagged_it_with() {
        let document = json!({ "FromEmailAddress": "a@shop.example", "ConfigurationSetName": "events",
            "EmailTags": [{ "Name": "tocsin0", "Value": "AAAA" }] });
        let mail = Mail::of(&document, "0102-1", "ada@x.example").expect("events are told");
        for kind in KINDS {
            let event = event(kind, &mail, "2026-02-20T10:00:00.000Z");
            assert_eq!(event["mail"]["tags"]["tocsin0"], json!(["AAAA"]), "{kind}");
            assert_eq!(event["eventType"], kind.trim_start_matches("Soft"));
        }
        assert!(
            Mail::of(&json!({}), "0102-1", "ada@x.example").is_none(),
            "without a configuration set nothing is told"
        );
    }
}
