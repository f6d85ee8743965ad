//! Rules for the sources that neither the compiler nor clippy checks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use wasp_agent::model::trouble::Trouble;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            walk(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// Path and code of every source that ships, without unit tests and comments.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for folder in ["src", "crates/core/src", "crates/host/src"] {
        walk(&root().join(folder), &mut files);
    }
    assert!(files.len() > 100, "{}", files.len());
    let read = |file: PathBuf| {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let tests = ["#[cfg(test)]\nmod ", "#[cfg(test)]\n#["];
        let shipped =
            tests.iter().fold(&*text, |text, tests| text.split(tests).next().unwrap_or_default());
        let code = shipped.lines().map(|line| line.split("//").next().unwrap_or_default());
        (name, code.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(read).collect()
}

/// Returns true if the line names a `Result` whose error is a string, or formats an error in
/// another way than `model::unknown::sentence` does, which names no cause twice.
fn has_poor_error(line: &str) -> bool {
    let result = line.find("Result<").map(|at| &line[at..]);
    result.is_some_and(|rest| rest.contains(", String>") && !rest.contains("Map<"))
        || line.contains("type Err = String;")
        || line.contains("{error:#}")
}

/// Callers can tell the errors apart, and keep the source.
#[test]
fn no_error_is_a_string() {
    assert!(has_poor_error("fn a() -> Result<u8, String> {"));
    assert!(has_poor_error("format!(\"{error:#}\")"));
    assert!(!has_poor_error("fn a() -> Result<String, AError> {"));
    for (file, code) in sources() {
        let lines: Vec<&str> = code.lines().filter(|line| has_poor_error(line)).collect();
        assert!(lines.is_empty(), "{file}: {lines:#?}");
    }
}

/// The name of the type that a line declares.
fn declared(line: &str) -> Option<&str> {
    let words = match line.split_once(' ') {
        Some((visibility, rest)) if visibility.starts_with("pub") => rest,
        _ => line,
    };
    let kinds = ["struct ", "enum ", "trait "];
    let rest = kinds.iter().find_map(|kind| words.strip_prefix(kind))?;
    Some(rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default())
}

#[test]
fn a_name_of_a_type_has_one_meaning() {
    assert_eq!(declared("enum Kind {"), Some("Kind"));
    assert_eq!(declared("pub(super) struct Read<'a>(pub &'a Resolved);"), Some("Read"));
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, code) in sources() {
        for name in code.lines().filter_map(|line| declared(line.trim_start())) {
            places.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    assert!(places.len() > 300, "{}", places.len());
    // A macro's types have no name here.
    places.retain(|name, files| !name.is_empty() && files.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn every_kind_of_problem_is_found_somewhere() {
    let sources = sources();
    let others: Vec<_> = sources.iter().filter(|(file, _)| !file.ends_with("trouble.rs")).collect();
    for trouble in Trouble::ALL {
        let name = format!("Trouble::{trouble:?}");
        let is_named = |code: &str| {
            code.split(name.as_str()).skip(1).any(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        assert!(others.iter().any(|(_, code)| is_named(code)), "nothing reports {name}");
    }
}

/// Each module, and those that it must not import, because they are above it.
const FLOORS: [(&str, &[&str]); 12] = [
    ("crates/core/src/model/", &["config", "decide"]),
    ("crates/core/src/config/", &["decide"]),
    ("crates/host/src/replace.rs", &["bus", "state", "observe", "act", "provision"]),
    ("crates/host/src/bounded.rs", &["bus", "state", "observe", "act", "provision"]),
    ("crates/host/src/state/", &["bus", "observe", "act", "provision"]),
    ("crates/host/src/bus.rs", &["state", "observe", "act", "provision"]),
    ("crates/host/src/observe/", &["act", "provision"]),
    ("crates/host/src/act/", &["provision"]),
    ("src/report/", &["act", "manifests", "hook", "agent", "cli"]),
    ("src/manifests/", &["act", "observe", "report", "hook", "agent", "cli"]),
    ("src/hook/", &["report", "manifests", "agent", "cli"]),
    ("src/agent/", &["manifests", "hook", "cli"]),
];

/// `act::slices` reads systemd's properties of slices too.
const ALLOWED: (&str, &str) = ("crates/host/src/observe/check/bus.rs", "act");

/// Returns the modules of this crate that the code imports, or names with `crate::`.
fn imported(code: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap());
            continue;
        };
        let mut depth = 0;
        for item in list.split_inclusive([',', '{', '}']) {
            let name =
                item.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            if depth == 0 && !name.is_empty() {
                found.insert(name);
            }
            match item.as_bytes()[item.len() - 1] {
                b'{' => depth += 1,
                b'}' if depth == 0 => break,
                b'}' => depth -= 1,
                _ => {}
            }
        }
    }
    found
}

#[test]
fn no_module_imports_one_above_it() {
    let imports = imported("use crate::{\n    a::{b, c},\n    d,\n    e::F,\n};\ncrate::g::h()");
    assert_eq!(imports.into_iter().collect::<Vec<_>>(), ["a", "d", "e", "g"]);
    let sources = sources();
    for (place, above) in FLOORS {
        let rooms = sources.iter().filter(|(file, _)| file.starts_with(place));
        let rooms: Vec<_> = rooms.collect();
        assert!(!rooms.is_empty(), "{place}");
        for (file, code) in rooms {
            let wrong = imported(code).into_iter().filter(|name| above.contains(name));
            let wrong: Vec<&str> = wrong.filter(|name| (&**file, *name) != ALLOWED).collect();
            assert!(wrong.is_empty(), "{file} imports {wrong:?}");
        }
    }
}

/// Crates that a pure crate cannot need: runtimes, clients, system calls.
const IMPURE: [&str; 8] =
    ["tokio", "kube", "zbus", "nix", "rustix", "hyper", "openssl", "wasp-host"];

/// Follows Cargo.lock from the dependencies of crates/core.
#[test]
fn the_core_depends_on_no_runtime_client_or_system_call() {
    let read = |file: &str| -> toml::Table {
        fs::read_to_string(root().join(file)).unwrap().parse().unwrap()
    };
    let manifest = read("crates/core/Cargo.toml");
    let direct = manifest["dependencies"].as_table().unwrap().keys().cloned();
    let lock = read("Cargo.lock");
    let packages = lock["package"].as_array().unwrap();
    let name = |package: &toml::Value| package["name"].as_str().unwrap().to_owned();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut next: Vec<String> = direct.collect();
    while let Some(crate_name) = next.pop() {
        if !reached.insert(crate_name.clone()) {
            continue;
        }
        for package in packages.iter().filter(|package| name(package) == crate_name) {
            let needs = package.get("dependencies").and_then(toml::Value::as_array);
            let needs = needs.into_iter().flatten().filter_map(toml::Value::as_str);
            next.extend(needs.filter_map(|need| need.split(' ').next()).map(str::to_owned));
        }
    }
    assert!(reached.contains("serde"));
    let impure: Vec<&str> = IMPURE.into_iter().filter(|name| reached.contains(*name)).collect();
    assert!(impure.is_empty(), "wasp-core depends on {impure:?}");
}
