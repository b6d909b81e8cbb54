//! Files and memory: what a process may open, lock and hold.

use super::{LOCKED_MEMORY, NO, OPEN_FILES, Place, Row, Wanted, Weight, ZERO, least};
use crate::wish::Wish;

const PAGE: &str = "files-and-memory";
const MADVISE: Option<Wanted> = Some(Wanted::Plain(Wish::OneOf(&["madvise", "never"])));
const MEMORY: Option<Wanted> = Some(Wanted::Memory);

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "memory",
        place: Place::Memory,
        weight: Weight::Needed,
        wishes: [MEMORY, MEMORY, MEMORY, MEMORY],
        why: "an idle connection costs 4.4 KB at its server, kernel included, before any buffer fills",
        source: "tuning/src/model.rs: 3.83 KB a TCP socket, a poll, a slot, the gateway's own 256 B",
        undo: "more memory, or a higher memory.max of the cgroup",
        page: PAGE,
    },
    Row {
        name: "RLIMIT_NOFILE",
        place: Place::Limit(OPEN_FILES),
        weight: Weight::Advised,
        wishes: [least(&[1_048_576]), least(&[2_000_000]), least(&[1_048_576]), least(&[65_536])],
        why: "bounds each ring's table, not the process: with fewer than 16,640 there are more rings. A number, not \
              infinity: some programs loop over all of them",
        source: "getrlimit(2); io_uring_register_files(3)",
        undo: "tuning apply --undo, and start the service again",
        page: PAGE,
    },
    Row {
        name: "RLIMIT_MEMLOCK",
        place: Place::Limit(LOCKED_MEMORY),
        weight: Weight::Advised,
        wishes: [least(&[16 << 20]), least(&[32 << 20]), least(&[32 << 20]), NO],
        why: "without CAP_IPC_LOCK a ring's queues count as locked, 166 KiB each, for all programs of a user together; with less \
              the queues are made smaller, at last there are too few rings",
        source: "getrlimit(2); found by lowering ulimit -l on Linux 6.18",
        undo: "tuning apply --undo, and start the service again",
        page: PAGE,
    },
    Row {
        name: "fs.nr_open",
        place: Place::Sysctl,
        weight: Weight::Advised,
        wishes: [least(&[1 << 20]), least(&[4_000_000]), least(&[1 << 20]), NO],
        why: "the ceiling of RLIMIT_NOFILE: a unit that asks for more does not start",
        source: "proc_sys_fs(5)",
        undo: "1048576",
        page: PAGE,
    },
    Row {
        name: "fs.file-max",
        place: Place::Sysctl,
        weight: Weight::Needed,
        wishes: [least(&[1 << 20]), least(&[4_000_000]), least(&[4_000_000]), least(&[1 << 20])],
        why: "open files of the whole host; a socket in a ring's table is one too, though it has no descriptor",
        source: "proc_sys_fs(5); fs.file-nr while connections are held",
        undo: "a tenth of memory in KiB, set at boot",
        page: PAGE,
    },
    Row {
        name: "vm.max_map_count",
        place: Place::Sysctl,
        weight: Weight::Needed,
        wishes: [least(&[65_530]), least(&[65_530]), least(&[65_530]), NO],
        why: "each ring maps its queues, three regions; 1,024 rings a shard are the most",
        source: "proc_sys_vm(5)",
        undo: "65530",
        page: PAGE,
    },
    Row {
        name: "kernel.threads-max",
        place: Place::Sysctl,
        weight: Weight::Needed,
        wishes: [least(&[4_096]), least(&[4_096]), least(&[4_096]), least(&[4_096])],
        why: "a shard is one thread, and the kernel adds workers for what a ring cannot do without waiting",
        source: "proc_sys_kernel(5)",
        undo: "set at boot from the size of memory",
        page: PAGE,
    },
    Row {
        name: "kernel.io_uring_disabled",
        place: Place::Sysctl,
        weight: Weight::Needed,
        wishes: [ZERO, ZERO, ZERO, NO],
        why: "the gateway and the load tester hold their sockets in io_uring",
        source: "Documentation/admin-guide/sysctl/kernel.rst",
        undo: "0",
        page: PAGE,
    },
    Row {
        name: "transparent_hugepage",
        place: Place::HugePages,
        weight: Weight::Advised,
        wishes: [MADVISE, MADVISE, MADVISE, MADVISE],
        why: "always makes 2 MiB of a connection's first byte and lets khugepaged stall a core",
        source: "Documentation/admin-guide/mm/transhuge.rst",
        undo: "echo always > /sys/kernel/mm/transparent_hugepage/enabled (or what was found)",
        page: PAGE,
    },
];
