//! Commands that several remedies share: they set a key of the configuration, change the kernel's
//! command line, or change a file that OpenShift's Machine Config Operator owns.

use std::{fmt::Write, io::ErrorKind, path::Path};

use serde_json::{Value, json};

use crate::model::{
    origin::{Origins, SettingOrigin},
    shell::quoted,
    system::System,
};

/// Has the agent load its configuration, also while it is not running.
pub const RELOAD: &str = "systemctl reload-or-restart wasp-agent";

const DROP_INS: &str = "/etc/wasp-agent/config.d";

/// Returns commands that set `keys`, which are in the same table, to values of TOML, in a file that
/// no other overrides. `own` names this file, so that remedies do not overwrite each other.
pub fn set(origins: &Origins, own: &str, keys: &[(&str, &str)]) -> Vec<String> {
    let mut name = format!("99-check-{own}.toml");
    let (mut lines, mut unset) = (Vec::new(), Vec::new());
    for (key, _) in keys {
        match origins.get(key) {
            Some(SettingOrigin::File { path, line, .. })
                if path.ends_with("sysconfig/wasp-agent") =>
            {
                let path = quoted(&path.display().to_string());
                lines.push(format!("sed -i --follow-symlinks '{line}s/^/# /' {path}"));
            }
            // The last drop-in by name counts.
            Some(SettingOrigin::File { path, .. }) if path.parent().is_some_and(is_drop_ins) => {
                let set_by = path.file_name().unwrap_or_default().to_string_lossy();
                name = winning(&name, Some(&set_by));
            }
            // The environment counts more than any file.
            Some(SettingOrigin::Environment { name }) => unset.push(*name),
            _ => {}
        }
    }
    let mut text = String::new();
    for (at, (key, value)) in keys.iter().enumerate() {
        let (table, last) = key.rsplit_once('.').map_or((None, *key), |(t, last)| (Some(t), last));
        if let Some(table) = table.filter(|_| at == 0) {
            let _ = write!(text, r"[{table}]\n");
        }
        let value = value.replace('\\', r"\\").replace('%', "%%");
        let _ = write!(text, r"{last} = {value}\n");
    }
    let path = quoted(&format!("{DROP_INS}/{name}"));
    lines.push(format!("printf {} > {path}", quoted(&text)));
    lines.extend(unset_variables(&unset));
    lines
}

/// Returns `own`, or a name with this end that sorts after `last`.
pub fn winning(own: &str, last: Option<&str>) -> String {
    match last {
        Some(last) if last > own && last.ends_with(own) => last.to_owned(),
        Some(last) if last > own => format!("{last}-{own}"),
        _ => own.to_owned(),
    }
}

/// Returns commands that remove variables from the service's environment, wherever they are set, and
/// have the agent load its configuration.
fn unset_variables(names: &[&str]) -> Vec<String> {
    if names.is_empty() {
        return vec![RELOAD.to_owned()];
    }
    let folder = "/etc/systemd/system/wasp-agent.service.d";
    // A file for each set of variables, so that one remedy does not take back another.
    let own = names.join("-");
    let names = names.join(" ");
    vec![
        format!("mkdir -p {folder}"),
        format!(r"printf '[Service]\nUnsetEnvironment={names}\n' > {folder}/99-check-{own}.conf"),
        "systemctl daemon-reload".to_owned(),
        "systemctl restart wasp-agent".to_owned(),
    ]
}

fn is_drop_ins(folder: &Path) -> bool {
    folder.ends_with("wasp-agent/config.d")
}

/// Returns commands that add an argument to the kernel's command line.
pub fn boot_with(system: &System, argument: &str) -> Vec<String> {
    let then = "# then drain the node and reboot it".to_owned();
    match (&system.pool, system.is_image) {
        (Some(pool), _) => {
            let spec = json!({ "kernelArguments": [argument] });
            vec![apply(&machine_config(pool, argument, &spec)), rollout(pool)]
        }
        (None, true) => {
            vec![format!("rpm-ostree kargs --append-if-missing={}", quoted(argument)), then]
        }
        (None, false) => {
            vec![format!("grubby --update-kernel=ALL --args={}", quoted(argument)), then]
        }
    }
}

/// Returns commands that remove an argument from the kernel's command line.
pub fn boot_without(system: &System, argument: &str) -> Vec<String> {
    let then = "# then drain the node and reboot it".to_owned();
    let name = argument.split('=').next().unwrap_or(argument);
    match (&system.pool, system.is_image) {
        (Some(pool), _) => vec![
            "oc get machineconfig -o custom-columns=NAME:.metadata.name,ARGUMENTS:.spec.kernelArguments"
                .to_owned(),
            format!("# then remove {argument} from the one that has it, and wait for pool {pool}"),
        ],
        (None, true) => {
            vec![format!("rpm-ostree kargs --delete-if-present={}", quoted(argument)), then]
        }
        (None, false) => vec![format!("grubby --update-kernel=ALL --remove-args={name}"), then],
    }
}

/// Returns commands that write a file on a node of OpenShift, for its whole pool.
pub fn file_by_pool(pool: &str, own: &str, path: &Path, text: &str) -> Vec<String> {
    let source = text.bytes().fold("data:,".to_owned(), |mut all, byte| {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) => {
                all.push(char::from(byte));
            }
            byte => {
                let _ = write!(all, "%{byte:02X}");
            }
        }
        all
    });
    let file = json!({
        "path": path, "mode": 420, "overwrite": true, "contents": { "source": source },
    });
    let spec = json!({
        "config": { "ignition": { "version": "3.2.0" }, "storage": { "files": [file] } },
    });
    vec![apply(&machine_config(pool, own, &spec)), rollout(pool)]
}

/// Returns the steps for a file whose content a MachineConfig contains.
pub fn correct_in_pool(pool: &str, path: &Path) -> Vec<String> {
    let path = path.display();
    vec![
        "oc get machineconfig".to_owned(),
        format!("# then correct {path} in the one that contains it, and wait for pool {pool}"),
    ]
}

/// Returns the step after a change of a pool.
pub fn rollout(pool: &str) -> String {
    format!(
        "# then wait until the nodes of the pool have the change: oc get machineconfigpool {pool}"
    )
}

/// Returns a command for an administrator of the cluster.
pub fn apply(object: &Value) -> String {
    format!("echo {} | oc apply -f -", quoted(&object.to_string()))
}

fn machine_config(pool: &str, own: &str, spec: &Value) -> Value {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let own: String = own.chars().map(plain).collect();
    json!({
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfig",
        "metadata": {
            "name": format!("99-{pool}-wasp-agent-{own}"),
            "labels": { "machineconfiguration.openshift.io/role": pool },
        },
        "spec": spec,
    })
}

/// Returns commands for a file of the agent that cannot be written, by the kernel's error.
pub fn unwritable(file: &Path, error: ErrorKind) -> Vec<String> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let aside = |path: &Path| {
        let path = path.display().to_string();
        let off = quoted(&format!("{path}.off"));
        format!("mv --backup=numbered {} {off}", quoted(&path))
    };
    let at_its_place = match error {
        ErrorKind::NotADirectory => Some(aside(folder)),
        ErrorKind::IsADirectory | ErrorKind::DirectoryNotEmpty => Some(aside(file)),
        _ => None,
    };
    let folder = quoted(&folder.display().to_string());
    let look = format!("ls -ld {folder}");
    let restart = "systemctl restart wasp-agent".to_owned();
    if let Some(aside) = at_its_place {
        return vec![aside, restart];
    }
    match error {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => vec![
            format!("df -h {folder}"),
            format!("df -i {folder}"),
            "# then remove large files there".to_owned(),
        ],
        ErrorKind::ReadOnlyFilesystem => {
            vec![format!("mount -o remount,rw \"$(findmnt -n -o TARGET -T {folder})\""), restart]
        }
        ErrorKind::PermissionDenied => vec![look, format!("lsattr -d {folder}"), restart],
        // systemd makes a missing directory at a start.
        _ => vec![look, restart],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, line: usize) -> SettingOrigin {
        SettingOrigin::File { path: path.into(), line, removal: Vec::new() }
    }

    #[test]
    fn a_key_is_set_where_nothing_overrides_it() {
        let mut origins = Origins::new();
        let lines = |origins: &Origins| set(origins, "zswap", &[("kernel.zswap", "\"on\"")]);
        let written = |name: &str| {
            format!(r#"printf '[kernel]\nzswap = "on"\n' > /etc/wasp-agent/config.d/{name}"#)
        };
        assert_eq!(lines(&origins), [written("99-check-zswap.toml"), RELOAD.to_owned()]);
        origins.insert("kernel.zswap", file("/etc/wasp-agent/config.d/50-site.toml", 2));
        assert_eq!(lines(&origins)[0], written("99-check-zswap.toml"));
        origins.insert("kernel.zswap", file("/etc/wasp-agent/wasp-agent.toml", 2));
        assert_eq!(lines(&origins)[0], written("99-check-zswap.toml"));
        origins.insert("kernel.zswap", file("/run/wasp-agent/config.d/99-zz.toml", 2));
        let own = "99-zz.toml-99-check-zswap.toml";
        assert_eq!(lines(&origins)[0], written(own));
        // The remedy of an earlier time is replaced.
        let earlier = format!("/etc/wasp-agent/config.d/{own}");
        origins.insert("kernel.zswap", file(&earlier, 2));
        assert_eq!(lines(&origins)[0], written(own));
        origins.insert("kernel.zswap", file("/etc/sysconfig/wasp-agent", 3));
        let comment = "sed -i --follow-symlinks '3s/^/# /' /etc/sysconfig/wasp-agent";
        assert_eq!(lines(&origins)[..2], [comment.to_owned(), written("99-check-zswap.toml")]);
        origins.insert("kernel.zswap", SettingOrigin::Environment { name: "ZSWAP" });
        let unset = "printf '[Service]\\nUnsetEnvironment=ZSWAP\\n' > \
                     /etc/systemd/system/wasp-agent.service.d/99-check-ZSWAP.conf";
        assert_eq!(lines(&origins)[2], unset);
        assert_eq!(lines(&origins).last().unwrap(), "systemctl restart wasp-agent");
        let percent = set(&Origins::new(), "swap", &[("overcommit-percent", "150")]);
        let line =
            r"printf 'overcommit-percent = 150\n' > /etc/wasp-agent/config.d/99-check-swap.toml";
        assert_eq!(percent[0], line);
    }

    #[test]
    fn each_system_has_its_own_command_for_the_kernel() {
        let rhel = System::default();
        assert_eq!(boot_with(&rhel, "psi=1")[0], "grubby --update-kernel=ALL --args=psi=1");
        let without = |system: &System| boot_without(system, "swapaccount=0").join("; ");
        assert!(
            without(&rhel).starts_with("grubby --update-kernel=ALL --remove-args=swapaccount;")
        );
        let image = System { is_image: true, ..System::default() };
        assert_eq!(boot_with(&image, "psi=1")[0], "rpm-ostree kargs --append-if-missing=psi=1");
        assert!(without(&image).starts_with("rpm-ostree kargs --delete-if-present=swapaccount=0"));
        let pool = System { pool: Some("infra".to_owned()), ..image };
        let applied = &boot_with(&pool, "psi=1")[0];
        assert!(applied.ends_with(" | oc apply -f -"), "{applied}");
        assert!(applied.contains(r#""name":"99-infra-wasp-agent-psi-1""#), "{applied}");
        assert!(applied.contains(r#""kernelArguments":["psi=1"]"#), "{applied}");
        assert!(without(&pool).contains("oc get machineconfig"), "{}", without(&pool));
    }

    #[test]
    fn a_file_of_a_pool_is_text_of_a_machine_config() {
        let lines = file_by_pool("worker", "x", Path::new("/etc/x"), "a = \"b\"\n");
        assert!(lines[0].contains(r#""source":"data:,a%20%3D%20%22b%22%0A""#), "{lines:?}");
        assert!(lines[0].contains(r#""path":"/etc/x""#), "{lines:?}");
    }

    #[test]
    fn a_folder_that_takes_no_file_is_named() {
        let told = |error| unwritable(Path::new("/run/wasp-agent/x.json"), error).join("; ");
        assert!(told(ErrorKind::StorageFull).starts_with("df -h /run/wasp-agent; "));
        assert!(
            told(ErrorKind::ReadOnlyFilesystem).contains("findmnt -n -o TARGET -T /run/wasp-agent")
        );
        assert!(told(ErrorKind::PermissionDenied).contains("lsattr -d /run/wasp-agent"));
        let aside = "mv --backup=numbered /run/wasp-agent";
        assert!(
            told(ErrorKind::NotADirectory).starts_with(&format!("{aside} /run/wasp-agent.off; "))
        );
        assert!(
            told(ErrorKind::IsADirectory)
                .starts_with(&format!("{aside}/x.json /run/wasp-agent/x.json.off"))
        );
        assert!(told(ErrorKind::NotFound).starts_with("ls -ld /run/wasp-agent; systemctl restart"));
    }
}
