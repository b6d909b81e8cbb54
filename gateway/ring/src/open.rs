//! Everything before the first connection: limits, the kernel's features, the rings themselves, listeners, the executor. Each
//! refusal is one line that says what is missing and what to do. Called once, at start.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use io_uring::{IoUring, Probe, opcode};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{Plan, RingConfig, Table};
use crate::wait::Doorbell;

/// Long, because glommio 0.9 goes to sleep over runnable tasks when this runs out between its arming and its first look at the
/// task queues, which a busy host's scheduler brings about at 1 ms (seen: once in 500,000 wake-ups beside three spinning
/// processes). `Rings::give_way` paces the shard by its own clock instead.
const PREEMPT_TIMER: Duration = Duration::from_secs(1);
/// glommio registers this much with each of its three rings for file I/O, which shards hardly do: its least. All of it counts as
/// locked memory, of which a user has 8 MiB by default.
const GLOMMIO_IO_MEMORY_BYTES: usize = 1 << 16;
const GLOMMIO_RING_DEPTH: usize = 128;
/// glommio starts no executor below this RLIMIT_MEMLOCK.
const EXECUTOR_LOCKED_BYTES: u64 = 512 * 1_024;

/// Why the rings cannot be opened here. One line, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("bad ring configuration: {0}")]
    Config(String),
    #[error(
        "this kernel refuses io_uring (EPERM): set sysctl kernel.io_uring_disabled=0, and allow io_uring_setup, \
         io_uring_enter and io_uring_register in the container's seccomp profile"
    )]
    Refused,
    #[error("this kernel has no io_uring (ENOSYS): Linux 6.1 or newer with CONFIG_IO_URING is needed")]
    Absent,
    #[error("this kernel's io_uring is too old: {0} is missing; Linux 6.1 or newer is needed")]
    TooOld(&'static str),
    #[error(
        "no memory for ring {ring} of {rings} (ENOMEM): the host or its control group has none left; use fewer connections"
    )]
    Memory { ring: u32, rings: u32 },
    #[error(
        "no locked memory for ring {ring} of {rings} (ENOMEM): RLIMIT_MEMLOCK is {} KiB for all programs of this user, and \
         these rings need {} KiB of it; raise it (ulimit -l, LimitMEMLOCK=) or use fewer connections",
        memlock >> 10, needed >> 10
    )]
    Locked { ring: u32, rings: u32, memlock: u64, needed: u64 },
    #[error(
        "no file descriptor for ring {ring} of {rings}: RLIMIT_NOFILE is {nofile}; raise it (ulimit -n, LimitNOFILE=) or \
         use fewer connections"
    )]
    Files { ring: u32, rings: u32, nofile: u64 },
    #[error(
        "RLIMIT_MEMLOCK is {kib} KiB, and io_uring's buffers need 512: raise it (ulimit -l, LimitMEMLOCK=)"
    )]
    NothingLocked { kib: u64 },
    #[error("cannot {what}: {why}")]
    Other { what: &'static str, why: io::Error },
}

/// Whether rings can be opened here, and what table [`crate::Rings::open`] will get: opens one ring of a single slot and closes it
/// again. For the main thread, before anything is made: an executor that finds no io_uring panics.
pub fn probe(config: &RingConfig) -> Result<Table, OpenError> {
    let limit = |what| move |why| OpenError::Other { what, why };
    let nofile = raise_nofile().map_err(limit("read the file-descriptor limit"))?;
    let locked = raise(libc::RLIMIT_MEMLOCK).map_err(limit("read the limit of locked memory"))?;
    if locked < EXECUTOR_LOCKED_BYTES {
        return Err(OpenError::NothingLocked { kib: locked / 1_024 });
    }
    let bell = Doorbell::new().map_err(limit("open an eventfd for the rings"))?;
    let memlock = raise_memlock().map_err(limit("read the limit on locked memory"))?;
    let alone = RingConfig { connections: 1, rings: Some(1), slots_per_ring: Some(1), ..config.clone() };
    open_ring(config, &alone.plan(nofile, memlock), 0, bell.descriptor())?;
    Ok(config.plan(nofile, memlock).table(0))
}

impl OpenError {
    /// Is it one of the limits that a host's tuning sets?
    pub fn is_a_limit(&self) -> bool {
        matches!(
            self,
            OpenError::Refused
                | OpenError::NothingLocked { .. }
                | OpenError::Locked { .. }
                | OpenError::Files { .. }
        )
    }
}

/// Raises the soft file-descriptor limit to the hard one; returns what holds then.
pub fn raise_nofile() -> io::Result<u64> {
    raise(libc::RLIMIT_NOFILE)
}

/// Raises the soft limit on locked memory to the hard one; returns the bytes that this process's user may lock then.
/// `None`: no bound, or one that does not count for this process (CAP_IPC_LOCK).
pub fn raise_memlock() -> io::Result<Option<u64>> {
    let bytes = raise(libc::RLIMIT_MEMLOCK)?;
    Ok(Some(bytes).filter(|bytes| *bytes != libc::RLIM_INFINITY && !may_lock_all()))
}

/// CAP_IPC_LOCK among the effective capabilities.
fn may_lock_all() -> bool {
    const IPC_LOCK: u32 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    held.and_then(|held| u64::from_str_radix(held.trim(), 16).ok())
        .is_some_and(|held| held >> IPC_LOCK & 1 == 1)
}

fn raise(what: libc::__rlimit_resource_t) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit for the whole call.
    let read = unsafe { libc::getrlimit(what, &raw mut limit) };
    if read != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: `raised` is a live rlimit for the whole call.
        let set = unsafe { libc::setrlimit(what, &raw const raised) };
        if set == 0 {
            return Ok(raised.rlim_cur);
        }
    }
    Ok(limit.rlim_cur)
}

/// A listening socket: address reused, close-on-exec. `reuse_port` lets several shards listen on one port.
pub fn bind(address: SocketAddr, backlog: i32, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// A glommio executor that is fit to carry a shard: pinned to `core` if one is given. The shard's loop calls
/// [`crate::Rings::give_way`] or [`crate::Rings::wait`] after each turn; glommio's own preemption is all but off.
pub fn executor(core: Option<usize>, name: &str) -> LocalExecutorBuilder {
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    LocalExecutorBuilder::new(placement)
        .name(name)
        .preempt_timer(PREEMPT_TIMER)
        .io_memory(GLOMMIO_IO_MEMORY_BYTES)
        .ring_depth(GLOMMIO_RING_DEPTH)
}

/// Opens ring `number` of the plan, with its sparse file table and its bell, which does not ring yet. Its completion queue is
/// halved where there is no memory for it: Linux wants a queue in one piece or, at a second try, page by page out of one group
/// of free pages, and has neither on a host whose memory is in pieces though most of it is free (liburing's issue 1614).
pub(crate) fn open_ring(
    config: &RingConfig,
    plan: &Plan,
    number: u32,
    bell: i32,
) -> Result<IoUring, OpenError> {
    let build = |completions| {
        IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(completions)
            .build(config.submissions)
    };
    let io = largest(plan.completions, config.completions_least(), build)
        .map_err(|source| refusal(source, plan, number, "set up an io_uring"))?;
    if number == 0 {
        check_features(&io, plan)?;
    }
    let submitter = io.submitter();
    submitter
        .register_files_sparse(plan.slots_per_ring)
        .map_err(|source| refusal(source, plan, number, "register a ring's file table"))?;
    submitter
        .register_eventfd(bell)
        .map_err(|source| refusal(source, plan, number, "register a ring's eventfd"))?;
    Ok(io)
}

/// What `build` makes of the largest of `most`, its half, and so on down to `least`, for which there is memory.
fn largest<T>(most: u32, least: u32, build: impl Fn(u32) -> io::Result<T>) -> io::Result<T> {
    let mut completions = most;
    loop {
        match build(completions) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && completions / 2 >= least => {
                completions /= 2;
            }
            built => return built,
        }
    }
}

fn refusal(source: io::Error, plan: &Plan, number: u32, what: &'static str) -> OpenError {
    let (ring, rings, nofile) = (number + 1, plan.rings, plan.nofile);
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => OpenError::Refused,
        Some(libc::ENOSYS) => OpenError::Absent,
        Some(libc::EINVAL) if number == 0 => {
            OpenError::TooOld("deferred task work (IORING_SETUP_DEFER_TASKRUN)")
        }
        Some(libc::ENOMEM) => match plan.memlock {
            Some(memlock) => OpenError::Locked { ring, rings, memlock, needed: plan.locked },
            None => OpenError::Memory { ring, rings },
        },
        Some(libc::EMFILE | libc::ENFILE) => OpenError::Files { ring, rings, nofile },
        _ => OpenError::Other { what, why: source },
    }
}

fn check_features(io: &IoUring, plan: &Plan) -> Result<(), OpenError> {
    let parameters = io.params();
    if !parameters.is_feature_nodrop() {
        return Err(OpenError::TooOld("keeping completions when the queue is full (IORING_FEAT_NODROP)"));
    }
    if !parameters.is_feature_submit_stable() {
        return Err(OpenError::TooOld("stable submissions (IORING_FEAT_SUBMIT_STABLE)"));
    }
    let mut probe = Probe::new();
    let submitter = io.submitter();
    let probed = submitter.register_probe(&mut probe);
    probed.map_err(|source| refusal(source, plan, 0, "ask the kernel which operations it knows"))?;
    let needed: [(u8, &'static str); 7] = [
        (opcode::Accept::CODE, "accepting (IORING_OP_ACCEPT)"),
        (opcode::PollAdd::CODE, "polling (IORING_OP_POLL_ADD)"),
        (opcode::Recv::CODE, "receiving (IORING_OP_RECV)"),
        (opcode::Send::CODE, "sending (IORING_OP_SEND)"),
        (opcode::SendMsg::CODE, "sending several frames (IORING_OP_SENDMSG)"),
        (opcode::AsyncCancel::CODE, "cancelling (IORING_OP_ASYNC_CANCEL)"),
        (opcode::Close::CODE, "closing (IORING_OP_CLOSE)"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => Err(OpenError::TooOld(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_that_says_what_to_do() {
        let mut plan =
            RingConfig { connections: 30, rings: Some(3), ..RingConfig::default() }.plan(1_024, None);
        let said_of = |plan: &Plan, errno, number| {
            refusal(io::Error::from_raw_os_error(errno), plan, number, "set up an io_uring").to_string()
        };
        let said = |errno, number| said_of(&plan, errno, number);
        assert!(said(libc::EPERM, 0).contains("kernel.io_uring_disabled=0"));
        assert!(said(libc::ENOSYS, 0).contains("CONFIG_IO_URING"));
        assert!(said(libc::EINVAL, 0).contains("DEFER_TASKRUN"));
        assert!(said(libc::ENOMEM, 1).contains("ring 2 of 3"));
        assert!(said(libc::EMFILE, 2).contains("RLIMIT_NOFILE is 1024"));
        for errno in [libc::EPERM, libc::ENOSYS, libc::EINVAL, libc::ENOMEM, libc::EMFILE, libc::EIO] {
            assert_eq!(said(errno, 0).lines().count(), 1);
        }
        plan.memlock = Some(1 << 20);
        let locked = said_of(&plan, libc::ENOMEM, 1);
        assert!(locked.contains("RLIMIT_MEMLOCK is 1024 KiB") && locked.contains("ulimit -l"), "{locked}");
    }

    #[test]
    fn a_queue_for_which_there_is_no_memory_is_halved_and_no_other_refusal_is_tried_again() {
        let build = |fits: u32, errno| {
            move |completions: u32| {
                if completions <= fits { Ok(completions) } else { Err(io::Error::from_raw_os_error(errno)) }
            }
        };
        assert_eq!(largest(8_192, 1_024, build(8_192, libc::ENOMEM)).ok(), Some(8_192));
        assert_eq!(largest(8_192, 1_024, build(3_000, libc::ENOMEM)).ok(), Some(2_048));
        assert_eq!(largest(512, 1_024, build(512, libc::ENOMEM)).ok(), Some(512), "as asked for");
        let refused =
            |fits, errno| largest(8_192, 1_024, build(fits, errno)).err().and_then(|e| e.raw_os_error());
        assert_eq!(refused(1_023, libc::ENOMEM), Some(libc::ENOMEM));
        assert_eq!(refused(4_096, libc::EMFILE), Some(libc::EMFILE));
    }
}
