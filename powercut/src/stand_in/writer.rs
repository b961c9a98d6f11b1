//! The writer: a process of its own that puts blocks into a file by direct I/O, and now and then
//! makes a small file by rename, each synced before it says so on stdout.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use clap::{Args, ValueEnum};

use crate::seed::Dice;

pub(super) const BLOCK_BYTES: usize = 4096;
pub(super) const BLOCKS_FILE: &str = "blocks";
pub(super) const NAMES_DIRECTORY: &str = "names";
/// One name is made for this many groups of blocks.
const GROUPS_PER_NAME: u64 = 8;
const GROUP_BLOCKS_MAX: u64 = 16;

/// A mistake on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mistake {
    /// Says that blocks are safe without fdatasync.
    SkipFdatasync,
    /// Sends the fdatasync while the write is still in flight, and waits for both.
    EarlyFdatasync,
    /// Says that a name is safe without syncing the directory after the rename.
    SkipDirectoryFsync,
}

/// What the hidden subcommand takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct WriterOptions {
    #[arg(long)]
    pub(crate) directory: PathBuf,
    #[arg(long)]
    pub(crate) seed: u64,
    #[arg(long)]
    pub(crate) blocks: u64,
    #[arg(long)]
    pub(crate) mistake: Option<Mistake>,
}

/// Fills a block so that its number and the seed determine every byte.
pub(super) fn block_content(seed: u64, block: u64, bytes: &mut [u8]) {
    Dice::for_part(seed, block).fill(bytes);
}

/// What is in the file of a name.
pub(super) fn name_content(seed: u64, name: u64) -> String {
    format!("{name} {:016x}\n", Dice::for_part(seed, name ^ u64::MAX).next())
}

/// Writes everything, in groups of random size. Prints `block N` and `name N` when they are safe.
pub(crate) fn write(options: &WriterOptions) -> io::Result<()> {
    let directory = &options.directory;
    fs::create_dir(directory)?;
    fs::create_dir(directory.join(NAMES_DIRECTORY))?;
    let blocks = prepare_blocks(&directory.join(BLOCKS_FILE), options.blocks)?;
    for made in [&directory.join(NAMES_DIRECTORY), directory] {
        File::open(made)?.sync_all()?;
    }
    if let Some(parent) = directory.parent() {
        File::open(parent)?.sync_all()?;
    }
    let mut dice = Dice::new(options.seed);
    let mut buffer = AlignedBuffer::new();
    let mut said = io::stdout().lock();
    let (mut block, mut groups) = (0, 0);
    while block < options.blocks {
        let count = (1 + dice.below(GROUP_BLOCKS_MAX)).min(options.blocks - block);
        let bytes = buffer.of_blocks(count);
        for (number, bytes) in (block..).zip(bytes.chunks_mut(BLOCK_BYTES)) {
            block_content(options.seed, number, bytes);
        }
        write_group(&blocks, block, bytes, options.mistake)?;
        for number in block..block + count {
            writeln!(said, "block {number}")?;
        }
        block += count;
        if groups % GROUPS_PER_NAME == 0 {
            let name = groups / GROUPS_PER_NAME;
            make_name(directory, options, name)?;
            writeln!(said, "name {name}")?;
        }
        said.flush()?;
        groups += 1;
    }
    Ok(())
}

/// All blocks are written before they matter, so that later the size and the extents stay, an
/// fdatasync is nothing but a flush, and the file system commits nothing on its own account.
fn prepare_blocks(path: &Path, blocks: u64) -> io::Result<File> {
    let mut file = File::create_new(path)?;
    for _ in 0..blocks {
        file.write_all(&[0; BLOCK_BYTES])?;
    }
    file.sync_all()?;
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path)
}

fn write_group(
    file: &File,
    first_block: u64,
    bytes: &[u8],
    mistake: Option<Mistake>,
) -> io::Result<()> {
    let offset = first_block * u64::try_from(BLOCK_BYTES).expect("a small constant");
    match mistake {
        Some(Mistake::SkipFdatasync) => file.write_all_at(bytes, offset),
        Some(Mistake::EarlyFdatasync) => std::thread::scope(|scope| {
            let (submitting, submitted) = mpsc::channel();
            let write = scope.spawn(move || {
                submitting.send(()).expect("the receiver waits for this");
                file.write_all_at(bytes, offset)
            });
            submitted.recv().expect("sent by the thread above");
            file.sync_data()?;
            write.join().map_err(|_panic| io::Error::other("the writing thread panicked"))?
        }),
        Some(Mistake::SkipDirectoryFsync) | None => {
            file.write_all_at(bytes, offset)?;
            file.sync_data()
        }
    }
}

fn make_name(directory: &Path, options: &WriterOptions, name: u64) -> io::Result<()> {
    let names = directory.join(NAMES_DIRECTORY);
    let unfinished = names.join(format!("{name}.tmp"));
    let mut file = File::create_new(&unfinished)?;
    file.write_all(name_content(options.seed, name).as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, names.join(name.to_string()))?;
    if options.mistake == Some(Mistake::SkipDirectoryFsync) {
        return Ok(());
    }
    File::open(&names)?.sync_all()
}

/// Direct I/O wants memory that is aligned like the blocks on the disk.
struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    fn new() -> Self {
        let blocks = usize::try_from(GROUP_BLOCKS_MAX).expect("a small constant") + 1;
        let bytes = vec![0; blocks * BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        Self { bytes, start }
    }

    fn of_blocks(&mut self, count: u64) -> &mut [u8] {
        let len = usize::try_from(count).expect("a small count") * BLOCK_BYTES;
        &mut self.bytes[self.start..self.start + len]
    }
}
