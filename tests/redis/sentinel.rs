//! A master that dies is followed to the one that the Sentinels name instead.

use tests::ports;
use tests::redis::{Redis, Sentinel};
use tests::until_within;

use crate::support::{
    LIST, NOTICED_WITHIN, REBUILT_WITHIN, RECOVERED_WITHIN, criticals, inbox, over, phase, redis, sorted,
    system, wait_for_empty, wait_for_redis,
};

#[test]
fn the_mirror_follows_a_fail_over() {
    let mut master = Redis::start();
    let replica = Redis::replica_of(master.address);
    let sentinel = Sentinel::start(master.address);
    // The first one is not there.
    let sentinels = vec![ports::free().to_string(), sentinel.address.to_string()];
    let (mut kafka, tocsin) =
        system(|setup| setup.set("redis.sentinels", sentinels).set("redis.master", "tocsin"));
    wait_for_redis(&tocsin, "up");
    kafka.process.kill_9();
    phase(&tocsin, "buffering", RECOVERED_WITHIN);
    let mut accepted = criticals(&tocsin, 20);
    until_within(REBUILT_WITHIN, "the master has them", || (master.length(LIST) == 20).then_some(()));
    master.process.kill_9();
    until_within(NOTICED_WITHIN, "its end is noticed", || (redis(&tocsin)["state"] == "down").then_some(()));
    accepted.extend(criticals(&tocsin, 10));
    until_within(2 * REBUILT_WITHIN, "the other one has all", || (replica.length(LIST) >= 30).then_some(()));
    wait_for_redis(&tocsin, "up");
    kafka.start_again();
    over(&tocsin);
    wait_for_empty(&replica);
    assert_eq!(inbox(&tocsin), sorted(accepted), "once");
}
