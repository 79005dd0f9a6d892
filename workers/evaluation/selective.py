"""Which answers are good enough to be accepted: a threshold that keeps a stated risk.

Chosen on validation slices, never on test slices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from core.prediction import Decision
from workers.evaluation.metrics import Floats, Labels, Probabilities

TARGET_RISK: Final = 0.05
"""The share of accepted answers that may be wrong."""
CERTAINTY: Final = 0.95
"""How sure the choice is that the risk is no higher."""
FEWEST_PATIENTS: Final = 30
"""Slices that are worth fewer patients say nothing of how sure the choice is: :func:`worth`."""
CAUTIOUS: Final = 0.8
"""The lowest threshold where there are too few slices, or patients, to be sure of anything."""
LOWEST: Final = 0.5
"""An answer that its own model does not think more likely than not is never accepted."""
NEVER: Final = math.nextafter(1.0, 2.0)
"""A threshold that no probability reaches."""
_ROOM: Final = 4
"""Testing begins with this many times the fewest slices, so that single errors do not end it."""
_STEPS: Final = 40
_HARDER_SHOWN: Final = (
    "This holds as well for the same slices turned, shifted, blurred, compressed and changed in "
    "brightness further than training changes any."
)
_HARDER_UNSHOWN: Final = (
    "For the same slices turned, shifted, blurred, compressed and changed in brightness further "
    "than training changes any it could not be shown: expect more errors on scans of another kind."
)


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """The threshold and, in a sentence for a person, what it is worth.

    ``is_shown``: whether the target risk was shown to hold, as far as these patients can show it.
    """

    abstain_below: float
    note: str
    is_shown: bool = False


def choose_threshold(
    probabilities: Probabilities,
    labels: Labels,
    groups: Sequence[str] | None = None,
    target_risk: float = TARGET_RISK,
    certainty: float = CERTAINTY,
) -> Abstention:
    """The threshold with the largest coverage whose risk is shown to be at most the target.

    ``probabilities``: (n, classes), n at least 1. An answer is accepted if its highest
    probability is at least the threshold, which is never below ``LOWEST``. Where the target cannot
    be shown, for lack of slices or because errors of few patients came together, it is
    ``CAUTIOUS`` or more and above every error seen; ``NEVER`` where hardly an answer is. Where it
    is shown, but by few patients, it is ``CAUTIOUS`` or more, and nothing is said of certainty.
    The note says so.

    Selective classification with a guaranteed risk: Geifman and El-Yaniv, NeurIPS 2017,
    "Selective Classification for Deep Neural Networks". From the surest answers upwards,
    coverages fixed beforehand are tested one after the other until the upper bound on the risk
    is above the target. Such a sequence needs no correction for the number of tests (Bauer,
    Statistics in Medicine 10, 1991; Angelopoulos et al., 2021, "Learn then Test"), which the
    hundred slices of a small validation split could not bear. The bound is
    :func:`upper_bound`, which takes into account that slices of one patient fail together.
    """
    confidence = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != labels
    effect = design_effect(wrong, groups)
    count, needed = len(labels), fewest_slices(target_risk, certainty, effect)
    fewest = fewest_slices(target_risk, certainty)
    if fewest > count:
        cautious = _above_every_error(confidence, wrong)
        clean = int((confidence >= cautious).sum())
        note = _too_few(count, fewest, target_risk, cautious, clean)
        return Abstention(abstain_below=cautious, note=note)
    if needed > count:
        return _unshown(confidence, wrong, 1.0, target_risk, certainty)
    start = max(needed, min(math.ceil(count / 2), _ROOM * needed))
    threshold = None
    for rank in np.unique(np.linspace(start, count, _STEPS + 1).astype(int)):
        tested = _at_rank(confidence, int(rank))
        accepted = confidence >= tested
        if upper_bound(wrong[accepted], effect, certainty) > target_risk:
            break
        threshold = 0.0 if accepted.all() else tested
    if threshold is None:
        return _unshown(confidence, wrong, start / count, target_risk, certainty)
    patients = worth(groups, count)
    least = LOWEST if patients >= FEWEST_PATIENTS else CAUTIOUS
    accepted = confidence >= max(threshold, least)
    if threshold < least and upper_bound(wrong[accepted], effect, certainty) > target_risk:
        return _unshown(confidence, wrong, float(accepted.mean()), target_risk, certainty)
    threshold = max(threshold, least)
    share = float(accepted.mean())
    note = _met(count, patients, threshold, share, target_risk, certainty)
    return Abstention(abstain_below=threshold, note=note, is_shown=True)


def choose_robustly(
    probabilities: Probabilities,
    harder: Probabilities,
    labels: Labels,
    groups: Sequence[str] | None = None,
    target_risk: float = TARGET_RISK,
    certainty: float = CERTAINTY,
) -> Abstention:
    """As :func:`choose_threshold`, so that the target holds on harder slices, too.

    ``harder`` (n, classes) answers the same slices, changed as a worse scanner might have. A model
    that is nearly always right about slices like its own would else never abstain, however sure it
    had to be elsewhere. Where the target cannot be shown on the harder ones they do not count, and
    the note says so.
    """
    chosen = choose_threshold(probabilities, labels, groups, target_risk, certainty)
    if not chosen.is_shown:
        return chosen
    hard = choose_threshold(harder, labels, groups, target_risk, certainty)
    if not hard.is_shown:
        return replace(chosen, note=f"{chosen.note} {_HARDER_UNSHOWN}")
    threshold = max(chosen.abstain_below, hard.abstain_below)
    share, count = float((probabilities.max(axis=1) >= threshold).mean()), len(labels)
    note = _met(count, worth(groups, count), threshold, share, target_risk, certainty)
    return Abstention(abstain_below=threshold, note=f"{note} {_HARDER_SHOWN}", is_shown=True)


def _unshown(
    confidence: Floats, wrong: NDArray[np.bool_], share: float, risk: float, certainty: float
) -> Abstention:
    """Above every error, if as many answers are as would show the target were they independent."""
    cautious = _above_every_error(confidence, wrong)
    clean = int((confidence >= cautious).sum())
    if clean < fewest_slices(risk, certainty):
        return Abstention(abstain_below=NEVER, note=_too_poor(share, risk))
    return Abstention(abstain_below=cautious, note=_too_clustered(share, risk, cautious, clean))


def upper_bound(
    wrong: NDArray[np.bool_], effect: float = 1.0, certainty: float = CERTAINTY
) -> float:
    """The highest risk, 0..1, that these errors (n,) are compatible with; 1 for none at all.

    The one-sided bound of Clopper and Pearson, Biometrika 26 (1934), for as many independent
    slices as these are worth: Korn and Graubard, Survey Methodology 24 (1998).
    """
    count, errors = len(wrong) / effect, float(wrong.sum()) / effect
    return 1.0 if errors >= count else float(beta.ppf(certainty, errors + 1, count - errors))


def design_effect(wrong: NDArray[np.bool_], groups: Sequence[str] | None) -> float:
    """How many slices are worth one independent one, at least 1: errors come in groups.

    The variance of the error rate between groups over that of as many independent slices; Kish,
    "Survey Sampling", 1965.
    """
    rate, count = float(wrong.mean()), len(wrong)
    if groups is None or rate in {0.0, 1.0}:
        return 1.0
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        return float(count)
    excess = np.bincount(members, weights=wrong - rate)
    between = len(names) / (len(names) - 1) * float((excess**2).sum()) / count**2
    return max(1.0, between / (rate * (1 - rate) / count))


def worth(groups: Sequence[str] | None, count: int) -> float:
    """How many patients with equally many slices each ``count`` slices of these groups are worth.

    The square of the sum of the groups' sizes over the sum of their squares: Kish, "Survey
    Sampling", 1965. Without groups each slice is a patient's.

    What :func:`choose_threshold` calls 95 % certain is no more than that if patients who fail are
    among those that were seen. In simulations in which one patient in ten has half of the slices
    wrong, 5.15 % in all, a target of 5 % is said to be kept in 33 to 55 % of validation splits of
    5 to 10 patients, 12 to 15 % of 20 patients, 4 % of 30, 2 % of 40 and below 1 % of 60 and more.
    One patient in twenty who has all of them wrong, while no other slice is, is missed more often:
    in 20 % of splits of 30 patients and 12 % of 40.
    """
    if groups is None:
        return float(count)
    _, sizes = np.unique(np.asarray(groups), return_counts=True)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def fewest_slices(target_risk: float, certainty: float = CERTAINTY, effect: float = 1.0) -> int:
    """Slices without a single error that it takes to show the target."""
    return math.ceil(effect * math.log(1 - certainty) / math.log(1 - target_risk))


def decide_all(
    probabilities: Probabilities,
    abstain_below: float,
    strange: NDArray[np.bool_] | None = None,
) -> tuple[Decision, ...]:
    """The decision on each answer (n, classes), as serving makes it.

    ``strange``: (n,), which slices are unlike what the model was trained on.
    """
    sure = probabilities.max(axis=1) >= abstain_below
    odd = np.zeros(len(sure), bool) if strange is None else strange
    return tuple(
        Decision.OUT_OF_DISTRIBUTION if o else Decision.ACCEPTED if s else Decision.ABSTAINED
        for s, o in zip(sure, odd, strict=True)
    )


def _at_rank(confidence: Floats, rank: int) -> float:
    """The confidence of the ``rank``-th surest answer, counted from 1."""
    return float(np.partition(confidence, len(confidence) - rank)[len(confidence) - rank])


def _met(
    count: int, patients: float, threshold: float, share: float, risk: float, certainty: float
) -> str:
    if patients < FEWEST_PATIENTS:
        return (
            f"By the {count} validation slices answers that are at least {_percent(threshold)} "
            f"sure are wrong in at most {risk:.1%} of cases; of those they are {share:.0%}. The "
            f"slices are worth no more than {patients:.0f} patients with equally many each, which "
            "is too few to say how certain that is of others."
        )
    return (
        f"Answers that are at least {_percent(threshold)} sure are wrong in at most {risk:.1%} of "
        f"cases like the {count} validation slices, with {certainty:.0%} certainty; of those they "
        f"are {share:.0%}."
    )


def digits_below_one(value: float, least: int) -> int:
    """How many decimals, at least so many, it takes for what is below 1 not to look like 1."""
    return next(n for n in range(least, 18) if value >= 1 or round(value, n) < 1)


def _percent(threshold: float) -> str:
    return f"{threshold:.{digits_below_one(threshold, 3) - 2}%}"


def _above_every_error(confidence: Floats, wrong: NDArray[np.bool_]) -> float:
    """Cautious, and above the confidence of every answer that was seen to be wrong."""
    surest_error = float(confidence[wrong].max()) if wrong.any() else 0.0
    return max(CAUTIOUS, math.nextafter(surest_error, 2.0))


def _too_few(count: int, needed: int, risk: float, threshold: float, clean: int) -> str:
    """``clean`` of the slices have an answer that is accepted, none of which is wrong."""
    why = (
        f"{count} validation slices are too few to show that at most {risk:.1%} of the accepted "
        f"answers are wrong: at least {needed} are needed."
    )
    if threshold >= NEVER:
        return f"{why} The model was wrong where it was surest, so no answer is accepted."
    accepted = f"{why} Answers that are at least {_percent(threshold)} sure are accepted."
    if not clean:
        return (
            f"{accepted} The model gave none of these slices such an answer, so it is not known "
            "how often such answers are wrong."
        )
    had = "1 of these slices had such an answer, and it was not wrong"
    if clean > 1:
        had = f"{clean} of these slices had such an answer, and none of them was wrong"
    return f"{accepted} {had}; how often such answers are wrong on other slices is not known."


def _too_clustered(share: float, risk: float, threshold: float, clean: int) -> str:
    return (
        f"Of the {share:.0%} of answers that the model is surest of it could not be shown that at "
        f"most {risk:.1%} are wrong: too many were, and of too few patients. Answers that are at "
        f"least {_percent(threshold)} sure are accepted, since none of these {clean} was wrong; "
        "how often such answers are wrong on other slices is not known."
    )


def _too_poor(share: float, risk: float) -> str:
    return (
        f"Not even of the {share:.0%} of answers that the model is surest of could it be shown "
        f"that at most {risk:.1%} are wrong. So no answer is accepted."
    )
