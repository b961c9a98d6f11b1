//! The executor of a shard: its thread, its tasks, its timers.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use futures_util::future::{Either, select};
use glommio::{Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares};
use io_uring::{IoUring, Probe};

/// How long one task may keep the others waiting, at most. The default of 100 ms would be the ack
/// latency of everybody who shares the core with a busy stream.
const PREEMPT_AFTER: Duration = Duration::from_millis(1);

/// The same until a shard's own task queue exists. See [`in_own_queue`] for why it is so long.
const PREEMPT_AT_START: Duration = Duration::from_secs(1);

/// How long a shard can lose sight of a task that could run, in glommio up to 0.9 and glommio-ng 0.12.
/// Not multiples of each other, so that they rarely fall together.
const PULSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(43)];

/// Threads of a shard for calls that block and have no place on its ring: rename, unlink, fsync of a
/// directory. Not on the shard's core, where they would wait for it, and the log for them.
const BLOCKING_THREADS: usize = 2;

/// Kernel threads of a shard for what its ring cannot do without blocking, which is every fdatasync, and
/// every write to blocks that were never written. The kernel's own limit is four for each core of the
/// machine; a thousand partitions that are written at once would queue up behind it.
const RING_WORKERS_MAX: u32 = 64;

/// Starts a task on this executor that runs to its end by itself.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(task).detach();
}

/// Waits. Dropping the future ends the wait.
pub(crate) async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// The result of `future`, or nothing when it takes longer than `duration`.
pub(crate) async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(sleep(duration))).await {
        Either::Left((result, _)) => Some(result),
        Either::Right(((), _)) => None,
    }
}

/// Runs hyper's tasks on this executor.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        spawn(future);
    }
}

/// The thread of a shard.
#[derive(Debug)]
pub(crate) struct ShardThread<T>(std::thread::JoinHandle<Option<T>>);

impl<T> ShardThread<T> {
    /// What the shard ended with. Blocks until then.
    pub(crate) fn join(self) -> T {
        let ended = self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        ended.expect("a thread whose executor was made has run the shard")
    }
}

/// Why a shard could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// `io_uring` is forbidden, as container engines do.
    #[error(
        "io_uring is not allowed here ({0}): Docker 25 and containerd 2 forbid it by default; run the \
         container with a seccomp profile that allows io_uring, and see that \
         /proc/sys/kernel/io_uring_disabled is 0"
    )]
    Forbidden(#[source] io::Error),
    /// There is no `io_uring`, or an old one.
    #[error("this kernel has no usable io_uring ({0}): Linux 5.8 or later is needed")]
    Missing(#[source] io::Error),
    /// Too little memory may be locked.
    #[error(
        "too little memory may be locked for io_uring ({0}): raise RLIMIT_MEMLOCK to at least 512 KiB \
         per shard (`ulimit -l`, or LimitMEMLOCK= of systemd), or run fewer shards"
    )]
    Memlock(String),
    /// Something else.
    #[error("cannot start an executor on io_uring: {0}")]
    Other(String),
}

impl From<glommio::GlommioError<()>> for SpawnError {
    fn from(error: glommio::GlommioError<()>) -> Self {
        use glommio::{GlommioError, ReactorErrorKind};
        match error {
            GlommioError::ReactorError(kind @ ReactorErrorKind::MemLockLimit(..)) => {
                Self::Memlock(GlommioError::<()>::ReactorError(kind).to_string())
            }
            GlommioError::IoError(error) => error.into(),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<io::Error> for SpawnError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden(error),
            Some(libc::ENOSYS | libc::EINVAL) => Self::Missing(error),
            Some(libc::ENOMEM) => Self::Memlock(error.to_string()),
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Makes a ring and asks it what it can do. The executor does the same first thing, and panics where it is
/// not allowed to.
fn probe_io_uring() -> Result<(), SpawnError> {
    let ring = IoUring::new(1)?;
    Ok(ring.submitter().register_probe(&mut Probe::new())?)
}

/// Runs `main` in a task queue that is preempted as a shard needs it.
///
/// When the preemption timer runs out between its setting and the first task of a turn, as it does when
/// the kernel takes the core away there, the executor takes that for "nothing to run" and sleeps until
/// the next event of any kind, however many tasks could run. At the start, before there is any event,
/// it would sleep for ever: hence a long timer until `main` runs. Afterwards timers of ours bound it.
async fn in_own_queue<F, T>(main: impl FnOnce() -> F + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: 'static,
{
    let executor = glommio::executor();
    let queue =
        executor.create_task_queue(Shares::default(), Latency::Matters(PREEMPT_AFTER), "shard");
    let run = async move {
        for pulse in PULSES {
            spawn(async move {
                loop {
                    sleep(pulse).await;
                }
            });
        }
        main().await
    };
    let task = glommio::spawn_local_into(run, queue).expect("the queue has just been made");
    task.await
}

/// Cores for so many shards, one each; none, when there are not as many: then the scheduler places them.
pub(crate) fn cores(shards: usize) -> Vec<Option<usize>> {
    let allowed = rustix::thread::sched_getaffinity(None);
    let allowed: Vec<usize> = allowed.map_or_else(
        |_| Vec::new(),
        |set| (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect(),
    );
    let enough = allowed.len() >= shards;
    (0..shards).map(|shard| allowed.get(shard).copied().filter(|_| enough)).collect()
}

/// Runs `main` on an executor of its own, in a thread of that name, on one core if `core` says which. Returns when
/// the executor was made.
///
/// # Errors
/// What kept it from being made; `main` does not run then.
pub(crate) fn spawn_shard<F, T>(
    name: String,
    core: Option<usize>,
    main: impl FnOnce() -> F + Send + 'static,
) -> Result<ShardThread<T>, SpawnError>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (made, is_made) = sync_channel(1);
    let run = move || {
        let build = |placement| {
            LocalExecutorBuilder::new(placement)
                .preempt_timer(PREEMPT_AT_START)
                .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
                .make()
        };
        let executor = probe_io_uring().and_then(|()| {
            let executor = match core {
                // Where the cores cannot be told apart, as in some containers, the scheduler chooses.
                Some(core) => build(Placement::Fixed(core)).or_else(|_| build(Placement::Unbound)),
                None => build(Placement::Unbound),
            };
            Ok(executor?)
        });
        let (executor, result) = match executor {
            Ok(executor) => (Some(executor), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // Whoever spawns waits for this.
        made.send(result).ok();
        let executor = executor?;
        allow_ring_workers();
        Some(executor.run(in_own_queue(main)))
    };
    let thread = std::thread::Builder::new().name(name).spawn(run).map_err(SpawnError::Thread)?;
    match is_made.recv() {
        Ok(Err(error)) => Err(error),
        // A thread that ended without a word has panicked, as whoever joins it sees.
        Ok(Ok(())) | Err(_) => Ok(ShardThread(thread)),
    }
}

/// Raises the limit of kernel threads for all rings of this thread, which share it. Where that cannot be done,
/// before Linux 5.15, the kernel's own limit stays.
fn allow_ring_workers() {
    let raised = IoUring::new(1).and_then(|ring| {
        // Zero leaves the limit of threads for sockets and pipes as it is.
        ring.submitter().register_iowq_max_workers(&mut [RING_WORKERS_MAX, 0])
    });
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of io_uring's kernel threads stays as it is");
    }
}
