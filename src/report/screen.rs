//! Formats `wasp-agent status` for people: one screen, problems first.

use crate::model::counted::counted;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::overview::{Overview, OverviewPodRow};
use crate::{
    decide::guests::REMEDY,
    model::{
        published::{Published, ReclaimStatus, ReclaimedPod, SignalStatus},
        swap::{SwapMax, human_bytes},
        trouble::fix,
    },
};

const BAD: Style = AnsiColor::Red.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const DIM: Style = AnsiColor::BrightBlack.on_default();
const LABEL: usize = 12;
/// Number of pods shown; `--all` shows the others.
const PODS: usize = 20;
/// Keys of the kubelet's configuration that decide about swap. `--json` has all that the agent
/// reads.
const SHOWN: [&str; 5] = [
    "failSwapOn",
    "memorySwap.swapBehavior",
    "evictionHard.memory.available",
    "evictionSoft.memory.available",
    "cgroupRoot",
];
/// The least swap outside of a pod's containers that is shown, in bytes.
const SHOWN_BYTES: u64 = 1 << 20;
/// Number of pods shown that memory is reclaimed from.
const RECLAIMED: usize = 5;
/// Number of recent evictions shown.
const EVICTIONS: usize = 5;

/// Numbers of lines on a screen of 24 lines: problems, leaving pods, and past evictions.
const PROBLEMS_FITTED: usize = 3;
const IN_FLIGHT_FITTED: usize = 2;
const EVICTIONS_FITTED: usize = 2;
const USUAL_HEIGHT: usize = 24;

/// Formats the screen for a terminal that shows it continuously: the most important part stays
/// within `height` lines, and long lines are cut, not wrapped.
pub fn fitted(overview: &Overview, width: usize, height: usize) -> String {
    let spare = height.saturating_sub(USUAL_HEIGHT);
    let problems_fitted = PROBLEMS_FITTED + spare / 5;
    let [in_flight, evictions] = [IN_FLIGHT_FITTED, EVICTIONS_FITTED].map(|most| most + spare / 10);
    let mut lines = Vec::new();
    let mut line = |label: &str, what: &str| lines.push(format!("{label:<LABEL$} {what}"));
    line("Time", &shown_time(&overview.at));
    agent(overview, &mut line);
    if let Some(published) = &overview.published {
        let problems = &published.problems;
        for (index, problem) in problems.iter().take(problems_fitted).enumerate() {
            line(
                if index == 0 { "Problems" } else { "" },
                &format!("{BAD}{}{BAD:#}", problem.text),
            );
        }
        match problems.len().saturating_sub(problems_fitted) {
            0 if problems.is_empty() && overview.agent.running => {
                line("Problems", &format!("{GOOD}none{GOOD:#}"))
            }
            0 => {}
            more => line("", &format!("{BAD}{more} more: wasp-agent status{BAD:#}")),
        }
    }
    memory(overview, &mut line);
    if let Some(published) = &overview.published {
        signals(published, (in_flight, evictions), &mut line);
    }
    for note in overview.notes.iter().take(1) {
        line("Note", note);
    }
    // One line is empty, one is the table's header, and one stays free for the cursor.
    let room = height.saturating_sub(lines.len() + 3);
    let (rows, shown) = rows(&overview.pods, room, width);
    // The last line counts the pods that do not fit.
    let (rows, shown) = match shown < overview.pods.len() {
        true => self::rows(&overview.pods, room.saturating_sub(1), width),
        false => (rows, shown),
    };
    let mut text = lines.iter().fold(String::new(), |all, line| all + &shorten(line, width) + "\n");
    text += &format!("\n{rows}");
    if shown < overview.pods.len() {
        let _ = writeln!(text, "{DIM}{}{DIM:#}", more_pods(overview.pods.len() - shown));
    }
    // On a lower screen, the first lines stay.
    let most = height.saturating_sub(1);
    let text = text.split_inclusive('\n').take(most).collect::<String>();
    super::for_terminal(&text)
}

/// `width` in columns: longer lines are wrapped, those of the table cut.
pub fn screen(overview: &Overview, width: usize, all: bool) -> String {
    let mut text = String::new();
    let mut line = |label: &str, what: &str| {
        let _ = writeln!(text, "{label:<LABEL$} {what}");
    };
    agent(overview, &mut line);
    if let Some(published) = &overview.published {
        for (index, problem) in published.problems.iter().enumerate() {
            line(
                if index == 0 { "Problems" } else { "" },
                &format!("{BAD}{}{BAD:#}", problem.text),
            );
            if let Some(fix) = fix(problem.severity, &problem.remedy) {
                line("", &format!("fix: {fix}"));
            }
        }
        if published.problems.is_empty() && overview.agent.running {
            line("Problems", &format!("{GOOD}none{GOOD:#}"));
        }
    }
    swap(overview, &mut line);
    if let Some(published) = &overview.published {
        signals(published, (usize::MAX, EVICTIONS), &mut line);
        suspended(published, &mut line);
        reclaim(published, &mut line);
        guards(overview, published, &mut line);
    }
    if let [first, more @ ..] = &overview.vms_without_overcommit[..] {
        let names = match more.len() {
            0 => first.clone(),
            more => format!("{first} and {more} more"),
        };
        line("VMs", &format!("{BAD}{names}: no overcommit{BAD:#}; {REMEDY}"));
    }
    for note in &overview.notes {
        line("Note", note);
    }
    let head = text.lines().fold(String::new(), |all, line| all + &wrap(line, width));
    super::for_terminal(&format!("{head}\n{}", pods(&overview.pods, all, width)))
}

fn agent(overview: &Overview, line: &mut impl FnMut(&str, &str)) {
    let about = overview.published.as_ref().map(|published| {
        let Published { agent, started, pid, .. } = published;
        format!("{agent}, pid {pid}, since {}", shown_time(started))
    });
    let state = match (&overview.agent.warning, overview.agent.running) {
        (None, _) => format!("{GOOD}running{GOOD:#}"),
        (Some(warning), true) => format!("{BAD}running, but {warning}{BAD:#}"),
        (Some(warning), false) => format!("{BAD}{warning}{BAD:#}"),
    };
    line("Agent", &format!("{state}{}", about.map_or(String::new(), |about| format!("  {about}"))));
}

/// Formats RAM and swap, one line each.
fn memory(overview: &Overview, line: &mut impl FnMut(&str, &str)) {
    let mut devices = 0;
    swap(overview, &mut |label: &str, what: &str| {
        // List devices only if there are several: one device equals the sum.
        if !label.is_empty() {
            line(label, what);
        } else if overview.swap_devices.len() > 1 && devices < 3 {
            devices += 1;
            line(label, what);
        }
    });
}

fn swap(overview: &Overview, line: &mut impl FnMut(&str, &str)) {
    if let Some(node) = overview.published.as_ref().map(|published| &published.node) {
        let (ram, used) = (human_bytes(node.ram_bytes), human_bytes(node.working_set_bytes));
        line("RAM", &format!("{ram}, {used} in use (working set)"));
    }
    let for_pods = human_bytes(overview.swap_for_pods_bytes);
    match &overview.swap_devices[..] {
        [] => line("Swap", &format!("{BAD}none{BAD:#}")),
        devices => {
            let sum = |of: fn(&super::overview::Device) -> u64| devices.iter().map(of).sum::<u64>();
            let (size, used) = (sum(|d| d.size_bytes), sum(|d| d.used_bytes));
            let percent = used * 100 / size.max(1);
            let (size, used) = (human_bytes(size), human_bytes(used));
            line("Swap", &format!("{size}, {used} in use ({percent} %), for pods {for_pods}"));
            for device in devices {
                let (size, used) = (human_bytes(device.size_bytes), human_bytes(device.used_bytes));
                let path = &device.path;
                line("", &format!("{path}: {size}, {used} in use, priority {}", device.priority));
            }
        }
    }
}

fn signals(
    published: &Published,
    (most_in_flight, most_past): (usize, usize),
    line: &mut impl FnMut(&str, &str),
) {
    for (index, SignalStatus { name, ratio, text, active, .. }) in
        published.signals.iter().enumerate()
    {
        let style = if *active { BAD } else { Style::new() };
        let what = format!("{style}{name:<11} {:>4.0} %{style:#}  {text}", ratio * 100.0);
        line(if index == 0 { "Signals" } else { "" }, &what);
    }
    if let Some(condition) = &published.condition {
        let style = if condition.status == "False" { Style::new() } else { BAD };
        let (status, reason) = (&condition.status, &condition.reason);
        line("Condition", &format!("{style}SwapPressure {status}{style:#} ({reason})"));
    }
    let eviction = &published.eviction;
    let held = eviction.held_back.as_ref().map_or(String::new(), |why| format!("; {why}"));
    let count = eviction.in_the_last_hour;
    line("Eviction", &format!("{}, {count} in the last hour{held}", eviction.mode));
    for pod in eviction.in_flight.iter().take(most_in_flight) {
        line("", &format!("{BAD}{} is {}{BAD:#}", pod.pod, pod.stage));
    }
    for evicted in eviction.recent.iter().rev().take(most_past) {
        let at = shown_time(&evicted.at);
        line("", &format!("{at} {} {}: {}", evicted.pod, evicted.outcome, evicted.why));
    }
}

fn suspended(published: &Published, line: &mut impl FnMut(&str, &str)) {
    for (index, pod) in published.suspended.iter().enumerate() {
        let (ram, swap) = (human_bytes(pod.memory_bytes), human_bytes(pod.swap_bytes));
        let what = format!("{}: {ram} in RAM, {swap} in swap", pod.pod);
        line(if index == 0 { "Suspended" } else { "" }, &what);
    }
}

fn reclaim(published: &Published, line: &mut impl FnMut(&str, &str)) {
    let ReclaimStatus { mode, paused, pods, .. } = &published.reclaim;
    if mode.is_empty() || mode == "off" {
        return;
    }
    let offloaded = human_bytes(pods.iter().map(|pod| pod.offloaded_bytes).sum());
    let paused = paused.as_ref().map_or(String::new(), |why| format!("; {why}"));
    line(
        "Reclaim",
        &format!("{mode}, {}, {offloaded} in swap{paused}", counted(pods.len(), "pod", "pods")),
    );
    let mut most: Vec<_> = pods.iter().collect();
    most.sort_by_key(|pod| std::cmp::Reverse(pod.offloaded_bytes));
    for pod in most.into_iter().take(RECLAIMED) {
        let (offloaded, freed) =
            (human_bytes(pod.offloaded_bytes), human_bytes(pod.reclaimed_bytes));
        let why = pod.why.as_ref().map_or(String::new(), |why| format!("; {why}"));
        let ReclaimedPod { pod, phase, refaults_per_minute, .. } = pod;
        line(
            "",
            &format!(
                "{pod} {phase}: {offloaded} in swap, {freed} reclaimed, {refaults_per_minute:.0} pages \
                 came back a minute{why}"
            ),
        );
    }
}

fn guards(overview: &Overview, published: &Published, line: &mut impl FnMut(&str, &str)) {
    let protection = &published.protection;
    let slice = |slice: &String| match protection.protected.contains(slice) {
        true => slice.clone(),
        false => format!("{BAD}{slice} not fully protected{BAD:#}"),
    };
    let slices: Vec<String> = protection.wanted.iter().map(slice).collect();
    line("Protected", &if slices.is_empty() { "nothing".to_owned() } else { slices.join(", ") });
    line("OCI hook", published.hook.file.as_deref().unwrap_or("not installed"));
    let kubelet = &published.kubelet;
    if !kubelet.source.is_empty() {
        line("Kubelet", &kubelet.source);
    }
    for value in kubelet.values.iter().filter(|value| SHOWN.contains(&&*value.key)) {
        line("", &format!("{}: {} ({})", value.key, value.value, value.from));
    }
    let api = &published.api;
    let server = api.server.as_deref().unwrap_or("not known yet");
    let reachable = match (&api.failure, api.reachable) {
        (Some(failure), _) => format!("{BAD}{failure}{BAD:#}"),
        (None, true) => format!("reachable, {} on this node", counted(api.pods, "pod", "pods")),
        (None, false) => "no list of pods yet".to_owned(),
    };
    line("API server", &format!("{server} {reachable}"));
    if let Some(expires) = &api.certificate_expires {
        let is_past = match (expires.parse(), overview.at.parse()) {
            (Ok::<jiff::Timestamp, _>(expires), Ok::<jiff::Timestamp, _>(now)) => expires < now,
            _ => false,
        };
        let expires = shown_time(expires);
        match is_past {
            true => line("", &format!("{BAD}client certificate expired on {expires}{BAD:#}")),
            false => line("", &format!("client certificate valid until {expires}")),
        }
    }
}

fn more_pods(count: usize) -> String {
    counted(count, "more pod", "more pods")
}

fn pods(pods: &[OverviewPodRow], all: bool, width: usize) -> String {
    let (mut text, shown) = rows(pods, if all { pods.len() } else { PODS }, width);
    if shown < pods.len() {
        let _ = writeln!(text, "{DIM}{}: --all{DIM:#}", more_pods(pods.len() - shown));
    }
    text
}

/// Formats the first `most` pods as a table of at most `width` columns, and returns their number.
fn rows(pods: &[OverviewPodRow], most: usize, width: usize) -> (String, usize) {
    let shown = &pods[..pods.len().min(most)];
    let header = ["SWAP", "GRANT", "IN/S", "STALL", "EVICTION", "POD", "WHY"].map(str::to_owned);
    let mut rows = vec![header];
    rows.extend(shown.iter().map(|pod| {
        let number = |number: Option<f64>, unit: &str| {
            number.map_or_else(|| "-".to_owned(), |number| format!("{number:.0}{unit}"))
        };
        let order =
            pod.eviction_order.map_or_else(|| "never".to_owned(), |place| place.to_string());
        [
            human_bytes(pod.swap_bytes),
            match pod.swap_grant.parse() {
                Ok(SwapMax::Bytes(bytes)) => human_bytes(bytes),
                _ => pod.swap_grant.clone(),
            },
            number(pod.swap_in_pages_per_second, ""),
            number(pod.stalled_percent, " %"),
            order,
            format!("{}/{}", pod.namespace, pod.pod),
            match pod.swap_outside_containers_bytes {
                0..SHOWN_BYTES => pod.eviction_reason.clone(),
                bytes => {
                    let outside = human_bytes(bytes);
                    format!("{}; {outside} of its swap outside its containers", pod.eviction_reason)
                }
            },
        ]
    }));
    fit(&mut rows, width);
    (super::columns(&rows), shown.len())
}

/// Fits rows to the width: omits a reason if only its beginning would fit, and cuts names in the
/// middle, because the end distinguishes pods of a workload.
fn fit(rows: &mut [[String; 7]], width: usize) {
    let longest = |rows: &[[String; 7]], column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    };
    let before: usize = (0..POD).map(|column| longest(rows, column) + 2).sum();
    let left = width.saturating_sub(before);
    let pod = longest(rows, POD);
    let longest_why = longest(rows, POD + 1);
    // If both are too long, each gets a half.
    let pod = pod.min((left / 2).max(left.saturating_sub(longest_why + 2)));
    let why = left.saturating_sub(pod + 2);
    let (pod, why) = match why {
        0..WHY_AT_LEAST => (left, 0),
        why => (pod, why),
    };
    for row in rows {
        row[POD] = cut_middle(&row[POD], pod);
        row[POD + 1] = if why == 0 { String::new() } else { shorten(&row[POD + 1], why) };
    }
}

/// The column of the pod's name in the table; the reason follows it.
const POD: usize = 5;
/// The least number of columns for a reason.
const WHY_AT_LEAST: usize = 24;

/// Cuts `text` to `width` columns, and keeps its beginning and its end.
fn cut_middle(text: &str, width: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let begin = kept / 2;
    let (first, last) = (&letters[..begin], &letters[letters.len() - (kept - begin)..]);
    first.iter().chain(&['…']).chain(last).collect()
}

/// Cuts `line` to `width` columns, with an ellipsis at the end.
fn shorten(line: &str, width: usize) -> String {
    if cut_width(line) <= width {
        line.to_owned()
    } else {
        cut(line, width.saturating_sub(1)) + "…"
    }
}

/// Formats `2026-01-02T03:04:05.678Z` as `2026-01-02 03:04:05 UTC`; returns anything else
/// unchanged.
fn shown_time(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => time.to_owned(),
    }
}

/// Wraps `line` at `width` columns, indented like the text after a label.
fn wrap(line: &str, width: usize) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let columns = cut_width(word.trim_end());
        if column > LABEL && column + columns > width {
            let _ = write!(text, "\n{:LABEL$} ", "");
            column = LABEL + 1;
        }
        text.push_str(word);
        column += columns + (word.len() - word.trim_end().len());
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

/// Returns the number of columns of a text.
fn cut_width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().chars().count()
}

/// Returns the first `width` columns; control sequences take none, and those that end a colour
/// stay.
fn cut(line: &str, width: usize) -> String {
    let (mut shown, mut columns, mut in_sequence) = (String::new(), 0, false);
    for letter in line.chars() {
        in_sequence |= letter == '\u{1b}';
        if in_sequence {
            shown.push(letter);
            in_sequence = letter != 'm';
        } else {
            columns += 1;
            if columns <= width {
                shown.push(letter);
            }
        }
    }
    shown
}

#[cfg(test)]
#[path = "screen_tests.rs"]
pub(crate) mod tests;
