"""Working fakes for what the gateway talks to."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgpack

from core.errors import BrainTumorError
from core.messages import InferenceBatch, prediction_to_wire
from core.prediction import AuditEntry, AuditRecord, Decision, Prediction
from core.question import Question
from core.settings import Settings
from tests.fakes.store import FakeClock, FakeUnitOfWorkFactory


def a_prediction(version: str = "m1", best: int = 0) -> Prediction:
    probabilities = tuple(0.7 if i == best else 0.1 for i in range(4))
    return Prediction(
        probabilities=probabilities, decision=Decision.ACCEPTED, model_version=version
    )


class FakePredictor:
    """Answers with ``result``; holds its answers while ``gate`` is cleared."""

    def __init__(self, result: Prediction | Exception | None = None) -> None:
        self.result = result
        self.calls: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def predict(self, image: bytes, **arguments: Any) -> Prediction:
        self.calls.append({"image": image, **arguments})
        await self.gate.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result or a_prediction(arguments["model_version"])


class FakePredictionCache:
    """Keeps answers until ``clock`` passes their lifetime, within the bounds of the settings."""

    def __init__(self, settings: Settings, clock: FakeClock) -> None:
        self._settings = settings
        self._clock = clock
        self.answers: dict[Question, tuple[datetime, int, Prediction]] = {}

    async def get(self, question: Question) -> Prediction | None:
        expires, _, prediction = self.answers.get(question, (None, 0, None))
        return prediction if expires is not None and self._clock.now() < expires else None

    async def put(self, question: Question, prediction: Prediction) -> None:
        size = len(msgpack.packb(prediction_to_wire(prediction)))
        if size > self._settings.result_cache_answer_bytes:
            return
        self.answers.pop(question, None)
        expires = self._clock.now() + timedelta(seconds=self._settings.result_cache_seconds)
        self.answers[question] = (expires, size, prediction)
        while sum(size for _, size, _ in self.answers.values()) > self._settings.result_cache_bytes:
            del self.answers[next(iter(self.answers))]


class FakeAuditWriter:
    """Appends to the fake store at once; fails while ``error`` is set."""

    def __init__(self, uow_factory: FakeUnitOfWorkFactory) -> None:
        self._uow_factory = uow_factory
        self.error: BrainTumorError | None = None
        self.patient = 0

    async def record(self, entry: AuditEntry, *, at_once: bool = True) -> AuditRecord:
        self.patient += not at_once
        if self.error is not None:
            raise self.error
        with self._uow_factory(write=True) as uow:
            (record,) = uow.audit.append([entry])
            uow.commit()
        return record


Answer = Callable[[InferenceBatch], tuple[Any, ...]]


class FakeChannel:
    """Answers inference messages with a function, once ``gate`` lets it."""

    reply_to = "replies"

    def __init__(self, answer: Answer | None = None) -> None:
        self.batches: list[InferenceBatch] = []
        self.options: list[dict[str, Any]] = []
        self.answer = answer or (lambda b: tuple(a_prediction(b.model_version) for _ in b.items))
        self.gate = asyncio.Semaphore(1_000_000)

    async def call(self, task: str, message: Mapping[str, Any], **options: Any) -> tuple[Any, ...]:
        batch = InferenceBatch.from_wire(message)
        self.options.append(options)
        self.batches.append(batch)
        async with self.gate:
            return self.answer(batch)
