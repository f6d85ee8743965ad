//! Parses single fields of the kernel's files. An unknown, truncated or malformed line hides no
//! other: kernels differ in the lines that they write, and some write lines outside of any common
//! format (`ShadowCallStack:10006144 kB` on arm64).

use std::{ffi::OsString, fs, io, os::unix::ffi::OsStringExt, path::Path};

/// Returns the file's text. Replaces bytes that are not UTF-8: they occur in names that others
/// chose.
pub fn read(path: &Path) -> io::Result<String> {
    let bytes = fs::read(path)?;
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The error for a file that lacks a required field.
pub fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it has no number for {name}"))
}

/// Returns the number in the line `NAME NUMBER`, as in `/proc/vmstat` and `memory.stat`.
pub fn counter(text: &str, name: &str) -> Option<u64> {
    values(text, name).find_map(|rest| digits(rest.strip_prefix(' ')?.trim()))
}

/// Returns the bytes in the line `NAME: NUMBER kB`, as in `/proc/meminfo`.
pub fn kibibytes(text: &str, name: &str) -> Option<u64> {
    values(text, name).find_map(|rest| {
        let number = rest.strip_prefix(':')?.trim().strip_suffix("kB")?;
        digits(number.trim_end())?.checked_mul(1024)
    })
}

/// Returns the rest of each line that begins with `name`.
fn values<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    text.match_indices(name).filter_map(|(at, _)| {
        let starts_line = at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n');
        let rest = text.get(at + name.len()..)?;
        starts_line.then(|| rest.split_once('\n').map_or(rest, |(line, _)| line))
    })
}

/// Accepts digits only, because `parse` accepts a sign too.
pub fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Undoes the kernel's escapes: a backslash and three octal digits for a blank, a tab, a line
/// break, a backslash and other characters that the file's format uses (Linux `fs/seq_file.c`,
/// `mangle_path`).
pub fn unescaped(text: &[u8]) -> OsString {
    let octal = |digits: &[u8]| {
        let value = digits.iter().try_fold(0_u32, |value, digit| match digit {
            b'0'..=b'7' => Some(value * 8 + u32::from(digit - b'0')),
            _ => None,
        });
        u8::try_from(value?).ok()
    };
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let byte = (*first == b'\\').then(|| octal(others.get(..3)?)).flatten();
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &others[3..] } else { others };
    }
    OsString::from_vec(plain)
}

/// Escapes everything but plain ASCII as the kernel does: the result names the same file.
pub fn escaped(name: &[u8]) -> String {
    use std::fmt::Write;
    name.iter().fold(String::with_capacity(name.len()), |mut text, byte| {
        if byte.is_ascii() {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "\\{byte:03o}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_field_is_found_whatever_surrounds_it() {
        let meminfo = "MemTotal:        4010192 kB\nShadowCallStack:10006144 kB\nHugePages_Total:       0\n\
                       SwapTotal:10485760 kB\nMemFreeX: 1 kB\nBad: x kB\nDirty: 18446744073709551615 kB\n\
                       MemFree: 12 kB";
        assert_eq!(kibibytes(meminfo, "MemTotal"), Some(4010192 << 10));
        assert_eq!(kibibytes(meminfo, "SwapTotal"), Some(10485760 << 10), "no blank");
        assert_eq!(kibibytes(meminfo, "MemFree"), Some(12 << 10), "the last line");
        for none in ["HugePages_Total", "Bad", "Dirty", "Total", "MemAvailable"] {
            assert_eq!(kibibytes(meminfo, none), None, "{none}");
        }
        let vmstat = "npswpin 1\npswpin_zero 2\nodd\npswpin 18446744073709551615\npswpout -1\n";
        assert_eq!(counter(vmstat, "pswpin"), Some(u64::MAX));
        assert_eq!(counter(vmstat, "pswpout"), None);
    }

    #[test]
    fn escapes_are_undone_and_odd_ones_are_left() {
        for (text, name) in [
            ("/mnt/my\\040disk", &b"/mnt/my disk"[..]),
            ("/var/a\\011b\\134c\\012", b"/var/a\tb\\c\n"),
            ("/odd\\04", b"/odd\\04"),
            ("/odd\\+12\\777\\", b"/odd\\+12\\777\\"),
        ] {
            assert_eq!(unescaped(text.as_bytes()).as_bytes(), name);
        }
        assert_eq!(escaped(b"/\xff\\040"), "/\\377\\040");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_names_survive(text in ".*", bytes: Vec<u8>) {
            for name in ["pswpin", "MemTotal", ""] {
                let _ = (counter(&text, name), kibibytes(&text, name));
            }
            let _ = unescaped(&bytes);
            let name: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\\').collect();
            let read = unescaped(escaped(&name).as_bytes());
            prop_assert_eq!(read.as_bytes(), &name[..]);
        }

        /// A field's own line counts, whatever other lines contain.
        #[test]
        fn other_lines_hide_no_field(before in "([^\n]*\n){0,4}", after in ".*", kib in 0..1_u64 << 50) {
            let before = before.replace("MemTotal", "");
            let text = format!("{before}MemTotal:{kib} kB\n{after}");
            prop_assert_eq!(kibibytes(&text, "MemTotal"), Some(kib << 10));
        }
    }
}
