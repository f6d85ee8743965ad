//! `wasp-hook`: the OCI hook. The container runtime runs it, with the container's state on standard
//! input.

use std::{process, sync::Arc, thread, time::Duration};

use wasp_agent::{
    failpoint,
    hook::{Done, Nothing, Progress, give_up, run},
    messages,
    report::log,
    roots::Roots,
};

/// The runtime, and with it the container, waits for the hook.
const LONGEST: Duration = Duration::from_secs(5);

fn main() {
    // The agent searches the program for this constant before it installs the hook.
    std::hint::black_box(wasp_agent::decide::hook::SELF);
    // The agent runs it so before it installs the definition, to see that its libraries load.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "--version") {
        process::exit(0);
    }
    let _failpoints = failpoint::from_environment();
    // For tests, the first argument is a directory that stands for the host's root.
    let roots = std::env::args_os().nth(1).map_or_else(Roots::host, Roots::at);
    let progress = Arc::new(Progress::default());
    // The exit status is always 0: any other would keep the container from starting.
    let rescue = {
        let (roots, progress) = (roots.clone(), progress.clone());
        move |why: &str| {
            rescue(&roots, &progress, why);
            process::exit(0);
        }
    };
    let watchdog = rescue.clone();
    let panicked = rescue.clone();
    std::panic::set_hook(Box::new(move |panic| panicked(&panic.to_string())));
    // Without this thread, the work below still takes no longer than reading its files.
    let _ = thread::Builder::new().spawn(move || {
        thread::sleep(LONGEST);
        watchdog(&format!("delayed for {} s", LONGEST.as_secs()));
    });
    match run(&roots, std::io::stdin().lock(), &progress) {
        Err(nothing @ Nothing::State(_)) => rescue(&nothing.to_string()),
        result => report(result),
    }
    process::exit(0);
}

fn rescue(roots: &Roots, progress: &Progress, why: &str) {
    if let Some(done) = give_up(roots, progress) {
        log::start_hook();
        messages::HookSet { pod_uid: None, container_id: None }
            .emit_at(messages::LogLevel::Warn, format_args!("{why}; {done}"));
    }
}

/// Logs results that an administrator needs; a normal start logs nothing.
fn report(result: Result<Done, Nothing>) {
    let done = match result {
        Err(Nothing::NotInAPod) => return,
        Err(nothing) => {
            log::start_hook();
            messages::HookSet { pod_uid: None, container_id: None }.emit_at(
                messages::LogLevel::Warn,
                format_args!("{nothing}; its swap limit is the runtime's"),
            );
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
        messages::HookFailed { pod_uid: &pod_uid, container_id: &container_id }
            .emit(format_args!("{what} not set: {error}"));
    }
    match doubt {
        Some(doubt) => {
            messages::HookSet { pod_uid: Some(&pod_uid), container_id: Some(&container_id) }
                .emit_at(messages::LogLevel::Warn, format_args!("{what}: {doubt}"))
        }
        None => messages::HookSet { pod_uid: Some(&pod_uid), container_id: Some(&container_id) }
            .emit(format_args!("{what}: {why}")),
    }
}
