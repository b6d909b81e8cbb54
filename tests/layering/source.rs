//! The sources of the checkout as the rules see them: code without comments, texts and the tests at a file's end.

use std::path::{Path, PathBuf};

/// A Rust file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Production code: comments and texts blanked, the closing `#[cfg(test)]` module cut off. Lines keep their numbers.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned(), code: without_tests(&blanked(text)) }
    }

    /// The lines on which a path or word stands as a whole: `router::` does not stand in `my_router::`.
    pub(crate) fn lines_with(&self, word: &str) -> Vec<usize> {
        let part_of_a_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let opens_with_name = part_of_a_name(word.chars().next());
        let ends_with_name = part_of_a_name(word.chars().last());
        let stands = |line: &str| {
            line.match_indices(word).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + word.len()..].chars().next();
                !(opens_with_name && part_of_a_name(before) || ends_with_name && part_of_a_name(after))
            })
        };
        let lines = self.code.lines().enumerate();
        lines.filter(|(_, line)| stands(line)).map(|(number, _)| number + 1).collect()
    }

    /// The tests of a room in a file of their own.
    pub(crate) fn is_tests(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/src/") && self.path.contains("/tests/")
    }

    pub(crate) fn is_under(&self, places: &[&str]) -> bool {
        places.iter().any(|place| match place.strip_suffix("/**") {
            Some(folder) => self.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
            None => self.path == *place,
        })
    }
}

/// All Rust files of the workspace, build scripts, benches, examples and tests with them.
pub(crate) fn all() -> Vec<Source> {
    let root = tests::paths::root();
    let mut sources = Vec::new();
    for folder in ["gateway", "loadtest", "router", "tests", "tuning", "wire"] {
        walk(&root.join(folder), &mut |file| {
            let path = file.strip_prefix(&root).expect("it was found there").display().to_string();
            let text = std::fs::read_to_string(file).expect("a source can be read");
            sources.push(Source::new(&path, &text));
        });
    }
    assert!(sources.len() > 50, "the sources were found: {}", sources.len());
    sources
}

/// Those that users run.
pub(crate) fn production() -> impl Iterator<Item = Source> {
    all().into_iter().filter(|source| {
        source.path.contains("/src/") && !source.path.starts_with("tests/") && !source.is_tests()
    })
}

fn walk(folder: &Path, found: &mut dyn FnMut(&Path)) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder can be read")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != "node_modules") {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found(&path);
        }
    }
}

/// Comments and the insides of texts become spaces.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = skipped(rest, out.chars().next_back());
        if length == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        }
    }
    out
}

/// Bytes of the comment, text or character that `rest` begins with; 0 if it begins with code.
fn skipped(rest: &str, before: Option<char>) -> usize {
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if !in_name && rest.starts_with('r') {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = 2 + hashes;
            return rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len());
        }
    }
    if rest.starts_with('"') {
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return at + 1,
                _ => {}
            }
        }
        return rest.len();
    }
    if let Some(escape) = rest.strip_prefix("'\\") {
        return escape.char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 3);
    }
    let mut chars = rest.char_indices();
    // 'x', but not the lifetime 'x.
    match (chars.next(), chars.next(), chars.next()) {
        (Some((_, '\'')), Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Cuts `#[cfg(test)] mod tests` off the end; by house style nothing follows it.
fn without_tests(code: &str) -> String {
    let lines: Vec<&str> = code.lines().collect();
    let cut = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod ") && pair[1].ends_with('{')
    });
    lines[..cut.unwrap_or(lines.len())].join("\n")
}

#[test]
fn comments_and_texts_are_not_code() {
    let text = "let a = \"unsafe \\\" unsafe\"; // unsafe\n/* unsafe\nunsafe */ let b = r#\"unsafe\"#;\nlet c = '\"';\nunsafe { x<'a>() }\n";
    let source = Source::new("x.rs", text);
    assert_eq!(source.lines_with("unsafe"), [5], "{}", source.code);
}

#[test]
fn a_word_stands_alone() {
    let source =
        Source::new("x.rs", "my_router::x();\nuse router::y;\nlet Instant_now = 1;\nInstant::now();\n");
    assert_eq!(source.lines_with("router::"), [2]);
    assert_eq!(source.lines_with("Instant"), [4]);
}

#[test]
fn tests_at_the_end_are_cut_off() {
    let source = Source::new("x.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    unsafe {}\n}\n");
    assert!(source.lines_with("unsafe").is_empty());
}
