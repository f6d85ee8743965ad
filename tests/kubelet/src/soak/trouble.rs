//! Faults of limits, of the agent and of the services that it needs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{Driver, sample};
use crate::api::Api;
use crate::command::run;

/// Time for a service to return after a fault.
const BACK: Duration = Duration::from_secs(60);

fn until(what: &str, is: impl Fn() -> bool) -> Result<()> {
    let start = Instant::now();
    while !is() {
        if start.elapsed() > BACK {
            bail!("{what} is not back after {BACK:?}");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

impl Driver {
    /// Overwrites a limit, like an administrator. Does not lower the limit of a container that
    /// swaps: the kernel would kill it.
    pub(super) fn drift(&mut self) -> Result<()> {
        let Some(name) = self.any(|_| true) else { return Ok(()) };
        let random = self.rng.u64(0..1 << 30).to_string();
        let mut value = self.rng.choice(["max", "0", random.as_str()]).unwrap_or("max");
        let live = &self.pods[&name];
        if live.swaps() || ["thrash", "resting", "cold"].iter().any(|kind| name.starts_with(kind)) {
            value = "max";
        }
        let cgroups: Vec<_> =
            live.started.containers.values().flat_map(|running| running.cgroups()).collect();
        if let Some(cgroup) = self.rng.choice(cgroups) {
            match fs::write(cgroup.join("memory.swap.max"), value) {
                // The kernel has just killed it: a hog may be out of memory.
                Err(error) if !cgroup.exists() => println!("# {name}: {error}"),
                written => {
                    written?;
                    self.count("limits overwritten");
                }
            }
        }
        Ok(())
    }

    pub(super) fn set_property(&mut self) -> Result<()> {
        let Some(name) = self.any(|_| true) else { return Ok(()) };
        let scopes: Vec<_> = self.pods[&name].scopes().collect();
        for (scope, _) in scopes {
            let unit = scope.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let set =
                run("systemctl", &["set-property", "--runtime", &unit, "MemorySwapMax=infinity"]);
            if scope.exists() {
                set?;
                self.count("properties overwritten");
            }
        }
        Ok(())
    }

    pub(super) fn reload_systemd(&mut self) -> Result<()> {
        self.count("daemon-reloads");
        run("systemctl", &["daemon-reload"])
    }

    pub(super) fn reload_agent(&mut self) -> Result<()> {
        self.count("SIGHUPs");
        run("systemctl", &["kill", "-s", "HUP", "wasp-agent"])
    }

    pub(super) fn kill_agent(&mut self) -> Result<()> {
        let pid = sample::agent_pid()?;
        self.ledger.set_calm(false);
        run("systemctl", &["kill", "-s", "KILL", "wasp-agent"])?;
        self.kills += 1;
        self.count("SIGKILLs");
        for _ in 0..5 {
            self.drift()?;
        }
        let active = || sample::property("ActiveState").is_ok_and(|state| state == "active");
        until("the agent", || {
            sample::agent_pid().is_ok_and(|now| now != pid && now != 0) && active()
        })?;
        self.ledger.set_calm(true);
        Ok(())
    }

    pub(super) fn restart_bus(&mut self) -> Result<()> {
        self.ledger.set_calm(false);
        self.count("D-Bus restarts");
        run("systemctl", &["restart", "dbus"])?;
        let works =
            || Command::new("busctl").arg("list").output().is_ok_and(|o| o.status.success());
        until("D-Bus", works)?;
        self.ledger.set_calm(true);
        Ok(())
    }

    /// Stops the API server for seconds, overwrites limits meanwhile, and may kill the agent.
    pub(super) fn api_outage(&mut self, kill: bool) -> Result<()> {
        self.ledger.set_calm(false);
        self.count("API server restarts");
        run("systemctl", &["stop", "test-apiserver"])?;
        if kill {
            self.kill_agent()?;
            self.ledger.set_calm(false);
        }
        for _ in 0..self.rng.u32(2..8) {
            self.drift()?;
            thread::sleep(Duration::from_millis(self.rng.u64(0..2000)));
        }
        run("systemctl", &["start", "test-apiserver"])?;
        until("the API server", || TcpStream::connect("127.0.0.1:6443").is_ok())?;
        self.api = Api::from_kubeconfig(&self.kubeconfig)?;
        self.ledger.set_calm(true);
        Ok(())
    }

    pub(super) fn scrape(&mut self) -> Result<()> {
        let mut stream = UnixStream::connect("/run/wasp-agent/metrics.sock")?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if !answer.starts_with("HTTP/1.1 200") {
            self.ledger.violation(format!("metrics: {answer:.60}"));
        }
        self.count("scrapes");
        Ok(())
    }
}
