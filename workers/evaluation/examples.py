"""Slices to look at: which to choose, and how they are drawn."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.labels import LABELS, TumourLabel
from core.prediction import Decision
from workers.evaluation.metrics import Labels, Probabilities

PER_KIND: Final = 3
_SIDE: Final = 128
_HEAT: Final = (230, 159, 0)
_MOST_HEAT: Final = 0.55
"""Opacity of the heat where the map is strongest: the tissue below stays visible."""


class Kind(StrEnum):
    """What became of a slice."""

    RIGHT = "right"
    WRONG = "wrong"
    ABSTAINED = "abstained"
    REFUSED = "out of distribution"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A held-out slice and the answer to it.

    ``picture``: (h, w), grey 0..255, as the model saw it; ``activation_map``: (h', w') over the
    same square, the evidence of each place for the answer, of any range, or None.
    """

    picture: NDArray[np.uint8]
    label: TumourLabel
    probabilities: tuple[float, ...]
    decision: Decision
    activation_map: NDArray[np.floating[Any]] | None = None

    @property
    def answer(self) -> TumourLabel:
        return LABELS[int(np.argmax(self.probabilities))]

    @property
    def confidence(self) -> float:
        return max(self.probabilities)

    @property
    def kind(self) -> Kind:
        return kind_of(self.answer is self.label, self.decision)


def kind_of(right: bool, decision: Decision) -> Kind:
    """Accepted answers are right or wrong; the others are what was decided."""
    if decision is Decision.ABSTAINED:
        return Kind.ABSTAINED
    if decision is Decision.OUT_OF_DISTRIBUTION:
        return Kind.REFUSED
    return Kind.RIGHT if right else Kind.WRONG


def choose_examples(
    labels: Labels,
    probabilities: Probabilities,
    decisions: Sequence[Decision],
    per_kind: int = PER_KIND,
    seed: int = 0,
) -> tuple[int, ...]:
    """Places of slices to show: of each class and kind at most ``per_kind``.

    Wrong ones are those that the model is surest of, since they teach most; others are drawn at
    random, so that they are typical.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    kinds = np.array([kind_of(bool(r), d) for r, d in zip(right, decisions, strict=True)])
    drawn = np.random.default_rng(seed).permutation(len(labels))
    chosen: list[int] = []
    for place in range(len(LABELS)):
        for kind in Kind:
            found = drawn[(labels[drawn] == place) & (kinds[drawn] == kind)]
            if kind is Kind.WRONG:
                found = found[np.argsort(-confidence[found], kind="stable")]
            chosen.extend(int(i) for i in found[:per_kind])
    return tuple(chosen)


def in_rows(
    examples: Sequence[Example],
) -> Iterator[tuple[TumourLabel, list[tuple[Kind, list[Example]]]]]:
    """By class, then by kind, those that there are."""
    for label in LABELS:
        of_label = [e for e in examples if e.label is label]
        kinds = [(kind, [e for e in of_label if e.kind is kind]) for kind in Kind]
        if of_label:
            yield label, [(kind, found) for kind, found in kinds if found]


def thumbnail_uri(example: Example) -> str:
    """The picture with its activation map above it, as a ``data:`` URI of a small JPEG."""
    picture = Image.fromarray(example.picture).convert("RGB").resize((_SIDE, _SIDE))
    if example.activation_map is not None:
        heat = Image.new("RGB", picture.size, _HEAT)
        picture = Image.composite(heat, picture, _opacity(example.activation_map))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _opacity(activation_map: NDArray[np.floating[Any]]) -> Image.Image:
    """What speaks for the answer, as a mask; what speaks against it is not shown."""
    evidence = np.nan_to_num(np.maximum(activation_map, 0.0).astype(np.float64))
    peak = float(evidence.max())
    share = evidence / peak if peak > 0 else evidence
    mask = Image.fromarray((share * _MOST_HEAT * 255).astype(np.uint8))
    return mask.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
