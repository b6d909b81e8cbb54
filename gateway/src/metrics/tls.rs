//! What a shard counts of TLS: handshakes by how they were made, failures by why.

use ops::metrics::{Counter, Text};

use crate::tls::session::{Established, Failure};

/// Labels of `gateway_tls_handshakes_total`: version, resumed.
const WAYS: [(&str, &str); 4] = [("1.2", "false"), ("1.2", "true"), ("1.3", "false"), ("1.3", "true")];

#[derive(Debug, Default)]
pub struct TlsMetrics {
    handshakes: [Counter; WAYS.len()],
    failures: [Counter; Failure::ALL.len()],
}

impl TlsMetrics {
    pub(crate) fn established(&self, way: Established) {
        self.handshakes[usize::from(way.is_tls13) * 2 + usize::from(way.resumed)].inc();
    }

    pub(crate) fn failed(&self, why: Failure) {
        self.failures[why as usize].inc();
    }
}

/// The lines of a whole node.
pub(crate) fn render(text: &mut Text, shards: &[&TlsMetrics]) {
    for (place, (version, resumed)) in WAYS.into_iter().enumerate() {
        let value = shards.iter().map(|shard| shard.handshakes[place].get()).sum();
        let labels = [("version", version), ("resumed", resumed)];
        text.counter("tocsin_gateway_tls_handshakes_total", "TLS handshakes that succeeded.", &labels, value);
    }
    for (why, label) in Failure::ALL {
        let value = shards.iter().map(|shard| shard.failures[why as usize].get()).sum();
        let help = "TLS connections that failed, by why.";
        text.counter("tocsin_gateway_tls_failures_total", help, &[("reason", label)], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_and_each_reason_has_its_own_line() {
        let (one, other) = (TlsMetrics::default(), TlsMetrics::default());
        one.established(Established { is_tls13: true, resumed: false });
        other.established(Established { is_tls13: true, resumed: false });
        other.established(Established { is_tls13: false, resumed: true });
        for (place, (why, _)) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place);
            one.failed(why);
        }
        let mut text = Text::new();
        render(&mut text, &[&one, &other]);
        let page = text.finish();
        for line in [
            "tocsin_gateway_tls_handshakes_total{version=\"1.3\",resumed=\"false\"} 2",
            "tocsin_gateway_tls_handshakes_total{version=\"1.2\",resumed=\"true\"} 1",
            "tocsin_gateway_tls_handshakes_total{version=\"1.2\",resumed=\"false\"} 0",
            "tocsin_gateway_tls_failures_total{reason=\"not_tls\"} 1",
            "tocsin_gateway_tls_failures_total{reason=\"internal\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing:\n{page}");
        }
    }
}
