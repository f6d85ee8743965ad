//! Parses `/etc/sysconfig/wasp-agent`: `NAME=value` lines with the variables of the old DaemonSet.
//!
//! The agent reads the file itself, so that a reload applies changes and `check-config` shows them.

/// Returns `(line, name, value)` of each assignment, in order; `Err` holds the numbers of the lines
/// that are not assignments.
///
/// Handles the part of systemd's `EnvironmentFile=` quoting that these values can need: one pair of
/// single or double quotes around the value. Source: systemd.exec(5).
pub fn parse(text: &str) -> (Vec<(usize, String, String)>, Vec<usize>) {
    let (mut assignments, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let plain = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match line.split_once('=') {
            Some((name, value)) if plain(name.trim()) => {
                assignments.push((
                    index + 1,
                    name.trim().to_owned(),
                    unquoted(value.trim()).to_owned(),
                ));
            }
            _ => bad.push(index + 1),
        }
    }
    (assignments, bad)
}

fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_assignments_and_names_bad_lines() {
        let text =
            "# old agent\nVERBOSITY=\"3\"\n\nNODE_NAME = 'node-a'\nexport X=1\nnonsense\nEMPTY=\n";
        let (assignments, bad) = parse(text);
        let expected = [(2, "VERBOSITY", "3"), (4, "NODE_NAME", "node-a"), (7, "EMPTY", "")];
        assert_eq!(
            assignments,
            expected.map(|(line, name, value)| (line, name.to_owned(), value.to_owned()))
        );
        assert_eq!(bad, [5, 6]);
    }
}
