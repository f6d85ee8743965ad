use std::os::unix::fs::symlink;

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

#[test]
fn a_unit_is_masked_in_each_way_that_systemd_has() {
    let (_folder, roots) = host(&[("/usr/lib/systemd/system/a.service", "[Service]\n")]);
    let masked = || find(&roots, "a.service").map(|unit| unit.masked);
    assert_eq!(masked(), Some(false));
    assert_eq!(find(&roots, "b.service"), None);
    for folder in ["/etc/systemd/system", "/run/systemd/system", "/etc/systemd/system.control"] {
        let place = roots.path(folder).join("a.service");
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        for target in ["/dev/null", "../../../dev/null"] {
            symlink(target, &place).unwrap();
            assert_eq!(masked(), Some(true), "{folder} {target}");
            fs::remove_file(&place).unwrap();
        }
        fs::write(&place, "").unwrap();
        assert_eq!(masked(), Some(true), "{folder}: an empty file");
        fs::write(&place, "[Service]\n").unwrap();
        assert_eq!(find(&roots, "a.service").unwrap().path, Path::new(folder).join("a.service"));
        fs::remove_file(&place).unwrap();
    }
    // A directory with lower precedence does not mask.
    fs::create_dir_all(roots.path("/run/systemd/generator.late")).unwrap();
    fs::write(roots.path("/run/systemd/generator.late/a.service"), "").unwrap();
    assert_eq!(masked(), Some(false));
}

#[test]
fn drop_ins_are_those_of_all_names() {
    let unit = "/usr/lib/systemd/system/snap-kubelet-daemon.service";
    let (_folder, roots) = host(&[
        (unit, "main"),
        ("/etc/systemd/system/kubelet.service.d/30.conf", "30"),
        ("/run/systemd/system/snap-.service.d/10.conf", "10"),
        ("/etc/systemd/system/snap-kubelet-.service.d/20.conf", "20"),
        ("/usr/lib/systemd/system/service.d/05.conf", "05"),
        ("/usr/lib/systemd/system/service.d/30.conf", "of all services"),
        ("/usr/lib/systemd/system/snap-kubelet-daemon.service.d/40.conf", "40"),
        ("/etc/systemd/system/snap-kubelet-daemon.service.d/40.conf", ""),
        ("/etc/systemd/system/snap-kubelet-daemon.service.d/50", "no suffix"),
    ]);
    symlink(unit, roots.path("/etc/systemd/system/kubelet.service")).unwrap();
    let unit = find(&roots, "kubelet.service").unwrap();
    assert_eq!(unit.text, "main");
    assert_eq!(unit.drop_ins(&roots), ["05", "10", "20", "30", ""]);
    // A link to a file elsewhere is no other name.
    let (_folder, roots) = host(&[("/opt/x.service", "x"), ("/etc/systemd/system/y", "")]);
    symlink("/opt/x.service", roots.path("/etc/systemd/system/kubelet.service")).unwrap();
    assert_eq!(find(&roots, "kubelet.service").unwrap().name, "kubelet.service");
    symlink("loop.service", roots.path("/etc/systemd/system/loop.service")).unwrap();
    assert_eq!(find(&roots, "loop.service"), None);
}

#[test]
fn a_drop_in_of_a_higher_directory_counts_whatever_prefix_it_has() {
    let (_folder, roots) = host(&[
        ("/usr/lib/systemd/system/a-b.service", "main"),
        ("/usr/lib/systemd/system/a-b.service.d/10.conf", "own"),
        ("/etc/systemd/system/a-.service.d/10.conf", "etc"),
        ("/etc/systemd/system/a-b.service.d/.20.conf", "hidden"),
        ("/etc/systemd/system/a-b.service.d/.conf", "hidden"),
    ]);
    let texts = |name: &str| find(&roots, name).unwrap().drop_ins(&roots);
    assert_eq!(texts("a-b.service"), ["etc"]);
    let (_folder, roots) = host(&[
        ("/usr/lib/systemd/system/a-b@.service", "template"),
        ("/etc/systemd/system/a-b@c.service.d/1.conf", "1"),
        ("/etc/systemd/system/a-b@.service.d/2.conf", "2"),
        ("/etc/systemd/system/a-@.service.d/3.conf", "3"),
        ("/etc/systemd/system/a-@c.service.d/4.conf", "4"),
        ("/etc/systemd/system/a-.service.d/5.conf", "of the template"),
        ("/usr/lib/systemd/system/a-b@c.service.d/4.conf", "hidden by etc"),
    ]);
    let names: Vec<_> = drop_ins(&roots, "a-b@c.service")
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["1.conf", "2.conf", "3.conf", "4.conf", "5.conf"]);
    let fourth = &drop_ins(&roots, "a-b@c.service")[3];
    assert!(fourth.starts_with("/etc/systemd/system/a-@c.service.d"), "{fourth:?}");
    let mut levels = Vec::new();
    push_levels("a-b@c.service", &mut levels);
    let expected = ["a-b@c.service", "a-b@.service", "a-.service", "a-@c.service", "a-@.service"];
    assert_eq!(levels, expected);
}

#[test]
fn all_names_of_a_unit_give_it_drop_ins() {
    let (_folder, roots) = host(&[
        ("/usr/lib/systemd/system/crio.service", "main"),
        ("/usr/lib/systemd/system/other.service", "other"),
        ("/etc/systemd/system/cri-o.service.d/10.conf", "of a link"),
        ("/etc/systemd/system/runtime.service.d/20.conf", "of a link to a link"),
        ("/etc/systemd/system/hidden.service.d/30.conf", "of a link that does not count"),
        ("/etc/systemd/system/crio.service.d/10.conf", "its own name counts first"),
        ("/etc/systemd/system/crio.slice", "another type"),
    ]);
    for (link, to) in [
        ("/etc/systemd/system/cri-o.service", "/usr/lib/systemd/system/crio.service"),
        ("/run/systemd/system/runtime.service", "../../../etc/systemd/system/cri-o.service"),
        ("/usr/lib/systemd/system/hidden.service", "crio.service"),
        ("/etc/systemd/system/hidden.service", "/usr/lib/systemd/system/other.service"),
        // systemd ignores these two.
        ("/run/systemd/system/crio.service", "crio.slice"),
        ("/etc/systemd/system/crio.service", "/usr/lib/systemd/system/crio.service"),
    ] {
        fs::create_dir_all(roots.path(link).parent().unwrap()).unwrap();
        symlink(to, roots.path(link)).unwrap();
    }
    for name in ["crio.service", "cri-o.service", "runtime.service"] {
        let unit = find(&roots, name).unwrap();
        assert_eq!((&*unit.name, &*unit.text), ("crio.service", "main"), "{name}");
        let expected = ["its own name counts first", "of a link to a link"];
        assert_eq!(unit.drop_ins(&roots), expected, "{name}");
    }
    fs::remove_file(roots.path("/usr/lib/systemd/system/other.service")).unwrap();
    assert_eq!(find(&roots, "hidden.service"), None, "a link that leads nowhere");
}

#[test]
fn links_lead_below_the_root() {
    let (_folder, roots) = host(&[
        ("/opt/units/a.service", "main"),
        ("/opt/drop-ins/10.conf", "10"),
        ("/opt/file", "20"),
        ("/usr/lib/systemd/system/b.service", "b"),
    ]);
    for (link, to) in [
        ("/etc/systemd/system", "/opt/units"),
        ("/opt/units/a.service.d", "/opt/drop-ins"),
        ("/opt/drop-ins/20.conf", "/opt/file"),
        ("/lib", "/usr/lib"),
        ("/opt/units/c.service", "/lib/systemd/system/b.service"),
    ] {
        fs::create_dir_all(roots.path(link).parent().unwrap()).unwrap();
        symlink(to, roots.path(link)).unwrap();
    }
    let unit = find(&roots, "a.service").unwrap();
    assert_eq!(unit.path, Path::new("/etc/systemd/system/a.service"));
    assert_eq!(unit.drop_ins(&roots), ["10", "20"]);
    assert_eq!(find(&roots, "c.service").unwrap().name, "b.service");
    assert_eq!(
        find_drop_in(&roots, "a.service.d/20.conf").unwrap().file_name().unwrap(),
        "20.conf"
    );
    let served = all_drop_in_folders(&roots);
    assert_eq!(served, [("a.service".to_owned(), "/etc/systemd/system/a.service.d".into())]);
    symlink("loop", roots.path("/opt/loop")).unwrap();
    assert_eq!(followed(&roots, Path::new("/opt/loop/x")), None);
    assert_eq!(followed(&roots, Path::new("/../opt/./units/../file")), Some("/opt/file".into()));
}

#[test]
fn sections_are_read_as_systemd_does() {
    let mut keys = Vec::new();
    in_section(
        "\u{feff}[S]\nA=1\\\n# c\n  2\nB=x\\\\\nC = 3 \n[T]\nD=4\n[S]\nE\n",
        "S",
        |key, value| {
            keys.push(format!("{key}={value}"));
        },
    );
    assert_eq!(keys, ["A=1   2", "B=x\\\\", "C=3"]);
}
