"""An audit's findings in plain words: what is the matter, and what to do about it."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from core.datasets import DatasetAudit, DatasetItem, MaskAudit, ShortcutControl, Split
from core.labels import LABELS
from core.manifest import MANIFEST
from workers.curation.manifest import folder_label

MAX_CLASS_RATIO: Final = 3.0
"""Largest class over smallest; above this the smaller one needs care."""
FEWEST_SLICES: Final = 600
"""A tenth of them is for validation, and a target risk of 5 % takes 59 slices without an error to
be shown with 95 % certainty."""
MAX_ABOVE_MAJORITY: Final = 0.10
"""What the shortcut control may be better than naming the commonest class."""


def with_warnings(audit: DatasetAudit, items: Sequence[DatasetItem]) -> DatasetAudit:
    """The audit with everything that the owner of the data set should know, worst first."""
    found = (
        *_contradictions(audit),
        *_other_folders(items),
        *_label_errors(audit),
        *_one_sided(items),
        *_leaks(audit),
        *_unnamed(audit),
        *_absent(items),
        *_shortcuts(audit, len(items)),
        *_blanks(audit),
        *_copies(audit),
        *_left_out(audit),
        *_masks(audit),
        *_unjudged(audit),
        *_balance(audit),
        *_few(items),
        *_groups(items),
    )
    return replace(audit, warnings=found)


def _contradictions(audit: DatasetAudit) -> Iterator[str]:
    if audit.contradictory_pair_count:
        yield (
            f"{_count(audit.contradictory_pair_count, 'pair')} of near-duplicates with different "
            "labels: one label of each pair must be wrong. Look at the pairs and mend the labels."
        )
    if audit.contradictory_exact_count:
        yield (
            f"{_files(audit.contradictory_exact_count)} left out, because the same picture came "
            "under different labels."
        )


def _other_folders(items: Sequence[DatasetItem]) -> Iterator[str]:
    """Labels can differ from folders only where a manifest gives them."""
    odd = [i for i in items if (named := folder_label(i.path)) is not None and named is not i.label]
    if odd:
        lie, ones = ("lies", "a folder") if len(odd) == 1 else ("lie", "folders")
        yield (
            f"{_count(len(odd), 'slice')} {lie} in {ones} of another class than {MANIFEST} says: "
            f"{odd[0].path} is labelled {odd[0].label}. The label of {MANIFEST} counts. Look "
            "which of the two is wrong, and mend it."
        )


def _one_sided(items: Sequence[DatasetItem]) -> Iterator[str]:
    """Classes that a Testing folder has alone, or lacks."""
    tested = {item.label for item in items if item.split is Split.TEST}
    taught = {item.label for item in items if item.split is not Split.TEST}
    if not tested or not taught:
        return
    if untaught := sorted(tested - taught):
        yield (
            f"Only the Testing part has slices of {', '.join(untaught)}: there are none to learn "
            "from. Training fails unless it is asked for folds, which split the whole data set."
        )
    if untested := sorted(taught - tested):
        yield (
            f"The Testing part has no slice of {', '.join(untested)}. Numbers measured on it say "
            "nothing about that."
        )


def _unnamed(audit: DatasetAudit) -> Iterator[str]:
    if count := audit.unnamed_count:
        alone = count == 1
        yield (
            f"{_count(count, 'picture')} {'was' if alone else 'were'} left out, because {MANIFEST} "
            f"does not name {'it' if alone else 'them'}: {audit.unnamed_example}"
            f"{'' if alone else ' and others'}. Name there what belongs to the data set (path and "
            "label; masks in the column mask), and upload it again."
        )


def _absent(items: Sequence[DatasetItem]) -> Iterator[str]:
    met = {item.label for item in items}
    if absent := [str(label) for label in LABELS if label not in met]:
        yield (
            f"There is no slice of {' or '.join(absent)}: a classifier that learns from this data "
            "set alone never answers that, and does not get into production unless it is forced."
        )


def _label_errors(audit: DatasetAudit) -> Iterator[str]:
    if audit.label_errors and audit.label_errors.count:
        yield (
            f"{_slices(audit.label_errors.count)} likely mislabelled: in cross-validation, models "
            "that had not seen the slice took it for another class. Look at the suspects and mend "
            "the labels that are wrong."
        )


def _unjudged(audit: DatasetAudit) -> Iterator[str]:
    if audit.labels_unjudged:
        yield (
            "Likely label errors were looked for in a cross-validation, which could not tell: "
            f"{audit.labels_unjudged}. Train with folds again, for longer or on more slices."
        )


def _leaks(audit: DatasetAudit) -> Iterator[str]:
    leaks = {label: leak for label, leak in audit.leakage.items() if leak.leaked_count}
    if leaks:
        told = ", ".join(
            f"{leak.leaked_count} of {leak.test_count} {label}" for label, leak in leaks.items()
        )
        yield (
            f"The Testing part leaks: {told} slices are known from Training (the same picture, a "
            "near-duplicate, or the same group). Numbers measured on it will be too good."
        )


def _shortcuts(audit: DatasetAudit, count: int) -> Iterator[str]:
    control = audit.shortcut_control
    if control and control.accuracy > control.majority_share + _margin(control, count):
        yield (
            f"The class can be told from the file alone: {control.accuracy:.0%} right from "
            f"{', '.join(control.telling)}, where always naming the commonest class gives "
            f"{control.majority_share:.0%}. A model may learn where a slice comes from rather "
            "than what it shows; measure it on slices from elsewhere."
        )


def _margin(control: ShortcutControl, count: int) -> float:
    """What is allowed, and two standard errors at least: few slices prove little."""
    share = control.majority_share
    return max(MAX_ABOVE_MAJORITY, 2 * math.sqrt(share * (1 - share) / count))


def _blanks(audit: DatasetAudit) -> Iterator[str]:
    if audit.blank_count:
        yield (
            f"{_slices(audit.blank_count)} blank (one shade all over, such as black). Nothing can "
            "be learned from that: remove what is blank."
        )


def _copies(audit: DatasetAudit) -> Iterator[str]:
    if audit.near_duplicate_count:
        # A layout that came along is used as it is, even where it parts a set: it leaks then.
        but = ", but for what its own Testing folder has already parted" if audit.leakage else ""
        yield (
            f"{_slices(audit.near_duplicate_count)} near-duplicates of others, in "
            f"{_count(audit.near_duplicate_component_count, 'set')}. Whenever the data set is "
            f"split, each set stays on one side{but}; it still counts several times in training."
        )
    if audit.exact_duplicate_count == 1:
        yield "1 slice is an exact copy of another."
    elif audit.exact_duplicate_count:
        yield f"{_slices(audit.exact_duplicate_count)} exact copies of others."


def _left_out(audit: DatasetAudit) -> Iterator[str]:
    if audit.unreadable_count:
        they = "it" if audit.unreadable_count == 1 else "they"
        yield f"{_files(audit.unreadable_count)} left out, because {they} cannot be read."


def _masks(audit: DatasetAudit) -> Iterator[str]:
    if audit.masks is None:
        return
    refused, odd = _summed(audit.masks, refused=True), _summed(audit.masks, refused=False)
    if refused:
        yield (
            f"{_files(refused.total())} left out, because masks cannot be used "
            f"({_reasons(refused)}). Mend them and upload the data set again."
        )
    if odd:
        yield f"There are odd masks ({_reasons(odd)}). They are used as they are: look at them."
    if unmasked := audit.masks.unmasked_count:
        yield (
            f"{_count(unmasked, 'slice')} with a tumour {'has' if unmasked == 1 else 'have'} no "
            "mask: a segmenter does not learn from what has none."
        )


def _summed(masks: MaskAudit, *, refused: bool) -> Counter[str]:
    found = (finding for finding in masks.findings if finding.refused is refused)
    return Counter({finding.problem: finding.count for finding in found})


def _reasons(counts: Counter[str]) -> str:
    """``has several shades: 2; is not there: 1``."""
    return "; ".join(f"{problem}: {count:,}" for problem, count in counts.items())


def _balance(audit: DatasetAudit) -> Iterator[str]:
    if audit.class_ratio > MAX_CLASS_RATIO:
        yield (
            f"The largest class has {audit.class_ratio:.1f} times as many slices as the smallest. "
            "Look at each class's recall, not at accuracy alone."
        )


def _few(items: Sequence[DatasetItem]) -> Iterator[str]:
    if len(items) < FEWEST_SLICES:
        yield (
            f"There are only {_count(len(items), 'slice')}. Under about {FEWEST_SLICES} the "
            "default recipe cannot show how often a classifier's accepted answers are wrong; its "
            "report says what was done instead."
        )


def _groups(items: Sequence[DatasetItem]) -> Iterator[str]:
    if not any(item.group for item in items):
        yield (
            "No patients are named (column group of manifest.csv), so a patient may be on both "
            "sides of a split."
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _slices(number: int) -> str:
    return f"{_count(number, 'slice')} {'is' if number == 1 else 'are'}"


def _files(number: int) -> str:
    return f"{_count(number, 'file')} {'was' if number == 1 else 'were'}"
