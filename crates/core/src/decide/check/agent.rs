//! Checks of the running agent: what it reports, and what systemd reports about its units.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{CHECKS, CheckOutcome, answered, fail, kernel::is_active, ok, skip, warn};
use crate::{
    config::{
        settings::Settings,
        value::{Problems, Removal, SettingOrigin},
    },
    decide::{
        remedy::{RELOAD, correct_in_pool},
        unreadable::unreadable_state,
    },
    model::{
        check::{Asked, CheckLevel, HostFacts, Instead, NotRead, UnitFacts, Wrong},
        counted::counted,
        published::ProblemStatus,
        shell::{self, quoted},
        system::System,
        trouble::{Severity, Trouble},
    },
};

/// Free space below this counts as a full disk: a pod's record takes about 1 kB, status.json about
/// 20 kB.
const LEAST_BYTES: u64 = 256 << 10;
const LEAST_FILES: u64 = 16;
/// This many restarts count as a crash loop.
const CRASH_LOOP: u32 = 3;

pub(super) fn configuration(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match &facts.configuration {
        Ok(()) => {}
        Err(Wrong { text, remedy, instead }) => {
            let instead = match instead {
                Instead::InForce => "the settings in effect",
                Instead::LastInForce => "the settings that were last in effect",
                Instead::Defaults => "the defaults",
            };
            return fail(format!("{text}\nthe other checks use {instead}"), [])
                .with(remedy.clone());
        }
    }
    match not_read(&facts.system, &facts.agent.not_read) {
        None => ok("loads"),
        Some((text, fix)) => warn(text, []).with(fix),
    }
}

/// Returns a sentence about the files that the agent does not read, and commands that fix them.
pub fn not_read(system: &System, files: &[NotRead]) -> Option<(String, Vec<String>)> {
    let (first, _) = files.split_first()?;
    let shown: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    let text = format!("the agent does not read {}: {}", shown.join(", "), first.why);
    let moves = files.iter().flat_map(|file| match system.owner_of(&file.path) {
        Some(pool) => correct_in_pool(pool, &file.path),
        None => vec![moved(&file.path, &file.target)],
    });
    Some((text, moves.chain([RELOAD.to_owned()]).collect()))
}

/// Returns a command that renames a file and loses no other file.
fn moved(file: &Path, target: &Path) -> String {
    let [file, target] = [file, target].map(|path| quoted(&path.display().to_string()));
    format!("mv --backup=numbered {file} {target}")
}

/// Returns the name under which a file is set aside.
pub fn aside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".off");
    name.into()
}

/// Returns commands that remove the wrong settings from their files, or set aside a file in which
/// no line alone is wrong, and reload the agent.
pub fn without_wrong_lines(system: &System, problems: &Problems) -> Vec<String> {
    let mut files: BTreeMap<&Path, Option<BTreeSet<Removal>>> = BTreeMap::new();
    let mut lines: Vec<String> = Vec::new();
    for problem in &problems.0 {
        match &problem.origin {
            SettingOrigin::File { path, removal, .. } => {
                let known = files.entry(path).or_insert_with(|| Some(BTreeSet::new()));
                match known {
                    Some(known) if !removal.is_empty() => known.extend(removal),
                    _ => *known = None,
                }
            }
            SettingOrigin::Environment { name } => lines.push(format!("unset {name}")),
            SettingOrigin::Default | SettingOrigin::CommandLine => {}
        }
    }
    for (path, removal) in files {
        if let Some(pool) = system.owner_of(path) {
            lines.extend(correct_in_pool(pool, path));
            continue;
        }
        lines.push(match removal {
            // The last first: a cut moves what is behind it in the line.
            Some(removal) => {
                let mut script: Vec<String> =
                    removal.iter().rev().map(ToString::to_string).collect();
                script.extend(removal.iter().filter_map(Removal::commas));
                script.dedup();
                let path = quoted(&path.display().to_string());
                format!("sed -i --follow-symlinks '{}' {path}", script.join("; "))
            }
            None => moved(path, &aside(path)),
        });
    }
    lines.dedup();
    lines.push("wasp-agent check-config".to_owned());
    lines.push(RELOAD.to_owned());
    lines
}

pub(super) fn agent_unit(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    unit(facts, "wasp-agent.service")
}

pub(super) fn swap_unit(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    unit(facts, "wasp-swap.service")
}

fn unit(facts: &HostFacts, name: &'static str) -> CheckOutcome {
    let bus = match answered(&facts.bus) {
        Ok(bus) => bus,
        Err(outcome) => return outcome,
    };
    let none = UnitFacts::default();
    let unit = bus.units.get(name).unwrap_or(&none);
    let says = if unit.status.is_empty() { &unit.active } else { &unit.status };
    let stem = name.trim_end_matches(".service");
    let [unmask, enable, restart, journal] = [
        format!("systemctl unmask {stem}"),
        format!("systemctl enable {stem}"),
        format!("systemctl restart {stem}"),
        format!("journalctl -u {stem} -b -n 20"),
    ];
    let ended = match &*unit.result {
        "" | "success" => String::new(),
        result => format!(" ({result})"),
    };
    match () {
        () if unit.load == "masked" => fail(
            format!("{name} is masked: systemd does not start it"),
            [&*unmask, &enable, &restart],
        ),
        () if unit.load == "not-found" => skip("not installed"),
        () if facts.configuration.is_err() && unit.active != "active" => {
            skip(format!("{}: the configuration is invalid (configuration)", unit.active))
        }
        () if !matches!(&*unit.load, "loaded" | "") => fail(
            format!("systemd cannot load {name}: {}", unit.load),
            [&format!("systemctl cat {stem}")],
        ),
        () if unit.sub == "auto-restart" || unit.restarts >= CRASH_LOOP => fail(
            format!(
                "{name} fails repeatedly{ended}: {}",
                counted(unit.restarts, "restart", "restarts")
            ),
            [&*journal, &format!("systemctl reset-failed {stem}"), &restart],
        ),
        () if is_active(bus, name) && unit.file == "disabled" => {
            warn(format!("{says}; not enabled: the next boot does not start it"), [&*enable])
        }
        () if is_active(bus, name) => ok(says.clone()),
        () if unit.active == "failed" => fail(
            if unit.status.is_empty() {
                format!("failed{ended}")
            } else {
                format!("failed{ended}: {says}")
            },
            [&*journal, &restart],
        ),
        () => warn(unit.active.clone(), [&*enable, &restart]),
    }
}

/// The agent counts as stuck if its last publication is older than this.
fn late(settings: &Settings) -> Duration {
    settings.limits.resync * 3 + Duration::from_secs(30)
}

/// Reports the running agent's own problems, except those that another check has found.
pub(super) fn problems(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let agent = &facts.agent;
    let published = match &agent.published {
        Ok(Some(published)) if agent.running => published,
        // The check of its unit reports it, if systemd answers.
        Ok(Some(published)) if !matches!(facts.bus, Asked::Answered(_)) => {
            return fail(
                format!("the agent is not running; it was until {}", published.written),
                ["journalctl -u wasp-agent -b -n 20", "systemctl restart wasp-agent"],
            );
        }
        Ok(_) => return skip("the agent is not running"),
        Err(error) => {
            let file = "/run/wasp-agent/status.json";
            let aside = format!("mv --backup=numbered {file} {file}.off");
            return fail(error.clone(), [&*aside, "systemctl restart wasp-agent"]);
        }
    };
    if let Some(age) = agent.age.filter(|age| *age > late(settings)) {
        return fail(
            format!(
                "the agent has published nothing for {} s: it hangs, or cannot write to /run",
                age.as_secs()
            ),
            ["df -h /run/wasp-agent", "systemctl restart wasp-agent"],
        );
    }
    let mut level = CheckLevel::Ok;
    let (mut texts, mut fix) = (Vec::new(), Vec::new());
    for problem in published.problems.iter().filter(|p| !is_found(p, facts, settings)) {
        let ProblemStatus { severity, text, remedy, .. } = problem;
        level = level.max(match severity {
            Severity::Note => CheckLevel::Ok,
            Severity::Warn => CheckLevel::Warn,
            Severity::Fail => CheckLevel::Fail,
        });
        texts.push(text.clone());
        if *severity > Severity::Note {
            fix.extend(
                remedy.iter().filter(|line| !fix.contains(*line)).cloned().collect::<Vec<_>>(),
            );
        }
    }
    let found = if texts.is_empty() { "none".to_owned() } else { texts.join("\n") };
    CheckOutcome { level, found, fix }
}

/// Returns the kind of the first of the agent's problems that no other check has found.
pub(super) fn worst(facts: &HostFacts, settings: &Settings) -> Option<Trouble> {
    let published = facts.agent.published.as_ref().ok()?.as_ref()?;
    published.problems.iter().find(|p| !is_found(p, facts, settings)).and_then(kind)
}

fn kind(problem: &ProblemStatus) -> Option<Trouble> {
    Trouble::ALL.iter().find(|trouble| trouble.word() == problem.kind).copied()
}

/// Returns true if the check for this problem's cause has found it too.
fn is_found(problem: &ProblemStatus, facts: &HostFacts, settings: &Settings) -> bool {
    let ids = kind(problem).map_or(&[][..], Trouble::checks);
    let mut checks = CHECKS.iter().filter(|check| ids.contains(&check.id));
    checks.any(|check| (check.run)(facts, settings).level >= CheckLevel::Warn)
}

pub(super) fn settings_in_force(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let agent = &facts.agent;
    if facts.configuration.is_err() {
        return skip("the configuration on disk is invalid");
    }
    if !agent.running {
        return skip("the agent is not running");
    }
    let differs: Vec<String> = agent
        .differs
        .iter()
        .map(|(key, disk, force)| format!("{key}: {disk} on disk, {force} in effect"))
        .collect();
    match &differs[..] {
        [] => ok("the settings in effect are those on disk"),
        _ => fail(differs.join("\n"), [RELOAD]),
    }
}

pub(super) fn state(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match unreadable_state(&facts.unreadable_state) {
        None => ok("readable"),
        Some(problem) => warn(problem.text, []).with(problem.remedy),
    }
}

pub(super) fn run_space(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let Some(space) = &facts.agent.run else {
        return skip("cannot read the free space of /run");
    };
    // /run, unless the agent's directory is a mount of its own.
    let of = &space.mount_point;
    let path = shell::path(of);
    let fix = [
        &*format!("df -h {path}"),
        &format!("df -i {path}"),
        &format!("du -xs {path}/* | sort -n | tail -n 5"),
    ];
    let of = of.display();
    let cannot = "the agent cannot save grants and evictions there";
    match () {
        () if space.read_only => {
            fail(format!("{of} is read-only: {cannot}"), [&format!("mount -o remount,rw {path}")])
        }
        () if space.free_bytes < LEAST_BYTES => fail(format!("{of} is full: {cannot}"), fix),
        () if space.free_files < LEAST_FILES => {
            fail(format!("{of} has no free inode: {cannot}"), fix)
        }
        () => ok("has free space"),
    }
}
