//! A directory that stands for a host, whose files are restored before each run.

use std::{cell::RefCell, fs, rc::Rc};

use wasp_agent::roots::Roots;

#[derive(Debug)]
pub struct Files {
    pub roots: Roots,
    _folder: tempfile::TempDir,
}

impl Files {
    pub fn put(&self, path: &str, text: &[u8]) {
        let path = self.roots.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn remove(&self, path: &str) {
        let _ = fs::remove_file(self.roots.path(path));
    }
}

/// Returns the directory of this thread.
pub fn files() -> Rc<Files> {
    thread_local! {
        static FILES: RefCell<Option<Rc<Files>>> = const { RefCell::new(None) };
    }
    FILES.with_borrow_mut(|files| {
        let new = || {
            let folder = tempfile::tempdir().unwrap();
            Rc::new(Files { roots: Roots::at(folder.path()), _folder: folder })
        };
        files.get_or_insert_with(new).clone()
    })
}

/// Splits off the first letter, which selects the kind of the rest: `a` is the first kind, and so
/// on.
pub fn kind(bytes: &[u8], kinds: u8) -> Option<(char, &[u8])> {
    let (letter, rest) = bytes.split_first()?;
    Some((char::from(b'a' + letter.wrapping_sub(b'a') % kinds), rest))
}
