"""Adaptive micro-batching: many callers, few messages."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import uuid4

from core.errors import (
    BrainTumorError,
    BrokerUnavailable,
    DeadlinePassed,
    InternalError,
    NoWorker,
    Unavailable,
)
from core.messages import InferenceBatch, InferenceItem, Segmenter
from core.prediction import MaskFormat, Prediction
from core.task_names import INFER_BATCH

MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""A batch is closed above this, so that large pictures travel alone."""
LARGE_BYTES: Final = 4 * 1024 * 1024
"""Sending takes several times a message's memory: those above this are sent one by one."""


class Channel(Protocol):
    """What the predictor needs of the broker."""

    @property
    def reply_to(self) -> str: ...

    async def call(
        self, task: str, message: Any, *, timeout: float, pickup_timeout: float, large: bool
    ) -> tuple[Any, ...]: ...


@dataclass(frozen=True, kw_only=True)
class _Models:
    """What a message is for. Pictures to outline have messages of their own, so that others do not
    wait for the segmenter."""

    version: str
    digest: str
    segmenter: Segmenter | None


@dataclass(kw_only=True, eq=False)
class _Waiting:
    """One caller's picture, waiting to be sent or answered."""

    item: InferenceItem
    models: _Models
    answer: asyncio.Future[Prediction]

    def settle(self, result: Prediction | BrainTumorError) -> None:
        if self.answer.done():
            return
        if isinstance(result, BrainTumorError):
            self.answer.set_exception(result)
        else:
            self.answer.set_result(result)


class MicroBatchingPredictor:
    """Sends a picture at once while workers are free, and gathers pictures while they are not.

    At most ``max_batches`` messages are unanswered at a time; what arrives meanwhile goes
    together in the next one. So a single caller waits for nobody, and under load batches fill
    by themselves, with no timer to tune.
    """

    def __init__(
        self, channel: Channel, *, max_batch_size: int, max_batches: int, pickup_timeout: float
    ) -> None:
        self._channel = channel
        self._max_batch_size = max_batch_size
        self._max_batches = max_batches
        self._pickup_timeout = pickup_timeout
        self._queue: deque[_Waiting] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()

    async def predict(
        self,
        image: bytes,
        *,
        model_version: str,
        digest: str,
        deadline: float,
        include_activation_map: bool = False,
        segmenter: Segmenter | None = None,
        mask_format: MaskFormat | None = None,
    ) -> Prediction:
        """One worker's answer for one picture; ``deadline`` is seconds since the epoch."""
        item = InferenceItem(
            image=image,
            deadline=deadline,
            include_activation_map=include_activation_map,
            mask_format=mask_format,
        )
        waiting = _Waiting(
            item=item,
            models=_Models(version=model_version, digest=digest, segmenter=segmenter),
            answer=asyncio.get_running_loop().create_future(),
        )
        self._queue.append(waiting)
        self._pump()
        try:
            async with asyncio.timeout(deadline - time.time()):
                return await waiting.answer
        except TimeoutError as exc:
            raise DeadlinePassed() from exc

    async def close(self) -> None:
        """Wait for what is in flight."""
        while self._in_flight:
            await asyncio.gather(*self._in_flight, return_exceptions=True)

    def _pump(self) -> None:
        while len(self._in_flight) < self._max_batches and (batch := self._next_batch()):
            task = asyncio.create_task(self._run(batch))
            self._in_flight.add(task)
            task.add_done_callback(self._batch_ended)

    def _batch_ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._pump()

    def _next_batch(self) -> list[_Waiting]:
        """The oldest picture that is still wanted, and others for the same models behind it."""
        batch: list[_Waiting] = []
        others: deque[_Waiting] = deque()
        size = 0
        while self._queue and len(batch) < self._max_batch_size:
            waiting = self._queue.popleft()
            if not _still_wanted(waiting):
                continue
            larger = size + len(waiting.item.image)
            if batch and (waiting.models != batch[0].models or larger > MAX_BATCH_BYTES):
                others.append(waiting)
                continue
            batch.append(waiting)
            size = larger
        self._queue.extendleft(reversed(others))
        return batch

    async def _run(self, batch: Sequence[_Waiting]) -> None:
        try:
            results = await self._ask(batch)
        except (NoWorker, BrokerUnavailable) as error:
            self._settle_queue(error)
            results = (error,) * len(batch)
        except BrainTumorError as error:
            results = (error,) * len(batch)
        except Exception as error:  # a defect: its callers must not wait for ever
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        if len(results) != len(batch):
            results = (InternalError(),) * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            waiting.settle(result)

    def _settle_queue(self, error: Unavailable) -> None:
        """Nobody is there for those who wait behind either: their turn would not come in time."""
        while self._queue:
            self._queue.popleft().settle(error)

    async def _ask(self, batch: Sequence[_Waiting]) -> tuple[Any, ...]:
        models = batch[0].models
        message = InferenceBatch(
            id=uuid4().hex,
            reply_to=self._channel.reply_to,
            model_version=models.version,
            digest=models.digest,
            items=tuple(waiting.item for waiting in batch),
            segmenter=models.segmenter,
        )
        last_deadline = max(waiting.item.deadline for waiting in batch)
        return await self._channel.call(
            INFER_BATCH,
            message.to_wire(),
            timeout=max(last_deadline - time.time(), 0),
            pickup_timeout=self._pickup_timeout,
            large=sum(len(waiting.item.image) for waiting in batch) > LARGE_BYTES,
        )


def _still_wanted(waiting: _Waiting) -> bool:
    """False if the caller is gone or its deadline has passed; the latter is told so."""
    if waiting.item.deadline <= time.time():
        waiting.settle(DeadlinePassed())
    return not waiting.answer.done()
