//! `[tuning]` of the settings file: which profile, for which user, and what an operator wants otherwise than the table.
//!
//! Parsed once into real values; a name that is no row of the table, or numbers that do not fit the row, are refused.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::profile::Profile;
use crate::table::{self, Facts, Row};
use crate::wish::Wish;

/// The tables that an environment variable may address.
const SECTIONS: [&str; 2] = ["tuning", "tuning.wanted"];
/// Bytes of a user's name.
const USER_BYTES_MAX: usize = 32;

/// The whole file. The tables of other programs are theirs to read; only their names are known here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tuning: Tuning,
    gateway: IgnoredAny,
    router: IgnoredAny,
    loadtest: IgnoredAny,
    kafka: IgnoredAny,
    redis: IgnoredAny,
    cassandra: IgnoredAny,
    provider: IgnoredAny,
    otp: IgnoredAny,
    alerts: IgnoredAny,
    retention: IgnoredAny,
    templates: IgnoredAny,
    email: IgnoredAny,
    console: IgnoredAny,
}

/// `[tuning]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tuning {
    /// The profile where `--profile` is not given.
    pub profile: Profile,
    /// Who runs the programs: limits.d names this user.
    pub user: String,
    /// Numbers to want instead of the table's, by the row's name: `"net.core.somaxconn" = [16384]`.
    pub wanted: BTreeMap<String, Vec<u64>>,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { profile: Profile::Gateway500k, user: "tocsin".to_owned(), wanted: BTreeMap::new() }
    }
}

/// Reads and checks the settings; an error is one line. Exit code 2.
pub fn read(file: Option<&Path>) -> Result<Tuning, String> {
    let File { tuning, .. } = ops::settings::read(file, &SECTIONS).map_err(|error| error.to_string())?;
    tuning.check()?;
    Ok(tuning)
}

impl Tuning {
    fn check(&self) -> Result<(), String> {
        check_user(&self.user).map_err(|why| format!("tuning.user: {why}"))?;
        for (name, numbers) in &self.wanted {
            let row = table::rows().find(|row| row.name == name);
            let row = row.ok_or_else(|| format!("tuning.wanted: {}", unknown_name(name)))?;
            // The shape of a wish does not depend on the host's size.
            let facts = Facts { memory_bytes: Some(1 << 30), page_bytes: 4_096 };
            let fits = PROFILES.iter().filter_map(|profile| row.wish(*profile, &facts));
            if fits.map(|wish| wish.with_numbers(numbers)).any(|fitted| fitted.is_none()) {
                return Err(format!(
                    "tuning.wanted.{name:?} = {numbers:?} does not fit: {}",
                    shape(row, &facts)
                ));
            }
        }
        Ok(())
    }

    /// What a profile wants of a row: the operator's numbers, else the table's.
    pub fn wish(&self, row: &Row, profile: Profile, facts: &Facts) -> Option<Wish> {
        let wish = row.wish(profile, facts)?;
        match self.wanted.get(row.name) {
            Some(numbers) => wish.with_numbers(numbers),
            None => Some(wish),
        }
    }
}

const PROFILES: [Profile; 4] = [Profile::Gateway500k, Profile::Gateway1m, Profile::Loadtest, Profile::Router];

fn shape(row: &Row, facts: &Facts) -> String {
    let wish = PROFILES.iter().find_map(|profile| row.wish(*profile, facts));
    wish.map_or_else(String::new, |wish| format!("the table's is {wish}"))
}

/// A name that no row has, with the nearest that one has.
pub fn unknown_name(name: &str) -> String {
    let nearest =
        table::rows().map(|row| row.name).min_by_key(|known| strsim::damerau_levenshtein(name, known));
    format!("there is no value {name:?}; did you mean {:?}?", nearest.unwrap_or_default())
}

/// A name that can stand in limits.d: nothing that means more than one user there.
pub fn check_user(user: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
    let opens = user.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if opens && user.len() <= USER_BYTES_MAX && user.chars().all(fits) {
        Ok(())
    } else {
        Err(format!("{user:?} is no user's name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Tuning, String> {
        let file: Result<File, _> = ops::settings::parse(text, "tocsin.toml", &SECTIONS, std::iter::empty());
        let tuning = file.map_err(|error| error.to_string())?.tuning;
        tuning.check()?;
        Ok(tuning)
    }

    #[test]
    fn no_file_is_the_table_as_it_is() {
        assert_eq!(parsed(""), Ok(Tuning::default()));
        assert_eq!(parsed("[gateway]\nsoft_limit = 5\n"), Ok(Tuning::default()), "others' tables are theirs");
    }

    #[test]
    fn an_operators_numbers_are_wanted_instead() {
        let tuning =
            parsed("[tuning]\nprofile = \"loadtest\"\n[tuning.wanted]\n\"fs.file-max\" = [7]\n").unwrap();
        assert_eq!(tuning.profile, Profile::Loadtest);
        let row = table::rows().find(|row| row.name == "fs.file-max").unwrap();
        let facts = Facts { memory_bytes: None, page_bytes: 4_096 };
        assert_eq!(tuning.wish(row, Profile::Loadtest, &facts), Some(Wish::AtLeast(vec![7].into())));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_one_line() {
        for (text, says) in [
            ("[tuning.wanted]\n\"net.core.somaxcon\" = [7]\n", "did you mean \"net.core.somaxconn\"?"),
            ("[tuning.wanted]\n\"net.ipv4.tcp_mem\" = [7]\n", "does not fit"),
            ("[tuning.wanted]\n\"mitigations\" = [7]\n", "does not fit"),
            ("[tuning.wanted]\n\"net.ipv4.ip_local_port_range\" = [9, 5]\n", "does not fit"),
            ("[tuning]\nuser = \"*\"\n", "no user's name"),
            ("[tuning]\nuser = \"@all\"\n", "no user's name"),
            (
                "[tuning]\nprofil = \"router\"\n",
                "tocsin.toml:2: unknown key `profil`; did you mean `profile`?",
            ),
            ("[tuning]\nprofile = \"gateway-2m\"\n", "tocsin.toml:2"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(says) && error.lines().count() == 1, "{error}");
        }
    }
}
