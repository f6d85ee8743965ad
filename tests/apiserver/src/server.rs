//! Starts and stops the server, from a test or from the command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::app::App;
use crate::client::Client;
use crate::controllers::Controllers;
use crate::faults::Fault;
use crate::journal::Journal;
use crate::kubevirt::{Kubevirt, World};
use crate::pki::{Issued, Pki, Validity};
use crate::record::{Record, Recorded};
use crate::stats::Arrivals;
use crate::store::Store;
use crate::{control, kubeconfig, serve};

/// Options of a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory for certificates, kubeconfigs and state.
    pub data: PathBuf,
    /// Port 0 selects a free one.
    pub listen: SocketAddr,
    /// Additional names in the server's certificate.
    pub sans: Vec<String>,
    /// Nodes that get a certificate, a kubeconfig and a Node object.
    pub nodes: Vec<String>,
    pub bookmark_interval: Duration,
    /// Number of changes that the history keeps for watches.
    pub history: usize,
    /// Maintain the status of PodDisruptionBudgets.
    pub disruption_controller: bool,
    /// Reject unknown fields, as `fieldValidation=Strict` does; a real server's default is to warn
    /// and continue.
    pub strict: bool,
}

impl Options {
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            sans: Vec::new(),
            nodes: vec!["node-a".to_owned()],
            bookmark_interval: Duration::from_secs(60),
            history: 10_000,
            disruption_controller: true,
            strict: true,
        }
    }
}

/// See [`ApiServer::start`].
#[derive(Debug)]
pub struct ApiServer;

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct Handle {
    options: Options,
    pki: Pki,
    address: SocketAddr,
    lasting: Lasting,
    running: Option<Running>,
}

/// The part that survives a restart.
#[derive(Debug, Clone, Default)]
struct Lasting {
    strict: Arc<AtomicBool>,
    record: Arc<Record>,
    kubevirt: Arc<Mutex<Kubevirt>>,
    controllers: Arc<Mutex<Controllers>>,
}

#[derive(Debug)]
struct Running {
    app: Arc<App>,
    stop: watch::Sender<bool>,
    thread: JoinHandle<Result<()>>,
}

impl ApiServer {
    /// Starts a server on a separate thread, and returns when it accepts connections.
    pub fn start(options: Options) -> Result<Handle> {
        let pki = Pki::open(&options.data, &options.sans)?;
        let lasting = Lasting::default();
        lasting.strict.store(options.strict, Ordering::Relaxed);
        let (running, address) = run(&options, &pki, options.listen, lasting.clone())?;
        let handle = Handle { options, pki, address, lasting, running: Some(running) };
        handle.write_kubeconfigs()?;
        Ok(handle)
    }
}

fn run(
    options: &Options,
    pki: &Pki,
    listen: SocketAddr,
    lasting: Lasting,
) -> Result<(Running, SocketAddr)> {
    for node in &options.nodes {
        pki.ensure_node(node)?;
    }
    let journal = Journal::open(&options.data)?;
    let app = Arc::new(App {
        store: Store::new(options.history, Some(journal)),
        faults: Default::default(),
        stats: Default::default(),
        revoked: Default::default(),
        strict: lasting.strict,
        record: lasting.record,
        kubevirt: lasting.kubevirt,
        controllers: lasting.controllers,
        tasks: Default::default(),
        bookmark_interval: options.bookmark_interval,
        disruption_controller: options.disruption_controller,
        drop_watches: watch::Sender::new(0),
        outage: watch::Sender::new((0, Duration::ZERO)),
    });
    app.seed(&options.nodes)?;
    let tls = Arc::new(serve::Tls::new(pki)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting a runtime")?;
    let listener = {
        let _entered = runtime.enter();
        serve::bind(listen)?
    };
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let for_thread = app.clone();
    let thread = std::thread::Builder::new().name("apiserver".to_owned()).spawn(move || {
        let served = runtime.block_on(serve::serve(for_thread.clone(), tls, listener, stopped));
        runtime.shutdown_timeout(Duration::from_secs(1));
        let mut store = for_thread.store.lock();
        if let Some(error) = store.journal_error() {
            return Err(anyhow!("state was not persisted: {error}"));
        }
        served.and(store.snapshot())
    })?;
    Ok((Running { app, stop, thread }, address))
}

impl Running {
    fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        self.thread.join().map_err(|_| anyhow!("the server's thread panicked"))?
    }
}

impl Handle {
    fn write_kubeconfigs(&self) -> Result<()> {
        let (data, url) = (&self.options.data, self.url());
        kubeconfig::write_admin(data, &self.pki, &url)?;
        for node in &self.options.nodes {
            kubeconfig::write_node(data, &self.pki, &url, node)?;
        }
        Ok(())
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn data(&self) -> &Path {
        &self.options.data
    }

    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    pub fn admin_kubeconfig(&self) -> PathBuf {
        kubeconfig::admin_path(&self.options.data)
    }

    /// Returns the kubeconfig of a node; a new node gets a certificate, but no Node object.
    pub fn node_kubeconfig(&self, node: &str) -> Result<PathBuf> {
        let path = kubeconfig::node_path(&self.options.data, node);
        if !path.exists() {
            self.pki.ensure_node(node)?;
            kubeconfig::write_node(&self.options.data, &self.pki, &self.url(), node)?;
        }
        Ok(path)
    }

    /// Issues a new client certificate for a node, and points the symlink to it.
    pub fn rotate(&self, node: &str, valid: Validity) -> Result<Issued> {
        self.pki.rotate(node, valid)
    }

    /// From now on, accepts only this node's certificates with this serial or a later one.
    pub fn revoke_before(&self, node: &str, serial: u64) -> Result<()> {
        control::revoke(self.app()?, &format!("system:node:{node}"), serial);
        Ok(())
    }

    fn app(&self) -> Result<&Arc<App>> {
        self.running.as_ref().map(|r| &r.app).context("the server is stopped")
    }

    /// Creates or updates an object as an administrator, its status and namespace included.
    pub fn apply(&self, object: &Value) -> Result<Value> {
        self.as_admin(async |client| client.upsert(object).await)
    }

    /// Reads `path` as an administrator.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.as_admin(async |client| client.get(path).await?.ok())
    }

    /// Deletes `path` finally, as a kubelet does with a pod that has ended.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.as_admin(async |client| {
            client.delete(path, &json!({"gracePeriodSeconds": 0})).await?.ok()
        })
    }

    /// On a separate thread, because the caller may be in a runtime.
    fn as_admin(&self, ask: impl AsyncFn(Client) -> Result<Value> + Send) -> Result<Value> {
        let client = Client::admin(self.address, &self.pki);
        let ask = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask(client))
        };
        std::thread::scope(|s| s.spawn(ask).join()).map_err(|_| anyhow!("a panic"))?
    }

    pub fn fault(&self, fault: Fault) -> Result<()> {
        control::add_fault(self.app()?, fault);
        Ok(())
    }

    pub fn clear_faults(&self) -> Result<()> {
        self.app()?.faults.lock().map_err(|_| anyhow!("poisoned"))?.clear();
        Ok(())
    }

    /// Returns the counts of requests; see `GET /_test/requests`.
    pub fn requests(&self) -> Result<Value> {
        Ok(self.app()?.stats.report())
    }

    /// Returns the requests for resources by time of arrival.
    pub fn arrivals(&self) -> Result<Arrivals> {
        Ok(self.app()?.stats.arrivals())
    }

    /// Returns the requests for resources, one by one, with their bodies and headers.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.lasting.record.all()
    }

    pub fn clear_record(&self) {
        self.lasting.record.clear();
    }

    /// See [`Options::strict`].
    pub fn set_strict(&self, strict: bool) {
        self.lasting.strict.store(strict, Ordering::Relaxed);
    }

    /// From now on, the cluster runs KubeVirt of this version, or none.
    pub fn set_kubevirt(&self, world: World) -> Result<()> {
        let mut kubevirt = self.lasting.kubevirt.lock().unwrap_or_else(PoisonError::into_inner);
        kubevirt.set(world).map_err(|why| anyhow!(why))
    }

    pub fn set_controllers(&self, controllers: Controllers) {
        let mut now = self.lasting.controllers.lock().unwrap_or_else(PoisonError::into_inner);
        *now = controllers;
    }

    /// Creates or replaces objects as given, including their status, without a request for each.
    pub fn load(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        let app = self.app()?;
        let loaded = objects.into_iter().try_for_each(|object| control::load(app, object));
        loaded.map_err(|error| anyhow!("{}", error.status))
    }

    pub fn drop_watches(&self) -> Result<()> {
        control::drop_watches(self.app()?);
        Ok(())
    }

    pub fn compact(&self) -> Result<()> {
        self.app()?.store.lock().compact();
        Ok(())
    }

    pub fn resource_version(&self) -> Result<u64> {
        Ok(self.app()?.store.lock().rv())
    }

    /// Stops cleanly. The data stay; [`Handle::start`] continues with them.
    pub fn stop(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), Running::stop)
    }

    /// Starts again after [`Handle::stop`], on the same port.
    pub fn start(&mut self) -> Result<()> {
        if self.running.is_none() {
            self.running =
                Some(run(&self.options, &self.pki, self.address, self.lasting.clone())?.0);
        }
        Ok(())
    }

    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Callers that need the error call stop().
        let _ = self.stop();
    }
}
