"""Held-out predictions survive their file, and splits are told apart."""

import json
from dataclasses import replace

import pytest

from core.held_out import HeldOutPredictions, split_digest
from core.labels import TumourLabel
from tests.fakes.held_out import held_out


def test_they_come_back_as_they_were_written() -> None:
    predictions = held_out(12, wrong_every=2)

    assert HeldOutPredictions.from_json(predictions.to_json()) == predictions
    assert predictions.slices[0].predicted == 1
    assert predictions.slices[4].predicted == 0


def test_probabilities_are_rounded_to_six_digits() -> None:
    predictions = held_out(1)
    exact = replace(predictions.slices[0], probabilities=(1 / 3, 1 / 3, 1 / 3, 1e-9))
    back = HeldOutPredictions.from_json(replace(predictions, slices=(exact,)).to_json())

    assert back.slices[0].probabilities == (0.333333, 0.333333, 0.333333, 0.0)


def test_the_digest_is_of_the_split_alone() -> None:
    one, other = held_out(12), held_out(12, wrong_every=2)

    assert one.digest == other.digest == split_digest(reversed(one.slices))
    assert one.digest != held_out(11).digest
    relabelled = replace(one.slices[0], label=TumourLabel.PITUITARY)
    assert split_digest((relabelled, *one.slices[1:])) != one.digest
    assert json.loads(one.to_json())["split_digest"] == one.digest


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"labels": ["glioma"]},
        {"slices": [{}]},
        {"slices": None},
        {"slices": [json.loads(held_out(1).to_json())["slices"][0] | {"probabilities": [1.0]}]},
        {"slices": [json.loads(held_out(1).to_json())["slices"][0] | {"label": "oedema"}]},
    ],
)
def test_what_was_written_otherwise_is_refused(change: dict[str, object]) -> None:
    text = json.dumps(json.loads(held_out(1).to_json()) | change).encode()

    with pytest.raises(ValueError, match=r"held-out|probabilities|oedema"):
        HeldOutPredictions.from_json(text)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError):
        HeldOutPredictions.from_json(b"\x00")
