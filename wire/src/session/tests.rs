//! The session against its rules. `conformance` has the table of cases, `reference` a plain second decoder.

mod conformance;
mod reference;

use super::*;

const KEY: [u8; 4] = [9, 8, 7, 6];
const TEXT: OpCode = OpCode::Data(Data::Text);
const BINARY: OpCode = OpCode::Data(Data::Binary);
const CONTINUE: OpCode = OpCode::Data(Data::Continue);
const CLOSE: OpCode = OpCode::Control(Control::Close);
const PING: OpCode = OpCode::Control(Control::Ping);
const PONG: OpCode = OpCode::Control(Control::Pong);

/// What was said, and the fault that ended it.
type Heard = (Vec<String>, Option<CloseCode>);

fn run<'p>(
    session: &mut Session,
    pieces: impl IntoIterator<Item = &'p [u8]>,
    limits: &SessionLimits,
) -> Heard {
    let mut said = Vec::new();
    for piece in pieces {
        let read = session
            .handle_bytes(&mut piece.to_vec(), limits, &mut |incoming| said.push(format!("{incoming:?}")));
        if let Err(fault) = read {
            return (said, Some(fault.code));
        }
    }
    (said, None)
}

fn heard(stream: &[u8]) -> Heard {
    run(&mut Session::new(Role::Server), [stream], &SessionLimits::default())
}

fn masked(opcode: OpCode, payload: &[u8], last: bool) -> Vec<u8> {
    ws::piece(opcode, payload, Some(KEY), last).to_vec()
}

#[test]
fn faults_have_their_codes() {
    let too_big = vec![b'x'; MESSAGE_BYTES_MAX + 1];
    let cases: [(&str, Vec<u8>, CloseCode); 5] = [
        ("unmasked", ws::text_frame(b"x").to_vec(), CloseCode::Protocol),
        ("binary", masked(BINARY, b"x", true), CloseCode::Unsupported),
        ("binary in fragments", masked(BINARY, b"x", false), CloseCode::Unsupported),
        ("too big", masked(TEXT, &too_big, true)[..14].to_vec(), CloseCode::TooBig),
        (
            "too big together",
            [masked(TEXT, &too_big[1..], false), masked(CONTINUE, b"x", true)[..6].to_vec()].concat(),
            CloseCode::TooBig,
        ),
    ];
    for (what, stream, code) in cases {
        assert_eq!(heard(&stream), (vec![], Some(code)), "{what}");
    }
    let largest = masked(TEXT, &too_big[1..], true);
    assert_eq!(heard(&largest).1, None, "the largest message is none too big");
}

#[test]
fn a_client_takes_no_masked_frame() {
    let mut client = Session::new(Role::Client);
    let limits = SessionLimits::client();
    assert_eq!(
        run(&mut client, [&ws::text_frame(b"x")[..]], &limits),
        (vec!["Text(\"x\")".to_owned()], None)
    );
    assert_eq!(run(&mut client, [&masked(TEXT, b"x", true)[..]], &limits).1, Some(CloseCode::Protocol));
}

#[test]
fn fragments_are_counted() {
    let limits = SessionLimits { fragments: 3, ..SessionLimits::default() };
    let stream =
        [masked(TEXT, b"", false), masked(CONTINUE, b"", false), masked(CONTINUE, b"", false)].concat();
    let mut session = Session::new(Role::Server);
    assert_eq!(run(&mut session, [&stream[..]], &limits).1, None);
    assert_eq!(run(&mut session, [&masked(CONTINUE, b"", true)[..]], &limits).1, Some(CloseCode::Policy));
}

#[test]
fn nothing_is_heard_after_a_fault() {
    let mut session = Session::new(Role::Server);
    let limits = SessionLimits::default();
    let cut = &masked(TEXT, b"\xffxx", true)[..8];
    assert_eq!(run(&mut session, [cut], &limits), (vec![], Some(CloseCode::BadUtf8)));
    assert!(session.is_ended() && session.held_bytes() == 0);
    assert_eq!(run(&mut session, [&masked(TEXT, b"later", true)[..]], &limits), (vec![], None));
}

#[test]
fn whoever_closes_first_one_close_frame_goes_each_way() {
    let (limits, theirs) = (SessionLimits::default(), ws::close_frame(1000, "bye", Some(KEY)));
    let mut answering = Session::new(Role::Server);
    assert_eq!(run(&mut answering, [&theirs[..]], &limits).0.len(), 1);
    assert!(answering.is_ended() && answering.begin_close() && !answering.begin_close());

    let mut asking = Session::new(Role::Server);
    assert!(asking.begin_close() && !asking.is_ended());
    let late = [masked(TEXT, b"late", true), masked(PING, b"", true), theirs.to_vec()].concat();
    assert_eq!(run(&mut asking, [&late[..]], &limits).0, ["Close { code: Some(1000), reason: \"bye\" }"]);
    assert!(asking.is_ended() && !asking.begin_close());
}

#[test]
fn what_is_late_after_our_close_still_obeys_the_rules() {
    let mut session = Session::new(Role::Server);
    session.begin_close();
    let late = masked(TEXT, b"\xff", true);
    assert_eq!(run(&mut session, [&late[..]], &SessionLimits::default()), (vec![], Some(CloseCode::BadUtf8)));
}

#[test]
fn an_idle_session_holds_no_memory() {
    let limits = SessionLimits::default();
    let mut session = Session::new(Role::Server);
    for whole in [
        masked(TEXT, &[b'x'; 300], true),
        masked(PING, &[b'x'; 100], true),
        [masked(TEXT, b"a", false), masked(CONTINUE, b"b", true)].concat(),
    ] {
        for cut in 1..whole.len() {
            run(&mut session, [&whole[..cut]], &limits);
            assert!(session.is_unfinished() && session.held_bytes() > 0, "cut at {cut}");
            run(&mut session, [&whole[cut..]], &limits);
            assert!(!session.is_unfinished() && session.held_bytes() == 0, "cut at {cut}");
        }
    }
}

/// A peer may announce 64 KiB in six bytes; it is given memory for what it sends.
#[test]
fn memory_follows_what_came_and_not_what_was_announced() {
    let mut session = Session::new(Role::Server);
    let announced = &masked(TEXT, &vec![b'x'; MESSAGE_BYTES_MAX], true)[..14 + 10];
    run(&mut session, [announced], &SessionLimits::default());
    assert!(session.is_unfinished() && session.held_bytes() < 512, "{}", session.held_bytes());
}
