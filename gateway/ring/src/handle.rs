//! What each completion means for its slot, and the event that the caller learns of. Called by `ring`.

use std::io;

use crate::accept::Taken;
use crate::conn::Event;
use crate::ops::{Completion, Op, Tag};
use crate::ring::{Ring, Shared, Sink};
use crate::slots::{
    CLOSE_SENT, CLOSING, CONNECTING, ENDED, HUNG_UP, LIVE, NO_LINK, PAUSED, POLLING, READABLE, READING,
    SENDING, SILENT,
};

/// Poll results that mean "no more will come after what is there".
const HANG_UP: i32 = (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) as i32;

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(-errno)
}

impl Ring {
    /// Handles one completion. True: an event was reported.
    pub(crate) fn handle(&mut self, completion: Completion, shared: &mut Shared, sink: Sink<'_>) -> bool {
        let Some(completion) = self.settle(completion, shared) else { return false };
        let Some(tag) = Tag::unpack(completion.user_data) else {
            debug_assert!(false, "user data is only made by Tag");
            return false;
        };
        match tag.op {
            Op::Accept => return self.on_accept(tag.index, completion.result, shared, sink),
            Op::Aside => return false,
            _ => {}
        }
        if self.slots.find(tag.index, tag.generation).is_none() {
            debug_assert!(false, "a slot is not given away before its last completion");
            return false;
        }
        match tag.op {
            Op::Poll => self.on_poll(tag.index, completion, shared, sink),
            Op::Read => self.on_read(tag.index, completion, shared, sink),
            Op::Send | Op::SendSettled => self.on_sent(tag.index, completion.result, shared, sink),
            Op::Connect => self.on_connect(tag.index, completion.result, shared, sink),
            Op::Close => self.on_close(tag.index, completion.result, shared, sink),
            Op::Accept | Op::Aside => false,
        }
    }

    /// First look at a completion, in turn or before it. A send is settled here: its frames are let go, or what is left of it
    /// goes back to the kernel (`None`).
    pub(crate) fn settle(&mut self, completion: Completion, shared: &mut Shared) -> Option<Completion> {
        let Some(tag) = Tag::unpack(completion.user_data) else { return Some(completion) };
        if tag.op == Op::Send {
            return self.settle_send(tag, completion.result, shared);
        }
        Some(completion)
    }

    fn settle_send(&mut self, tag: Tag, result: i32, shared: &mut Shared) -> Option<Completion> {
        self.borrowed -= 1;
        let slot = self.slots.at(tag.index);
        let (link, closing) = (slot.link, slot.is(CLOSING));
        let mut outcome = result;
        if result > 0 {
            shared.stats.bytes_sent += result as u64;
            if shared.sends.advance(link, result as usize) {
                outcome = 0;
            } else if closing {
                outcome = -libc::ECANCELED;
            } else {
                shared.stats.sends_continued += 1;
                let entry = shared.sends.entry(link, tag.index, tag);
                // Not `push`: that may copy out completions, and so come back here.
                self.push_later(entry);
                return None;
            }
        } else if result == 0 {
            // Never seen: there was at least one byte to send.
            outcome = -libc::EPIPE;
        }
        shared.sends.release(link);
        let slot = self.slots.at(tag.index);
        slot.link = NO_LINK;
        Some(Completion::made(Tag { op: Op::SendSettled, ..tag }, outcome))
    }

    fn on_sent(&mut self, index: u32, result: i32, shared: &mut Shared, sink: Sink<'_>) -> bool {
        let slot = self.slots.at(index);
        slot.clear(SENDING);
        if slot.is(CLOSING) {
            self.finish_close(index, shared);
            return false;
        }
        let conn = self.conn(index);
        if result == 0 {
            shared.stats.sends += 1;
            sink(Event::Sent { conn });
        } else {
            shared.stats.send_errors += 1;
            sink(Event::SendFailed { conn, error: error(result) });
        }
        true
    }

    fn on_accept(&mut self, record: u32, result: i32, shared: &mut Shared, sink: Sink<'_>) -> bool {
        self.borrowed -= 1;
        let Taken { slot: index, door, peer } = self.accepts.complete(record);
        shared.accepts_armed[usize::from(door.0)] -= 1;
        if result < 0 {
            self.slots.release(index);
            match -result {
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                // The client was gone before it was taken.
                libc::ECONNABORTED | libc::EPROTO | libc::EPERM | libc::ENETDOWN => {
                    shared.stats.accept_errors += 1;
                }
                errno => {
                    shared.stats.accept_errors += 1;
                    shared.accept_failure = Some(errno);
                }
            }
            return false;
        }
        self.slots.occupy(index, 0);
        let Some(peer) = peer else {
            // Not an internet address: nobody the caller could deal with.
            shared.stats.accept_errors += 1;
            self.begin_close(index, SILENT, shared);
            return false;
        };
        shared.stats.accepted += 1;
        self.list_poll(index);
        let conn = self.conn(index);
        sink(Event::Accepted { conn, peer, door });
        true
    }

    fn on_connect(&mut self, index: u32, result: i32, shared: &mut Shared, sink: Sink<'_>) -> bool {
        self.borrowed -= 1;
        let slot = self.slots.at(index);
        slot.clear(CONNECTING);
        shared.addresses.release(slot.link);
        slot.link = NO_LINK;
        if slot.is(CLOSING) {
            self.finish_close(index, shared);
            return false;
        }
        let conn = self.conn(index);
        if result < 0 {
            shared.stats.connect_errors += 1;
            self.begin_close(index, SILENT, shared);
            sink(Event::ConnectFailed { conn, error: error(result) });
        } else {
            shared.stats.connected += 1;
            self.list_poll(index);
            sink(Event::Connected { conn });
        }
        true
    }

    fn on_poll(&mut self, index: u32, completion: Completion, shared: &mut Shared, sink: Sink<'_>) -> bool {
        let slot = self.slots.at(index);
        if !completion.more() {
            slot.clear(POLLING);
        }
        if slot.is(CLOSING) {
            self.finish_close(index, shared);
            return false;
        }
        if completion.result < 0 && completion.result != -libc::ECANCELED {
            return self.end(index, Some(error(completion.result)), sink);
        }
        if completion.result > 0 {
            if completion.result & HANG_UP != 0 {
                slot.set(HUNG_UP);
            }
            self.list_read(index);
        }
        if !completion.more() {
            // The kernel ended a multishot poll of its own accord (its queue was full): ask again.
            self.list_poll(index);
        }
        false
    }

    fn on_read(&mut self, index: u32, completion: Completion, shared: &mut Shared, sink: Sink<'_>) -> bool {
        self.borrowed -= 1;
        let slot = self.slots.at(index);
        slot.clear(READING);
        let (buffer, closing, hung_up) = (slot.buffer, slot.is(CLOSING), slot.is(HUNG_UP));
        let result = completion.result;
        let mut reported = false;
        if closing {
            self.finish_close(index, shared);
        } else if result > 0 {
            shared.stats.reads += 1;
            shared.stats.bytes_received += result as u64;
            if result as u32 == shared.scratch.each() || completion.socket_nonempty() || hung_up {
                self.list_read(index);
            }
            let conn = self.conn(index);
            sink(Event::Received { conn, data: shared.scratch.bytes(buffer, result as usize) });
            reported = true;
        } else {
            match -result {
                0 => reported = self.end(index, None, sink),
                libc::EAGAIN => {}
                libc::EINTR | libc::ENOMEM | libc::ENOBUFS => self.list_read(index),
                _ => reported = self.end(index, Some(error(result)), sink),
            }
        }
        shared.scratch.give_back(buffer);
        // The poll spoke while the read was under way.
        if self.slots.at(index).is(READABLE) {
            self.list_read(index);
        }
        reported
    }

    fn end(&mut self, index: u32, error: Option<io::Error>, sink: Sink<'_>) -> bool {
        let slot = self.slots.at(index);
        if slot.is(ENDED) {
            return false;
        }
        slot.set(ENDED);
        slot.clear(READABLE);
        let conn = self.conn(index);
        sink(Event::Ended { conn, error });
        true
    }

    fn on_close(&mut self, index: u32, result: i32, shared: &mut Shared, sink: Sink<'_>) -> bool {
        if result < 0 {
            tracing::warn!(error = %error(result), "the kernel reports an error at the close of a socket");
        }
        let slot = self.slots.at(index);
        debug_assert!(slot.is(CLOSE_SENT) && slot.is(LIVE), "a close is submitted once, for a living slot");
        let silent = slot.is(SILENT);
        let conn = self.conn(index);
        self.slots.release(index);
        if silent {
            return false;
        }
        shared.stats.closed += 1;
        sink(Event::Closed { conn });
        true
    }

    pub(crate) fn set_paused(&mut self, index: u32, paused: bool) {
        let slot = self.slots.at(index);
        if paused {
            slot.set(PAUSED);
            return;
        }
        slot.clear(PAUSED);
        if slot.is(READABLE) {
            self.list_read(index);
        }
    }
}
