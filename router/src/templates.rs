//! An operator's own words for what goes out: a template for each part of a mail, a message, a push or a call, by category.
//!
//! Pure. Owns which template a letter gets, what one may use, and their bounds. What a service hands in is only ever a value in
//! one, never read as one. A template that fails for a letter leaves it with its plain words: no notification is lost by a
//! bad one. What is made here still goes through `provider::words`, as any text does: that is the last gate of each
//! channel. Read by `config::templates`, used by `provider::stationery`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, context};
use wire::time::Wall;

use crate::limits::{TEMPLATE_DEPTH_MAX, TEMPLATE_FUEL, TEMPLATE_OUTPUT_BYTES_MAX};
use crate::provider::letter::Letter;
use crate::record::Channel;
use crate::{digest, otp};

/// Stands for every category that has no template of its own, and for none.
const OTHERS: &str = "default";

/// What a template may use.
const WORDS: [&str; 11] = [
    "title",
    "body",
    "data",
    "category",
    "priority",
    "id",
    "created_at",
    "user",
    "unsubscribe_url",
    "count",
    "items",
];

/// What a template can be of: the end of its file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    EmailSubject,
    EmailText,
    EmailHtml,
    Sms,
    PushTitle,
    PushText,
    Voice,
}

impl Part {
    pub const ALL: [Part; 7] = [
        Part::EmailSubject,
        Part::EmailText,
        Part::EmailHtml,
        Part::Sms,
        Part::PushTitle,
        Part::PushText,
        Part::Voice,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Part::EmailSubject => "email.subject",
            Part::EmailText => "email.txt",
            Part::EmailHtml => "email.html",
            Part::Sms => "sms.txt",
            Part::PushTitle => "push.title",
            Part::PushText => "push.txt",
            Part::Voice => "voice.txt",
        }
    }

    fn channel(self) -> Channel {
        match self {
            Part::EmailSubject | Part::EmailText | Part::EmailHtml => Channel::Email,
            Part::Sms => Channel::Sms,
            Part::PushTitle | Part::PushText => Channel::Push,
            Part::Voice => Channel::Voice,
        }
    }

    fn put(self, letter: &mut Letter, text: String) {
        match self {
            Part::EmailSubject | Part::PushTitle => letter.title = Some(text),
            Part::EmailText | Part::PushText => letter.body = Some(text),
            Part::EmailHtml => letter.html = Some(text),
            // It is all that is sent or said.
            Part::Sms | Part::Voice => (letter.title, letter.body) = (None, Some(text)),
        }
    }

    /// Of which a file is, and for which category.
    pub fn of(file: &str) -> Option<(&str, Part)> {
        let split = |part: Part| Some((file.strip_suffix(part.name())?.strip_suffix('.')?, part));
        Part::ALL.into_iter().find_map(split).filter(|(category, _)| !category.is_empty())
    }
}

/// A template that failed for a letter. Says nothing of the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub template: String,
    pub line: Option<usize>,
    pub why: String,
    /// It had not failed before.
    pub is_first: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the template {}", self.template)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ", fails: {}", self.why)
    }
}

/// Every template, checked.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    /// Whether one has failed, by its file's name.
    failed: BTreeMap<String, AtomicBool>,
}

impl Templates {
    /// Of files by their names, each of which is one that [`Part::of`] knows. Or the first one that cannot be used, and why.
    pub fn new(files: Vec<(String, String)>) -> Result<Templates, (String, String)> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(TEMPLATE_FUEL));
        environment.set_recursion_limit(TEMPLATE_DEPTH_MAX);
        let mut failed = BTreeMap::new();
        for (name, source) in files {
            let added = environment.add_template_owned(name.clone(), source);
            added.map_err(|error| (name.clone(), error.to_string()))?;
            failed.insert(name, AtomicBool::new(false));
        }
        let mut templates = Templates { environment, failed };
        // Tried to their ends: what is missing from a sample may be in letters.
        templates.environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        templates.failed.keys().try_for_each(|name| templates.try_out(name))?;
        templates.failed.keys().try_for_each(|name| templates.check_text(name))?;
        templates.environment.set_undefined_behavior(UndefinedBehavior::Strict);
        Ok(templates)
    }

    /// HTML alone says nothing to programs that show none, and is no mail where a letter has no words of its own.
    fn check_text(&self, name: &str) -> Result<(), (String, String)> {
        let Some((category, Part::EmailHtml)) = Part::of(name) else { return Ok(()) };
        let has = |part| match category {
            digest::CATEGORY => self.of_digests(part).is_some(),
            category => self.name(Some(category), part).is_some(),
        };
        if has(Part::EmailText) || has(Part::EmailSubject) {
            return Ok(());
        }
        let why = format!("it needs {category}.email.txt or {category}.email.subject beside it");
        Err((name.to_owned(), why))
    }

    /// What is there for no letter is found at the start.
    fn try_out(&self, name: &str) -> Result<(), (String, String)> {
        use ErrorKind::{UnknownFilter, UnknownFunction, UnknownMethod, UnknownTest};
        let wrong = |why: String| Err((name.to_owned(), why));
        let template = match self.environment.get_template(name) {
            Ok(template) => template,
            Err(error) => return wrong(error.to_string()),
        };
        let is_known = |word: &str| {
            WORDS.contains(&word) || self.environment.globals().any(|(global, _)| global == word)
        };
        if let Some(word) =
            template.undeclared_variables(false).into_iter().filter(|word| !is_known(word)).min()
        {
            return wrong(format!("no letter has {word:?}; there are {}", WORDS.join(", ")));
        }
        let no_data = || Value::from(BTreeMap::<String, Value>::new());
        let value = |word: &str| match word {
            "data" => no_data(),
            "count" => Value::from(1),
            "items" => Value::from(Vec::<Value>::new()),
            _ => Value::from("text"),
        };
        let sample: BTreeMap<String, Value> =
            WORDS.into_iter().map(|word| (word.to_owned(), value(word))).collect();
        match template.render(Value::from(sample)) {
            Err(error)
                if matches!(error.kind(), UnknownFilter | UnknownFunction | UnknownMethod | UnknownTest) =>
            {
                wrong(error.to_string())
            }
            _ => Ok(()),
        }
    }

    /// Puts the operator's words in place of the letter's own, where there are any. What failed, for people to know.
    pub fn dress(&self, letter: &mut Letter, accepted_at: Wall) -> Vec<Failure> {
        let mut chosen = Vec::new();
        for part in Part::ALL.into_iter().filter(|part| part.channel() == letter.delivery.channel) {
            let name = match &letter.digest {
                Some(_) => self.of_digests(part),
                None => self.name(letter.category.as_deref(), part),
            };
            chosen.extend(name.map(|name| (part, name)));
        }
        if chosen.is_empty() {
            return Vec::new();
        }
        let words = words(letter, accepted_at);
        let mut failures = Vec::new();
        for (part, name) in chosen {
            match self.render(&name, &words) {
                Ok(Some(text)) => part.put(letter, text),
                Ok(None) => {}
                Err(failure) => failures.push(failure),
            }
        }
        failures
    }

    /// `None`: it has nothing to say.
    fn render(&self, name: &str, words: &Value) -> Result<Option<String>, Failure> {
        let failure = |line, why: &str| {
            let is_first = self.failed.get(name).is_some_and(|told| !told.swap(true, Ordering::Relaxed));
            Failure { template: name.to_owned(), line, why: why.to_owned(), is_first }
        };
        let template = self.environment.get_template(name);
        let mut paper = Paper::default();
        let written =
            template.and_then(|template| template.render_captured_to(words.clone(), &mut paper).map(drop));
        if paper.is_full {
            return Err(failure(None, &format!("it makes more than {TEMPLATE_OUTPUT_BYTES_MAX} bytes")));
        }
        // An error's details may quote the letter; its kind does not.
        written.map_err(|error| failure(error.line(), &error.kind().to_string()))?;
        let made = String::from_utf8(paper.text).map_err(|_| failure(None, "it makes no text"))?;
        Ok(Some(made).filter(|made| !made.trim().is_empty()))
    }

    /// Several notifications are only ever put into words that were written for that: others would leave them out.
    fn of_digests(&self, part: Part) -> Option<String> {
        Some(format!("{}.{}", digest::CATEGORY, part.name())).filter(|name| self.failed.contains_key(name))
    }

    /// Which template this is: the category's own, or that of all others. A one-use code is only ever put into words that
    /// were written for it: others would leave it out. One notification of a category called as digests are is none.
    fn name(&self, category: Option<&str>, part: Part) -> Option<String> {
        let name = |category: &str| format!("{category}.{}", part.name());
        let own = category.filter(|category| *category != digest::CATEGORY).map(name);
        let own = own.filter(|name| self.failed.contains_key(name));
        let others = || Some(name(OTHERS)).filter(|name| self.failed.contains_key(name));
        own.or_else(|| if category == Some(otp::CATEGORY) { None } else { others() })
    }
}

/// What a template writes on: it is full before a loop can fill the memory.
#[derive(Debug, Default)]
struct Paper {
    text: Vec<u8>,
    is_full: bool,
}

impl Write for Paper {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.text.len() + text.len() > TEMPLATE_OUTPUT_BYTES_MAX {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// [`WORDS`] of this letter. What it does not have is empty.
fn words(letter: &Letter, accepted_at: Wall) -> Value {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let data = letter.data.as_ref().and_then(|data| serde_json::from_str(data.get()).ok());
    let data: serde_json::Map<String, serde_json::Value> = data.unwrap_or_default();
    let lines = letter.digest.as_ref().map(|digest| digest.lines.clone()).unwrap_or_default();
    context! {
        title => text(&letter.title),
        body => text(&letter.body),
        data => Value::from(Serde(data)),
        category => text(&letter.category),
        priority => letter.priority.name(),
        id => letter.delivery.id.to_string(),
        created_at => accepted_at.to_string(),
        user => letter.delivery.user.clone(),
        unsubscribe_url => text(&letter.unsubscribe),
        count => letter.digest.as_ref().map_or(1, |digest| digest.count),
        items => Value::from(Serde(lines)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::provider::letter::Address;
    use crate::provider::words::{self, tests::letter};

    fn templates(files: &[(&str, &str)]) -> Templates {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Templates::new(files.collect()).expect("templates")
    }

    fn saying(channel: Channel, title: &str, body: &str) -> Letter {
        let to = match channel {
            Channel::Email => Address::Email("ada@x.example".to_owned()),
            Channel::Push => Address::Fcm("t".to_owned()),
            _ => Address::Phone("+4930123456".to_owned()),
        };
        Letter {
            title: Some(title.to_owned()),
            body: Some(body.to_owned()),
            category: Some("alert".to_owned()),
            ..letter(channel, to)
        }
    }

    fn dressed(templates: &Templates, mut letter: Letter) -> (Letter, Vec<Failure>) {
        let failures = templates.dress(&mut letter, Wall(0));
        (letter, failures)
    }

    #[test]
    fn each_part_has_the_category_s_words_or_those_of_all_others_or_its_own() {
        let all = templates(&[
            ("alert.email.subject", "[{{ priority }}] {{ title }}"),
            ("default.email.subject", "other"),
            ("default.email.html", "<p>{{ body }}</p>"),
            ("a.b.sms.txt", "of a.b: {{ body }}"),
            (
                "default.push.title",
                "{{ category }}|{{ user }}|{{ id }}|{{ created_at }}|{{ unsubscribe_url }}",
            ),
        ]);
        let (mail, failures) = dressed(&all, saying(Channel::Email, "T", "B"));
        assert_eq!(
            (mail.title.as_deref(), mail.body.as_deref(), mail.html.as_deref()),
            (Some("[critical] T"), Some("B"), Some("<p>B</p>"))
        );
        assert!(failures.is_empty());
        let other = Letter { category: None, ..saying(Channel::Email, "T", "B") };
        assert_eq!(dressed(&all, other).0.title.as_deref(), Some("other"));
        let sms = |category: &str| {
            let sms = Letter { category: Some(category.to_owned()), ..saying(Channel::Sms, "T", "B") };
            let sms = dressed(&all, sms).0;
            (sms.title, sms.body.expect("a body"))
        };
        assert_eq!(sms("a.b"), (None, "of a.b: B".to_owned()));
        assert_eq!(sms("alert"), (Some("T".to_owned()), "B".to_owned()));
        let push = dressed(&all, saying(Channel::Push, "T", "B")).0;
        let id = "00000000-0000-0000-0000-000000000007";
        assert_eq!(push.title, Some(format!("alert|ada|{id}|{}|", Wall(0))));
    }

    #[test]
    fn a_one_use_code_is_only_put_into_words_that_were_written_for_it() {
        let code = || Letter { category: Some("otp".to_owned()), ..saying(Channel::Sms, "Code", "123456") };
        let others = templates(&[("default.sms.txt", "look into the app")]);
        assert_eq!(dressed(&others, code()).0.body.as_deref(), Some("123456"));
        let own = templates(&[("otp.sms.txt", "{{ body }} @shop.example")]);
        assert_eq!(dressed(&own, code()).0.body.as_deref(), Some("123456 @shop.example"));
    }

    #[test]
    fn what_a_service_says_is_never_a_template_nor_markup() {
        let evil = "</p><script>alert(1)</script>{{ user }}{% raw %}\" onload='x'&";
        let all = templates(&[
            ("alert.email.html", "<p title=\"{{ title }}\">{{ body }} {{ data.x }}</p>"),
            ("alert.email.subject", "{{ title }}"),
            ("alert.sms.txt", "{{ title }}: {{ body }}"),
            ("alert.voice.txt", "{{ body }}"),
            ("alert.push.title", "{{ title }}"),
        ]);
        let data = serde_json::json!({ "x": evil }).to_string();
        let mail = Letter {
            data: Some(RawValue::from_string(data).expect("JSON")),
            ..saying(Channel::Email, &format!("Hi\r\nBcc: eve@x.example{evil}"), evil)
        };
        let (mail, failures) = dressed(&all, mail);
        assert!(failures.is_empty(), "{failures:?}");
        let html = mail.html.expect("HTML");
        assert_eq!(html.matches('<').count(), 2, "only the template's own: {html}");
        assert!(!html.contains("alert(1)</script>") && !html.contains("='x'"), "{html}");
        assert_eq!(html.matches("{{ user }}").count(), 3, "not read as a template: {html}");
        let title = mail.title.expect("a subject");
        assert_eq!(words::one_line(&title).lines().count(), 1);
        let odd = "one\u{0}\u{1b}[2J\r\ntwo\u{202e}";
        let sms = dressed(&all, saying(Channel::Sms, "a\r\nb", odd)).0;
        assert_eq!(words::sms(&sms).as_deref(), Some("a\nb: one[2J\ntwo"));
        let call = dressed(&all, saying(Channel::Voice, "", "</Say><Dial>+1</Dial>")).0;
        let twiml = words::twiml(&call).expect("words");
        assert!(twiml.contains("&lt;/Say&gt;&lt;Dial&gt;") && !twiml.contains("<Dial>"), "{twiml}");
    }

    #[test]
    fn a_template_that_fails_leaves_the_plain_words_and_is_told_once() {
        let all = templates(&[
            ("alert.email.subject", "{{ title }}\n{{ data.missing }}"),
            ("alert.email.html", "{{ data.missing.deeper }}"),
            ("alert.email.txt", "  \n"),
        ]);
        let (mail, failures) = dressed(&all, saying(Channel::Email, "T", "B"));
        assert_eq!((mail.title.as_deref(), mail.body.as_deref(), mail.html), (Some("T"), Some("B"), None));
        let told: Vec<_> = failures.iter().map(|one| (one.template.as_str(), one.line)).collect();
        assert_eq!(told, [("alert.email.subject", Some(2)), ("alert.email.html", Some(1))]);
        assert!(failures.iter().all(|one| one.is_first && one.why.contains("undefined")), "{failures:?}");
        let line = "the template alert.email.subject, line 2, fails: undefined value";
        assert_eq!(failures[0].to_string(), line);
        let (_, again) = dressed(&all, saying(Channel::Email, "T", "B"));
        assert!(again.len() == 2 && again.iter().all(|one| !one.is_first));
    }

    #[test]
    fn a_template_that_never_ends_or_makes_too_much_is_stopped() {
        let all = templates(&[
            (
                "alert.sms.txt",
                "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            ),
            ("alert.push.txt", "{{ body|replace('a', 'aaaaaaaaaaaaaaaaaaaa') }}"),
        ]);
        let long = "a".repeat(16 * 1_024);
        let (sms, endless) = dressed(&all, saying(Channel::Sms, "T", &long));
        let (push, large) = dressed(&all, saying(Channel::Push, "T", &long));
        let why = |failures: &[Failure]| failures.iter().map(|one| one.why.clone()).collect::<Vec<_>>();
        assert_eq!(
            (why(&endless), why(&large)),
            (vec!["engine ran out of fuel".to_owned()], vec!["it makes more than 131072 bytes".to_owned()])
        );
        assert_eq!((sms.body.as_ref(), push.body.as_ref()), (Some(&long), Some(&long)));
    }

    #[test]
    fn what_a_letter_may_lack_can_be_asked_for() {
        let all = templates(&[(
            "alert.sms.txt",
            "{{ title }}{% if data.order is defined %} {{ data.order.id }}{% endif %} {{ data.by|default('us') }}",
        )]);
        let said = |data: Option<&str>| {
            let data = data.map(|data| RawValue::from_string(data.to_owned()).expect("JSON"));
            let (sms, failures) = dressed(&all, Letter { data, ..saying(Channel::Sms, "T", "B") });
            assert!(failures.is_empty(), "{failures:?}");
            sms.body.expect("a body")
        };
        assert_eq!(said(None), "T us");
        assert_eq!(said(Some(r#"{"order":{"id":7},"by":"mail"}"#)), "T 7 mail");
    }

    #[test]
    fn html_has_a_text_beside_it() {
        let file = |name: &str| (name.to_owned(), "{{ body }}".to_owned());
        let (name, why) = Templates::new(vec![file("a.email.html")]).expect_err("HTML alone");
        assert!(name == "a.email.html" && why.contains("a.email.txt"), "{why}");
        for beside in ["a.email.txt", "a.email.subject", "default.email.txt"] {
            assert!(Templates::new(vec![file("a.email.html"), file(beside)]).is_ok(), "{beside}");
        }
    }

    #[test]
    fn what_cannot_be_a_template_is_found_at_the_start() {
        let wrong = |text: &str| {
            let file = ("alert.sms.txt".to_owned(), text.to_owned());
            Templates::new(vec![file]).expect_err(text)
        };
        for text in [
            "{{ title",
            "{% if title %}",
            "{{ data.order }} {{ title|uper }}",
            "{{ data.order.id }} {{ titel }}",
            "{{ title.upper() }}",
            "{{ nothing() }}",
            "{% include 'x' %}",
            "{% macro x() %}{% endmacro %}",
        ] {
            let (file, why) = wrong(text);
            assert!(file == "alert.sms.txt" && !why.is_empty() && !why.contains('\n'), "{text}: {why}");
        }
        let good = "{% for x in range(2) %}{{ loop.index }}{% set y = x %}{{ y }}{% endfor %}";
        templates(&[("alert.sms.txt", good), ("alert.push.txt", "{{ data.order.id|urlencode }}")]);
        assert_eq!(Part::of("a.b.email.html"), Some(("a.b", Part::EmailHtml)));
        for name in ["email.html", ".email.html", "alert.html", "alert.fax.txt", "alert.email.html.swp", ""] {
            assert_eq!(Part::of(name), None, "{name}");
        }
    }
}
