//! The times of requests that pods report.

use std::{fmt, fs, path::Path, str::FromStr};

/// The times of one pod's requests in some seconds, in microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Window {
    pub(super) requests: usize,
    /// The median, including CPU time.
    pub(super) p50: u64,
    pub(super) p99: u64,
    /// The times for which the requests were blocked.
    pub(super) blocked_p50: u64,
    pub(super) blocked_p99: u64,
}

/// The figures of the empty node, with which all arms are compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Base {
    pub(super) p50: u64,
    pub(super) blocked_p50: u64,
    pub(super) blocked_p99: u64,
    pub(super) wall_p99: u64,
}

impl Base {
    pub(super) fn of(empty: &Window) -> Self {
        let Window { p50, p99, blocked_p50, blocked_p99, .. } = *empty;
        Self { p50, blocked_p50, blocked_p99, wall_p99: p99 }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, blocked_p50, blocked_p99, wall_p99 } = self;
        write!(f, "{p50},{blocked_p50},{blocked_p99},{wall_p99}")
    }
}

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[p50, blocked_p50, blocked_p99, wall_p99]) if p50 > 0 => {
                Ok(Self { p50, blocked_p50, blocked_p99, wall_p99 })
            }
            _ => Err(format!("{text:?} is not as --empty prints it: four numbers of microseconds")),
        }
    }
}

/// Its whole lines.
pub(super) fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}

/// Calculates the times from some lines of a file of times (`tests/load`).
pub(super) fn window(lines: &[String]) -> Window {
    let (mut took, mut blocked) = (Vec::new(), Vec::new());
    for request in lines.iter().flat_map(|line| line.split(' ').skip(1)) {
        let Some((all, waited)) = request.split_once('/') else { continue };
        let (Ok(all), Ok(waited)) = (all.parse::<u64>(), waited.parse::<u64>()) else { continue };
        took.push(all);
        blocked.push(waited);
    }
    took.sort_unstable();
    blocked.sort_unstable();
    let of = |times: &[u64], percent: usize| {
        times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or(0)
    };
    Window {
        requests: took.len(),
        p50: of(&took, 50),
        p99: of(&took, 99),
        blocked_p50: of(&blocked, 50),
        blocked_p99: of(&blocked, 99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_reads_as_it_is_written() {
        let base = Base { p50: 410, blocked_p50: 3, blocked_p99: 70, wall_p99: 1900 };
        assert_eq!(base.to_string().parse(), Ok(base));
        for wrong in ["", "1,2,3", "0,1,1,1", "1,2,3,x"] {
            assert!(wrong.parse::<Base>().unwrap_err().contains("--empty"), "{wrong:?}");
        }
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        assert_eq!(window(&[]), Window::default());
        let line = |second: u64| {
            (0..100).fold(second.to_string(), |line, n| line + &format!(" {}/{n}", 1000 + n))
        };
        let lines: Vec<String> = (0..2).map(line).collect();
        let (p50, p99, blocked_p50, blocked_p99) = (1049, 1098, 49, 98);
        assert_eq!(window(&lines), Window { requests: 200, p50, p99, blocked_p50, blocked_p99 });
    }
}
