"""Training jobs: what is asked for, and how a job moves from one state to the next."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Self

from core.errors import FieldViolation, IllegalTransition, InvalidArgument

if TYPE_CHECKING:
    from core.search import SearchSpec


class Task(StrEnum):
    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"


class Backbone(StrEnum):
    EFFICIENTNET_B0 = "efficientnet_b0"
    EFFICIENTNET_LITE0 = "efficientnet_lite0"
    RESNET101 = "resnet101"
    DENSENET121 = "densenet121"
    VGG19 = "vgg19"


class Optimizer(StrEnum):
    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"


class BatchNorm(StrEnum):
    """What the backbone's batch norms do while it is fine-tuned."""

    TRAIN = "train"
    """They normalise by their batch, and their statistics follow."""
    FROZEN = "frozen"
    """They keep the statistics that they came with."""


class Precision(StrEnum):
    """What a training computes in. Weights, their averages and the trained model are float32."""

    AUTO = "auto"
    """What the device is fast in: float32 on a CPU, 16 bits on a GPU that has units for them."""
    FLOAT32 = "float32"
    MIXED_BFLOAT16 = "mixed_bfloat16"
    MIXED_FLOAT16 = "mixed_float16"


WEIGHTS_CHOICES: Final = ("auto", "imagenet", "package", "none")
"""Beside these, ``version:ID`` goes on from a registered model version, ``file:NAME`` reads NAME
from the server's folder of weights, and a URI that ends in ``#sha256=HEX`` is fetched where the
server's settings allow that."""


_NOBODY_HAS: Final[Mapping[str, frozenset[Backbone]]] = {
    "imagenet": frozenset({Backbone.EFFICIENTNET_LITE0}),
    "package": frozenset({Backbone.RESNET101, Backbone.DENSENET121, Backbone.VGG19}),
}


SEGMENTER_STRIDE: Final = 32
"""A segmenter halves its picture five times."""


@dataclass(frozen=True, kw_only=True)
class StartVersion:
    """The model version that a training goes on from: ``weights=version:ID#sha256=DIGEST``.

    ``digest`` is its content hash, hex. Callers need not name it; the server does.
    """

    id: str
    digest: str = ""

    @classmethod
    def of(cls, weights: str) -> Self | None:
        """None if ``weights`` come from elsewhere."""
        found = _VERSION.fullmatch(weights)
        return cls(id=found["id"], digest=found["digest"] or "") if found else None

    def __str__(self) -> str:
        return f"version:{self.id}" + (f"#sha256={self.digest}" if self.digest else "")


def score_name(task: Task) -> str:
    """What is the highest in the best epoch, on validation slices."""
    return "Dice" if task is Task.SEGMENTATION else "macro-F1"


QUICK: Final[Mapping[str, Any]] = {
    "epochs": 5,
    "image_size": 96,
    "first_image_size": 0,
    "learning_rate": 3e-3,
    "mixup": 0.0,
    "label_smoothing": 0.0,
    "augmentation": False,
    "frozen_blocks": 3,
}
"""For a first look at a data set: few steps, on small pictures as they are, at a high rate, and
what sees edges stays as it came. What makes a model good after twenty epochs makes it slow in
coming. ``benchmarks/results/time_to_score.md``."""


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """The recipe of one training job. Construct through :meth:`validated`.

    It trains in two phases: ``head_epochs`` of the last layer alone on features computed once,
    then ``epochs`` of everything but the backbone's first ``frozen_blocks`` blocks.
    ``learning_rate`` is the peak rate of the second phase: it rises over the first tenth of the
    steps, then falls along half a cosine. ``image_size`` is the side of the square the model sees,
    in pixels; training begins with ``first_image_size`` and grows to it over the first half of
    the epochs, if that is smaller and not 0. ``mixup`` is the alpha of its Beta distribution, 0
    for none, and ``mixup_share`` the share of the epochs, the first ones, that mix;
    ``ema_decay`` is per epoch, 0 for no averaging of weights; training stops early after
    ``patience`` epochs without a better validation macro-F1, of a segmenter Dice, 0 for never.
    ``dropout`` and ``label_smoothing`` are shares; ``validation_share`` and ``test_share`` are
    shares of the whole data set. Where that brings its own test split ``test_share`` is ignored,
    and at most half of the other slices validate.
    ``guidance`` is the weight of what draws a classifier's evidence to the tumour, in slices that
    have a mask; 0 for none. ``counterfactuals`` is the share of slices with a mask whose tumour is
    taken away while a classifier is trained, of those where it leaves no traces; as many healthy
    ones are given a tumour.
    ``target_risk`` is the share of accepted answers that may be wrong:
    the model abstains below the probability that keeps it on validation slices.
    With ``folds`` above 1 the job first cross-validates, and the model's numbers come from that.
    Where there are several GPUs each takes its share of ``batch_size`` slices.
    """

    backbone: Backbone = Backbone.EFFICIENTNET_B0
    task: Task = Task.CLASSIFICATION
    weights: str = "auto"
    head_epochs: int = 0
    epochs: int = 20
    batch_size: int = 16
    image_size: int = 160
    first_image_size: int = 96
    optimizer: Optimizer = Optimizer.ADAMW
    learning_rate: float = 6e-4
    weight_decay: float = 1e-4
    dropout: float = 0.2
    label_smoothing: float = 0.05
    mixup: float = 0.2
    mixup_share: float = 0.6
    class_weights: bool = True
    guidance: float = 1.0
    counterfactuals: float = 0.0
    ema_decay: float = 0.3
    frozen_blocks: int = 0
    batch_norm: BatchNorm = BatchNorm.TRAIN
    patience: int = 0
    augmentation: bool = True
    validation_share: float = 0.1
    test_share: float = 0.15
    target_risk: float = 0.05
    folds: int = 0
    seed: int = 0
    precision: Precision = Precision.AUTO

    @classmethod
    def validated(cls, values: Mapping[str, Any]) -> Self:
        """A spec from field names and values (text or numbers); defaults fill what is missing.

        Raises ``InvalidArgument`` that lists every field that is unknown or out of range.
        """
        violations: list[FieldViolation] = []
        known = {f.name for f in fields(cls)}
        parsed: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                choices = ", ".join(sorted(known))
                violations.append(FieldViolation(f"spec.{name}", f"unknown; use one of {choices}"))
                continue
            try:
                parsed[name] = parsed_field(name, value)
            except (ValueError, TypeError) as exc:
                violations.append(FieldViolation(f"spec.{name}", str(exc)))
        if violations:
            raise InvalidArgument(tuple(violations))
        spec = cls(**parsed)
        together = tuple(spec._violations())
        if together:
            raise InvalidArgument(together)
        return spec

    @property
    def digest(self) -> str:
        """Hex SHA-256 of everything that was set or left at its default."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def _violations(self) -> Iterator[FieldViolation]:
        """What each field may be, but not together."""
        tested, name = (1 / self.folds, "folds") if self.folds else (self.test_share, "test_share")
        if self.validation_share + tested > 0.8:
            yield FieldViolation(
                "spec.validation_share", f"with {name} it leaves less than 20 % for training"
            )
        if StartVersion.of(self.weights):
            yield from self._undone_starts()
        if self.weights in _NOBODY_HAS and self.backbone in _NOBODY_HAS[self.weights]:
            yield FieldViolation(
                "spec.weights", f"there are no weights {self.weights} of {self.backbone}; use auto"
            )
        if self.counterfactuals and not self.augmentation:
            yield FieldViolation("spec.counterfactuals", "needs augmentation")
        if self.task is not Task.SEGMENTATION:
            return
        for name in ("image_size", "first_image_size"):
            if getattr(self, name) % SEGMENTER_STRIDE:
                yield FieldViolation(
                    f"spec.{name}", f"must be a multiple of {SEGMENTER_STRIDE} for a segmenter"
                )
        if self.folds:
            yield FieldViolation("spec.folds", "must be 0 for a segmenter")

    def _undone_starts(self) -> Iterator[FieldViolation]:
        if self.folds:
            yield FieldViolation(
                "spec.folds",
                "must be 0 with weights=version: a fold would be tested on slices that the version "
                "has learned from",
            )
        if self.head_epochs:
            yield FieldViolation(
                "spec.head_epochs", "must be 0 with weights=version: its last layer has learned"
            )


def parsed_field(name: str, value: Any) -> Any:
    """A field's value from text or a number. Raises ``ValueError`` that says what it must be."""
    return _PARSERS[name](value)


def _whole(low: int, high: int) -> Any:
    def parse(value: Any) -> int:
        number = float(value)
        if isinstance(value, bool) or not number.is_integer() or not low <= number <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(number)

    return _plain_errors(parse, f"must be a whole number from {low} to {high}")


def _real(low: float, high: float, *, open_low: bool = False) -> Any:
    edge = "above" if open_low else "from"
    text = f"must be a number {edge} {low:g} {'and at most' if open_low else 'to'} {high:g}"

    def parse(value: Any) -> float:
        number = float(value)
        inside = low < number <= high if open_low else low <= number <= high
        if isinstance(value, bool) or not math.isfinite(number) or not inside:
            raise ValueError(text)
        return number

    return _plain_errors(parse, text)


def _choice(kind: type[StrEnum]) -> Any:
    text = f"must be one of {', '.join(kind)}"
    return _plain_errors(lambda value: kind(str(value).strip().lower()), text)


def _plain_errors(parse: Any, text: str) -> Any:
    def guarded(value: Any) -> Any:
        try:
            return parse(value)
        except (ValueError, TypeError, OverflowError) as exc:
            raise ValueError(text) from exc

    return guarded


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "on": True, "yes": True, "1": True}
    known |= {"false": False, "off": False, "no": False, "0": False}
    try:
        return known[str(value).strip().lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _weights(value: Any) -> str:
    text = str(value).strip()
    if text in WEIGHTS_CHOICES:
        return text
    if _URI.fullmatch(text) or _VERSION.fullmatch(text):
        return text
    name = text.removeprefix("file:")
    plain = name.isprintable() and not name.startswith(".") and not {"/", "\\"} & set(name)
    if name in {text, ""} or not plain:
        raise ValueError(
            f"must be one of {', '.join(WEIGHTS_CHOICES)}, version:ID, file:NAME or a URI with "
            "#sha256=HEX"
        )
    return text


def _folds(value: Any) -> int:
    count: int = _whole(0, 20)(value)
    if count == 1:
        raise ValueError("must be 0 for none, or 2 to 20")
    return count


_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]+#sha256=[0-9a-f]{64}")
_VERSION: Final = re.compile(
    r"version:(?P<id>[A-Za-z0-9][A-Za-z0-9._-]{0,127})(#sha256=(?P<digest>[0-9a-f]{64}))?"
)


_PARSERS: Final[Mapping[str, Any]] = {
    "backbone": _choice(Backbone),
    "task": _choice(Task),
    "weights": _weights,
    "head_epochs": _whole(0, 1000),
    "epochs": _whole(1, 1000),
    "batch_size": _whole(1, 512),
    "image_size": _whole(32, 1024),
    "first_image_size": _whole(0, 1024),
    "optimizer": _choice(Optimizer),
    "learning_rate": _real(0, 10, open_low=True),
    "weight_decay": _real(0, 1),
    "dropout": _real(0, 0.9),
    "label_smoothing": _real(0, 0.5),
    "mixup": _real(0, 2),
    "mixup_share": _real(0, 1),
    "class_weights": _switch,
    "guidance": _real(0, 10),
    "counterfactuals": _real(0, 1),
    "ema_decay": _real(0, 0.999),
    "frozen_blocks": _whole(0, 200),
    "batch_norm": _choice(BatchNorm),
    "patience": _whole(0, 1000),
    "augmentation": _switch,
    "validation_share": _real(0.05, 0.5),
    "test_share": _real(0.05, 0.5),
    "target_risk": _real(0, 0.5, open_low=True),
    "folds": _folds,
    "seed": _whole(0, 2**31 - 1),
    "precision": _choice(Precision),
}


class JobState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def finished(self) -> bool:
        return not _TRANSITIONS[self]


_TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset(
        {
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.CANCELLING,
            JobState.CANCELLED,
            JobState.QUEUED,  # its worker was lost; another one resumes it
        }
    ),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A job as its SQL row tells it. ``progress`` is 0..1; ``attempt`` counts claims from 1.

    ``futile_attempts`` counts the latest claims that left nothing for the next one to go on from:
    no epoch's checkpoint, no trial. Too many of them fail the job when its worker is lost.
    With ``search`` it looks for a better recipe than ``spec`` instead of training a model, and
    ends with ``result_job``, a job that trains by the best one found.
    """

    id: str
    create_time: datetime
    update_time: datetime
    request_id: str | None
    caller: str
    dataset: str
    spec: TrainingSpec
    search: "SearchSpec | None" = None
    state: JobState = JobState.QUEUED
    progress: float = 0.0
    stage: str = ""
    attempt: int = 0
    futile_attempts: int = 0
    worker: str | None = None
    heartbeat_time: datetime | None = None
    enqueue_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    model_version: str | None = None
    result_job: str | None = None
    error_reason: str | None = None
    error_message: str | None = None

    @property
    def name(self) -> str:
        return f"trainingJobs/{self.id}"

    def evolve(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def moved_to(self, state: JobState, at: datetime, **changes: Any) -> Self:
        """The job in its next state, or ``IllegalTransition``."""
        if state not in _TRANSITIONS[self.state]:
            raise IllegalTransition(self.name, self.state, state)
        if state.finished:
            changes.setdefault("end_time", at)
        return self.evolve(state=state, update_time=at, **changes)


@dataclass(frozen=True, kw_only=True)
class EpochProgress:
    """What one epoch came to. Accuracies and macro-F1 are 0..1, of a segmenter Dice coefficients.

    ``loss`` is the mean of what is learned from, with class weights, mixed targets and guidance;
    ``val_loss`` is the mean cross-entropy, of a segmenter with the overlap.

    ``seconds`` is the epoch's wall time, ``seconds_left`` the estimate for the rest of the job.

    The last four say where the time went. ``images_per_second`` is of the learning alone;
    ``input_share`` (0..1) of the epoch it waited for pictures, ``validation_share`` it validated;
    ``busy_share`` (0..1) of the cores' time was taken while it learned.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float
    seconds_left: float
    val_macro_f1: float | None = None
    images_per_second: float | None = None
    input_share: float | None = None
    validation_share: float | None = None
    busy_share: float | None = None
    # Each is None in the history of jobs from before it was kept.


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """One line of a job's history; ``sequence`` counts from 1 within the job."""

    job: str
    sequence: int
    create_time: datetime
    state: JobState
    message: str
    epoch: EpochProgress | None = field(default=None)
