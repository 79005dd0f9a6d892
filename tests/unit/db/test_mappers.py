"""Times and floats survive the way through a row."""

import json
import math
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.labels import TumourLabel
from core.registry import SCORES
from core.training import Backbone, Optimizer, Precision, TrainingSpec
from db.mappers import (
    dataset_from_row,
    dataset_values,
    from_us,
    metric_values,
    model_from_row,
    model_values,
    spec_from_json,
    to_us,
)
from db.tables import DatasetRow, ModelVersionRow
from tests.fakes.records import a_dataset, an_audit
from tests.fakes.registry import a_model_version, an_evaluation


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_keep_every_microsecond(moment: datetime) -> None:
    assert from_us(to_us(moment)) == moment


def test_times_are_utc_wherever_they_came_from() -> None:
    zone = timezone(timedelta(hours=5, minutes=45))
    moment = datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=zone)
    back = from_us(to_us(moment))
    assert back == moment
    assert back.tzinfo is UTC


@pytest.mark.parametrize("convert", [to_us, from_us])
def test_nothing_stays_nothing(convert: object) -> None:
    assert callable(convert)
    assert convert(None) is None


def test_metrics_are_named_one_by_one() -> None:
    values = metric_values(a_model_version())
    assert values["accuracy"] == values["recall/glioma"] == 0.9
    assert values["support/no_tumor"] == 25
    assert values["test_size"] == 100
    assert len(values) == 2 + 4 * 4 + 3 + 1, "and the latency"


def test_every_number_that_was_measured_is_a_metric() -> None:
    glioma = replace(an_evaluation().per_class[TumourLabel.GLIOMA], roc_auc=0.97)
    measured: dict[str, Any] = dict.fromkeys(SCORES, 0.25)
    evaluation = replace(
        an_evaluation(),
        **measured,
        per_class={TumourLabel.GLIOMA: glioma},
    )
    values = metric_values(a_model_version(evaluation=evaluation, flops=400_000_000))
    assert {name: values[name] for name in SCORES} == measured
    assert values["roc_auc/glioma"] == 0.97
    assert "pr_auc/glioma" not in values
    assert values["flops"] == 400_000_000
    assert values["latency_ms"] == 9.0


def test_a_row_of_an_earlier_version_is_read() -> None:
    version = a_model_version()
    values = model_values(version)
    old = ("accuracy", "macro_f1", "confusion", "train_size", "validation_size", "test_size")
    evaluation = {name: values["evaluation"][name] for name in (*old, "protocol")}
    classes = values["evaluation"]["per_class"].items()
    evaluation["per_class"] = {
        label: {n: m[n] for n in ("precision", "recall", "f1", "support")} for label, m in classes
    }
    row = ModelVersionRow(**values | {"evaluation": evaluation})
    assert model_from_row(row, ()) == version


def test_a_row_of_a_later_version_is_read() -> None:
    version = a_model_version(flops=3)
    values = model_values(version)
    row = ModelVersionRow(**values | {"evaluation": values["evaluation"] | {"hausdorff": 1.0}})
    assert model_from_row(row, ()) == version


def test_an_undefined_metric_is_left_out() -> None:
    evaluation = replace(an_evaluation(), macro_f1=math.nan)
    values = metric_values(a_model_version(evaluation=evaluation))
    assert "macro_f1" not in values
    assert "accuracy" in values


def stored(spec: TrainingSpec) -> dict[str, Any]:
    """The spec as SQL gives it back."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return values


def test_an_audit_from_before_masks_were_audited_is_read() -> None:
    values = dataset_values(a_dataset())
    del values["audit"]["masks"]
    audit = dataset_from_row(DatasetRow(**values)).audit
    assert audit == an_audit(masks=None)


def test_a_spec_survives_the_way_through_sql() -> None:
    spec = TrainingSpec(backbone=Backbone.VGG19, optimizer=Optimizer.SGD, dropout=0.0)
    back = spec_from_json(stored(spec))
    assert back == spec
    assert (type(back.backbone), type(back.optimizer)) == (Backbone, Optimizer)


def test_a_spec_of_another_version_can_be_read() -> None:
    values = stored(TrainingSpec()) | {"epochs": 5000, "test_share": 0.01, "from_the_future": [1]}
    del values["weight_decay"], values["precision"]
    spec = spec_from_json(values)
    assert (spec.epochs, spec.test_share) == (5000, 0.01)
    assert spec.weight_decay == TrainingSpec().weight_decay
    assert spec.precision is Precision.AUTO
