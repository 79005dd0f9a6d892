"""What a worker says to its gateways, and that it lives."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, cast

import msgpack
import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from core.errors import BrokerUnavailable, InternalError, NotFound
from core.messages import Reply
from core.task_names import (
    BEGUN_TTL_SECONDS,
    HEARTBEAT_TTL_SECONDS,
    begun_key,
    heartbeat_key,
    parcel_key,
)
from tests.fakes.gateway import a_prediction
from workers import replies
from workers.replies import REPLY_LIST_TTL_SECONDS, Heartbeat, ReplyChannel

KEY = heartbeat_key("w1")
SLIP = {"id": "b1", "reply_to": "gateway-a"}


class FakeRedis:
    """Lists and keys in memory, with their times to live; cannot be reached while ``away``."""

    def __init__(self) -> None:
        self.lists: dict[str, list[bytes]] = {}
        self.keys: dict[str, bytes] = {}
        self.seconds_to_live: dict[str, float] = {}
        self.away = False
        self.was_set = threading.Semaphore(0)
        self.was_missed = threading.Semaphore(0)

    def reach(self) -> None:
        if self.away:
            raise RedisConnectionError

    def pipeline(self, *, transaction: bool) -> "FakePipeline":
        return FakePipeline(self)

    def set(
        self, key: str, value: Any, *, px: int | None = None, ex: int = 0, nx: bool = False
    ) -> None:
        try:
            self.reach()
        except RedisConnectionError:
            self.was_missed.release()
            raise
        if nx and key in self.keys:
            return
        self.keys[key] = value
        self.seconds_to_live[key] = ex if px is None else px / 1000
        self.was_set.release()

    def delete(self, key: str) -> None:
        self.reach()
        self.keys.pop(key, None)

    def client(self) -> redis.Redis:
        return cast("redis.Redis", self)


class FakePipeline:
    """Commands that are carried out together."""

    def __init__(self, server: FakeRedis) -> None:
        self._server = server
        self._commands: list[Callable[[], Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._commands.clear()

    def rpush(self, key: str, value: bytes) -> None:
        self._commands.append(lambda: self._server.lists.setdefault(key, []).append(value))

    def expire(self, key: str, seconds: int) -> None:
        self._commands.append(lambda: self._server.seconds_to_live.update({key: seconds}))

    def set(self, key: str, value: Any, *, ex: int, nx: bool) -> None:
        self._commands.append(lambda: self._server.set(key, value, ex=ex, nx=nx))

    def getdel(self, key: str) -> None:
        self._commands.append(lambda: self._server.keys.pop(key, None))

    def delete(self, key: str) -> None:
        self._commands.append(lambda: self._server.delete(key))

    def execute(self) -> list[Any]:
        self._server.reach()
        return [command() for command in self._commands]


class Stack:
    """A reply channel and the server that its gateways read."""

    def __init__(self) -> None:
        self.server = FakeRedis()
        self.unheard: list[str] = []
        self.channel = ReplyChannel(
            self.server.client(),
            "w1",
            on_unheard=lambda: self.unheard.append("b1"),
            patience_seconds=0.0,
        )

    def answer(self, work: Callable[[], Sequence[Any]]) -> None:
        self.channel.answer("b1", "gateway-a", work)

    def said(self, reply_to: str = "gateway-a") -> list[Reply]:
        messages = self.server.lists.get(reply_to, [])
        return [Reply.from_wire(msgpack.unpackb(m)) for m in messages]

    def results(self) -> tuple[Any, ...]:
        """What the last word was; it must have ended the work."""
        (answer,) = self.said()
        return answer.results


@pytest.fixture
def stack() -> Stack:
    return Stack()


def failing(error: Exception) -> Callable[[], Sequence[Any]]:
    def work() -> Sequence[Any]:
        raise error

    return work


def test_who_has_begun_can_be_read_until_the_results_are_there(stack: Stack) -> None:
    seen: list[tuple[Any, float]] = []

    def work() -> list[str]:
        key = begun_key("b1")
        seen.append((stack.server.keys[key], stack.server.seconds_to_live[key]))
        assert stack.said() == []
        return ["brains"]

    stack.answer(work)
    assert seen == [("w1", BEGUN_TTL_SECONDS)]
    assert stack.said() == [Reply(id="b1", worker="w1", results=("brains",))]
    assert stack.server.keys == {}


def test_a_parcel_is_worked_on_once(stack: Stack) -> None:
    stack.server.keys[parcel_key("b1")] = msgpack.packb({"items": [b"scan"]})
    begun: list[Any] = []

    def work(parcel: Any) -> list[Any]:
        begun.append(stack.server.keys)
        return [parcel["items"][0] + b" read"]

    stack.channel.answer_parcel(SLIP, work)
    assert stack.results() == (b"scan read",)
    assert stack.server.keys == {}
    stack.channel.answer_parcel(SLIP, work)  # sent twice, or nobody waits any more
    assert len(begun) == 1
    assert len(stack.said()) == 1


def test_a_second_worker_does_not_claim_what_the_first_has_in_its_hands(stack: Stack) -> None:
    stack.server.keys[begun_key("b1")] = b"w0"
    stack.channel.answer_parcel(SLIP, lambda _: ["brains"])
    assert stack.server.keys == {begun_key("b1"): b"w0"}
    assert stack.said() == []


def test_a_gateway_of_the_version_before_is_answered(stack: Stack) -> None:
    whole = {**SLIP, "items": [b"scan"]}
    stack.channel.answer_parcel(whole, lambda batch: [batch["items"][0] + b" read"])
    assert stack.results() == (b"scan read",)
    assert msgpack.unpackb(stack.server.lists["gateway-a"][0])["kind"] == "done"


def test_a_parcel_that_cannot_be_read_is_an_internal_error(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.server.keys[parcel_key("b1")] = b"\xc1"
    stack.channel.answer_parcel(SLIP, lambda _: ["brains"])
    (error,) = stack.results()
    assert isinstance(error, InternalError)
    assert "work_failed id=b1" in caplog.text


def test_a_parcel_that_the_broker_does_not_give_is_told(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away_once() -> None:
        monkeypatch.undo()
        raise RedisConnectionError

    monkeypatch.setattr(stack.server, "reach", away_once)
    stack.channel.answer_parcel(SLIP, lambda _: ["brains"])
    (error,) = stack.results()
    assert isinstance(error, BrokerUnavailable)


def test_predictions_and_errors_travel_side_by_side(stack: Stack) -> None:
    stack.answer(lambda: (a_prediction("m1"), NotFound("datasets/x"), a_prediction("m2")))
    first, missing, last = stack.results()
    assert (first, last) == (a_prediction("m1"), a_prediction("m2"))
    assert isinstance(missing, NotFound)
    assert missing.name == "datasets/x"


def test_an_error_of_the_taxonomy_is_the_one_result(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.answer(failing(NotFound("datasets/x")))
    (error,) = stack.results()
    assert isinstance(error, NotFound)
    assert error.name == "datasets/x"
    assert caplog.text == ""


def test_an_unforeseen_error_is_told_to_the_log_alone(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    stack.answer(failing(ValueError("a secret path")))
    (error,) = stack.results()
    assert isinstance(error, InternalError)
    assert error.request_id == "b1"
    assert b"secret" not in b"".join(stack.server.lists["gateway-a"])
    assert "work_failed id=b1" in caplog.text
    assert "a secret path" in caplog.text


@pytest.mark.parametrize(
    "work",
    [lambda: ["scan\udcff.png"], failing(NotFound("datasets/\udcff")), lambda: [object()]],
    ids=["a name that is no Unicode", "the same in an error", "a thing that cannot travel"],
)
def test_results_that_cannot_be_sent_end_the_work_all_the_same(
    stack: Stack, work: Callable[[], Sequence[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    # Tests that run in several processes cannot tell of a log that is no Unicode.
    caplog.set_level(logging.CRITICAL, logger="workers.replies")
    stack.answer(work)
    (error,) = stack.results()
    assert isinstance(error, InternalError)
    assert error.request_id == "b1"


def test_each_gateway_hears_only_its_own(stack: Stack) -> None:
    stack.channel.answer("b1", "gateway-a", lambda: [1])
    stack.channel.answer("b2", "gateway-b", lambda: [2])
    assert {r.id for r in stack.said("gateway-a")} == {"b1"}
    assert {r.id for r in stack.said("gateway-b")} == {"b2"}


def test_a_list_that_nobody_reads_goes_away(stack: Stack) -> None:
    stack.answer(list)
    assert stack.server.seconds_to_live["gateway-a"] == REPLY_LIST_TTL_SECONDS


def test_work_is_done_without_a_broker(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    stack.server.away = True
    done: list[bool] = []

    def work() -> list[str]:
        done.append(True)
        return ["brains"]

    stack.answer(work)
    assert done == [True]
    assert stack.said() == []
    assert caplog.text.count("begin_not_said id=b1 error=ConnectionError") == 1
    assert caplog.text.count("reply_not_sent id=b1 error=ConnectionError") == 1
    assert stack.unheard == ["b1"]


def test_a_broker_that_comes_back_gets_the_results(stack: Stack) -> None:
    stack.server.away = True

    def work() -> list[str]:
        stack.server.away = False
        return ["brains"]

    stack.answer(work)
    assert stack.results() == ("brains",)
    assert stack.unheard == []


def test_results_wait_for_a_broker_that_hiccups(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[None] = []

    def at_the_third_try() -> None:
        tries.append(None)
        if len(tries) == 3:
            stack.server.away = False
        if stack.server.away:
            raise RedisConnectionError

    monkeypatch.setattr(replies, "_TRY_AGAIN_SECONDS", 0.001)
    monkeypatch.setattr(stack.server, "reach", at_the_third_try)
    stack.server.away = True
    patient = ReplyChannel(stack.server.client(), "w1", patience_seconds=30.0)
    patient.answer("b1", "gateway-a", lambda: ["brains"])
    assert stack.results() == ("brains",)


# --- the heartbeat ------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeRedis:
    monkeypatch.setattr(replies, "HEARTBEAT_SECONDS", 0.001)
    return FakeRedis()


@pytest.fixture
def heartbeat(server: FakeRedis) -> Iterator[Heartbeat]:
    heartbeat = Heartbeat(server.client(), "w1")
    yield heartbeat
    heartbeat.stop()


def test_nothing_beats_before_the_start(server: FakeRedis, heartbeat: Heartbeat) -> None:
    assert server.keys == {}


def test_a_heart_beats_again_and_again(server: FakeRedis, heartbeat: Heartbeat) -> None:
    heartbeat.start()
    for _ in range(3):
        server.was_set.acquire()
    assert server.keys == {KEY: b"1"}
    assert server.seconds_to_live == {KEY: HEARTBEAT_TTL_SECONDS}


def test_a_heart_outlives_its_broker(
    server: FakeRedis, heartbeat: Heartbeat, caplog: pytest.LogCaptureFixture
) -> None:
    server.away = True
    heartbeat.start()
    for _ in range(2):
        server.was_missed.acquire()
    server.away = False
    server.was_set.acquire()
    assert KEY in server.keys
    assert "heartbeat_missed error=ConnectionError" in caplog.text


def test_everybody_knows_at_once_that_it_stopped(
    server: FakeRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long between two beats, so that none is under way: only the stop can end the wait.
    monkeypatch.setattr(replies, "HEARTBEAT_SECONDS", 3600)
    heartbeat = Heartbeat(server.client(), "w1")
    heartbeat.start()
    server.was_set.acquire()
    heartbeat.stop()
    assert server.keys == {}


def test_it_stops_without_a_broker(server: FakeRedis, heartbeat: Heartbeat) -> None:
    heartbeat.start()
    server.was_set.acquire()
    server.away = True
    heartbeat.stop()


def test_a_beat_under_way_does_not_bring_it_back(
    server: FakeRedis, heartbeat: Heartbeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, go_on = threading.Event(), threading.Event()
    real = server.set

    def slowly(key: str, value: bytes, *, px: int) -> None:
        under_way.set()
        go_on.wait(5)
        real(key, value, px=px)

    monkeypatch.setattr(server, "set", slowly)
    heartbeat.start()
    under_way.wait(5)
    threading.Timer(0.05, go_on.set).start()
    heartbeat.stop()
    assert server.keys == {}


def test_a_heart_that_falters_is_silent_until_everybody_has_noticed(
    server: FakeRedis, heartbeat: Heartbeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    heartbeat.start()
    server.was_set.acquire()
    heartbeat.falter()
    while server.was_set.acquire(timeout=0.05):  # a beat that was under way
        pass
    now[0] += HEARTBEAT_TTL_SECONDS
    assert not server.was_set.acquire(timeout=0.05)
    now[0] += HEARTBEAT_TTL_SECONDS
    assert server.was_set.acquire(timeout=5)
