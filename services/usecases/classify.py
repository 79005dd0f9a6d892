"""The main job: a scan in, an audited answer out."""

import asyncio
import hashlib
import inspect
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID

import structlog

from core.errors import (
    BrainTumorError,
    DeadlinePassed,
    InternalError,
    InvalidArgument,
    NoProductionModel,
    Overloaded,
    RequestIdReused,
)
from core.messages import Segmenter
from core.ordered_ids import ordered_uuid
from core.ports import (
    AuditWriter,
    Clock,
    PredictionCache,
    Predictor,
    UnitOfWork,
    UnitOfWorkFactory,
)
from core.prediction import (
    AuditEntry,
    AuditRecord,
    MaskFormat,
    Outcome,
    PixelSpacing,
    Prediction,
    Region,
)
from core.question import Question
from core.registry import PRODUCTION, SEGMENTATION
from services.rounds import Rounds
from services.status import status_of
from services.usecases.image_check import check_image
from services.usecases.regions import (
    asked_for_no_regions,
    check_outlined,
    check_spacing,
    measured_otherwise,
    measured_regions,
    regions_to_record,
)

log = structlog.stdlib.get_logger(__name__)

REFUSALS: Final = frozenset(
    {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"}
)
"""Statuses that are the request's own fault; every other failure is the system's."""

_HASHED_AT_ONCE: Final = 256 * 1024
"""Bytes; hashing more would hold up every other caller."""
_LOOK_UPS_AT_ONCE: Final = 64
_SUSPENDABLE: Final = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_HASHERS: Final = 2


Serving = Callable[[str], tuple[str, str] | None]
"""Id and digest of the version that an alias names."""


@dataclass(frozen=True, kw_only=True)
class ClassifyCommand:
    """A request to classify one slice.

    ``model_version`` is a plain id, empty for the production model; ``deadline`` is seconds
    since the epoch, None if the caller set none. ``problem`` is what is wrong with the request's
    form already.
    """

    image: bytes
    caller: str
    model_version: str = ""
    request_id: str | None = None
    include_regions: bool = False
    include_explanation: bool = False
    mask_format: MaskFormat | None = None
    pixel_spacing: PixelSpacing | None = None
    deadline: float | None = None
    problem: InvalidArgument | None = None


@dataclass(frozen=True, kw_only=True)
class ClassifyAnswer:
    """The recorded answer; ``prediction`` is None when it was read back from the log.

    ``regions`` are what was asked for: with masks only where it was not read back.
    """

    record: AuditRecord
    prediction: Prediction | None
    regions: tuple[Region, ...] = ()


@dataclass(kw_only=True)
class _Attempt:
    """What is known of a request while it is handled: the making of its audit entry."""

    command: ClassifyCommand
    entry: AuditEntry
    deadline: float
    started: float
    recorded: bool = False

    def drop_image(self, error: Exception | None = None) -> None:
        """Once it is known that nobody will look at it: recording a refusal may take a while."""
        if error is not None:
            _clear_functions(error)
        self.command = replace(self.command, image=b"")

    def finished(self, **changes: object) -> AuditEntry:
        elapsed = round((time.monotonic() - self.started) * 1_000_000)
        return self.entry.evolve(latency_us=elapsed, **changes)


class ClassifyUseCase:
    """Checks, resolves the model, asks the cache or a worker, records, answers: in that order.

    At most ``max_in_flight`` requests are held, with at most ``max_bytes_in_flight`` of pictures
    unless it is a single one; above it callers are told to come back. Nobody waits longer than
    ``timeout_seconds``. Without a ``cache`` every answer is computed.
    """

    def __init__(
        self,
        *,
        predictor: Predictor,
        audit: AuditWriter,
        uow_factory: UnitOfWorkFactory,
        clock: Clock,
        software_version: str,
        max_image_bytes: int,
        max_in_flight: int,
        max_bytes_in_flight: int,
        timeout_seconds: float,
        cache: PredictionCache | None = None,
    ) -> None:
        self._cache = cache
        self._predictor = predictor
        self._audit = audit
        self._uow_factory = uow_factory
        self._clock = clock
        self._software_version = software_version
        self._max_image_bytes = max_image_bytes
        self._max_in_flight = max_in_flight
        self._timeout = timedelta(seconds=timeout_seconds)
        self._max_bytes_in_flight = max_bytes_in_flight
        self._in_flight = 0
        self._bytes_in_flight = 0
        self._look_ups: Rounds[_Attempt, AuditRecord | Question] = Rounds(
            self._look_up_all, name="look-up", most=_LOOK_UPS_AT_ONCE, spares_the_gone=True
        )
        self._hashers = ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash")
        self._afterwards: set[asyncio.Task[None]] = set()

    async def classify(self, command: ClassifyCommand) -> ClassifyAnswer:
        """The answer, once it is in the audit log.

        Raises any of the taxonomy's errors; each is in the audit log too, except
        ``StoreUnavailable``, which says that nothing could be recorded.
        """
        attempt = self._begin(command)
        del command  # so that dropping the picture frees it
        try:
            await self._hash_image(attempt)
            return await self._answer(attempt)
        except BrainTumorError as error:
            attempt.drop_image(error)
            if not attempt.recorded:
                # Many of these are to come: their rows go together.
                at_once = not isinstance(error, Overloaded)
                await self._record(attempt, _failure(error), at_once=at_once)
            raise
        except asyncio.CancelledError:
            self._record_afterwards(attempt)
            raise
        except Exception as error:
            attempt.drop_image(error)
            # The caller's id, under which the trace goes to the log, is no part of the record.
            log.error("classification_failed", prediction=attempt.entry.id)
            await self._record(attempt, _failure(InternalError(attempt.entry.id)))
            raise

    async def close(self) -> None:
        """Wait for the records of callers that went away, and for answers that are being kept."""
        await asyncio.gather(*self._afterwards, return_exceptions=True)
        await self._look_ups.close()
        self._hashers.shutdown(wait=False)

    def _begin(self, command: ClassifyCommand) -> _Attempt:
        now = self._clock.now()
        latest = (now + self._timeout).timestamp()
        entry = AuditEntry(
            id=ordered_uuid(now).hex,
            create_time=now,
            request_id=_usable_request_id(command.request_id),
            caller=command.caller,
            image_sha256="",
            image_bytes=len(command.image),
            model_version=command.model_version or None,
            probabilities=None,
            label=None,
            decision=None,
            outcome=Outcome.FAILED,
            status="CANCELLED",
            reason="CALLER_WENT_AWAY",
            message="The caller cancelled or its deadline passed before the answer was ready.",
            latency_us=0,
            software_version=self._software_version,
        )
        return _Attempt(
            command=command,
            entry=entry,
            deadline=latest if command.deadline is None else min(command.deadline, latest),
            started=time.monotonic(),
        )

    async def _hash_image(self, attempt: _Attempt) -> None:
        image = attempt.command.image
        if attempt.entry.image_sha256:
            return
        if len(image) <= _HASHED_AT_ONCE:
            digest = _sha256(image)
        else:
            loop = asyncio.get_running_loop()
            digest = await loop.run_in_executor(self._hashers, _sha256, image)
        attempt.entry = attempt.entry.evolve(image_sha256=digest)

    async def _answer(self, attempt: _Attempt) -> ClassifyAnswer:
        with self._room_for(attempt.entry.image_bytes):
            self._check(attempt.command)
            found = await self._found(attempt)
            if isinstance(found, AuditRecord):
                attempt.recorded = True
                return _given(record=found, command=attempt.command)
            attempt.entry = attempt.entry.evolve(model_version=found.model_version)
            kept = await self._kept(found)
            prediction = kept or await self._predict(attempt, found)
            ending = _success(prediction, attempt.command, found.segmenter)
            record = await self._record(attempt, {**ending, "cached": kept is not None})
        if kept is None:
            self._keep(found, prediction)
        if record.id != attempt.entry.id:  # another call with this request id was faster
            attempt.recorded = False  # its record is there, the refusal of this one is not
            _check_same_request(record, attempt)
            attempt.recorded = True
            return _given(record=record, command=attempt.command)
        return _given(record=record, command=attempt.command, prediction=prediction)

    @contextmanager
    def _room_for(self, size: int) -> Iterator[None]:
        full = self._bytes_in_flight + size > self._max_bytes_in_flight
        if self._in_flight >= self._max_in_flight or (full and self._in_flight):
            raise Overloaded()
        self._in_flight += 1
        self._bytes_in_flight += size
        try:
            yield
        finally:
            self._in_flight -= 1
            self._bytes_in_flight -= size

    def _check(self, command: ClassifyCommand) -> None:
        if command.request_id and _usable_request_id(command.request_id) is None:
            raise InvalidArgument.of("request_id", "must be a UUID")
        if command.problem is not None:
            raise command.problem
        if not command.model_version.isprintable():
            raise InvalidArgument.of("model_version", "is no name of a version")
        if command.mask_format is not None and not command.include_regions:
            raise InvalidArgument.of("mask_format", "needs include_regions")
        check_spacing(command.pixel_spacing)
        check_image(command.image, self._max_image_bytes)

    async def _found(self, attempt: _Attempt) -> AuditRecord | Question:
        try:
            async with asyncio.timeout(self._left(attempt)):
                return await self._look_ups.ask(attempt)
        except TimeoutError as exc:
            raise DeadlinePassed() from exc

    def _left(self, attempt: _Attempt) -> float:
        """Seconds until the attempt's deadline."""
        return attempt.deadline - self._clock.now().timestamp()

    def _look_up_all(
        self, attempts: Sequence[_Attempt]
    ) -> list[AuditRecord | Question | Exception]:
        """In one transaction, that begins after all of them have come."""
        found: list[AuditRecord | Question | Exception] = []
        with self._uow_factory() as uow:
            serving = cache(uow.models.aliased)
            for attempt in attempts:
                try:
                    found.append(_look_up(uow, serving, attempt))
                except BrainTumorError as error:  # it is this attempt's alone
                    found.append(error)
        return found

    async def _kept(self, question: Question) -> Prediction | None:
        """The answer to the same question before, if it is still known."""
        return None if self._cache is None else await self._cache.get(question)

    def _keep(self, question: Question, prediction: Prediction) -> None:
        """Beside the answer, which does not wait for it."""
        # What could not be outlined this time may be the next time.
        if self._cache is not None and prediction.regions_error is None:
            self._do_afterwards(self._cache.put(question, prediction))

    async def _predict(self, attempt: _Attempt, question: Question) -> Prediction:
        if self._left(attempt) <= 0:
            raise DeadlinePassed()
        return await self._predictor.predict(
            attempt.command.image,
            model_version=question.model_version,
            digest=question.digest,
            deadline=attempt.deadline,
            include_activation_map=question.include_activation_map,
            segmenter=question.segmenter,
            mask_format=question.mask_format,
        )

    async def _record(
        self, attempt: _Attempt, ending: Mapping[str, object], *, at_once: bool = True
    ) -> AuditRecord:
        # Set before the wait: a caller that goes away meanwhile leaves the row to be written.
        attempt.recorded = True
        return await self._audit.record(attempt.finished(**ending), at_once=at_once)

    def _record_afterwards(self, attempt: _Attempt) -> None:
        if not attempt.recorded:
            self._do_afterwards(self._record_departure(attempt))

    def _do_afterwards(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)

    async def _record_departure(self, attempt: _Attempt) -> None:
        await self._hash_image(attempt)
        attempt.drop_image()
        await self._record(attempt, {})


def _look_up(uow: UnitOfWork, serving: Serving, attempt: _Attempt) -> AuditRecord | Question:
    """The earlier answer to this request id, or what to ask the model that serves now."""
    command, entry = attempt.command, attempt.entry
    if entry.request_id:
        earlier = uow.audit.find_answered(command.caller, entry.request_id)
        if earlier is not None:
            _check_same_request(earlier, attempt)
            return earlier
    if command.model_version:
        version, digest = command.model_version, uow.models.digest_of(command.model_version)
    else:
        version, digest = _production(serving)
    return Question(
        image_sha256=entry.image_sha256,
        model_version=version,
        digest=digest,
        segmenter=_segmenter(serving) if command.include_regions else None,
        include_activation_map=command.include_explanation,
        mask_format=command.mask_format,
    )


def _production(serving: Serving) -> tuple[str, str]:
    production = serving(PRODUCTION)
    if production is None:
        raise NoProductionModel()
    return production


def _segmenter(serving: Serving) -> Segmenter | None:
    aliased = serving(SEGMENTATION)
    return None if aliased is None else Segmenter(version=aliased[0], digest=aliased[1])


def _given(
    *, record: AuditRecord, command: ClassifyCommand, prediction: Prediction | None = None
) -> ClassifyAnswer:
    """The recorded answer as it was asked for. Raises ``AnsweredWithoutRegions``."""
    if not command.include_regions:
        return ClassifyAnswer(record=record, prediction=prediction)
    check_outlined(record)
    regions = record.regions or ()
    if prediction is not None:
        regions = measured_regions(prediction, command.pixel_spacing)
    return ClassifyAnswer(record=record, prediction=prediction, regions=regions)


def _success(
    prediction: Prediction, command: ClassifyCommand, segmenter: Segmenter | None
) -> dict[str, object]:
    ending: dict[str, object] = {
        "probabilities": prediction.probabilities,
        "label": prediction.label,
        "decision": prediction.decision,
        "outcome": Outcome.ANSWERED,
        "status": "OK",
        "reason": None,
        "message": None,
    }
    if command.include_regions:
        ending |= regions_to_record(prediction, segmenter, command.pixel_spacing)
    return ending


def _failure(error: BrainTumorError) -> dict[str, object]:
    status = status_of(error).name
    return {
        "outcome": Outcome.REFUSED if status in REFUSALS else Outcome.FAILED,
        "status": status,
        "reason": error.reason,
        "message": error.message[:500],
    }


def _usable_request_id(request_id: str | None) -> str | None:
    """The UUID in its canonical spelling, or None if it is not one."""
    try:
        return str(UUID(request_id)) if request_id else None
    except ValueError:
        return None


def _check_same_request(earlier: AuditRecord, attempt: _Attempt) -> None:
    entry, command = attempt.entry, attempt.command
    other_picture = earlier.image_sha256 != entry.image_sha256
    other_model = command.model_version not in ("", earlier.model_version)
    other_regions = command.include_regions and (
        asked_for_no_regions(earlier) or measured_otherwise(earlier, command.pixel_spacing)
    )
    if other_picture or other_model or other_regions:
        raise RequestIdReused(entry.request_id or "")


def _clear_functions(error: Exception) -> None:
    """Let go what the functions that it came through held.

    Coroutines are left alone: several callers may share one error, and clearing the frame of one
    that still waits would end it.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not frame.f_code.co_flags & _SUSPENDABLE:
            with suppress(RuntimeError):  # it still runs
                frame.clear()


def _sha256(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()
