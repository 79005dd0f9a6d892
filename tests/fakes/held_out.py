"""Held-out predictions with a known number of errors, and artefacts that hold them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from core import held_out_outlines
from core.held_out import FILE_NAME, HeldOutPredictions, HeldOutSlice
from core.held_out_outlines import HeldOutOutline, HeldOutOutlines
from core.labels import LABELS
from core.ports import ArtefactStore
from core.prediction import Decision


def picture(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def held_out(
    count: int = 400, *, wrong_every: int = 0, first: int = 0, per_group: int = 2
) -> HeldOutPredictions:
    """Slices ``first`` and on, of each class in turn; every n-th answer names the next class."""
    slices = []
    for number in range(first, first + count):
        label = number % len(LABELS)
        wrong = bool(wrong_every) and number // len(LABELS) % wrong_every == 0
        answer = (label + wrong) % len(LABELS)
        slices.append(
            HeldOutSlice(
                sha256=picture(number),
                group=f"p{number // per_group}",
                label=LABELS[label],
                probabilities=tuple(0.7 if i == answer else 0.1 for i in range(len(LABELS))),
                decision=Decision.ACCEPTED,
            )
        )
    return HeldOutPredictions(protocol="held out", slices=tuple(slices))


def outlines(
    dice: float, count: int = 60, *, first: int = 0, per_group: int = 2
) -> HeldOutOutlines:
    """Slices ``first`` and on; every other one is outlined 0.1 better than ``dice``, or worse."""
    return HeldOutOutlines(
        protocol="held out",
        slices=tuple(
            HeldOutOutline(
                sha256=picture(number),
                group=f"p{number // per_group}",
                label=LABELS[0],
                dice=dice + (0.1 if number % 2 else -0.1),
            )
            for number in range(first, first + count)
        ),
    )


def store_version(
    store: ArtefactStore,
    files: Mapping[str, bytes],
    predictions: HeldOutPredictions | HeldOutOutlines | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> str:
    """Store the files of a version with the manifest that vouches for them; its digest."""
    everything = dict(files)
    match predictions:
        case HeldOutPredictions():
            everything[FILE_NAME] = predictions.to_json()
        case HeldOutOutlines():
            everything[held_out_outlines.FILE_NAME] = predictions.to_json()
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in everything.items()}
    manifest = json.dumps({"files": hashes, "metrics": dict(metrics or {})}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    for name, data in {**everything, "manifest.json": manifest}.items():
        store.put(f"models/{digest}/{name}", data)
    return digest
