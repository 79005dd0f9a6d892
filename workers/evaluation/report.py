"""A model version's report: one HTML page that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from core.labels import LABELS
from core.registry import Evaluation
from core.training import EpochProgress
from workers.evaluation.calibration import ReliabilityBin
from workers.evaluation.charts import Axes, Series, line_chart, reliability_chart
from workers.evaluation.metrics import Intervals
from workers.model_artefact import Calibration

DISCLAIMER: Final = (
    "Decision support for research and engineering. This is not a medical device and must not be "
    "the only basis of a diagnosis."
)


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """Everything that a report says. Shares are 0..1, times are seconds."""

    backbone: str
    weights_source: str
    dataset: str
    dataset_digest: str
    spec: Mapping[str, Any]
    evaluation: Evaluation
    intervals: Intervals
    majority_share: float
    history: Sequence[EpochProgress]
    best_epoch: int
    calibration: Calibration
    ece_before: float
    ece_after: float
    reliability: Sequence[ReliabilityBin]
    coverage: float
    accepted_accuracy: float | None
    parameters: int
    latency_ms: float
    library_versions: Mapping[str, str]


def render_report(facts: ReportFacts) -> bytes:
    """The page, UTF-8. Names from outside are escaped."""
    page = _environment().get_template("report.html.j2")
    text = page.render(
        facts=facts,
        labels=LABELS,
        loss_chart=_loss_chart(facts.history),
        accuracy_chart=_accuracy_chart(facts.history),
        reliability_chart=reliability_chart(
            "reliability", [(b.confidence, b.accuracy) for b in facts.reliability]
        ),
        disclaimer=DISCLAIMER,
    )
    return text.encode()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("workers.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    return environment


def _loss_chart(history: Sequence[EpochProgress]) -> Markup:
    highest = max(max(e.loss, e.val_loss) for e in history)
    axes = Axes(x_range=_epochs(history), y_range=(0, highest), x_name="epoch", y_name="loss")
    training = Series(name="training", points=[(e.epoch, e.loss) for e in history])
    validation = Series(name="validation", points=[(e.epoch, e.val_loss) for e in history])
    return line_chart("loss by epoch", (training, validation), axes)


def _accuracy_chart(history: Sequence[EpochProgress]) -> Markup:
    axes = Axes(x_range=_epochs(history), y_range=(0, 1), x_name="epoch", y_name="accuracy")
    training = Series(name="training", points=[(e.epoch, e.accuracy) for e in history])
    validation = Series(name="validation", points=[(e.epoch, e.val_accuracy) for e in history])
    return line_chart("accuracy by epoch", (training, validation), axes)


def _epochs(history: Sequence[EpochProgress]) -> tuple[float, float]:
    return history[0].epoch, history[-1].epoch
