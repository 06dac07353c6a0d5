//! The forms that are known.

/// A form in which a value is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// The bytes themselves.
    Raw,
    /// Hexadecimal digits: plain, `0x…`, `xxd -p`, or with separators.
    Hex,
    /// `\x…`, Postgres' bytea.
    PostgresHex,
    /// `X'…'`, a blob literal of SQLite.
    SqliteHex,
    /// `\x6b\x38…`, of `etcdctl --hex`.
    EtcdctlHex,
    /// Base64, standard alphabet.
    Base64,
    /// Base64, alphabet for URLs.
    Base64Url,
    /// The output of `xxd`.
    Xxd,
    /// The output of `hexdump -C`, or another dump of single bytes in hex.
    HexdumpC,
    /// The output of `hexdump`: little-endian words in hex, octal or decimal; or `-b` and `-c`.
    Hexdump,
    /// The output of `od`.
    Od,
    /// The output of `etcdctl get`, or of `watch`: each key on a line, then its value.
    EtcdctlPlain,
    /// The output of `etcdctl get --print-value-only` for several keys.
    EtcdctlValueOnly,
    /// The output of `etcdctl get -w json` or `watch -w json`, of etcd's HTTP gateway, or a part of it that `jq` printed.
    EtcdctlJson,
    /// The output of `etcdctl get -w fields` or `watch -w fields`.
    EtcdctlFields,
    /// The output of `etcdctl get -w protobuf` or `watch -w protobuf`.
    EtcdctlProtobuf,
    /// Strings in JSON, for example of `jq '.kvs[].value'`.
    JsonStrings,
    /// Rows of kine's table in JSON.
    JsonRows,
    /// Rows of kine's table, as `psql`, `sqlite3` or CSV print them.
    Rows,
    /// Text in UTF-16.
    Utf16,
}

impl Form {
    /// A short name, for output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Hex => "hex",
            Self::PostgresHex => "hex (Postgres bytea)",
            Self::SqliteHex => "hex (SQLite blob)",
            Self::EtcdctlHex => "etcdctl --hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Xxd => "xxd",
            Self::HexdumpC => "hexdump -C",
            Self::Hexdump => "hexdump",
            Self::Od => "od",
            Self::EtcdctlPlain => "etcdctl",
            Self::EtcdctlValueOnly => "etcdctl --print-value-only",
            Self::EtcdctlJson => "etcdctl -w json",
            Self::EtcdctlFields => "etcdctl -w fields",
            Self::EtcdctlProtobuf => "etcdctl -w protobuf",
            Self::JsonStrings => "JSON strings",
            Self::JsonRows => "database rows in JSON",
            Self::Rows => "database rows",
            Self::Utf16 => "UTF-16",
        }
    }

    /// A name for programs, which does not change.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Hex => "hex",
            Self::PostgresHex => "postgres-hex",
            Self::SqliteHex => "sqlite-hex",
            Self::EtcdctlHex => "etcdctl-hex",
            Self::Base64 => "base64",
            Self::Base64Url => "base64url",
            Self::Xxd => "xxd",
            Self::HexdumpC => "hexdump-c",
            Self::Hexdump => "hexdump",
            Self::Od => "od",
            Self::EtcdctlPlain => "etcdctl-plain",
            Self::EtcdctlValueOnly => "etcdctl-value-only",
            Self::EtcdctlJson => "etcdctl-json",
            Self::EtcdctlFields => "etcdctl-fields",
            Self::EtcdctlProtobuf => "etcdctl-protobuf",
            Self::JsonStrings => "json-strings",
            Self::JsonRows => "json-rows",
            Self::Rows => "rows",
            Self::Utf16 => "utf-16",
        }
    }

    /// A command whose output this crate reads without doubt, for a user who holds this form.
    pub const fn command(self) -> &'static str {
        match self {
            Self::PostgresHex => {
                r#"psql --csv -c "SELECT id, name, encode(value, 'hex') FROM kine WHERE name = '<key>'""#
            }
            Self::SqliteHex => {
                r#"sqlite3 state.db "SELECT id, name, hex(value) FROM kine WHERE name = '<key>'""#
            }
            Self::Rows | Self::JsonRows => {
                r#"sqlite3 state.db "SELECT id, name, hex(value) FROM kine WHERE name = '<key>'", or encode(value, 'hex') in psql"#
            }
            Self::Hex
            | Self::Base64
            | Self::Base64Url
            | Self::Xxd
            | Self::HexdumpC
            | Self::Hexdump
            | Self::Od => "etcdctl get <key> -w json, or the whole output of xxd -p",
            Self::Raw
            | Self::EtcdctlHex
            | Self::EtcdctlPlain
            | Self::EtcdctlValueOnly
            | Self::EtcdctlJson
            | Self::EtcdctlFields
            | Self::EtcdctlProtobuf
            | Self::JsonStrings
            | Self::Utf16 => "etcdctl get <key> -w json",
        }
    }
}
