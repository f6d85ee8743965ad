//! Reports state files of the agent that cannot be read.

use crate::model::{
    check::UnreadableFile,
    shell::quoted,
    trouble::{Problem, Trouble},
};

/// Reports the files, and how to continue without them. The agent never replaces them by itself: they
/// may be the only record of what it has changed.
pub fn unreadable_state(files: &[UnreadableFile]) -> Option<Problem> {
    if files.is_empty() {
        return None;
    }
    let texts: Vec<&str> = files.iter().map(|file| &*file.text).collect();
    let aside = files.iter().flat_map(|UnreadableFile { path, holds, .. }| {
        let (path, to) = (quoted(path), quoted(&format!("{path}.unreadable")));
        [
            format!("# restore {path} from a backup; without it the agent does not know {holds}:"),
            format!("mv {path} {to} --backup=numbered"),
        ]
    });
    let remedy = aside.chain(["systemctl restart wasp-agent".to_owned()]).collect();
    Some(Problem::new(Trouble::State, texts.join("; ")).with_remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_named_and_put_aside() {
        assert_eq!(unreadable_state(&[]), None);
        let file = |path: &str| UnreadableFile {
            path: path.to_owned(),
            text: format!("cannot use {path}: it is empty"),
            holds: "what it changed",
        };
        let problem = unreadable_state(&[file("/run/a"), file("/run/b")]).unwrap();
        assert_eq!(problem.text, "cannot use /run/a: it is empty; cannot use /run/b: it is empty");
        assert_eq!(problem.remedy[1], "mv /run/a /run/a.unreadable --backup=numbered");
        assert_eq!(problem.remedy.len(), 5);
    }
}
