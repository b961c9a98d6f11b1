//! What a node can be told, and where it is told: defaults, then a TOML file, then
//! `FOREBAY_SECTION__KEY` from the environment, then flags of the command line.
//!
//! Every setting stands once, in `settings`; the file, the environment, the flags, the settings of a
//! topic and docs/CONFIGURATION.md all come from that table.

mod address;
mod check;
mod error;
mod etcd;
mod load;
mod node;
mod settings;
mod topic;
mod units;
mod value;

pub use address::Address;
pub use error::{ConfigError, Origin, TopicSettingError};
pub use etcd::{ClusterConfig, Endpoints, EtcdConfig, KeyPrefix, Secret};
pub use load::Flag;
pub use node::{
    Advertise, Config, FaultsConfig, FsyncPolicy, LogConfig, LogFormat, NetworkConfig, NodeConfig,
    ShardCount, StorageConfig, TopicsConfig,
};
pub use settings::{Setting, settings, topic_settings};
pub use topic::{REPLICAS, REPLICAS_OF_CLUSTER, TopicSettings, WriteConcern};
pub use units::{ByteSize, Span};
pub use value::ValueError;
