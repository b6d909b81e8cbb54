//! The key that the simulated SNS signs with, and what it signs. Everybody knows the key: it was made for this and proves nothing.
//!
//! Signs as PKCS #1, version 1.5 says (RFC 8017, section 8.2.1), with SHA-1 or SHA-256: what signs elsewhere here has no SHA-1, by which SNS
//! signs unless a topic is told otherwise. Slow (some milliseconds), and in nobody's way. Pure.

use std::sync::LazyLock;

use data_encoding::BASE64;
use num_bigint::BigUint;
use ring::digest;
use serde_json::{Map, Value};

/// Bytes of a signature.
const BYTES: usize = 256;
/// `DigestInfo` in front of a hash (RFC 8017, section 9.2, note 1).
const SHA1: &[u8] =
    &[0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14];
const SHA256: &[u8] = &[
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];
const MODULUS: &str = "d9a5035efa597c4c23a0d9ce4f5e0268524adf0d58042659e37a14e8031851d479c14c7f15b15dabd9381b78b835c1699ad20df1a52c419e9ad772c1\
     4b16e9d6261374226048b1bab88ad3030be7f243d4aff0a34d002e70b2cb52b55457318b63e5c02998688e2e7e6bcbe3d22e4a7aab149a169f9f1a87\
     831f483c643b99144b17159a572c80aa989672a6aee3f6a879393a2c5fc874d7f9877f8d00c0a4503ecae0a5faa906b4b6c9abab3e0093707fc06ca3\
     33589f2ff8a9a90cd4a003eb43b539ed505cb671ccecabf7c93420857c2979000e0b40be159bb276d1a07a4cdec83128f946c3865b3fd2beeb4290d1\
     11b2703fd5c75388c987e74569298cc5";
const EXPONENT: &str = "6a9d93112bc23a49720a91a7a6e97e746c1b9138902d383c405ac57302511f84de3ffaa126974433b2acf1882974ebd237ad3e77695a4caacd5f4d2f\
     b300fe7b911b6680907a0bd654206d4dc8bf4ec63ba214576a98f426f0eef90d2acbabd184963f9420bcd7299f745ee4b34949e2dd7bb21ff3019595\
     5c7e2e7ca6fd2af706ae78c173e9ddb96f9196b9979c60511a2abbae8f79ed63fbff370c36b9bbf15357b97c139eb46c30a424937e829d1718708864\
     7075314db4caf4f2d8314bb4a08954bb2ce25453d483beeaee9d79d77f99252ec87dde3a0f1db1e37ac5048cd19689408e1ce19aff765bba7866e5bc\
     f37adf78c0e796d0d94322dc231c5be1";
/// Of that key, for a hundred years.
pub(super) const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
MIIDIzCCAgugAwIBAgIUFzGGmWqfiipFs5SBT6oOesx0hMgwDQYJKoZIhvcNAQEL\n\
BQAwIDEeMBwGA1UEAwwVc25zLnNpbXVsYXRlZC5leGFtcGxlMCAXDTI2MTEzMDE3\n\
NDQyNFoYDzIxMjYxMTA2MTc0NDI0WjAgMR4wHAYDVQQDDBVzbnMuc2ltdWxhdGVk\n\
LmV4YW1wbGUwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIBAQDZpQNe+ll8\n\
TCOg2c5PXgJoUkrfDVgEJlnjehToAxhR1HnBTH8VsV2r2TgbeLg1wWma0g3xpSxB\n\
nprXcsFLFunWJhN0ImBIsbq4itMDC+fyQ9Sv8KNNAC5wsstStVRXMYtj5cApmGiO\n\
Ln5ry+PSLkp6qxSaFp+fGoeDH0g8ZDuZFEsXFZpXLICqmJZypq7j9qh5OTosX8h0\n\
1/mHf40AwKRQPsrgpfqpBrS2yaurPgCTcH/AbKMzWJ8v+KmpDNSgA+tDtTntUFy2\n\
cczsq/fJNCCFfCl5AA4LQL4Vm7J20aB6TN7IMSj5RsOGWz/SvutCkNERsnA/1cdT\n\
iMmH50VpKYzFAgMBAAGjUzBRMB0GA1UdDgQWBBRJn/irr5U8h/ZADR4FwNDNFbSJ\n\
3DAfBgNVHSMEGDAWgBRJn/irr5U8h/ZADR4FwNDNFbSJ3DAPBgNVHRMBAf8EBTAD\n\
AQH/MA0GCSqGSIb3DQEBCwUAA4IBAQCIaXnY1kzybygF2C/8AF2izQRJhoHTvTZo\n\
GFfOfHX03qn750pFHc7rWF34mPV59b38+YEQab5RP8J6aKrht+js+ugNWRLoTs7y\n\
tWqmhUYb/j14lQK0ejK87G16DLcU8Pji76aDbGCoj4/0j4QvU8zITnykAbQZyHS3\n\
coU+p3/ABBIFl9Pc9SOugs3kF7FrXzplK1C+x+pIi84KjaJRuxFnNmR4W10qEzTI\n\
wsYMb0bFGpTiBsC1Jbcu2OtC+3IATQP1IxYDUmvat8MJrb0xzpAiapEWR/hVY/Jv\n\
VVPIEuZJjZpITZevY3J5erk8bM3WgMAF5F/pu8lr8kkFXdWPPS3W\n\
-----END CERTIFICATE-----\n";

static KEY: LazyLock<(BigUint, BigUint)> = LazyLock::new(|| {
    let number = |text: &str| BigUint::parse_bytes(text.as_bytes(), 16).expect("hexadecimal digits");
    (number(MODULUS), number(EXPONENT))
});

/// The text's signature by this version, in base64.
pub(super) fn sign(version: &str, text: &str) -> String {
    let (info, algorithm) = match version {
        "2" => (SHA256, &digest::SHA256),
        _ => (SHA1, &digest::SHA1_FOR_LEGACY_USE_ONLY),
    };
    let hash = digest::digest(algorithm, text.as_bytes());
    let end = [&[0], info, hash.as_ref()].concat();
    let mut block = vec![0xff; BYTES];
    block[..2].copy_from_slice(&[0, 1]);
    block[BYTES - end.len()..].copy_from_slice(&end);
    let (modulus, exponent) = &*KEY;
    let signature = BigUint::from_bytes_be(&block).modpow(exponent, modulus).to_bytes_be();
    let mut bytes = vec![0; BYTES - signature.len()];
    bytes.extend(signature);
    BASE64.encode(&bytes)
}

/// What of a message is signed: some of its fields by name, each on a line behind its name.
/// Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
pub(super) fn text(message: &Map<String, Value>) -> String {
    let fields: &[&str] = match message["Type"].as_str() {
        Some("Notification") => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
        _ => &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"],
    };
    let line = |name: &&str| Some(format!("{name}\n{}\n", message.get(*name)?.as_str()?));
    fields.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use ring::signature::{
        RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    };

    use super::*;

    #[test]
    fn another_program_s_verifier_believes_both_versions() {
        let (n, e) = (KEY.0.to_bytes_be(), [1, 0, 1]);
        let key = RsaPublicKeyComponents { n, e: e.to_vec() };
        for (version, algorithm) in
            [("1", &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY), ("2", &RSA_PKCS1_2048_8192_SHA256)]
        {
            let signature = BASE64.decode(sign(version, "a text").as_bytes()).expect("base64");
            assert!(key.verify(algorithm, b"a text", &signature).is_ok(), "{version}");
            assert!(key.verify(algorithm, b"b text", &signature).is_err(), "{version}");
        }
    }
}
