"""What the report and the model card say in the same words."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.fakes.evaluation import some_facts
from workers.evaluation.metrics import SplitSizes
from workers.evaluation.model_card import render_model_card
from workers.evaluation.report import ReportFacts, render_report
from workers.evaluation.selective import NEVER

FACTS = some_facts()

Render = Callable[[ReportFacts], bytes]
in_both = pytest.mark.parametrize("render", [render_model_card, render_report])


@in_both
def test_what_a_fold_had_is_told_from_what_the_version_itself_had(render: Render) -> None:
    own = SplitSizes(train=560, validation=140, test=0)
    text = render(replace(FACTS, own_sizes=own)).decode()

    assert "each had about 400 slices to learn from and 100 to choose" in text
    assert "they were tested on 200" in text
    assert "The version itself had 560 slices to learn from and 140 to choose" in text


@in_both
@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (NEVER, "Every answer is marked ABSTAINED: this version accepts none, however sure it is."),
        (0.99972, "An answer whose highest probability is below 0.9997 is marked ABSTAINED."),
    ],
)
def test_a_threshold_that_is_hardly_reached_is_told(
    render: Render, threshold: float, said: str
) -> None:
    calibration = replace(FACTS.calibration, abstain_below=threshold)
    text = render(replace(FACTS, calibration=calibration)).decode()

    assert said in text
