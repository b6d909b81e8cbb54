//! How most promises here begin: a crowd of the load tester's on all nodes, and the first node is killed under it.

use tests::Cluster;
use tests::loadtest::Load;

/// So many clients, on the nodes by `shares`; the first node is killed a second after all are in. `more` says how fast they
/// connect, how long it lasts and what is expected.
pub(crate) fn storm(cluster: &mut Cluster, clients: u32, shares: &str, more: &[&str]) -> Load {
    let pid = cluster.nodes[0].process().pid().to_string();
    let clients = clients.to_string();
    let words = ["-n", &clients, "--shares", shares, "--cut-at", "1s", "--kill-pid", &pid];
    Load::start(cluster, "storm", &[&words, more].concat())
}
