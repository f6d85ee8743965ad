//! What the hook's definition says, and where it goes.
//!
//! Source: oci-hooks(5), the 1.0.0 format.

use std::path::{Path, PathBuf};

/// After the hooks of others: the last to write a limit wins.
pub const FILE_NAME: &str = "99-wasp-agent.json";

/// Called when a container's cgroup is made and before its program runs. Always: CRI-O has no hooks
/// for sandboxes, and compares the pod's annotations, among which `io.kubernetes.cri-o.…` is not
/// (crio.conf(5)). No timeout: the runtime would keep the container from starting.
pub fn definition(hook: &Path) -> String {
    let definition = serde_json::json!({
        "version": "1.0.0",
        "hook": { "path": hook },
        "when": { "always": true },
        "stages": ["createRuntime"],
    });
    definition.to_string() + "\n"
}

/// The folders that CRI-O reads, those that the next boot empties first: what is installed there
/// is never left behind.
pub fn preferred(mut folders: Vec<PathBuf>) -> Vec<PathBuf> {
    folders.sort_by_key(|folder| !folder.starts_with("/run"));
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_comes_first_and_the_order_stays_otherwise() {
        let folders = ["/usr/x", "/run/b", "/etc/y", "/run/a"].map(PathBuf::from).to_vec();
        let expected = ["/run/b", "/run/a", "/usr/x", "/etc/y"].map(PathBuf::from);
        assert_eq!(preferred(folders), expected);
    }

    #[test]
    fn the_definition_is_of_the_1_0_0_format() {
        let json: serde_json::Value =
            serde_json::from_str(&definition(Path::new("/usr/bin/wasp-hook"))).unwrap();
        assert_eq!(json["version"], "1.0.0");
        assert_eq!(json["hook"], serde_json::json!({"path": "/usr/bin/wasp-hook"}));
        assert_eq!(json["stages"], serde_json::json!(["createRuntime"]));
        assert_eq!(json["when"], serde_json::json!({"always": true}));
    }
}
