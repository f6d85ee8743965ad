//! Compares generated files of the package with the code: manual, completions, licences, bill of
//! materials. `BLESS=1 cargo test --test rendered` updates them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use clap_complete::Shell;
use clap_mangen::{
    Man,
    roff::{Inline, Roff, bold, italic, roman},
};
use wasp_agent::{cli, config::keys::KEYS};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_default()
}

fn is(name: &str, expected: &str) {
    if std::env::var_os("BLESS").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(name), expected).unwrap();
    }
    assert!(read(name) == expected, "{name} differs from what the code says; BLESS=1 fixes it");
}

// --- manual

fn title(name: &str, section: &str) -> Roff {
    let mut page = Roff::new();
    page.control("TH", [name, section, "", &format!("wasp-agent {VERSION}")]);
    page
}

/// One page for the program: one page per command would separate related content.
#[test]
fn the_manual_of_the_agent_is_its_command_line() {
    let name = "packaging/man/wasp-agent.8";
    let mut command = cli::command();
    command.build();
    let mut page = title("wasp-agent", "8").render().into_bytes();
    Man::new(command.clone()).render_name_section(&mut page).unwrap();
    let mut commands = Roff::new();
    commands.control("SH", ["SYNOPSIS"]);
    commands.text(synopsis(&command));
    commands.control("br", []);
    commands.text([
        bold("wasp-agent"),
        roman(" "),
        bold("--help"),
        roman(" | "),
        bold("--version"),
    ]);
    commands.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
        commands.control("TP", []);
        let arguments = command
            .get_arguments()
            .filter(|argument| !argument.is_global_set() && argument.get_id() != "help");
        let mut usage = vec![bold(command.get_name())];
        let mut options = Vec::new();
        for argument in arguments {
            let shown = usage_of(argument);
            usage.push(roman(if argument.is_required_set() { " " } else { " [" }));
            usage.extend(shown.clone());
            usage.push(roman(if argument.is_required_set() { "" } else { "]" }));
            options.push((shown, argument));
        }
        commands.text(usage);
        commands.text([roman(sentence(&about(command)))]);
        commands.control("RS", []);
        for (shown, argument) in options {
            commands.control("TP", []);
            commands.text(shown);
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let mut text = sentence(&help);
            let choices: Vec<String> = match argument.get_action().takes_values() {
                true => argument
                    .get_possible_values()
                    .iter()
                    .map(|value| value.get_name().to_owned())
                    .collect(),
                false => Vec::new(),
            };
            if !choices.is_empty() {
                text += &format!(" One of {}.", choices.join(", "));
            }
            commands.text([roman(text)]);
        }
        commands.control("RE", []);
    }
    page.extend(commands.render().into_bytes());
    Man::new(command).render_options_section(&mut page).unwrap();
    let page = String::from_utf8(page).unwrap() + &read("packaging/man/wasp-agent.8.end");
    is(name, &page);
}

/// Returns the line with the options of every command; clap_mangen leaves out their values.
fn synopsis(command: &clap::Command) -> Vec<Inline> {
    let mut line = vec![bold("wasp-agent")];
    for argument in command.get_arguments().filter(|argument| argument.is_global_set()) {
        line.push(roman(" ["));
        line.extend(usage_of(argument));
        line.push(roman("]"));
    }
    line.extend([roman(" "), italic("COMMAND"), roman(" ["), italic("OPTION"), roman("]...")]);
    line
}

/// Returns the name of an option and of its value, or only that of a value.
fn usage_of(argument: &clap::Arg) -> Vec<Inline> {
    let long = argument.get_long().map(|long| bold(format!("--{long}")));
    let value = argument
        .get_action()
        .takes_values()
        .then(|| italic(argument.get_value_names().map_or("", |names| names[0].as_str())));
    match (long, value) {
        (Some(long), Some(value)) => vec![long, roman(" "), value],
        (long, value) => long.into_iter().chain(value).collect(),
    }
}

#[test]
fn the_synopsis_has_the_values_of_its_options() {
    let page = read("packaging/man/wasp-agent.8");
    let (_, synopsis) = page.split_once(".SH SYNOPSIS\n").unwrap();
    let line = synopsis.lines().next().unwrap().replace("\\-", "-");
    let plain = ["\\fB", "\\fI", "\\fR"].iter().fold(line, |line, font| line.replace(font, ""));
    assert_eq!(plain, "wasp-agent [--root DIR] COMMAND [OPTION]...");
}

fn about(command: &clap::Command) -> String {
    command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap()
}

fn sentence(text: &str) -> String {
    if text.ends_with('.') { text.to_owned() } else { format!("{text}.") }
}

#[test]
fn the_manual_of_the_configuration_has_every_key() {
    let mut page = title("wasp-agent.toml", "5");
    page.control("SH", ["NAME"]);
    page.text([roman("wasp-agent.toml - configuration of wasp-agent")]);
    page.control("SH", ["SYNOPSIS"]);
    for file in [
        "/etc/wasp-agent/wasp-agent.toml",
        "/etc/wasp-agent/config.d/*.toml",
        "/run/wasp-agent/config.d/*.toml",
        "/usr/lib/wasp-agent/config.d/*.toml",
    ] {
        page.text([italic(file)]);
        page.control("br", []);
    }
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman(
            "The files are TOML. The agent reads the main file, then all drop-ins in the order of ",
        ),
        roman("their names, then /etc/sysconfig/wasp-agent, then its environment. A later value "),
        roman(
            "overrides an earlier one. The main file is the first that exists in /etc/wasp-agent, ",
        ),
        roman(
            "/run/wasp-agent and /usr/lib/wasp-agent. A drop-in in /etc replaces one of the same ",
        ),
        roman("name in /run, and one in /run replaces one in /usr/lib. "),
        bold("wasp-agent check-config"),
        roman(" shows each setting in effect with its source."),
    ]);
    page.control("SH", ["KEYS"]);
    for key in KEYS {
        page.control("TP", []);
        page.text([bold(key.path)]);
        page.text([roman(key.help)]);
        page.control("IP", []);
        let mut facts: Vec<Inline> = vec![
            roman(format!("Allowed: {}. Default: ", key.kind.allowed())),
            bold(key.default.value().to_string()),
            roman("."),
        ];
        if let Some(name) = key.environment {
            facts.extend([roman(" Environment: "), bold(name), roman(".")]);
        }
        page.text(facts);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([bold("wasp-agent"), roman("(8), "), bold("wasp-hook"), roman("(8)")]);
    is("packaging/man/wasp-agent.toml.5", &page.render());
}

// --- completions

#[test]
fn the_completions_are_those_of_the_command_line() {
    for (shell, file) in [
        (Shell::Bash, "wasp-agent.bash"),
        (Shell::Fish, "wasp-agent.fish"),
        (Shell::Zsh, "_wasp-agent"),
    ] {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut cli::command(), "wasp-agent", &mut text);
        is(&format!("packaging/completions/{file}"), &String::from_utf8(text).unwrap());
    }
}

// --- licences and bill of materials

struct Crate {
    name: String,
    version: String,
    /// An SPDX expression.
    license: String,
    repository: String,
}

/// Returns all crates whose code is in the binaries, by name and version.
fn linked() -> Vec<Crate> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "wasp-agent", "--prefix", "none"])
        .args(["--edges", "normal,no-proc-macro", "--target", "x86_64-unknown-linux-gnu"])
        .args(["--no-dedupe", "--format", "{p}|{l}|{r}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: BTreeSet<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let crates: Vec<Crate> = lines
        .iter()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let fields: Vec<&str> = line.split('|').collect();
            let (name, rest) = fields[0].split_once(" v").unwrap();
            Crate {
                name: name.to_owned(),
                // Local crates are followed by their directory.
                version: rest.split(' ').next().unwrap().to_owned(),
                license: match fields[1].contains(" AND ") {
                    // It names its file instead.
                    _ if name == "libyaml-safer" => "MIT".to_owned(),
                    true => fields[1].to_owned(),
                    false => alternatives(fields[1]).join(" OR "),
                },
                repository: fields[2].to_owned(),
            }
        })
        .collect();
    assert!(crates.len() > 50, "cargo tree says {lines:?}");
    crates
}

/// Splits `MIT/Apache-2.0` or `Apache-2.0 OR MIT`, with or without parentheses, into sorted terms.
fn alternatives(term: &str) -> Vec<&str> {
    let mut names: Vec<&str> =
        term.trim_matches(['(', ')']).split(" OR ").flat_map(|name| name.split('/')).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_package_names_the_licence_of_everything_in_it() {
    let mut by_license: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Crate { name, version, license, .. } in linked() {
        assert!(!license.is_empty(), "{name} names no licence");
        by_license.entry(license).or_default().push(format!("{name} {version}"));
    }
    let terms: BTreeSet<String> = by_license
        .keys()
        .flat_map(|license| license.split(" AND "))
        .map(|term| match alternatives(term).as_slice() {
            [one] => (*one).to_owned(),
            several => format!("({})", several.join(" OR ")),
        })
        .collect();
    let line = format!("License:        {}", Vec::from_iter(terms).join(" AND "));
    let spec = read("rpm.spec");
    let fixed: String = spec
        .lines()
        .map(|old| if old.starts_with("License:") { line.as_str() } else { old })
        .flat_map(|line| [line, "\n"])
        .collect();
    is("rpm.spec", &fixed);
    let mut list = String::from("What is linked into wasp-agent and wasp-hook, by licence.\n");
    for (license, crates) in by_license {
        list += &format!("\n{license}\n");
        for name in crates {
            list += &format!("  {name}\n");
        }
    }
    is("packaging/LICENSE.dependencies", &list);
}

#[test]
fn the_dashboard_for_grafana_is_that_of_the_code() {
    let text = format!("{:#}\n", wasp_agent::manifests::dashboards::grafana());
    is("packaging/dashboards/wasp-agent.json", &text);
}

#[test]
fn the_spec_has_the_version_of_the_crate() {
    let spec = read("rpm.spec");
    assert!(spec.contains(&format!("\nVersion:        {VERSION}\n")));
    assert!(spec.contains(&format!("> - {VERSION}-1\n")), "%changelog lacks {VERSION}-1");
}

/// CycloneDX 1.5 with one component per line, so that a changed dependency is one changed line.
#[test]
fn the_bill_of_materials_has_every_crate_with_its_checksum() {
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let checksum = |wanted: &Crate| {
        packages.iter().find_map(|package| {
            let is = |key: &str, value: &str| package[key].as_str() == Some(value);
            if !is("name", &wanted.name) || !is("version", &wanted.version) {
                return None;
            }
            package.get("checksum")?.as_str()
        })
    };
    let component = |kind: &str, linked: &Crate| {
        let Crate { name, version, license, repository } = linked;
        let purl = format!("pkg:cargo/{name}@{version}");
        let mut component = serde_json::json!({
            "type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl,
            "licenses": [{ "expression": license }],
        });
        if !repository.is_empty() {
            component["externalReferences"] =
                serde_json::json!([{ "type": "vcs", "url": repository }]);
        }
        if let Some(checksum) = checksum(linked) {
            component["hashes"] = serde_json::json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        component.to_string()
    };
    // The workspace's own crates are the application.
    let (ours, others): (Vec<_>, Vec<_>) =
        linked().into_iter().partition(|linked| linked.name.starts_with("wasp-"));
    let application = ours.iter().find(|linked| linked.name == "wasp-agent").unwrap();
    assert!(others.iter().all(|other| checksum(other).is_some()), "a crate without a checksum");
    let components: Vec<String> = others.iter().map(|other| component("library", other)).collect();
    let text = format!(
        "{{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\n\
         \"metadata\":{{\"component\":{}}},\n\"components\":[\n{}\n]}}\n",
        component("application", application),
        components.join(",\n")
    );
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    is("packaging/wasp-agent.cdx.json", &text);
}
