//! A kind of message: its description, and the macro that makes a struct of it.

use std::fmt::Display;

/// The level of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Info,
    Warn,
    Error,
}

/// The description of a kind of message.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub id: &'static str,
    pub name: &'static str,
    pub level: LogLevel,
    /// One line. `@FIELD@` is replaced by a field's value, here and below.
    pub subject: &'static str,
    /// Fields in addition to MESSAGE and those that the journal adds.
    pub fields: &'static [&'static str],
    pub meaning: &'static str,
    pub remedy: &'static str,
}

/// A field that a message may lack.
pub type Optional<'a> = Option<&'a dyn Display>;

/// Converts `value` to an optional field.
pub fn optional<T: Display>(value: &Option<T>) -> Optional<'_> {
    value.as_ref().map(|value| value as &dyn Display)
}

macro_rules! messages {
    ($($name:ident $level:ident $id:literal $subject:literal
        $fields:tt $optional:tt $meaning:literal $remedy:literal)*) => {
        $(message!($name $level $id $subject $fields $optional $meaning $remedy);)*
        /// Every kind of message.
        pub const ALL: &[Message] = &[$($name::MESSAGE),*];
    };
}

macro_rules! message {
    ($name:ident $level:ident $id:literal $subject:literal {} [] $meaning:literal $remedy:literal) => {
        #[doc = $subject]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        emitted!($name [$name] $level $id $subject {} [] $meaning $remedy);
    };
    ($name:ident $level:ident $id:literal $subject:literal
        { $($field:ident),* } [ $($optional:ident),* ] $meaning:literal $remedy:literal) => {
        #[doc = $subject]
        #[derive(Clone, Copy)]
        pub struct $name<'a> {
            $(pub $field: &'a dyn Display,)*
            $(pub $optional: Optional<'a>,)*
        }

        impl std::fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
        emitted!($name [$name<'_>] $level $id $subject { $($field),* } [ $($optional),* ] $meaning $remedy);
    };
}

macro_rules! emitted {
    ($name:ident [$type:ty] $level:ident $id:literal $subject:literal
        { $($field:ident),* } [ $($optional:ident),* ] $meaning:literal $remedy:literal) => {
        impl $type {
            pub const MESSAGE: Message = Message {
                id: $id,
                name: stringify!($name),
                level: LogLevel::$level,
                subject: $subject,
                fields: &[$(stringify!($field),)* $(stringify!($optional),)*],
                meaning: $meaning,
                remedy: $remedy,
            };

            /// Logs the message; `text` is the part that people read.
            pub fn emit(&self, text: Arguments<'_>) {
                self.emit_at(LogLevel::$level, text);
            }

            /// Logs the message at another level than usual.
            pub fn emit_at(&self, level: LogLevel, text: Arguments<'_>) {
                macro_rules! event {
                    ($level_of_tracing:ident) => {
                        tracing::event!(
                            tracing::Level::$level_of_tracing,
                            message_id = $id,
                            $($field = %self.$field,)*
                            $($optional = self.$optional.map(tracing::field::display),)*
                            "{text}"
                        )
                    };
                }
                match level {
                    LogLevel::Info => event!(INFO),
                    LogLevel::Warn => event!(WARN),
                    LogLevel::Error => event!(ERROR),
                }
            }
        }
    };
}
