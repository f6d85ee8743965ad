//! The properties of each OpenShift version: what it reads, rejects and serves.
//!
//! Sources: the release branches of openshift/machine-config-operator (templates of
//! kubelet.service, `validateUserKubeletConfig`) and kubevirt/hyperconverged-cluster-operator (the
//! CRD), and KEP-2400.

use std::{fmt, str::FromStr};

use crate::model::system::CONTROL_PLANE;

/// A minor version of OpenShift. 5.0 follows 4.22.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenShiftVersion {
    major: u32,
    minor: u32,
}

impl OpenShiftVersion {
    /// The oldest version that this agent supports.
    pub const OLDEST: Self = Self::new(4, 16);

    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Returns true if the kubelet of `pool` reads drop-ins in /etc/openshift/kubelet.conf.d. The
    /// same versions reject failSwapOn and swapBehavior in a KubeletConfig; workers do so since
    /// 4.21.
    pub fn reads_drop_ins(self, pool: &str) -> bool {
        self >= if CONTROL_PLANE.contains(&pool) { Self::new(4, 23) } else { Self::new(4, 21) }
    }

    /// Returns true if a KubeletConfig may have failSwapOn and swapBehavior.
    pub fn kubelet_config_takes_swap(self) -> bool {
        self < Self::new(4, 21)
    }

    /// Returns true if the kubelet supports swapBehavior: with the feature gate NodeSwap off, it does
    /// not start if swapBehavior is set. OpenShift writes every gate, and has this one off up to
    /// 4.20 (openshift/api, `featureGate-SelfManagedHA-Default.yaml`), where upstream's default is on.
    pub fn kubelet_can_grant(self) -> bool {
        self >= Self::new(4, 21)
    }

    /// Returns true if `machineconfiguration.openshift.io/v1` has MachineOSConfig.
    pub fn builds_images(self) -> bool {
        self >= Self::new(4, 18)
    }

    /// Returns the newest API version of HyperConverged that this version's operator serves.
    pub fn hyperconverged(self) -> HyperConverged {
        if self >= Self::new(4, 22) { HyperConverged::V1 } else { HyperConverged::V1Beta1 }
    }
}

impl fmt::Display for OpenShiftVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A version that this agent does not support.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    #[error("not a version of OpenShift (4.20): `oc get clusterversion` shows it")]
    NoVersion,
    #[error("OpenShift {} is the oldest supported version", OpenShiftVersion::OLDEST)]
    TooOld,
    #[error("not a known version of hco.kubevirt.io: v1, v1beta1")]
    NoHyperConverged,
}

impl FromStr for OpenShiftVersion {
    type Err = VersionError;

    /// Accepts a full version too: 4.20.3, 4.22.0-rc.1.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let number = |text: Option<&str>| text?.parse().ok();
        let mut parts = text.split('.');
        let version = match (number(parts.next()), number(parts.next())) {
            (Some(major), Some(minor)) => Self { major, minor },
            _ => {
                return Err(VersionError::NoVersion);
            }
        };
        match version < Self::OLDEST {
            true => Err(VersionError::TooOld),
            false => Ok(version),
        }
    }
}

/// The version of HyperConverged's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HyperConverged {
    V1Beta1,
    V1,
}

impl HyperConverged {
    pub fn label(self) -> &'static str {
        match self {
            Self::V1Beta1 => "v1beta1",
            Self::V1 => "v1",
        }
    }

    /// Returns the field of its specification with the percentage that the console calls "memory
    /// density".
    pub(super) fn percentage_field(self) -> &'static str {
        match self {
            Self::V1Beta1 => ".spec.higherWorkloadDensity.memoryOvercommitPercentage",
            Self::V1 => ".spec.virtualization.higherWorkloadDensity.memoryOvercommitPercentage",
        }
    }
}

impl FromStr for HyperConverged {
    type Err = VersionError;

    /// Parses the list of versions that a cluster serves, such as `v1 v1beta1`, and returns the
    /// newest known one.
    fn from_str(served: &str) -> Result<Self, VersionError> {
        let serves = |version: Self| {
            served.split([' ', ',']).any(|word| word.rsplit('/').next() == Some(version.label()))
        };
        [Self::V1, Self::V1Beta1]
            .into_iter()
            .find(|version| serves(*version))
            .ok_or(VersionError::NoHyperConverged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_clusters_print_them() {
        for (text, version) in [
            ("4.16", OpenShiftVersion::new(4, 16)),
            ("4.20.3", OpenShiftVersion::new(4, 20)),
            ("4.22.0-rc.1", OpenShiftVersion::new(4, 22)),
            ("5.0", OpenShiftVersion::new(5, 0)),
        ] {
            assert_eq!(text.parse(), Ok(version));
        }
        for text in ["", "4", "four", "4.x", "v4.20", "-4.20"] {
            assert!(
                text.parse::<OpenShiftVersion>()
                    .unwrap_err()
                    .to_string()
                    .contains("oc get clusterversion"),
                "{text}"
            );
        }
        assert!(
            "4.15.9"
                .parse::<OpenShiftVersion>()
                .unwrap_err()
                .to_string()
                .contains("4.16 is the oldest")
        );
    }

    /// From the release branches of the machine config operator: --config-dir in the workers'
    /// kubelet.service from 4.21 on, in the control plane's from 4.23 on.
    #[test]
    fn each_version_reads_what_its_release_branch_has() {
        let reads =
            |version: &str, pool| version.parse::<OpenShiftVersion>().unwrap().reads_drop_ins(pool);
        for (version, worker, master) in [
            ("4.16", false, false),
            ("4.18", false, false),
            ("4.20", false, false),
            ("4.21", true, false),
            ("4.22", true, false),
            ("4.23", true, true),
            ("5.0", true, true),
        ] {
            assert_eq!((reads(version, "worker"), reads(version, "master")), (worker, master));
            assert_eq!(reads(version, "virt"), worker, "a pool of one's own is a worker's");
        }
    }

    #[test]
    fn the_newest_served_version_is_taken() {
        for (served, version) in [
            ("v1beta1", HyperConverged::V1Beta1),
            ("v1 v1beta1", HyperConverged::V1),
            ("hco.kubevirt.io/v1beta1,hco.kubevirt.io/v1", HyperConverged::V1),
        ] {
            assert_eq!(served.parse(), Ok(version), "{served}");
        }
        assert!("v2".parse::<HyperConverged>().is_err());
    }
}
