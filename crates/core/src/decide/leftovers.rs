//! Reports what the DaemonSet agent has left on the node, other than its hook.

use std::path::Path;

use super::{devices::room_for, hook::listed};
use crate::model::{
    check::{Leftovers, SwapArea},
    shell,
    system::System,
    trouble::{Problem, Trouble},
};

/// Reports the DaemonSet's units and its swapfile, with the commands that remove them.
pub fn remains(
    leftovers: &Leftovers,
    system: &System,
    areas: &[SwapArea],
    available_bytes: Option<u64>,
) -> Option<Problem> {
    let Leftovers { units, swapfile, .. } = leftovers;
    let by_unit = (!units.is_empty())
        .then(|| format!("{} from the DaemonSet's MachineConfig", listed(units)));
    let by_file = swapfile.as_ref().map(|(path, is_on)| match is_on {
        true => format!("the swapfile of the DaemonSet, {}, is in use", path.display()),
        false => format!(
            "{} is not in use; the DaemonSet's MachineConfig creates such a swapfile",
            path.display()
        ),
    });
    let texts: Vec<String> = by_unit.into_iter().chain(by_file).collect();
    if texts.is_empty() {
        return None;
    }
    let mut remedy = match &system.pool {
        _ if units.is_empty() => Vec::new(),
        Some(_) => vec![
            "oc get machineconfig".to_owned(),
            "# then delete the one that contains them; the order is in \
             /usr/share/doc/wasp-agent/docs/migration.md"
                .to_owned(),
        ],
        None => without_units(units),
    };
    if let Some((path, is_on)) = swapfile {
        let quoted = shell::path(path);
        if *is_on {
            let its = areas.iter().filter(|area| Path::new(&area.device.path) == path);
            // The status line shows a manual step only if it is the first.
            remedy.splice(0..0, room_for(its, available_bytes));
            remedy.push(format!("swapoff {quoted}"));
        }
        remedy.push(format!("rm {quoted}"));
        if *is_on {
            remedy.push("systemctl restart wasp-swap".to_owned());
        }
    }
    Some(Problem::new(Trouble::Leftovers, texts.join("; ")).with_remedy(remedy))
}

/// Returns commands that remove units which no other program owns.
fn without_units(units: &[std::path::PathBuf]) -> Vec<String> {
    let names: Vec<String> =
        units.iter().filter_map(|unit| Some(shell::quoted(unit.file_name()?.to_str()?))).collect();
    let paths: Vec<String> = units.iter().map(|unit| shell::path(unit)).collect();
    vec![
        format!("systemctl disable {}", names.join(" ")),
        format!("rm {}", paths.join(" ")),
        "systemctl daemon-reload".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_the_swapfile_are_removed_where_they_come_from() {
        let (rhel, mut left) = (System::default(), Leftovers::default());
        assert_eq!(remains(&left, &rhel, &[], None), None);
        left.units = vec!["/etc/systemd/system/swap-provision.service".into()];
        let problem = remains(&left, &rhel, &[], None).unwrap();
        assert!(problem.text.contains("swap-provision.service from the DaemonSet's MachineConfig"));
        assert_eq!(problem.remedy[0], "systemctl disable swap-provision.service");
        left.swapfile = Some(("/var/tmp/swapfile".into(), true));
        let problem = remains(&left, &rhel, &[], None).unwrap();
        assert!(problem.text.ends_with("/var/tmp/swapfile, is in use"), "{problem:?}");
        assert_eq!(problem.remedy[3..5], ["swapoff /var/tmp/swapfile", "rm /var/tmp/swapfile"]);
        let mut area = crate::decide::devices::tests::area("/var/tmp/swapfile", -2, false);
        area.device.used_bytes = 1 << 29;
        let problem = remains(&left, &rhel, &[area], Some(1 << 20)).unwrap();
        assert!(problem.remedy[0].starts_with("# first move VMs away"), "{problem:?}");
        assert!(problem.fix().unwrap().starts_with("first move VMs away"), "{problem:?}");
        let pool = System { pool: Some("worker".to_owned()), ..System::default() };
        assert_eq!(remains(&left, &pool, &[], None).unwrap().remedy[0], "oc get machineconfig");
        left = Leftovers { swapfile: Some(("/var/tmp/swapfile".into(), false)), ..left };
        left.units.clear();
        let problem = remains(&left, &rhel, &[], None).unwrap();
        assert_eq!(problem.remedy, ["rm /var/tmp/swapfile"]);
    }
}
