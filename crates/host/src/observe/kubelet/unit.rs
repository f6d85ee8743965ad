//! Builds a unit's command line as systemd does: unit files, environment files, variables.
//!
//! Source: `systemd.unit(5)`, `systemd.service(5)` ("Command lines"), `systemd.exec(5)`, and
//! systemd's `src/basic/env-file.c`, `env-util.c` (`replace_env_argv`), `extract-word.c`.

use std::{collections::BTreeMap, path::PathBuf};

use crate::observe::units::in_section;

/// The command line of a unit, before the expansion of variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Without prefixes such as `-`; the first word is the program.
    pub command: Vec<String>,
    /// Of the service manager, before the unit's own.
    pub default_environment: Vec<(String, String)>,
    pub environment: Vec<(String, String)>,
    /// In order; `true` if the file may be missing.
    pub environment_files: Vec<(PathBuf, bool)>,
    /// `WorkingDirectory=`; empty means the root.
    pub folder: PathBuf,
    /// Variables, or variables with a value, that the program does not get.
    pub unset: Vec<String>,
}

pub type Environment = BTreeMap<String, String>;

impl Service {
    /// Starts with the variables of systemd's own configuration (systemd-system.conf(5),
    /// `DefaultEnvironment=`).
    pub fn of_manager(texts: Vec<String>) -> Self {
        let mut default_environment = Vec::new();
        for text in texts {
            in_section(&text, "Manager", |key, value| {
                if key == "DefaultEnvironment" {
                    match value {
                        "" => default_environment.clear(),
                        _ => default_environment.extend(assignments(value, "")),
                    }
                }
            });
        }
        Self { default_environment, ..Self::default() }
    }

    /// Applies `[Service]` of one file of `unit` on top of the previous ones.
    pub fn read(&mut self, unit: &str, text: &str) {
        in_section(text, "Service", |key, value| {
            match key {
                "ExecStart" if value.is_empty() => self.command.clear(),
                "ExecStart" => self.command = command(value, unit),
                "Environment" if value.is_empty() => self.environment.clear(),
                "Environment" => self.environment.extend(assignments(value, unit)),
                "EnvironmentFile" if value.is_empty() => self.environment_files.clear(),
                "EnvironmentFile" => {
                    let path = value.strip_prefix('-');
                    let file = specifiers(path.unwrap_or(value), unit).into();
                    self.environment_files.push((file, path.is_some()));
                }
                // `~` is root's home.
                "WorkingDirectory" => {
                    let path = specifiers(value.strip_prefix('-').unwrap_or(value), unit);
                    self.folder = if path == "~" { "/root".into() } else { path.into() };
                }
                "UnsetEnvironment" if value.is_empty() => self.unset.clear(),
                "UnsetEnvironment" => {
                    self.unset.extend(words(&specifiers(value, unit), Escapes::C))
                }
                _ => {}
            }
        });
    }

    /// Returns the command line; `read` returns the texts of the environment files that a name with
    /// wildcards means.
    pub fn command_line<Texts: IntoIterator<Item = String>>(
        &self,
        read: impl FnMut(&PathBuf) -> Texts,
    ) -> Vec<String> {
        expand(&self.command, &self.variables(read))
    }

    /// Returns the variables that the program gets.
    pub fn variables<Texts: IntoIterator<Item = String>>(
        &self,
        mut read: impl FnMut(&PathBuf) -> Texts,
    ) -> Environment {
        let variables = self.default_environment.iter().chain(&self.environment);
        let mut environment: Environment = variables.cloned().collect();
        for (path, _) in &self.environment_files {
            let texts = read(path).into_iter();
            environment.extend(texts.flat_map(|text| environment_file(&text)));
        }
        environment.retain(|name, value| {
            !self.unset.iter().any(|unset| match unset.split_once('=') {
                Some((unset, of)) => unset == name && of == value,
                None => unset == name,
            })
        });
        environment
    }
}

fn assignments(value: &str, unit: &str) -> Vec<(String, String)> {
    let words = words(&specifiers(value, unit), Escapes::C);
    words.iter().filter_map(|word| assignment(word)).collect()
}

/// Parses `NAME=value` if the name is valid for a variable.
pub fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    is_name(name).then(|| (name.to_owned(), value.to_owned()))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Expands the specifiers that are the same on every host (systemd.unit(5), "Specifiers"). `unit` is
/// the unit's own name.
fn specifiers(text: &str, unit: &str) -> String {
    let stem = unit.rsplit_once('.').map_or(unit, |(stem, _)| stem);
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let last = prefix.rsplit('-').next().unwrap_or(prefix);
    let plain = |escaped: &str| escaped.replace('-', "/");
    let named = if instance.is_empty() { prefix } else { instance };
    let mut result = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('%', Some('%')) => result.push('%'),
            ('%', Some('n')) => result.push_str(unit),
            ('%', Some('N')) => result.push_str(stem),
            ('%', Some('p')) => result.push_str(prefix),
            ('%', Some('P')) => result.push_str(&plain(prefix)),
            ('%', Some('j' | 'J')) => result.push_str(last),
            ('%', Some('i')) => result.push_str(instance),
            ('%', Some('I')) => result.push_str(&plain(instance)),
            ('%', Some('f')) => result.push_str(&format!("/{}", plain(named))),
            ('%', Some('E')) => result.push_str("/etc"),
            ('%', Some('S')) => result.push_str("/var/lib"),
            ('%', Some('C')) => result.push_str("/var/cache"),
            ('%', Some('L')) => result.push_str("/var/log"),
            ('%', Some('t')) => result.push_str("/run"),
            ('%', Some('T')) => result.push_str("/tmp"),
            ('%', Some('V')) => result.push_str("/var/tmp"),
            ('%', Some('h')) => result.push_str("/root"),
            ('%', Some('s')) => result.push_str("/bin/sh"),
            ('%', Some('u' | 'g')) => result.push_str("root"),
            ('%', Some('U' | 'G')) => result.push('0'),
            _ => {
                result.push(c);
                continue;
            }
        }
        chars.next();
    }
    result
}

fn command(value: &str, unit: &str) -> Vec<String> {
    let without = value.trim_start_matches(['-', ':', '+', '!', '@', '|']);
    let prefix = &value[..value.len() - without.len()];
    let mut words = words(&specifiers(without, unit), Escapes::C);
    if let Some(end) = words.iter().position(|word| word == ";") {
        words.truncate(end);
    }
    if prefix.contains('@') && words.len() > 1 {
        // The name that the program gets as its own.
        words.remove(1);
    }
    if prefix.contains(':') {
        // No expansion of variables: each `$` is literal.
        words.iter_mut().for_each(|word| *word = word.replace('$', "$$"));
    }
    words
}

/// The meaning of a backslash outside of single quotes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    /// As in C.
    C,
    /// The next character is literal.
    Plain,
}

/// Splits at white space; quotes keep words together.
fn words(text: &str, escapes: Escapes) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (_, '\\') => {
                let word = word.get_or_insert_default();
                match escapes {
                    Escapes::C => unescape(&mut chars, word),
                    Escapes::Plain => word.extend(chars.next()),
                }
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn unescape(chars: &mut std::str::Chars<'_>, word: &mut String) {
    let Some(c) = chars.next() else { return word.push('\\') };
    let number = |chars: &mut std::str::Chars<'_>, digits: usize, radix: u32, first: &str| {
        let text: String = first.chars().chain(chars.clone().take(digits)).collect();
        let code = u32::from_str_radix(&text, radix).ok()?;
        let found = char::from_u32(code).filter(|c| *c != '\0')?;
        for _ in 0..digits {
            chars.next();
        }
        Some(found)
    };
    let found = match c {
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        's' => Some(' '),
        '\\' | '"' | '\'' => Some(c),
        'x' => number(chars, 2, 16, ""),
        'u' => number(chars, 4, 16, ""),
        'U' => number(chars, 8, 16, ""),
        '0'..='3' => number(chars, 2, 8, &c.to_string()),
        _ => None,
    };
    match found {
        Some(found) => word.push(found),
        None => word.extend(['\\', c]),
    }
}

/// Expands variables: `$NAME` as a word becomes as many words as it has, `${NAME}` its text.
pub fn expand(command: &[String], environment: &Environment) -> Vec<String> {
    let mut expanded = Vec::new();
    for word in command {
        match word.strip_prefix('$') {
            Some(name) if !name.is_empty() && !name.starts_with(['{', '$']) => {
                let value = environment.get(name).map(String::as_str).unwrap_or_default();
                expanded.extend(words(value, Escapes::Plain));
            }
            _ => expanded.push(braced(word, environment)),
        }
    }
    expanded
}

fn braced(word: &str, environment: &Environment) -> String {
    let mut result = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        let name = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        rest = match name {
            Some((name, after)) => {
                result.push_str(environment.get(name).map(String::as_str).unwrap_or_default());
                after
            }
            None => {
                result.push('$');
                after.strip_prefix('$').unwrap_or(after)
            }
        };
    }
    result + rest
}

/// Returns the variables of an environment file; none if one of them is not UTF-8, as in systemd.
/// Comments may be of any encoding.
pub fn environment_file(text: &str) -> Vec<(String, String)> {
    #[derive(PartialEq)]
    enum At {
        BeforeKey,
        Key,
        BeforeValue,
        Value,
        Escape,
        Single,
        Double,
        DoubleEscape,
        Comment,
        CommentEscape,
    }
    let mut found = Vec::new();
    let (mut key, mut value) = (String::new(), String::new());
    // Length of the value without trailing white space.
    let mut kept = 0;
    let mut at = At::BeforeKey;
    let mut is_utf8 = true;
    let mut push = |key: &mut String, value: &mut String, kept: usize| {
        value.truncate(kept);
        let name = std::mem::take(key);
        let value = std::mem::take(value);
        is_utf8 &= ![&name, &value].iter().any(|of| of.contains(char::REPLACEMENT_CHARACTER));
        if is_name(name.trim_end()) {
            found.push((name.trim_end().to_owned(), value));
        }
    };
    for c in text.chars() {
        let newline = matches!(c, '\n' | '\r');
        let blank = newline || matches!(c, ' ' | '\t');
        at = match at {
            At::BeforeKey if matches!(c, '#' | ';') => At::Comment,
            At::BeforeKey if blank => At::BeforeKey,
            At::BeforeKey => {
                key.push(c);
                At::Key
            }
            At::Key if newline => {
                key.clear();
                At::BeforeKey
            }
            At::Key if c == '=' => {
                kept = 0;
                At::BeforeValue
            }
            At::Key => {
                key.push(c);
                At::Key
            }
            At::BeforeValue | At::Value if newline => {
                push(&mut key, &mut value, kept);
                kept = 0;
                At::BeforeKey
            }
            At::BeforeValue if c == '\'' => At::Single,
            At::BeforeValue if c == '"' => At::Double,
            At::BeforeValue if blank => At::BeforeValue,
            At::BeforeValue | At::Value if c == '\\' => At::Escape,
            At::BeforeValue | At::Value => {
                value.push(c);
                if !blank {
                    kept = value.len();
                }
                At::Value
            }
            At::Escape => {
                if !newline {
                    value.push(c);
                    kept = value.len();
                }
                At::Value
            }
            At::Single if c == '\'' => At::BeforeValue,
            At::Double if c == '"' => At::BeforeValue,
            At::Double if c == '\\' => At::DoubleEscape,
            At::Single | At::Double => {
                value.push(c);
                kept = value.len();
                at
            }
            At::DoubleEscape => {
                if matches!(c, '"' | '\\' | '`' | '$') {
                    value.push(c);
                } else if c != '\n' {
                    value.extend(['\\', c]);
                }
                kept = value.len();
                At::Double
            }
            At::Comment if c == '\\' => At::CommentEscape,
            At::Comment if newline => At::BeforeKey,
            At::Comment | At::CommentEscape => At::Comment,
        };
    }
    if !matches!(at, At::BeforeKey | At::Key | At::Comment | At::CommentEscape) {
        push(&mut key, &mut value, kept);
    }
    if is_utf8 { found } else { Vec::new() }
}

#[cfg(test)]
#[path = "unit_tests.rs"]
mod tests;
