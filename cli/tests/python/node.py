"""Real `forebay serve` processes for the tests in this folder, and stubs made from the .proto files."""

import contextlib
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile

import grpc
from grpc_tools import protoc

PROJECT = pathlib.Path(__file__).resolve().parents[3]
PROTO = PROJECT / "proto" / "proto"

# Long enough for the slowest machine; nothing waits for it where all is well.
DEADLINE_S = 60


def make_stubs():
    """Generates the stubs as any user would, and makes them importable."""
    folder = tempfile.mkdtemp(prefix="forebay-stubs-")
    files = sorted(str(path) for path in PROTO.rglob("*.proto"))
    arguments = ["protoc", f"-I{PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}", *files]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc refused the .proto files")
    sys.path.insert(0, folder)


def free_ports(count):
    """The first of `count` neighbouring ports of which none is in use, below those that outgoing connections get."""
    while True:
        port = random.randrange(14_000, 19_900)
        sockets = []
        try:
            for number in range(port, port + count):
                sockets.append(socket.create_server(("127.0.0.1", number)))
            return port
        except (OSError, OverflowError):
            continue
        finally:
            for opened in sockets:
                opened.close()


def folder_on_disk():
    """Beside the binary: direct I/O does not work in memory file systems."""
    folder = pathlib.Path(os.environ["FOREBAY"]).resolve().parent.parent / "tmp"
    folder.mkdir(exist_ok=True)
    return folder


class Node:
    """One node with a data directory of its own, on a real disk."""

    def __init__(self, name="python-client", settings=None):
        folder = folder_on_disk()
        self._data = tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder)
        self._port = free_ports(4)
        self.address = f"127.0.0.1:{self._port}"
        self._log = open(folder / f"{name}.log", "w")
        self._environment = {**os.environ, **(settings or {})}
        self.start()

    def start(self):
        """Starts it, once more if it was killed, and waits until it answers."""
        binary = pathlib.Path(os.environ["FOREBAY"]).resolve()
        self._process = subprocess.Popen(
            [
                binary, "serve",
                "--data", self._data.name,
                "--listen", self.address,
                "--http", f"127.0.0.1:{self._port + 3}",
                "--shards", "2",
            ],
            env=self._environment,
            stderr=self._log,
        )
        self.channel = grpc.insecure_channel(self.address)
        grpc.channel_ready_future(self.channel).result(timeout=DEADLINE_S)

    def kill(self):
        """kill -9."""
        self.channel.close()
        self._process.kill()
        self._process.wait(timeout=DEADLINE_S)

    def stop(self):
        self.channel.close()
        self._process.terminate()
        code = self._process.wait(timeout=DEADLINE_S)
        self._data.cleanup()
        self._log.close()
        if code != 0:
            raise RuntimeError(f"the server ended with {code} on SIGTERM; see {self._log.name}")


class Cluster:
    """Nodes 1 to `count`, and the etcd that they agree through."""

    def __init__(self, count):
        folder = folder_on_disk()
        self._data = tempfile.TemporaryDirectory(prefix="python-etcd-", dir=folder)
        port = free_ports(2)
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
        self._etcd = subprocess.Popen(
            [
                "etcd", "--name", "one", "--initial-cluster", f"one={peer}",
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--data-dir", self._data.name,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.nodes = {}
        try:
            for number in range(1, count + 1):
                self.nodes[number] = Node(
                    f"python-node-{number}",
                    {
                        "FOREBAY_NODE__ID": str(number),
                        "FOREBAY_CLUSTER__ETCD__ENDPOINTS": client,
                        "FOREBAY_CLUSTER__ETCD__LEASE_TTL": "4s",
                    },
                )
        except BaseException:
            self.stop()
            raise

    def stop(self):
        try:
            with contextlib.ExitStack() as stack:
                for node in self.nodes.values():
                    stack.callback(node.stop)
        finally:
            self._etcd.kill()
            self._etcd.wait(timeout=DEADLINE_S)
            self._data.cleanup()
