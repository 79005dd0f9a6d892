"""Splits that do not leak: by group, stratified by class, the same for the same seed."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from core.datasets import DatasetItem, Split
from core.errors import TrainingFailed
from core.labels import TumourLabel
from workers.curation.lineage import NO_LINEAGE, Lineage, Part

Group = tuple[DatasetItem, ...]


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """Which slices teach, which choose, which judge; ``protocol`` says how they were chosen."""

    train: tuple[DatasetItem, ...]
    validation: tuple[DatasetItem, ...]
    test: tuple[DatasetItem, ...]
    protocol: str

    @property
    def parts(self) -> Mapping[Part, Sequence[DatasetItem]]:
        return {Part.TRAIN: self.train, Part.VALIDATION: self.validation, Part.TEST: self.test}


def split_json(final: SplitPlan, folds: Sequence[SplitPlan] = ()) -> bytes:
    """Which slice, by its path in the data set, had which part; canonical JSON.

    ``final`` is the split of the model itself, ``folds`` are those of its cross-validation.
    """
    values = {"final": _split_values(final), "folds": [_split_values(fold) for fold in folds]}
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _split_values(plan: SplitPlan) -> dict[str, Any]:
    parts = {name: getattr(plan, name) for name in ("train", "validation", "test")}
    return {"protocol": plan.protocol} | {
        name: [item.path for item in items] for name, items in parts.items()
    }


@dataclass(frozen=True)
class _TooFew:
    """What is said of a class with too few groups: what cannot be done, and what to do."""

    problem: str
    remedy: str


_FEWEST_LEFT: Final = 0.5
"""Of what validation and test would have if no slice had its part already."""
_ENOUGH: Final = 25
"""More slices of each class than this are not asked for there."""
_MOST_TO_VALIDATE: Final = 0.5
"""Of what a given Testing part leaves: the rest is to be learned from."""
_TO_SPLIT: Final = _TooFew("The data set is too small to split", "Add slices.")


def split_dataset(
    items: Sequence[DatasetItem],
    *,
    validation_share: float,
    test_share: float,
    seed: int,
    lineage: Lineage = NO_LINEAGE,
) -> SplitPlan:
    """Split by given group and near-duplicate component, each class shared out alike.

    Slices that share either stay together, and so do chains of such slices.

    Shares are of all slices, 0..1. A Training/Testing layout that the data set brings is used as
    it is, and half of what it leaves is the most that validates. But slices that are known from the
    ``lineage`` keep the part they had, whatever the layout says. Raises ``TrainingFailed`` if a
    class has too few groups to be in every part, or would be tested without having been taught, or
    if too few slices are left to validate and test with.
    """
    known = _known_parts(items, lineage)
    words = _known_words(known, items) if lineage.parts else ""
    if len({_is_test(item) for item in items}) > 1:
        test, rest = _by_layout(items, known)
        if known:
            _check_left_of_layout(items, test)
        _check_taught(test, rest)
        share = min(validation_share * len(items) / len(rest), _MOST_TO_VALIDATE)
        train, validation = _parts(rest, [1 - share, share], seed, known=known)
        return SplitPlan(
            train=train,
            validation=validation,
            test=tuple(test),
            protocol=_given(test, rest, is_changed=bool(known)) + _protocol(rest, seed) + words,
        )
    shares = [1 - validation_share - test_share, validation_share, test_share]
    train, validation, held_out = _parts(items, shares, seed, known=known)
    return SplitPlan(
        train=train, validation=validation, test=held_out, protocol=_protocol(items, seed) + words
    )


def _known_parts(items: Sequence[DatasetItem], lineage: Lineage) -> dict[str, Part]:
    """The part of each slice, by its path, that is known or belongs to one that is."""
    if not lineage.parts:
        return {}
    return {
        item.path: part
        for group in linked_groups(items)
        if (part := lineage.part_of(group)) is not None
        for item in group
    }


def _by_layout(
    items: Sequence[DatasetItem], known: Mapping[str, Part]
) -> tuple[list[DatasetItem], list[DatasetItem]]:
    """Slices to test with, by the layout that came along or by what is known, and the others."""
    test: list[DatasetItem] = []
    rest: list[DatasetItem] = []
    for item in items:
        is_tested = known[item.path] is Part.TEST if item.path in known else _is_test(item)
        (test if is_tested else rest).append(item)
    return test, rest


def _known_words(known: Mapping[str, Part], items: Sequence[DatasetItem]) -> str:
    return (
        f"; {len(known)} of {len(items)} slices are known, by their file, their look or their "
        "group, from the version it goes on from, and have the part they had"
    )


def _check_left(name: str, left: int, otherwise: int, classes: int, where: str = "") -> None:
    """Numbers on a handful of slices would look like numbers.

    ``otherwise`` is how many slices the part would have if none were known.
    """
    if left < _FEWEST_LEFT * min(otherwise, _ENOUGH * classes):
        raise TrainingFailed(
            f"Only {left} slices are left for {name}, where there would be {otherwise}: the others "
            f"have their part from the version it goes on from. Add new slices{where}; if equal "
            "names of groups are not the same patients, name them differently; or start from other "
            "weights."
        )


def _check_left_of_layout(items: Sequence[DatasetItem], test: Sequence[DatasetItem]) -> None:
    given = [item for item in items if _is_test(item)]
    labels = {item.label for item in given}
    _check_left("test", len(test), len(given), len(labels), where=" to the Testing folder")
    if missing := sorted(labels - {item.label for item in test}):
        raise _without("the Testing folder", missing)


def _without(part: str, missing: Sequence[str]) -> TrainingFailed:
    return TrainingFailed(
        f"Of {', '.join(missing)} no slices are left for {part}: those that there are have their "
        "part from the version it goes on from, or belong to groups that have. Add new slices, "
        "name groups more finely, or start from other weights."
    )


def fold_plans(
    items: Sequence[DatasetItem], *, folds: int, validation_share: float, seed: int
) -> list[SplitPlan]:
    """One plan a fold, by the rules of :func:`split_dataset`: each slice is tested once.

    ``validation_share`` is of all slices, and is taken from those that the fold does not test. A
    Training/Testing layout does not count here. Raises ``TrainingFailed`` if a class has fewer
    groups than there are folds, or too few for a validation part beside them.
    """
    too_few = _TooFew(f"The data set is too small for {folds} folds", "Add slices, or lower folds.")
    parts = _parts(items, [1 / folds] * folds, seed, too_few)
    share = validation_share / (1 - 1 / folds)
    left = _TooFew(
        f"The data set is too small for {folds} folds: what a fold does not test has to be split "
        "again",
        "Add slices, or change folds.",
    )
    plans = []
    for number, test in enumerate(parts):
        rest = [item for other, part in enumerate(parts) if other != number for item in part]
        train, validation = _parts(rest, [1 - share, share], seed, left)
        plans.append(
            SplitPlan(
                train=train,
                validation=validation,
                test=test,
                protocol=f"{folds}-fold cross-validation, stratified by class, grouped by "
                f"{_kind(items)}, seed {seed}",
            )
        )
    return plans


def split_for_final(
    items: Sequence[DatasetItem], *, validation_share: float, seed: int
) -> SplitPlan:
    """Without a test part: for a model whose recipe was cross-validated on the same slices."""
    train, validation = _parts(items, [1 - validation_share, validation_share], seed)
    return SplitPlan(train=train, validation=validation, test=(), protocol=_protocol(items, seed))


def _given(test: Sequence[DatasetItem], rest: Sequence[DatasetItem], *, is_changed: bool) -> str:
    """What a layout that came along is worth, in words that stand beside the numbers."""
    taught = {item.path for item in rest}
    leaked = sum(
        item.path not in taught
        for group in linked_groups([*test, *rest])
        if any(item.path in taught for item in group)
        for item in group
    )
    folder = "the data set's own Testing folder" + (", but for what is known" if is_changed else "")
    return (
        f"{folder}, of whose {len(test)} slices {leaked} are known from "
        "Training (the same picture, a near-duplicate, or the same group); validation "
    )


def _is_test(item: DatasetItem) -> bool:
    return item.split is Split.TEST


def _protocol(items: Sequence[DatasetItem], seed: int) -> str:
    return f"held out at random, stratified by class, grouped by {_kind(items)}, seed {seed}"


def _kind(items: Sequence[DatasetItem]) -> str:
    """What keeps slices together, in plain words."""
    kinds = []
    if any(item.group for item in items):
        kinds.append("given group")
    if any(item.component for item in items):
        kinds.append("near-duplicate component")
    return " and ".join(kinds) or "equal pictures only"


def _parts(
    items: Sequence[DatasetItem],
    shares: Sequence[float],
    seed: int,
    too_few: _TooFew = _TO_SPLIT,
    known: Mapping[str, Part] | None = None,
) -> list[tuple[DatasetItem, ...]]:
    groups = linked_groups(items)
    _check_enough(groups, len(shares), too_few)
    pinned = {
        place: known[group[0].path]
        for place, group in enumerate(groups)
        if known and group[0].path in known
    }
    parts: list[list[DatasetItem]] = [[] for _ in shares]
    for number, chosen in _assign(groups, pinned, shares, seed):
        parts[number].extend(chosen)
    if pinned:
        _check_left_beside(groups, shares, seed, [len(part) for part in parts])
    _check_complete(parts, is_pinned=bool(pinned))
    return [tuple(sorted(part, key=lambda item: item.path)) for part in parts]


def _check_left_beside(
    groups: Sequence[Group],
    shares: Sequence[float],
    seed: int,
    sizes: Sequence[int],
) -> None:
    """That what validates and tests is not much less for the groups that have their part."""
    otherwise = Counter[int]()
    for number, group in _assign(groups, {}, shares, seed):
        otherwise[number] += len(group)
    classes = len({item.label for group in groups for item in group})
    for number, part in enumerate(list(Part)[: len(shares)]):
        if part is not Part.TRAIN:
            _check_left(part.name.lower(), sizes[number], otherwise[number], classes)


def _check_complete(parts: Sequence[Sequence[DatasetItem]], *, is_pinned: bool) -> None:
    """Groups of several classes, or that have their part already, may leave one out of a part."""
    labels = [{item.label for item in part} for part in parts]
    everything = set().union(*labels)
    missing = sorted(everything - everything.intersection(*labels))
    if missing and is_pinned:
        raise _without("a part of the split", missing)
    if missing:
        raise TrainingFailed(
            f"The groups of {', '.join(missing)} hold other classes too and cannot be shared out "
            "so that every part has each class. Use another seed, or name groups more finely."
        )


def linked_groups(items: Sequence[DatasetItem]) -> list[Group]:
    """Slices that must stay together, by path.

    They have the same group, the same near-duplicate component or the same picture, or a chain of
    those links them.
    """
    leaders: dict[str, str] = {}

    def leader(key: str) -> str:
        while leaders.setdefault(key, key) != key:
            leaders[key] = leaders[leaders[key]]
            key = leaders[key]
        return key

    for item in items:
        links = (("group", item.group), ("component", item.component))
        for kind, name in links:
            if name:
                leaders[leader(f"picture {item.sha256}")] = leader(f"{kind} {name}")
    members: dict[str, list[DatasetItem]] = defaultdict(list)
    for item in sorted(items, key=lambda i: i.path):
        members[leader(f"picture {item.sha256}")].append(item)
    return [tuple(group) for group in members.values()]


def _check_taught(test: Sequence[DatasetItem], rest: Sequence[DatasetItem]) -> None:
    missing = sorted({item.label for item in test} - {item.label for item in rest})
    if missing:
        raise TrainingFailed(
            f"The Testing folder has slices of {', '.join(missing)}, and there are none outside of "
            "it to learn from. Mend the folders and upload the data set again, or set folds, which "
            "splits it anew."
        )


def group_names(items: Iterable[DatasetItem]) -> list[str]:
    """Each slice's patient, or the nearest thing known; else it is a group of its own."""
    return [item.group or item.component or item.sha256 for item in items]


def _check_enough(groups: Sequence[Group], parts: int, too_few: _TooFew) -> None:
    counts: Counter[TumourLabel] = Counter()
    for group in groups:
        counts.update({item.label for item in group})
    short = [f"{label} has {n}" for label, n in sorted(counts.items()) if n < parts]
    if short:
        raise TrainingFailed(
            f"{too_few.problem}: each class needs at least {parts} groups of slices (patients, or "
            f"pictures that are not copies of each other), but {', '.join(short)}. "
            f"{too_few.remedy}"
        )


def _assign(
    groups: Sequence[Group], pinned: Mapping[int, int], shares: Sequence[float], seed: int
) -> Iterable[tuple[int, Group]]:
    """Give each group, large ones first, to the part that lacks its classes most.

    The lack is counted in shares of what the part should have of the class, so that rare classes
    and small parts are served alike; a part without any slice of a class comes first. ``pinned``
    has the part of groups, by their place, that are not free.
    """
    shuffled = [group for place, group in enumerate(groups) if place not in pinned]
    Random(seed).shuffle(shuffled)  # noqa: S311 - a split needs no secrecy
    totals = Counter(item.label for group in groups for item in group)
    wanted = [{label: share * n for label, n in totals.items()} for share in shares]
    held: list[Counter[TumourLabel]] = [Counter() for _ in shares]
    for place, number in pinned.items():
        held[number].update(item.label for item in groups[place])
        yield number, groups[place]
    remaining = Counter(label for group in shuffled for label in {i.label for i in group})
    for group in sorted(shuffled, key=len, reverse=True):
        labels = Counter(item.label for item in group)
        number = _neediest(labels, wanted, held, remaining)
        held[number] += labels
        remaining -= Counter(set(labels))
        yield number, group


def _neediest(
    labels: Mapping[TumourLabel, int],
    wanted: Sequence[Mapping[TumourLabel, float]],
    held: Sequence[Counter[TumourLabel]],
    remaining: Counter[TumourLabel],
) -> int:
    def lack(number: int) -> tuple[bool, float]:
        # When only as many groups of a class are left as parts lack it, those parts come first.
        urgent = any(
            held[number][label] == 0 and remaining[label] <= sum(part[label] == 0 for part in held)
            for label in labels
        )
        missing = sum(
            (wanted[number][label] - held[number][label]) / wanted[number][label] * count
            for label, count in labels.items()
        )
        return urgent, missing

    return max(range(len(wanted)), key=lack)
