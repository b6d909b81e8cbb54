//! What every report has around its own figures in HTML: the style, the head, the warnings, the cards, and below them how it was
//! run. Pure; part of `report::html`, used by the page of a comparison, too.

use std::fmt::Write as _;

use super::super::head::Head;
use super::plot::{Unit, escape, write as number};

const STYLE: &str = include_str!("report.css");

/// A whole file: head, warnings under `lead`, what `body` writes, and the command.
pub(crate) fn page(
    head: &Head,
    title: &str,
    passed: bool,
    (lead, warnings): (&str, &[String]),
    footer: &str,
    body: impl FnOnce(&mut String) -> std::fmt::Result,
) -> String {
    let mut out = String::new();
    // Writing to a String never fails.
    let _infallible = write_start(&mut out, head, &escape(title), passed)
        .and_then(|()| write_notes(&mut out, lead, warnings))
        .and_then(|()| body(&mut out))
        .and_then(|()| write_ground(&mut out, head, footer));
    out
}

fn write_start(out: &mut String, head: &Head, name: &str, passed: bool) -> std::fmt::Result {
    let (class, verdict) = if passed { ("good", "Passed") } else { ("bad", "Failed") };
    let machine = &head.machine;
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{name}</title><style>{STYLE}</style></head><body><main>\n"
    )?;
    writeln!(
        out,
        "<header><div><h1>{name}</h1><p class=\"sub\">{}<br>{} · {} cores · {} · Linux {}</p></div><span class=\"verdict {class}\">{verdict}</span></header>",
        escape(&head.time()),
        escape(&machine.cpu),
        machine.cores,
        number(machine.memory_bytes as f64, Unit::Bytes),
        escape(&machine.kernel)
    )
}

fn write_notes(out: &mut String, lead: &str, warnings: &[String]) -> std::fmt::Result {
    if warnings.is_empty() {
        return Ok(());
    }
    write!(out, "<div class=\"notes\"><b>{}</b><ul>", escape(lead))?;
    for warning in warnings {
        write!(out, "<li>{}</li>", escape(warning))?;
    }
    out.push_str("</ul></div>\n");
    Ok(())
}

/// The few numbers that it is about, each with what it is.
pub(crate) fn write_cards(out: &mut String, cards: &[(String, String)]) -> std::fmt::Result {
    out.push_str("<div class=\"cards\">");
    for (value, what) in cards {
        write!(out, "<div class=\"card\"><b>{}</b><span>{}</span></div>", escape(value), escape(what))?;
    }
    out.push_str("</div>\n");
    Ok(())
}

fn write_ground(out: &mut String, head: &Head, footer: &str) -> std::fmt::Result {
    let settings = serde_json::to_string_pretty(&head.config).unwrap_or_default();
    writeln!(
        out,
        "<h2>Command</h2><pre>{}</pre><h2>Settled as</h2><pre>{}</pre><footer>loadtest {} · {} · {}.</footer></main></body></html>",
        escape(&head.command),
        escape(&settings),
        escape(&head.version),
        escape(&head.schema),
        escape(footer)
    )
}

/// Digits in threes.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
