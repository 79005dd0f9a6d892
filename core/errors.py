"""Every error the system raises on purpose, and nothing else.

Errors say what is wrong and carry the data; which gRPC status each becomes is decided in one
table, in ``services/status.py``. The drawing groups them by cause; what stands below another
has that one's status, and is its subclass where code catches both together::

    BrainTumorError
    ├── InvalidArgument                  the request itself is wrong; it names the fields
    │   ├── ImageRefused                 the picture cannot be read or is not allowed
    │   └── DatasetRefused               the data set cannot be used; it names the files
    ├── NotFound                         no such data set, job, model version or prediction
    ├── AlreadyExists                    the name is taken
    │   └── RequestIdReused              the request id was used before, for something else
    ├── FailedPrecondition               right request, wrong moment
    │   ├── NoProductionModel            nothing is promoted yet
    │   ├── SegmenterNotRegistered       answered without regions: no segmenter exists
    │   ├── WrongTask                    a segmenter where a classifier is needed, or the reverse
    │   ├── IllegalTransition            the job's state does not allow it
    │   ├── InUse                        something else still needs it
    │   ├── NothingToRollBackTo          the alias has no earlier version
    │   ├── AliasMoved                   a rollback from a version that it points at no more
    │   ├── NotFitToServe                the gate: of no use, by its own held-out slices
    │   ├── WorseThanProduction          the gate: worse on the same held-out slices
    │   └── ExportDiffers                the gate: what would serve is not what was trained
    ├── Overloaded                       too much work in flight; says when to come back
    ├── DeadlinePassed                   the caller's deadline passed before the answer
    ├── Unavailable                      a part that the answer needs is away
    │   ├── BrokerUnavailable            Redis/Valkey cannot be reached
    │   ├── StoreUnavailable             the database or the artefact store is away or full
    │   ├── WorkerLost                   the worker died with the work in its hands
    │   └── NoWorker                     nobody took the work in time
    ├── NotSupported                     the API has a place for it, this version does not do it
    ├── ArtefactCorrupt                  stored bytes do not match their recorded hash
    │   └── SegmenterCorrupt             answered without regions: those are the segmenter's
    ├── TrainingFailed                   a training job cannot go on; says what to do
    │   └── PretrainedWeightsUnavailable
    ├── TrainingCancelled                a training job was told to stop
    ├── InternalError                    a worker failed in a way nobody foresaw
    │   └── SegmentationFailed           answered without regions: the segmenter failed
    └── AnsweredWithoutRegions           what the three of those have in common

Workers send errors to the gateway as plain data: :func:`to_wire` and :func:`from_wire`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldViolation:
    """One thing wrong with one field of a request; ``field`` is its path in the message."""

    field: str
    description: str


@dataclass(eq=False)
class BrainTumorError(Exception):
    """Base of all errors. ``reason`` is the stable UPPER_SNAKE_CASE name clients may match on."""

    reason: ClassVar[str] = "INTERNAL"

    @property
    def message(self) -> str:
        return "The request failed."

    @property
    def metadata(self) -> dict[str, str]:
        """Machine-readable particulars, for ``google.rpc.ErrorInfo.metadata``."""
        return {}

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> Any:  # dataclass fields, not Exception.args, rebuild the error
        return type(self), tuple(getattr(self, field.name) for field in fields(self))


# --- the request is wrong ---------------------------------------------------------------------


@dataclass(eq=False)
class InvalidArgument(BrainTumorError):
    """The request can never succeed as it is. ``violations`` holds at least one entry."""

    reason: ClassVar[str] = "INVALID_ARGUMENT"
    violations: tuple[FieldViolation, ...]

    @classmethod
    def of(cls, field_path: str, description: str) -> "InvalidArgument":
        return InvalidArgument((FieldViolation(field_path, description),))

    @property
    def message(self) -> str:
        return "; ".join(f"{v.field}: {v.description}" for v in self.violations)


class ImageProblem(StrEnum):
    """Why a picture is refused."""

    EMPTY = "EMPTY"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    TRUNCATED = "TRUNCATED"
    TOO_SMALL = "TOO_SMALL"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    TOO_MANY_BYTES = "TOO_MANY_BYTES"
    ANIMATED = "ANIMATED"
    UNREADABLE = "UNREADABLE"


@dataclass(eq=False)
class ImageRefused(BrainTumorError):
    """A picture that cannot be read, or that the limits do not allow."""

    problem: ImageProblem
    description: str

    @property
    def reason(self) -> str:  # type: ignore[override]
        return f"IMAGE_{self.problem.value}"

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        return (FieldViolation("image", self.description),)

    @property
    def message(self) -> str:
        return self.description


@dataclass(frozen=True)
class RejectedFile:
    """A file of an upload that could not be used, and why. ``path`` is relative to the upload."""

    path: str
    problem: str


@dataclass(eq=False)
class DatasetRefused(BrainTumorError):
    """A data set that cannot be used. ``rejected`` names files where single files are to blame.

    They are the first of many where ``more`` says how many others are not named.
    """

    reason: ClassVar[str] = "DATASET_REFUSED"
    description: str
    rejected: tuple[RejectedFile, ...] = ()
    more: int = 0

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        named = tuple(FieldViolation(f"files[{r.path}]", r.problem) for r in self.rejected)
        return named or (FieldViolation("dataset", self.description),)

    @property
    def message(self) -> str:
        shown = self.rejected[:5]
        texts = "; ".join(f"{r.path}: {r.problem}" for r in shown)
        others = len(self.rejected) - len(shown) + self.more
        more = f" (and {others} more)" if others else ""
        return f"{self.description}{': ' if shown else ''}{texts}{more}"


# --- the request is right, the world is not ---------------------------------------------------


@dataclass(eq=False)
class NotFound(BrainTumorError):
    """``name`` is a resource name such as ``datasets/brains``."""

    name: str

    @property
    def reason(self) -> str:  # type: ignore[override]
        kinds = {
            "datasets": "DATASET_NOT_FOUND",
            "trainingJobs": "TRAINING_JOB_NOT_FOUND",
            "modelVersions": "MODEL_VERSION_NOT_FOUND",
            "predictions": "PREDICTION_NOT_FOUND",
        }
        return kinds.get(self.name.split("/", 1)[0], "NOT_FOUND")

    @property
    def message(self) -> str:
        return f"{self.name} does not exist."

    @property
    def metadata(self) -> dict[str, str]:
        return {"resource": self.name}


@dataclass(eq=False)
class AlreadyExists(BrainTumorError):
    reason: ClassVar[str] = "ALREADY_EXISTS"
    name: str

    @property
    def message(self) -> str:
        return f"{self.name} exists already. Choose another name or delete it first."

    @property
    def metadata(self) -> dict[str, str]:
        return {"resource": self.name}


@dataclass(eq=False)
class RequestIdReused(AlreadyExists):
    reason: ClassVar[str] = "REQUEST_ID_REUSED"

    @property
    def message(self) -> str:
        return f"request_id {self.name} was used before for a different request. Use a new one."


@dataclass(eq=False)
class FailedPrecondition(BrainTumorError):
    reason: ClassVar[str] = "FAILED_PRECONDITION"
    description: str

    @property
    def message(self) -> str:
        return self.description


@dataclass(eq=False)
class NoProductionModel(BrainTumorError):
    reason: ClassVar[str] = "NO_PRODUCTION_MODEL"
    alias: str = "production"

    @property
    def message(self) -> str:
        return (
            f"No model version has the alias '{self.alias}' yet. Train one "
            "(braintumor train --dataset N) and promote it (braintumor models promote V)."
        )


@dataclass(eq=False)
class AnsweredWithoutRegions(BrainTumorError):
    """Regions were asked for and could not be had; the classification itself is in the log.

    ``prediction`` is its resource name; ``description`` says in a sentence what went wrong.
    """

    reason: ClassVar[str] = "ANSWERED_WITHOUT_REGIONS"
    prediction: str
    description: str = "The tumour could not be outlined."

    @property
    def message(self) -> str:
        return (
            f"{self.description} The classification is not lost: get {self.prediction}, or ask "
            "again without include_regions."
        )

    @property
    def metadata(self) -> dict[str, str]:
        return {"prediction": self.prediction}


@dataclass(eq=False)
class SegmenterNotRegistered(AnsweredWithoutRegions):
    reason: ClassVar[str] = "SEGMENTER_NOT_REGISTERED"
    description: str = (
        "Regions were asked for, and no model version has the alias 'segmentation' yet."
    )


@dataclass(eq=False)
class SegmenterCorrupt(AnsweredWithoutRegions):
    reason: ClassVar[str] = "SEGMENTER_CORRUPT"


@dataclass(eq=False)
class SegmentationFailed(AnsweredWithoutRegions):
    reason: ClassVar[str] = "SEGMENTATION_FAILED"


@dataclass(eq=False)
class WrongTask(BrainTumorError):
    """``task`` is what the version does, ``wanted`` what was needed where ``place`` says."""

    reason: ClassVar[str] = "WRONG_TASK"
    name: str
    task: str
    wanted: str
    place: str

    @property
    def message(self) -> str:
        return (
            f"{self.name} does {self.task}, and {self.place} needs a version that does "
            f"{self.wanted}. Name another one."
        )

    @property
    def metadata(self) -> dict[str, str]:
        return {"resource": self.name, "task": self.task, "wanted": self.wanted}


@dataclass(eq=False)
class IllegalTransition(BrainTumorError):
    reason: ClassVar[str] = "ILLEGAL_TRANSITION"
    name: str
    state: str
    wanted: str

    @property
    def message(self) -> str:
        if self.state in {"SUCCEEDED", "FAILED", "CANCELLED"}:
            return f"{self.name} has ended already, as {self.state}. Nothing was changed."
        return f"{self.name} is {self.state} and cannot become {self.wanted}."

    @property
    def metadata(self) -> dict[str, str]:
        return {"resource": self.name, "state": self.state}


@dataclass(eq=False)
class InUse(BrainTumorError):
    reason: ClassVar[str] = "IN_USE"
    name: str
    user: str

    @property
    def message(self) -> str:
        return f"{self.name} is in use by {self.user}."

    @property
    def metadata(self) -> dict[str, str]:
        return {"resource": self.name, "user": self.user}


@dataclass(eq=False)
class NothingToRollBackTo(BrainTumorError):
    reason: ClassVar[str] = "NOTHING_TO_ROLL_BACK_TO"
    alias: str

    @property
    def message(self) -> str:
        return f"The alias '{self.alias}' has no earlier model version to go back to."


@dataclass(eq=False)
class AliasMoved(BrainTumorError):
    """``expected`` and ``current`` are names of model versions."""

    reason: ClassVar[str] = "ALIAS_MOVED"
    alias: str
    expected: str
    current: str

    @property
    def message(self) -> str:
        return (
            f"The alias '{self.alias}' points at {self.current} now, not at {self.expected}, so "
            "nothing was changed. Look at its history; to go back from there, ask anew."
        )

    @property
    def metadata(self) -> dict[str, str]:
        return {"alias": self.alias, "expected": self.expected, "current": self.current}


@dataclass(eq=False)
class NotFitToServe(BrainTumorError):
    """``shortcomings`` are clauses on what speaks against it."""

    reason: ClassVar[str] = "NOT_FIT_TO_SERVE"
    candidate: str
    shortcomings: str

    @property
    def message(self) -> str:
        return (
            f"{self.candidate} is not fit to serve: {self.shortcomings}. Look at its report, "
            "and train with more slices or for longer. To promote it anyway, use force with a "
            "reason."
        )

    @property
    def metadata(self) -> dict[str, str]:
        return {"candidate": self.candidate, "shortcomings": self.shortcomings}


@dataclass(eq=False)
class WorseThanProduction(BrainTumorError):
    """``low`` and ``high`` are the 95 % interval of the difference in ``score``, the name of what
    versions of the task are ranked by, both below 0; ``slices`` counts what was held out from both
    versions."""

    reason: ClassVar[str] = "WORSE_THAN_PRODUCTION"
    candidate: str
    production: str
    low: float
    high: float
    slices: int
    score: str

    @property
    def message(self) -> str:
        return (
            f"{self.candidate} is worse than {self.production}, which serves now: on "
            f"{self.slices} slices held out from both, its {self.score} is lower by "
            f"{-self.high:.3f} to {-self.low:.3f} (95 % interval). To promote it anyway, use "
            "force with a reason."
        )

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "candidate": self.candidate,
            "production": self.production,
            "low": f"{self.low:.6f}",
            "high": f"{self.high:.6f}",
            "slices": str(self.slices),
            "score": self.score,
        }


@dataclass(eq=False)
class ExportDiffers(BrainTumorError):
    """``difference`` is the largest of a probability, 0..1; ``allowed`` is what is let through."""

    reason: ClassVar[str] = "EXPORT_DIFFERS"
    name: str
    difference: float
    allowed: float

    @property
    def message(self) -> str:
        return (
            f"The exported graph of {self.name} differs from the trained model by "
            f"{self.difference:.2g} in a probability; at most {self.allowed:g} is let through. "
            "Train it again, or promote it with force and a reason."
        )

    @property
    def metadata(self) -> dict[str, str]:
        return {"resource": self.name, "difference": f"{self.difference:.6g}"}


@dataclass(eq=False)
class Overloaded(BrainTumorError):
    """``retry_after`` is in seconds."""

    reason: ClassVar[str] = "OVERLOADED"
    retry_after: float = 1.0

    @property
    def message(self) -> str:
        return f"Too many requests in flight. Try again in {self.retry_after:g} s."


@dataclass(eq=False)
class DeadlinePassed(BrainTumorError):
    reason: ClassVar[str] = "DEADLINE_PASSED"

    @property
    def message(self) -> str:
        return "The deadline passed before the answer was ready. Allow more time, or try again."


@dataclass(eq=False)
class Unavailable(BrainTumorError):
    """Something the answer needs is away for now; the same request may be sent again."""

    reason: ClassVar[str] = "UNAVAILABLE"

    @property
    def message(self) -> str:
        return "A part of the service is away. Try again shortly."


@dataclass(eq=False)
class BrokerUnavailable(Unavailable):
    reason: ClassVar[str] = "BROKER_UNAVAILABLE"

    @property
    def message(self) -> str:
        return "The message broker (Redis/Valkey) cannot be reached. Try again shortly."


@dataclass(eq=False)
class StoreUnavailable(Unavailable):
    """``what`` names it, in words for a person."""

    reason: ClassVar[str] = "STORE_UNAVAILABLE"
    what: str = "database"

    @property
    def message(self) -> str:
        return f"The {self.what} cannot be used, so nothing can be recorded. Try again shortly."


@dataclass(eq=False)
class WorkerLost(Unavailable):
    reason: ClassVar[str] = "WORKER_LOST"

    @property
    def message(self) -> str:
        return "The worker that had this request stopped. Try again."


@dataclass(eq=False)
class NoWorker(Unavailable):
    reason: ClassVar[str] = "NO_WORKER"

    @property
    def message(self) -> str:
        return "No worker took this request in time. Check that workers run, then try again."


@dataclass(eq=False)
class NotSupported(BrainTumorError):
    reason: ClassVar[str] = "NOT_SUPPORTED"
    description: str

    @property
    def message(self) -> str:
        return self.description


# --- inside the workers -----------------------------------------------------------------------


@dataclass(eq=False)
class ArtefactCorrupt(BrainTumorError):
    reason: ClassVar[str] = "ARTEFACT_CORRUPT"
    name: str
    detail: str = "its bytes do not match the recorded hash"

    @property
    def message(self) -> str:
        return f"{self.name} was not loaded: {self.detail}. Restore it from a backup or retrain."

    @property
    def metadata(self) -> dict[str, str]:
        return {"resource": self.name}


@dataclass(eq=False)
class TrainingFailed(BrainTumorError):
    reason: ClassVar[str] = "TRAINING_FAILED"
    description: str

    @property
    def message(self) -> str:
        return self.description


@dataclass(eq=False)
class PretrainedWeightsUnavailable(TrainingFailed):
    reason: ClassVar[str] = "PRETRAINED_WEIGHTS_UNAVAILABLE"


@dataclass(eq=False)
class TrainingCancelled(BrainTumorError):
    reason: ClassVar[str] = "TRAINING_CANCELLED"

    @property
    def message(self) -> str:
        return "The training job was cancelled."


@dataclass(eq=False)
class InternalError(BrainTumorError):
    """``request_id`` lets an operator find the trace in the log; the trace itself stays there."""

    request_id: str = ""

    @property
    def message(self) -> str:
        if not self.request_id:
            return "Internal error."
        return f"Internal error. Ask the operator to look for {self.request_id} in the log."


# --- plain data for the wire between worker and gateway ---------------------------------------


def _subclasses(cls: type[BrainTumorError]) -> list[type[BrainTumorError]]:
    return [cls, *(deeper for child in cls.__subclasses__() for deeper in _subclasses(child))]


def all_errors() -> list[type[BrainTumorError]]:
    """Every concrete error class, base first."""
    return _subclasses(BrainTumorError)


def to_wire(error: BrainTumorError) -> dict[str, Any]:
    """The error as a mapping of plain values, ready for msgpack.

    What it does not use is left out: a gateway of the version before need not know of it.
    """
    values = asdict(error)
    used = {f.name: values[f.name] for f in fields(error) if getattr(error, f.name) != f.default}
    return {"type": type(error).__name__, "data": used}


def from_wire(payload: Mapping[str, Any]) -> BrainTumorError:
    """The error that :func:`to_wire` described.

    One that this version does not know, or knows with other fields, becomes ``InternalError``:
    while a system is being upgraded, gateway and workers are of different versions.
    """
    known = {cls.__name__: cls for cls in all_errors()}
    cls = known.get(str(payload.get("type")))
    if cls is None:
        return InternalError()
    try:
        return cls(**_fields_from_wire(payload["data"]))
    except (KeyError, TypeError, ValueError):
        return InternalError()


def _fields_from_wire(payload: Mapping[str, Any]) -> dict[str, Any]:
    data = dict(payload)
    if "violations" in data:
        data["violations"] = tuple(FieldViolation(**v) for v in data["violations"])
    if "rejected" in data:
        data["rejected"] = tuple(RejectedFile(**r) for r in data["rejected"])
    if "problem" in data:
        data["problem"] = ImageProblem(data["problem"])
    return data
