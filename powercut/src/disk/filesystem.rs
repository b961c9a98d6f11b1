//! A FUSE file system of one file, the disk's image. It hands every request to the device thread;
//! nothing is cached on the way, so the log sees what the loop device sends, when it sends it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr,
    ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request as Caller, WriteFlags,
};

use super::device::{Device, QUEUE_REQUESTS_MAX, Request};
use super::log::{DiskLog, Position};

/// What the one file is called, in the directory where the disk is mounted.
pub(crate) const IMAGE_FILE_NAME: &str = "disk.img";

const IMAGE: INodeNo = INodeNo(2);
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Names and sizes never change while mounted.
const ATTRIBUTES_VALID: Duration = Duration::from_hours(1);

/// A mounted disk that remembers. The process that holds it must never touch a file system that
/// lies on it: were it killed while waiting for itself, it could not die.
#[derive(Debug)]
pub(crate) struct RecordingDisk {
    session: BackgroundSession,
    device: JoinHandle<DiskLog>,
    end: Arc<AtomicU64>,
}

impl RecordingDisk {
    /// Mounts `image` as the one file in `directory`. `seed` decides how long writes are in flight.
    pub(crate) fn mount(image: File, directory: &Path, seed: u64) -> io::Result<Self> {
        let size = image.metadata()?.len();
        let end = Arc::new(AtomicU64::new(0));
        let (requests, inbox) = sync_channel(QUEUE_REQUESTS_MAX);
        let device = Device::new(image, Arc::clone(&end), seed);
        let device = std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || device.run(&inbox))?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("forebay-power-cut".to_owned())];
        let session = fuser::spawn_mount(OneFile { size, requests }, directory, &config)?;
        Ok(Self { session, device, end })
    }

    /// Tells positions while the disk is in use, also from other threads.
    pub(crate) fn clock(&self) -> DiskClock {
        DiskClock { end: Arc::clone(&self.end) }
    }

    /// Unmounts, and gives back what happened. Everything above must be unmounted and detached.
    pub(crate) fn unmount(self) -> io::Result<DiskLog> {
        self.session.umount_and_join()?;
        self.device.join().map_err(|_panic| io::Error::other("the disk's thread panicked"))
    }
}

/// Reads a disk's present position.
#[derive(Debug, Clone)]
pub(crate) struct DiskClock {
    end: Arc<AtomicU64>,
}

impl DiskClock {
    /// Of a disk on which nothing happens any more.
    pub(crate) fn stopped_at(position: Position) -> Self {
        Self { end: Arc::new(AtomicU64::new(position.get())) }
    }

    /// Everything that the caller has heard of happened before this.
    pub(crate) fn now(&self) -> Position {
        Position::new(self.end.load(Ordering::SeqCst))
    }
}

struct OneFile {
    size: u64,
    requests: SyncSender<Request>,
}

impl OneFile {
    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0o700, 0),
            IMAGE => (FileType::RegularFile, 0o600, self.size),
            _ => return None,
        };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 512,
            flags: 0,
        })
    }

    fn send(&self, request: Request) {
        // The device ends only after this, its last sender. Were it gone all the same, dropping
        // the request answers it with an error.
        drop(self.requests.send(request));
    }
}

impl Filesystem for OneFile {
    fn init(&mut self, _caller: &Caller, config: &mut KernelConfig) -> io::Result<()> {
        // Without asynchronous direct I/O the loop device would send a flush only after the write
        // before it, and so hide a caller that does not wait. An old kernel may lack it.
        let _missing = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        config
            .set_max_write(WRITE_BYTES_MAX)
            .map(drop)
            .map_err(|nearest| io::Error::other(format!("the largest write is {nearest} bytes")))
    }

    fn lookup(&self, _caller: &Caller, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(IMAGE) {
            Some(attributes) if parent == INodeNo::ROOT && name == IMAGE_FILE_NAME => {
                reply.entry(&ATTRIBUTES_VALID, &attributes, Generation(0));
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Caller, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&ATTRIBUTES_VALID, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _caller: &Caller, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // Direct: no page cache of FUSE's own between the loop device and the log.
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _caller: &Caller,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.send(Request::Read { offset, size, reply });
    }

    fn write(
        &self,
        _caller: &Caller,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let within = u64::try_from(data.len())
            .ok()
            .and_then(|len| offset.checked_add(len))
            .is_some_and(|end| end <= self.size);
        if within {
            self.send(Request::Write { offset, bytes: data.to_vec(), reply });
        } else {
            reply.error(Errno::ENOSPC);
        }
    }

    /// Sent when a descriptor is closed: no promise about stable storage, in spite of its name.
    fn flush(&self, _: &Caller, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    /// What the loop device makes of a flush command.
    fn fsync(&self, _: &Caller, _: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.send(Request::Flush { reply });
    }
}
