//! `tests/node/deps` on other systems than the one of the tests, with simulated package managers.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// Runs `deps WHAT` where only bash is installed, and `manager` records its arguments.
fn deps(what: &str, manager: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let program = bin.join(manager);
    fs::write(&program, "#!/bin/bash\necho \"asked: ${0##*/} $*\" >&2\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/deps");
    let output = Command::new("/bin/bash")
        .args([script.as_os_str(), what.as_ref()])
        .env("PATH", &bin)
        .env("WASP_DEPS_ROOT", folder.path())
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn fedora_and_rhel_get_what_compiling_takes() {
    let (done, text) = deps("build", "dnf");
    // Root installs the packages; other users get the command.
    let asked = text.contains("asked: dnf install -y -q ") && done;
    let told = text.contains("    dnf install ") && !done;
    assert!(asked || told, "{text}");
    assert!(text.contains("openssl-devel"), "{text}");
    for other in ["libssl-dev", "qemu", "apt-get"] {
        assert!(!text.contains(other), "{text}");
    }
}

#[test]
fn the_tests_of_the_node_ask_for_debian() {
    let (done, text) = deps("node", "dnf");
    assert!(!done && text.contains("need a Debian machine"), "{text}");
    assert!(!text.contains("asked:"), "{text}");
}
