"""Held-out slices for a report, each with the places that spoke for the answer to it."""

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from core.held_out import HeldOutSlice
from core.labels import LABELS
from core.prediction import Decision
from workers.evaluation.examples import Example, choose_examples
from workers.evaluation.judge import Judgement
from workers.evaluation.metrics import Probabilities
from workers.learning.classifier import with_explanation
from workers.learning.fold_answers import FoldAnswers, Shown
from workers.learning.input_pipeline import DecodedSet, Slices


def show(
    model: keras.Model,
    slices: Slices,
    probabilities: Probabilities,
    decisions: Sequence[Decision],
) -> Shown:
    """Typical and telling ones of the slices, by the model's answers (n, classes) to them."""
    places = np.array(choose_examples(slices.labels, probabilities, decisions), np.int64)
    evidence = _evidence(model, slices.pixels_of(places))
    answers = probabilities[places].argmax(axis=1)
    return Shown(places=places, maps=evidence[np.arange(len(places)), :, :, answers])


def pick_examples(model: keras.Model, test: Slices, judgement: Judgement) -> list[Example]:
    """Of the slices that the judgement is about, in their order."""
    answers = judgement.predictions.slices
    decisions = [answer.decision for answer in answers]
    shown = show(model, test, _probabilities(answers), decisions)
    return _examples(test.pixels_of(shown.places), [answers[p] for p in shown.places], shown.maps)


def pick_from_folds(
    folds: Sequence[FoldAnswers], data: DecodedSet, judgement: Judgement
) -> list[Example]:
    """As many as :func:`pick_examples` shows, of those that the folds' models left maps of.

    The judgement is about the test slices of all folds, in their order.
    """
    starts = np.cumsum([0, *(len(fold.logits) for fold in folds)])[:-1]
    places = np.concatenate(
        [start + fold.shown.places for start, fold in zip(starts, folds, strict=True)]
    )
    items = [item for fold in folds for item in fold.plan.test]
    slices = data.slices([items[place] for place in places])
    answers = [judgement.predictions.slices[place] for place in places]
    chosen = np.array(
        choose_examples(
            slices.labels, _probabilities(answers), [answer.decision for answer in answers]
        ),
        np.int64,
    )
    maps = np.concatenate([fold.shown.maps for fold in folds])
    return _examples(slices.pixels_of(chosen), [answers[n] for n in chosen], maps[chosen])


def _examples(
    pixels: NDArray[np.uint8], answers: Sequence[HeldOutSlice], maps: NDArray[np.float32]
) -> list[Example]:
    return [
        Example(
            picture=picture[:, :, 0],
            label=answer.label,
            probabilities=answer.probabilities,
            decision=answer.decision,
            activation_map=found,
        )
        for picture, answer, found in zip(pixels, answers, maps, strict=True)
    ]


def _probabilities(answers: Sequence[HeldOutSlice]) -> Probabilities:
    return np.array([a.probabilities for a in answers], np.float64).reshape(-1, len(LABELS))


def _evidence(model: keras.Model, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Activation maps (n, h, w, classes)."""
    _, evidence, _ = with_explanation(model)(pixels.astype(np.float32), training=False)
    return np.asarray(keras.ops.convert_to_numpy(evidence), np.float32)
