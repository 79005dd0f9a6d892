"""Examples are of each class and kind, and drawn with the evidence above them."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core.labels import LABELS
from core.prediction import Decision
from tests.fakes.evaluation import an_example, some_held_out
from workers.evaluation.examples import (
    Example,
    Kind,
    choose_examples,
    in_rows,
    kind_of,
    thumbnail_uri,
)


def drawn(example: Example) -> np.ndarray:
    head, data = thumbnail_uri(example).split(",", 1)
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize(
    ("right", "decision", "kind"),
    [
        (True, Decision.ACCEPTED, Kind.RIGHT),
        (False, Decision.ACCEPTED, Kind.WRONG),
        (True, Decision.ABSTAINED, Kind.ABSTAINED),
        (False, Decision.OUT_OF_DISTRIBUTION, Kind.REFUSED),
    ],
)
def test_kinds(right: bool, decision: Decision, kind: Kind) -> None:
    assert kind_of(right, decision) is kind


def test_some_of_each_class_and_kind_are_chosen() -> None:
    held_out = some_held_out()
    chosen = choose_examples(held_out.labels, held_out.probabilities, held_out.decisions, 2)

    assert len(set(chosen)) == len(chosen)
    kinds = [
        (
            int(held_out.labels[i]),
            kind_of(
                bool(held_out.probabilities[i].argmax() == held_out.labels[i]),
                held_out.decisions[i],
            ),
        )
        for i in chosen
    ]
    assert max(kinds.count(kind) for kind in kinds) == 2
    assert {label for label, _ in kinds} == set(range(len(LABELS)))
    assert {kind for _, kind in kinds} >= {Kind.RIGHT, Kind.WRONG, Kind.ABSTAINED}


def test_the_wrong_ones_are_those_it_was_surest_of() -> None:
    labels = np.zeros(5, int)
    sure = np.array([0.6, 0.9, 0.7, 0.95, 0.8])
    probabilities = np.stack([1 - sure, sure, sure * 0, sure * 0], axis=1)

    chosen = choose_examples(labels, probabilities, [Decision.ACCEPTED] * 5, per_kind=2)
    assert chosen == (3, 1)


def test_they_are_shown_by_class_then_kind() -> None:
    wrong, right, doubted = an_example(0, 1), an_example(0, 0), an_example(3, 3)
    doubted = replace(doubted, decision=Decision.ABSTAINED)

    rows = list(in_rows([doubted, wrong, right]))
    assert [label for label, _ in rows] == [LABELS[0], LABELS[3]]
    assert [kind for kind, _ in rows[0][1]] == [Kind.RIGHT, Kind.WRONG]
    assert rows[1][1] == [(Kind.ABSTAINED, [doubted])]


def test_evidence_is_orange_where_it_is_and_nowhere_else() -> None:
    activation_map = np.zeros((4, 4))
    activation_map[0, 0], activation_map[3, 3] = 5.0, -5.0
    picture = drawn(replace(an_example(0, 0), activation_map=activation_map))

    assert picture.shape == (128, 128, 3)
    there, elsewhere = picture[8, 8], picture[120, 120]
    assert there[0] - there[2] > 40
    assert np.abs(elsewhere - 90).max() < 8


@pytest.mark.parametrize("evidence", [None, np.zeros((2, 2)), np.full((2, 2), np.nan)])
def test_without_evidence_the_picture_is_grey(evidence: np.ndarray | None) -> None:
    picture = drawn(replace(an_example(0, 0), activation_map=evidence))
    assert np.abs(picture - 90).max() < 4
