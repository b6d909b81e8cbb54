//! What goes wrong half-way, and what others change meanwhile.

use crate::fake::Host;

#[test]
fn what_cannot_be_written_is_said_and_the_rest_is_done_and_undone() {
    let host = Host::ordinary();
    // A file where a folder should be: not even root can write into it.
    host.write("etc/security/limits.d", "in the way\n");
    let before = host.tree();
    let said = host.tuning(&["apply", "--profile", "gateway-1m"]);
    // Reading what others say there fails already, before anything is changed.
    assert!(said.code == 1 && said.err.contains("cannot read the host"), "{said:?}");
    assert_eq!(host.tree(), before);
    let host = Host::ordinary();
    host.write("etc/sysctl.d", "in the way\n");
    let before = host.tree();
    let said = host.tuning(&["apply", "--profile", "gateway-1m"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(host.tree(), before, "{said:?}");
}

#[test]
fn a_value_that_the_kernel_refuses_is_said_and_the_others_are_set() {
    let host = Host::ordinary();
    let somaxconn = host.root().join("proc/sys/net/core/somaxconn");
    std::fs::remove_file(&somaxconn).expect("it is there");
    // A number that not even root can write.
    std::os::unix::fs::symlink("/proc/sys/kernel/random/poolsize", &somaxconn).expect("a link");
    let before = host.tree();
    let said = host.tuning(&["apply", "--profile", "gateway-1m"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("net.core.somaxconn: 65535 could not be set"), "{said:?}");
    assert_eq!(host.get("fs.nr_open"), "4000000");
    assert_eq!(host.tuning(&["apply", "--undo"]).code, 0);
    assert_eq!(host.tree(), before);
}

#[test]
fn an_apply_that_was_killed_half_way_can_be_undone() {
    let host = Host::ordinary();
    let before = host.tree();
    host.tuning(&["apply", "--profile", "gateway-1m"]);
    // The record was there first: a file and a value that were not reached yet are as they were found.
    std::fs::remove_file(host.root().join("etc/sysctl.d/90-tocsin.conf")).expect("it was written");
    host.set("net.core.somaxconn", "4096");
    let said = host.tuning(&["apply", "--undo"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(host.tree(), before);
}

#[test]
fn what_somebody_changed_since_is_left_unless_it_is_forced() {
    let host = Host::ordinary();
    let before = host.tree();
    host.tuning(&["apply", "--profile", "gateway-1m"]);
    host.set("net.core.somaxconn", "30000");
    host.write("etc/sysctl.d/90-tocsin.conf", "# mine now\n");
    let said = host.tuning(&["apply", "--undo", "--dry-run"]);
    assert!(said.out.contains("set      net.core.somaxconn: 30000 → 4096"), "{said:?}");
    let said = host.tuning(&["apply", "--undo"]);
    assert_eq!(said.code, 1, "{said:?}");
    for words in ["net.core.somaxconn: left at 30000: it was set to 65535", "90-tocsin.conf: left"] {
        assert!(said.err.contains(words), "{words:?}: {said:?}");
    }
    assert_eq!(host.get("net.core.somaxconn"), "30000");
    assert_eq!(host.get("fs.nr_open"), "1048576", "the rest is restored");
    let said = host.tuning(&["apply", "--undo", "--force"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(host.tree(), before);
}

#[test]
fn a_record_that_cannot_be_read_stops_everything() {
    let host = Host::ordinary();
    host.write("var/lib/tocsin/tuning.json", "{\"schema\":\"something else\"}");
    let before = host.tree();
    for arguments in [["apply", "--profile=router"], ["apply", "--undo"]] {
        let said = host.tuning(&arguments);
        assert!(said.code == 1 && said.err.contains("tuning.json"), "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
    }
    assert_eq!(host.tree(), before);
}
