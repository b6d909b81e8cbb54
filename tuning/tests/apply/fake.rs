//! A host of plain files: what Linux 6.18 shows on an ordinary 4 GiB machine.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const SYSCTLS: [(&str, &str); 24] = [
    ("fs.nr_open", "1048576"),
    ("fs.file-max", "409600"),
    ("vm.max_map_count", "65530"),
    ("kernel.threads-max", "31000"),
    ("kernel.io_uring_disabled", "0"),
    ("net.core.somaxconn", "4096"),
    ("net.ipv4.tcp_max_syn_backlog", "2048"),
    ("net.ipv4.tcp_syncookies", "1"),
    ("net.ipv4.tcp_synack_retries", "5"),
    ("net.ipv4.tcp_abort_on_overflow", "0"),
    ("net.ipv4.tcp_ehash_entries", "32768"),
    ("net.ipv4.ip_local_port_range", "32768\t60999"),
    ("net.ipv4.ip_local_reserved_ports", ""),
    ("net.ipv4.tcp_tw_reuse", "2"),
    ("net.ipv4.tcp_max_tw_buckets", "16384"),
    ("net.ipv4.tcp_fin_timeout", "60"),
    ("net.ipv4.tcp_mem", "45000\t60000\t90000"),
    ("net.ipv4.tcp_rmem", "4096\t131072\t6291456"),
    ("net.ipv4.tcp_wmem", "4096\t16384\t4194304"),
    ("net.ipv4.tcp_notsent_lowat", "4294967295"),
    ("net.ipv4.tcp_slow_start_after_idle", "1"),
    ("net.core.netdev_max_backlog", "1000"),
    ("net.core.netdev_budget", "300"),
    ("net.core.netdev_budget_usecs", "8000"),
];

pub(crate) struct Host {
    root: TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Host {
    pub(crate) fn ordinary() -> Host {
        let host = Host { root: tempfile::tempdir().expect("a folder") };
        for (name, value) in SYSCTLS {
            host.set(name, value);
        }
        host.write("proc/meminfo", "MemTotal:        4194304 kB\n");
        host.write("proc/cpuinfo", "processor\t: 0\nprocessor\t: 1\n");
        host.write(
            "proc/self/limits",
            "Max open files            20000                20000                files\n\
             Max locked memory         8388608              8388608              bytes\n",
        );
        host.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
        host.write("sys/class/net/eth0/device/vendor", "0x1af4\n");
        host.write("etc/hosts", "127.0.0.1 localhost\n");
        host
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let file = self.root().join(path);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
        std::fs::write(file, text).expect("a file");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(self.root().join(path), mode).expect("a mode");
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        self.write(&format!("proc/sys/{}", name.replace('.', "/")), &format!("{value}\n"));
    }

    pub(crate) fn get(&self, name: &str) -> String {
        self.read(&format!("proc/sys/{}", name.replace('.', "/"))).trim().to_owned()
    }

    /// Runs the program on this host.
    pub(crate) fn tuning(&self, arguments: &[&str]) -> Said {
        let root = self.root().display().to_string();
        let here: &[&str] = if arguments.contains(&"plan") { &[] } else { &["--root", &root] };
        bare(&[arguments, here].concat())
    }

    /// Every file and folder with its mode and text.
    pub(crate) fn tree(&self) -> BTreeMap<String, (u32, Option<String>)> {
        let mut tree = BTreeMap::new();
        let mut folders = vec![self.root().to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let mode = path.metadata().expect("metadata").permissions().mode();
                let text = path.is_file().then(|| std::fs::read_to_string(&path).expect("a text"));
                tree.insert(path.display().to_string(), (mode, text));
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        tree
    }
}

/// Runs the program, wherever that is.
pub(crate) fn bare(arguments: &[&str]) -> Said {
    said(Command::new(env!("CARGO_BIN_EXE_tuning")).args(arguments))
}

pub(crate) fn said(command: &mut Command) -> Said {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TOCSIN_")) {
        command.env_remove(name);
    }
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}
