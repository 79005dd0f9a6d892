"""The model card says what a person must know, in Markdown that no name can break."""

from dataclasses import replace

import pytest

from core.labels import LABELS
from tests.fakes.evaluation import some_facts
from workers.evaluation.model_card import escaped, render_model_card
from workers.evaluation.wording import DISCLAIMER, INTENDED_USE, LIMITS

FACTS = some_facts()
EVALUATION = FACTS.judgement.evaluation


@pytest.fixture(scope="module")
def card() -> str:
    return render_model_card(FACTS).decode()


@pytest.mark.parametrize(
    "said",
    [
        "# efficientnet\\_b0 on datasets/brains",
        DISCLAIMER,
        *INTENDED_USE,
        *LIMITS,
        "two hospitals; 620 slices",
        "400 slices to learn from, 100 to choose",
        "How the slices were parted: held out. Nothing was chosen",
        f"| macro-F1 | {EVALUATION.macro_f1:.3f} | {EVALUATION.intervals['macro_f1'].low:.3f} to ",
        "| control without pictures | 0.550 |  |",
        "temperature of 1.234",
        "below 0.567 is marked ABSTAINED",
        "It was shown.",
        "stranger than 1.203",
        "0.39 billion multiply-accumulates",
        "epochs=2, learning\\_rate=0.0006",
        "tensorflow 2.21.0",
    ],
)
def test_it_says(card: str, said: str) -> None:
    assert said in card


def test_tables_have_their_columns(card: str) -> None:
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {4, 8}
    assert sum(row.startswith(f"| {escaped(label)} |") for row in rows for label in LABELS) == 4


def test_there_are_no_stray_blank_lines(card: str) -> None:
    assert "\n\n\n" not in card
    assert card.endswith("\n")
    assert not card.endswith("\n\n")


def test_names_from_outside_cannot_break_it() -> None:
    name = "<script>\n# a | `b` [c](d)"
    card = render_model_card(replace(FACTS, weights_source=name)).decode()

    assert "<script>" not in card.replace("\\<", "")
    assert "\n# a" not in card
    assert escaped(name) == "\\<script\\> \\# a \\| \\`b\\` \\[c\\](d)"


def test_what_there_is_not_is_said() -> None:
    card = render_model_card(replace(FACTS, ood=None, flops=0, training_data="")).decode()

    assert "Where it is from" not in card
    assert "no out-of-distribution score" in card
    assert "multiply-accumulates" not in card
