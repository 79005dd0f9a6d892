"""What counts as a worker that is well."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pytest

from workers import healthcheck
from workers.healthcheck import problem_with

QUEUES = ["inference", "curation"]


@dataclass
class FakeWorker:
    """A worker as seen from outside; ``waiting_now`` and ``busy_now`` are read one by one."""

    alive: bool = True
    queues: Collection[str] | None = ("inference", "curation")
    waiting_now: list[int] = field(default_factory=lambda: [0])
    busy_now: list[bool] = field(default_factory=lambda: [False])

    def heart_beats(self) -> bool:
        return self.alive

    def consumed_queues(self) -> Collection[str] | None:
        return self.queues

    def busy(self) -> bool:
        return self.busy_now.pop(0) if len(self.busy_now) > 1 else self.busy_now[0]

    def waiting(self, queues: Sequence[str]) -> int:
        assert list(queues) == QUEUES
        return self.waiting_now.pop(0) if len(self.waiting_now) > 1 else self.waiting_now[0]


def look_at(worker: FakeWorker) -> tuple[str | None, int]:
    """The verdict, and how often it was waited for."""
    pauses: list[float] = []
    return problem_with(worker, QUEUES, pauses.append), len(pauses)


def test_an_idle_worker_on_empty_queues_is_well() -> None:
    assert look_at(FakeWorker()) == (None, 0)


def test_a_busy_worker_may_have_messages_waiting() -> None:
    assert look_at(FakeWorker(waiting_now=[100], busy_now=[True])) == (None, 0)


def test_a_message_that_has_just_come_in_is_no_fault() -> None:
    assert look_at(FakeWorker(waiting_now=[1, 0])) == (None, 1)


def test_a_worker_that_has_just_taken_a_message_is_well() -> None:
    assert look_at(FakeWorker(waiting_now=[3], busy_now=[False, True])) == (None, 1)


def test_no_heartbeat() -> None:
    assert look_at(FakeWorker(alive=False)) == ("It has no heartbeat.", 0)


def test_a_deaf_consumer() -> None:
    assert look_at(FakeWorker(queues=None)) == ("Its consumer does not answer.", 0)


@pytest.mark.parametrize("held", [(), ("inference",), ("inference", "training")])
def test_a_lost_queue_is_named(held: tuple[str, ...]) -> None:
    problem, _ = look_at(FakeWorker(queues=held))
    assert problem is not None
    assert problem.startswith("It no longer takes messages from curation")


def test_an_idle_worker_that_leaves_messages_lying_about() -> None:
    problem, pauses = look_at(FakeWorker(waiting_now=[1]))
    assert problem == "It is idle, and messages wait in inference or curation."
    assert pauses == 1


def test_bad_settings_are_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRAINTUMOR_MAX_BATCH_SIZE", "none")
    assert healthcheck.main(["inference", "inference"]) == 1
    assert "BRAINTUMOR_MAX_BATCH_SIZE" in capsys.readouterr().err


def test_a_broker_that_is_away_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRAINTUMOR_BROKER_URL", "unix:///nowhere/valkey.sock")
    assert healthcheck.main(["inference", "inference"]) == 1
    assert "The broker cannot be asked about it" in capsys.readouterr().err


def test_queues_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        healthcheck.main(["inference"])
    assert caught.value.code == 2
    assert "queues" in capsys.readouterr().err
