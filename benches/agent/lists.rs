//! The memory that a list of long pods needs: as much as the longest of them, not as much as all.

use serde_json::{Value, json};

use crate::{
    site::{Site, memory, peak, real_pod},
    table::{Row, Unit},
};

const PODS: usize = 200;
const LONG: usize = 1_000_000;

/// About the largest object that etcd accepts.
fn long_pod(name: &str, number: usize) -> Value {
    let mut pod = real_pod(name, number);
    pod["spec"]["containers"][0]["env"] = json!([{"name": "LONG", "value": "x".repeat(LONG)}]);
    pod
}

pub(crate) fn measure(rows: &mut Vec<Row>, broken: &mut Vec<String>) {
    let short = Site::new(PODS);
    let agent = short.start();
    let ([steady, _], short_peak) = (memory(&agent), peak(&agent));
    drop((agent, short));
    let long = Site::of(PODS, long_pod);
    let agent = long.start();
    let ([after, _], long_peak) = (memory(&agent), peak(&agent));
    let object = LONG as f64;
    let row = |what: &str, figure| {
        Row::new(
            format!("{what}, a list of {PODS} pods of 1 MB"),
            figure,
            Unit::Bytes,
            "the longest pod",
        )
    };
    rows.push(row("peak RSS", long_peak).against("of 8 kB", short_peak));
    rows.push(row("RSS after", after).against("of 8 kB", steady));
    for (what, figure, most) in [
        ("at most", long_peak, short_peak.max(steady) + 2.0 * object),
        ("afterwards", after, steady + object),
    ] {
        if figure > most {
            broken.push(format!(
                "with a list of {PODS} pods of 1 MB the agent has {figure} bytes in RAM {what}, not {most}"
            ));
        }
    }
}
