//! Bad usage: exit 2 and one clear line. A server that is not there: exit 1 and one clear line.

use super::program;

/// Runs the program; it must print one line on standard error, nothing else. Returns its code and that line.
fn refused(words: &[&str]) -> (Option<i32>, String) {
    let output = program(words);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(said.lines().count(), 1, "{words:?}: {said}");
    assert!(output.stdout.is_empty(), "{words:?}");
    (output.status.code(), said)
}

#[test]
fn every_flag_out_of_range_gets_one_line_and_exit_2() {
    for (words, part) in [
        (&["hold", "--connections", "0"][..], "--connections 0: 1 to 4000000"),
        (&["hold", "--connections", "4000001"], "--connections 4000001"),
        (&["hold", "--connections", "-1"], "unexpected argument"),
        (&["hold", "--connections", "many"], "--connections"),
        (&["hold", "--rate", "0"], "--rate 0: more than 0"),
        (&["hold", "--rate=-5"], "--rate -5"),
        (&["hold", "--rate", "nan"], "--rate NaN"),
        (&["hold", "--rate", "inf"], "--rate inf"),
        (&["hold", "--for", "10"], "not a duration"),
        (&["hold", "--for", "1000h"], "--for 1000h: at most 168 hours"),
        (&["hold", "--url", "quic://h"], "not built yet"),
        (&["hold", "--url", "wss://h"], "--ca FILE or --insecure"),
        (&["hold", "--url", "wss://h", "--ca", "/nowhere"], "/nowhere"),
        (&["hold", "--url", "127.0.0.1:8080"], "not a URL"),
        (&["hold", "--user-prefix", "a b"], "--user-prefix"),
        (&["hold", "--user-prefix", ""], "--user-prefix"),
        (&["hold", "--sources", "127.0.0.1/24"], "--sources"),
        (&["hold", "--threads", "0"], "--threads 0: 1 to 256"),
        (&["hold", "--threads", "65536"], "--threads"),
        (&["hold", "--rings", "0"], "--rings 0: 1 to 1024"),
        (&["hold", "--attempts", "0"], "--attempts 0: 1 to 1000"),
        (&["hold", "--expect", "p99<5"], "nothing is called"),
        (&["hold", "--expect", ""], "--expect"),
        (&["hold", "--token-file", "/nonexistent/file"], "--token-file /nonexistent/file: No such file"),
        (&["hold", "--jwt-hs256", "/dev/null"], "the file is empty"),
        (&["hold", "--token-file", "a", "--jwt-hs256", "b"], "cannot be used with"),
        (&["hold", "--json", "/nonexistent/folder/report.json"], "--json"),
        (&["hold", "--report", "/nonexistent/folder/x.html"], "--report"),
        (&["merge", "a.json"], "merge: 1 reports given; 2 to 256"),
        (&["merge", "/nonexistent/a.json", "b.json"], "/nonexistent/a.json: No such file"),
        (&["report", "/dev/null"], "/dev/null: not a report of ours"),
        (&["report"], "FILE.json"),
        (&["hold", "--connect-rate", "5"], "unexpected argument"),
        (&["hold", "--notify", "--notify-rate", "0"], "--notify-rate 0"),
        (&["hold", "--drain-pid", "1"], "--drain-pid 1"),
        (&["hold", "--start-at", "yesterday"], "--start-at"),
        (&["latency", "--size", "16385"], "--size 16385: 0 to 16384"),
        (&["latency", "--rate", "1000000", "--for", "1h"], "messages; 1 to 50000000"),
        (&["latency", "--connect-rate", "0"], "--connect-rate 0"),
        (&["latency", "--posters", "0"], "--posters 0"),
        (&["latency", "--batch", "1001"], "--batch 1001: 1 to 1000"),
        (&["latency", "--api", "https://h"], "--api"),
        (&["latency", "--key", ""], "--key"),
        (&["latency", "--settle", "soon"], "--settle"),
        (&["offer", "--rate", "0"], "--rate 0"),
        (&["offer", "--users", "0"], "--users 0"),
        (&["offer", "--channels", "in app"], "--channels"),
        (&["offer", "--rate", "1000000", "--for", "1h"], "notifications; 1 to 50000000"),
        (&["fanout", "--topic", ""], "--topic"),
        (&["fanout", "--for", "0s"], "--rate × --for is 0 messages"),
        (&["storm", "--cut", "kill"], "--cut kill needs --kill-pid"),
        (&["storm", "--cut", "rst", "--kill-pid", "99999"], "--kill-pid goes with --cut kill"),
        (&["storm", "--signal", "term"], "--signal needs --kill-pid"),
        (&["storm", "--kill-pid", "1"], "--kill-pid 1"),
        (&["storm", "--kill-pid", "2147483646"], "--kill-pid"),
        (&["storm", "--cut-at", "soon"], "--cut-at \"soon\""),
        (&["storm", "--cut-at", "2020-01-01T00:00:00Z"], "--cut-at 2020-01-01T00:00:00Z: a date within"),
        (&["storm", "--for", "1h"], "--for: a storm is watched for 10 minutes"),
        (&["storm", "--shares", "1,2"], "--shares \"1,2\": write one number"),
        (&["storm", "--shares", "0"], "--shares"),
        (&["chaos", "--size", "16385"], "--size 16385"),
        (&["chaos", "--cut", "sometimes"], "--cut"),
        (&["tempest"], "unrecognized subcommand"),
        (&["hold", "--nonsense"], "unexpected argument"),
    ] {
        let (code, said) = refused(words);
        assert_eq!(code, Some(2), "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
    }
}

#[test]
fn limits_of_the_host_are_named_before_anything_is_opened() {
    let (code, said) =
        refused(&["hold", "-n", "1000000", "--sources", "127.0.0.1", "--url", "ws://127.0.0.1:1"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("ip_local_port_range") && said.contains("--sources") && said.contains("--best-effort")
    );
}

#[test]
fn nobody_there_is_exit_1() {
    let (code, said) = refused(&["hold", "-n", "1", "--url", "ws://127.0.0.1:1"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nobody answers at 127.0.0.1:1"), "{said}");
}

#[test]
fn the_help_states_the_open_loop_and_lists_what_can_be_expected() {
    for scenario in ["hold", "fanout", "latency", "storm", "chaos"] {
        let help = String::from_utf8(program(&[scenario, "--help"]).stdout).expect("UTF-8");
        for part in ["open loop", "intended", "no coordinated omission", "p99_ms", "lost", "Exit code"] {
            assert!(help.contains(part), "{scenario}: {part}");
        }
    }
}
