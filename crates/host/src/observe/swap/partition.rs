//! Examines partitions for swap.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileTypeExt,
    path::Path,
};

use crate::{
    errors::FileError,
    model::{
        host::SwapDevice,
        storage::{Content, PartitionPlace},
        swap_header::{LARGEST_PAGE, SwapHeader},
    },
    roots::Roots,
};

/// Bytes at the start and at the end of a device that hold the signatures of file systems, RAIDs
/// and partition tables.
const LOOKED_AT: u64 = 1 << 20;

/// Reads all facts about the partition at `path`, which may be a link that udev creates.
pub fn partition_place(
    roots: &Roots,
    path: &Path,
    page_bytes: u64,
    devices: &[SwapDevice],
) -> Result<PartitionPlace, FileError> {
    let mut file = File::open(roots.path(path)).map_err(FileError::of("open", path))?;
    let metadata = file.metadata().map_err(FileError::of("stat", path))?;
    if !metadata.file_type().is_block_device() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "not a block device");
        return Err(FileError::of("use", path)(error));
    }
    let (bytes, content) = content(&mut file, page_bytes).map_err(FileError::of("read", path))?;
    let active = super::active(roots, path, devices).cloned();
    Ok(PartitionPlace { path: path.to_owned(), bytes, content, active })
}

/// Returns true if the header on the partition is ours.
pub fn is_ours(roots: &Roots, path: &Path) -> Result<bool, FileError> {
    let device = File::open(roots.path(path)).map_err(FileError::of("open", path))?;
    let mut first = Vec::new();
    device.take(LARGEST_PAGE).read_to_end(&mut first).map_err(FileError::of("read", path))?;
    Ok(SwapHeader::of_any_page(&first).is_some_and(|(header, _)| header.is_ours()))
}

/// Returns size and content of `device`.
fn content(device: &mut File, page_bytes: u64) -> io::Result<(u64, Content)> {
    let bytes = device.seek(SeekFrom::End(0))?;
    let mut part = |from: u64| -> io::Result<Vec<u8>> {
        let mut part = Vec::new();
        device.seek(SeekFrom::Start(from))?;
        device.take(LOOKED_AT).read_to_end(&mut part)?;
        Ok(part)
    };
    let first = part(0)?;
    match SwapHeader::of_any_page(&first) {
        // The kernel rejects an area of another page size. Ours may be made again.
        Some((header, of_page)) if of_page != page_bytes && header.is_ours() => {
            return Ok((bytes, Content::Blank));
        }
        Some(_) => return Ok((bytes, Content::Swap)),
        None => {}
    }
    let last = part(bytes.saturating_sub(LOOKED_AT))?;
    let blank = first.iter().chain(&last).all(|byte| *byte == 0);
    Ok((bytes, if blank { Content::Blank } else { Content::Other }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn swap_zeros_and_anything_else_are_told_apart() {
        let seen = |at: u64, bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.set_len(8 << 20).unwrap();
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(bytes).unwrap();
            content(&mut file, 4096).unwrap()
        };
        let header = SwapHeader::ours(8 << 20, 4096, uuid::Uuid::nil()).unwrap().to_page(4096);
        assert_eq!(seen(0, &[]), (8 << 20, Content::Blank));
        assert_eq!(seen(0, &header), (8 << 20, Content::Swap));
        let other_page =
            SwapHeader::ours(8 << 20, 65536, uuid::Uuid::nil()).unwrap().to_page(65536);
        assert_eq!(seen(0, &other_page), (8 << 20, Content::Blank), "ours, of another kernel");
        assert_eq!(seen(1080, &[0x53, 0xef]), (8 << 20, Content::Other), "ext4");
        assert_eq!(seen((8 << 20) - 512, b"EFI PART"), (8 << 20, Content::Other), "GPT's backup");
    }

    #[test]
    fn a_file_is_no_partition() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let roots = Roots::at(folder.path());
        let error = partition_place(&roots, Path::new("/file"), 4096, &[]).unwrap_err();
        assert_eq!(error.to_string(), "cannot use /file: not a block device");
    }
}
