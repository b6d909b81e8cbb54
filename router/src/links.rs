//! The links: gateway shards dial in, and frames go both ways.
//!
//! Owns the listener, one task for each link, the queue of what each link is owed and the credit that each shard
//! gets. Never decides where a notification goes: the owner's frames come in through [`Outbound::push`], the shard's
//! leave as [`Input`]s. Started by `node`.
//!
//! A link is up once both said hello; it is dead when nothing was heard for [`LINK_SILENCE_MAX`].

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::timeout;
use wire::link::{Frame, LinkError, MAJOR, MINOR};

use crate::limits::{
    LINK_CREDIT_GRANTED, LINK_HELLO_WITHIN, LINK_PING_EVERY, LINK_SILENCE_MAX, LINK_WRITE_BYTES, LINKS_MAX,
};
use crate::metrics::Metrics;
use crate::node::inputs::Input;
use crate::owner::LinkId;
use queue::{LinkQueue, Pushed};

pub mod queue;

/// The room for one read from a link.
const READ_BYTES: usize = 64 * 1024;
/// A shard gets new credit when so many of its messages were taken.
const CREDIT_STEP: u32 = LINK_CREDIT_GRANTED / 4;
/// Frames of one read that the owner is handed together: it is woken once for them.
pub const FRAMES_PER_INPUT_MAX: usize = 64;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
enum LinkEnd {
    #[error("the other side closed it")]
    Closed,
    #[error("nothing was heard for {} s", LINK_SILENCE_MAX.as_secs())]
    Silent,
    #[error("no hello came within {} s", LINK_HELLO_WITHIN.as_secs())]
    NoHello,
    #[error("it speaks version {major}, not {MAJOR}")]
    Version { major: u16 },
    #[error("hello does not come first, and only once")]
    Hello,
    #[error("it sent more client messages than it had credit for")]
    Overspent,
    #[error("it takes less than it is owed")]
    Overrun,
    #[error("the router begins anew")]
    Anew,
    #[error("the router is going down")]
    Shutdown,
    #[error(transparent)]
    Frame(#[from] LinkError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The way to one shard: the owner pushes, the link's task writes.
#[derive(Debug, Default)]
pub struct Outbound {
    queue: Mutex<LinkQueue>,
    /// Something can be written, or the link is to end.
    wake: Notify,
    overrun: AtomicBool,
    /// The owner does not know any more what was said on it.
    is_cut: AtomicBool,
}

impl Outbound {
    /// Queues a frame, to leave with the next [`Outbound::flush`]; gives it back if it was dropped for want of room.
    pub fn push(&self, frame: Frame) -> Option<Frame> {
        let pushed = self.queue().push(frame);
        match pushed {
            Pushed::Queued => {}
            Pushed::Dropped(frame) => return Some(frame),
            Pushed::Overrun => self.overrun.store(true, Ordering::Release),
        }
        None
    }

    /// Has the link's task write what was queued. Once for many frames: a shard joins for each socket what reaches it together.
    pub fn flush(&self) {
        self.wake.notify_one();
    }

    /// Ends the link. The shard makes a new one, and tells again who is there.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, LinkQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encodes what may leave now, about [`LINK_WRITE_BYTES`] of it.
    fn encode_into(&self, out: &mut BytesMut) {
        let mut queue = self.queue();
        while out.len() < LINK_WRITE_BYTES
            && let Some(frame) = queue.pop()
        {
            frame.encode(out);
        }
    }
}

/// The porch where shards arrive.
#[derive(Debug)]
pub struct Links {
    inputs: mpsc::Sender<Input>,
    metrics: Arc<Metrics>,
    /// Differs at every start of this process.
    boot: u64,
    next_link: AtomicU64,
}

impl Links {
    pub fn new(inputs: mpsc::Sender<Input>, metrics: Arc<Metrics>, boot: u64) -> Links {
        Links { inputs, metrics, boot, next_link: AtomicU64::new(1) }
    }

    /// Serves until `shutdown` turns true.
    pub async fn serve(self: Arc<Links>, listener: TcpListener, mut shutdown: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(LINKS_MAX));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.wait_for(|down| *down) => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a link was not accepted");
                    tokio::time::sleep(LINK_PING_EVERY).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                tracing::warn!(%peer, "refused a link: there are {LINKS_MAX} already");
                continue;
            };
            let (links, shutdown) = (Arc::clone(&self), shutdown.clone());
            tokio::spawn(async move {
                links.run(stream, peer, shutdown).await;
                drop(permit);
            });
        }
    }

    async fn run(&self, mut stream: TcpStream, peer: SocketAddr, shutdown: watch::Receiver<bool>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "a link without TCP_NODELAY");
        }
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let greeted = timeout(LINK_HELLO_WITHIN, self.greet(&mut stream, &mut buffer)).await;
        let (node, shard) = match greeted.unwrap_or(Err(LinkEnd::NoHello)) {
            Ok(greeted) => greeted,
            Err(end) => {
                tracing::warn!(%peer, %end, "refused a link");
                return;
            }
        };
        let link = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        let outbound = Arc::new(Outbound::default());
        outbound.queue().grant_to_shard(LINK_CREDIT_GRANTED);
        let up = Input::LinkUp { link, node: node.clone(), shard, outbound: Arc::clone(&outbound) };
        if self.inputs.send(up).await.is_err() {
            return;
        }
        tracing::info!(%peer, node, shard, "link up");
        self.metrics.links.up();
        let end = self.carry(link, &mut stream, buffer, &outbound, shutdown).await;
        self.metrics.links.down();
        tracing::info!(%peer, node, shard, %end, "link down");
        let _the_owner_is_gone = self.inputs.send(Input::LinkDown { link }).await;
    }

    /// Both say hello; the shard's name and number come back.
    async fn greet(&self, stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<(String, u16), LinkEnd> {
        let mut hello = BytesMut::new();
        Frame::Hello { major: MAJOR, minor: MINOR, node: "router".to_owned(), shard: 0, boot: self.boot }
            .encode(&mut hello);
        stream.write_all(&hello).await?;
        loop {
            match Frame::decode(buffer)? {
                Some(Frame::Hello { major, .. }) if major != MAJOR => return Err(LinkEnd::Version { major }),
                Some(Frame::Hello { node, shard, .. }) => return Ok((node, shard)),
                Some(_) => return Err(LinkEnd::Hello),
                None if stream.read_buf(buffer).await? == 0 => return Err(LinkEnd::Closed),
                None => {}
            }
        }
    }

    async fn carry(
        &self,
        link: LinkId,
        stream: &mut TcpStream,
        buffer: BytesMut,
        outbound: &Outbound,
        mut shutdown: watch::Receiver<bool>,
    ) -> LinkEnd {
        let (reader, writer) = stream.split();
        tokio::select! {
            end = self.read(link, reader, buffer, outbound) => end,
            end = write(writer, outbound) => end,
            _ = shutdown.wait_for(|down| *down) => LinkEnd::Shutdown,
        }
    }

    async fn read(
        &self,
        link: LinkId,
        mut reader: ReadHalf<'_>,
        mut buffer: BytesMut,
        outbound: &Outbound,
    ) -> LinkEnd {
        let mut credit = LINK_CREDIT_GRANTED;
        loop {
            loop {
                let mut frames = Vec::new();
                let gathered = gather(&mut buffer, outbound, &mut credit, &mut frames);
                let count = frames.len();
                // Also what came before a frame that breaks the rules.
                if count > 0
                    && let Err(end) = self.hand_in(link, frames, outbound, &mut credit).await
                {
                    return end;
                }
                match gathered {
                    Err(end) => return end,
                    Ok(()) if count == 0 => break,
                    Ok(()) => {}
                }
            }
            match timeout(LINK_SILENCE_MAX, reader.read_buf(&mut buffer)).await {
                Err(_) => return LinkEnd::Silent,
                Ok(Err(error)) => return error.into(),
                Ok(Ok(0)) => return LinkEnd::Closed,
                Ok(Ok(_)) => {}
            }
        }
    }

    /// Waits while the owner is behind: that is the shard's back-pressure.
    async fn hand_in(
        &self,
        link: LinkId,
        frames: Vec<Frame>,
        outbound: &Outbound,
        credit: &mut u32,
    ) -> Result<(), LinkEnd> {
        self.inputs.send(Input::LinkFrames { link, frames }).await.map_err(|_| LinkEnd::Shutdown)?;
        if *credit <= LINK_CREDIT_GRANTED - CREDIT_STEP {
            outbound.queue().grant_to_shard(LINK_CREDIT_GRANTED - *credit);
            outbound.wake.notify_one();
            *credit = LINK_CREDIT_GRANTED;
        }
        Ok(())
    }
}

/// Takes the next whole frames off `buffer`: those for the owner go to `frames`, up to their bound.
fn gather(
    buffer: &mut BytesMut,
    outbound: &Outbound,
    credit: &mut u32,
    frames: &mut Vec<Frame>,
) -> Result<(), LinkEnd> {
    while frames.len() < FRAMES_PER_INPUT_MAX
        && let Some(frame) = Frame::decode(buffer)?
    {
        match frame {
            Frame::Hello { .. } => return Err(LinkEnd::Hello),
            Frame::Ping { t } => {
                outbound.queue().answer_ping(t);
                outbound.wake.notify_one();
            }
            Frame::Pong { .. } => {}
            Frame::Credit { frames } => {
                outbound.queue().grant(frames);
                outbound.wake.notify_one();
            }
            frame => {
                if let Frame::ClientMessage { .. } = frame {
                    *credit = credit.checked_sub(1).ok_or(LinkEnd::Overspent)?;
                }
                frames.push(frame);
            }
        }
    }
    Ok(())
}

async fn write(mut writer: WriteHalf<'_>, outbound: &Outbound) -> LinkEnd {
    let mut out = BytesMut::with_capacity(READ_BYTES);
    let mut pings = 0;
    let mut ping = tokio::time::interval(LINK_PING_EVERY);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = outbound.wake.notified() => {}
            _ = ping.tick() => {
                pings += 1;
                Frame::Ping { t: pings }.encode(&mut out);
            }
        }
        loop {
            if outbound.is_cut.load(Ordering::Acquire) {
                return LinkEnd::Anew;
            }
            outbound.encode_into(&mut out);
            if outbound.overrun.load(Ordering::Acquire) {
                return LinkEnd::Overrun;
            }
            if out.is_empty() {
                break;
            }
            match timeout(LINK_SILENCE_MAX, writer.write_all(&out)).await {
                Err(_) => return LinkEnd::Silent,
                Ok(Err(error)) => return error.into(),
                Ok(Ok(())) => out.clear(),
            }
        }
    }
}
