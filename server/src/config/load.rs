//! Puts the layers over each other: defaults, file, environment, flags.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::node::Config;
use super::settings::settings;
use super::value::nearest;

/// A setting from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// As it was written, `--data` for example.
    pub flag: String,
    /// Name of the setting, `node.data` for example.
    pub setting: String,
    /// Text of the value.
    pub value: String,
}

/// A file that is read, and how a position in it becomes a line.
struct Source<'a> {
    text: &'a str,
    at: &'a dyn Fn(usize) -> Origin,
}

/// Variables of the environment that begin like this, and hold [`SEPARATOR`] further on, are settings.
const PREFIX: &str = "FOREBAY_";

/// Between section and key in the name of a variable.
const SEPARATOR: &str = "__";

impl Config {
    /// Reads the file, if there is one, then the environment, then the flags; what is read later stands
    /// over what was read before.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
            config.read_toml(path, &text)?;
        }
        for (variable, value) in environment {
            let Some(name) = setting_of_variable(&variable) else {
                refuse_single_separator(variable)?;
                continue;
            };
            config.set(&name, &value, Origin::Environment { variable })?;
        }
        for flag in flags {
            config.set(&flag.setting, &flag.value, Origin::Flag { flag: flag.flag.clone() })?;
        }
        config.complete()
    }

    /// Every setting: its name, the text of its value, and where that comes from.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, String, &Origin)> {
        settings().iter().map(|setting| {
            let origin = self.origins.get(setting.name).unwrap_or(&Origin::Default);
            (setting.name, (setting.show)(self), origin)
        })
    }

    fn set(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), ConfigError> {
        let Some(setting) = settings().iter().find(|setting| setting.name == name) else {
            let nearest = nearest(name, settings().iter().map(|setting| setting.name));
            return Err(ConfigError::Unknown { origin, found: name.to_owned(), nearest });
        };
        if let Err(source) = (setting.set)(self, value) {
            return Err(ConfigError::Value {
                origin,
                setting: setting.name,
                source: source.into(),
            });
        }
        self.origins.insert(setting.name, origin);
        Ok(())
    }

    fn read_toml(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let at = |position: usize| {
            let line = text[..position.min(text.len())].matches('\n').count() + 1;
            Origin::File { path: path.to_owned(), line }
        };
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            origin: at(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        for (section, table) in document.get_ref() {
            let section_at = section.span().start;
            let section = section.get_ref();
            let DeValue::Table(table) = table.get_ref() else {
                // A key above all sections.
                let nearest = nearest_key(section);
                let found = section.to_string();
                return Err(ConfigError::Unknown { origin: at(section_at), found, nearest });
            };
            self.read_section(section, at(section_at), table, &Source { text, at: &at })?;
        }
        Ok(())
    }

    /// A table, which may hold others: `cluster` holds `cluster.etcd`.
    fn read_section(
        &mut self,
        section: &str,
        origin: Origin,
        table: &DeTable<'_>,
        source: &Source<'_>,
    ) -> Result<(), ConfigError> {
        if table.is_empty()
            && !sections()
                .any(|known| known == section || known.starts_with(&format!("{section}.")))
        {
            let nearest = nearest(section, sections());
            return Err(ConfigError::Unknown { origin, found: section.to_owned(), nearest });
        }
        for (key, value) in table {
            let name = format!("{section}.{}", key.get_ref());
            let origin = (source.at)(key.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => self.read_section(&name, origin, inner, source)?,
                plain => self.set(&name, &text_of(plain, &source.text[value.span()]), origin)?,
            }
        }
        Ok(())
    }
}

/// `node.data` for `FOREBAY_NODE__DATA`; none for variables that are no settings.
fn setting_of_variable(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(PREFIX)?;
    name.contains(SEPARATOR).then(|| name.replace(SEPARATOR, ".").to_ascii_lowercase())
}

/// Refuses what would be a setting, had it the right separator. Other variables of the prefix are not
/// ours: container engines make such from the names of services.
fn refuse_single_separator(variable: String) -> Result<(), ConfigError> {
    let name = variable.strip_prefix(PREFIX).unwrap_or_default().to_ascii_lowercase();
    let meant = settings().iter().find(|setting| setting.name.replace('.', "_") == name);
    let Some(setting) = meant else { return Ok(()) };
    let expected = setting.name.replace('.', SEPARATOR).to_ascii_uppercase();
    Err(ConfigError::Variable { variable, expected: format!("{PREFIX}{expected}") })
}

/// Strings without their quotes, everything else as it was written.
fn text_of(value: &DeValue<'_>, written: &str) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        _ => written.to_owned(),
    }
}

fn sections() -> impl Iterator<Item = &'static str> {
    let of_setting = |name: &'static str| name.rsplit_once('.').map(|(section, _)| section);
    settings().iter().filter_map(move |setting| of_setting(setting.name))
}

/// The setting whose key is nearest, in whatever section.
fn nearest_key(key: &str) -> Option<&'static str> {
    let keys = settings().iter().filter_map(|setting| setting.name.rsplit_once('.'));
    let close = nearest(key, keys.map(|(_, key)| key))?;
    settings().iter().map(|setting| setting.name).find(|name| name.ends_with(close))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        config.read_toml(Path::new("node.toml"), text)?;
        config.complete()
    }

    fn error(text: &str) -> String {
        from_file(text).expect_err(text).to_string()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn a_later_layer_stands_over_an_earlier_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("node.toml");
        std::fs::write(&path, "[node]\nid = 7\nshards = 3\n[storage]\nfsync = 'interval:5ms'\n")
            .expect("written");
        let environment = [pair("FOREBAY_NODE__SHARDS", "4"), pair("FOREBAY_ENDPOINT", "x:1")];
        let flag = Flag { flag: "--node-id".into(), setting: "node.id".into(), value: "9".into() };
        let config =
            Config::load(Some(&path), environment, &[flag]).expect("a right configuration");
        let entries: Vec<String> = config
            .entries()
            .filter(|(_, _, origin)| **origin != Origin::Default)
            .map(|(name, value, origin)| format!("{name} = {value} ({origin})"))
            .collect();
        assert_eq!(
            entries,
            [
                "node.id = 9 (flag --node-id)".to_owned(),
                "node.shards = 4 (environment FOREBAY_NODE__SHARDS)".to_owned(),
                format!("storage.fsync = interval:5ms ({}:5)", path.display()),
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_file_line_key_and_the_nearest() {
        assert_eq!(
            error("[storage]\nfsync = \"batch\"\nmemory_per_shrd = \"1GiB\"\n"),
            "node.toml:3: there is no setting \"storage.memory_per_shrd\"; \
             did you mean \"storage.memory_per_shard\"?"
        );
        assert_eq!(
            error("[nod]\nid = 1\n"),
            "node.toml:2: there is no setting \"nod.id\"; did you mean \"node.id\"?"
        );
        assert_eq!(
            error("\n[nod]\n"),
            "node.toml:2: there is no setting \"nod\"; did you mean \"node\"?"
        );
        assert!(from_file("[node]\n[topics]\n").is_ok());
        assert_eq!(
            error("listen = 'a:1'\n"),
            "node.toml:1: there is no setting \"listen\"; did you mean \"network.listen\"?"
        );
        let single = Config::load(None, [pair("FOREBAY_NETWORK_LISTEN", "a:1")], &[]);
        assert_eq!(
            single.expect_err("one underscore").to_string(),
            "environment FOREBAY_NETWORK_LISTEN: there is no such setting; \
             did you mean FOREBAY_NETWORK__LISTEN, with two underscores?"
        );
        assert!(Config::load(None, [pair("FOREBAY_SERVICE_HOST", "a")], &[]).is_ok());
        let missing = Config::load(None, [pair("FOREBAY_NODE__DATE", "/x")], &[]);
        assert_eq!(
            missing.expect_err("unknown").to_string(),
            "environment FOREBAY_NODE__DATE: there is no setting \"node.date\"; \
             did you mean \"node.data\"?"
        );
    }

    #[test]
    fn a_bad_value_is_refused_with_file_line_key_and_the_nearest() {
        assert_eq!(
            error("[topics]\n\nretention_size = \"64MB\"\n"),
            "node.toml:3: topics.retention_size: expected a size such as 64MiB \
             (B, KiB, MiB, GiB, TiB), found \"64MB\"; did you mean \"64MiB\"?"
        );
        assert_eq!(
            error("[topics]\nmax_batch_size = '4MiB'\n"),
            "node.toml:2: topics.max_batch_size: expected 4KiB to 3MiB, found 4MiB"
        );
        assert_eq!(
            error("[topics]\nauto_create = 1\n"),
            "node.toml:2: topics.auto_create: expected `true` or `false`, found \"1\""
        );
        assert_eq!(
            error("[storage]\nfsync = 'bacth'\n"),
            "node.toml:2: storage.fsync: expected `batch` or `interval:50ms`, found \"bacth\"; \
             did you mean \"batch\"?"
        );
        assert!(from_file("[storage]\nfsync = 'interval:0ms'\n").is_err());
        assert!(from_file("[node]\nshards = 0\n").is_err());
    }

    #[test]
    fn ports_of_shards_that_do_not_exist_are_refused() {
        assert_eq!(
            error("[node]\nshards = 4\n[network]\nlisten = '127.0.0.1:65532'\n"),
            "node.toml:4: network.listen: the ports of 4 shards follow it, up to 65536; the last port is 65535"
        );
        assert!(from_file("[node]\nshards = 4\n[network]\nlisten = '127.0.0.1:65531'\n").is_ok());
        assert!(from_file("[network]\nlisten = '127.0.0.1:0'\n").is_ok());
        assert_eq!(
            error("[node]\nshards = 1\n[network]\nadvertise = 'a:65535'\n"),
            "node.toml:4: network.advertise: the ports of 1 shards follow it, up to 65536; the last port is 65535"
        );
        assert_eq!(
            error("[network]\nadvertise = 'a:0'\n"),
            "node.toml:2: network.advertise: nobody can connect to port 0"
        );
    }

    #[test]
    fn http_on_a_port_of_grpc_is_refused() {
        let ports = |listen: &str, http: &str| {
            format!("[node]\nshards = 2\n[network]\nlisten = '{listen}'\nhttp = '{http}'\n")
        };
        assert_eq!(
            error(&ports("127.0.0.1:7400", "127.0.0.1:7402")),
            "node.toml:5: network.http: gRPC and its shards have the ports 7400 to 7402"
        );
        assert!(from_file(&ports("0.0.0.0:7400", "127.0.0.1:7400")).is_err());
        assert!(from_file(&ports("127.0.0.1:7400", "127.0.0.1:7403")).is_ok());
        assert!(from_file(&ports("127.0.0.2:7400", "127.0.0.1:7400")).is_ok());
        assert!(from_file(&ports("127.0.0.1:7400", "127.0.0.1:0")).is_ok());
    }

    #[test]
    fn the_default_of_http_makes_way_for_the_ports_of_many_shards() {
        let many = from_file("[node]\nshards = 100\n").expect("as on a machine with 100 cores");
        assert_eq!(many.network.http.port(), 7501);
        assert_eq!(from_file("[node]\nshards = 79\n").expect("fits").network.http.port(), 7480);
    }

    #[test]
    fn a_section_within_a_section_is_read_from_file_and_environment() {
        let config = from_file("[cluster.etcd]\nendpoints = 'http://a:1,http://b:2'\n");
        assert_eq!(config.expect("right").cluster.etcd.endpoints.0, ["http://a:1", "http://b:2"]);
        let pair = pair("FOREBAY_CLUSTER__ETCD__LEASE_TTL", "5s");
        let config = Config::load(None, [pair], &[]).expect("right");
        assert_eq!(config.cluster.etcd.lease_ttl.to_string(), "5s");
        assert_eq!(
            error("[cluster.etcd]\nendpoint = 'http://a:1'\n"),
            "node.toml:2: there is no setting \"cluster.etcd.endpoint\"; \
             did you mean \"cluster.etcd.endpoints\"?"
        );
        assert!(from_file("[cluster]\n").is_ok() && from_file("[cluster.etcd]\n").is_ok());
    }

    #[test]
    fn etcd_settings_that_need_each_other_are_refused_alone() {
        let secure = "endpoints = 'https://a:1'\n";
        for (settings, expected) in [
            ("ca = 'x'\n".to_owned(), "expected endpoints that begin with https://, found none"),
            (secure.to_owned(), "https needs cluster.etcd.ca, to know etcd by"),
            (format!("{secure}ca = 'x'\nkey = 'x'\n"), "cluster.etcd.cert is missing beside it"),
            ("user = 'x'\n".to_owned(), "cluster.etcd.password is missing beside it"),
        ] {
            let message = error(&format!("[cluster.etcd]\n{settings}"));
            assert!(message.ends_with(expected), "{message}");
        }
    }

    #[test]
    fn a_claim_of_data_goes_with_etcd_and_without_a_node_id() {
        let etcd = "[cluster.etcd]\nendpoints = 'http://a:1'\n";
        let claim = "[node]\nclaim_data = true\n";
        assert!(from_file(&format!("{claim}{etcd}")).is_ok());
        assert_eq!(
            error(claim),
            "node.toml:2: node.claim_data: needs cluster.etcd.endpoints: nodes that are alone share nothing"
        );
        assert_eq!(
            error(&format!("{claim}id = 4\n{etcd}")),
            "node.toml:2: node.claim_data: does not go with node.id, which comes with the directory that is taken"
        );
    }

    #[test]
    fn node_cannot_be_unhealthy_before_it_is_suspected() {
        assert_eq!(
            error("[cluster]\nsuspected_after = 6\n"),
            "default: cluster.unhealthy_after: expected at least cluster.suspected_after, 6, found 5"
        );
        assert!(from_file("[cluster]\nsuspected_after = 6\nunhealthy_after = 6\n").is_ok());
    }

    #[test]
    fn settings_that_can_never_work_are_refused() {
        assert_eq!(
            error("[topics]\nwrite_concern = '3'\n"),
            "node.toml:2: topics.write_concern: a single node keeps 1 replica, not 3"
        );
        assert!(from_file("[topics]\nwrite_concern = '1'\n").is_ok());
        for setting in ["retention_size = '0B'", "retention_time = '0ms'"] {
            let message = error(&format!("[topics]\n{setting}\n"));
            assert!(message.contains("expected "), "{message}");
        }
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused_with_its_line() {
        let message = error("[node]\nid = = 1\n");
        assert!(message.starts_with("node.toml:2: not valid TOML: "), "{message}");
    }
}
