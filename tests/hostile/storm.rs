//! Many more come than the node takes: all are answered, in time, and the hard limit is never passed by one.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tests::deadline::Stopwatch;
use tests::{Setup, Tocsin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use wire::http::{ConnectRequest, parse_response};

use crate::honest::Felt;
use crate::scale;

/// Nobody waits longer than this for an answer, whatever it is.
const ANSWERED_IN: Duration = Duration::from_secs(5);
const STORM: Duration = Duration::from_secs(4);
/// The accept budget saves up a quarter of a second.
const BURST_PART: u64 = 4;

/// What one comer was told.
struct Answer {
    /// 0: reset, or nothing in time.
    status: u16,
    retry_after: Option<u64>,
    took: Duration,
    /// Kept by whom the node took.
    stream: Option<TcpStream>,
}

async fn come(number: u64, server: SocketAddr) -> Answer {
    let began = Stopwatch::start();
    let asked = tokio::time::timeout(ANSWERED_IN, ask(number, server)).await;
    let (status, retry_after, stream) = match asked {
        Ok(Ok((status, retry_after, stream))) => (status, retry_after, (status == 101).then_some(stream)),
        _ => (0, None, None),
    };
    Answer { status, retry_after, took: began.elapsed(), stream }
}

/// Whom the node took leaves again, so that this end does not run out of descriptors.
async fn come_and_go(number: u64, server: SocketAddr) -> Answer {
    Answer { stream: None, ..come(number, server).await }
}

async fn ask(number: u64, server: SocketAddr) -> std::io::Result<(u16, Option<u64>, TcpStream)> {
    let socket = TcpSocket::new_v4()?;
    let place = number % 1_000;
    socket.bind((Ipv4Addr::new(127, 2, (place / 250) as u8, (place % 250 + 1) as u8), 0).into())?;
    let mut stream = socket.connect(server).await?;
    let target = format!("/v1/connect?user=u{number}");
    let host = server.to_string();
    let request = ConnectRequest { host: &host, target: &target, key: [7; 16], protocols: &[], headers: &[] };
    stream.write_all(&request.encode()).await?;
    let (mut answer, mut piece) = (Vec::new(), [0; 1_024]);
    loop {
        let read = stream.read(&mut piece).await?;
        answer.extend_from_slice(&piece[..read]);
        match parse_response(&answer) {
            Ok(Some(head)) => {
                let wait = head.retry_after().map(|wait| wait.as_secs());
                return Ok((head.status, wait, stream));
            }
            Ok(None) if read > 0 => {}
            _ => return Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn at_ten_times_the_accept_budget_everybody_is_answered_in_time() {
    let budget = scale("ACCEPT_RATE", 200);
    let tocsin = Setup::standalone()
        .set("gateway.soft_limit", 15_000)
        .set("gateway.hard_limit", 18_000)
        .set("gateway.accept_rate", i64::try_from(budget).expect("a rate"))
        .start();
    let server = tocsin.clients();
    let comers = budget * 10 * STORM.as_secs();
    let (answers, lasted) = runtime().block_on(async {
        let began = Stopwatch::start();
        let mut storm = Vec::new();
        for number in 0..comers {
            let due = STORM.mul_f64(number as f64 / comers as f64);
            if due > began.elapsed() {
                tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            }
            storm.push(tokio::spawn(come_and_go(number, server)));
        }
        let mut answers = Vec::new();
        for one in storm {
            answers.push(one.await.expect("no panic"));
        }
        (answers, began.elapsed())
    });
    let taken: Vec<Duration> =
        answers.iter().filter(|answer| answer.status == 101).map(|answer| answer.took).collect();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 503).collect();
    let waits: Vec<Duration> = refused.iter().map(|answer| answer.took).collect();
    println!(
        "REPORT: {comers} in {:.1} s at a budget of {budget}/s: {} taken, p99 {:.1} ms; {} refused, p99 {:.1} ms",
        lasted.as_secs_f64(),
        taken.len(),
        Felt::p99(&taken).as_secs_f64() * 1_000.0,
        refused.len(),
        Felt::p99(&waits).as_secs_f64() * 1_000.0,
    );
    assert_eq!(taken.len() + refused.len(), answers.len(), "everybody gets an answer");
    assert!(refused.iter().all(|answer| answer.retry_after.is_some_and(|wait| (5..=30).contains(&wait))));
    let most = budget as f64 * lasted.as_secs_f64() + (budget / BURST_PART) as f64 + 1.0;
    assert!(taken.len() as f64 <= most, "{} were taken, {most} may be", taken.len());
    assert!(taken.len() as u64 >= budget * STORM.as_secs() / 2, "honest ones get in: {}", taken.len());
    assert!(Felt::p99(&taken) < Duration::from_secs(2), "{:?}", Felt::p99(&taken));
    let mut spread: BTreeMap<u64, usize> = BTreeMap::new();
    refused
        .iter()
        .filter_map(|answer| answer.retry_after)
        .for_each(|wait| *spread.entry(wait).or_default() += 1);
    assert_eq!(spread.len(), 26, "every second of 5..=30: {spread:?}");
}

#[test]
fn a_crowd_that_stays_never_passes_the_hard_limit_by_one() {
    const SOFT: usize = 200;
    const HARD: u64 = 300;
    let tocsin = Setup::standalone()
        .set("gateway.soft_limit", SOFT as i64)
        .set("gateway.hard_limit", HARD as i64)
        .set("gateway.shards", 3)
        .start();
    let server = tocsin.clients();
    let crowd = scale("CROWD", 6_000);
    let admin = tocsin.gateway_admin();
    let (is_over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watch = {
        let (is_over, most) = (Arc::clone(&is_over), Arc::clone(&most));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let live = Tocsin::metric(&admin, "tocsin_gateway_connections", "") as u64;
                most.fetch_max(live, Ordering::Relaxed);
            }
        })
    };
    let kept = runtime().block_on(async {
        // Half of them never say what they want: they hold places between the limits.
        let mut silent = Vec::new();
        let mut crowd_tasks = Vec::new();
        for number in 0..crowd {
            if number % 2 == 0 {
                crowd_tasks.push(tokio::spawn(come(number, server)));
            } else if let Ok(stream) = TcpStream::connect(server).await {
                silent.push(stream);
            }
        }
        let mut kept = Vec::new();
        for one in crowd_tasks {
            let answer = one.await.expect("no panic");
            assert!([0, 101, 503].contains(&answer.status), "{}", answer.status);
            kept.extend(answer.stream);
        }
        (kept, silent)
    });
    is_over.store(true, Ordering::Relaxed);
    watch.join().expect("no panic");
    let most = most.load(Ordering::Relaxed);
    println!("REPORT: a crowd of {crowd} against {SOFT}/{HARD}: {} in, {most} places at most", kept.0.len());
    assert!(kept.0.len() <= SOFT, "{} are in", kept.0.len());
    assert!(most <= HARD, "{most} places were taken");
    assert!(most > HARD * 9 / 10, "the hard limit was never near: {most}");
    let reset = Tocsin::metric(&tocsin.gateway_admin(), "tocsin_gateway_admission_total", "hard");
    assert!(reset > 0.0, "nobody was reset");
}
