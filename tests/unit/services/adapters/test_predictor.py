import asyncio
import time

import pytest

from core.errors import (
    BrokerUnavailable,
    DeadlinePassed,
    InternalError,
    NoWorker,
    Unavailable,
    WorkerLost,
)
from core.messages import InferenceBatch, Segmenter
from core.prediction import MaskFormat, Prediction
from services.adapters.predictor import LARGE_BYTES, MAX_BATCH_BYTES, MicroBatchingPredictor
from tests.fakes.gateway import FakeChannel, a_prediction


def make(channel: FakeChannel, *, size: int = 4, batches: int = 2) -> MicroBatchingPredictor:
    return MicroBatchingPredictor(
        channel, max_batch_size=size, max_batches=batches, pickup_timeout=5.0
    )


def ask(
    predictor: MicroBatchingPredictor,
    image: bytes = b"x",
    model: str = "m1",
    wait: float = 30.0,
    segmenter: Segmenter | None = None,
) -> asyncio.Task[Prediction]:
    return asyncio.create_task(
        predictor.predict(
            image,
            model_version=model,
            digest=model,
            deadline=time.time() + wait,
            segmenter=segmenter,
        )
    )


def held_channel() -> FakeChannel:
    channel = FakeChannel()
    channel.gate = asyncio.Semaphore(0)
    return channel


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_single_picture_is_sent_at_once() -> None:
    channel = FakeChannel()
    answer = await ask(make(channel))
    assert answer == a_prediction("m1")
    assert [len(b.items) for b in channel.batches] == [1]


async def test_pictures_gather_while_every_message_is_unanswered() -> None:
    channel = held_channel()
    predictor = make(channel)
    asked = [ask(predictor) for _ in range(9)]
    await settle()
    assert [len(b.items) for b in channel.batches] == [1, 1]
    for _ in range(9):
        channel.gate.release()
    await asyncio.gather(*asked)
    assert [len(b.items) for b in channel.batches] == [1, 1, 4, 3]


async def test_each_caller_gets_its_own_answer() -> None:
    def by_first_byte(batch: InferenceBatch) -> tuple[Prediction, ...]:
        return tuple(a_prediction("m1", best=item.image[0]) for item in batch.items)

    predictor = make(FakeChannel(by_first_byte))
    answers = await asyncio.gather(*(ask(predictor, bytes([i % 4])) for i in range(12)))
    assert [max(range(4), key=a.probabilities.__getitem__) for a in answers] == [
        i % 4 for i in range(12)
    ]


async def test_an_error_for_one_picture_leaves_the_others() -> None:
    def second_fails(batch: InferenceBatch) -> tuple[object, ...]:
        return tuple(
            DeadlinePassed() if item.image == b"bad" else a_prediction() for item in batch.items
        )

    channel = FakeChannel(second_fails)
    predictor = make(channel, batches=1)
    good, bad, other = ask(predictor), ask(predictor, b"bad"), ask(predictor)
    assert await good == await other == a_prediction()
    with pytest.raises(DeadlinePassed):
        await bad


async def test_models_are_not_mixed_in_a_batch_and_none_starves() -> None:
    channel = held_channel()
    predictor = make(channel, batches=1)
    first = ask(predictor)
    await settle()
    asked = [first, *(ask(predictor, model=m) for m in ("m1", "m2", "m1", "m2"))]
    for _ in range(9):
        channel.gate.release()
    await asyncio.gather(*asked)
    assert [(b.model_version, len(b.items)) for b in channel.batches] == [
        ("m1", 1),
        ("m1", 2),
        ("m2", 2),
    ]


async def test_pictures_to_outline_hold_up_no_others() -> None:
    channel = held_channel()
    predictor = make(channel, batches=1)
    segmenters = (None, None, "s1", None, "s1", "s2")
    asked = []
    for name in segmenters:
        segmenter = Segmenter(version=name, digest=name) if name else None
        asked.append(ask(predictor, segmenter=segmenter))
        await settle()
    for _ in range(9):
        channel.gate.release()
    await asyncio.gather(*asked)
    sent = [(b.segmenter and b.segmenter.version, len(b.items)) for b in channel.batches]
    assert sent == [(None, 1), (None, 2), ("s1", 2), ("s2", 1)]


async def test_the_worker_is_told_how_masks_are_wanted() -> None:
    channel = FakeChannel()
    predictor = make(channel)
    await predictor.predict(
        b"x",
        model_version="m1",
        digest="m1",
        deadline=time.time() + 30,
        segmenter=Segmenter(version="s1", digest="s1"),
        mask_format=MaskFormat.PNG,
    )
    assert channel.batches[0].items[0].mask_format is MaskFormat.PNG


async def test_large_pictures_travel_alone() -> None:
    channel = held_channel()
    predictor = make(channel, batches=1)
    large = bytes(MAX_BATCH_BYTES - 10)
    asked = [ask(predictor, image) for image in (b"x", large, large, b"y")]
    for _ in range(9):
        channel.gate.release()
    await asyncio.gather(*asked)
    assert max(sum(len(i.image) for i in b.items) for b in channel.batches) <= MAX_BATCH_BYTES


async def test_a_picture_that_is_put_aside_takes_no_room() -> None:
    channel = held_channel()
    predictor = make(channel, size=8, batches=1)
    blocking = ask(predictor)
    await settle()
    asked = [ask(predictor), ask(predictor, bytes(MAX_BATCH_BYTES), model="m2")]
    asked += [ask(predictor) for _ in range(6)]
    for _ in range(9):
        channel.gate.release()
    await asyncio.gather(blocking, *asked)
    assert [len(batch.items) for batch in channel.batches] == [1, 7, 1]


async def test_a_lost_worker_costs_only_its_batch() -> None:
    def lost_once(batch: InferenceBatch) -> tuple[Prediction, ...]:
        channel.answer = FakeChannel().answer
        raise WorkerLost()

    channel = FakeChannel(lost_once)
    predictor = make(channel)
    with pytest.raises(WorkerLost):
        await ask(predictor)
    assert await ask(predictor) == a_prediction()


@pytest.mark.parametrize("error", [NoWorker(), BrokerUnavailable()], ids=lambda e: e.reason)
async def test_those_who_wait_behind_are_told_at_once_that_nobody_is_there(
    error: Unavailable,
) -> None:
    def nobody(batch: InferenceBatch) -> tuple[Prediction, ...]:
        raise error

    channel = held_channel()
    channel.answer = nobody
    predictor = make(channel, batches=1)
    asked = [ask(predictor) for _ in range(20)]
    await settle()
    channel.gate.release()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {type(error)}
    assert [len(b.items) for b in channel.batches] == [1]


async def test_a_large_message_is_announced_as_one() -> None:
    channel = FakeChannel()
    predictor = make(channel)
    await ask(predictor, b"x")
    await ask(predictor, bytes(LARGE_BYTES + 1))
    assert [options["large"] for options in channel.options] == [False, True]


async def test_an_expired_picture_is_never_sent() -> None:
    channel = held_channel()
    predictor = make(channel, batches=1)
    blocking = ask(predictor)
    await settle()
    expired = ask(predictor, b"late", wait=0.01)
    with pytest.raises(DeadlinePassed):
        await expired
    channel.gate.release()
    await blocking
    assert all(item.image != b"late" for b in channel.batches for item in b.items)


async def test_a_caller_that_left_is_not_served() -> None:
    channel = held_channel()
    predictor = make(channel, batches=1)
    blocking = ask(predictor)
    await settle()
    gone = ask(predictor, b"gone")
    await settle()
    gone.cancel()
    await settle()
    channel.gate.release()
    await blocking
    await predictor.close()
    assert all(item.image != b"gone" for b in channel.batches for item in b.items)


async def test_a_defect_reaches_the_callers_instead_of_hanging_them() -> None:
    def wrong_count(batch: InferenceBatch) -> tuple[Prediction, ...]:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        await ask(make(FakeChannel(wrong_count)))


async def test_a_reply_of_the_wrong_length_is_an_internal_error() -> None:
    with pytest.raises(InternalError):
        await ask(make(FakeChannel(lambda batch: ())))
