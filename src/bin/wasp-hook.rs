//! `wasp-hook`: the OCI hook. Called by the container runtime with its state on standard input.

use std::{process, thread, time::Duration};

use wasp_agent::{
    hook::{Done, Nothing, run},
    report::log,
    roots::Roots,
};

/// The runtime waits for us, and the container with it.
const LONGEST: Duration = Duration::from_secs(5);

fn main() {
    // Another exit status than 0 would keep the container from starting.
    std::panic::set_hook(Box::new(|_| process::exit(0)));
    // Where no thread can be had, what follows still takes no longer than the files it reads.
    let _ = thread::Builder::new().spawn(|| {
        thread::sleep(LONGEST);
        process::exit(0);
    });
    // The first argument is a folder that stands for the host's root, for tests.
    let roots = std::env::args_os().nth(1).map_or_else(Roots::host, Roots::at);
    report(run(&roots, std::io::stdin().lock()));
    process::exit(0);
}

/// Logs what an administrator would want to know: nothing of a start that is as it should be.
fn report(result: Result<Done, Nothing>) {
    let done = match result {
        Err(Nothing::NotInAPod) => return,
        Err(nothing) => {
            log::start_hook();
            tracing::warn!("{nothing}; its swap limit is what the runtime has set");
            return;
        }
        Ok(done) => done,
    };
    let Done { target, container_name, swap_max, why, doubt, failed } = done;
    if doubt.is_none() && failed.is_empty() && why.is_usual() {
        return;
    }
    log::start_hook();
    let name = container_name.unwrap_or_else(|| "unknown".to_owned());
    let (pod_uid, container_id) = (target.pod.as_str(), target.id.as_str());
    let what =
        format!("container {name:?} of pod {pod_uid} starts with memory.swap.max {swap_max}");
    for error in failed {
        tracing::error!(pod_uid, container_id, "{what} not set: {error}");
    }
    match doubt {
        Some(doubt) => tracing::warn!(pod_uid, container_id, "{what}: {doubt}"),
        None => tracing::info!(pod_uid, container_id, "{what}: {why}"),
    }
}
