//! Baselines: the least work that a program needs to notice the same events as the agent.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::watcher::{self, Event},
};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{FakeHost, MIB, NODE, container_id};

/// A file that a thread repairs on inotify events: waits, compares, writes.
pub(crate) struct Repair {
    pub host: FakeHost,
    pub cgroup: String,
}

impl Repair {
    pub(crate) fn start() -> Self {
        let host = FakeHost::new(MIB, 0);
        let uid = "9192cfa8-0000-4444-9bb8-9701e3620c02";
        let cgroup = host.container(uid, &container_id(1), "main", "0");
        let file: PathBuf = host.path(&cgroup).join("memory.swap.max");
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        inotify.add_watch(&file, AddWatchFlags::IN_MODIFY).unwrap();
        std::thread::spawn(move || {
            while inotify.read_events().is_ok() {
                if fs::read_to_string(&file).is_ok_and(|text| text.trim_end() == "max") {
                    fs::write(&file, "0").unwrap();
                }
            }
        });
        Self { host, cgroup }
    }
}

/// Creates and changes pods, over one connection.
pub(crate) struct Admin {
    runtime: Runtime,
    pods: Api<Pod>,
}

impl Admin {
    pub(crate) fn new(kubeconfig: &Path) -> Self {
        let runtime = runtime();
        let client = runtime.block_on(client(kubeconfig));
        Self { runtime, pods: Api::namespaced(client, "default") }
    }

    /// Creates a pod and returns its UID.
    pub(crate) fn create(&self, pod: Value) -> String {
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let made = self.runtime.block_on(self.pods.create(&PostParams::default(), &pod));
        made.unwrap().metadata.uid.unwrap()
    }

    /// Reports an in-place resize of the container of `pod`.
    pub(crate) fn resized(&self, pod: &str, request: &str) {
        let resources = json!({"requests": {"memory": request}, "limits": {"memory": "1Gi"}});
        let patch =
            json!({"status": {"containerStatuses": [{"name": "main", "resources": resources}]}});
        let patch = Patch::Merge(patch);
        self.runtime
            .block_on(self.pods.patch_status(pod, &PatchParams::default(), &patch))
            .unwrap();
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

/// kube's own watch of the node's pods, decoded and dropped: sends the time of each change, and the
/// CPU time that its thread had used by then.
pub(crate) fn watch(kubeconfig: PathBuf) -> mpsc::Receiver<(Instant, Duration)> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let pods: Api<Pod> = Api::all(client(&kubeconfig).await);
            let of_node = watcher::Config::default().fields(&format!("spec.nodeName={NODE}"));
            let events = watcher::watcher(pods, of_node);
            pin_mut!(events);
            while let Some(event) = events.next().await {
                // The end of the list, then each change.
                let news = matches!(event, Ok(Event::InitDone | Event::Apply(_)));
                if news && send.send((Instant::now(), cpu_time())).is_err() {
                    return;
                }
            }
        });
    });
    receive.recv().unwrap();
    receive
}

/// CPU time of this thread.
pub(crate) fn cpu_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
