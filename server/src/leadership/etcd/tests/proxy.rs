//! A way to etcd that a test can cut, while others still reach it.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Carries bytes to a port of this machine, as long as it is not cut.
pub(super) struct Proxy {
    pub(super) port: u16,
    open: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("its address").port();
        let (open, is_open) = watch::channel(true);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut streams = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                streams.spawn(carry(stream, port, is_open.clone()));
            }
        });
        Self { port: own, open, _tasks: tasks }
    }

    /// Breaks every connection, and takes no new one.
    pub(super) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets everything through again.
    pub(super) fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn carry(mut stream: TcpStream, port: u16, mut open: watch::Receiver<bool>) {
    if !*open.borrow() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut stream, &mut far) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}
