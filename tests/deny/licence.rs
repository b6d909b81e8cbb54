//! SPDX expressions: whether what is allowed is enough. `OR` offers a choice, `AND` asks for both and binds tighter.

/// Whether these licences satisfy the expression. `/` is the old way to write `OR`.
pub(crate) fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader { tokens: &tokens, allowed };
    let good = reader.any();
    good && reader.tokens.is_empty()
}

struct Reader<'a> {
    tokens: &'a [&'a str],
    allowed: &'a [String],
}

impl Reader<'_> {
    fn take(&mut self, word: &str) -> bool {
        let there = self.tokens.first() == Some(&word);
        if there {
            self.tokens = &self.tokens[1..];
        }
        there
    }

    fn any(&mut self) -> bool {
        let mut good = self.both();
        while self.take("OR") {
            good |= self.both();
        }
        good
    }

    fn both(&mut self) -> bool {
        let mut good = self.one();
        while self.take("AND") {
            good &= self.one();
        }
        good
    }

    fn one(&mut self) -> bool {
        if self.take("(") {
            let good = self.any();
            return self.take(")") && good;
        }
        let Some((name, rest)) = self.tokens.split_first() else { return false };
        self.tokens = rest;
        let mut name = name.trim_end_matches('+').to_owned();
        if self.take("WITH") {
            let Some((exception, rest)) = self.tokens.split_first() else { return false };
            name = format!("{name} WITH {exception}");
            self.tokens = rest;
        }
        self.allowed.contains(&name)
    }
}

#[test]
fn expressions_are_read_as_spdx_says() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "MIT AND ISC",
        "GPL-3.0 OR MIT AND ISC",
        "(GPL-3.0 OR MIT) AND ISC",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
    ] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR ISC) AND GPL-3.0",
        "Apache-2.0",
        "(MIT",
        "MIT)",
        "MIT ISC",
    ] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
