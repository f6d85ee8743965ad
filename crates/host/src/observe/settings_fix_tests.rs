//! The fixes of wrong configurations, pasted into a shell.

use std::{fs, os::unix::fs::symlink};

use super::{tests::host, *};
use crate::{decide::check::without_wrong_lines, model::system::System};

/// Pastes the fix into a shell, on the files of this host; commands of the agent and of systemd are
/// left out.
fn paste(roots: &Roots, fix: &[String]) {
    let etc = roots.path("/etc");
    for line in fix.iter().filter(|line| line.starts_with("sed ") || line.starts_with("mv ")) {
        let line = line.replace("/etc", etc.to_str().unwrap());
        let status = std::process::Command::new("sh").args(["-c", &line]).status().unwrap();
        assert!(status.success(), "{line}");
    }
}

const DROP_IN: &str = "/etc/wasp-agent/config.d/95-x.toml";

/// Returns the configuration after its fix was pasted.
fn fixed(roots: &Roots) -> Resolved {
    let problems = super::load(roots, |_| None).unwrap_err();
    paste(roots, &without_wrong_lines(&System::default(), &problems));
    super::load(roots, |_| None).unwrap().1
}

#[test]
fn a_fix_removes_the_wrong_settings_and_no_other() {
    let sustain = "eviction.traffic.sustain-seconds";
    for (text, kept) in [
        // The keys of a table whose name is wrong must not become part of the table before it.
        (
            "[eviction.traffic]\nsustain-seconds = 5\n\n[eviction.presure]\nenabled = false\n",
            vec![(sustain, "5"), ("eviction.traffic.enabled", "true")],
        ),
        (
            "[evicton]\n# why\nmode = \"off\"\nx = [\n1,\n]\n[node]\nname = \"a\"\n",
            vec![("node.name", "\"a\""), ("eviction.mode", "\"enforce\"")],
        ),
        (
            "[odd]\na = 1\n[node]\nname = \"a\"\n[odd.more]\nb = 2\n[log]\nverbosity = 3\n",
            vec![("node.name", "\"a\""), ("log.verbosity", "3")],
        ),
        (
            "[[limits]]\nrepair = false\n[[limits]]\nrepair = true\n[node]\nname = \"a\"\n",
            vec![("node.name", "\"a\""), ("limits.repair", "true")],
        ),
        (
            "[overcommit-percent]\nvalue = 150\n[node]\nname = \"a\"\n",
            vec![("node.name", "\"a\""), ("overcommit-percent", "100")],
        ),
        // Values over several lines.
        (
            "[limits]\nno-swap-namespaces = [\n  \"a\",\n  3,\n]\nrepair = false\n",
            vec![("limits.repair", "false"), ("limits.no-swap-namespaces", "[]")],
        ),
        (
            "[limits]\nodd = [\n  \"a\",\n\n  \"b\" ] # why\nrepair = false\n",
            vec![("limits.repair", "false")],
        ),
        (
            "[node]\nnam = \"\"\"\na\nname = \"x\"\n\"\"\"\nkubeconfig = \"/k\"\n",
            vec![("node.kubeconfig", "\"/k\""), ("node.name", "\"\"")],
        ),
        // Inline tables and dotted keys.
        (
            "[eviction]\ntraffic = { sustian = 1, sustain-seconds = 5 }\nmode = \"off\"\n",
            vec![(sustain, "5"), ("eviction.mode", "\"off\"")],
        ),
        (
            "[eviction]\ntraffic = { sustain-seconds = 5, sustian = 1 }\nmode = \"off\"\n",
            vec![(sustain, "5"), ("eviction.mode", "\"off\"")],
        ),
        (
            "[eviction]\ntraffic = { a.b = \"x\", sustain-seconds = 5, a.c = 2,c.d = 1 }\n",
            vec![(sustain, "5")],
        ),
        (
            "[eviction]\ntraffic = { a = 1, b = 2, sustain-seconds = 5, c = 3, d = 4 }\n",
            vec![(sustain, "5")],
        ),
        (
            "[eviction]\ntraffic = { sustian = \"\u{fc}\" }\nmode = \"off\" # \u{fc}\n",
            vec![("eviction.mode", "\"off\"")],
        ),
        (
            "eviction.traffic.sustain-seconds = 5\neviction.traffic.odd = 1\neviction.odd.x = 2\n",
            vec![(sustain, "5")],
        ),
        ("eviction = 3\ngrants = \"agent\"\n", vec![("grants", "\"agent\"")]),
        // Not TOML.
        ("[node]\nname = \"a\nkubeconfig = \"/k\"\n", vec![("node.kubeconfig", "\"/k\"")]),
        (
            "[node]\nname = \"a\"\nname = \"b\"\nkubeconfig = \"/k\"\n",
            vec![("node.kubeconfig", "\"/k\""), ("node.name", "\"a\"")],
        ),
        (
            "[log]\nverbosity = 3\n[eviction.traffic\nsustain-seconds = 5\n[node]\nname = \"a\"\n",
            vec![("log.verbosity", "3"), ("node.name", "\"a\""), (sustain, "0")],
        ),
        ("log.verbosity = 3\r\novercommit percent = 150\r\n", vec![("log.verbosity", "3")]),
        // No line alone is wrong: the file is set aside.
        (
            "[limits]\nno-swap-namespaces = [ \"a\",\nrepair = false\n",
            vec![("limits.repair", "true")],
        ),
        ("a\nb\nc\nd\nlog.verbosity = 3\n", vec![("log.verbosity", "1")]),
        // Values that contradict a default, or each other.
        (
            "[swap]\nkind = \"partition\"\nsize = \"1Gi\"\n",
            vec![("swap.kind", "\"file\""), ("swap.size", "\"1Gi\"")],
        ),
        (
            "limits.follow-seconds = 60\nlimits.resync-seconds = 20\n",
            vec![("limits.resync-seconds", "20")],
        ),
    ] {
        let (_folder, roots) = host(&[(DROP_IN, text)]);
        assert!(super::load(&roots, |_| None).is_err(), "{text}");
        let left = fixed(&roots);
        for (key, value) in kept {
            assert_eq!(left.get(key).unwrap().0.to_string(), value, "{key} of {text}");
        }
    }
}

#[test]
fn a_drop_in_that_is_no_text_is_reported_and_its_fix_loses_nothing() {
    let put = |what: &str, roots: &Roots, file: &Path| match what {
        "a link to nothing" => symlink("/srv/gone.toml", file).unwrap(),
        "a link to itself" => symlink("95-x.toml", file).unwrap(),
        "a directory" => fs::create_dir(file).unwrap(),
        "a pipe" => nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRUSR).unwrap(),
        "a link to a directory" => symlink(roots.path("/etc"), file).unwrap(),
        _ => fs::write(file, b"# Gr\xfc\xdfe\novercommit-percent = 150\n").unwrap(),
    };
    for (what, text) in [
        ("a link to nothing", "it is a link to /srv/gone.toml, which does not exist"),
        ("a link to itself", "it is a chain of too many links"),
        ("a directory", "not a regular file"),
        ("a link to a directory", ""),
        ("a pipe", "not a regular file"),
        ("Latin-1", "it is not UTF-8"),
    ] {
        let aside = "/etc/wasp-agent/config.d/95-x.toml.off";
        let (_folder, roots) = host(&[(aside, "of last year")]);
        let file = roots.path(DROP_IN);
        put(what, &roots, &file);
        let problems = super::load(&roots, |_| None).unwrap_err();
        let shown = problems.0[0].to_string();
        assert!(
            shown.starts_with(&format!("{DROP_IN}: cannot be read: {text}")),
            "{what}: {shown}"
        );
        fixed(&roots);
        let left = fs::read_dir(file.parent().unwrap()).unwrap().count();
        assert_eq!(left, 2, "{what}");
        assert!(roots.path(aside).symlink_metadata().is_ok());
    }
}

#[test]
fn a_drop_in_may_be_a_link() {
    let site = "/srv/site.toml";
    let (_folder, roots) = host(&[(site, "log.verbosity = 3\n"), (DROP_IN, "")]);
    let file = roots.path(DROP_IN);
    for target in [site, "../../../srv/site.toml"] {
        fs::remove_file(&file).unwrap();
        symlink(target, &file).unwrap();
        let (settings, resolved) = super::load(&roots, |_| None).unwrap();
        assert_eq!(settings.verbosity, 3, "{target}");
        let origin = resolved.get("log.verbosity").unwrap().1.to_string();
        assert_eq!(origin, format!("{DROP_IN}:1"));
    }
}

#[test]
fn files_that_are_not_read_get_a_free_name() {
    let good = "log.verbosity = 3\n";
    let (_folder, roots) = host(&[
        ("/etc/wasp-agent/config.d/90-site.toml", "overcommit-percent = 150\n"),
        ("/etc/wasp-agent/config.d/90-site.conf", good),
        ("/etc/wasp-agent/config.d/91-a.conf", good),
        ("/etc/wasp-agent/config.d/91-a.yaml", "log:\n  verbosity: 3\n"),
        ("/etc/wasp-agent/config.d/92-a.TOML", good),
        ("/etc/wasp-agent/config.d/92-a.txt", good),
        ("/etc/wasp-agent/config.d/93-a", good),
        ("/etc/wasp-agent/config.d/94-a.toml.bak", good),
        ("/etc/wasp-agent/config.d/94-a.toml.rpmsave", good),
        ("/etc/wasp-agent/config.d/94-a.toml~", good),
        ("/etc/wasp-agent/config.d/.94-a.toml.swp", good),
        ("/etc/wasp-agent/config.d/README", good),
        ("/etc/wasp-agent/96-a.toml", good),
        ("/etc/wasp-agent/conf.d/97-a.toml", good),
        ("/etc/wasp-agent/wasp-agent.toml", good),
    ]);
    let found: Vec<String> = not_read(&roots)
        .into_iter()
        .map(|file| {
            let folder = "/etc/wasp-agent/";
            let short = |path: &Path| path.display().to_string().replace(folder, "");
            format!("{} {}", short(&file.path), short(&file.target))
        })
        .collect();
    let expected = [
        "96-a.toml config.d/96-a.toml",
        "conf.d/97-a.toml config.d/97-a.toml",
        "config.d/90-site.conf config.d/90-site.conf.off",
        "config.d/91-a.conf config.d/91-a.toml",
        "config.d/91-a.yaml config.d/91-a.yaml.off",
        "config.d/92-a.TOML config.d/92-a.toml",
        "config.d/92-a.txt config.d/92-a.txt.off",
        "config.d/93-a config.d/93-a.toml",
    ];
    assert_eq!(found, expected);
    paste(
        &roots,
        &crate::decide::check::not_read(&System::default(), &not_read(&roots)).unwrap().1,
    );
    assert_eq!(not_read(&roots), []);
    let (settings, resolved) = super::load(&roots, |_| None).unwrap();
    assert_eq!(settings.verbosity, 3);
    assert_eq!(resolved.get("overcommit-percent").unwrap().0.to_string(), "150");
}
