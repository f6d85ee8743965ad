//! Injects OCI hooks as CRI-O does: the same directories, order and matching.
//!
//! Source: crio.conf(5) `hooks_dir`, oci-hooks(5), and CRI-O's container creation: it compares the
//! kubelet's annotations of the container and those of the pod, but not those that CRI-O itself
//! adds for the runtime, such as `io.kubernetes.cri-o.ContainerType`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use regex::Regex;
use serde_json::{Map, Value, json};

const DEFAULT: &str = "/usr/share/containers/oci/hooks.d";

/// Hooks by file name, which is the order of the calls.
#[derive(Debug, Default)]
pub(crate) struct Hooks(BTreeMap<String, Value>);

impl Hooks {
    /// Reads the hooks of the node below `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut found = BTreeMap::new();
        for folder in folders(root)? {
            let below = root.join(folder.strip_prefix("/").unwrap_or(&folder));
            for file in sorted(&below) {
                let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
                if !name.ends_with(".json") {
                    continue;
                }
                match definition(&file) {
                    Ok(hook) => drop(found.insert(name, hook)),
                    // CRI-O logs it and continues with the others.
                    Err(error) => println!("# left out hook {}: {error:#}", file.display()),
                }
            }
        }
        Ok(Self(found))
    }

    /// Adds the matching hooks to a container's `config.json`.
    pub(crate) fn inject(
        &self,
        config: &mut Value,
        annotations: &Map<String, Value>,
    ) -> Result<()> {
        for hook in self.0.values() {
            if !matches(&hook["when"], config, annotations) {
                continue;
            }
            for stage in strings(&hook["stages"]) {
                let key = if stage == "prestart" { "createRuntime" } else { stage };
                let stage = &mut config["hooks"][key];
                if stage.is_null() {
                    *stage = json!([]);
                }
                let list = stage.as_array_mut().context("hooks are a list")?;
                list.push(hook["hook"].clone());
            }
        }
        Ok(())
    }
}

/// Reads `crio.conf`, then the files of `crio.conf.d` by name; the last one with the key takes
/// precedence.
fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![root.join("etc/crio/crio.conf")];
    files.extend(sorted(&root.join("etc/crio/crio.conf.d")));
    let mut folders = vec![PathBuf::from(DEFAULT)];
    for file in files.iter().filter(|file| file.exists()) {
        let text = fs::read_to_string(file)?;
        let table: toml::Table =
            text.parse().with_context(|| format!("parse {}", file.display()))?;
        let value = table.get("crio").and_then(|crio| crio.get("runtime"));
        if let Some(list) = value.and_then(|runtime| runtime.get("hooks_dir")?.as_array()) {
            folders = list.iter().filter_map(toml::Value::as_str).map(PathBuf::from).collect();
        }
    }
    Ok(folders)
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Parses a hook in the 1.0.0 format, with the checks of CRI-O.
fn definition(file: &Path) -> Result<Value> {
    let hook: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    if hook["version"] != "1.0.0" {
        bail!("version {} is not \"1.0.0\"", hook["version"]);
    }
    let path = hook["hook"]["path"].as_str().context("no hook.path")?;
    if !Path::new(path).exists() {
        bail!("{path} does not exist");
    }
    let annotations = hook["when"]["annotations"].as_object();
    let pairs = annotations.into_iter().flatten();
    for pattern in pairs.flat_map(|(key, value)| [Some(key.as_str()), value.as_str()]) {
        Regex::new(pattern.context("a pattern is no string")?)?;
    }
    for pattern in strings(&hook["when"]["commands"]) {
        Regex::new(pattern)?;
    }
    for stage in hook["stages"].as_array().context("no stages")? {
        let known = ["createRuntime", "prestart", "createContainer", "startContainer"];
        if !known.iter().chain(&["poststart", "poststop"]).any(|name| stage == name) {
            bail!("stage {stage} is not known");
        }
    }
    Ok(hook)
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// All conditions of `when` must hold, and there must be at least one. A matching command suffices
/// alone.
fn matches(when: &Value, config: &Value, annotations: &Map<String, Value>) -> bool {
    let found = |pattern: &str, text: &str| Regex::new(pattern).is_ok_and(|re| re.is_match(text));
    let mut asked = Vec::new();
    asked.extend(when["always"].as_bool());
    // A kubelet always has some bind mounts, such as /etc/hosts.
    asked.extend(when["hasBindMounts"].as_bool());
    for (key_pattern, value_pattern) in when["annotations"].as_object().into_iter().flatten() {
        asked.push(annotations.iter().any(|(key, value)| {
            found(key_pattern, key)
                && found(
                    value_pattern.as_str().unwrap_or_default(),
                    value.as_str().unwrap_or_default(),
                )
        }));
    }
    if asked.contains(&false) {
        return false;
    }
    let mut commands = strings(&when["commands"]).peekable();
    if commands.peek().is_none() {
        return !asked.is_empty();
    }
    let program = config["process"]["args"][0].as_str().unwrap_or_default();
    commands.any(|pattern| found(pattern, program))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations() -> Map<String, Value> {
        let pairs = [("io.kubernetes.container.hash", "69b5adb8"), ("example.com/note", "hello")];
        pairs.map(|(key, value)| (key.to_owned(), json!(value))).into_iter().collect()
    }

    fn injected(hooks: &Hooks) -> Value {
        let mut config = json!({"process": {"args": ["/bin/sh", "-c", "true"]}});
        hooks.inject(&mut config, &annotations()).unwrap();
        config["hooks"].take()
    }

    #[test]
    fn conditions_are_those_of_oci_hooks_5() {
        for (when, expected) in [
            (json!({}), false),
            (json!({"always": true}), true),
            (json!({"always": false, "annotations": {"hash": "."}}), false),
            (json!({"annotations": {r"^io\.kubernetes\.container\.hash$": ".*"}}), true),
            (json!({"annotations": {"note": "^hell$"}}), false),
            (json!({"annotations": {"note": "hell"}}), true),
            (json!({"annotations": {"note": "hell", "other": ".*"}}), false),
            (json!({"annotations": {"^io.kubernetes.cri-o.ContainerType$": ".*"}}), false),
            (json!({"hasBindMounts": true}), true),
            (json!({"commands": ["^/bin/sh$"]}), true),
            (json!({"always": true, "commands": ["python"]}), false),
        ] {
            let hook = json!({"hook": {"path": "/x"}, "when": when, "stages": ["createRuntime"]});
            let hooks = Hooks([("x.json".to_owned(), hook)].into());
            assert_eq!(!injected(&hooks).is_null(), expected, "{when}");
        }
    }

    #[test]
    fn folders_files_and_stages_are_in_crios_order() {
        let root = std::env::temp_dir().join(format!("test-kubelet-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let hook = |argument: &str, stage: &str| {
            json!({
                "version": "1.0.0", "hook": {"path": "/bin/sh", "args": [argument]},
                "when": {"always": true}, "stages": [stage],
            })
            .to_string()
        };
        write("etc/crio/crio.conf", "[crio.runtime]\nhooks_dir = [\"/never\"]\n");
        write("etc/crio/crio.conf.d/10-x", "[crio.runtime]\nhooks_dir = [\"/a\", \"/b\"]\n");
        write("etc/crio/crio.conf.d/20-x", "[crio.image]\n");
        write("a/20-last.json", &hook("last", "prestart"));
        write("a/10-twice.json", &hook("hidden", "createRuntime"));
        write("b/10-twice.json", &hook("first", "createRuntime"));
        write("b/15-stop.json", &hook("stop", "poststop"));
        write("b/00-no-hook", &hook("no", "createRuntime"));
        write("b/00-broken.json", "{");
        write("b/00-old.json", &hook("no", "createRuntime").replace("1.0.0", "0.1.0"));
        write("b/00-gone.json", &hook("no", "createRuntime").replace("/bin/sh", "/no/such"));
        write("b/00-odd.json", &hook("no", "beforehand"));
        write("never/00-no.json", &hook("no", "createRuntime"));
        let hooks = injected(&Hooks::read(&root).unwrap());
        fs::remove_dir_all(&root).unwrap();
        let called = |argument: &str| json!({"path": "/bin/sh", "args": [argument]});
        assert_eq!(hooks["createRuntime"], json!([called("first"), called("last")]));
        assert_eq!(hooks["poststop"], json!([called("stop")]));
    }
}
