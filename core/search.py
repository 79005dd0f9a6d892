"""A search for a better recipe: what is tried and for how long, and what came of each trial."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Self

from core.errors import FieldViolation, InvalidArgument
from core.training import SEGMENTER_STRIDE, StartVersion, Task, TrainingSpec, parsed_field

SEARCHABLE: Final = frozenset(
    {
        "backbone",
        "head_epochs",
        "epochs",
        "batch_size",
        "first_image_size",
        "optimizer",
        "learning_rate",
        "weight_decay",
        "dropout",
        "label_smoothing",
        "mixup",
        "mixup_share",
        "class_weights",
        "guidance",
        "counterfactuals",
        "ema_decay",
        "frozen_blocks",
        "batch_norm",
        "patience",
        "augmentation",
    }
)
"""Fields of ``TrainingSpec`` that may vary. Not among them: what decides the split (its shares, its
seed), since the same slices must choose between all trials and test slices must stay unseen;
``image_size``, since slices are decoded once; ``precision``, which follows the device; and
``target_risk``, which trains nothing."""

_NOT_OF_SEGMENTERS: Final = frozenset(
    {
        "head_epochs",
        "label_smoothing",
        "mixup",
        "mixup_share",
        "class_weights",
        "guidance",
        "counterfactuals",
    }
)
"""What changes nothing in how a segmenter learns: trials that differ in it would be the same."""

_OF_VERSIONS: Final = {
    "backbone": "the version has a backbone",
    "head_epochs": "its last layer has learned",
}
"""What a version that a training goes on from has, and does not get anew."""

MIN_TRIALS: Final = 2
MAX_TRIALS: Final = 500
_MAX_CHOICES: Final = 100
_MAX_SECONDS: Final = 30 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Range:
    """Any number from ``low`` to ``high``, both included; whole ones where the field is whole.

    ``log`` draws evenly among the logarithms.
    """

    low: float
    high: float
    log: bool = False


Dimension = Choice | Range


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """What a search may spend and where it may look. Construct through :meth:`validated`.

    ``trials`` counts all of them, ``seconds`` is the wall time of the trials together, 0 for no
    limit: whichever is spent first ends the search. ``space`` says what may vary; everything else
    is as in the job's recipe.
    """

    trials: int = 20
    seconds: float = 0.0
    space: Mapping[str, Dimension]

    @classmethod
    def validated(cls, values: Mapping[str, Any]) -> Self:
        """From plain values: a dimension is ``{"values": [...]}``, or ``{"low", "high", "log"}``.

        Raises ``InvalidArgument`` that lists everything that is wrong.
        """
        violations: list[FieldViolation] = []
        space: dict[str, Dimension] = {}
        for name, dimension in values.get("space", {}).items():
            try:
                space[name] = _dimension(name, dimension)
            except ValueError as exc:
                violations.append(FieldViolation(f"search.space.{name}", str(exc)))
        if not values.get("space"):
            violations.append(FieldViolation("search.space", "must name what to vary"))
        trials, seconds = values.get("trials", cls.trials), values.get("seconds", cls.seconds)
        if not MIN_TRIALS <= trials <= MAX_TRIALS:
            text = f"must be a whole number from {MIN_TRIALS} to {MAX_TRIALS}"
            violations.append(FieldViolation("search.trials", text))
        if not 0 <= seconds <= _MAX_SECONDS:
            violations.append(FieldViolation("search.time_limit", "must be 0 for none, to 30 days"))
        if violations:
            raise InvalidArgument(tuple(violations))
        return cls(trials=trials, seconds=seconds, space=space)


class TrialState(StrEnum):
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    """Given up: worse than the median of those before, or the time was over."""
    FAILED = "FAILED"


@dataclass(frozen=True, kw_only=True)
class SearchTrial:
    """What came of one trial; ``number`` counts from 1 within the job.

    ``recipe`` holds the fields that the search varies. ``scores`` is the macro-F1 on validation
    slices after each epoch, of a segmenter the Dice coefficient; ``seconds`` its wall time,
    ``error`` why it failed.
    """

    number: int
    recipe: Mapping[str, Any]
    state: TrialState
    scores: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str | None = None

    @property
    def score(self) -> float | None:
        """Of its best epoch, whose weights a job would keep; None if it did not get that far."""
        return max(self.scores, default=None)


def best_trial(trials: Sequence[SearchTrial]) -> SearchTrial | None:
    """The complete trial with the highest score, the earlier of equals; None if there is none."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.scores]
    return max(complete, key=lambda t: (max(t.scores), -t.number), default=None)


def misfits(search: SearchSpec, base: TrainingSpec) -> tuple[FieldViolation, ...]:
    """What cannot be searched around this recipe; nothing if the two go together."""
    found = []
    if base.folds:
        text = (
            "must be 0 in a search: its recipes are compared on slices that the folds would then "
            "be tested on"
        )
        found.append(FieldViolation("spec.folds", text))
    if StartVersion.of(base.weights):
        found += [
            FieldViolation(f"search.space.{name}", f"cannot vary with weights=version: {why}")
            for name, why in _OF_VERSIONS.items()
            if name in search.space
        ]
    if base.task is Task.SEGMENTATION:
        found += [
            FieldViolation(f"search.space.{name}", text)
            for name, dimension in search.space.items()
            if (text := _unfit_for_segmenters(name, dimension))
        ]
    return tuple(found)


def _unfit_for_segmenters(name: str, dimension: Dimension) -> str:
    """Why, or nothing."""
    if name in _NOT_OF_SEGMENTERS:
        return "changes nothing for a segmenter"
    if name != "first_image_size":
        return ""
    values = dimension.values if isinstance(dimension, Choice) else ()
    if values and not any(value % SEGMENTER_STRIDE for value in values):
        return ""
    return f"has no range for a segmenter; list values that are multiples of {SEGMENTER_STRIDE}"


def with_recipe(base: TrainingSpec, recipe: Mapping[str, Any]) -> TrainingSpec:
    """The base recipe with what a trial varies."""
    return replace(base, **{name: parsed_field(name, value) for name, value in recipe.items()})


def _dimension(name: str, values: Mapping[str, Any]) -> Dimension:
    """Raises ``ValueError``."""
    if name not in SEARCHABLE:
        raise ValueError(f"cannot be searched; use some of {', '.join(sorted(SEARCHABLE))}")
    if "values" in values:
        return _choice(name, values["values"])
    return _range(name, values["low"], values["high"], log=bool(values.get("log")))


def _choice(name: str, values: Sequence[Any]) -> Choice:
    parsed = tuple(dict.fromkeys(parsed_field(name, value) for value in values))
    if not 2 <= len(parsed) <= _MAX_CHOICES:
        raise ValueError(f"must have from 2 to {_MAX_CHOICES} different values")
    return Choice(values=parsed)


def _range(name: str, low: Any, high: Any, *, log: bool) -> Range:
    default = getattr(TrainingSpec(), name)
    if isinstance(default, bool) or not isinstance(default, int | float):
        raise ValueError("has no range; list its values")
    first, last = parsed_field(name, low), parsed_field(name, high)
    if not first < last:
        raise ValueError("must have its lower end first")
    if log and not (first > 0 and math.isfinite(math.log(first))):
        raise ValueError("must begin above 0 to be logarithmic")
    return Range(low=first, high=last, log=log)
