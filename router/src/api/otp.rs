//! One-use codes: `POST /v1/otp`, `GET /v1/otp/{id}`, `POST /v1/otp/{id}/verify`; and backup codes,
//! `POST /v1/users/{user}/backup-codes` and `…/verify`.
//!
//! A code is a critical notification that goes by one channel after the other until it is verified; what is here turns a
//! request into one and its story into rungs. A service's own only: another's is 404. No code stands in a log or a problem.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;
use wire::message::Priority;
use wire::time::Wall;

use super::auth::Caller;
use super::body;
use super::problem::{Kind, Problem};
use super::query::Named;
use super::{App, here, not_found, unavailable};
use crate::contacts::Contacts;
use crate::contacts::asked::Asked;
use crate::ids;
use crate::ingest::fields::Object;
use crate::ingest::http::idempotency_key;
use crate::ingest::validate;
use crate::limits::{BODY_WITHIN, OTP_REQUEST_BYTES_MAX};
use crate::otp::{self, Guess, Otp, Rules, SealKey, backup};
use crate::owner::view::{DeliveryView, Timeline};
use crate::owner::{Answer, Command, OtpOpened};
use crate::record::{Channel, Request, Target};
use crate::store::StoreError;

const FIELDS: [&str; 4] = ["user", "code", "ttl_s", "contacts"];
const TTL_S_DEFAULT: u32 = 300;
const TTL_S_MIN: u32 = 30;
const TTL_S_MAX: u32 = 3_600;
/// Characters of a code that a service brings.
const CODE_CHARS: std::ops::RangeInclusive<usize> = 4..=12;
/// Slow hashes that are computed at once.
const HASHES_AT_ONCE: usize = 2;
/// How long a place among them is waited for.
const PLACE_WITHIN: Duration = Duration::from_secs(5);

/// What the handlers need.
#[derive(Debug)]
pub struct Codes {
    pub rules: Rules,
    pub key: SealKey,
    /// It is of the settings, and may be other routers' too.
    pub key_is_shared: bool,
    hashing: Arc<Semaphore>,
}

impl Codes {
    pub fn new(rules: Rules, (key, key_is_shared): (SealKey, bool)) -> Codes {
        Codes { rules, key, key_is_shared, hashing: Arc::new(Semaphore::new(HASHES_AT_ONCE)) }
    }
}

/// What a service asks for.
struct OtpAsked {
    user: String,
    code: Option<String>,
    ttl_s: u32,
    contacts: Option<Asked>,
}

impl OtpAsked {
    fn read(bytes: &[u8]) -> Result<OtpAsked, Problem> {
        let object = Object::read(bytes)?;
        object.only(&FIELDS)?;
        let wanted = |pointer: &str, what: &str| Problem::at(Kind::Malformed, pointer, what);
        let user =
            object.text("user", 1, usize::MAX)?.ok_or_else(|| wanted("/user", "the user's id is wanted"))?;
        validate::name(&user, "/user")?;
        let code = object.text("code", *CODE_CHARS.start(), *CODE_CHARS.end())?;
        if code.as_ref().is_some_and(|code| !code.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Err(wanted("/code", "letters and digits of ASCII only"));
        }
        let ttl_s = object.whole_number("ttl_s", TTL_S_MIN, TTL_S_MAX)?.unwrap_or(TTL_S_DEFAULT);
        let contacts =
            object.field("contacts").map(|raw| Asked::read_field(raw.get(), "contacts")).transpose()?;
        Ok(OtpAsked { user, code, ttl_s, contacts })
    }
}

/// One step of the ladder.
#[derive(Serialize)]
pub(super) struct Rung {
    pub(super) channel: Channel,
    /// `waiting` (its turn has not come), or the state of its delivery.
    pub(super) state: String,
    pub(super) at: Option<Wall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Shown {
    id: Uuid,
    state: &'static str,
    expires_at: Wall,
    rungs: Vec<Rung>,
    /// No channel brought it, and the user has backup codes left.
    offer_backup_codes: bool,
}

pub(super) async fn post(
    State(app): State<App>,
    Caller(service): Caller,
    request: HttpRequest,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    // Without a key of the service's own, one that nobody can guess: the id follows from it, and the code from the id.
    let key = match idempotency_key(&parts.headers)? {
        Some(key) => format!("otp {key}"),
        None => format!("otp {}", ids::fresh(app.clock.wall()).simple()) + &crate::tickets::draw(),
    };
    let bytes = body::whole(body, OTP_REQUEST_BYTES_MAX, BODY_WITHIN).await?;
    let asked = OtpAsked::read(&bytes)?;
    let id = ids::for_key(&service.name, &key);
    let code = asked.code.unwrap_or_else(|| app.codes.key.code(id));
    let now = app.clock.wall();
    let expires_at = now + Duration::from_secs(asked.ttl_s.into());
    let opened = OtpOpened {
        id,
        service: service.name.clone(),
        user: asked.user.clone(),
        seal: app.codes.key.seal(id, &code),
        expires_at,
        contacts: asked.contacts.map(|asked| asked.stamped(&Contacts::default(), now)),
    };
    let notification = notification(&app.codes.rules, asked.user, &code, asked.ttl_s);
    let open = async { app.command(Command::OpenOtp(Box::new(opened))).await.map(drop) };
    app.intake.accept_behind(&service, notification, Some(&key), &bytes, open).await?;
    // It is promised, whether it can be looked at in this moment or not.
    let shown = look(&app, id).await.ok().flatten().map(|(_, shown)| shown);
    let shown = shown.unwrap_or_else(|| Shown {
        id,
        state: "sending",
        expires_at,
        rungs: rungs(&app.codes.rules, None),
        offer_backup_codes: false,
    });
    let location = format!("/v1/otp/{id}");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(shown)).into_response())
}

fn notification(rules: &Rules, user: String, code: &str, ttl_s: u32) -> Request {
    let minutes = ttl_s.div_ceil(60);
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    let (first, fallback) = rules.ladder.split_first().expect("the settings have a first rung");
    Request {
        to: Target::User(user),
        priority: Priority::Critical,
        category: Some(otp::CATEGORY.to_owned()),
        title: Some("Your code".to_owned()),
        body: Some(format!("{code} is your code. It is good for {minutes} {unit}.")),
        data: None,
        channels: vec![*first],
        fallback: fallback.to_vec(),
        ack_within_s: rules.within_s.get(first).copied(),
        channel_within_s: rules.within_s.clone(),
        ttl_s: Some(ttl_s),
        collapse_key: None,
        send_at: None,
    }
}

fn waiting(channel: Channel) -> Rung {
    Rung { channel, state: "waiting".to_owned(), at: None, reason: None }
}

pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Named(id): Named<Uuid>,
) -> Result<axum::Json<Shown>, Problem> {
    let found = look(&app, id).await?.filter(|(service, _)| caller.may_see(service));
    found.map(|(_, shown)| axum::Json(shown)).ok_or_else(not_found)
}

/// Whose code it is, and how far it came.
async fn look(app: &App, id: Uuid) -> Result<Option<(String, Shown)>, Problem> {
    let found = app.look(move |parts| {
        parts.view.otp(id, |otp, view| {
            let left = view.backup_codes(&otp.user)?.map_or(0, |codes| codes.hashes.len());
            Ok((view.timeline(id)?, left))
        })
    });
    let found = found.await.map_err(|error: StoreError| Problem::from(error))?;
    let Some((otp, (timeline, left))) = here(found)? else { return Ok(None) };
    let rungs = rungs(&app.codes.rules, timeline.as_ref());
    let state = state(&app.codes.rules, &otp, &rungs, app.clock.wall());
    let offer_backup_codes = state == "exhausted" && left > 0;
    let shown = Shown { id, state, expires_at: otp.expires_at, rungs, offer_backup_codes };
    Ok(Some((otp.service, shown)))
}

/// As the settings name them; what went out under others stands in front.
pub(super) fn rungs(rules: &Rules, timeline: Option<&Timeline>) -> Vec<Rung> {
    let deliveries = timeline.map(|timeline| timeline.deliveries.as_slice()).unwrap_or_default();
    let rung = |delivery: &DeliveryView| Rung {
        channel: delivery.channel,
        state: delivery.state.clone().into_owned(),
        at: delivery.timeline.last().map(|moment| moment.at),
        reason: delivery.reason.clone(),
    };
    let started = |channel: Channel| deliveries.iter().find(|delivery| delivery.channel == channel);
    let others = deliveries.iter().filter(|delivery| !rules.ladder.contains(&delivery.channel)).map(rung);
    let own = rules.ladder.iter().map(|channel| started(*channel).map_or_else(|| waiting(*channel), rung));
    others.chain(own).collect()
}

pub(super) fn state(rules: &Rules, otp: &Otp, rungs: &[Rung], now: Wall) -> &'static str {
    let is = |rung: &Rung, states: &[&str]| states.contains(&rung.state.as_str());
    let is_late = |rung: &Rung| {
        let within = rules.within_s.get(&rung.channel).copied().unwrap_or_default();
        rung.at.is_some_and(|at| at + Duration::from_secs(within.into()) < now)
    };
    // A mail server's word is all that there is of an e-mail.
    let is_mailed =
        |rung: &Rung| rung.channel == Channel::Email && is(rung, &["handed_over"]) && !is_late(rung);
    let is_there = |rung: &Rung| is(rung, &["delivered"]) || is_mailed(rung);
    let is_over = |rung: &Rung| {
        !is(rung, &["waiting", "open"]) && (!is(rung, &["handed_over", "unknown"]) || is_late(rung))
    };
    if otp.verified_at.is_some() {
        "verified"
    } else if otp.expires_at <= now {
        "expired"
    } else if rungs.iter().any(is_there) {
        "delivered"
    } else if rungs.iter().all(is_over) {
        "exhausted"
    } else {
        "sending"
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeAsked {
    code: String,
}

#[derive(Serialize)]
pub(super) struct Verdict {
    verified: bool,
    /// Tries that are left, for a wrong code; codes that are left, for a right backup code.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<usize>,
}

pub(super) async fn verify(
    State(app): State<App>,
    Caller(service): Caller,
    Named(id): Named<Uuid>,
    request: Body,
) -> Result<axum::Json<Verdict>, Problem> {
    let CodeAsked { code } = body::json(request).await?;
    let code = code.trim();
    if code.is_empty() || code.len() > *CODE_CHARS.end() {
        return Err(Problem::at(Kind::Malformed, "/code", "not as long as a code is"));
    }
    let command = Command::GuessOtp { id, by: service.name.clone(), seal: app.codes.key.seal(id, code) };
    match app.command(command).await? {
        Answer::Guessed(Guess::Right) => Ok(axum::Json(Verdict { verified: true, left: None })),
        Answer::Guessed(Guess::Wrong { left }) => {
            Ok(axum::Json(Verdict { verified: false, left: Some(left.into()) }))
        }
        Answer::Guessed(guess) => Err(Problem::new(Kind::Over, over(guess))),
        _ => Err(unavailable("the owner does not answer")),
    }
}

fn over(guess: Guess) -> &'static str {
    match guess {
        Guess::Used => "this code was verified before",
        Guess::Over => "the time of this code is over",
        Guess::Spent | Guess::Right | Guess::Wrong { .. } => "there were too many wrong tries",
    }
}

#[derive(Serialize)]
struct Made {
    /// Shown this once.
    codes: Vec<String>,
}

/// New codes; the old ones are good no more.
pub(super) async fn make_backup_codes(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
) -> Result<Response, Problem> {
    validate::name(&user, "/user")?;
    let codes = backup::draw();
    let drawn = codes.clone();
    let hashed = hash(place(&app).await?, move || {
        drawn.iter().map(|code| backup::hash(code)).collect::<Result<_, _>>()
    });
    let hashes: Vec<String> = hashed.await?.map_err(|_| unavailable("the codes cannot be hashed"))?;
    app.command(Command::PutBackupCodes { user, hashes }).await?;
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, axum::Json(Made { codes })).into_response())
}

/// A person says one of them.
pub(super) async fn verify_backup_code(
    State(app): State<App>,
    _caller: Caller,
    Named(user): Named<String>,
    request: Body,
) -> Result<axum::Json<Verdict>, Problem> {
    let CodeAsked { code } = body::json(request).await?;
    validate::name(&user, "/user")?;
    let wrong = axum::Json(Verdict { verified: false, left: None });
    // What cannot be one, and what cannot be compared now, costs no try.
    let Some(normal) = backup::normal(&code) else { return Ok(wrong) };
    let place = place(&app).await?;
    let hashes = match app.command(Command::TryBackupCode { user: user.clone() }).await? {
        Answer::BackupCodes(hashes) => hashes,
        Answer::Guessed(guess) => return Err(Problem::new(Kind::Over, over(guess))),
        _ => return Err(unavailable("the owner does not answer")),
    };
    let matching = hash(place, move || hashes.into_iter().find(|hash| backup::matches(hash, &normal)));
    let Some(hash) = matching.await? else { return Ok(wrong) };
    match app.command(Command::TakeBackupCode { user, hash }).await? {
        Answer::BackupCodeTaken { left } => Ok(axum::Json(Verdict { verified: true, left: Some(left) })),
        Answer::Guessed(_) => Ok(wrong),
        _ => Err(unavailable("the owner does not answer")),
    }
}

/// Of those who may hash at once.
async fn place(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    let place = Arc::clone(&app.codes.hashing).acquire_owned();
    let place = tokio::time::timeout(PLACE_WITHIN, place).await.ok().and_then(Result::ok);
    place.ok_or_else(|| unavailable("too many codes are being hashed"))
}

/// Off the threads that carry requests.
async fn hash<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let worked = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(place);
        result
    });
    worked.await.map_err(|_| unavailable("the codes cannot be hashed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            ladder: vec![Channel::Sms, Channel::Email],
            within_s: [(Channel::Sms, 20), (Channel::Email, 60)].into(),
        }
    }

    fn otp() -> Otp {
        Otp {
            service: "shop".into(),
            user: "ada".into(),
            seal: [0; 32],
            guesses_left: 5,
            over_at: Wall(0),
            expires_at: Wall(300_000_000),
            verified_at: None,
            contacts: None,
        }
    }

    fn rung(channel: Channel, state: &str) -> Rung {
        Rung { channel, state: state.to_owned(), at: Some(Wall(0)), reason: None }
    }

    #[test]
    fn the_state_follows_from_the_rungs() {
        let (soon, late) = (Wall(1_000_000), Wall(90_000_000));
        for (sms, email, now, expected) in [
            ("open", "waiting", soon, "sending"),
            ("handed_over", "waiting", soon, "sending"),
            ("handed_over", "waiting", late, "sending"),
            ("delivered", "waiting", soon, "delivered"),
            ("dropped", "handed_over", soon, "delivered"),
            ("dropped", "handed_over", late, "exhausted"),
            ("dropped", "dropped", soon, "exhausted"),
            ("handed_over", "dead_lettered", soon, "sending"),
            ("handed_over", "dead_lettered", late, "exhausted"),
            ("unknown", "expired", late, "exhausted"),
            ("dropped", "open", late, "sending"),
            ("dropped", "dropped", Wall(300_000_000), "expired"),
        ] {
            let rungs = [rung(Channel::Sms, sms), rung(Channel::Email, email)];
            assert_eq!(state(&rules(), &otp(), &rungs, now), expected, "{sms}, {email}, {now:?}");
        }
        let verified = Otp { verified_at: Some(soon), ..otp() };
        assert_eq!(state(&rules(), &verified, &[], Wall(i64::MAX)), "verified");
    }

    #[test]
    fn a_request_is_read_and_each_fault_names_its_field() {
        let read =
            OtpAsked::read(br#"{"user":"ada","code":"12345","ttl_s":60,"contacts":{"phone":"+4930123456"}}"#);
        let read = read.expect("a request");
        assert_eq!((&*read.user, read.code.as_deref(), read.ttl_s), ("ada", Some("12345"), 60));
        assert!(read.contacts.is_some());
        for (text, pointer) in [
            ("{}", "/user"),
            (r#"{"user":""}"#, "/user"),
            (r#"{"user":"a","code":"123"}"#, "/code"),
            (r#"{"user":"a","code":"12 34"}"#, "/code"),
            (r#"{"user":"a","code":1234}"#, "/code"),
            (r#"{"user":"a","ttl_s":29}"#, "/ttl_s"),
            (r#"{"user":"a","contacts":{"phone":"030"}}"#, "/contacts/phone"),
            (r#"{"user":"a","ttl":30}"#, "/ttl"),
        ] {
            let problem = OtpAsked::read(text.as_bytes()).err().expect(text);
            assert_eq!(
                (problem.kind, problem.pointer.as_deref()),
                (Kind::Malformed, Some(pointer)),
                "{text}"
            );
        }
    }

    #[test]
    fn the_notification_goes_by_one_channel_after_the_other_and_has_the_code_in_its_text() {
        let request = notification(&rules(), "ada".into(), "314159", 90);
        assert_eq!(request.body.as_deref(), Some("314159 is your code. It is good for 2 minutes."));
        assert_eq!((request.channels, request.fallback), (vec![Channel::Sms], vec![Channel::Email]));
        assert_eq!((request.priority, request.ack_within_s), (Priority::Critical, Some(20)));
    }
}
