//! The disk that remembers: what was written and flushed, in order, and what a power cut at any
//! moment of it may leave behind. Knows nothing of loop devices, file systems or Forebay.

mod device;
mod filesystem;
mod image;
mod log;

pub(crate) use self::filesystem::{DiskClock, IMAGE_FILE_NAME, RecordingDisk};
pub(crate) use self::image::{Leniency, survivors};
pub(crate) use self::log::{DiskLog, Position};
