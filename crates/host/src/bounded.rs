//! Reads files that other programs, or attackers, may have created.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Upper bound in bytes. Our files have a few kB; a runtime's state has 4 kB, a config.json 10 to
/// 50.
pub const LARGEST_BYTES: u64 = 4 << 20;

/// Returns the file's text; `None` if there is none. Reads only regular files, because others could
/// block.
pub fn read_bounded(path: &Path) -> io::Result<Option<String>> {
    let text = read_bytes(path)?.map(String::from_utf8).transpose();
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// As [`read_bounded`], and replaces bytes that are not UTF-8.
pub fn read_lossy(path: &Path) -> io::Result<Option<String>> {
    Ok(read_bytes(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // Opening a FIFO would block until a program writes to it.
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let length = usize::try_from(metadata.len().min(LARGEST_BYTES)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(length + 1);
    let read = file.take(LARGEST_BYTES + 1).read_to_end(&mut bytes)?;
    // A truncated file may mean something else than the whole.
    match read as u64 > LARGEST_BYTES {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB")),
        false => Ok(Some(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_file_is_not_taken_for_the_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |bytes| {
            file.as_file().set_len(bytes).unwrap();
            read_bounded(file.path()).map(|text| text.unwrap().len() as u64)
        };
        assert_eq!(read(LARGEST_BYTES).unwrap(), LARGEST_BYTES);
        assert_eq!(read(LARGEST_BYTES + 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
