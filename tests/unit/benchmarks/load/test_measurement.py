"""Percentiles, throughput and errors from what became of requests."""

import pytest
from hdrh.histogram import HdrHistogram

from benchmarks.load.measurement import ProcessUse, Tally

USE = {
    "gateway": ProcessUse(cpu_seconds=1.0, peak_bytes=10),
    "inference worker": ProcessUse(cpu_seconds=3.0, peak_bytes=20),
    "client": ProcessUse(cpu_seconds=5.0, peak_bytes=30),
}
SERVING = {"gateway", "inference worker"}


def tally_of(latencies_ms: range) -> Tally:
    tally = Tally(start=100.0, seconds=10.0)
    for latency in latencies_ms:
        tally.answered(100.0, 100.0 + latency / 1000)
    return tally


def test_percentiles_are_right_to_three_digits() -> None:
    found = tally_of(range(1, 1001)).measurement({}, ()).latencies
    assert found.count == 1000
    assert found.mean_ms == pytest.approx(500.5, rel=1e-3)
    assert found.p50_ms == pytest.approx(500, rel=1e-3)
    assert found.p90_ms == pytest.approx(900, rel=1e-3)
    assert found.p99_ms == pytest.approx(990, rel=1e-3)
    assert found.p999_ms == pytest.approx(999, rel=1e-3)
    assert found.max_ms == pytest.approx(1000, rel=1e-3)


def test_the_histogram_can_be_read_again() -> None:
    found = tally_of(range(1, 101)).measurement({}, ()).latencies
    read = HdrHistogram.decode(found.histogram)
    assert read.get_total_count() == 100
    assert read.get_value_at_percentile(50) == pytest.approx(50_000, rel=1e-3)


def test_what_is_answered_too_late_has_a_latency_but_is_no_throughput() -> None:
    tally = Tally(start=0.0, seconds=2.0)
    tally.answered(0.0, 1.0)
    tally.answered(1.0, 2.0)
    tally.answered(1.5, 4.5)
    found = tally.measurement({}, ())
    assert found.completed == 2
    assert found.requests_per_second == 1.0
    assert found.latencies.count == 3
    assert found.latencies.max_ms == pytest.approx(3000, rel=1e-3)


def test_a_latency_counts_from_when_the_request_was_to_be_sent() -> None:
    tally = Tally(start=0.0, seconds=1.0)
    tally.answered(intended=0.1, done=0.9)
    assert tally.measurement({}, ()).latencies.p50_ms == pytest.approx(800, rel=1e-3)


def test_latencies_beyond_the_histogram_are_kept_at_its_ends() -> None:
    tally = Tally(start=0.0, seconds=1.0)
    tally.answered(0.0, 0.0)
    tally.answered(0.0, 1e6)
    found = tally.measurement({}, ()).latencies
    assert found.count == 2
    assert found.max_ms == pytest.approx(120_000, rel=1e-3)


def test_errors_are_counted_by_status_and_have_no_latency() -> None:
    tally = Tally(start=0.0, seconds=1.0)
    for status in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNAVAILABLE"):
        tally.failed(status)
    found = tally.measurement({}, ())
    assert found.errors == {"RESOURCE_EXHAUSTED": 1, "UNAVAILABLE": 2}
    assert found.latencies.count == 0


def test_cpu_a_request_is_of_the_processes_that_serve() -> None:
    found = tally_of(range(1, 101)).measurement(USE, SERVING)
    assert found.cpu_seconds == 4.0
    assert found.cpu_ms_per_request == pytest.approx(40.0)
    assert found.processes == USE


def test_without_an_end_the_last_answer_is_it() -> None:
    tally = Tally(start=10.0, seconds=float("inf"))
    tally.answered(10.0, 14.0)
    tally.answered(10.0, 12.0)
    found = tally.measurement({}, ())
    assert (found.seconds, found.requests_per_second) == (4.0, 0.5)


def test_where_nothing_is_answered_all_is_nothing() -> None:
    found = Tally(start=0.0, seconds=1.0).measurement(USE, SERVING)
    assert (found.requests_per_second, found.cpu_ms_per_request) == (0.0, 0.0)
    assert found.latencies.p99_ms == 0.0
    endless = Tally(start=0.0, seconds=float("inf")).measurement(USE, SERVING)
    assert endless.requests_per_second == 0.0
