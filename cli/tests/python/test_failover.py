"""A stock Python gRPC client works through any node of a cluster, and gets over the loss of a leader by what the
.proto files say of errors. It knows of no leader and looks for none."""

import itertools
import os
import queue
import threading
import time
import unittest

import grpc

import node

node.make_stubs()

from forebay.v1 import cluster_pb2, cluster_pb2_grpc  # noqa: E402
from forebay.v1 import consumer_pb2, consumer_pb2_grpc  # noqa: E402
from forebay.v1 import producer_pb2, producer_pb2_grpc  # noqa: E402

RECORDS = 3000
RECORDS_PER_BATCH = 10
BATCHES_IN_FLIGHT = 16

# Worth another try, as producer.proto and consumer.proto say.
RETRIED = {
    code.value[0]
    for code in (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    )
}
PAUSE_S = 0.2


class Requests:
    """The requests of a stream that stays open until it is closed."""

    _END = object()

    def __init__(self, *requests):
        self._queue = queue.Queue()
        for request in requests:
            self.send(request)

    def send(self, request):
        self._queue.put(request)

    def close(self):
        self._queue.put(self._END)

    def __iter__(self):
        return iter(self._queue.get, self._END)


class Producer:
    """Sends batches in order, each until it is acknowledged, through one node after the other."""

    def __init__(self, topic, addresses, on_ack=lambda acknowledged: None):
        self._open = producer_pb2.ProduceRequest(
            open=producer_pb2.ProduceOpen(topic=topic, producer_id=os.urandom(16), producer_epoch=1)
        )
        self._addresses = itertools.cycle(addresses)
        self._on_ack = on_ack
        self.acknowledged = 0
        self.errors = []

    def send(self, batches):
        while self.acknowledged < len(batches):
            try:
                self._stream(batches)
            except grpc.RpcError as error:
                self._take_note(error.code().value[0], error.details())
            time.sleep(PAUSE_S)

    def _stream(self, batches):
        """Sends from the first batch that is not acknowledged on, until one is refused."""
        requests = Requests(self._open)
        with grpc.insecure_channel(next(self._addresses)) as channel:
            stub = producer_pb2_grpc.ProducerServiceStub(channel)
            responses = stub.Produce(iter(requests), timeout=node.DEADLINE_S)
            sent = self.acknowledged
            try:
                while self.acknowledged < len(batches):
                    while sent < len(batches) and sent < self.acknowledged + BATCHES_IN_FLIGHT:
                        requests.send(batches[sent])
                        sent += 1
                    for result in next(responses).results:
                        if result.WhichOneof("outcome") == "error":
                            self._take_note(result.error.code, result.error.message)
                            return
                        assert result.request_id == self.acknowledged, "answers come in order"
                        self.acknowledged += 1
                        self._on_ack(self.acknowledged)
            except StopIteration:
                self._take_note(grpc.StatusCode.UNAVAILABLE.value[0], "the stream ended")
            finally:
                requests.close()

    def _take_note(self, code, message):
        self.errors.append((code, message))
        if code not in RETRIED:
            raise AssertionError(f"no documented error that is worth another try: {code} {message}")


def batches_of(values):
    """Batches of plain records. A retry must be the same batch, so the time is not left to the server."""
    batches = []
    for first in range(0, len(values), RECORDS_PER_BATCH):
        records = [
            producer_pb2.Record(value=value, timestamp_ms=1_700_000_000_000 + first)
            for value in values[first : first + RECORDS_PER_BATCH]
        ]
        batches.append(
            producer_pb2.ProduceRequest(
                batch=producer_pb2.ProduceBatch(
                    request_id=len(batches),
                    timeout_ms=5_000,
                    records=producer_pb2.RecordList(records=records, first_sequence=first),
                )
            )
        )
    return batches


def consume(topic, addresses, count, partition=0):
    """The first `count` values of a partition, through one node after the other."""
    values, offset, epoch = [], 0, 0
    deadline = time.monotonic() + node.DEADLINE_S
    for address in itertools.cycle(addresses):
        start = consumer_pb2.StartPosition(offset=offset, epoch=epoch)
        subscribe = consumer_pb2.Subscribe(
            topic=topic,
            partitions=[consumer_pb2.PartitionStart(partition=partition, start=start)],
            format=consumer_pb2.RECORD_FORMAT_RECORDS,
        )
        requests = Requests(consumer_pb2.ConsumeRequest(subscribe=subscribe))
        try:
            with grpc.insecure_channel(address) as channel:
                stub = consumer_pb2_grpc.ConsumerServiceStub(channel)
                for response in stub.Consume(iter(requests), timeout=node.DEADLINE_S):
                    if response.HasField("error"):
                        if response.error.error.code not in RETRIED:
                            raise AssertionError(f"not to be retried: {response.error}")
                        break
                    for record in response.records.records:
                        assert record.offset == offset, f"expected offset {offset}, found {record.offset}"
                        values.append(record.value)
                        offset, epoch = record.offset + 1, response.records.epoch
                    if len(values) >= count:
                        return values
        except grpc.RpcError as error:
            if error.code().value[0] not in RETRIED:
                raise
        finally:
            requests.close()
        if time.monotonic() > deadline:
            raise AssertionError(f"{len(values)} of {count} values came")
        time.sleep(PAUSE_S)


class Failover(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = node.Cluster(3)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def create(self, **request):
        """Makes a topic, and waits until each of its partitions is led as every node sees it."""
        first = self.cluster.nodes[1]
        cluster_pb2_grpc.ClusterServiceStub(first.channel).CreateTopic(
            cluster_pb2.CreateTopicRequest(**request), timeout=node.DEADLINE_S
        )
        for one in self.cluster.nodes.values():
            while not all(part.HasField("leader") for part in self.partitions(one, request["name"])):
                time.sleep(PAUSE_S)

    def partitions(self, one, topic):
        stub = cluster_pb2_grpc.ClusterServiceStub(one.channel)
        request = cluster_pb2.GetMetadataRequest(topics=[topic])
        topics = stub.GetMetadata(request, timeout=node.DEADLINE_S).topics
        return topics[0].partitions if topics else [cluster_pb2.PartitionMetadata()]

    def produce_one(self, one, topic, partition, value, metadata=()):
        """The result of one batch on a stream of its own; tried again while there is no leader."""
        while True:
            batch = producer_pb2.ProduceBatch(
                partition=partition,
                records=producer_pb2.RecordList(records=[producer_pb2.Record(value=value)]),
            )
            requests = [
                producer_pb2.ProduceRequest(open=producer_pb2.ProduceOpen(topic=topic)),
                producer_pb2.ProduceRequest(batch=batch),
            ]
            stub = producer_pb2_grpc.ProducerServiceStub(one.channel)
            responses = stub.Produce(iter(requests), metadata=metadata, timeout=node.DEADLINE_S)
            [result] = [result for response in responses for result in response.results]
            if result.error.code != grpc.StatusCode.UNAVAILABLE.value[0]:
                return result
            time.sleep(result.error.retry_after_ms / 1000)

    def test_any_node_takes_and_gives_every_partition_and_says_whose_it_is(self):
        topic = "python-carried"
        self.create(name=topic, partitions=3, replication_factor=1)
        leaders = {part.partition: part.leader for part in self.partitions(self.cluster.nodes[1], topic)}
        self.assertEqual(set(leaders.values()), {1, 2, 3}, "each node leads one")
        for number, one in self.cluster.nodes.items():
            for partition, leader in leaders.items():
                result = self.produce_one(one, topic, partition, f"{number}".encode())
                self.assertEqual(result.ack.base_offset, number - 1, result)
                carried_to = 0 if leader == number else leader
                self.assertEqual(result.carried_to.node_id, carried_to)
        for one in self.cluster.nodes.values():
            for partition in leaders:
                got = consume(topic, [one.address], 3, partition)
                self.assertEqual(got, [b"1", b"2", b"3"])
            stub = cluster_pb2_grpc.ClusterServiceStub(one.channel)
            request = cluster_pb2.DescribeTopicRequest(name=topic)
            described = stub.DescribeTopic(request, timeout=node.DEADLINE_S)
            self.assertEqual([status.committed_offset for status in described.partitions], [3, 3, 3])

    def test_who_does_not_want_to_be_carried_is_told_where_the_leader_is(self):
        topic = "python-not-carried"
        self.create(name=topic, replication_factor=3)
        [partition] = self.partitions(self.cluster.nodes[1], topic)
        other = next(one for number, one in self.cluster.nodes.items() if number != partition.leader)
        for key in ["forebay-no-carry", "forebay-hop"]:
            error = self.produce_one(other, topic, 0, b"x", metadata=[(key, "1")]).error
            self.assertEqual((error.code, error.reason), (grpc.StatusCode.FAILED_PRECONDITION.value[0], "NOT_LEADER"))
            self.assertEqual(error.metadata["leader"], str(partition.leader))
            self.assertEqual(error.metadata["address"], self.cluster.nodes[partition.leader].address)

    def test_nothing_is_lost_or_doubled_when_the_node_that_is_used_is_killed(self):
        topic = "python-failover-at-hand"
        self.create(name=topic, replication_factor=3)
        values = [f"value {number}".encode() for number in range(RECORDS)]
        batches = batches_of(values)
        leader = self.partitions(self.cluster.nodes[1], topic)[0].leader
        nodes = [self.cluster.nodes[leader], *(one for number, one in self.cluster.nodes.items() if number != leader)]

        def kill_midway(acknowledged):
            if acknowledged == len(batches) // 3:
                nodes[0].kill()

        Producer(topic, [one.address for one in nodes], on_ack=kill_midway).send(batches)
        nodes[0].start()
        for one in nodes:
            self.assertEqual(consume(topic, [one.address], RECORDS), values)

    def test_nothing_is_lost_or_doubled_when_the_leader_is_killed(self):
        topic = "python-failover"
        self.create(name=topic, replication_factor=3)
        values = [f"value {number}".encode() for number in range(RECORDS)]
        batches = batches_of(values)
        killed = threading.Event()
        leader = self.partitions(self.cluster.nodes[1], topic)[0].leader

        def kill_midway(acknowledged):
            if acknowledged == len(batches) // 3:
                self.cluster.nodes[leader].kill()
                killed.set()

        # Everything is carried when it is killed.
        left = [one.address for number, one in self.cluster.nodes.items() if number != leader]
        producer = Producer(topic, left, on_ack=kill_midway)
        producer.send(batches)
        self.assertTrue(killed.is_set() and producer.errors, "it was noticed")
        for addresses in [left, left[:1], left[1:]]:
            self.assertEqual(consume(topic, addresses, RECORDS), values)
        self.cluster.nodes[leader].start()
        again = self.cluster.nodes[leader].address
        self.assertEqual(consume(topic, [again], RECORDS), values)


if __name__ == "__main__":
    unittest.main()
