"""What speaks against a promotion: a useless or a worse model, or a graph that is another."""

from typing import Final

from core.errors import ExportDiffers, NotFitToServe, WorseThanProduction
from core.fitness import shortcomings
from core.ports import ArtefactStore
from core.registry import Evaluation, ModelVersion
from services.usecases.artefacts import read_manifest
from services.usecases.held_out import Pairing, pair_versions

MAX_EXPORT_DIFFERENCE: Final = 1e-3
"""Largest difference of a probability between the trained model and its export."""
NOTHING_SERVED: Final = "Nothing served before, so there was nothing to compare it with."
PASSED_OVER: Final = "The checks were passed over, as asked."


def check_export(store: ArtefactStore, version: ModelVersion) -> None:
    """Raises ``ExportDiffers``, ``ArtefactCorrupt``, ``StoreUnavailable``.

    A version whose manifest says nothing about it passes: its trainer checked before it exported.
    """
    metrics = read_manifest(store, version.digest).get("metrics", {})
    difference = metrics.get("export_difference")
    if difference is not None and not difference <= MAX_EXPORT_DIFFERENCE:
        raise ExportDiffers(version.name, difference, MAX_EXPORT_DIFFERENCE)


def check_fitness(version: ModelVersion) -> None:
    """Raises ``NotFitToServe`` for a version that is of no use by what it says of itself."""
    found = shortcomings(version.evaluation)
    if found:
        raise NotFitToServe(version.name, "; ".join(found))


def fitness_note(version: ModelVersion) -> str:
    """A sentence on what :func:`check_fitness` would refuse it for; empty for a fit version."""
    found = "; ".join(shortcomings(version.evaluation))
    return f"It is not fit to serve by what it says of itself: {found}." if found else ""


def check_scores(store: ArtefactStore, candidate: ModelVersion, serving: ModelVersion) -> str:
    """A sentence on how the candidate compares with what serves, which has the same task.

    Raises ``WorseThanProduction`` if it is worse beyond noise on the slices that were held out
    from both, and ``StoreUnavailable``. Where they have too few of those in common nothing can be
    said, and nobody is kept from a first model of their own: the sentence says so.
    """
    found = pair_versions(store, (serving, candidate))
    if not found.pairs:
        return _not_compared(candidate, serving, found)
    (pair,) = found.pairs
    score = candidate.evaluation.score_name
    if pair.second_is_worse:
        ends = pair.decisive.interval
        raise WorseThanProduction(
            candidate.name, serving.name, ends.low, ends.high, slices=pair.slices, score=score
        )
    return (
        f"On {pair.slices} slices held out from both, its {score} is {pair.in_words} that "
        f"of {serving.name}, which served before.{_acceptance(candidate, serving)}"
    )


def _not_compared(candidate: ModelVersion, serving: ModelVersion, found: Pairing) -> str:
    scores = f"{_scores(candidate, serving)}{_acceptance(candidate, serving)}"
    return (
        f"It was not compared with {serving.name}, which served before: {'; '.join(found.notes)}. "
        f"Look at the report of {candidate.name} before you rely on it.{scores}"
    )


def _scores(candidate: ModelVersion, serving: ModelVersion) -> str:
    """On slices that are not the same: no comparison, but what there is."""
    its, before = candidate.evaluation, serving.evaluation
    return (
        f" On {its.test_size} held-out slices of its own its {its.score_name} is {its.score:.3f}; "
        f"what served before has {before.score:.3f} on {before.test_size} others."
    )


def _acceptance(candidate: ModelVersion, serving: ModelVersion) -> str:
    """What users will notice first: how many answers are accepted; nothing for segmenters."""
    shares = [
        version.evaluation.coverage if isinstance(version.evaluation, Evaluation) else None
        for version in (candidate, serving)
    ]
    if None in shares:
        return ""
    its, before = shares
    return (
        f" It accepts {its:.1%} of its answers to held-out slices; what served before accepts "
        f"{before:.1%} of its own."
    )
