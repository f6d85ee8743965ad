//! A simulated cluster, and runs of apply.sh against it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::unistd::Pid;
use tempfile::TempDir;

pub(crate) fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A cluster of a version, and the example of ignition/ that is applied to it.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    pub(crate) version: &'static str,
    pub(crate) served: &'static str,
    pub(crate) manifests: PathBuf,
    pub(crate) arguments: Vec<&'static str>,
}

pub(crate) struct Run {
    pub(crate) success: bool,
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
    pub(crate) calls: Vec<String>,
}

/// The call at which a fault occurs.
#[derive(Clone, Copy, Default)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) when: &'static str,
    pub(crate) signal: bool,
}

impl Cluster {
    pub(crate) fn new(version: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        lay_out(version, &manifests);
        for folder in ["state", "bin"] {
            fs::create_dir(manifests.with_file_name(folder)).unwrap();
        }
        let oc = folder.path().join("bin/oc");
        std::os::unix::fs::symlink(top().join("tests/order/oc"), oc).unwrap();
        let served = if version == "4.22" { "v1 v1beta1" } else { "v1beta1" };
        Self { folder, version, served, manifests, arguments: Vec::new() }
    }

    /// A cluster that has the rollout for 4.20, after its upgrade to 4.21 with the pool paused, and the
    /// manifests for 4.21.
    pub(crate) fn upgraded() -> Self {
        let mut cluster = Self::new("4.20");
        cluster.succeeds("before the upgrade");
        assert!(cluster.has("kubeletconfig"));
        cluster.set("paused", "true\n");
        cluster.set("marker", "upgrade");
        fs::remove_dir_all(&cluster.manifests).unwrap();
        lay_out("4.21", &cluster.manifests);
        cluster.version = "4.21";
        cluster
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("state").join(name)
    }

    pub(crate) fn set(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(crate) fn is_paused(&self) -> bool {
        fs::read_to_string(self.path("paused")).is_ok_and(|paused| paused.trim() == "true")
    }

    pub(crate) fn start(&self, Fault { at, when, signal }: Fault) -> Child {
        let _ = fs::remove_file(self.path("log"));
        let path =
            format!("{}/bin:{}", self.folder.path().display(), std::env::var("PATH").unwrap());
        Command::new("sh")
            .arg(self.manifests.join("apply.sh"))
            .env("PATH", path)
            .env("TMPDIR", self.folder.path())
            .env("WASP_POLL_SECONDS", "0")
            .env("WASP_LAG_SECONDS", if self.has("stuck-node-b") { "1" } else { "600" })
            .env("WASP_STALL_SECONDS", "2")
            .env("WASP_NODES_SECONDS", "20")
            .env("WASP_DEBUG_SECONDS", "3")
            .args(&self.arguments)
            .env("OC_STATE", self.folder.path().join("state"))
            .env("OC_VERSION", self.version)
            .env("OC_SERVED", self.served)
            .env("OC_AT", at.to_string())
            .env("OC_WHEN", when)
            .env("OC_SIGNAL", if signal { "yes" } else { "no" })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub(crate) fn end(&self, child: Child) -> Run {
        let output = child.wait_with_output().unwrap();
        let log = fs::read_to_string(self.path("log")).unwrap();
        Run {
            success: output.status.success(),
            code: output.status.code(),
            output: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
            calls: log.lines().map(str::to_owned).collect(),
        }
    }

    pub(crate) fn run(&self, fault: Fault) -> Run {
        self.end(self.start(fault))
    }

    pub(crate) fn succeeds(&self, what: &str) -> Run {
        let run = self.run(Fault::default());
        assert!(run.success, "{what}:\n{}\n{}", run.output, run.errors);
        assert!(!self.is_paused(), "{what}: the pool is paused");
        assert!(run.output.contains("2 of 2 nodes of mcp/worker are right."), "{}", run.output);
        assert_eq!(self.leftovers(), 0, "{what}");
        run
    }

    /// Checks that a comparison stops the script before it changes anything.
    pub(crate) fn refuses(&self, why: &str) {
        let run = self.run(Fault::default());
        assert!(!run.success && run.errors.contains(why), "{why} is not in\n{}", run.errors);
        let changes = run.calls.iter().find(|call| changes(call));
        assert_eq!(changes, None, "{why}");
    }

    /// Returns the number of remaining directories of `mktemp -d`.
    pub(crate) fn leftovers(&self) -> usize {
        fs::read_dir(self.folder.path()).unwrap().count() - 3
    }
}

/// Copies the example of ignition/.
pub(crate) fn lay_out(version: &str, manifests: &Path) {
    fs::create_dir(manifests).unwrap();
    for entry in fs::read_dir(top().join("ignition").join(version)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, manifests.join(path.file_name().unwrap())).unwrap();
    }
}

pub(crate) fn make_fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

pub(crate) fn changes(call: &str) -> bool {
    ["apply", "patch", "label", "delete"]
        .iter()
        .any(|verb| call.split(' ').any(|word| word == *verb))
}

/// Returns the calls of a run without faults, except those that repeat the one before.
pub(crate) fn steps(version: &'static str) -> Vec<usize> {
    without_repetitions(&Cluster::new(version).succeeds(version).calls)
}

pub(crate) fn without_repetitions(calls: &[String]) -> Vec<usize> {
    (0..calls.len()).filter(|at| *at == 0 || calls[*at] != calls[at - 1]).map(|at| at + 1).collect()
}
