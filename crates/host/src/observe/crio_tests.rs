use super::*;

fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots::at(folder.path());
    for (path, text) in files {
        fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
        fs::write(roots.path(path), text).unwrap();
    }
    (folder, roots)
}

fn crio(folders: &[&str]) -> Runtime {
    Runtime::Crio(folders.iter().map(PathBuf::from).collect())
}

#[test]
fn a_drop_in_that_leads_nowhere_is_an_error() {
    let (_folder, roots) = host(&[("/etc/crio/crio.conf.d/10-x.conf", "")]);
    assert!(runtime(&roots).is_ok());
    let link = roots.path("/etc/crio/crio.conf.d/50-x.conf");
    std::os::unix::fs::symlink("/etc/crio/gone.conf", link).unwrap();
    let error = runtime(&roots).unwrap_err().to_string();
    assert!(error.contains("/etc/crio/crio.conf.d/50-x.conf"), "{error}");
}

#[test]
fn the_last_file_that_says_it_wins() {
    let (_folder, roots) = host(&[
        ("/etc/crio/crio.conf", "[crio.runtime]\nhooks_dir = [\"/a\"]\n"),
        ("/etc/crio/crio.conf.d/00-default", "[crio.runtime]\ndefault_runtime = \"crun\"\n"),
        ("/etc/crio/crio.conf.d/10-x.conf", "[crio]\nruntime.hooks_dir = [\"/b\", 'c', \"/d\"]\n"),
    ]);
    assert_eq!(runtime(&roots).unwrap(), crio(&["/b", "/c", "/d"]));
    let crun = DefaultRuntime { name: "crun".to_owned(), path: None };
    assert_eq!(default_runtime(&roots).unwrap(), Some(crun));
    let text = "[crio.runtime]\ndefault_runtime = \"fast\"\n[crio.runtime.runtimes.fast]\n\
                runtime_path = \"/usr/bin/crun\"\n[crio.runtime.runtimes.slow]\n";
    fs::write(roots.path("/etc/crio/crio.conf.d/20-x.conf"), text).unwrap();
    let found = default_runtime(&roots).unwrap().unwrap();
    assert_eq!((found.program(), &*found.to_string()), ("crun", "fast (/usr/bin/crun)"));
    let text = "[crio.runtime.runtimes.fast]\nmonitor_path = \"/x\"\n";
    fs::write(roots.path("/etc/crio/crio.conf.d/30-x.conf"), text).unwrap();
    let found = default_runtime(&roots).unwrap().unwrap();
    assert_eq!(found.path, None, "its later table names no program");
}

#[test]
fn the_running_crio_tells_where_its_files_are() {
    let put = |folder: &str| format!("[crio.runtime]\nhooks_dir = [\"{folder}\"]\n");
    let unit = "[Service]\nEnvironmentFile=-/etc/sysconfig/crio\n\
                Environment=CONTAINER_CONFIG_DIR=/site.d\nExecStart=/usr/bin/crio $OPTIONS\n";
    let (_folder, roots) = host(&[
        ("/usr/lib/systemd/system/crio.service", unit),
        ("/etc/crio/crio.conf", &put("/usual")),
        ("/site.d/1.conf", &put("/site")),
        ("/site.conf", &put("/file")),
    ]);
    assert_eq!(runtime(&roots).unwrap(), crio(&["/site"]));
    let sysconfig = roots.path("/etc/sysconfig/crio");
    fs::create_dir_all(sysconfig.parent().unwrap()).unwrap();
    fs::write(&sysconfig, "OPTIONS=--config /site.conf --config-dir=/none\n").unwrap();
    assert_eq!(runtime(&roots).unwrap(), crio(&["/file"]));
    fs::write(&sysconfig, "OPTIONS='--hooks-dir /a --hooks-dir /b'\n").unwrap();
    assert_eq!(runtime(&roots).unwrap(), crio(&["/a", "/b"]));
    fs::write(&sysconfig, "OPTIONS='--config /none.conf'\n").unwrap();
    assert!(runtime(&roots).unwrap_err().to_string().starts_with("/none.conf does not exist"));
    fs::write(&sysconfig, "OPTIONS='--config /site.conf --config-dir='\n").unwrap();
    assert_eq!(runtime(&roots).unwrap(), crio(&["/file"]), "no drop-ins, not all files below /");
    fs::write(&sysconfig, "OPTIONS='--config= --config-dir=/site.d/1.conf'\n").unwrap();
    assert_eq!(runtime(&roots).unwrap(), crio(&["/site"]), "a file in place of a directory");
    std::os::unix::fs::symlink("site.d", roots.path("/link.d")).unwrap();
    fs::write(&sysconfig, "OPTIONS='--config= --config-dir=/link.d'\n").unwrap();
    assert!(runtime(&roots).is_err(), "CRI-O cannot read it either");
    // The process has started with others.
    for (path, text) in [
        ("/sys/fs/cgroup/system.slice/crio.service/cgroup.procs", "7\n8\n"),
        ("/proc/7/comm", "crio-helper\n"),
        ("/proc/8/comm", "crio\n"),
        ("/proc/8/cmdline", "/usr/bin/crio\0--hooks-dir\0/running\0"),
        ("/proc/8/environ", "LANG=C\0"),
    ] {
        fs::create_dir_all(roots.path(path).parent().unwrap()).unwrap();
        fs::write(roots.path(path), text).unwrap();
    }
    assert_eq!(runtime(&roots).unwrap(), crio(&["/running"]));
}

#[test]
fn settings_that_are_left_do_not_make_containerd_crio() {
    let (_folder, roots) = host(&[("/etc/crio/crio.conf", ""), (CONTAINERD, "")]);
    assert_eq!(runtime(&roots).unwrap(), Runtime::Containerd);
    let unit = roots.path("/etc/systemd/system/crio.service");
    fs::create_dir_all(unit.parent().unwrap()).unwrap();
    fs::write(unit, "[Service]\nExecStart=/usr/bin/crio\n").unwrap();
    assert_eq!(runtime(&roots).unwrap(), crio(&[DEFAULT]));
}

#[test]
fn folders_are_walked_as_crio_walks_them() {
    let put = |folder: &str| format!("[crio.runtime]\nhooks_dir = [\"{folder}\"]\n");
    let drop_ins = "/etc/crio/crio.conf.d";
    let (_folder, roots) = host(&[
        (&*format!("{drop_ins}/10-a.conf"), &*put("/usr/share/containers/oci/hooks.d")),
        (
            &format!("{drop_ins}/site/20-b.conf"),
            "[crio.runtime]\nhooks_dir = [\"/run/containers/oci/hooks.d\"]\n\
             default_runtime = \"kata\"\n",
        ),
        (&format!("{drop_ins}/05/99.conf"), &put("/early")),
    ]);
    assert_eq!(runtime(&roots).unwrap(), crio(&["/run/containers/oci/hooks.d"]));
    assert_eq!(default_runtime(&roots).unwrap().unwrap().name, "kata");
    fs::write(roots.path(drop_ins).join("zz"), "[CRIO.Runtime]\nHooks_Dir = []\n").unwrap();
    assert_eq!(runtime(&roots).unwrap(), crio(&[]), "no folder at all; keys in any case");
    // A link to a directory stops CRI-O, too.
    std::os::unix::fs::symlink("site", roots.path(drop_ins).join("link")).unwrap();
    let error = runtime(&roots).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /etc/crio/crio.conf.d/link: "), "{error}");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,80}", values in "[a-z_.= \\[\\]\"\n0-9]{0,60}") {
        let _ = parsed(&text);
        let _ = parsed(&format!("[crio.runtime]\n{values}"));
    }
}

#[test]
fn without_a_word_it_is_the_default_and_without_crio_none() {
    let (_folder, roots) = host(&[("/etc/crio/crio.conf", "[crio.image]\n")]);
    assert_eq!(runtime(&roots).unwrap(), crio(&[DEFAULT]));
    let (_folder, roots) = host(&[]);
    assert_eq!(runtime(&roots).unwrap(), Runtime::Unknown);
    let (_folder, roots) = host(&[(CONTAINERD, "")]);
    assert_eq!(runtime(&roots).unwrap(), Runtime::Containerd);
}

#[test]
fn a_broken_file_is_named() {
    let (_folder, roots) = host(&[("/etc/crio/crio.conf.d/50-x.conf", "hooks_dir = [\n")]);
    let error = runtime(&roots).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /etc/crio/crio.conf.d/50-x.conf: "), "{error}");
    let said = |text: &str| {
        fs::write(roots.path("/etc/crio/crio.conf.d/50-x.conf"), text).unwrap();
        runtime(&roots).unwrap_err()
    };
    let error = said("[crio.runtime]\n  hooks_dir = \"/a\"\n");
    let text = "hooks_dir is not an array of strings (line 2, column 15)";
    assert!(error.to_string().ends_with(text), "{error}");
    let error = said("# x\n[crio.runtime\nhooks_dir = []\n");
    assert!(error.to_string().contains("it is not TOML (line 2, column 14): "), "{error}");
    let remedy = error.remedy(&System::default());
    let from = "/etc/crio/crio.conf.d/50-x.conf";
    assert_eq!(remedy[0], format!("mv --backup=numbered {from} /etc/crio/50-x.conf.off"));
    let files = [PathBuf::from(from)].into();
    let owned = System { pool: Some("worker".to_owned()), files, ..System::default() };
    assert_eq!(error.remedy(&owned)[0], "oc get machineconfig");
}

#[test]
fn the_last_entry_of_the_folder_is_known() {
    let (_folder, roots) = host(&[("/etc/crio/crio.conf", "")]);
    let none = CrioDropIns { folder: DROP_INS.into(), last: None };
    assert_eq!(drop_ins(&roots), none);
    let (_folder, roots) =
        host(&[("/etc/crio/crio.conf.d/99-zz.conf", ""), ("/etc/crio/crio.conf.d/a/b", "")]);
    assert_eq!(drop_ins(&roots).last.as_deref(), Some("a"));
}
