//! `tuning apply` and `--undo` as a person runs them: against a host of plain files, and against the kernel in a network
//! namespace of its own.
#![forbid(unsafe_code)]

mod fake;
mod in_parts;
mod kernel;
mod readers;

use fake::Host;

#[test]
fn a_dry_run_shows_everything_and_changes_nothing() {
    let host = Host::ordinary();
    let before = host.tree();
    let said = host.tuning(&["apply", "--profile", "gateway-1m", "--dry-run"]);
    assert_eq!(said.code, 0, "{said:?}");
    for words in [
        "--- /dev/null\n+++ /etc/sysctl.d/90-tocsin.conf",
        "+net.core.somaxconn = 65535",
        "+LimitNOFILE=2000000",
        "+tocsin hard nofile 2000000",
        "set      net.core.somaxconn: 4096 → 65535",
        "by hand  thash_entries: add thash_entries=2097152",
        "nothing was changed",
    ] {
        assert!(said.out.contains(words), "{words:?} is not in: {}", said.out);
    }
    assert_eq!(host.tree(), before);
}

#[test]
fn undo_restores_every_value_and_file_exactly() {
    for profile in ["gateway-500k", "gateway-1m", "loadtest", "router"] {
        let host = Host::ordinary();
        let before = host.tree();
        let said = host.tuning(&["apply", "--profile", profile]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_ne!(host.tree(), before, "{profile} changed something");
        let said = host.tuning(&["apply", "--undo"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_eq!(host.tree(), before, "{profile}");
    }
}

#[test]
fn what_was_applied_fits() {
    let host = Host::ordinary();
    host.tuning(&["apply", "--profile", "gateway-500k"]);
    let said = host.tuning(&["check", "--profile", "gateway-500k", "--json"]);
    let check: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    let bad: Vec<&str> = check["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|finding| ["low", "high"].contains(&finding["verdict"].as_str().expect("a word")))
        .map(|finding| finding["name"].as_str().expect("a name"))
        .collect();
    // The limits are those of the process that asks, and the table's size is decided at boot.
    assert_eq!(bad, ["RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "thash_entries"]);
}

#[test]
fn a_second_apply_changes_nothing() {
    let host = Host::ordinary();
    host.tuning(&["apply", "--profile", "loadtest"]);
    let before = host.tree();
    let said = host.tuning(&["apply", "--profile", "loadtest"]);
    assert!(said.code == 0 && said.out.contains("nothing is to be changed for loadtest"), "{said:?}");
    assert_eq!(host.tree(), before);
}

#[test]
fn a_better_value_is_never_made_worse() {
    let host = Host::ordinary();
    host.set("net.core.somaxconn", "1000000");
    host.set("net.ipv4.tcp_mem", "9000000 1 9000000");
    host.set("net.ipv4.tcp_wmem", "1024 16384 4194304");
    host.write("etc/security/limits.d/50-others.conf", "tocsin hard nofile 3000000\n");
    host.write("etc/systemd/system/tocsin-gateway.service", "[Service]\nLimitNOFILE=infinity\n");
    let said = host.tuning(&["apply", "--profile", "gateway-1m"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(host.get("net.core.somaxconn"), "1000000");
    assert_eq!(host.get("net.ipv4.tcp_mem"), "9000000 346030 9000000", "each number for itself");
    assert_eq!(host.get("net.ipv4.tcp_wmem"), "1024 16384 1048576");
    let sysctls = host.read("etc/sysctl.d/90-tocsin.conf");
    assert!(!sysctls.contains("somaxconn"), "{sysctls}");
    assert!(!host.read("etc/security/limits.d/90-tocsin.conf").contains("nofile"));
    let unit = host.read("etc/systemd/system/tocsin-gateway.service.d/90-tocsin-limits.conf");
    assert!(!unit.contains("NOFILE") && unit.contains("LimitMEMLOCK=infinity"), "{unit}");
}

#[test]
fn profiles_add_up_and_one_undo_takes_all_back() {
    let host = Host::ordinary();
    let before = host.tree();
    host.tuning(&["apply", "--profile", "gateway-1m"]);
    host.tuning(&["apply", "--profile", "gateway-500k"]);
    host.tuning(&["apply", "--profile", "loadtest"]);
    let sysctls = host.read("etc/sysctl.d/90-tocsin.conf");
    for line in ["fs.nr_open = 4000000", "net.ipv4.ip_local_port_range = 1024 65535"] {
        assert!(sysctls.contains(line), "{line} of the larger profile holds: {sysctls}");
    }
    assert_eq!(host.get("fs.nr_open"), "4000000");
    assert_eq!(host.tuning(&["apply", "--undo"]).code, 0);
    assert_eq!(host.tree(), before);
}

#[test]
fn a_file_that_was_there_comes_back_with_its_mode() {
    let host = Host::ordinary();
    host.write("etc/sysctl.d/90-tocsin.conf", "net.core.somaxconn = 5\n");
    host.chmod("etc/sysctl.d/90-tocsin.conf", 0o600);
    let before = host.tree();
    let said = host.tuning(&["apply", "--profile", "router", "--dry-run"]);
    assert!(said.out.contains("-net.core.somaxconn = 5\n"), "the diff shows what goes: {}", said.out);
    host.tuning(&["apply", "--profile", "gateway-1m"]);
    assert_ne!(host.tree(), before);
    host.tuning(&["apply", "--undo"]);
    assert_eq!(host.tree(), before);
}

#[test]
fn reserved_ports_are_added_to_others_and_the_rest_of_the_list_stays() {
    let host = Host::ordinary();
    host.set("net.ipv4.ip_local_reserved_ports", "5000-5010");
    host.tuning(&["apply", "--profile", "loadtest", "--only", "net.ipv4.ip_local_reserved_ports"]);
    assert_eq!(host.get("net.ipv4.ip_local_reserved_ports"), "5000-5010,8080,8090,8443,9090,9101,9102");
    host.tuning(&["apply", "--undo"]);
    assert_eq!(host.get("net.ipv4.ip_local_reserved_ports"), "5000-5010");
}

#[test]
fn undo_without_a_record_says_so() {
    let host = Host::ordinary();
    let said = host.tuning(&["apply", "--undo"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("nothing to undo: no record at"), "{said:?}");
    assert_eq!(said.err.lines().count(), 1);
    host.tuning(&["apply", "--profile", "router"]);
    host.tuning(&["apply", "--undo"]);
    assert_eq!(host.tuning(&["apply", "--undo"]).code, 1, "it was undone once");
}

#[test]
fn bad_usage_is_one_line_and_exit_code_2() {
    let host = Host::ordinary();
    let before = host.tree();
    for (arguments, says) in [
        (vec!["apply", "--profile", "gateway-2m"], "gateway-2m"),
        (vec!["apply", "--only", "net.core.somaxcon"], "did you mean \"net.core.somaxconn\"?"),
        (vec!["apply", "--user", "*"], "no user's name"),
        (vec!["apply", "--undo", "--profile", "router"], "--profile"),
        (vec!["apply", "--force"], "--undo"),
        (vec!["check", "--profile", ""], "--profile"),
        (vec!["plan"], "--connections"),
        (vec!["plan", "-n", "0"], "1..=100000000"),
        (vec!["plan", "-n", "1", "--rate=-1"], "between 0 and"),
        (vec!["plan", "-n", "1", "--rate", "NaN"], "between 0 and"),
        (vec!["--config", "/nowhere/tuning.toml", "check"], "/nowhere/tuning.toml"),
    ] {
        let said = host.tuning(&arguments);
        assert_eq!(said.code, 2, "{arguments:?}: {said:?}");
        assert!(said.err.contains(says) && said.err.lines().count() == 1, "{arguments:?}: {said:?}");
    }
    let said = fake::bare(&["apply", "--root", "/nowhere/at/all"]);
    assert!(said.code == 2 && said.err.contains("/nowhere/at/all is no folder"), "{said:?}");
    let said = fake::bare(&[]);
    assert!(said.code == 2 && said.err.contains("say what to do"), "{said:?}");
    assert_eq!(host.tree(), before);
}

#[test]
fn settings_say_what_is_wanted_otherwise() {
    let host = Host::ordinary();
    let file = host.root().join("tuning.toml");
    std::fs::write(
        &file,
        "[tuning]\nprofile = \"router\"\nuser = \"ada\"\n[tuning.wanted]\n\"net.core.somaxconn\" = [9000]\n",
    )
    .expect("a file");
    let file = file.display().to_string();
    let said = host.tuning(&["apply", "--config", &file]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(host.get("net.core.somaxconn"), "9000");
    assert!(host.read("etc/security/limits.d/90-tocsin.conf").contains("ada hard nofile 65536"));
    let said = fake::bare(&["--config", &file, "--check-config"]);
    assert!(said.code == 0 && said.out == "the settings are good\n", "{said:?}");
    std::fs::write(host.root().join("tuning.toml"), "[tuning.wanted]\n\"net.core.somaxcon\" = [1]\n")
        .expect("a file");
    let said = fake::bare(&["--config", &file, "--check-config"]);
    assert!(said.code == 2 && said.err.contains("did you mean"), "{said:?}");
}
