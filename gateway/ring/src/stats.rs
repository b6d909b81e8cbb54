//! What the rings counted since they were opened. Plain numbers for the metrics page.

/// Totals of all rings of one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingStats {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// `io_uring_enter` calls that the kernel refused for the moment (EINTR, EAGAIN, EBUSY, ENOMEM); retried.
    pub enters_refused: u64,
    /// Completions handled.
    pub completions: u64,
    /// Times the kernel's completion queue was found overflown. Nothing is lost then, only slower.
    pub overflows: u64,
    /// Entries that found the submission queue full twice and waited in memory.
    pub spills: u64,
    pub accepted: u64,
    /// Accepts that the kernel failed (out of files or memory, connection gone).
    pub accept_errors: u64,
    pub connected: u64,
    pub connect_errors: u64,
    pub closed: u64,
    /// Sends completed, each of one or more frames.
    pub sends: u64,
    pub send_errors: u64,
    /// Sends that the kernel completed in part and that were continued.
    pub sends_continued: u64,
    pub bytes_sent: u64,
    /// Reads that brought bytes.
    pub reads: u64,
    pub bytes_received: u64,
    /// Times `wait` slept.
    pub waits: u64,
    /// Times `wait` ended by the eventfd rather than by its timeout.
    pub wakes: u64,
    /// Times the bounded spin before a sleep found work.
    pub spin_hits: u64,
}
