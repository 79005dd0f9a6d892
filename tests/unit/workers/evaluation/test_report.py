"""The report says everything, needs nothing beside it, and trusts no name."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from core.labels import LABELS
from core.training import EpochProgress
from tests.fakes.registry import an_evaluation
from workers.evaluation.calibration import ReliabilityBin
from workers.evaluation.metrics import Interval, Intervals
from workers.evaluation.report import DISCLAIMER, ReportFacts, render_report
from workers.model_artefact import Calibration

FACTS = ReportFacts(
    backbone="efficientnet_b0",
    weights_source="file:b0.h5 sha256:abc",
    dataset="datasets/brains",
    dataset_digest="d" * 64,
    spec={"epochs": 2, "learning_rate": 6e-4},
    evaluation=an_evaluation(0.875),
    intervals=Intervals(
        accuracy=Interval(low=0.81, high=0.93), macro_f1=Interval(low=0.8, high=0.92)
    ),
    majority_share=0.3,
    history=[
        EpochProgress(
            epoch=n,
            epochs=2,
            loss=1.5 / n,
            accuracy=0.5,
            val_loss=1.6 / n,
            val_accuracy=0.4,
            seconds=1.0,
            seconds_left=0.0,
        )
        for n in (1, 2)
    ],
    best_epoch=2,
    calibration=Calibration(temperature=1.234, abstain_below=0.567),
    ece_before=0.112,
    ece_after=0.045,
    reliability=[ReliabilityBin(confidence=0.9, accuracy=0.85, count=20)],
    coverage=0.81,
    accepted_accuracy=0.96,
    parameters=4_054_695,
    latency_ms=8.43,
    library_versions={"tensorflow": "2.21.0"},
)


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(FACTS).decode()


@pytest.mark.parametrize(
    "said",
    [
        DISCLAIMER,
        "87.5%",
        "81.0% to 93.0%",
        "80.0% to 92.0%",
        "Protocol: held out.",
        "400 slices to learn from, 100 to",
        "epoch 2 of 2",
        "1.234",
        "0.567",
        "0.112",
        "0.045",
        "96.0% of those answers are right",
        "d" * 64,
        "file:b0.h5 sha256:abc",
        "0.0006",
        "4,054,695",
        "8.4 ms",
        "2.21.0",
    ],
)
def test_it_says(page: str, said: str) -> None:
    assert said in re.sub(r"\s+", " ", page)


def test_every_class_and_the_whole_confusion_matrix_are_there(page: str) -> None:
    cells = re.findall(r"<td class=\"hit\">(\d+)</td>", page)
    assert cells == ["25"] * len(LABELS)
    assert all(page.count(f"<td>{label}</td>") == 2 for label in LABELS)


def test_it_needs_nothing_beside_it(page: str) -> None:
    assert page.count("<svg") == 3
    assert not re.search(r"(src|href)=|@import|url\(", page)


def test_names_from_outside_are_escaped() -> None:
    page = render_report(replace(FACTS, dataset="<script>alert(1)</script>")).decode()

    assert "<script>" not in page


def test_a_model_that_answers_nothing_has_a_report() -> None:
    page = render_report(replace(FACTS, accepted_accuracy=None)).decode()

    assert "of those answers are right" not in page


def test_tags_are_balanced(page: str) -> None:
    class Balance(HTMLParser):
        open_tags: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in {"meta", "line", "circle", "polyline", "path"}:
                self.open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag not in {"meta", "line", "circle", "polyline", "path"}:
                assert self.open_tags.pop() == tag

    parser = Balance()
    parser.feed(page)
    assert parser.open_tags == []
