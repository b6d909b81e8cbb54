//! A shard's connection to one router, on the shard's own rings.
//!
//! Dials, dials again with growing, jittered pauses, turns bytes into frames and frames into bytes, many in
//! one send. What the frames mean is for `shard::links`. Called by `shard_loop`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use gateway_ring::{Conn, ConnectError, Rings, SendOutcome};
use rand::Rng;
use wire::link::{Frame, LinkError};
use wire::time::Mono;

use crate::limits;

#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    state: State,
    /// Bytes that are not a whole frame yet.
    received: BytesMut,
    to_send: BytesMut,
    is_sending: bool,
    attempts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down { retry_at: Mono },
    Connecting(Conn),
    Up(Conn),
}

impl Link {
    pub(super) fn new(address: SocketAddr, now: Mono) -> Link {
        Link {
            address,
            state: State::Down { retry_at: now },
            received: BytesMut::new(),
            to_send: BytesMut::new(),
            is_sending: false,
            attempts: 0,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn is_conn(&self, conn: Conn) -> bool {
        matches!(self.state, State::Connecting(own) | State::Up(own) if own == conn)
    }

    /// When to dial next; `None` while there is a connection.
    pub(super) fn retry_at(&self) -> Option<Mono> {
        match self.state {
            State::Down { retry_at } => Some(retry_at),
            _ => None,
        }
    }

    /// Dials if it is time.
    pub(super) fn dial(
        &mut self,
        rings: &mut Rings,
        now: Mono,
        random: &mut impl Rng,
    ) -> Result<(), ConnectError> {
        if self.retry_at().is_none_or(|retry_at| retry_at > now) {
            return Ok(());
        }
        match rings.connect(None, self.address) {
            Ok(conn) => {
                self.state = State::Connecting(conn);
                Ok(())
            }
            Err(why) => {
                self.went_down(now, random);
                Err(why)
            }
        }
    }

    pub(super) fn connected(&mut self, conn: Conn) {
        self.state = State::Up(conn);
        self.attempts = 0;
    }

    /// The connection is gone. True: it had stood.
    pub(super) fn went_down(&mut self, now: Mono, random: &mut impl Rng) -> bool {
        let stood = matches!(self.state, State::Up(_));
        let longest =
            limits::LINK_BACKOFF_MIN.saturating_mul(1 << self.attempts.min(10)).min(limits::LINK_BACKOFF_MAX);
        let pause_us = random.random_range(longest.as_micros() as u64 / 2..=longest.as_micros() as u64);
        self.attempts = self.attempts.saturating_add(1);
        self.state = State::Down { retry_at: now + Duration::from_micros(pause_us) };
        self.received.clear();
        self.to_send.clear();
        self.is_sending = false;
        stood
    }

    /// Closes the connection, if there is one.
    pub(super) fn close(&mut self, rings: &mut Rings) {
        if let State::Connecting(conn) | State::Up(conn) = self.state {
            rings.close(conn);
        }
    }

    /// Takes bytes in and hands each whole frame on.
    pub(super) fn receive(&mut self, data: &[u8], on_frame: &mut dyn FnMut(Frame)) -> Result<(), LinkError> {
        self.received.extend_from_slice(data);
        while let Some(frame) = Frame::decode(&mut self.received)? {
            on_frame(frame);
        }
        Ok(())
    }

    /// Queues a frame. Err: the router takes nothing any more.
    pub(super) fn queue(&mut self, frame: &Frame) -> io::Result<()> {
        if !matches!(self.state, State::Up(_)) {
            return Ok(());
        }
        if self.to_send.len() > limits::LINK_OUTBOX_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "the router does not read"));
        }
        frame.encode(&mut self.to_send);
        Ok(())
    }

    pub(super) fn is_congested(&self) -> bool {
        self.to_send.len() > limits::LINK_CONGESTED_BYTES
    }

    /// Sends what waits, unless a send is under way.
    pub(super) fn flush(&mut self, rings: &mut Rings) {
        let State::Up(conn) = self.state else { return };
        if self.is_sending || self.to_send.is_empty() {
            return;
        }
        let piece = self.to_send.split_to(self.to_send.len().min(limits::LINK_WRITE_BYTES)).freeze();
        let sending = rings.send(conn, &mut std::iter::once(piece));
        self.is_sending = matches!(sending, SendOutcome::Sending { .. });
    }

    pub(super) fn sent(&mut self) {
        self.is_sending = false;
    }
}
