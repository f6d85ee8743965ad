//! What follows from OpenShift's own swap: it is not fought.

use crate::{
    config::settings::Settings,
    model::rivals::{Job, Rival},
};

/// Why no swap is made beside another's, if none is to be.
pub fn others_swap(rivals: &[Rival], settings: &Settings) -> Option<String> {
    let swap = rivals.iter().find(|rival| rival.job == Job::Swap)?;
    (!settings.swap.beside_others).then(|| {
        format!(
            "{} {}: no second swap is made beside it; remove that unit, or set swap.beside-others = true",
            swap.path.display(),
            swap.does
        )
    })
}

/// Why the watermarks are left alone, if they are to be.
pub fn others_watermarks(rivals: &[Rival], settings: &Settings) -> Option<String> {
    let rival = rivals.iter().find(|rival| rival.job == Job::Watermarks)?;
    settings.kernel.align_watermarks.then(|| {
        format!(
            "kernel.align-watermarks: {} {}, and the agent leaves them alone; remove that unit for the agent to \
             align them",
            rival.path.display(),
            rival.does
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_left_alone_unless_configured() {
        let rival = |job| Rival { path: "/x".into(), job, does: "does it" };
        let mut settings = Settings::defaults();
        assert_eq!(others_swap(&[rival(Job::Slices)], &settings), None);
        let said = others_swap(&[rival(Job::Slices), rival(Job::Swap)], &settings).unwrap();
        assert!(said.starts_with("/x does it: no second swap"), "{said}");
        settings.swap.beside_others = true;
        assert_eq!(others_swap(&[rival(Job::Swap)], &settings), None);
        assert!(others_watermarks(&[rival(Job::Watermarks)], &settings).is_some());
        settings.kernel.align_watermarks = false;
        assert_eq!(others_watermarks(&[rival(Job::Watermarks)], &settings), None);
    }
}
