//! How a notification of this run is known when it comes back: its `data` is `{"lt":"<run>.<number>.<user>"}`, where user
//! is the number of the client that must get it, or `*` for all. Pure.
//!
//! The number leads to the intended time, so no clock and no id travels; the run keeps what older runs left behind in
//! inboxes out of the figures.

use memchr::memmem::Finder;

/// Longest number read: more digits are not ours.
const DIGITS_MAX: usize = 19;

/// Who must get a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    All,
    User(u32),
}

/// One message of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub number: u64,
    pub recipient: Recipient,
}

/// Writes and finds the marks of one run.
#[derive(Debug, Clone)]
pub struct Marker {
    run: u32,
    finder: Finder<'static>,
}

impl Marker {
    pub fn new(run: u32) -> Marker {
        let needle = format!("\"lt\":\"{run:08x}.");
        Marker { run, finder: Finder::new(&needle).into_owned() }
    }

    /// The `data` object of a message.
    pub fn data(&self, mark: Mark) -> String {
        let Mark { number, recipient } = mark;
        match recipient {
            Recipient::All => format!("{{\"lt\":\"{:08x}.{number}.*\"}}", self.run),
            Recipient::User(user) => format!("{{\"lt\":\"{:08x}.{number}.{user}\"}}", self.run),
        }
    }

    /// Every mark in a message of the server: one in a notification, up to a page of them in a sync batch.
    pub fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Mark> + 'a {
        let bytes = text.as_bytes();
        self.finder.find_iter(bytes).filter_map(move |at| read(&bytes[at + self.finder.needle().len()..]))
    }
}

fn read(bytes: &[u8]) -> Option<Mark> {
    let (number, rest) = number(bytes)?;
    let rest = rest.strip_prefix(b".")?;
    if rest.starts_with(b"*\"") {
        return Some(Mark { number, recipient: Recipient::All });
    }
    let (user, rest) = self::number(rest)?;
    let user = u32::try_from(user).ok()?;
    rest.starts_with(b"\"").then_some(Mark { number, recipient: Recipient::User(user) })
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let digits = bytes.iter().take(DIGITS_MAX + 1).take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > DIGITS_MAX {
        return None;
    }
    let number = bytes[..digits].iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some((number, &bytes[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_this_runs_marks_are_found() {
        let (ours, theirs) = (Marker::new(7), Marker::new(8));
        let one = Mark { number: 12, recipient: Recipient::User(3) };
        let all = Mark { number: 13, recipient: Recipient::All };
        let text = format!(
            "[{{\"data\":{}}},{{\"data\":{}}},{{\"data\":{}}}]",
            ours.data(one),
            theirs.data(one),
            ours.data(all)
        );
        assert_eq!(ours.find(&text).collect::<Vec<_>>(), [one, all]);
        assert_eq!(theirs.find(&text).collect::<Vec<_>>(), [one]);
    }

    #[test]
    fn damaged_marks_are_none() {
        let marker = Marker::new(0);
        for tail in
            ["", ".", "1", "1.", "1.2", "1.*", "x.1\"", "1.x\"", "99999999999999999999.1\"", "1.4294967296\""]
        {
            let text = format!("\"lt\":\"00000000.{tail}");
            assert_eq!(marker.find(&text).count(), 0, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_mark_survives_the_round_trip(run: u32, number in 0_u64..1 << 60, user: Option<u32>) {
            let marker = Marker::new(run);
            let mark = Mark { number, recipient: user.map_or(Recipient::All, Recipient::User) };
            let text = format!("{{\"type\":\"notification\",\"data\":{}}}", marker.data(mark));
            prop_assert_eq!(marker.find(&text).collect::<Vec<_>>(), vec![mark]);
        }
    }
}
