//! What came of it, for people and for programs.

use serde_json::json;

use crate::play::Outcome;

/// Which shares of the requests were answered within how long.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

fn per_second(outcome: &Outcome) -> f64 {
    outcome.done as f64 / outcome.elapsed.as_secs_f64().max(1e-9)
}

/// Microseconds.
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// A few lines.
pub(crate) fn text(outcome: &Outcome) -> String {
    let mut lines = format!(
        "{} requests in {:.3} s: {:.0} per second",
        outcome.done,
        outcome.elapsed.as_secs_f64(),
        per_second(outcome)
    );
    if let Some(rate) = outcome.rate {
        lines.push_str(&format!(" ({rate} wanted)"));
    }
    lines.push_str(&format!(", {} failures\nlatency, us:", outcome.failures));
    for (name, quantile) in QUANTILES {
        let value = micros(outcome.latency.value_at_quantile(quantile));
        lines.push_str(&format!("  {name} {value:.1}"));
    }
    lines.push_str(&format!("  max {:.1}", micros(outcome.latency.max())));
    lines
}

/// One object; times in microseconds.
pub(crate) fn json(outcome: &Outcome) -> String {
    let mut latency = serde_json::Map::new();
    for (name, quantile) in QUANTILES {
        latency.insert(name.to_owned(), json!(micros(outcome.latency.value_at_quantile(quantile))));
    }
    latency.insert("max".to_owned(), json!(micros(outcome.latency.max())));
    json!({
        "requests": outcome.done,
        "seconds": outcome.elapsed.as_secs_f64(),
        "per_second": per_second(outcome),
        "wanted_per_second": outcome.rate,
        "failures": outcome.failures,
        "latency_us": latency,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::*;

    fn outcome() -> Outcome {
        let mut latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("good bounds");
        for nanos in 1..=1_000u64 {
            latency.saturating_record(nanos * 1_000);
        }
        Outcome {
            done: 1_000,
            elapsed: Duration::from_secs(2),
            failures: 3,
            rate: Some(600),
            latency,
        }
    }

    #[test]
    fn people_read_rates_and_microseconds() {
        let text = text(&outcome());
        assert!(
            text.starts_with("1000 requests in 2.000 s: 500 per second (600 wanted), 3 failures\n")
        );
        assert!(text.contains("p50 500") && text.contains("p99 990"), "{text}");
    }

    #[test]
    fn programs_read_json() {
        let value: serde_json::Value = serde_json::from_str(&json(&outcome())).expect("JSON");
        assert_eq!(value["per_second"], 500.0);
        assert_eq!(value["failures"], 3);
        assert!(value["latency_us"]["p99"].as_f64().expect("a number") > 980.0);
    }
}
