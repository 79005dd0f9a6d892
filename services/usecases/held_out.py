"""Reading and pairing what model versions said about their held-out slices."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core import held_out, held_out_outlines
from core.comparison import PairedComparison
from core.errors import ArtefactCorrupt
from core.held_out import HeldOutPredictions
from core.held_out_outlines import HeldOutOutlines
from core.ports import ArtefactStore
from core.registry import ModelVersion
from core.training import Task
from services.usecases.artefacts import find_file

log = logging.getLogger(__name__)


HeldOutAnswers = HeldOutPredictions | HeldOutOutlines

_FILES: Final[Mapping[Task, tuple[str, Callable[[bytes], HeldOutAnswers]]]] = {
    Task.CLASSIFICATION: (held_out.FILE_NAME, HeldOutPredictions.from_json),
    Task.SEGMENTATION: (held_out_outlines.FILE_NAME, HeldOutOutlines.from_json),
}


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Pairs that could be compared, and in words why others could not."""

    pairs: tuple[PairedComparison, ...] = ()
    notes: tuple[str, ...] = ()


def pair_versions(store: ArtefactStore, versions: Sequence[ModelVersion]) -> Pairing:
    """Each version against the first, and against the one with the best score; all of one task.

    Raises ``StoreUnavailable``. A version whose file was lost or changed is one without.
    """
    from services.usecases.paired import compare_pair  # NumPy is not for the gateway's start

    found = {v.name: read_held_out(store, v) for v in versions}
    notes = [f"{name} keeps no held-out predictions" for name, h in found.items() if h is None]
    known = {name: answers for name, answers in found.items() if answers is not None}
    pairs = []
    for first, second in _to_compare([v for v in versions if v.name in known]):
        pair = compare_pair((first, second), known[first], known[second])
        if pair is None:
            notes.append(_too_few(first, second))
        else:
            pairs.append(pair)
    return Pairing(pairs=tuple(pairs), notes=tuple(notes))


def _too_few(first: str, second: str) -> str:
    return f"{first} and {second} have too few held-out slices in common to compare them on"


def _to_compare(versions: Sequence[ModelVersion]) -> list[tuple[str, str]]:
    """Pairs of names, each once: those with the first version before those with the best."""
    best = sorted(versions, key=lambda v: v.evaluation.score, reverse=True)[:1]
    chosen: dict[frozenset[str], tuple[str, str]] = {}
    for pivot in (*versions[:1], *best):
        for other in versions:
            if other is not pivot:
                pair = (pivot.name, other.name)
                chosen.setdefault(frozenset(pair), pair)
    return list(chosen.values())


def read_held_out(store: ArtefactStore, version: ModelVersion) -> HeldOutAnswers | None:
    """What the version said about its held-out slices; None if that is not there to be read.

    Raises ``StoreUnavailable``.
    """
    name, from_json = _FILES[version.task]
    try:
        text = find_file(store, version.digest, name)
        return None if text is None else from_json(text)
    except (ArtefactCorrupt, ValueError) as error:
        log.warning("no_held_out version=%s problem=%s", version.name, error)
        return None
