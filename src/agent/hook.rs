//! Installs the OCI hook where CRI-O reads it, keeps it there, and publishes its settings.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Agent, effects::Effects, health::Health};
use crate::{
    act::Written,
    config::settings::{Grants, Settings},
    decide::{
        grant::swap_for_pods,
        hook::{
            FILE_NAME, HookUnfit, another_folder, definition, listed, no_hook, other_version,
            preferred, unfit,
        },
    },
    errors::FileError,
    messages,
    model::{
        clock::SinceStart,
        hook::EstimateSettings,
        host::NodeMemory,
        program::ProgramFacts,
        runtime::Runtime,
        system::System,
        trouble::{Problem, Trouble},
    },
    observe::{crio, files::FileWatch, hooks::USUAL_FOLDERS, program, settings::origins},
    roots::Roots,
};

const PROGRAM: &str = "wasp-hook";

/// The least time between two looks at the mounts.
const MOUNTS_PAUSE: Duration = Duration::from_secs(1);

/// The place where the hook is installed.
#[derive(Debug, Default)]
pub(super) struct Installed {
    file: Option<PathBuf>,
    watch: Option<FileWatch>,
    /// Created before the program is examined, so that a later change is noticed.
    program_watch: Option<FileWatch>,
    program: program::Known,
    /// Watches other programs' hooks, in all directories.
    others_watch: Option<FileWatch>,
    /// The reason why the program could not run at the last look.
    unfit: Option<HookUnfit>,
    /// The time of the next look at the mounts, after they have changed.
    mounts_due: Option<SinceStart>,
    /// The earliest time of the look after that.
    mounts_next: SinceStart,
}

/// The definitions that could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
struct HookLeft(Vec<FileError>);

impl Installed {
    pub(super) fn file(&self) -> Option<String> {
        self.file.as_ref().map(|file| file.display().to_string())
    }

    /// Returns when the definition or a directory for it may have changed; never if none is
    /// watched.
    pub(super) async fn changed(&self) -> io::Result<()> {
        tokio::select! {
            changed = changed(self.watch.as_ref()) => changed,
            changed = changed(self.program_watch.as_ref()) => changed,
            changed = changed(self.others_watch.as_ref()) => changed,
        }
    }

    /// Watches for definitions that appear, disappear or change.
    pub(super) fn watch_others(&mut self, roots: &Roots, folders: &[PathBuf]) {
        let usual = USUAL_FOLDERS.iter().map(Path::new);
        let all: BTreeSet<&Path> = usual.chain(folders.iter().map(PathBuf::as_path)).collect();
        let all: Vec<PathBuf> = all.into_iter().map(|folder| roots.path(folder)).collect();
        self.others_watch = FileWatch::of_folders(self.others_watch.take(), &all, ".json").ok();
    }

    /// Returns the time of the next look at the mounts.
    pub(super) fn next(&self) -> Option<SinceStart> {
        self.mounts_due
    }
}

/// The inputs of the hook's installation, and the effects that carry it out.
pub(super) struct HookContext<'a, E> {
    pub(super) roots: &'a Roots,
    pub(super) system: &'a System,
    pub(super) settings: &'a Settings,
    pub(super) node: &'a NodeMemory,
    pub(super) effects: &'a E,
    pub(super) health: &'a mut Health,
}

impl<E: Effects> HookContext<'_, E> {
    fn wants_hook(&self) -> bool {
        self.settings.hook.install && self.settings.grants == Grants::Agent
    }

    /// Publishes the settings that the hook uses for pods without a record.
    fn publish_settings(&self) -> Result<(), FileError> {
        let Self { settings, node, .. } = self;
        let for_hook = EstimateSettings {
            policy: settings.grant.policy,
            eligibility: settings.grant.eligibility,
            when_unknown: settings.hook.when_unknown,
            denied_namespaces: settings.hook.denied_namespaces.clone(),
            ram_bytes: node.ram_bytes,
            swap_for_pods_bytes: swap_for_pods(&settings.grant, node),
            wishes: settings.grant.wishes.clone(),
            pods: match self.roots.pods() == Roots::host().pods() {
                true => Vec::new(),
                false => self.roots.pods().to_vec(),
            },
        };
        crate::act::save(self.effects, self.roots, &for_hook)
    }
}

impl Installed {
    /// Schedules a look at the mounts. Each container that starts mounts something: the first
    /// change takes effect immediately, and the following ones together.
    pub(super) fn mounts_changed(&mut self, now: SinceStart) {
        let due = now.max(self.mounts_next);
        self.mounts_due.get_or_insert(due);
    }

    /// Checks that the hook's program could still run after mounts have changed, or while an earlier
    /// check has no result yet.
    pub(super) fn check_mounts(&mut self, on: &mut HookContext<'_, impl Effects>, now: SinceStart) {
        if self.mounts_due.is_some_and(|due| due <= now) {
            self.mounts_due = None;
            self.mounts_next = now + MOUNTS_PAUSE;
            if on.wants_hook()
                && let Ok(hook) = program()
                && unfit(&self.program_facts(on.roots, &hook)) != self.unfit
            {
                self.check(on);
            }
        }
        if on.wants_hook() && self.program.is_undecided() {
            self.mounts_due.get_or_insert(now + MOUNTS_PAUSE);
        }
    }

    fn program_facts(&mut self, roots: &Roots, hook: &Path) -> ProgramFacts {
        let own = Path::new("/proc/self/exe");
        program::facts_again(roots, hook, hook, own, &mut self.program)
    }

    /// Installs the hook with its settings, or removes it, as configured. Withdraws a definition
    /// whose program cannot run, because it would keep every container from starting.
    pub(super) fn check(&mut self, on: &mut HookContext<'_, impl Effects>) {
        if !on.wants_hook() {
            on.health.problem(Trouble::HookProgram, None);
            let failed = self.remove(on, None).err().map(|error| error.to_string());
            on.health.problem(Trouble::Hook, failed);
            return;
        }
        let hook = match program() {
            Ok(path) => path,
            Err(error) => {
                let text = format!("the OCI hook is not installed: {error}");
                on.health.problem(Trouble::Hook, Some(text));
                return;
            }
        };
        let program = std::slice::from_ref(&hook);
        self.program_watch = FileWatch::renewed(self.program_watch.take(), program).ok();
        let facts = self.program_facts(on.roots, &hook);
        let unfit = unfit(&facts);
        self.unfit.clone_from(&unfit);
        if let Some(unfit) = unfit {
            self.withdraw(on, &hook, &unfit);
            return;
        }
        on.health.problem(Trouble::HookProgram, None);
        let failed = self.install(on, &hook).err();
        let other = other_version(&facts).map(|text| {
            let remedy = vec!["systemctl restart wasp-agent".to_owned()];
            Problem::new(Trouble::Hook, text).with_remedy(remedy)
        });
        on.health.problem_is(Trouble::Hook, failed.or(other));
    }

    /// Withdraws the hook, because no container could start with it.
    fn withdraw(&mut self, on: &mut HookContext<'_, impl Effects>, hook: &Path, unfit: &HookUnfit) {
        let withdrawn = self.remove(on, None);
        let found = unfit.about(hook);
        let text = match withdrawn {
            Ok(()) => format!(
                "the OCI hook is removed, because no container could start with it: {found}"
            ),
            Err(error) => format!("NO CONTAINER CAN START: {found}, and {error}"),
        };
        let problem =
            Problem::new(Trouble::HookProgram, text).with_remedy(unfit.remedy(on.system, hook));
        on.health.problem_is(Trouble::HookProgram, Some(problem));
        on.health.problem(Trouble::Hook, None);
    }

    fn install(
        &mut self,
        on: &HookContext<'_, impl Effects>,
        program: &Path,
    ) -> Result<(), Problem> {
        let problem = |text: String| Problem::new(Trouble::Hook, text);
        let without =
            |text: &str| problem(text.to_owned()).with_remedy(no_hook(&origins(on.roots)));
        let runtime = crio::runtime(on.roots)
            .map_err(|error| problem(error.to_string()).with_remedy(error.remedy(on.system)))?;
        let folders = match runtime {
            Runtime::Crio(folders) => preferred(folders),
            Runtime::Containerd => {
                let text = "containerd has no hooks directory: containers get their limit a \
                            moment after their start";
                return Err(without(text));
            }
            Runtime::Unknown => {
                let text = "no CRI-O here (/etc/crio is missing), so the agent installs no hook: \
                            containers get their limit a moment after their start";
                return Err(without(text));
            }
        };
        on.publish_settings()
            .map_err(|error| problem(error.to_string()).with_remedy(error.remedy_of_write()))?;
        let text = definition(program);
        // Watch before looking at the directories, so that a new one is noticed. CRI-O creates
        // missing ones when it starts. Without a watch, the resync serves.
        let definitions = folders.iter().map(|folder| on.roots.path(folder.join(FILE_NAME)));
        let files: Vec<_> = definitions.chain([program.to_owned()]).collect();
        self.watch = FileWatch::renewed(self.watch.take(), &files).ok();
        let mut refused = Vec::new();
        for folder in &folders {
            let file = folder.join(FILE_NAME);
            match on.effects.replace_file(&on.roots.path(&file), &text, 0o644) {
                Ok(written) => {
                    if written == Written::Now {
                        messages::HookInstalled { path: &file.display() }
                            .emit(format_args!("installed the OCI hook: {}", file.display()));
                    }
                    self.file = Some(file.clone());
                    let others = self.remove(on, Some(&file));
                    return others.map_err(|error| problem(error.to_string()));
                }
                Err(error) => refused.push(format!("{}: {error}", folder.display())),
            }
        }
        self.file = None;
        let text = format!(
            "CRI-O reads {}, where the agent cannot write{}",
            listed(&folders),
            match refused.join(", ") {
                none if none.is_empty() => none,
                refused => format!(" ({refused})"),
            }
        );
        Err(problem(text).with_remedy(another_folder(
            on.system,
            &crio::drop_ins(on.roots),
            &folders,
        )))
    }

    /// Removes the definition everywhere except at `except`.
    fn remove(
        &mut self,
        on: &HookContext<'_, impl Effects>,
        except: Option<&Path>,
    ) -> Result<(), HookLeft> {
        let mut files: Vec<PathBuf> =
            USUAL_FOLDERS.iter().map(|folder| Path::new(folder).join(FILE_NAME)).collect();
        // A directory that only CRI-O's configuration names.
        let mut others: Vec<PathBuf> = self.file.clone().into_iter().collect();
        if let Ok(Runtime::Crio(folders)) = crio::runtime(on.roots) {
            others.extend(folders.iter().map(|folder| folder.join(FILE_NAME)));
        }
        for file in others {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        let mut failed = Vec::new();
        if except.is_none() {
            (self.file, self.watch) = (None, None);
        }
        for file in files {
            // In a read-only directory even the removal of a missing file fails.
            if except == Some(&*file) || on.roots.path(&file).symlink_metadata().is_err() {
                continue;
            }
            match on.effects.remove_file(&on.roots.path(&file)) {
                Ok(Written::Now) => messages::HookRemoved { path: &file.display() }
                    .emit(format_args!("removed the OCI hook: {}", file.display())),
                Ok(Written::Already | Written::Gone) => {}
                // A failure must not keep the others from being removed.
                Err(error) => failed.push(FileError::of("remove", &file)(error)),
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(HookLeft(failed)) }
    }
}

impl<E: Effects> Agent<E> {
    /// Returns the hook's part, and its context.
    pub(super) fn hook(&mut self) -> (&mut Installed, HookContext<'_, E>) {
        let Self { installed, roots, system, settings, node, effects, health, .. } = self;
        (installed, HookContext { roots, system, settings, node, effects, health })
    }

    pub(super) fn check_hook(&mut self) {
        let (installed, mut context) = self.hook();
        installed.check(&mut context);
    }
}

async fn changed(watch: Option<&FileWatch>) -> io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// The hook is in the agent's directory.
fn program() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(PROGRAM))
}
