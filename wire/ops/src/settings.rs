//! Settings: one TOML file into one type a program, with the environment laid over it.
//!
//! A program declares its settings as one struct with `#[serde(deny_unknown_fields, default)]` at every level; this
//! room adds what a person needs when the file is wrong: the file, the line, and the nearest key that exists.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Environment variables that begin so are settings.
pub const ENVIRONMENT_PREFIX: &str = "TOCSIN_";

/// Settings that cannot be used; one line for a person. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{}: {why}", file.display())]
    Unreadable { file: PathBuf, why: std::io::Error },
    #[error("{file}:{line}: {why}")]
    Wrong { file: String, line: usize, why: String },
    #[error("environment variable {name}: {why}")]
    Environment { name: String, why: String },
}

/// Reads `file` (none: all defaults) and the process's environment. `sections` are the dotted names of the
/// tables that a variable may address: `TOCSIN_GATEWAY_TLS_CERT` is `cert` of `gateway.tls` if that is listed.
pub fn read<T: DeserializeOwned>(file: Option<&Path>, sections: &[&str]) -> Result<T, SettingsError> {
    let text = match file {
        None => String::new(),
        Some(file) => std::fs::read_to_string(file)
            .map_err(|why| SettingsError::Unreadable { file: file.to_owned(), why })?,
    };
    let name = file.map_or_else(|| "settings".to_owned(), |file| file.display().to_string());
    parse(&text, &name, sections, std::env::vars())
}

/// The same for a text and variables given by the caller.
pub fn parse<T: DeserializeOwned>(
    text: &str,
    file: &str,
    sections: &[&str],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<T, SettingsError> {
    let wrong = |error: &toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        SettingsError::Wrong { file: file.to_owned(), line, why: explain(error.message()) }
    };
    // The file on its own first, so that its faults carry its lines.
    let plain: T = toml::from_str(text).map_err(|error| wrong(&error))?;
    let mut table: toml::Table = toml::from_str(text).map_err(|error| wrong(&error))?;
    let mut variables: Vec<(String, String)> =
        environment.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
    variables.sort();
    if variables.is_empty() {
        return Ok(plain);
    }
    let mut merged = plain;
    for (name, value) in variables {
        let fault = |why: String| SettingsError::Environment { name: name.clone(), why };
        let (section, key) = address(&name, sections)
            .ok_or_else(|| fault("names no section; TOCSIN_<SECTION>_<KEY> is the form".to_owned()))?;
        let slot = section
            .split('.')
            .try_fold(&mut table, |table, part| {
                table.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new())).as_table_mut()
            })
            .ok_or_else(|| fault(format!("{section} is not a table in {file}")))?;
        // A string first if the field takes one (a version "1" or a name "true" stays text); else as TOML.
        slot.insert(key.clone(), toml::Value::String(value.clone()));
        merged = match table.clone().try_into::<T>() {
            Ok(settings) => settings,
            Err(as_text) => {
                let Some(typed) = as_toml(&value) else { return Err(fault(explain(as_text.message()))) };
                insert(&mut table, &section, key, typed);
                table.clone().try_into::<T>().map_err(|error| fault(explain(error.message())))?
            }
        };
    }
    Ok(merged)
}

fn insert(table: &mut toml::Table, section: &str, key: String, value: toml::Value) {
    let slot = section.split('.').try_fold(table, |table, part| table.get_mut(part)?.as_table_mut());
    slot.expect("the section was made above").insert(key, value);
}

fn as_toml(value: &str) -> Option<toml::Value> {
    let table: toml::Table = toml::from_str(&format!("value = {value}")).ok()?;
    (table.len() == 1).then(|| table.get("value").cloned()).flatten()
}

/// `TOCSIN_GATEWAY_TLS_CERT` → (`gateway.tls`, `cert`), by the longest section that fits.
fn address(name: &str, sections: &[&str]) -> Option<(String, String)> {
    let rest = name.strip_prefix(ENVIRONMENT_PREFIX)?.to_ascii_lowercase();
    sections
        .iter()
        .filter_map(|section| {
            let key = rest.strip_prefix(&section.replace('.', "_"))?.strip_prefix('_')?;
            (!key.is_empty()).then(|| ((*section).to_owned(), key.to_owned()))
        })
        .max_by_key(|(section, _)| section.len())
}

/// Serde's message on one line, with the nearest known key when the fault is an unknown one.
fn explain(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(" ");
    let Some(unknown) = line.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) else {
        return line;
    };
    let known = line.split('`').skip(3).step_by(2);
    match known.min_by_key(|key| strsim::damerau_levenshtein(unknown, key)) {
        Some(nearest) => format!("unknown key `{unknown}`; did you mean `{nearest}`?"),
        None => format!("unknown key `{unknown}`; there are none here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct File {
        gateway: Gateway,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Gateway {
        node: String,
        soft_limit: u32,
        trusted: Vec<String>,
        tls: Tls,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Tls {
        cert: String,
    }

    const SECTIONS: [&str; 2] = ["gateway", "gateway.tls"];

    fn parsed(text: &str, variables: &[(&str, &str)]) -> Result<File, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        parse(text, "tocsin.toml", &SECTIONS, variables).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known() {
        let error = parsed("[gateway]\nnode = \"a\"\nsoft_limt = 3\n", &[]).unwrap_err();
        assert_eq!(error, "tocsin.toml:3: unknown key `soft_limt`; did you mean `soft_limit`?");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let error = parsed("[gateway]\n\nsoft_limit = \"many\"\n", &[]).unwrap_err();
        assert!(error.starts_with("tocsin.toml:3: invalid type"), "{error}");
    }

    #[test]
    fn the_environment_lies_over_the_file() {
        let file = parsed(
            "[gateway]\nsoft_limit = 1\nnode = \"a\"\n",
            &[
                ("TOCSIN_GATEWAY_SOFT_LIMIT", "7"),
                ("TOCSIN_GATEWAY_NODE", "7"),
                ("TOCSIN_GATEWAY_TLS_CERT", "/c"),
                ("TOCSIN_GATEWAY_TRUSTED", "[\"10.0.0.1\"]"),
                ("PATH", "/bin"),
            ],
        );
        let gateway = file.unwrap().gateway;
        assert_eq!((gateway.soft_limit, gateway.node.as_str(), gateway.tls.cert.as_str()), (7, "7", "/c"));
        assert_eq!(gateway.trusted, ["10.0.0.1"]);
    }

    #[test]
    fn a_variable_that_fits_nowhere_is_refused() {
        assert!(parsed("", &[("TOCSIN_NOWHERE_X", "1")]).unwrap_err().contains("names no section"));
        let error = parsed("", &[("TOCSIN_GATEWAY_SOFT_LIMT", "1")]).unwrap_err();
        assert_eq!(
            error,
            "environment variable TOCSIN_GATEWAY_SOFT_LIMT: unknown key `soft_limt`; did you mean `soft_limit`?"
        );
        assert!(parsed("", &[("TOCSIN_GATEWAY_SOFT_LIMIT", "x")]).unwrap_err().contains("SOFT_LIMIT"));
    }

    #[test]
    fn no_file_is_all_defaults() {
        assert_eq!(parsed("", &[]), Ok(File::default()));
    }
}
