//! TCP over loopback between two threads that do nothing else, as `iperf3` does it.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::rate;
use crate::{
    clock,
    latency::{Percentiles, Recorder},
};

/// Sizes of writes that are tried. The reader reads as much at once.
const WRITE_BYTES: [usize; 5] = [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20];
/// The first part of each try is not counted: the congestion window grows meanwhile.
const WARM_UP: Duration = Duration::from_millis(100);
const MESSAGE_BYTES: usize = 64;

/// The best throughput of one stream.
pub(super) struct Throughput {
    pub(super) bytes_per_second: f64,
    pub(super) write_bytes: usize,
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let here = TcpStream::connect(listener.local_addr()?)?;
    let (there, _) = listener.accept()?;
    here.set_nodelay(true)?;
    there.set_nodelay(true)?;
    Ok((here, there))
}

/// The best of several sizes, `time` for all of them together.
pub(super) fn throughput(time: Duration) -> io::Result<Throughput> {
    let each = time.max(Duration::from_millis(500)) / 2;
    let mut best = Throughput { bytes_per_second: 0.0, write_bytes: 0 };
    for write_bytes in WRITE_BYTES {
        let bytes_per_second = one_throughput(write_bytes, each)?;
        if bytes_per_second > best.bytes_per_second {
            best = Throughput { bytes_per_second, write_bytes };
        }
    }
    Ok(best)
}

fn one_throughput(write_bytes: usize, time: Duration) -> io::Result<f64> {
    let (mut writer, mut reader) = pair()?;
    let writing = thread::spawn(move || {
        let bytes = vec![0x5a; write_bytes];
        // Ends when the reader has seen enough and goes away.
        while writer.write_all(&bytes).is_ok() {}
    });
    let mut bytes = vec![0; write_bytes];
    let begun = clock::now();
    while begun.elapsed() < WARM_UP {
        let _counted_later = reader.read(&mut bytes)?;
    }
    let start = clock::now();
    let mut received = 0_u64;
    while start.elapsed() < time {
        received += reader.read(&mut bytes)? as u64;
    }
    let measured = rate(received, start.elapsed());
    drop(reader);
    writing.join().map_err(|_panic| io::Error::other("the writing thread panicked"))?;
    Ok(measured)
}

/// A small message there and back.
pub(super) fn round_trip(time: Duration) -> io::Result<Percentiles> {
    let (mut here, mut there) = pair()?;
    let echoing = thread::spawn(move || {
        let mut message = [0; MESSAGE_BYTES];
        while there.read_exact(&mut message).is_ok() && there.write_all(&message).is_ok() {}
    });
    let mut latencies = Recorder::new();
    let mut message = [0; MESSAGE_BYTES];
    let begun = clock::now();
    while begun.elapsed() < time {
        let start = clock::now();
        here.write_all(&message)?;
        here.read_exact(&mut message)?;
        latencies.record(start.elapsed());
    }
    drop(here);
    echoing.join().map_err(|_panic| io::Error::other("the echoing thread panicked"))?;
    Ok(latencies.percentiles())
}
