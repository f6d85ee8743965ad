//! Runs the hook's program once, as a runtime does, to see that its libraries load.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// Runs the program again after this time: a library may have gone meanwhile.
const AGAIN: Duration = Duration::from_secs(600);
/// The longest wait for the program. A slow disk proves nothing.
const LONGEST: Duration = Duration::from_secs(1);

type Ended = Receiver<io::Result<Output>>;

/// The state from run to run.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// A run that has not ended in time. There is never a second one beside it.
    running: Option<Ended>,
    /// When the program last started without a fault.
    passed: Option<Instant>,
    /// The last look proved nothing: the program still runs, or another process writes it.
    pub(super) undecided: bool,
}

impl Trial {
    /// Returns the reason why the program does not start, if that is certain.
    pub(super) fn fault(&mut self, file: &Path) -> Option<String> {
        if self.passed.is_some_and(|at| at.elapsed() < AGAIN) {
            return None;
        }
        let (running, wait) = match self.running.take() {
            Some(running) => (running, Duration::ZERO),
            None => (start(file)?, LONGEST),
        };
        let fault = match running.recv_timeout(wait) {
            // Another process is writing the program. The next look runs it again.
            Ok(Err(error)) if error.raw_os_error() == Some(libc::ETXTBSY) => {
                self.undecided = true;
                return None;
            }
            Ok(ended) => fault_of(file, ended),
            Err(RecvTimeoutError::Timeout) => {
                self.running = Some(running);
                self.undecided = true;
                return None;
            }
            Err(RecvTimeoutError::Disconnected) => None,
        };
        // After a fault, the next look runs it again, so that a repair counts immediately.
        self.passed = fault.is_none().then(Instant::now);
        fault
    }
}

/// Starts `wasp-hook --version` without variables. `None` if the agent has no thread to wait for it.
fn start(file: &Path) -> Option<Ended> {
    let mut command = Command::new(file);
    command.arg("--version").env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let (send, receive) = mpsc::sync_channel(1);
    // A process that waits for a disk must not hold up the agent.
    thread::Builder::new()
        .name("hook-trial".into())
        .spawn(move || send.send(command.output()))
        .ok()?;
    Some(receive)
}

fn fault_of(file: &Path, ended: io::Result<Output>) -> Option<String> {
    let output = match ended {
        Ok(output) => output,
        // Other errors, such as a lack of memory, pass.
        Err(error) => {
            let lasts = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOEXEC));
            return lasts.then(|| error.to_string());
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    // The loader begins with the program's name.
    let said = said.strip_prefix(&format!("{}: ", file.display())).unwrap_or(said);
    let said = said.strip_prefix("error while loading shared libraries: ").unwrap_or(said);
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) if said.is_empty() => Some(format!("it ends with status {code}")),
        (Some(_), _) => Some(said.to_owned()),
        (None, Some(signal @ (libc::SIGILL | libc::SIGBUS | libc::SIGSEGV))) => {
            Some(format!("it ends by signal {signal}"))
        }
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn script(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    }

    /// A child of another test can hold the new script open for a moment; then it cannot be run.
    fn first_fault(file: &Path) -> (Trial, String) {
        let mut trials = std::iter::repeat_with(Trial::default).take(100);
        trials.find_map(|mut trial| trial.fault(file).map(|fault| (trial, fault))).unwrap()
    }

    #[test]
    fn what_starts_is_not_run_again_and_what_fails_is() {
        let folder = tempfile::tempdir().unwrap();
        let file =
            script(folder.path(), "hook", "echo \"$0: libz.so.9: no such file\" >&2; exit 127");
        let (mut trial, fault) = first_fault(&file);
        assert_eq!(fault, "libz.so.9: no such file");
        script(folder.path(), "hook", "exit 0");
        while trial.passed.is_none() {
            assert_eq!(trial.fault(&file), None, "a repair counts immediately");
        }
        script(folder.path(), "hook", "exit 3");
        assert_eq!(trial.fault(&file), None, "it ran just now");
        assert_eq!(first_fault(&file).1, "it ends with status 3");
        fs::remove_file(&file).unwrap();
        first_fault(&file);
    }

    #[test]
    fn a_program_that_is_being_written_has_not_passed() {
        let folder = tempfile::tempdir().unwrap();
        let file = script(folder.path(), "hook", "exit 3");
        let writer = fs::OpenOptions::new().append(true).open(&file).unwrap();
        let mut trial = Trial::default();
        assert_eq!(trial.fault(&file), None, "ETXTBSY proves nothing");
        assert!(trial.undecided);
        drop(writer);
        let looks = std::iter::repeat_with(|| trial.fault(&file)).take(100);
        assert!(looks.flatten().next().is_some(), "the next look runs it again");
    }

    #[test]
    fn a_program_that_hangs_is_started_once() {
        let folder = tempfile::tempdir().unwrap();
        let count = folder.path().join("count");
        let text = format!(
            "echo x >>{0}; while [ ! -e {0}.go ]; do sleep 0.1; done; exit 5",
            count.display()
        );
        let file = script(folder.path(), "hook", &text);
        let mut trial = Trial::default();
        while trial.running.is_none() {
            trial = Trial::default();
            assert_eq!(trial.fault(&file), None, "it may wait for a disk");
        }
        assert_eq!(trial.fault(&file), None);
        fs::write(folder.path().join("count.go"), "").unwrap();
        let fault = (0..200).find_map(|_| {
            thread::sleep(Duration::from_millis(50));
            trial.fault(&file)
        });
        assert_eq!(fault.as_deref(), Some("it ends with status 5"));
        assert_eq!(fs::read_to_string(&count).unwrap(), "x\n");
    }
}
