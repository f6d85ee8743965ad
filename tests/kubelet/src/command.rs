//! Runs other programs.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

pub(crate) fn shell(line: &str) -> Result<()> {
    run("sh", &["-c", line])
}
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
