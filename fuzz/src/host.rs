//! Fuzzes parsers of the kernel's files, of the host's configuration, and of our own settings.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use wasp_agent::{
    act::cgroup::write_limit,
    config::{
        settings::{Settings, SwapSize},
        show::effective,
    },
    decide::{
        kubelet::{disk_reserve, fails_with_swap, memory_threshold, unusable},
        watermarks::{Aligned, align},
    },
    hook::HookTarget,
    model::{
        clock::SinceBoot,
        host::CgroupLevel,
        runtime::Runtime,
        swap::SwapMax,
        swap_header::{LABEL, SwapHeader},
    },
    observe::{cgroup::Cgroup, crio, disks, kubelet, node, pressure, process, slices, zoneinfo},
};

use super::files::{files, kind};

const PAGE: u64 = 4096;
const MEMINFO: &str = "/proc/meminfo";
const VMSTAT: &str = "/proc/vmstat";
const SCOPE: &str = "/sys/fs/cgroup/kubepods/burstable/pod9192cfa8-679c/crio-0123456789ab";

/// Any bytes as a file of the kernel's, a cgroup's or a disk's.
pub fn kernel_files(bytes: &[u8]) {
    let Some((kind, text)) = kind(bytes, 11) else { return };
    let files = files();
    let roots = &files.roots;
    let scope = roots.path(SCOPE);
    match kind {
        'a' | 'b' => {
            files.put(if kind == 'a' { MEMINFO } else { VMSTAT }, text);
            if let Ok(sample) = pressure::sample(
                roots,
                SinceBoot::default(),
                &[],
                pressure::WorkingSet::AllThatIsNotFree,
            ) {
                assert!(sample.working_set_bytes <= sample.ram_bytes);
                assert!(sample.swap_used_bytes <= sample.swap_bytes);
            }
            let _ = (node::memory(roots), node::swap_traffic(roots));
            files.put(MEMINFO, include_bytes!("../corpus/kernel_files/meminfo").split_at(1).1);
            files.put(VMSTAT, b"pswpin 7\npswpout 9\n");
        }
        'c' => {
            files.put("/proc/swaps", text);
            for device in node::swap_devices(roots) {
                assert!(device.size_bytes % 1024 == 0 && !device.path.is_empty());
                assert!(!device.path.contains(char::is_whitespace));
            }
            disks::in_use(roots);
            files.remove("/proc/swaps");
        }
        'd' => {
            files.put("/proc/zoneinfo", text);
            files.put("/proc/sys/vm/min_free_kbytes", b"67584\n");
            files.put("/proc/sys/vm/watermark_scale_factor", b"10\n");
            let Ok(watermarks) = zoneinfo::watermarks(roots, PAGE) else { return };
            assert!(watermarks.zones.iter().all(|zone| zone.managed > 0));
            if let Some(aligned) = align(&watermarks, Aligned::now(&watermarks), 1 << 30) {
                assert!((10..=1000).contains(&aligned.scale_factor));
                assert!(aligned.min_free_kbytes >= 67584);
            }
        }
        'e' => {
            files.put("/proc/pressure/memory", text);
            let _ = pressure::sample(
                roots,
                SinceBoot::default(),
                &[],
                pressure::WorkingSet::AllThatIsNotFree,
            );
            files.remove("/proc/pressure/memory");
        }
        'f' => {
            files.put("/proc/self/mountinfo", text);
            disks::disks(roots, &["/".into(), "/var/lib/swapfile".into()]);
            // No device of this host encrypts, whatever is mounted.
            assert!(!disks::is_encrypted(roots, Path::new("/var/lib/swapfile")));
        }
        'g' => {
            files.put(&format!("{SCOPE}/memory.swap.max"), text);
            files.put(&format!("{SCOPE}/memory.swap.current"), text);
            let inode = fs::metadata(&scope).unwrap().ino();
            let _ = Cgroup::open(&scope).unwrap().unwrap().level(CgroupLevel::Container);
            let to = SwapMax::Bytes(4096);
            let written = write_limit(&scope, inode, to).is_ok();
            let found = fs::read(scope.join("memory.swap.max")).unwrap();
            match written {
                true => assert_eq!(String::from_utf8(found).unwrap().parse(), Ok(to)),
                false => assert_eq!(found, text, "what is no limit is left alone"),
            }
        }
        'h' => {
            files.put(&format!("{SCOPE}/memory.stat"), text);
            files.put(&format!("{SCOPE}/memory.pressure"), text);
            files.put(&format!("{SCOPE}/memory.current"), b"1048576\n");
            files.put(&format!("{SCOPE}/memory.swap.current"), b"4096\n");
            pressure::activity(&scope);
            if let Some(usage) = pressure::usage(&scope, None) {
                assert!(usage.working_set_bytes <= 1 << 20);
            }
        }
        'i' => {
            files.put(&format!("{SCOPE}/cgroup.procs"), text);
            assert!(Cgroup::open(&scope).unwrap().unwrap().processes().len() <= 64);
            files.put("/proc/7/comm", text);
            files.put("/proc/7/cmdline", text);
            let ours = [&b"crun\n"[..], b"runc\n"].contains(&text);
            assert!(!ours || process::runs(roots, &[7]) == process::Runs::Runtime);
            process::is_program_by_command_line(roots, 7);
        }
        'j' => {
            files.put("/proc/7/cgroup", text);
            let Ok(target) = HookTarget::of(roots, 7) else { return };
            for level in target.levels {
                let path = level.path.to_str().unwrap();
                assert!(path.starts_with("kubepods") && !path.contains(".."), "{path}");
                assert!(path.contains(target.id.as_str()), "{path} is not below its container");
            }
        }
        _ => {
            files.put("/sys/fs/cgroup/system.slice/io.latency", text);
            files.put("/sys/fs/cgroup/system.slice/memory.swap.max", text);
            slices::facts(roots, "system.slice");
            let Some(header) = SwapHeader::from_page(text) else { return };
            assert!(!header.is_ours() || text[1052..].starts_with(LABEL.as_bytes()));
        }
    }
}

const KUBELET_UNIT: &str = "/etc/systemd/system/kubelet.service";

/// Any bytes as the configuration of CRI-O or the kubelet, or as its unit.
pub fn host_config(bytes: &[u8]) {
    let Some((kind, text)) = kind(bytes, 6) else { return };
    let files = files();
    let roots = &files.roots;
    let path = match kind {
        'a' => "/etc/crio/crio.conf",
        'b' => "/etc/crio/crio.conf.d/50-x.conf",
        'c' => "/etc/kubernetes/kubelet.conf",
        'e' => KUBELET_UNIT,
        'f' => {
            files.put(
                KUBELET_UNIT,
                b"[Service]\nEnvironmentFile=/etc/kubernetes/e\nExecStart=kubelet $A ${A}\n",
            );
            "/etc/kubernetes/e"
        }
        _ => {
            files.put(
                "/etc/kubernetes/kubelet.conf",
                b"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n",
            );
            "/etc/openshift/kubelet.conf.d/50-x.conf"
        }
    };
    files.put(path, text);
    match crio::runtime(roots) {
        Ok(Runtime::Crio(folders)) => assert!(folders.iter().all(|folder| folder.is_absolute())),
        Ok(_) => assert!(matches!(kind, 'c'..='f'), "CRI-O's folder is there"),
        Err(error) => assert!(error.to_string().contains(path), "{error}"),
    }
    let _ = crio::default_runtime(roots);
    match kubelet::config(roots, &Settings::defaults()) {
        Ok(config) => {
            let ram = 64 << 30;
            memory_threshold(config.as_ref(), ram);
            disk_reserve(config.as_ref(), ram, true);
            config.as_ref().and_then(fails_with_swap);
            config.as_ref().and_then(unusable);
            let pods = config.map(|config| config.pods_roots()).unwrap_or_default();
            assert!(pods.iter().all(|path| path.is_relative() && !path.ends_with("..")));
        }
        // A flag may name a file with any name.
        Err(_) if matches!(kind, 'e' | 'f') => {}
        Err(error) => assert!(error.to_string().contains(path), "{error}"),
    }
    for folder in ["/etc/crio", "/etc/kubernetes", "/etc/openshift", "/etc/systemd"] {
        let _ = fs::remove_dir_all(roots.path(folder));
    }
}

/// Any bytes as our own configuration: it is rejected with file and line, or within its bounds.
pub fn settings(bytes: &[u8]) {
    let Some((kind, text)) = kind(bytes, 2) else { return };
    let files = files();
    let roots = &files.roots;
    let path = match kind {
        'a' => "/etc/wasp-agent/config.d/50-x.toml",
        _ => "/etc/sysconfig/wasp-agent",
    };
    files.put(path, text);
    match wasp_agent::observe::settings::load(roots, |_| None) {
        Err(problems) => {
            assert!(!problems.0.is_empty());
            let said = problems.to_string();
            assert!(said.contains(path) || said.contains("contradicts"), "{said}");
        }
        Ok((settings, resolved)) => {
            assert!(settings.grant.system_reserved_percent <= 100);
            assert!(settings.limits.follow <= settings.limits.resync);
            assert!(!settings.limits.follow.is_zero());
            assert!(settings.eviction.critical_factor >= 1.0);
            assert!(settings.swap.path.is_absolute());
            if let SwapSize::Bytes(bytes) = settings.swap.size {
                assert!(bytes > 0);
            }
            // The output of check-config is the same configuration.
            let shown = effective(&resolved);
            files.put(path, b"");
            files.put("/etc/wasp-agent/config.d/50-x.toml", shown.as_bytes());
            match wasp_agent::observe::settings::load(roots, |_| None) {
                Ok((again, _)) => assert_eq!(again, settings),
                Err(problems) => panic!("{problems}\n{shown}"),
            }
        }
    }
    for file in ["/etc/wasp-agent/config.d/50-x.toml", "/etc/sysconfig/wasp-agent"] {
        files.remove(file);
    }
}
