//! Swapfiles and the file systems that hold them.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::{
        stat::{Mode, SFlag, fstat},
        statfs::{self, FsType},
        statvfs,
    },
};

use crate::{
    errors::FileError,
    model::{
        host::SwapDevice,
        storage::{Area, FilePlace, FileSystem},
        swap_header::{LARGEST_PAGE, SwapHeader},
    },
    roots::Roots,
};

/// Reads all facts about the swapfile at `path`.
pub fn file_place(
    roots: &Roots,
    path: &Path,
    page_bytes: u64,
    devices: &[SwapDevice],
) -> Result<FilePlace, FileError> {
    let next_path = next_path(path);
    let active = |path| super::active(roots, path, devices).cloned();
    Ok(FilePlace {
        found: area(roots, path, page_bytes)?,
        active: active(path),
        next: area(roots, &next_path, page_bytes)?,
        next_active: active(&next_path),
        filesystem: filesystem(roots, path)?,
        path: path.to_owned(),
        next_path,
    })
}

/// Returns the path for a new file while the old one is in use.
fn next_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".next");
    path.with_file_name(name)
}

/// Opens the file at `path`, and follows no symbolic link on the way.
///
/// systemd refuses openat2(2) to a service with `RestrictSUIDSGID=`, because its filter cannot see the
/// flags, which are behind a pointer (`src/shared/seccomp-util.c`, `seccomp_restrict_sxid`).
pub fn open_beneath(roots: &Roots, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let root = File::open(roots.path("/"))?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match openat2(root.as_fd(), relative, how) {
        Err(refused) if is_refused(refused) => part_by_part(root.into(), relative, flags),
        opened => Ok(opened?),
    }
}

/// `RestrictSUIDSGID=` answers ENOSYS. A `SystemCallFilter=` that does not have the call yet answers
/// `SystemCallErrorNumber=`; the call itself may do so too, and then each part does.
fn is_refused(error: Errno) -> bool {
    matches!(error, Errno::ENOSYS | Errno::EPERM)
}

/// Opens like openat2(2) with `RESOLVE_NO_SYMLINKS`, but by one openat(2) for each part of the path.
fn part_by_part(root: OwnedFd, relative: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let always = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut at = root;
    let mut parts = relative.components().peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            let opened = openat(at.as_fd(), part.as_os_str(), flags | always, Mode::empty());
            return Ok(opened?);
        }
        let next = openat(at.as_fd(), part.as_os_str(), OFlag::O_PATH | always, Mode::empty())?;
        if SFlag::from_bits_truncate(fstat(&next)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK {
            return Err(Errno::ELOOP.into());
        }
        at = next;
    }
    Err(Errno::ENOENT.into())
}

/// Returns the header of the swapfile that `path` leads to. The path of a swapfile in use leads
/// elsewhere if another file system was mounted over it, or if the service has its own one there.
pub fn swap_header(roots: &Roots, path: &Path, page_bytes: u64) -> io::Result<Option<SwapHeader>> {
    header(&opened(roots, path)?, page_bytes)
}

/// Opens any file for reading. O_NONBLOCK: a FIFO must not block.
pub fn opened(roots: &Roots, path: &Path) -> io::Result<File> {
    Ok(open_beneath(roots, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?.into())
}

/// Returns the header of a swapfile; `None` if the file is something else.
pub fn header(file: &File, page_bytes: u64) -> io::Result<Option<SwapHeader>> {
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut page = Vec::new();
    file.take(page_bytes).read_to_end(&mut page)?;
    Ok(SwapHeader::from_page(&page))
}

/// Identifies the content of `path`.
pub fn area(roots: &Roots, path: &Path, page_bytes: u64) -> Result<Area, FileError> {
    let file = match opened(roots, path) {
        Ok(file) => file,
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => return Ok(Area::Nothing),
            Some(libc::ELOOP) => {
                return Ok(Area::Other("a symbolic link, or below one".to_owned()));
            }
            Some(libc::ENOTDIR) => return Ok(Area::Other("below a file".to_owned())),
            Some(libc::ENXIO) => return Ok(Area::Other("a socket".to_owned())),
            _ => return Err(FileError::of("open", path)(error)),
        },
    };
    let metadata = file.metadata().map_err(FileError::of("stat", path))?;
    let kind = metadata.file_type();
    if !kind.is_file() {
        let what = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_block_device() => {
                "a block device (for those use swap.kind = \"partition\")"
            }
            () => "not a regular file",
        };
        return Ok(Area::Other(what.to_owned()));
    }
    let mut first = Vec::new();
    (&file).take(LARGEST_PAGE).read_to_end(&mut first).map_err(FileError::of("read", path))?;
    match SwapHeader::of_any_page(&first) {
        Some((header, of_page)) if header.is_ours() => {
            let allocated_bytes = metadata.blocks().saturating_mul(512);
            let bytes = metadata.len();
            // Truncated, with holes, or of a kernel with another page size: useless, but ours to
            // replace.
            let whole = of_page == page_bytes
                && u64::from(header.pages) * page_bytes == bytes
                && allocated_bytes >= bytes;
            Ok(Area::Ours { bytes: if whole { bytes } else { 0 }, allocated_bytes })
        }
        Some((header, _)) => {
            Ok(Area::Other(format!("a swap area labelled {:?}, not \"wasp-agent\"", header.label)))
        }
        None => Ok(Area::Other("a file that is not a swap area".to_owned())),
    }
}

/// Reads the file system that would hold `path`: that of the nearest existing directory.
pub fn filesystem(roots: &Roots, path: &Path) -> Result<FileSystem, FileError> {
    let folder = path.ancestors().skip(1).find(|folder| roots.path(folder).is_dir());
    let folder = roots.path(folder.unwrap_or(Path::new("/")));
    let failed = |errno: nix::Error| FileError::of("statfs", &folder)(errno.into());
    let kind = statfs::statfs(&folder).map_err(failed)?.filesystem_type();
    let space = statvfs::statvfs(&folder).map_err(failed)?;
    let unit = space.fragment_size();
    Ok(FileSystem {
        total_bytes: space.blocks().saturating_mul(unit),
        available_bytes: space.blocks_available().saturating_mul(unit),
        holds_images: holds_images(roots, &folder),
        obstacle: obstacle(kind),
    })
}

/// Returns true if the runtime keeps its images, by default, on the file system of `folder`.
fn holds_images(roots: &Roots, folder: &Path) -> bool {
    const PLACES: [&str; 2] = ["/var/lib/containers/storage", "/var/lib/containerd"];
    let device = |folder: &Path| std::fs::metadata(folder).map(|metadata| metadata.dev()).ok();
    let there: Vec<u64> = PLACES.iter().filter_map(|place| device(&roots.path(place))).collect();
    if !there.is_empty() {
        return device(folder).is_some_and(|device| there.contains(&device));
    }
    // Before the runtime has started for the first time.
    let above = Path::new(PLACES[0]).ancestors().map(|folder| roots.path(folder));
    above.into_iter().find_map(|folder| device(&folder)) == device(folder)
}

/// Returns the reason why this type of file system cannot hold swap; swapon(2) has the final
/// decision.
fn obstacle(kind: FsType) -> Option<String> {
    // Linux include/uapi/linux/magic.h; ZFS and others have their own.
    const NOT_FOR_SWAP: [(i64, &str); 13] = [
        (0x0102_1994, "tmpfs lives in RAM and swap itself"),
        (0x8584_58f6, "ramfs lives in RAM"),
        (0x794c_7630, "overlay cannot show the kernel the blocks of a file"),
        (0x6969, "NFS: swapping over the network needs memory to free memory"),
        (0xff53_4d42, "CIFS: swapping over the network needs memory to free memory"),
        (0xfe53_4d42, "SMB: swapping over the network needs memory to free memory"),
        (0x00c3_6400, "CephFS: swapping over the network needs memory to free memory"),
        (0x0102_1997, "9p: swapping over the network needs memory to free memory"),
        (0x6573_5546, "FUSE: its server could be swapped out itself"),
        (0x2fc1_2fc1, "ZFS cannot show the kernel the blocks of a file"),
        (0x7371_7368, "squashfs is read-only"),
        (0xe0f5_e1e2, "erofs is read-only"),
        (0x9660, "ISO 9660 is read-only"),
    ];
    let magic = kind.0 & 0xffff_ffff;
    NOT_FOR_SWAP.iter().find(|(known, _)| *known == magic).map(|(_, why)| (*why).to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;

    fn swapfile(bytes: u64) -> Vec<u8> {
        let header = SwapHeader::ours(bytes, 4096, Uuid::nil()).unwrap();
        let mut file = header.to_page(4096);
        file.resize(usize::try_from(bytes).unwrap(), 1);
        file
    }

    #[test]
    fn images_are_on_the_file_system_of_their_directory() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let holds = |path: &str| holds_images(&roots, &roots.path(path));
        fs::create_dir_all(roots.path("/var/lib")).unwrap();
        assert!(holds("/var/lib"), "there are none yet");
        // Another file system.
        fs::create_dir_all(roots.path("/var/lib/containers")).unwrap();
        std::os::unix::fs::symlink("/proc", roots.path("/var/lib/containers/storage")).unwrap();
        assert!(!holds("/var/lib"));
        fs::create_dir_all(roots.path("/var/lib/containerd")).unwrap();
        assert!(holds("/var/lib"));
    }

    /// A service may not call openat2(2).
    #[test]
    fn a_path_leads_to_the_same_file_part_by_part() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/file"), "").unwrap();
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(to, folder.path().join(at)).unwrap();
        };
        link("b", "a/link");
        link("file", "a/b/link");
        link("loop", "loop");
        let seen = |opened: io::Result<OwnedFd>| match opened {
            Ok(file) => {
                let of = File::from(file).metadata().unwrap();
                Ok((of.dev(), of.ino()))
            }
            Err(error) => Err(error.raw_os_error().unwrap()),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        for (path, error) in [
            ("a/b/file", None),
            ("a/./b//file", None),
            ("a/b/../b/file", None),
            (".", None),
            ("a", None),
            ("a/link/file", Some(libc::ELOOP)),
            ("a/b/link", Some(libc::ELOOP)),
            ("loop/x", Some(libc::ELOOP)),
            ("a/b/file/x", Some(libc::ENOTDIR)),
            ("a/b/file/..", Some(libc::ENOTDIR)),
            ("a/c/file", Some(libc::ENOENT)),
            ("a/c", Some(libc::ENOENT)),
        ] {
            let root = || OwnedFd::from(File::open(folder.path()).unwrap());
            let by_parts = seen(part_by_part(root(), Path::new(path), flags));
            assert_eq!(by_parts.err(), error, "{path}");
            assert_eq!(by_parts, seen(open_beneath(&roots, Path::new(path), flags)), "{path}");
        }
    }

    /// Refuses openat2(2) to this thread, as the filter of a service does.
    #[allow(unsafe_code, reason = "prctl(2) copies the filter during the call")]
    fn refuse_openat2(error: Errno) {
        let step = |code: u32, jf: u8, k: u32| libc::sock_filter {
            code: u16::try_from(code).unwrap(),
            jt: 0,
            jf,
            k,
        };
        // The call's number is the first word; if it is another one, skip a step.
        let mut filter = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            step(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                1,
                u32::try_from(libc::SYS_openat2).unwrap(),
            ),
            step(
                libc::BPF_RET | libc::BPF_K,
                0,
                libc::SECCOMP_RET_ERRNO | u32::try_from(error as i32).unwrap(),
            ),
            step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        let [one, none] = [1_u32, 0].map(libc::c_ulong::from);
        let filtered = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, one, none, none, none), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, filtered, &raw const program), 0);
        }
    }

    #[test]
    fn a_swapfile_is_found_where_openat2_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        fs::create_dir(folder.path().join("var")).unwrap();
        fs::write(folder.path().join("var/swapfile"), swapfile(1 << 20)).unwrap();
        std::os::unix::fs::symlink("var", folder.path().join("link")).unwrap();
        for error in [Errno::ENOSYS, Errno::EPERM] {
            let seen = std::thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    refuse_openat2(error);
                    let root = File::open("/").unwrap();
                    let refused = openat2(root.as_fd(), ".", OpenHow::new()).unwrap_err();
                    assert_eq!(refused, error);
                    let header = |path| swap_header(&roots, Path::new(path), 4096);
                    (header("/var/swapfile").unwrap(), header("/link/swapfile").unwrap_err())
                });
                thread.join().unwrap()
            });
            assert!(seen.0.is_some_and(|header| header.is_ours()), "{error}");
            assert_eq!(seen.1.raw_os_error(), Some(libc::ELOOP), "{error}");
        }
    }

    #[test]
    fn each_thing_that_may_be_there_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let at = |name: &str| folder.path().join(name);
        let seen = |name: &str| area(&roots, &Path::new("/").join(name), 4096).unwrap();
        let is_other = |name: &str, word: &str| match seen(name) {
            Area::Other(what) => assert!(what.contains(word), "{name}: {what}"),
            found => panic!("{name}: {found:?}"),
        };
        assert_eq!(seen("gone"), Area::Nothing);
        assert_eq!(seen("not/even/the/folder"), Area::Nothing);
        fs::write(at("ours"), swapfile(1 << 20)).unwrap();
        let Area::Ours { bytes, allocated_bytes } = seen("ours") else { panic!() };
        assert_eq!(bytes, 1 << 20);
        assert!(allocated_bytes >= bytes);

        fs::write(at("short"), &swapfile(1 << 20)[..1 << 19]).unwrap();
        assert!(matches!(seen("short"), Area::Ours { bytes: 0, .. }), "cut short");
        let sparse = fs::File::create(at("sparse")).unwrap();
        io::Write::write_all(&mut &sparse, &swapfile(1 << 20)[..4096]).unwrap();
        sparse.set_len(1 << 20).unwrap();
        assert!(matches!(seen("sparse"), Area::Ours { bytes: 0, .. }), "with holes");

        let mut other = SwapHeader::ours(1 << 20, 4096, Uuid::nil()).unwrap();
        other.label = "theirs".into();
        fs::write(at("theirs"), other.to_page(4096)).unwrap();
        is_other("theirs", "\"theirs\"");
        fs::write(at("photos"), "JPEG").unwrap();
        is_other("photos", "not a swap area");
        is_other("photos/swapfile", "below a file");
        fs::create_dir(at("folder")).unwrap();
        is_other("folder", "a directory");
        std::os::unix::fs::symlink(at("ours"), at("link")).unwrap();
        is_other("link", "symbolic link");
        std::os::unix::fs::symlink(at("folder"), at("way")).unwrap();
        is_other("way/swapfile", "symbolic link");
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        is_other("fifo", "not a regular file");
    }

    #[test]
    fn the_place_has_its_file_system_even_before_its_folder_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::at(folder.path());
        let place = file_place(&roots, Path::new("/var/lib/a/swapfile"), 4096, &[]).unwrap();
        assert_eq!(place.found, Area::Nothing);
        assert_eq!(place.next_path, Path::new("/var/lib/a/swapfile.next"));
        assert!(place.filesystem.total_bytes >= place.filesystem.available_bytes);
        assert!(place.filesystem.total_bytes > 0);
    }

    #[test]
    fn file_systems_that_cannot_hold_swap_say_why() {
        let on = |kind| obstacle(FsType(kind)).unwrap_or_default();
        assert_eq!(on(0xef53), "", "ext4");
        assert_eq!(on(0x5846_5342), "", "xfs");
        assert!(on(0x0102_1994).starts_with("tmpfs"));
        assert!(on(0x794c_7630).starts_with("overlay"));
        assert!(on(0x6969).starts_with("NFS"));
        // The field is signed on some machines.
        assert!(on(i64::from(0xff53_4d42_u32 as i32)).starts_with("CIFS"));
    }
}
