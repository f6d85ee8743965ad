//! A kubelet's reports to the API server, and listings for the cases.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use crate::api::Api;
use crate::node::{STATE, Started};
use crate::pod::Kind;

impl Started {
    /// Patches pods/status, as a kubelet does after the start.
    pub(crate) fn report(&self, api: &Api) -> Result<()> {
        let now = timestamp()?;
        let mut status = json!({
            "phase": "Running", "startTime": now, "hostIP": "127.0.0.1", "podIP": "127.0.0.1",
            "qosClass": format!("{:?}", self.pod.qos()),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
        });
        for container in self.pod.containers() {
            let key = if container.kind == Kind::Main {
                "containerStatuses"
            } else {
                "initContainerStatuses"
            };
            let mut entry = json!({
                "name": container.name, "image": "localhost/busybox:latest", "imageID": "busybox",
                "ready": true, "started": true, "restartCount": 0,
                "resources": container.spec["resources"],
            });
            match self.containers.get(container.name) {
                Some(running) => {
                    entry["containerID"] =
                        json!(format!("{}://{}", self.engine.scheme(), running.id));
                    entry["restartCount"] = json!(running.restarts);
                    entry["state"] = json!({"running": {"startedAt": now}});
                }
                None => {
                    entry["started"] = json!(false);
                    entry["state"] = json!({"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}});
                }
            }
            let requests = &container.spec["resources"]["requests"];
            if !requests.is_null() {
                entry["allocatedResources"] = requests.clone();
            }
            if status[key].is_null() {
                status[key] = json!([]);
            }
            if let Some(list) = status[key].as_array_mut() {
                list.push(entry);
            }
        }
        self.pod.patch_status(api, &status)
    }
}

/// Lists every container of every pod.
pub(crate) fn list(as_json: bool) -> Result<()> {
    let mut rows = Vec::new();
    let mut pods: Vec<PathBuf> = fs::read_dir(STATE)
        .map(|dir| dir.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    pods.sort();
    for dir in pods {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let started = Started::load(&name)?;
        for (container, running) in &started.containers {
            let limits: Vec<String> = running
                .cgroups()
                .iter()
                .map(|dir| fs::read_to_string(dir.join("memory.swap.max")).unwrap_or_default())
                .map(|text| text.trim().to_owned())
                .collect();
            rows.push(json!({
                "pod": name, "container": container, "id": running.id, "uid": started.pod.uid,
                "qos": format!("{:?}", started.pod.qos()), "cgroups": running.cgroups(),
                "swapMax": limits,
            }));
        }
    }
    if as_json {
        println!("{}", Value::Array(rows));
        return Ok(());
    }
    for row in rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let limits: Vec<&str> =
            row["swapMax"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        println!(
            "{:<20} {:<10} {:<10} {:.12} {}",
            text("pod"),
            text("container"),
            text("qos"),
            text("id"),
            limits.join(" / ")
        );
    }
    Ok(())
}

fn timestamp() -> Result<String> {
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
