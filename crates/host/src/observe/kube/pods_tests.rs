//! Runs against an API server with prepared answers, in simulated time.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, PoisonError},
};

use futures::{StreamExt, stream::BoxStream};
use http_body_util::StreamBody;
use hyper::Request;
use hyper::{
    Response,
    body::{Bytes, Frame},
};
use kube::client::Body;
use tokio::time::timeout;

use std::future::pending;

use super::*;

#[derive(Clone, Copy)]
enum Answer {
    /// A list without pods.
    Empty,
    /// A list with one pod, and one unreadable pod.
    Two,
    /// The first half of it.
    Half,
    /// A watch that ends.
    Ends,
    /// A watch that stays open and silent.
    Silence,
    /// A watch with this line, and then a broken connection.
    Cut(&'static str),
    Refusal(u16),
}

const TWO: &str = r#"{"metadata": {"resourceVersion": "7"}, "items": [
    {"metadata": {"name": "a", "namespace": "x", "uid": "9192cfa8-679c-444e-9bb8-9701e3620c02"}},
    {"metadata": {"name": "b", "namespace": "x", "uid": 5}}]}"#;

const GONE: &str = concat!(
    r#"{"type": "ERROR", "object": {"kind": "Status", "code": 410, "status": "Failure","#,
    r#" "message": "too old resource version", "reason": "Expired"}}"#,
    "\n"
);

/// An agent's view of a server: its requests with their times, and the resulting updates.
struct Watched {
    asked: Arc<Mutex<Vec<(Duration, &'static str)>>>,
    news: mpsc::Receiver<Update>,
}

impl Watched {
    /// Starts a server that gives these answers; it repeats the last forever.
    fn new(answers: &[Answer]) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (started, log) = (Instant::now(), asked.clone());
        let mut answers: VecDeque<Answer> = answers.iter().copied().collect();
        let serve = move |request: Request<Body>| {
            let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let asked = (started.elapsed(), if watch { "watch" } else { "list" });
            log.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
            let answer =
                if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() };
            futures::future::ready(Ok::<_, io::Error>(response(answer.unwrap())))
        };
        let credentials = Credentials {
            client: Client::new(tower::service_fn(serve), "default"),
            kubeconfig: "/kubeconfig".into(),
            server: "https://server".to_owned(),
            node_name: "node-a".to_owned(),
            certificate_expires: None,
            certificate_begins: None,
            certificate_name: None,
            files: Vec::new(),
            fingerprint: credentials::fingerprint(&[]),
        };
        let (send, news) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut pauses = pauses();
            while with_credentials(&credentials, pending(), &[], &mut pauses, &send).await {}
        });
        Self { asked, news }
    }

    /// Returns the updates within this time.
    async fn hears(&mut self, time: Duration) -> Vec<String> {
        let mut heard = Vec::new();
        let all = async {
            while let Some(update) = self.news.recv().await {
                let text = format!("{update:?}");
                heard.push(text.split([' ', '(']).next().unwrap().to_owned());
            }
        };
        assert!(timeout(time, all).await.is_err(), "it ended");
        heard
    }

    fn asked(&self) -> Vec<(Duration, &'static str)> {
        self.asked.lock().unwrap().clone()
    }
}

type Chunks = BoxStream<'static, io::Result<Frame<Bytes>>>;

fn response(answer: Answer) -> Response<StreamBody<Chunks>> {
    let (code, text) = match answer {
        Answer::Empty => (200, r#"{"metadata": {"resourceVersion": "7"}, "items": []}"#),
        Answer::Two => (200, TWO),
        Answer::Half => (200, TWO.split_at(TWO.len() - 2).0),
        Answer::Silence | Answer::Ends => (200, ""),
        Answer::Cut(line) => (200, line),
        Answer::Refusal(code) => (code, "no"),
    };
    let text = futures::stream::iter([Ok(Frame::data(Bytes::from_static(text.as_bytes())))]);
    let cut = futures::stream::iter([Err(io::Error::from(io::ErrorKind::ConnectionReset))]);
    let chunks = match answer {
        Answer::Empty | Answer::Two | Answer::Half | Answer::Ends | Answer::Refusal(_) => {
            text.boxed()
        }
        Answer::Silence => text.chain(futures::stream::pending()).boxed(),
        Answer::Cut(_) => text.chain(cut).boxed(),
    };
    Response::builder().status(code).body(StreamBody::new(chunks)).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn lists_that_fail_are_tried_ever_more_rarely() {
    let mut watched = Watched::new(&[Answer::Refusal(503)]);
    watched.hears(MINUTE).await;
    let asked = watched.asked();
    // Pauses of 0.5, 1, 2, 4, 8, 8… s, each up to twice as long.
    assert!((7..=11).contains(&asked.len()), "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[1].0 - pair[0].0 <= 2 * LONGEST_BACKOFF), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_goes_on_is_told_though_nothing_happens() {
    use Answer::{Cut, Empty, Refusal, Silence};
    let mut watched = Watched::new(&[Empty, Cut(""), Refusal(503), Silence]);
    let heard = watched.hears(MINUTE).await;
    let expected =
        ["Credentials", "ListBegins", "ListEnds", "Granted", "Failed", "Failed", "Granted"];
    assert_eq!(heard, expected);
    let asked: Vec<_> = watched.asked().into_iter().map(|(_, what)| what).collect();
    assert_eq!(asked, ["list", "watch", "watch", "watch"], "what is known is not listed again");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_to_go_on_from_is_listed_at_once() {
    use Answer::{Cut, Empty, Refusal, Silence};
    for (refusal, at_once) in [(Cut(GONE), true), (Refusal(410), false)] {
        let mut watched = Watched::new(&[Empty, refusal, Empty, Silence]);
        let heard = watched.hears(MINUTE).await;
        assert_eq!(heard.iter().filter(|heard| *heard == "ListEnds").count(), 2, "{heard:?}");
        let asked = watched.asked();
        let kinds: Vec<_> = asked.iter().map(|(_, what)| *what).collect();
        assert_eq!(kinds, ["list", "watch", "list", "watch"]);
        assert_eq!(asked[2].0 == asked[1].0, at_once, "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_be_read_is_told_beside_the_others() {
    let mut watched = Watched::new(&[Answer::Two, Answer::Silence]);
    let heard = watched.hears(MINUTE).await;
    let expected = ["Credentials", "ListBegins", "Listed", "Unreadable", "ListEnds", "Granted"];
    assert_eq!(heard, expected);
}

/// On a quiet node only bookmarks show that the server works.
#[tokio::test(start_paused = true)]
async fn a_bookmark_is_told() {
    const BOOKMARK: &str = concat!(
        r#"{"type": "BOOKMARK", "object": {"kind": "Pod", "apiVersion": "v1","#,
        r#" "metadata": {"resourceVersion": "8"}}}"#,
        "\n"
    );
    let answers = [Answer::Empty, Answer::Cut(BOOKMARK), Answer::Silence];
    let heard = Watched::new(&answers).hears(MINUTE).await;
    let expected =
        ["Credentials", "ListBegins", "ListEnds", "Granted", "Alive", "Failed", "Granted"];
    assert_eq!(heard, expected);
}

/// With an end, the missing pods would count as gone.
#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_has_no_end() {
    let mut watched = Watched::new(&[Answer::Half, Answer::Empty, Answer::Silence]);
    let heard = watched.hears(MINUTE).await;
    let expected = [
        "Credentials",
        "ListBegins",
        "Listed",
        "Unreadable",
        "Failed",
        "ListBegins",
        "ListEnds",
        "Granted",
    ];
    assert_eq!(heard, expected);
}

/// The agent must not flood a server that accepts every watch and ends it immediately.
#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_begun_ever_more_rarely() {
    let ends = [Answer::Empty, Answer::Ends];
    let gone = [Answer::Empty, Answer::Cut(GONE)].repeat(500);
    for answers in [&ends[..], &gone] {
        let mut watched = Watched::new(answers);
        let heard = watched.hears(MINUTE).await;
        assert!(!heard.contains(&"Failed".to_owned()), "{heard:?}");
        let asked = watched.asked();
        assert!((6..=25).contains(&asked.len()), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_begins_with_short_pauses() {
    let mut first = pauses();
    let long = first.nth(9).unwrap();
    assert!(long >= LONGEST_BACKOFF, "{long:?}");
    tokio::time::advance(OUTAGE_IS_OVER + Duration::from_secs(1)).await;
    let short = first.next().unwrap();
    assert!(short <= Duration::from_secs(1), "{short:?}");
}

#[test]
fn after_an_outage_many_nodes_come_one_by_one() {
    const NODES: u64 = 5000;
    let mut seconds = [0; 16];
    for _ in 0..NODES {
        let mut at = Duration::ZERO;
        let mut pauses = pauses();
        while at < MINUTE {
            at += pauses.next().unwrap();
        }
        seconds[usize::try_from((at - MINUTE).as_secs()).unwrap()] += 1;
    }
    // A twelfth of them on average: the pauses are 8 to 16 s.
    assert!(seconds.iter().all(|count| *count < NODES / 9), "{seconds:?}");
}

#[test]
fn watches_of_many_nodes_end_at_many_times() {
    let mut ends = [0; 290];
    for node in 0..9000 {
        ends[spread(&format!("node-{node}"), WATCH_LASTS) as usize] += 1;
    }
    assert!(ends[..200].iter().all(|ending| *ending == 0));
    assert!(ends[200..].iter().all(|ending| (50..200).contains(ending)), "{ends:?}");
}
