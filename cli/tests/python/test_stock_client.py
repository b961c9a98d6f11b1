"""A stock Python gRPC client works from the .proto files alone."""

import contextlib
import io
import queue
import unittest

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import node

node.make_stubs()

from forebay.v1 import cluster_pb2, cluster_pb2_grpc  # noqa: E402
from forebay.v1 import common_pb2  # noqa: E402
from forebay.v1 import consumer_pb2, consumer_pb2_grpc  # noqa: E402
from forebay.v1 import producer_pb2, producer_pb2_grpc  # noqa: E402


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


def batch(request_id, records, partition=0):
    return producer_pb2.ProduceRequest(
        batch=producer_pb2.ProduceBatch(
            request_id=request_id,
            partition=partition,
            records=producer_pb2.RecordList(records=records),
        )
    )


def opened(topic):
    return producer_pb2.ProduceRequest(open=producer_pb2.ProduceOpen(topic=topic))


class StockClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.Node()

    @classmethod
    def tearDownClass(cls):
        cls.node.stop()

    def produce(self, topic, *batches):
        """Sends batches, ends the stream, and gives back the results in their order."""
        stub = producer_pb2_grpc.ProducerServiceStub(self.node.channel)
        responses = stub.Produce(iter([opened(topic), *batches]), timeout=node.DEADLINE_S)
        return [result for response in responses for result in response.results]

    def consume(self, topic, count):
        """The first `count` records of a topic."""
        requests = Requests(
            consumer_pb2.ConsumeRequest(
                subscribe=consumer_pb2.Subscribe(
                    topic=topic,
                    start=consumer_pb2.StartPosition(anchor=consumer_pb2.ANCHOR_EARLIEST),
                    format=consumer_pb2.RECORD_FORMAT_RECORDS,
                )
            )
        )
        stub = consumer_pb2_grpc.ConsumerServiceStub(self.node.channel)
        responses = stub.Consume(iter(requests), timeout=node.DEADLINE_S)
        records = []
        for response in responses:
            if response.HasField("records"):
                records.extend(response.records.records)
            if len(records) >= count:
                break
        responses.cancel()
        requests.close()
        return records

    def test_plain_records_go_in_and_come_out_as_they_were(self):
        sent = [
            producer_pb2.Record(key=b"k\xff", value=b"\x00\xfe not text", timestamp_ms=1_700_000_000_123),
            producer_pb2.Record(value=b""),
            producer_pb2.Record(key=b"deleted"),
            producer_pb2.Record(
                value=b"with headers",
                headers=[common_pb2.Header(name="trace", value=b"\x01\x02")],
            ),
        ]
        first, second = self.produce("python-round-trip", batch(1, sent[:3]), batch(2, sent[3:]))

        self.assertEqual((first.request_id, first.ack.base_offset, first.ack.record_count), (1, 0, 3))
        self.assertEqual((second.request_id, second.ack.base_offset, second.ack.record_count), (2, 3, 1))
        self.assertEqual((first.ack.durable_replicas, first.ack.replicas), (1, 1))
        self.assertGreater(first.ack.append_time_ms, 1_700_000_000_000)

        got = self.consume("python-round-trip", count=4)
        self.assertEqual([record.offset for record in got], [0, 1, 2, 3])
        for mine, theirs in zip(sent, got):
            self.assertEqual(
                (mine.HasField("key"), mine.key, mine.HasField("value"), mine.value),
                (theirs.HasField("key"), theirs.key, theirs.HasField("value"), theirs.value),
            )
            self.assertEqual(list(mine.headers), list(theirs.headers))
        self.assertEqual(got[0].timestamp_ms, 1_700_000_000_123)
        self.assertGreater(got[1].timestamp_ms, 1_700_000_000_000, "the server's clock, where none was given")

    def test_a_refused_batch_is_answered_in_place_and_the_stream_goes_on(self):
        record = producer_pb2.Record(value=b"x")
        refused, taken = self.produce("python-refused", batch(1, [record], partition=99), batch(2, [record]))
        self.assertEqual(refused.error.code, grpc.StatusCode.NOT_FOUND.value[0])
        self.assertTrue(refused.error.reason and refused.error.message, refused)
        self.assertEqual(taken.ack.base_offset, 0)

    def test_topics_are_made_and_described_over_the_wire(self):
        cluster = cluster_pb2_grpc.ClusterServiceStub(self.node.channel)
        cluster.CreateTopic(
            cluster_pb2.CreateTopicRequest(name="python-topic", partitions=3), timeout=node.DEADLINE_S
        )
        with self.assertRaises(grpc.RpcError) as again:
            cluster.CreateTopic(cluster_pb2.CreateTopicRequest(name="python-topic"), timeout=node.DEADLINE_S)
        self.assertEqual(again.exception.code(), grpc.StatusCode.ALREADY_EXISTS)

        described = cluster.DescribeTopic(
            cluster_pb2.DescribeTopicRequest(name="python-topic"), timeout=node.DEADLINE_S
        )
        self.assertEqual([status.partition for status in described.partitions], [0, 1, 2])
        self.assertEqual({status.committed_offset for status in described.partitions}, {0})

    def test_an_unknown_topic_is_not_found_and_not_made(self):
        cluster = cluster_pb2_grpc.ClusterServiceStub(self.node.channel)
        for _ in range(2):
            with self.assertRaises(grpc.RpcError) as missing:
                cluster.DescribeTopic(
                    cluster_pb2.DescribeTopicRequest(name="python-nowhere"), timeout=node.DEADLINE_S
                )
            self.assertEqual(missing.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_the_example_of_the_readme_works_as_it_stands_there(self):
        readme = (node.PROJECT / "README.md").read_text()
        example = readme.split("```python\n")[1].split("```")[0]
        self.assertIn('"127.0.0.1:7400"', example)
        example = example.replace("127.0.0.1:7400", self.node.address)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(example, "README.md", "exec"), {})
        self.assertEqual(printed.getvalue(), "offset 0, durable on 1\n0 b'en' b'hello'\n")

    def test_health_says_serving(self):
        health = health_pb2_grpc.HealthStub(self.node.channel)
        for service in ["", "forebay.v1.ProducerService", "forebay.v1.ConsumerService"]:
            answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=node.DEADLINE_S)
            self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING, service)

    def test_reflection_tells_every_service_and_its_types(self):
        database = ProtoReflectionDescriptorDatabase(self.node.channel)
        services = set(database.get_services())
        ours = {f"forebay.v1.{name}Service" for name in ["Producer", "Consumer", "Cluster"]}
        self.assertLessEqual(ours | {"grpc.health.v1.Health"}, services)
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName("forebay.v1.ProducerService")
        self.assertEqual(service.FindMethodByName("Produce").input_type.full_name, "forebay.v1.ProduceRequest")


if __name__ == "__main__":
    unittest.main()
