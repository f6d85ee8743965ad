//! Names of namespaces, or prefixes of them that end in `*`.

/// Returns true if `name` equals one of `patterns`, or matches the prefix of one that ends in `*`.
pub fn matches(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    })
}
