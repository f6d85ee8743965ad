//! Merges the kubelet's defaults, its file, its drop-ins and its flags as the kubelet does.
//!
//! Source: Kubernetes `cmd/kubelet/app/server.go` (`loadConfigFile`, `mergeKubeletConfigurations`,
//! `kubeletConfigFlagPrecedence`) and `pkg/kubelet/apis/config/v1beta1/defaults.go`.
//! `recorded.json` has the results of that code.

use std::path::{Component, Path, PathBuf};

use super::{
    KubeletError,
    document::{Document, FileValue},
    error::{ContentError, GROUP, KIND},
    flags::Flags,
    layer::{Entries, KeyCase, Layer, MergedValue, STATIC_POD_PATH, misspelt, node, patch},
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
            // The defaults of evictionHard are those of a file.
            let mut layer = Layer::default();
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

/// Returns the version or the kind that a file declares. Go's own JSON reads it, for which the case
/// of a key does not matter.
pub(super) fn declared<'a>(content: &'a FileValue, name: &str) -> &'a str {
    let FileValue::Map(entries) = content else { return "" };
    let named = entries.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let mut texts = named.filter_map(|(_, value)| match value {
        FileValue::Leaf(value) => value.as_str(),
        FileValue::Map(_) => None,
    });
    texts.next_back().unwrap_or_default()
}

/// Checks the kind that the file declares, and returns its entries.
fn entries(content: FileValue, origin: &Origin) -> Result<Entries, ContentError> {
    let version = declared(&content, "apiVersion").to_owned();
    let is_kubelets = declared(&content, "kind") == KIND;
    let MergedValue::Map(entries) = node(content, origin) else {
        return Err(ContentError::NoMapping);
    };
    let group = version.split('/').next().unwrap_or_default();
    if !is_kubelets || !(version.is_empty() || group == GROUP) {
        return Err(ContentError::Kind);
    }
    if version != "kubelet.config.k8s.io/v1beta1" {
        return Err(ContentError::Version);
    }
    Ok(entries)
}

fn file(path: &Path, text: &str) -> Result<Layer, ContentError> {
    let document = Document::parse(text)?;
    let entries = entries(document.content, &Origin::File(path.to_owned()))?;
    let mut layer = Layer::default();
    let twice = document
        .duplicates
        .iter()
        .map(|key| format!("{}: {key} occurs twice; the kubelet uses the last", path.display()));
    layer.warnings.extend(twice);
    layer.decode(&entries, KeyCase::Sensitive)?;
    layer.warnings.extend(entries.iter().filter_map(|(key, _)| misspelt(path, key)));
    // The kubelet resolves the paths of its file, not those of drop-ins and flags.
    if let Some(text) = layer.texts.get_mut(STATIC_POD_PATH).filter(|text| !text.value.is_empty())
        && !text.value.starts_with('/')
    {
        let folder = path.parent().unwrap_or(Path::new("/"));
        text.value = cleaned(&folder.join(&text.value)).display().to_string();
    }
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

/// Go's `filepath.Clean` of an absolute path.
fn cleaned(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::Normal(part) => cleaned.push(part),
            _ => {}
        }
    }
    cleaned
}

fn drop_in(text: &str, origin: &Origin) -> Result<Entries, ContentError> {
    let document = Document::parse(text)?;
    match document.duplicates.into_iter().next() {
        Some(key) => Err(ContentError::Twice { key }),
        None => entries(document.content, origin),
    }
}

impl Layer {
    /// Applies the drop-ins.
    fn under(self, drop_ins: &[(PathBuf, String)]) -> Result<Self, KubeletError> {
        let warnings = self.warnings.clone();
        let mut merged = self.serialized();
        for (path, text) in drop_ins {
            let origin = Origin::DropIn(path.clone());
            patch(&mut merged, drop_in(text, &origin).map_err(ContentError::of(path))?);
        }
        // The kubelet serializes the result, with the keys in order.
        merged.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut layer = Self { warnings, ..Self::default() };
        let last = drop_ins.last().map(|(path, _)| path.as_path()).unwrap_or(Path::new("/"));
        layer.decode(&merged, KeyCase::Insensitive).map_err(ContentError::of(last))?;
        Ok(layer)
    }
}
