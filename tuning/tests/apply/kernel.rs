//! The same against the running kernel, in a network namespace that the test makes and that dies with it: only values that
//! the namespace has for itself. And as somebody who is not root.

use std::process::Command;

use crate::fake::{Host, Said, said};

const NAMES: [&str; 4] = [
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_fin_timeout",
];

/// A shell in a network namespace of its own; where we are not root, in a user namespace in which we are.
fn in_a_namespace(script: &str) -> Said {
    let flags = if am_root() { "-n" } else { "-rn" };
    said(Command::new("unshare").args([flags, "sh", "-euc", script]))
}

fn am_root() -> bool {
    said(Command::new("id").arg("-u")).out.trim() == "0"
}

#[test]
fn the_kernels_values_are_set_and_restored() {
    let probe = in_a_namespace("test -w /proc/sys/net/core/somaxconn");
    if probe.code != 0 {
        println!("SKIPPED: tuning apply in a network namespace: none can be made here: {}", probe.err.trim());
        return;
    }
    let host = Host::ordinary();
    std::fs::remove_dir_all(host.root().join("proc")).expect("the plain files");
    std::os::unix::fs::symlink("/proc", host.root().join("proc")).expect("a link");
    let before = host.root().join("etc");
    let only = NAMES.map(|name| ["--only", name].join(" ")).join(" ");
    let show = NAMES.map(|name| ["cat /proc/sys", &name.replace('.', "/")].join("/")).join("; ");
    let tuning = format!("{} apply --root {}", env!("CARGO_BIN_EXE_tuning"), host.root().display());
    let script = format!(
        "show() {{ {show}; }}\n\
         show; echo ==\n\
         {tuning} --profile loadtest {only} >&2; {tuning} --profile gateway-1m {only} >&2; show; echo ==\n\
         {tuning} --profile loadtest {only}; echo ==\n\
         {tuning} --undo >&2; show"
    );
    let said = in_a_namespace(&script);
    assert_eq!(said.code, 0, "{said:?}");
    let [found, set, again, restored] = said.out.split("==\n").collect::<Vec<_>>()[..] else {
        panic!("{said:?}")
    };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(set), ["65535", "1024", "65535", "8080,8090,8443,9090,9101-9102", "15"], "{said:?}");
    assert!(again.contains("nothing is to be changed"), "{again}");
    assert_eq!(restored, found);
    assert_eq!(std::fs::read_dir(before).expect("etc").count(), 1, "only the hosts file is there");
}

#[test]
fn without_root_the_host_is_shown_and_not_touched() {
    let as_nobody = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_tuning");
        // A user namespace in which nobody is anybody: root, too, is only the overflow user there.
        let mut command = Command::new("unshare");
        if am_root() {
            command.args(["-U", program]);
        } else {
            command = Command::new(program);
        }
        said(command.args(arguments))
    };
    let shown = as_nobody(&["apply", "--profile", "gateway-1m", "--dry-run"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    let refused = as_nobody(&["apply", "--profile", "gateway-1m"]);
    // A host that has it all already has nothing to refuse.
    if !refused.out.contains("nothing is to be changed") {
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains("only root may change this host"), "{refused:?}");
        assert_eq!(refused.err.lines().count(), 1, "{refused:?}");
    }
}
