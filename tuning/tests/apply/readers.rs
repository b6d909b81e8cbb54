//! The files are what their readers take: systemd's own checker finds nothing wrong with the drop-ins; what sysctl.d says is
//! what the kernel was told.

use std::process::Command;

use crate::fake::{Host, said};

#[test]
fn systemd_takes_the_drop_ins() {
    if said(Command::new("sh").args(["-c", "command -v systemd-analyze"])).code != 0 {
        println!("SKIPPED: tuning apply: systemd-analyze is not there to read the drop-ins");
        return;
    }
    for (profile, unit) in [("gateway-1m", "tocsin-gateway.service"), ("router", "tocsin-router.service")] {
        let host = Host::ordinary();
        let units = host.root().join("etc/systemd/system");
        host.write(&format!("etc/systemd/system/{unit}"), "[Service]\nExecStart=/bin/true\n");
        host.tuning(&["apply", "--profile", profile]);
        // What it says about the rest of a system that is not there does not concern us.
        let complaints = |path: &str| {
            let mut command = Command::new("systemd-analyze");
            command.args(["verify", "--man=no"]).arg(units.join(unit)).env("SYSTEMD_UNIT_PATH", &units);
            let text = said(&mut command).err;
            text.lines().filter(|line| line.contains(path)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(complaints("90-tocsin-limits.conf"), [""; 0]);
        host.write(
            &format!("etc/systemd/system/{unit}.d/90-tocsin-limits.conf"),
            "[Service]\nLimitNOFILE=many\n",
        );
        assert_eq!(complaints("90-tocsin-limits.conf").len(), 1, "it would say what is wrong");
    }
}

#[test]
fn the_file_says_what_the_kernel_was_told() {
    let host = Host::ordinary();
    host.tuning(&["apply", "--profile", "loadtest"]);
    let text = host.read("etc/sysctl.d/90-tocsin.conf");
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(lines.len() > 8, "{text}");
    for line in lines {
        let (name, value) = line.split_once(" = ").unwrap_or_else(|| panic!("{line}"));
        assert_eq!(host.get(name), value, "the file and the kernel say the same");
    }
}
