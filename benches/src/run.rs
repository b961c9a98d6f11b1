//! One run from beginning to end: floors, topic, load, clean-up, summary.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use forebay_client::Client;
use forebay_format::TopicId;
use thiserror::Error;
use tokio::time::timeout;

use crate::{
    args::LoadArgs,
    clock,
    floors::Floors,
    load::{self, LoadError, Outcome, Topic},
    plot::{self, PlotError},
    process::Servers,
    summary::Summary,
};

/// What may be needed beside warm-up and measurement: making the topic, filling it, the last
/// answers, deleting it.
const GRACE: Duration = Duration::from_mins(3);

/// Which load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sending.
    Produce,
    /// Reading.
    Consume,
    /// Both at once.
    E2e,
}

impl Kind {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::E2e => "e2e",
        }
    }
}

/// Why there is no result.
#[derive(Debug, Error)]
pub enum RunError {
    /// The load itself.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Floors, or files of results.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The picture.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The summary.
    #[error("cannot write the summary")]
    Json(#[from] serde_json::Error),
    /// It did not end by itself.
    #[error("the run did not end within {0:?}")]
    TooLong(Duration),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// Runs a load and sums it up. Blocks.
///
/// # Errors
/// When the load cannot be run. What was wrong with its results is in the summary.
pub fn run(kind: Kind, args: &LoadArgs) -> Result<(Summary, Outcome), RunError> {
    let servers = Servers::find(&args.server_pid, &args.endpoint);
    let data = args.server_data.clone().or_else(|| servers.data_directory());
    let floors = if args.no_floors {
        None
    } else {
        Some(Floors::measure(&disk_of(data.as_deref()), args.floor_time)?)
    };
    let started_at_ms = clock::wall_ms();
    let made = OnceLock::new();
    let outcome = runtime(args.threads)?.block_on(async {
        let patience = args.warmup + args.duration + GRACE;
        tokio::select! {
            done = timeout(patience, load(kind, args, (servers, data.as_deref()), &made)) => {
                done.unwrap_or(Err(RunError::TooLong(patience)))
            }
            _pressed = tokio::signal::ctrl_c() => Err(RunError::Interrupted),
        }
    });
    if matches!(outcome, Err(RunError::Interrupted | RunError::TooLong(_))) {
        delete_left_behind(args, made.get().copied());
    }
    let outcome = outcome?;
    Ok((Summary::new(kind.name(), started_at_ms, args, &outcome, floors), outcome))
}

async fn load(
    kind: Kind,
    args: &LoadArgs,
    (servers, data): (Servers, Option<&Path>),
    made: &OnceLock<TopicId>,
) -> Result<Outcome, RunError> {
    let client = Client::connect(args.endpoint.iter().cloned()).await.map_err(LoadError::from)?;
    let topic = match (kind, args.fill) {
        (Kind::Consume, None) => Topic::existing(&client, args).await?,
        _ => Topic::make(&client, args, data, made).await?,
    };
    if kind == Kind::E2e && !topic.is_new() {
        return Err(LoadError::NotNew { topic: args.topic.clone() }.into());
    }
    if let (Kind::Consume, Some(size), true) = (kind, args.fill, topic.is_new()) {
        load::fill(&client, args, size).await?;
    }
    let outcome = match kind {
        Kind::Produce => Box::pin(load::produce(args, servers)).await,
        Kind::Consume => load::consume(args, servers).await,
        Kind::E2e => load::e2e(args, servers).await,
    };
    let cleaned = topic.clean_up(&client, args.keep).await;
    let outcome = outcome?;
    cleaned?;
    Ok(outcome)
}

/// Deletes the topic of a run that broke off, if the run had made it. On a runtime of its own,
/// because the run's tasks are gone.
fn delete_left_behind(args: &LoadArgs, made: Option<TopicId>) {
    let Some(made) = made.filter(|_| !args.keep) else { return };
    let Ok(runtime) = runtime(1) else { return };
    runtime.block_on(async {
        let delete = async {
            let client = Client::without_connecting(args.endpoint.iter().cloned()).ok()?;
            load::delete_if_same(&client, &args.topic, made).await.ok()
        };
        let _nothing_more_can_be_done = timeout(Duration::from_secs(5), delete).await;
    });
}

fn runtime(threads: usize) -> io::Result<tokio::runtime::Runtime> {
    if threads <= 1 {
        return tokio::runtime::Builder::new_current_thread().enable_all().build();
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// A directory on the server's disk that is not the server's own.
fn disk_of(data: Option<&Path>) -> PathBuf {
    let beside = data.and_then(Path::parent).map(Path::to_owned);
    beside.filter(|path| path.is_dir()).unwrap_or_else(|| PathBuf::from("."))
}

/// Writes `summary.json`, `latency.hlog` and `latency.svg`.
///
/// # Errors
/// When a file cannot be written.
pub fn write_results(
    directory: &Path,
    summary: &Summary,
    outcome: &mut Outcome,
) -> Result<(), RunError> {
    std::fs::create_dir_all(directory)?;
    let mut json = serde_json::to_vec_pretty(summary)?;
    json.push(b'\n');
    std::fs::write(directory.join("summary.json"), json)?;
    let named = [("from the intended send time", &outcome.intended), ("service", &outcome.service)];
    let curves: Vec<_> =
        named.into_iter().filter_map(|(name, one)| Some((name, one.as_ref()?))).collect();
    if !curves.is_empty() {
        plot::latencies(&directory.join("latency.svg"), &summary.command, &curves)?;
    }
    if let Some(recorder) = outcome.intended.as_mut().or(outcome.service.as_mut()) {
        let mut log = BufWriter::new(File::create(directory.join("latency.hlog"))?);
        recorder.write_log(&mut log, summary.started_at_ms)?;
        log.flush()?;
    }
    Ok(())
}
