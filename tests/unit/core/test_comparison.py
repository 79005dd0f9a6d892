"""Which of several model versions is recommended, and why."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from core.comparison import PairedComparison, PairedDifference, recommend
from core.labels import LABELS
from core.registry import ClassMetrics, Evaluation, Interval, ModelVersion
from core.training import Backbone, Task
from tests.fakes.records import NOW


def a_version(
    version_id: str,
    macro_f1: float,
    *,
    latency_ms: float = 5.0,
    test_size: int = 400,
    accuracy: float | None = None,
    **changes: Any,
) -> ModelVersion:
    metrics = ClassMetrics(precision=macro_f1, recall=macro_f1, f1=macro_f1, support=1)
    evaluation = Evaluation(
        accuracy=macro_f1 if accuracy is None else accuracy,
        macro_f1=macro_f1,
        per_class=dict.fromkeys(LABELS, metrics),
        confusion=((1, 0, 0, 0),) * 4,
        train_size=1000,
        validation_size=200,
        test_size=test_size,
        protocol="grouped",
    )
    values: dict[str, Any] = {
        "id": version_id,
        "create_time": NOW,
        "task": Task.CLASSIFICATION,
        "backbone": Backbone.EFFICIENTNET_B0,
        "digest": version_id * 8,
        "dataset": "brains",
        "dataset_digest": "d",
        "training_job": "j",
        "spec": {},
        "weights_source": "none",
        "evaluation": evaluation,
        "parameters": 4_000_000,
        "size_bytes": 16_000_000,
        "train_seconds": 60.0,
        "latency_ms": latency_ms,
        "library_versions": {},
    }
    return ModelVersion(**(values | changes))


def test_names() -> None:
    version = a_version("v1", 0.9, digest="abc")
    assert (version.name, version.artefact_prefix) == ("modelVersions/v1", "models/abc")


def test_a_single_version() -> None:
    choice = recommend([a_version("v1", 0.9)])
    assert choice.version == "modelVersions/v1"
    assert "only one" in choice.reason


@pytest.mark.parametrize("reverse", [False, True])
def test_clearly_better_wins_though_it_is_slower(reverse: bool) -> None:
    versions = [a_version("good", 0.95, latency_ms=50), a_version("bad", 0.70, latency_ms=1)]
    choice = recommend(versions[::-1] if reverse else versions)
    assert choice.version == "modelVersions/good"
    assert "0.950 against 0.700" in choice.reason
    assert "noise" not in choice.reason


def test_within_noise_the_faster_wins() -> None:
    versions = [a_version("a", 0.91, latency_ms=20), a_version("b", 0.905, latency_ms=5)]
    choice = recommend(versions)
    assert choice.version == "modelVersions/b"
    assert "within noise" in choice.reason
    assert "5.0 ms against 20.0 ms" in choice.reason


def test_within_noise_the_best_stays_if_it_is_the_fastest() -> None:
    choice = recommend([a_version("a", 0.91, latency_ms=5), a_version("b", 0.905, latency_ms=20)])
    assert choice.version == "modelVersions/a"
    assert "within noise" in choice.reason
    assert choice.reason.endswith("none of the equals is faster")


def test_a_small_test_split_has_more_noise() -> None:
    def pair(size: int) -> list[ModelVersion]:
        return [
            a_version("a", 0.93, latency_ms=20, test_size=size),
            a_version("b", 0.90, latency_ms=5, test_size=size),
        ]

    assert recommend(pair(10_000)).version == "modelVersions/a"
    assert recommend(pair(40)).version == "modelVersions/b"


def test_equal_versions_are_seldom_told_apart() -> None:
    """By chance in 5 % of cases: both are right nine times in ten, on 300 slices each."""
    rng, told_apart = Random(0), 0
    for _ in range(500):
        first, second = (sum(rng.random() < 0.9 for _ in range(300)) / 300 for _ in range(2))
        slow = a_version("a", max(first, second), latency_ms=20, test_size=300)
        fast = a_version("b", min(first, second), latency_ms=5, test_size=300)
        told_apart += recommend([slow, fast]).version == slow.name
    assert told_apart / 500 <= 0.05 + 0.03


def test_slices_of_one_patient_make_more_noise() -> None:
    """The interval of a score, which is over patients, knows better than the number of slices."""

    def pair(width: float) -> list[ModelVersion]:
        return [
            replace(v, evaluation=replace(v.evaluation, intervals={"macro_f1": around(v, width)}))
            for v in (
                a_version("a", 0.95, latency_ms=20, test_size=2000),
                a_version("b", 0.90, latency_ms=5, test_size=2000),
            )
        ]

    def around(version: ModelVersion, width: float) -> Interval:
        score = version.evaluation.score
        return Interval(low=score - width / 2, high=score + width / 2)

    assert recommend(pair(0.05)).version == "modelVersions/a"
    wide = recommend(pair(0.1))
    assert wide.version == "modelVersions/b"
    assert "±0.071" in wide.reason
    assert recommend(pair(0.0)).version == "modelVersions/a", "no width says nothing"


def test_a_perfect_score_on_few_slices_is_not_free_of_noise() -> None:
    versions = [
        a_version("a", 1.0, latency_ms=20, test_size=5),
        a_version("b", 0.95, latency_ms=5, accuracy=1.0, test_size=5),
    ]
    assert recommend(versions).version == "modelVersions/b"


def test_only_those_within_noise_of_the_best_compete_on_speed() -> None:
    versions = [
        a_version("best", 0.95, latency_ms=30),
        a_version("near", 0.945, latency_ms=20),
        a_version("far", 0.60, latency_ms=1),
    ]
    assert recommend(versions).version == "modelVersions/near"


def test_different_data_sets_are_pointed_out() -> None:
    versions = [a_version("a", 0.9), a_version("b", 0.5, dataset_digest="other")]
    assert "different data sets" in recommend(versions).reason
    assert "different data sets" not in recommend(versions[:1] * 2).reason


def a_pair(first: str, second: str, difference: float, width: float = 0.01) -> PairedComparison:
    found = PairedDifference(
        difference=difference,
        interval=Interval(low=difference - width, high=difference + width),
        probability_better=0.5,
    )
    return PairedComparison(
        first=f"modelVersions/{first}",
        second=f"modelVersions/{second}",
        slices=400,
        groups=90,
        scores={"accuracy": found, "macro_f1": found},
        ranked_by="macro_f1",
    )


def test_a_pair_tells_apart_what_the_scores_cannot() -> None:
    versions = [a_version("a", 0.91, latency_ms=20), a_version("b", 0.905, latency_ms=5)]
    choice = recommend(versions, [a_pair("b", "a", 0.02)])
    assert choice.version == "modelVersions/a"
    assert "beyond noise" in choice.reason
    assert "on 400 slices held out from both" in choice.reason
    assert "0.010 to 0.030" in choice.reason


def test_a_pair_may_say_that_it_is_noise() -> None:
    versions = [a_version("a", 0.95, latency_ms=20), a_version("b", 0.85, latency_ms=5)]
    choice = recommend(versions, [a_pair("a", "b", -0.005)])
    assert choice.version == "modelVersions/b"
    assert "-0.005 to 0.015" in choice.reason, "the best one's lead, whichever was named first"


@pytest.mark.parametrize("reverse", [False, True])
def test_a_pair_is_believed_over_scores_from_different_slices(reverse: bool) -> None:
    versions = [a_version("a", 0.95), a_version("b", 0.85, dataset_digest="other")]
    pair = a_pair("b", "a", -0.05) if reverse else a_pair("a", "b", 0.05)
    choice = recommend(versions, [pair])
    assert choice.version == "modelVersions/b"
    assert "different data sets" not in choice.reason


def test_the_work_is_told_where_both_were_counted() -> None:
    versions = [
        a_version("a", 0.91, latency_ms=20, flops=7_800_000_000),
        a_version("b", 0.905, latency_ms=5, flops=390_000_000),
    ]
    assert "0.39 against 7.80 billion multiply-accumulates" in recommend(versions).reason
    assert "multiply" not in recommend([versions[0], a_version("b", 0.905, latency_ms=1)]).reason


def test_of_networks_that_compute_as_much_none_is_faster_whatever_timed_them() -> None:
    versions = [
        a_version("a", 0.91, latency_ms=20, flops=390_000_000),
        a_version("b", 0.905, latency_ms=5, flops=390_000_000),
    ]
    assert recommend(versions).version == "modelVersions/a"
    assert recommend(versions[::-1]).version == "modelVersions/a"


def test_versions_that_differ_in_no_slice_are_said_to_be_the_same() -> None:
    same = a_pair("a", "b", 0.0, width=0.0)
    assert same.in_words == "the same as"
    reason = recommend([a_version("a", 1.0), a_version("b", 0.99)], [same]).reason
    assert "on 400 slices held out from both there was none" in reason


def test_a_pair_in_words() -> None:
    words = a_pair("a", "b", -0.05).in_words
    assert words == "0.050 lower (95 % interval of the difference -0.060 to -0.040) than"
    equal = a_pair("a", "b", 0.0001).in_words
    assert equal == "as high (95 % interval of the difference -0.010 to 0.010) as"
    assert a_pair("a", "b", -0.05).second_is_worse
    assert a_pair("a", "b", 0.05).second_is_better
    noise = a_pair("a", "b", 0.005)
    assert not noise.second_is_worse
    assert not noise.second_is_better


def test_what_is_at_chance_does_not_compete() -> None:
    versions = [a_version("good", 0.9), a_version("chance", 0.2, latency_ms=1)]
    found = recommend(versions)
    assert found.version == "modelVersions/good"
    assert found.reason == "it is the only one that is fit to serve"
    others = recommend([*versions, a_version("better", 0.96)])
    assert others.version == "modelVersions/better"


def test_where_all_are_at_chance_none_is_recommended() -> None:
    found = recommend([a_version("a", 0.1), a_version("b", 0.2, latency_ms=1)])
    assert found.version == ""
    assert found.reason.startswith("none is fit to serve (modelVersions/a: it names 10.0% of its")
    assert "modelVersions/b: it names 20.0%" in found.reason
    assert recommend([a_version("a", 0.1)]).version == ""
