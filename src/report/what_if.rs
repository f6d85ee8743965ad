//! Formats `wasp-agent plan --overcommit-percent` for people and programs.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    decide::what_if::{GrantChange, WhatIf},
    model::swap::{SwapMax, human_bytes},
    provision::ProvisionError,
};

/// The steps to change the swap, or the reasons for refusing them.
pub type SwapChange = Result<Vec<String>, ProvisionError>;

fn shown(swap_max: SwapMax) -> String {
    match swap_max {
        SwapMax::Bytes(bytes) => human_bytes(bytes),
        SwapMax::Max => "max".to_owned(),
    }
}

pub fn table(what_if: &WhatIf, provisioning: &SwapChange, notes: &[String]) -> String {
    let mut text = String::new();
    let size = human_bytes;
    let WhatIf { overcommit_percent: percent, ram_bytes, swap_bytes_now, .. } = *what_if;
    let _ = writeln!(
        text,
        "overcommit-percent = {percent}: RAM {}, swap {} instead of {}, for pods {} instead of {}",
        size(ram_bytes),
        size(what_if.swap_bytes_then),
        size(swap_bytes_now),
        size(what_if.for_pods_bytes_then),
        size(what_if.for_pods_bytes_now),
    );
    if what_if.others_bytes > 0 {
        let others = size(what_if.others_bytes);
        let _ = writeln!(text, "{others} of that swap are not the agent's and would stay.");
    }
    let _ = match provisioning {
        Ok(steps) if steps.is_empty() => writeln!(text, "The swap needs no change."),
        Ok(steps) => writeln!(text, "Steps: {}", steps.join("; ")),
        Err(why) => writeln!(text, "The agent would refuse: {why}"),
    };
    for note in notes {
        let _ = writeln!(text, "Note: {note}");
    }
    text.push('\n');
    let header =
        ["NAMESPACE", "POD", "CONTAINER", "REQUEST", "GRANT NOW", "THEN", "LIMITEDSWAP THEN"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(what_if.containers.iter().map(|change| {
        let GrantChange { namespace, pod, container, memory_request, now, then, limited_swap } =
            change;
        [
            namespace.clone(),
            pod.clone(),
            container.clone(),
            memory_request.map_or_else(|| "-".to_owned(), |request| request.to_string()),
            shown(*now),
            shown(*then),
            shown(*limited_swap),
        ]
    }));
    text += &super::columns(&rows);
    text += "\nThis command changes nothing. To see whether the node can sustain it, run \
        wasp-agent advise.\n";
    super::for_terminal(&text)
}

pub fn json(
    what_if: &WhatIf,
    provisioning: &SwapChange,
    notes: &[String],
) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Shown<'a> {
        #[serde(flatten)]
        what_if: &'a WhatIf,
        steps: Option<&'a [String]>,
        refused: Option<String>,
        notes: &'a [String],
    }
    let shown = Shown {
        what_if,
        steps: provisioning.as_ref().ok().map(Vec::as_slice),
        refused: provisioning.as_ref().err().map(ToString::to_string),
        notes,
    };
    Ok(serde_json::to_string_pretty(&shown)? + "\n")
}
