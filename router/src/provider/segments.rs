//! How many segments a short message takes, and how much of a text fits into some. Pure.
//!
//! Source: 3GPP TS 23.038, section 6.2.1 (the default alphabet and its extension), and TS 23.040 (six bytes of each
//! segment say which part of a longer message it is).

/// The default alphabet without its escape.
const GSM_7: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// Behind an escape: two septets each.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// 160 septets, or 153 in each part.
    Gsm7,
    /// 70 units of UTF-16, or 67 in each part.
    Ucs2,
}

impl Alphabet {
    pub fn of(text: &str) -> Alphabet {
        let is_gsm = text.chars().all(|c| GSM_7.contains(c) || EXTENDED.contains(c));
        if is_gsm { Alphabet::Gsm7 } else { Alphabet::Ucs2 }
    }

    fn width(self, c: char) -> usize {
        match self {
            Alphabet::Gsm7 if EXTENDED.contains(c) => 2,
            Alphabet::Gsm7 => 1,
            Alphabet::Ucs2 => c.len_utf16(),
        }
    }

    /// Units of a message of one segment, and of each part of a longer one.
    fn room(self) -> (usize, usize) {
        match self {
            Alphabet::Gsm7 => (160, 153),
            Alphabet::Ucs2 => (70, 67),
        }
    }
}

/// Segments of `text`. A character of two units is not torn apart between two.
pub fn count(text: &str) -> usize {
    let alphabet = Alphabet::of(text);
    let (alone, each) = alphabet.room();
    let units: usize = text.chars().map(|c| alphabet.width(c)).sum();
    if units <= alone { usize::from(units > 0) } else { parts(text, alphabet, each) }
}

fn parts(text: &str, alphabet: Alphabet, each: usize) -> usize {
    let (mut parts, mut used) = (1, 0);
    for width in text.chars().map(|c| alphabet.width(c)) {
        if used + width > each {
            (parts, used) = (parts + 1, 0);
        }
        used += width;
    }
    parts
}

/// As much of `text` as fits into `max` segments, with dots where it was cut.
pub fn cut(text: &str, max: usize) -> String {
    if count(text) <= max {
        return text.to_owned();
    }
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let fits = |chars: &usize| count(&format!("{}...", &text[..ends[*chars]])) <= max;
    let (mut low, mut high) = (0, ends.len() - 1);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(&middle) { low = middle } else { high = middle - 1 }
    }
    format!("{}...", &text[..ends[low]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_counted_as_networks_count_them() {
        let cases = [
            (String::new(), 0),
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            // A septet is left free at the end of each part: 76 of two, and one more part.
            ("€".repeat(152), 2),
            ("€".repeat(153), 3),
            ("я".repeat(70), 1),
            ("я".repeat(71), 2),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            ("😀".repeat(67), 3),
        ];
        for (text, segments) in cases {
            assert_eq!(count(&text), segments, "{} × {:?}", text.chars().count(), text.chars().next());
        }
    }

    #[test]
    fn a_cut_text_fits_and_is_as_long_as_it_can_be() {
        for one in ["a", "€", "я", "😀"] {
            let long = one.repeat(2_000);
            let short = cut(&long, 3);
            assert_eq!(count(&short), 3);
            let more = format!("{}{one}...", short.trim_end_matches('.'));
            assert_eq!(count(&more), 4, "{one}");
        }
        assert_eq!(cut("short", 1), "short");
    }
}
