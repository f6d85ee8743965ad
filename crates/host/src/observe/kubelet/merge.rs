//! Merges the kubelet's defaults, its file, its drop-ins and its flags as the kubelet does.
//!
//! Source: Kubernetes `cmd/kubelet/app/server.go` (`loadConfigFile`, `mergeKubeletConfigurations`,
//! `kubeletConfigFlagPrecedence`) and `pkg/kubelet/apis/config/v1beta1/defaults.go`.
//! `recorded.json` has the results of that code.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    KubeletError,
    error::{ContentError, GROUP, KIND},
    flags::Flags,
    layer::{KeyCase, Layer, misspelt, node, patch},
    yaml,
};
use crate::model::kubelet::{DEFAULT_EVICTION_HARD, KubeletConfig, Named, Origin, Sourced, Teller};

/// The texts that the kubelet reads.
#[derive(Debug, Default)]
pub struct Texts {
    pub file: Option<(PathBuf, String)>,
    /// `None` without `--config-dir`.
    pub drop_ins: Option<Vec<(PathBuf, String)>>,
}

/// Returns the configuration in effect.
pub fn effective(
    texts: &Texts,
    flags: &Flags,
    told_by: &Teller,
) -> Result<KubeletConfig, KubeletError> {
    let flag = Origin::Flag(told_by.clone());
    let mut layer = match &texts.file {
        Some((path, text)) => file(path, text).map_err(ContentError::of(path))?,
        None => {
            let mut layer = Layer::default();
            layer.maps.insert("evictionHard", default_eviction_hard());
            layer.apply(flags, &flag);
            layer
        }
    };
    if let Some(drop_ins) = &texts.drop_ins {
        layer = layer.under(drop_ins)?;
    }
    layer.apply(flags, &flag);
    let mut config = layer.config()?;
    config.file = texts.file.as_ref().map(|(path, _)| path.clone());
    config.drop_ins = texts.drop_ins.iter().flatten().map(|(path, _)| path.clone()).collect();
    config.told_by = told_by.clone();
    Ok(config)
}

fn default_eviction_hard() -> Named {
    DEFAULT_EVICTION_HARD
        .map(|(signal, threshold)| {
            (signal.to_owned(), Sourced::default_value(threshold.to_owned()))
        })
        .into()
}

/// Checks the kind that the file declares.
fn kind(value: Value) -> Result<Map<String, Value>, ContentError> {
    let Value::Object(map) = value else { return Err(ContentError::NoMapping) };
    let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
    let version = text("apiVersion");
    // Without a version the kubelet does not start either, but the intention is clear.
    let group = version.split('/').next().unwrap_or_default();
    if text("kind") != KIND || !(version.is_empty() || group == GROUP) {
        return Err(ContentError::Kind);
    }
    if !version.is_empty() && version != "kubelet.config.k8s.io/v1beta1" {
        return Err(ContentError::Version);
    }
    Ok(map)
}

fn file(path: &Path, text: &str) -> Result<Layer, ContentError> {
    let document = yaml::parse(text)?;
    let map = kind(document.value)?;
    let origin = Origin::File(path.to_owned());
    let nodes = map.into_iter().map(|(key, value)| (key, node(value, &origin))).collect();
    let mut layer = Layer::default();
    let twice = document
        .duplicates
        .iter()
        .map(|key| format!("{}: {key} occurs twice; the kubelet uses the last", path.display()));
    layer.warnings.extend(twice);
    layer.decode(&nodes, KeyCase::Sensitive)?;
    layer.warnings.extend(nodes.keys().filter_map(|key| misspelt(path, key)));
    // Some defaults depend on the system, so they are no defaults of the file.
    let merge = layer.bools.get("mergeDefaultEvictionSettings").is_some_and(|merge| merge.value);
    match layer.maps.get_mut("evictionHard") {
        None => {
            layer.maps.insert("evictionHard", default_eviction_hard());
        }
        Some(hard) if merge => {
            for (signal, threshold) in default_eviction_hard() {
                hard.entry(signal).or_insert(threshold);
            }
        }
        Some(_) => {}
    }
    Ok(layer)
}

fn drop_in(text: &str) -> Result<Map<String, Value>, ContentError> {
    let document = yaml::parse(text)?;
    match document.duplicates.into_iter().next() {
        Some(key) => Err(ContentError::Twice { key }),
        None => kind(document.value),
    }
}

impl Layer {
    /// Applies the drop-ins.
    fn under(self, drop_ins: &[(PathBuf, String)]) -> Result<Self, KubeletError> {
        let warnings = self.warnings.clone();
        let mut nodes = self.serialized();
        for (path, text) in drop_ins {
            let map = drop_in(text).map_err(ContentError::of(path))?;
            patch(&mut nodes, map, &Origin::DropIn(path.clone()));
        }
        let mut layer = Self { warnings, ..Self::default() };
        let last = drop_ins.last().map(|(path, _)| path.as_path()).unwrap_or(Path::new("/"));
        layer.decode(&nodes, KeyCase::Insensitive).map_err(ContentError::of(last))?;
        Ok(layer)
    }
}
