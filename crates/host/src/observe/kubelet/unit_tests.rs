use super::*;

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Recorded from systemd 252's 30-systemd-environment-d-generator, which uses the same
/// function.
#[test]
fn environment_files_are_read_as_systemd_does() {
    for (text, expected) in [
        ("A=1\nB=2\n", vec![("A", "1"), ("B", "2")]),
        ("# c\n; d\nA = x y  \n", vec![("A", "x y")]),
        ("A=\"x y\"\n", vec![("A", "x y")]),
        ("A='x \\n y'\n", vec![("A", "x \\n y")]),
        ("A=\"x\" \"y\"\n", vec![("A", "xy")]),
        ("A='x' y\n", vec![("A", "xy")]),
        ("A=\"x\"y\n", vec![("A", "xy")]),
        ("A=x\"y\"\n", vec![("A", "x\"y\"")]),
        ("A=a\\\nb\n", vec![("A", "ab")]),
        ("A=\"a\\\nb\"\n", vec![("A", "ab")]),
        ("A=x \\\n  y\n", vec![("A", "x   y")]),
        ("A=a\\nb\n", vec![("A", "anb")]),
        ("A= \\ x\n", vec![("A", " x")]),
        ("A=\"a\\\"b\\nc\"\n", vec![("A", "a\"b\\nc")]),
        ("A=a\\\"b\n", vec![("A", "a\"b")]),
        ("A='x'\\\n'y'\n", vec![("A", "x'y'")]),
        ("A='x\ny'\n", vec![("A", "x\ny")]),
        ("A=\"x\ny\"\n", vec![("A", "x\ny")]),
        ("# c \\\nA=1\nB=2\n", vec![("B", "2")]),
        ("A=1\r\nB=2\r\n", vec![("A", "1"), ("B", "2")]),
        ("A=x # y\n", vec![("A", "x # y")]),
        ("A=#x\n", vec![("A", "#x")]),
        ("A=b c\td \n", vec![("A", "b c\td")]),
        (" A=1\n\tB=2\n", vec![("A", "1"), ("B", "2")]),
        ("A=a\\", vec![("A", "a")]),
        ("export A=1\nB=2", vec![("B", "2")]),
        ("1A=1\nA-B=1\nA", vec![]),
        ("=1\nB=2\n", vec![("B", "2")]),
        ("A==1\n", vec![("A", "=1")]),
        ("A=it's\n", vec![("A", "it's")]),
    ] {
        let expected: Vec<_> =
            expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(environment_file(text), expected, "{text:?}");
    }
}

/// Examples from systemd.service(5).
#[test]
fn command_lines_are_those_of_the_manual() {
    let mut service = Service::default();
    service.read(
        "kubelet.service",
        "[Service]\nEnvironment=\"ONE=one\" 'TWO=two two'\nExecStart=echo $ONE $TWO ${TWO}\n",
    );
    let line = service.command_line(|_| None);
    assert_eq!(line, owned(&["echo", "one", "two", "two", "two two"]));
}

#[test]
fn variables_become_words_or_texts() {
    let environment: Environment =
        [("ARGS", "--a=1 '--b=x y' --c=\"z\""), ("ONE", "x y"), ("EMPTY", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    for (word, expected) in [
        ("$ARGS", owned(&["--a=1", "--b=x y", "--c=z"])),
        ("${ARGS}", owned(&["--a=1 '--b=x y' --c=\"z\""])),
        ("--x=${ONE}", owned(&["--x=x y"])),
        ("--x=$ONE", owned(&["--x=$ONE"])),
        ("$EMPTY", vec![]),
        ("${EMPTY}", owned(&[""])),
        ("$NONE", vec![]),
        ("$$ONE", owned(&["$ONE"])),
        ("a$", owned(&["a$"])),
        ("${", owned(&["${"])),
    ] {
        assert_eq!(expand(&owned(&[word]), &environment), expected, "{word}");
    }
}

/// systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers"; systemd.syntax(7).
#[test]
fn quotes_specifiers_and_escapes_are_systemds() {
    let of = |line: &str| {
        let mut service = Service::default();
        service.read("kubelet.service", &format!("[Service]\nExecStart={line}\n"));
        service.command_line(|_| None)
    };
    for (line, expected) in [
        ("/k \"--config\" '/a b'", &["/k", "--config", "/a b"][..]),
        ("/k \"--config=/a b\"", &["/k", "--config=/a b"]),
        ("/k --config=\"/a b\"", &["/k", "--config=/a b"]),
        ("/k --config=%S/%p/config.yaml", &["/k", "--config=/var/lib/kubelet/config.yaml"]),
        ("/k --config=%E/k --x=%t/y%i", &["/k", "--config=/etc/k", "--x=/run/y"]),
        ("/k \\x2d\\x2dconfig=/a", &["/k", "--config=/a"]),
        ("/k --a \\\n  ; comment\n  --b", &["/k", "--a", "--b"]),
        ("/k\t--a   --b\t", &["/k", "--a", "--b"]),
    ] {
        assert_eq!(of(line), owned(expected), "{line}");
    }
}

#[test]
fn a_variable_may_go_on_over_lines() {
    let text = "KUBELET_ARGS=\"--config=/a \\\n  --fail-swap-on=false\" \nEMPTY=\n";
    let environment: Environment = environment_file(text).into_iter().collect();
    let words = expand(&owned(&["$KUBELET_ARGS", "$EMPTY"]), &environment);
    assert_eq!(words[..2], owned(&["--config=/a", "--fail-swap-on=false"]));
}

#[test]
fn a_unit_is_read_with_its_drop_ins() {
    let mut service = Service::default();
    service.read(
        "kubelet.service",
        "[Unit]\nExecStart=/no\n[Service]\nEnvironment=\"A=x y\" B=2\n\
         EnvironmentFile=-/etc/k.env\nExecStart=/usr/bin/kubelet \\\n# c\n  --x=1 $A\n",
    );
    assert_eq!(service.command, owned(&["/usr/bin/kubelet", "--x=1", "$A"]));
    service.read(
        "kubelet.service",
        "[Service]\nExecStart=\nExecStart=-@/bin/w kubelet \"--y=%%\" ${A} \\x41\n",
    );
    assert_eq!(service.command, owned(&["/bin/w", "--y=%", "${A}", "A"]));
    let line = service.command_line(|path| {
        assert_eq!(path, &PathBuf::from("/etc/k.env"));
        Some("B=3\nA='a b'".to_owned())
    });
    assert_eq!(line, owned(&["/bin/w", "--y=%", "a b", "A"]));
}
