//! What fits into a push: 4,096 bytes at all services. What is shown is cut, at a character; data is not, since half of it is
//! worth nothing. Pure.

use super::letter::Letter;
use super::words;

/// Of the document that a device gets.
pub const BYTES_MAX: usize = 4_096;
/// What stands where something was cut.
const CUT: &str = "…";

/// What is shown of a letter.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    pub title: Option<&'a str>,
    pub body: Option<&'a str>,
}

/// What `build` makes of the letter, in at most `max` bytes. `None`: even without anything shown it is too long.
pub fn fit(letter: &Letter, max: usize, build: impl Fn(Shown<'_>) -> Vec<u8>) -> Option<Vec<u8>> {
    let title = letter.title.as_deref().map(words::one_line).filter(|title| !title.is_empty());
    let body = letter.body.as_deref().map(words::plain).filter(|body| !body.is_empty());
    let (title, body) = (title.as_deref(), body.as_deref());
    let whole = build(Shown { title, body });
    if whole.len() <= max {
        return Some(whole);
    }
    let title_alone = || Some(build(Shown { title, body: None })).filter(|bytes| bytes.len() <= max);
    let with_body = body.and_then(|body| longest(body, max, |cut| build(Shown { title, body: Some(cut) })));
    with_body
        .or_else(title_alone)
        .or_else(|| longest(title?, max, |cut| build(Shown { title: Some(cut), body: None })))
}

/// The longest beginning of `text` with which the document fits: of one character at least.
fn longest(text: &str, max: usize, build: impl Fn(&str) -> Vec<u8>) -> Option<Vec<u8>> {
    let ends: Vec<usize> = text.char_indices().map(|(at, c)| at + c.len_utf8()).collect();
    let cut = |chars: usize| build(&format!("{}{CUT}", &text[..ends[chars - 1]]));
    let (mut low, mut high) = (0, ends.len());
    while low < high {
        let middle = (low + high).div_ceil(2);
        if cut(middle).len() <= max { low = middle } else { high = middle - 1 }
    }
    (low > 0).then(|| cut(low))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::provider::letter::Address;
    use crate::provider::words::tests::letter;
    use crate::record::Channel;

    fn document(shown: Shown<'_>, data: &str) -> Vec<u8> {
        json!({ "title": shown.title, "body": shown.body, "data": data }).to_string().into_bytes()
    }

    fn long(body: &str) -> Letter {
        Letter { body: Some(body.to_owned()), ..letter(Channel::Push, Address::Fcm("t".to_owned())) }
    }

    #[test]
    fn what_is_shown_is_cut_at_a_character_and_data_stays_whole() {
        let data = "d".repeat(500);
        // Quotes are two bytes in JSON, the others of two and four in UTF-8.
        for one in ["a", "\"", "я", "\u{1F600}"] {
            let letter = long(&one.repeat(5_000));
            let bytes = fit(&letter, BYTES_MAX, |shown| document(shown, &data)).unwrap();
            assert!((BYTES_MAX - 8..=BYTES_MAX).contains(&bytes.len()), "{one}: {}", bytes.len());
            let read: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert!(read["body"].as_str().unwrap().ends_with("…"));
            assert_eq!((&read["data"], &read["title"]), (&json!(data), &json!("Title")));
        }
    }

    #[test]
    fn data_that_is_too_long_alone_does_not_go() {
        let fits = |length: usize| {
            let data = "d".repeat(length);
            fit(&long("body"), BYTES_MAX, |shown| document(shown, &data))
        };
        assert!(fits(4_000).is_some());
        assert!(fits(4_096).is_none());
        // Only the title has room.
        let tight = fits(4_057).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&tight).unwrap();
        assert_eq!((read["body"].is_null(), &read["title"]), (true, &json!("Title")));
    }
}
