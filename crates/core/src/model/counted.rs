//! Formats numbers with their nouns.

use std::fmt::Display;

/// Formats `1 limit`, `2 limits`: every output with a number of things uses this.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, one: &str, many: &str) -> String {
    let noun = if count == N::from(1) { one } else { many };
    format!("{count} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_others_are_plural() {
        let limits = |count: u64| counted(count, "limit", "limits");
        assert_eq!([0, 1, 2, 21].map(limits), ["0 limits", "1 limit", "2 limits", "21 limits"]);
    }
}
