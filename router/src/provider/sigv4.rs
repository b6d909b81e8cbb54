//! AWS Signature Version 4 of one request, over ring's HMAC: as much of it as a POST to a fixed path needs. Pure.
//!
//! Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html; held against AWS's own test suite below.

use data_encoding::HEXLOWER;
use ring::{digest, hmac};
use time::OffsetDateTime;
use wire::time::Wall;

/// Who signs, and for what.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    pub access_key: &'a str,
    pub secret_key: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

/// What is signed. `headers`: in small letters, sorted by name, `host` and `x-amz-date` among them.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// As `x-amz-date` has it: `20150830T123600Z`.
pub fn date(now: Wall) -> String {
    let date =
        OffsetDateTime::from_unix_timestamp(now.millis() / 1_000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = date.to_calendar_date();
    let (hour, minute, second) = date.to_hms();
    format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z", u8::from(month))
}

/// The value of `Authorization`. `date`: as the request's `x-amz-date` has it.
pub fn authorization(scope: &Scope<'_>, asked: &Asked<'_>, date: &str) -> String {
    let names: Vec<&str> = asked.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = asked
        .headers
        .iter()
        .flat_map(|(name, value)| {
            [
                name,
                ":",
                value.trim(),
                "
",
            ]
        })
        .collect();
    let hash = hash(asked.body);
    let canonical = format!("{}\n{}\n\n{lines}\n{names}\n{hash}", asked.method, asked.path);
    let day = date.get(..8).unwrap_or_default();
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{place}\n{}", self::hash(canonical.as_bytes()));
    let steps = [day, scope.region, scope.service, "aws4_request", &text];
    let first = format!("AWS4{}", scope.secret_key).into_bytes();
    let signature = steps.iter().fold(first, |key, step| sign(&key, step));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={}",
        scope.access_key,
        HEXLOWER.encode(&signature)
    )
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hash(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: Scope<'_> = Scope {
        access_key: "AKIDEXAMPLE",
        secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        region: "us-east-1",
        service: "service",
    };
    const DATE: &str = "20150830T123600Z";
    const HEADERS: &[(&str, &str)] = &[("host", "example.amazonaws.com"), ("x-amz-date", DATE)];

    /// `get-vanilla`, `post-vanilla` and `post-x-www-form-urlencoded` of aws-sig-v4-test-suite.
    #[test]
    fn signatures_are_those_of_aws_s_test_suite() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], &'a str);
        let form: &[(&str, &str)] =
            &[("content-type", "application/x-www-form-urlencoded"), HEADERS[0], HEADERS[1]];
        let cases: [Case<'_>; 3] = [
            ("GET", HEADERS, b"", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", HEADERS, b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "POST",
                form,
                b"Param1=value1",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
        ];
        for (method, headers, body, signature) in cases {
            let header = authorization(&SCOPE, &Asked { method, path: "/", headers, body }, DATE);
            assert!(header.ends_with(&format!("Signature={signature}")), "{method} {header}");
        }
    }

    #[test]
    fn a_date_is_in_utc_without_marks() {
        assert_eq!(date(Wall::parse("2015-08-30T12:36:00.9Z").unwrap()), DATE);
    }
}
