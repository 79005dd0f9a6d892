"""The report says everything, needs nothing beside it, and trusts no name."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from core.labels import LABELS
from core.prediction import Decision
from core.registry import Evaluation
from tests.fakes.evaluation import some_facts, some_held_out
from workers.evaluation.judge import judge
from workers.evaluation.report import render_report
from workers.evaluation.wording import DISCLAIMER, INTENDED_USE, LIMITS

FACTS = some_facts()
EVALUATION = FACTS.judgement.evaluation


VOID = {"meta", "line", "circle", "polyline", "path", "img"}


def row_of(evaluation: Evaluation, name: str) -> str:
    """The value of a score and its interval, as the table has them."""
    ends = evaluation.intervals[name]
    return f"{getattr(evaluation, name):.3f}</td><td>{ends.low:.3f} to {ends.high:.3f}"


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(FACTS).decode()


@pytest.mark.parametrize(
    "said",
    [
        DISCLAIMER,
        *INTENDED_USE,
        *LIMITS,
        *(
            row_of(EVALUATION, name)
            for name in ("accuracy", "macro_f1", "roc_auc", "sensitivity", "ece", "aurc")
        ),
        "floor: always the commonest class</td><td>0.250",
        "control without pictures</td><td>0.550",
        "Protocol: held out.",
        "400 slices to learn from, 100 to",
        "epoch 2 of 2",
        "Temperature 1.234",
        "below 0.567",
        "It was shown.",
        "1.0% of the validation slices and 0.4% of the held-out ones",
        "d" * 64,
        FACTS.judgement.predictions.digest,
        "file:b0.h5 sha256:abc",
        "0.0006",
        "4,054,695",
        "390,000,000",
        "2e-06",
        "8.4 ms",
        "2.21.0",
        "wrong: meningioma, 70.0%",
        "abstained: pituitary, 70.0%",
    ],
)
def test_it_says(page: str, said: str) -> None:
    assert said in re.sub(r"\s+", " ", page)


def test_every_class_and_the_whole_confusion_matrix_are_there(page: str) -> None:
    hits = re.findall(r"<td class=\"hit\"[^>]*>(\d+)</td>", page)
    assert hits == [str(EVALUATION.confusion[i][i]) for i in range(len(LABELS))]
    assert all(page.count(f"<td>{label}</td>") == 2 for label in LABELS)


def test_it_needs_nothing_beside_it(page: str) -> None:
    assert page.count("<svg") == 6
    assert page.count('src="data:image/jpeg;base64,') == 3
    without = re.sub(r'src="data:image/jpeg;base64,[A-Za-z0-9+/=]+"', "", page)
    assert not re.search(r"(src|href)=|@import|url\(|<script", without)


def test_names_from_outside_are_escaped() -> None:
    page = render_report(replace(FACTS, dataset="<script>alert(1)</script>")).decode()

    assert "<script>" not in page


def test_a_model_that_accepts_nothing_has_a_report() -> None:
    held_out = replace(some_held_out(), decisions=[Decision.ABSTAINED] * 200)
    page = render_report(replace(FACTS, judgement=judge(held_out, resamples=20))).decode()

    assert "of the accepted answers are right" not in page
    assert "200 were ABSTAINED" in page


def test_what_there_is_not_is_not_spoken_of() -> None:
    page = render_report(replace(FACTS, history=[], examples=(), ood=None, flops=0)).decode()

    assert "<h2>Training</h2>" not in page
    assert "<h2>Examples</h2>" not in page
    assert "multiply-accumulates" not in page
    assert "no out-of-distribution score" in page


@pytest.mark.parametrize("folds", [0, 5])
def test_it_is_said_whose_evidence_is_shown(folds: int) -> None:
    page = render_report(replace(FACTS, spec={"folds": folds})).decode()
    assert ("by the model of\nits fold" in page) == (folds > 0)


def test_a_class_without_slices_has_a_row() -> None:
    held_out = some_held_out()
    few = replace(
        held_out,
        **{n: getattr(held_out, n)[:3] for n in ("sha256", "groups", "decisions", "labels")},
        probabilities=held_out.probabilities[:3],
        uncalibrated=None,
    )
    page = render_report(replace(FACTS, judgement=judge(few, resamples=20))).decode()

    assert "<td>pituitary</td><td>-</td><td>-</td><td>-</td><td>-</td>" in page


def test_tags_are_balanced(page: str) -> None:
    class Balance(HTMLParser):
        open_tags: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in VOID:
                self.open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in VOID:
                assert self.open_tags.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.open_tags == []
