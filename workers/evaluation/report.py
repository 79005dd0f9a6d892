"""A model version's report: one HTML page that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from core.labels import LABELS, TumourLabel
from core.training import EpochProgress
from workers.evaluation import wording
from workers.evaluation.charts import Axes, Series, line_chart, share_axes
from workers.evaluation.curves import Curve
from workers.evaluation.examples import Example, in_rows, thumbnail_uri
from workers.evaluation.judge import Judgement
from workers.evaluation.metrics import SplitSizes
from workers.model_artefact import Calibration


@dataclass(frozen=True, kw_only=True)
class OodFacts:
    """What the out-of-distribution score is worth. Shares are 0..1."""

    threshold: float
    validation_refused: float
    held_out_refused: float | None = None


@dataclass(frozen=True, kw_only=True)
class ReportFacts:
    """Everything that a report and a model card say. Shares are 0..1, times are milliseconds.

    ``history`` is that of the training whose weights are served, empty where there is none;
    ``training_data`` says in words where the data set is from; ``flops`` are
    multiply-accumulates, 0 where they were not counted. ``own_sizes`` are those of the version
    itself where the judgement is of its folds' models, which learned from others; else None.
    """

    backbone: str
    weights_source: str
    dataset: str
    dataset_digest: str
    spec: Mapping[str, Any]
    judgement: Judgement
    calibration: Calibration
    history: Sequence[EpochProgress]
    best_epoch: int
    parameters: int
    latency_ms: float
    export_difference: float
    library_versions: Mapping[str, str]
    training_data: str = ""
    flops: int = 0
    ood: OodFacts | None = None
    examples: Sequence[Example] = ()
    own_sizes: SplitSizes | None = None


def render_report(facts: ReportFacts) -> bytes:
    """The page, UTF-8. Names from outside are escaped."""
    environment = template_environment(autoescape=True)
    environment.filters["thumbnail"] = thumbnail_uri
    text = environment.get_template("report.html.j2").render(
        facts=facts,
        e=facts.judgement.evaluation,
        labels=LABELS,
        scores=wording.score_rows(facts.judgement.evaluation),
        charts=_charts(facts.judgement),
        training_charts=training_charts(facts.history),
        example_rows=list(in_rows(facts.examples)),
        wording=wording,
    )
    return text.encode()


def template_environment(*, autoescape: bool) -> Environment:
    """Where the templates are; an undefined name is an error."""
    environment = Environment(
        loader=PackageLoader("workers.evaluation", "templates"),
        autoescape=autoescape,  # noqa: S701 - only the Markdown template goes without
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{share:.1%}"
    return environment


def _charts(judgement: Judgement) -> Mapping[str, Markup]:
    points = [(b.confidence, b.accuracy) for b in judgement.reliability]
    highest = max(risk for _, risk in judgement.risk_coverage)
    return {
        "reliability": line_chart(
            "reliability",
            [Series(name="", points=points)],
            share_axes("confidence", "accuracy"),
            diagonal=True,
        ),
        "risk_coverage": line_chart(
            "risk and coverage",
            [Series(name="", points=judgement.risk_coverage, marked=False)],
            Axes(x_range=(0, 1), y_range=(0, max(highest, 0.01)), x_name="coverage", y_name="risk"),
        ),
        "roc": line_chart(
            "receiver operating characteristic",
            _by_class(judgement.roc),
            share_axes("false positive rate", "true positive", named_below=True),
            diagonal=True,
        ),
        "precision_recall": line_chart(
            "precision and recall",
            _by_class(judgement.precision_recall),
            share_axes("recall", "precision", named_below=True),
        ),
    }


def _by_class(curves: Mapping[TumourLabel, Curve]) -> list[Series]:
    return [Series(name=label, points=curve, marked=False) for label, curve in curves.items()]


def training_charts(history: Sequence[EpochProgress], score: str = "accuracy") -> Sequence[Markup]:
    """Loss and accuracy by epoch; none where there is no history."""
    if not history:
        return ()
    epochs = (history[0].epoch, history[-1].epoch)
    highest = max(max(e.loss, e.val_loss) for e in history)
    loss = Axes(x_range=epochs, y_range=(0, highest), x_name="epoch", y_name="loss")
    accuracy = Axes(x_range=epochs, y_range=(0, 1), x_name="epoch", y_name=score)
    return (
        _two_lines("loss by epoch", loss, [(e.epoch, e.loss, e.val_loss) for e in history]),
        _two_lines(
            f"{score} by epoch", accuracy, [(e.epoch, e.accuracy, e.val_accuracy) for e in history]
        ),
    )


def _two_lines(title: str, axes: Axes, rows: Sequence[tuple[int, float, float]]) -> Markup:
    training = Series(name="training", points=[(epoch, value) for epoch, value, _ in rows])
    validation = Series(name="validation", points=[(epoch, value) for epoch, _, value in rows])
    return line_chart(title, (training, validation), axes)
