//! The files that `tuning apply` writes: sysctl.d, limits.d, systemd drop-ins. Pure: values in, texts out.

use std::fmt::Write as _;

/// Bounds of a process. `None`: the profile does not care, or somebody else set more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub nofile: Option<u64>,
    /// Locked memory without bound: it is rings and registered buffers, a few MiB.
    pub memlock: bool,
}

/// A sysctl as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub name: &'static str,
    pub value: String,
    pub why: &'static str,
}

const HEAD: &str = "# Written by `tuning apply`, which shows what it would write with --dry-run; `tuning apply --undo` takes it back.\n";
pub const SYSCTLS: &str = "etc/sysctl.d/90-tocsin.conf";
pub const LIMITS: &str = "etc/security/limits.d/90-tocsin.conf";

/// Where a unit's limits go.
pub fn drop_in(unit: &str) -> String {
    format!("etc/systemd/system/{unit}.d/90-tocsin-limits.conf")
}

/// sysctl.d(5). `None` when there is nothing to say.
pub fn sysctls(lines: &[Line]) -> Option<String> {
    let mut text = HEAD.to_owned();
    for Line { name, value, why } in lines {
        // Writing to a String never fails.
        let _infallible = writeln!(text, "\n# {why}\n{name} = {value}");
    }
    (!lines.is_empty()).then_some(text)
}

/// limits.conf(5): for logins and shells of that user.
pub fn limits(user: &str, limits: Limits) -> Option<String> {
    let mut text = HEAD.to_owned();
    for kind in ["soft", "hard"] {
        if let Some(nofile) = limits.nofile {
            let _infallible = writeln!(text, "{user} {kind} nofile {nofile}");
        }
        if limits.memlock {
            let _infallible = writeln!(text, "{user} {kind} memlock unlimited");
        }
    }
    (limits != Limits::default()).then_some(text)
}

/// systemd.exec(5): for the service.
pub fn unit_limits(limits: Limits) -> Option<String> {
    let mut text = format!("{HEAD}[Service]\n");
    if let Some(nofile) = limits.nofile {
        let _infallible = writeln!(text, "LimitNOFILE={nofile}");
    }
    if limits.memlock {
        text.push_str("LimitMEMLOCK=infinity\n");
    }
    (limits != Limits::default()).then_some(text)
}

/// The highest bound on open files that limits.conf(5) texts give a user; `u64::MAX` is unlimited.
pub fn nofile_of_user(texts: &[String], user: &str) -> Option<u64> {
    let lines = texts.iter().flat_map(|text| text.lines());
    lines
        .filter_map(|line| {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            match words.as_slice() {
                [who, "hard" | "-", "nofile", bound] if *who == user || *who == "*" => number(bound),
                _ => None,
            }
        })
        .max()
}

/// The highest bound on open files that unit files give.
pub fn nofile_of_unit(texts: &[String]) -> Option<u64> {
    let lines = texts.iter().flat_map(|text| text.lines());
    let bounds = lines.filter_map(|line| line.trim().strip_prefix("LimitNOFILE="));
    bounds.filter_map(|bound| number(bound.rsplit(':').next().unwrap_or(bound))).max()
}

fn number(bound: &str) -> Option<u64> {
    match bound.trim() {
        "unlimited" | "infinity" | "-1" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_why_beside_each_value() {
        let line = Line { name: "net.core.somaxconn", value: "65535".to_owned(), why: "a storm waits here" };
        let text = sysctls(&[line]).expect("a text");
        assert!(text.ends_with("\n# a storm waits here\nnet.core.somaxconn = 65535\n"), "{text}");
        assert_eq!(sysctls(&[]), None);
    }

    #[test]
    fn limits_are_said_to_shells_and_to_services() {
        let both = Limits { nofile: Some(7), memlock: true };
        let text = limits("tocsin", both).expect("a text");
        for line in ["tocsin soft nofile 7", "tocsin hard nofile 7", "tocsin hard memlock unlimited"] {
            assert!(text.lines().any(|found| found == line), "{text}");
        }
        let text = unit_limits(both).expect("a text");
        assert!(text.contains("[Service]\nLimitNOFILE=7\nLimitMEMLOCK=infinity\n"), "{text}");
        assert_eq!((limits("tocsin", Limits::default()), unit_limits(Limits::default())), (None, None));
    }

    #[test]
    fn what_others_allow_is_read() {
        let texts = ["# c\n* hard nofile 5\ntocsin - nofile 9 # nine\nada hard nofile 99\n".to_owned()];
        assert_eq!(nofile_of_user(&texts, "tocsin"), Some(9));
        assert_eq!(nofile_of_user(&texts, "eve"), Some(5));
        let texts = ["[Service]\nLimitNOFILE=10:20\n".to_owned(), "LimitNOFILE=infinity\n".to_owned()];
        assert_eq!((nofile_of_unit(&texts[..1]), nofile_of_unit(&texts)), (Some(20), Some(u64::MAX)));
    }
}
