//! Formats the output of `wasp-agent suspend`, `resume` and `suspended`.

use crate::model::{suspend::SuspendRow, swap::human_bytes};

pub fn table(text: &str, rows: &[SuspendRow]) -> String {
    let header = ["NAMESPACE", "POD", "CONTAINER", "QOS", "STATE", "RAM BEFORE", "RAM", "SWAP"];
    let mut cells = vec![header.map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        [
            row.namespace.clone(),
            row.pod.clone(),
            row.container.clone(),
            row.qos_class.to_string(),
            row.state.clone(),
            human_bytes(row.memory_before_bytes),
            human_bytes(row.memory_after_bytes),
            human_bytes(row.swap_bytes),
        ]
    }));
    let head = match (text, rows.is_empty()) {
        ("", true) => "no pod is suspended\n".to_owned(),
        ("", false) => String::new(),
        (text, _) => format!("{text}\n"),
    };
    let table = if rows.is_empty() { String::new() } else { super::columns(&cells) };
    super::for_terminal(&(head + &table))
}
