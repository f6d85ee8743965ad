//! Compares the documents with the code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::{fs, path::Path};

use support::{Agent, FakeHost, MIB};
use wasp_agent::{
    config::show,
    messages,
    model::{event::EventReason, trouble::Trouble, words::Vocabulary},
    observe::hooks::USUAL_FOLDERS,
    report::{check, metrics},
};

const MARK: &str = "<!-- from here on written by `BLESS=1 cargo test --test documents` -->\n";

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_rescue_removes_the_hook_from_every_usual_directory() {
    let rescue = "rm -f /{run,etc,usr/share}/containers/oci/hooks.d/99-wasp-agent.json\n";
    assert!(document("docs/troubleshooting.md").contains(rescue));
    let mut removed =
        ["run", "etc", "usr/share"].map(|top| format!("/{top}/containers/oci/hooks.d"));
    let mut usual = USUAL_FOLDERS;
    removed.sort();
    usual.sort_unstable();
    assert_eq!(removed, usual);
}

#[test]
fn the_configuration_reference_is_that_of_the_code() {
    assert_ends_with("docs/configuration.md", &show::reference());
}

#[test]
fn the_list_of_checks_is_that_of_the_code() {
    assert_ends_with("docs/check.md", &check::reference());
}

#[test]
fn the_list_of_metrics_is_that_of_the_code() {
    assert_ends_with("docs/metrics.md", &metrics::reference());
}

#[test]
fn the_list_of_messages_and_the_catalog_are_those_of_the_code() {
    assert_ends_with("docs/journal.md", &messages::reference());
    let name = "packaging/wasp-agent.catalog";
    if std::env::var_os("BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::write(path, messages::catalog()).unwrap();
    }
    assert_eq!(document(name), messages::catalog(), "BLESS=1 fixes it");
}

#[test]
fn the_security_manual_lists_every_state_file() {
    let manual = document("docs/security.md");
    for file in wasp_agent::state::ALL {
        let row = format!("\n| `{}` | 0600 | {} |\n", file.path, file.holds);
        assert!(manual.contains(&row), "docs/security.md lacks{row}");
    }
}

/// IDs are unique, texts name only fields that the message has, and each kind is logged somewhere.
#[test]
fn every_kind_of_message_is_well_formed_and_in_use() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: String = [sources(&root.join("src")), sources(&root.join("crates"))]
        .concat()
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let mut ids = std::collections::BTreeSet::new();
    for message in messages::ALL {
        assert!(message.id.len() == 32 && message.id.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(ids.insert(message.id), "{} is there twice", message.id);
        let text = [message.subject, message.meaning, message.remedy].concat();
        for used in text.split('@').skip(1).step_by(2) {
            let known = message.fields.iter().any(|field| messages::journal_field(field) == used);
            assert!(known, "{}: @{used}@", message.name);
        }
        let called =
            ["", " "].map(|end| sources.contains(&format!("messages::{}{end}{{", message.name)));
        let unit = sources.contains(&format!("messages::{}.", message.name));
        let broken = sources.contains(&format!("messages::{}\n", message.name));
        assert!(called[0] || called[1] || unit || broken, "{} is never logged", message.name);
    }
    assert!(ids.len() > 40);
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else {
            all.push(path);
        }
    }
    all
}

#[test]
fn the_architecture_names_every_module_of_the_agent() {
    let document = document("docs/architecture.md");
    let (_, map) = document.split_once("\n      agent/ ").unwrap();
    let (map, _) = map.split_once("\n      hook/ ").unwrap();
    let names: Vec<&str> = map.split([' ', ',', ':', '\n']).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agent");
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let slash = if entry.path().is_dir() { "/" } else { "" };
        let name = format!("{}{slash}", entry.file_name().display());
        assert!(names.contains(&name.as_str()), "docs/architecture.md does not name agent/{name}");
    }
}

/// Checks that the text after the mark equals the code's output.
fn assert_ends_with(name: &str, reference: &str) {
    let text = document(name);
    let (intro, _) = text.split_once(MARK).expect("the mark is gone");
    let expected = format!("{intro}{MARK}\n{}\n", reference.trim_end());
    if std::env::var_os("BLESS").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(name), &expected).unwrap();
    }
    assert_eq!(document(name), expected, "BLESS=1 fixes it");
}

/// Returns all documents.
fn documents() -> Vec<String> {
    let mut names: Vec<String> = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "ignition/README.md",
        "tests/node/README.md",
    ]
    .map(str::to_owned)
    .into();
    for folder in ["docs", "docs/runbooks"] {
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                names.push(format!("{folder}/{name}"));
            }
        }
    }
    names
}

/// Returns the fenced blocks of `language` in `text`.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Returns the number of cells of a table's row; `None` for any other line. A row in a list item is
/// indented.
fn cells(line: &str) -> Option<Result<usize, ()>> {
    let row = line.trim();
    row.starts_with('|').then_some(())?;
    let plain = row.replace("\\|", "");
    let outside: String = plain.split('`').step_by(2).collect();
    Some(if row.ends_with('|') { Ok(outside.matches('|').count() - 1) } else { Err(()) })
}

#[test]
fn every_row_of_a_table_has_the_cells_of_its_head() {
    assert_eq!(cells("| a | `b | c` | d |"), Some(Ok(3)));
    assert_eq!(cells("  | a \\| b |"), Some(Ok(1)));
    assert_eq!(cells("| a | the rest is on the next line"), Some(Err(())));
    assert_eq!(cells("a | b"), None);
    let mut rows = 0;
    for name in documents() {
        let text = document(&name);
        let mut head = None;
        for (number, line) in text.split("```").step_by(2).flat_map(str::lines).enumerate() {
            let found = cells(line);
            rows += usize::from(found.is_some());
            if let (Some(found), Some(head)) = (found, head) {
                assert_eq!(found, head, "{name}, line {} without code: {line}", number + 1);
            }
            head = found.map(|found| head.unwrap_or(found));
            assert!(head != Some(Err(())), "{name}: a row is cut: {line}");
        }
    }
    assert!(rows > 500, "only {rows} rows were found");
}

#[test]
fn every_toml_in_the_documents_loads() {
    let mut seen = 0;
    for name in documents() {
        for toml in blocks(&document(&name), "toml") {
            let host = FakeHost::new(4096 * MIB, 0);
            host.write("/etc/wasp-agent/wasp-agent.toml", toml);
            let output = Agent::command(&host, &["check-config"]).output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            seen += 1;
        }
    }
    assert!(seen > 0, "no TOML was found to check");
}

#[test]
fn every_yaml_in_the_documents_is_valid() {
    let mut seen = 0;
    for name in documents() {
        for yaml in blocks(&document(&name), "yaml") {
            let parsed: Result<serde_json::Value, _> = serde_saphyr::from_str(yaml);
            assert!(parsed.is_ok(), "{name}: {parsed:?}\n{yaml}");
            seen += 1;
        }
    }
    assert!(seen > 2, "only {seen} blocks were found");
}

/// The keys that an example uses, as the specification of Butane's variant `openshift` 4.16.0 has
/// them.
///
/// Source: <https://coreos.github.io/butane/config-openshift-v4_16/>
const BUTANE: &[&str] = &[
    "metadata.labels.machineconfiguration.openshift.io/role",
    "metadata.name",
    "storage.disks.device",
    "storage.disks.partitions.label",
    "storage.disks.partitions.number",
    "storage.disks.wipe_table",
    "systemd.units.contents",
    "systemd.units.dropins.contents",
    "systemd.units.dropins.name",
    "systemd.units.name",
    "variant",
    "version",
];

/// Adds the path of each value below `value`.
fn keys(value: &serde_json::Value, path: &str, found: &mut std::collections::BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                keys(value, &format!("{path}{dot}{key}"), found);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| keys(item, path, found)),
        _ => _ = found.insert(path.to_owned()),
    }
}

#[test]
fn the_butane_example_has_keys_of_the_specification_and_names_that_agree() {
    let text = document("docs/swap.md");
    let example = blocks(&text, "yaml")[0];
    let butane: serde_json::Value = serde_saphyr::from_str(example).unwrap();
    let mut found = std::collections::BTreeSet::new();
    keys(&butane, "", &mut found);
    assert_eq!(found.iter().collect::<Vec<_>>(), BUTANE);
    let units = butane["systemd"]["units"].as_array().unwrap();
    let label = butane["storage"]["disks"][0]["partitions"][0]["label"].as_str().unwrap();
    let encrypt = units[0]["contents"].as_str().unwrap();
    assert!(encrypt.contains(&format!("Environment=DISK=/dev/disk/by-partlabel/{label}\n")));
    let drop_in = units[1]["dropins"][0]["contents"].as_str().unwrap();
    assert!(drop_in.contains(&format!("Wants={}\n", units[0]["name"].as_str().unwrap())));
    // The name that cryptsetup gives the device is that of the agent's option.
    let mapped = encrypt.lines().find_map(|line| line.split_once("cryptsetup open ")).unwrap().1;
    let mapped = mapped.split(' ').next_back().unwrap();
    assert!(text.contains(&format!("--swap-path /dev/mapper/{mapped} ")), "{mapped}");
}

/// A reader copies a setting from a sentence into a file. A table and a key on one line are no
/// TOML: a sentence has `table.key = value`.
#[test]
fn a_setting_in_a_sentence_is_written_with_its_table() {
    for name in documents() {
        for line in document(&name).lines().filter(|line| !line.starts_with("    ")) {
            let wrong = |span: &&str| span.starts_with('[') && span.contains(" = ");
            let found = line.split('`').skip(1).step_by(2).find(wrong);
            assert_eq!(found, None, "{name}");
        }
    }
}

#[test]
fn every_command_that_the_readme_names_exists() {
    let readme = document("README.md");
    let help = Agent::command(&FakeHost::new(MIB, 0), &["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let mut seen = 0;
    for line in readme.lines().filter_map(|line| line.strip_prefix("| `wasp-agent ")) {
        let command = line.split('`').next().unwrap();
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in\n{help}");
        seen += 1;
    }
    assert_eq!(seen, 16);
}

/// Returns commands in backticks, or on separate lines.
fn commands(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let whole = text.lines().filter(|line| line.starts_with("    ")).map(str::trim);
    let whole = whole.map(|line| line.trim_start_matches("$ "));
    let commands = quoted.chain(whole).filter(|command| command.starts_with("wasp-agent "));
    commands.map(|command| command.split(" #").next().unwrap().trim()).collect()
}

#[test]
fn every_command_in_the_documents_is_understood() {
    let mut seen = 0;
    for name in documents() {
        for command in commands(&document(&name)) {
            let arguments = command.split_whitespace().skip(1);
            // clap prints its help only if the words before it are valid.
            let output = std::process::Command::new(support::agent_binary())
                .args(arguments)
                .arg("--help")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {command}: {said}");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut seen = 0;
    for name in documents() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join(&name);
        for rest in document(&name).split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { here.clone() } else { here.with_file_name(file) };
            assert!(target.exists(), "{name} links to {file}");
            if !heading.is_empty() {
                let anchors = anchors(&fs::read_to_string(&target).unwrap());
                assert!(anchors.iter().any(|anchor| anchor == heading), "{name} links to {link}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} links were found");
}

/// Returns the anchors of a document's headings, in the form of GitHub and GitLab.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// Compares the README's table with the manifests of each version.
#[test]
fn the_readme_has_the_place_of_fail_swap_on_in_each_version() {
    const DROP_IN: &str = "/etc/openshift/kubelet.conf.d/95-wasp-agent.conf";
    let place = |minor: u32, role: &str| {
        let version = format!("4.{minor}");
        let output = std::process::Command::new(support::agent_binary())
            .args(["manifests", "--openshift", &version, "--role", role, "--allow-control-plane"])
            .args(["--overcommit-percent", "150", "--install", "present"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        match (text.contains("kind: KubeletConfig"), text.contains(DROP_IN)) {
            (true, false) => "a KubeletConfig",
            (false, true) => "a drop-in",
            (false, false) => "nowhere",
            (true, true) => panic!("4.{minor}: both places"),
        }
    };
    let first = |wanted: &str, role: &str| (16..30).find(|minor| place(*minor, role) == wanted);
    assert_eq!(place(16, "worker"), "a KubeletConfig");
    let workers = first("a drop-in", "worker").unwrap();
    let control_plane = first("a drop-in", "master").unwrap();
    assert!((workers..control_plane).all(|minor| place(minor, "master") == "nowhere"));
    let readme = document("README.md");
    for row in [
        format!("| 4.16 to 4.{} | a KubeletConfig", workers - 1),
        format!("| 4.{workers} and later, workers | a drop-in, `{DROP_IN}`"),
        format!("| 4.{control_plane} and later, control plane | the same drop-in"),
    ] {
        assert!(readme.contains(&format!("\n{row}")), "README.md lacks {row}");
    }
}

/// A program's output in a document is that of a golden: `<!-- output: FILE, N lines -->`, then a block of text.
#[test]
fn every_output_in_the_documents_is_that_of_a_golden() {
    const FENCE: &str = " lines -->\n\n```text\n";
    let mut seen = 0;
    for name in documents() {
        let text = document(&name);
        let mut parts = text.split("<!-- output: ");
        let mut expected = parts.next().unwrap().to_owned();
        for part in parts {
            let (marker, rest) = part.split_once(FENCE).expect("a block follows the marker");
            let (golden, lines) = marker.split_once(", ").expect("FILE, N lines");
            let (_, after) = rest.split_once("```\n").expect("the block ends");
            let shown = document(golden);
            let shown = shown.lines().take(lines.parse().unwrap());
            let shown: String = shown.map(|line| format!("{line}\n")).collect();
            expected += &format!("<!-- output: {golden}, {lines}{FENCE}{shown}```\n{after}");
            seen += 1;
        }
        if std::env::var_os("BLESS").is_some() {
            fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(&name), &expected).unwrap();
        }
        assert_eq!(document(&name), expected, "BLESS=1 fixes it");
    }
    assert!(seen > 1, "only {seen} outputs were found");
}

/// operations.md explains every kind of problem of the agent.
#[test]
fn every_problem_of_the_agent_is_in_the_operations_manual() {
    let manual = document("docs/operations.md");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let words = rows.map(|(word, _)| word).filter(|word| *word != "PROBLEM");
    let explained: Vec<&str> = words.collect();
    let words: Vec<&str> = Trouble::ALL.iter().map(|trouble| trouble.word()).collect();
    // The worst first, in the agent's order.
    assert_eq!(explained, words);
}

#[test]
fn every_reason_of_an_event_is_documented() {
    let documents: String = documents().iter().map(|name| document(name)).collect();
    for reason in EventReason::WORDS {
        assert!(documents.contains(&format!("`{reason}`")), "{reason}");
    }
}
