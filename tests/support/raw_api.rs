//! An API server that sends exactly the test's data, over HTTP without TLS.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use super::support::{FakeHost, NODE, PATIENCE};

pub(crate) struct RawApi {
    address: SocketAddr,
    list: Arc<Mutex<Arc<String>>>,
    watches: mpsc::Receiver<TcpStream>,
    watch: Option<TcpStream>,
}

impl RawApi {
    /// Answers each list with these items.
    pub(crate) fn start(items: &[String]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let list = Arc::new(Mutex::new(Arc::new(list_of(items))));
        let (send, watches) = mpsc::channel();
        let served = list.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (list, watches) = (served.clone(), send.clone());
                thread::spawn(move || serve(connection, &list, &watches));
            }
        });
        Self { address, list, watches, watch: None }
    }

    pub(crate) fn lists(&self, items: &[String]) {
        *self.list.lock().unwrap() = Arc::new(list_of(items));
    }

    /// Makes the host's agent use this server.
    pub(crate) fn used_by(&self, host: &FakeHost) {
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
             clusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
             users: [{{name: u, user: {{token: t}}}}]\n",
            self.address
        );
        host.write("/var/lib/kubelet/kubeconfig", &kubeconfig);
        let node = format!("[node]\nname = \"{NODE}\"\n");
        host.write("/usr/lib/wasp-agent/config.d/20-node.toml", &node);
    }

    /// Sends an event to the agent's watch, once it exists.
    pub(crate) fn sends(&mut self, kind: &str, object: &str) {
        let watches = &self.watches;
        let watch =
            self.watch.get_or_insert_with(|| watches.recv_timeout(PATIENCE).expect("no watch"));
        let line = format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n");
        write!(watch, "{:x}\r\n{line}\r\n", line.len()).unwrap();
    }
}

fn list_of(items: &[String]) -> String {
    format!(
        "{{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"7\"}},\"items\":[{}]}}",
        items.join(",")
    )
}

fn serve(connection: TcpStream, list: &Mutex<Arc<String>>, watches: &mpsc::Sender<TcpStream>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut connection = connection;
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if !reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head += &line;
        }
        let _ = reader.read_exact(&mut vec![0; length]);
        let of_pods = head.starts_with("GET /api/v1/pods?");
        if of_pods && head.contains("watch=true") {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            if connection.write_all(head.as_bytes()).is_ok() {
                let _ = watches.send(connection);
            }
            return;
        }
        let (code, body) = if of_pods {
            (200, list.lock().unwrap().clone())
        } else {
            (404, Arc::new("no".to_owned()))
        };
        let head = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\n\r\n", body.len());
        for part in [head.as_bytes(), body.as_bytes()] {
            if connection.write_all(part).is_err() {
                return;
            }
        }
    }
}
