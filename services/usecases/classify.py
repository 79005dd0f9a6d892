"""The main job: a scan in, an audited answer out."""

import asyncio
import hashlib
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from core.errors import (
    BrainTumorError,
    DeadlinePassed,
    InternalError,
    InvalidArgument,
    NoProductionModel,
    Overloaded,
    RequestIdReused,
    SegmenterNotRegistered,
)
from core.ports import AuditWriter, Clock, Predictor, UnitOfWorkFactory
from core.prediction import AuditEntry, AuditRecord, Outcome, Prediction
from core.registry import PRODUCTION
from services.status import status_of
from services.usecases.image_check import check_image

REFUSALS: Final = frozenset(
    {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"}
)
"""Statuses that are the request's own fault; every other failure is the system's."""


@dataclass(frozen=True, kw_only=True)
class ClassifyCommand:
    """A request to classify one slice.

    ``model_version`` is a plain id, empty for the production model; ``deadline`` is seconds
    since the epoch, None if the caller set none.
    """

    image: bytes
    caller: str
    model_version: str = ""
    request_id: str | None = None
    include_regions: bool = False
    include_explanation: bool = False
    deadline: float | None = None


@dataclass(frozen=True, kw_only=True)
class ClassifyAnswer:
    """The recorded answer; ``prediction`` is None when it was read back from the log."""

    record: AuditRecord
    prediction: Prediction | None


@dataclass(frozen=True, kw_only=True)
class _Serving:
    """The model version that will answer."""

    version: str
    digest: str


@dataclass(kw_only=True)
class _Attempt:
    """What is known of a request while it is handled: the making of its audit entry."""

    command: ClassifyCommand
    entry: AuditEntry
    started: float
    recorded: bool = False

    def finished(self, **changes: object) -> AuditEntry:
        elapsed = round((time.monotonic() - self.started) * 1_000_000)
        return self.entry.evolve(latency_us=elapsed, **changes)


class ClassifyUseCase:
    """Checks, resolves the model, asks a worker, records, answers: in that order.

    At most ``max_in_flight`` requests are held; above it callers are told to come back.
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
        timeout_seconds: float,
    ) -> None:
        self._predictor = predictor
        self._audit = audit
        self._uow_factory = uow_factory
        self._clock = clock
        self._software_version = software_version
        self._max_image_bytes = max_image_bytes
        self._max_in_flight = max_in_flight
        self._timeout = timedelta(seconds=timeout_seconds)
        self._in_flight = 0
        self._afterwards: set[asyncio.Task[None]] = set()

    async def classify(self, command: ClassifyCommand) -> ClassifyAnswer:
        """The answer, once it is in the audit log.

        Raises any of the taxonomy's errors; each is in the audit log too, except
        ``StoreUnavailable``, which says that nothing could be recorded.
        """
        attempt = self._begin(command)
        try:
            return await self._answer(attempt)
        except BrainTumorError as error:
            if not attempt.recorded:
                await self._record(attempt, **_failure(error))
            raise
        except asyncio.CancelledError:
            self._record_afterwards(attempt)
            raise
        except Exception:
            await self._record(attempt, **_failure(InternalError()))
            raise

    async def close(self) -> None:
        """Wait for the records of callers that went away."""
        await asyncio.gather(*self._afterwards, return_exceptions=True)

    def _begin(self, command: ClassifyCommand) -> _Attempt:
        entry = AuditEntry(
            id=uuid4().hex,
            create_time=self._clock.now(),
            request_id=_usable_request_id(command.request_id),
            caller=command.caller,
            image_sha256=hashlib.sha256(command.image).hexdigest(),
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
        return _Attempt(command=command, entry=entry, started=time.monotonic())

    async def _answer(self, attempt: _Attempt) -> ClassifyAnswer:
        if self._in_flight >= self._max_in_flight:
            raise Overloaded()
        self._in_flight += 1
        try:
            self._check(attempt.command)
            found = await asyncio.to_thread(self._look_up, attempt)
            if isinstance(found, AuditRecord):
                attempt.recorded = True
                return ClassifyAnswer(record=found, prediction=None)
            attempt.entry = attempt.entry.evolve(model_version=found.version)
            prediction = await self._predict(attempt.command, found)
            record = await self._record(attempt, **_success(prediction))
        finally:
            self._in_flight -= 1
        if record.id != attempt.entry.id:  # another call with this request id was faster
            _check_same_image(record, attempt.entry)
            return ClassifyAnswer(record=record, prediction=None)
        return ClassifyAnswer(record=record, prediction=prediction)

    def _check(self, command: ClassifyCommand) -> None:
        if command.request_id and _usable_request_id(command.request_id) is None:
            raise InvalidArgument.of("request_id", "must be a UUID")
        check_image(command.image, self._max_image_bytes)
        if command.include_regions:
            raise SegmenterNotRegistered()

    def _look_up(self, attempt: _Attempt) -> AuditRecord | _Serving:
        """The earlier answer to this request id, or the model that will answer now."""
        command, entry = attempt.command, attempt.entry
        with self._uow_factory() as uow:
            if entry.request_id:
                earlier = uow.audit.find_answered(command.caller, entry.request_id)
                if earlier is not None:
                    _check_same_image(earlier, entry)
                    return earlier
            if command.model_version:
                digest = uow.models.digest_of(command.model_version)
                return _Serving(version=command.model_version, digest=digest)
            production = uow.models.aliased(PRODUCTION)
        if production is None:
            raise NoProductionModel()
        return _Serving(version=production[0], digest=production[1])

    async def _predict(self, command: ClassifyCommand, serving: _Serving) -> Prediction:
        now = self._clock.now()
        deadline = command.deadline or (now + self._timeout).timestamp()
        if deadline <= now.timestamp():
            raise DeadlinePassed()
        return await self._predictor.predict(
            command.image,
            model_version=serving.version,
            digest=serving.digest,
            deadline=deadline,
            include_activation_map=command.include_explanation,
        )

    async def _record(self, attempt: _Attempt, **ending: object) -> AuditRecord:
        # Set before the wait: a caller that goes away meanwhile leaves the row to be written.
        attempt.recorded = True
        return await self._audit.record(attempt.finished(**ending))

    def _record_afterwards(self, attempt: _Attempt) -> None:
        if attempt.recorded:
            return
        task = asyncio.create_task(self._record_departure(attempt))
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)

    async def _record_departure(self, attempt: _Attempt) -> None:
        await self._record(attempt)


def _success(prediction: Prediction) -> dict[str, object]:
    return {
        "probabilities": prediction.probabilities,
        "label": prediction.label,
        "decision": prediction.decision,
        "outcome": Outcome.ANSWERED,
        "status": "OK",
        "reason": None,
        "message": None,
    }


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


def _check_same_image(earlier: AuditRecord, entry: AuditEntry) -> None:
    if earlier.image_sha256 != entry.image_sha256:
        raise RequestIdReused(entry.request_id or "")
