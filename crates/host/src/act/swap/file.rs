//! Creates swapfiles. A file has no name until it is complete and then gets linked to its path: an
//! interruption leaves nothing behind, and an existing file at the path stays.

use std::{
    fs::{DirBuilder, File, Permissions},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{DirBuilderExt, FileExt, PermissionsExt},
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, fallocate, openat},
    sys::{stat::Mode, statfs},
    unistd::linkat,
};
use rustix::fs::XattrFlags;

use super::{Provisioner, syscalls};
use crate::{config::settings::SWAPFILE, failpoint, observe::swap::area::open_beneath};

/// The SELinux policy's type for swapfiles: the only one that swapoff(8) (fsadm_t), which systemd
/// runs at shutdown, may access. restorecon keeps it, because it is a customizable type.
const LABEL: &[u8] = b"system_u:object_r:swapfile_t:s0\0";
const CHUNK: usize = 1 << 20;
/// Bytes that may wait to be written before the agent waits for the disk.
const UNWRITTEN: u64 = 64 << 20;

impl Provisioner<'_> {
    pub(super) fn make_file(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        if folder == Path::new(SWAPFILE).parent().unwrap_or(folder) {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(0o700).create(self.roots.path(folder))?;
        }
        let folder = open_beneath(self.roots, folder, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let file = File::from(openat(folder.as_fd(), ".", flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        file.set_permissions(Permissions::from_mode(0o600))?;
        if statfs::fstatfs(&file)?.filesystem_type() == statfs::BTRFS_SUPER_MAGIC {
            syscalls::set_nocow(&file)?;
        }
        if self.roots.path("/sys/fs/selinux/enforce").exists() {
            // Not every file system supports labels, and swap works without one.
            let _ = rustix::fs::fsetxattr(&file, "security.selinux", LABEL, XattrFlags::empty());
        }
        self.fill(&file, bytes)?;
        failpoint::at("swapfile.filled")?;
        file.write_all_at(&self.header(bytes)?, 0)?;
        file.sync_all()?;
        failpoint::at("swapfile.link")?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        let name = path.file_name().unwrap_or_default();
        linkat(AT_FDCWD, &*unnamed, folder.as_fd(), name, AtFlags::AT_SYMLINK_FOLLOW)?;
        failpoint::at("swapfile.linked")?;
        File::from(folder).sync_all()
    }

    /// Allocates blocks for all bytes of the file.
    fn fill(&self, file: &File, bytes: u64) -> io::Result<()> {
        let length = i64::try_from(bytes).map_err(io::Error::other)?;
        match fallocate(file, FallocateFlags::empty(), 0, length) {
            Err(Errno::EOPNOTSUPP) => self.write_zeros(file, bytes),
            allocated => Ok(allocated?),
        }
    }

    fn write_zeros(&self, file: &File, bytes: u64) -> io::Result<()> {
        let zeros = vec![0; CHUNK];
        let mut done = 0;
        while done < bytes {
            let length = usize::try_from(bytes - done).unwrap_or(CHUNK).min(CHUNK);
            file.write_all_at(&zeros[..length], done)?;
            done += length as u64;
            if done % UNWRITTEN == 0 {
                file.sync_data()?;
            }
            (self.progress)(done, bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, os::unix::fs::MetadataExt};

    use super::*;
    use crate::{
        config::settings::Discard, decide::provision::ProvisionStep, model::storage::Area,
        observe::swap::area::area, roots::Roots,
    };

    fn with_provisioner<T>(
        roots: &Roots,
        progress: &dyn Fn(u64, u64),
        what: impl FnOnce(&Provisioner<'_>) -> T,
    ) -> T {
        let discard = Discard::None;
        what(&Provisioner { roots, page_bytes: 4096, priority: 0, discard, progress })
    }

    #[test]
    fn a_file_appears_complete_and_never_in_the_way_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let path = Path::new(SWAPFILE);
        let step = ProvisionStep::MakeFile { path: path.to_owned(), bytes: 1 << 20 };
        let make = |step| with_provisioner(&roots, &|_, _| {}, |p| p.carry_out(step));
        make(&step).unwrap();
        let metadata = fs::metadata(roots.path(path)).unwrap();
        assert_eq!((metadata.len(), metadata.mode() & 0o7777), (1 << 20, 0o600));
        assert!(matches!(area(&roots, path, 4096).unwrap(), Area::Ours { bytes: 1_048_576, .. }));

        fs::write(roots.path(path), "precious").unwrap();
        let error = make(&step).unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot make a swapfile of 1.0 MiB at /var/lib/wasp-agent/swapfile: File exists (os error 17)"
        );
        assert_eq!(fs::read(roots.path(path)).unwrap(), b"precious");
        let elsewhere =
            ProvisionStep::MakeFile { path: "/no/such/folder/swap".into(), bytes: 1 << 20 };
        assert!(make(&elsewhere).unwrap_err().to_string().contains("No such file"));
        let entries = fs::read_dir(roots.path(path).parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1, "nothing is left behind");
    }

    #[test]
    fn where_selinux_is_it_has_the_label_of_swapfiles() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let attribute = |path: &Path| {
            let mut value = [0; 64];
            let length = rustix::fs::getxattr(path, "security.selinux", &mut value).ok()?;
            Some(value[..length].to_vec())
        };
        let may = tempfile::NamedTempFile::new_in(folder.path()).unwrap();
        if rustix::fs::fsetxattr(&may, "security.selinux", LABEL, XattrFlags::empty()).is_err() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "needs root");
            #[expect(clippy::print_stderr, reason = "a test that skips says so")]
            {
                eprintln!("SKIPPED, loudly: labels need root, and a file system that has them");
            }
            return;
        }
        let make = |path: &str| {
            let step = ProvisionStep::MakeFile { path: path.into(), bytes: 1 << 20 };
            with_provisioner(&roots, &|_, _| {}, |p| p.carry_out(&step)).unwrap();
            attribute(&roots.path(path))
        };
        assert_eq!(make("/without"), None);
        fs::create_dir_all(roots.path("/sys/fs/selinux")).unwrap();
        fs::write(roots.path("/sys/fs/selinux/enforce"), "1").unwrap();
        assert_eq!(make("/with").as_deref(), Some(LABEL));
    }

    #[test]
    fn zeros_are_written_where_blocks_cannot_be_reserved_and_progress_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let heard = Cell::new((0, 0));
        let file = tempfile::tempfile().unwrap();
        let bytes = (CHUNK * 2 + 5000) as u64;
        with_provisioner(&roots, &|done, all| heard.set((done, all)), |p| {
            p.write_zeros(&file, bytes).unwrap();
        });
        assert_eq!(heard.get(), (bytes, bytes));
        let metadata = file.metadata().unwrap();
        assert!(metadata.len() == bytes && metadata.blocks() * 512 >= bytes);
    }
}
