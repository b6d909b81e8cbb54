//! The TLS sessions of one thread's clients: records between the sockets and the fleet, which knows plaintext only. Part of the
//! `engine` porch.

use std::collections::HashMap;

use bytes::Bytes;
use wire::time::Mono;

use crate::fleet::Fleet;
use crate::tls::{Clients, Session};

/// See the module.
#[derive(Debug)]
pub(super) struct Secure {
    clients: Clients,
    /// By target: the name in its certificate; `None`: it speaks plaintext.
    hosts: Vec<Option<String>>,
    /// By place.
    sessions: Vec<Option<Box<Session>>>,
    /// Hellos of clients whose socket is not up yet.
    hellos: HashMap<u32, Vec<u8>>,
    /// Plaintext of one read. Reused.
    plain: Vec<u8>,
}

impl Secure {
    pub(super) fn new(clients: Clients, hosts: Vec<Option<String>>, places: u32) -> Secure {
        let sessions = (0..places).map(|_| None).collect();
        Secure { clients, hosts, sessions, hellos: HashMap::new(), plain: Vec::new() }
    }

    /// A socket is on its way to this target.
    pub(super) fn begin(&mut self, place: u32, target: usize) -> Result<(), String> {
        let Some(host) = &self.hosts[target] else { return Ok(()) };
        let mut hello = Vec::new();
        let session = self.clients.connect(place, host, &mut hello)?;
        self.sessions[place as usize] = Some(Box::new(session));
        self.hellos.insert(place, hello);
        Ok(())
    }

    /// The socket is up: the hello, if this client says one.
    pub(super) fn hello(&mut self, place: u32) -> Option<Bytes> {
        self.hellos.remove(&place).map(Bytes::from)
    }

    /// Bytes came. Returns what is to be answered.
    pub(super) fn receive(
        &mut self,
        place: u32,
        data: &mut [u8],
        fleet: &mut Fleet,
        now: Mono,
    ) -> Option<Bytes> {
        let Some(session) = self.sessions[place as usize].as_deref_mut() else {
            fleet.handle_bytes(place, data, now);
            return None;
        };
        let was_established = session.established().is_some();
        let (mut records, plain) = (Vec::new(), &mut self.plain);
        plain.clear();
        let mut hear = |said: &[u8]| plain.extend_from_slice(said);
        let received = self.clients.receive(session, place, data, &mut records, &mut hear);
        if let Some(established) = session.established().filter(|_| !was_established) {
            fleet.handle_secured(place, established.resumed);
            fleet.handle_connected(place);
        }
        if !plain.is_empty() {
            fleet.handle_bytes(place, plain, now);
        }
        if let Err(why) = received {
            fleet.handle_ended(place, Some(&format!("tls: {why}")), now);
        }
        (!records.is_empty()).then(|| Bytes::from(records))
    }

    /// A frame as it goes into the client's socket. `None`: its session takes no more.
    pub(super) fn seal(&mut self, place: u32, frame: Bytes) -> Option<Bytes> {
        match &mut self.sessions[place as usize] {
            Some(session) => session.encrypt(&frame).map(Bytes::from),
            None => Some(frame),
        }
    }

    /// The socket is not this client's any more.
    pub(super) fn end(&mut self, place: u32) {
        self.sessions[place as usize] = None;
        self.hellos.remove(&place);
    }
}
