"""Times and floats survive the way through a row."""

import json
import math
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.training import Backbone, Optimizer, TrainingSpec
from db.mappers import from_us, metric_values, spec_from_json, to_us
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
    assert len(values) == 2 + 4 * 4 + 3


def test_an_undefined_metric_is_left_out() -> None:
    evaluation = replace(an_evaluation(), macro_f1=math.nan)
    values = metric_values(a_model_version(evaluation=evaluation))
    assert "macro_f1" not in values
    assert "accuracy" in values


def stored(spec: TrainingSpec) -> dict[str, Any]:
    """The spec as SQL gives it back."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(spec)))
    return values


def test_a_spec_survives_the_way_through_sql() -> None:
    spec = TrainingSpec(backbone=Backbone.VGG19, optimizer=Optimizer.SGD, dropout=0.0)
    back = spec_from_json(stored(spec))
    assert back == spec
    assert (type(back.backbone), type(back.optimizer)) == (Backbone, Optimizer)


def test_a_spec_of_another_version_can_be_read() -> None:
    values = stored(TrainingSpec()) | {"epochs": 5000, "test_share": 0.01, "from_the_future": [1]}
    del values["weight_decay"]
    spec = spec_from_json(values)
    assert (spec.epochs, spec.test_share) == (5000, 0.01)
    assert spec.weight_decay == TrainingSpec().weight_decay
