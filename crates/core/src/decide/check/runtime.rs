//! Checks of CRI-O, of the OCI hook and of the DaemonSet's remains.

use crate::model::counted::counted;
use std::path::PathBuf;

use super::{CheckOutcome, fail, ok, outcome, skip, warn};
use crate::{
    config::settings::{Grants, Settings},
    decide::{
        guests::{REMEDY, without_overcommitment},
        hook::{
            FILE_NAME, HookUnfit, WRITABLE, another_folder, definition, listed, no_hook,
            other_version, preferred, put_aside, unfit, unknown_runtime,
        },
        kubelet::in_force,
        kubelet_refuses::refuses,
        leftovers::remains,
        rivals::{RivalRow, rows},
    },
    model::{
        check::{CheckLevel, FolderState, HostFacts},
        rivals::Who,
        runtime::Runtime,
        shell,
    },
};

fn hook_wanted(facts: &HostFacts, settings: &Settings) -> bool {
    // While the configuration cannot be read, the agent raises no limit and so installs no hook.
    let known = facts.kubelet.as_ref().ok();
    let Some(config) = known.filter(|config| config.as_ref().and_then(refuses).is_none()) else {
        // An agent that has read the configuration before continues with it.
        return settings.hook.install
            && (settings.grants == Grants::Agent || facts.hook.definition.is_some());
    };
    let (grants, _) = in_force((settings.grants, settings.grant.clone()), config.as_ref());
    settings.hook.install && grants == Grants::Agent
}

pub(super) fn hooks_folder(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    if !hook_wanted(facts, settings) {
        return skip("no hook is configured (hook.install, grants)");
    }
    let folders = match &facts.runtime {
        Ok(Runtime::Crio(folders)) => preferred(folders.clone()),
        Ok(Runtime::Containerd) => {
            return warn(
                "containerd has no hooks directory: containers get their limit after their start",
                [],
            )
            .with(no_hook(&facts.origins));
        }
        Ok(Runtime::Unknown) => {
            return warn(
                "no CRI-O here (/etc/crio is missing): the agent cannot install the hook",
                [],
            )
            .with(no_hook(&facts.origins));
        }
        Err(error) => {
            return fail(error.clone(), []).with(facts.runtime_remedy.clone());
        }
    };
    let hook = &facts.hook;
    let allowed: Vec<&PathBuf> =
        folders.iter().filter(|f| WRITABLE.contains(&f.to_string_lossy().as_ref())).collect();
    let in_state = |state: FolderState| {
        allowed.iter().find(|folder| hook.folders.get(**folder) == Some(&state))
    };
    let installed = hook.definition.as_ref().and_then(|(file, _)| file.parent());
    if let Some(folder) = folders.iter().find(|folder| installed == Some(folder.as_path())) {
        return ok(folder.display().to_string());
    }
    match (in_state(FolderState::Writable), in_state(FolderState::Missing)) {
        // hook-installed reports an agent that runs and did not use the directory.
        (Some(folder), _) => ok(folder.display().to_string()),
        // In an image, the program that creates the directory has not run yet.
        (None, Some(folder)) if !facts.live => ok(folder.display().to_string()),
        (None, Some(folder)) => warn(
            format!("{} is missing: the agent cannot install the hook yet", folder.display()),
            ["systemctl restart wasp-agent"],
        ),
        (None, None) => {
            warn(format!("CRI-O reads {}, where the agent cannot write", listed(&folders)), [])
                .with(another_folder(&facts.system, &facts.crio, &folders))
        }
    }
}

pub(super) fn default_runtime(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match (&facts.runtime, &facts.default_runtime) {
        (Ok(Runtime::Crio(_)), Ok(None)) => ok("CRI-O's own default"),
        (Ok(Runtime::Crio(_)), Ok(Some(runtime))) => {
            match unknown_runtime(&facts.system, &facts.crio, runtime) {
                None => ok(runtime.to_string()),
                Some(problem) => warn(problem.text, []).with(problem.remedy),
            }
        }
        _ => skip("CRI-O's configuration is not known"),
    }
}

pub(super) fn hook_installed(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    if !hook_wanted(facts, settings) {
        return skip("not configured (hook.install, grants)");
    }
    let hook = &facts.hook;
    let again = ["systemctl restart wasp-agent"];
    match (&facts.runtime, &hook.definition) {
        (_, Some((path, text))) if *text == definition(&hook.program.path) => {
            ok(path.display().to_string())
        }
        (_, Some((path, _))) => warn(format!("{} was changed", path.display()), again),
        (_, None) if hook_program(facts, settings).level == CheckLevel::Fail => {
            skip("removed, because its program cannot run (hook-program)")
        }
        (_, None) if hook_label(facts, settings).level == CheckLevel::Fail => {
            skip("removed, because its label is wrong (hook-label)")
        }
        (_, None) if hooks_folder(facts, settings).level >= CheckLevel::Warn => {
            skip("no directory to install it in (crio-hooks-folder)")
        }
        (Ok(Runtime::Crio(folders)), None) if hook.published => {
            let folders = listed(folders);
            warn(
                format!("{FILE_NAME} is missing from the directories that CRI-O reads: {folders}"),
                again,
            )
        }
        (Ok(Runtime::Crio(_)), None) => skip("the agent installs it when it starts"),
        _ => skip("no CRI-O"),
    }
}

pub(super) fn hook_program(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    // The runtime uses an installed definition even if the configuration does not ask for one.
    if facts.hook.definition.is_none() && !hook_wanted(facts, settings) {
        return skip("not configured (hook.install, grants)");
    }
    let hook = &facts.hook;
    let path = &hook.program.path;
    let Some(unfit) = unfit(&hook.program) else {
        return match other_version(&hook.program) {
            Some(text) => warn(text, ["systemctl restart wasp-agent"]),
            None => ok(path.display().to_string()),
        };
    };
    if let HookUnfit::Label(_) = unfit {
        return skip("its label is wrong (hook-label)");
    }
    if unfit == HookUnfit::Missing && hook.definition.is_none() && !hook.agent_installed {
        return skip("the package is not installed");
    }
    // With an unfit hook the runtime starts no container; without the hook, containers start.
    let outcome = fail(unfit.about(path), []).with(unfit.remedy(&facts.system, path));
    match &hook.definition {
        Some(_) => {
            CheckOutcome { found: format!("no container can start: {}", outcome.found), ..outcome }
        }
        None => outcome,
    }
}

pub(super) fn foreign_hook(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    match &facts.hook.foreign[..] {
        [] => ok("none"),
        hooks => {
            let named: Vec<String> =
                hooks.iter().map(|(file, why)| format!("{}: {why}", file.display())).collect();
            let aside = hooks.iter().map(|(file, _)| put_aside(file));
            fail(named.join("; "), []).with(aside.collect())
        }
    }
}

pub(super) fn hook_label(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let counts = facts.hook.definition.is_some() || hook_wanted(facts, settings);
    if !counts || facts.hook.program.mode.is_none() {
        return skip("no hook");
    }
    let path = facts.hook.program.path.display();
    let quoted = shell::path(&facts.hook.program.path);
    let Some(selinux) = &facts.hook.program.selinux else { return skip("no SELinux") };
    if selinux.allows() {
        return ok(selinux.label.as_deref().unwrap_or_default());
    }
    let shown = match &selinux.label {
        Some(label) => format!("the SELinux label {label}"),
        None => "no label".to_owned(),
    };
    let fix = format!("restorecon -v {quoted}");
    match selinux.enforces {
        true => fail(format!("{path} has {shown}, which CRI-O may not run"), [&fix]),
        false => warn(format!("{path} has {shown}; SELinux is not enforcing now"), [&fix]),
    }
}

pub(super) fn daemonset_hook(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let files = &facts.leftovers.hooks;
    if files.is_empty() {
        return ok("none");
    }
    let rm: Vec<String> = files.iter().map(|file| shell::path(file)).collect();
    fail(
        format!("{}, which removes swap limits at every container start", listed(files)),
        // A node may not delete it.
        ["# first: oc delete daemonset -n wasp wasp-agent", &format!("rm {}", rm.join(" "))],
    )
}

pub(super) fn daemonset_units(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    let (left, areas) = (&facts.leftovers, &facts.swap.areas);
    outcome(remains(left, &facts.system, areas, facts.available_bytes), "none")
}

pub(super) fn other_swap(facts: &HostFacts, settings: &Settings) -> CheckOutcome {
    let rows = rows(&facts.rivals, settings, facts.node.as_ref().ok());
    let text = rows.iter().map(RivalRow::text).collect::<Vec<_>>().join(". ");
    let contradicts = |who| rows.iter().any(|row| row.who == who && !row.contradicts.is_empty());
    match (contradicts(Who::DaemonSet), contradicts(Who::Autopilot)) {
        (true, _) => warn(
            text,
            [
                "# with cluster-admin: set memoryOvercommitPercentage of HyperConverged to 100",
                "# without HyperConverged: oc delete daemonset -n wasp wasp-agent",
                "# docs/migration.md describes the order",
            ],
        ),
        (false, true) => warn(
            text,
            [
                "# swap: enlarge theirs, lower overcommit-percent (swap.size), or set \
                 swap.beside-others = true; docs/comparison.md compares the two",
                "# to disable it: set the annotation platform.kubevirt.io/autopilot of \
                 HyperConverged; its operator creates a deleted MachineConfig again",
            ],
        ),
        (false, false) if !rows.is_empty() => ok(text),
        // The node may not read HyperConverged, so the percentage is unknown.
        _ if facts.openshift_virtualization => ok(
            "none; memoryOvercommitPercentage of HyperConverged (the console's memory density) above 100 \
             would deploy the DaemonSet wasp-agent: leave it at 100",
        ),
        _ => ok("none"),
    }
}

pub(super) fn vm_requests(facts: &HostFacts, _: &Settings) -> CheckOutcome {
    if facts.guests.is_empty() {
        return skip("the agent knows no VM on this node");
    }
    let (all, whole) = (facts.guests.len(), without_overcommitment(&facts.guests));
    match whole.len() {
        0 => ok(format!(
            "{} less memory than the guest has",
            counted(all, "VM requests", "VMs request")
        )),
        count => {
            let shown = whole.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            let more = if count > 3 { format!(" and {} more", count - 3) } else { String::new() };
            warn(
                format!(
                    "{count} of {}: the request is all of the guest's memory, so there is no \
                     overcommit: {shown}{more}",
                    counted(all, "VM", "VMs")
                ),
                [&*format!("# {REMEDY}")],
            )
        }
    }
}
