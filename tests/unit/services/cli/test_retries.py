"""Trying again while the server is busy or away."""

import pytest

from services.cli.client import ATTEMPTS, with_retries
from services.cli.refusals import Refusal, ServerRefused


class Attempts:
    """Fails with each refusal in turn, then answers."""

    def __init__(self, *refusals: Refusal) -> None:
        self._refusals = list(refusals)
        self.pauses: list[float] = []
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        if self._refusals:
            raise ServerRefused(self._refusals.pop(0))
        return "answer"

    def run(self) -> str:
        return with_retries(self, sleep=self.pauses.append)


def busy(retry_after: float | None = None) -> Refusal:
    return Refusal(
        status="RESOURCE_EXHAUSTED", message="busy", reason="OVERLOADED", retry_after=retry_after
    )


def test_the_server_sets_the_pause() -> None:
    attempts = Attempts(busy(3.0))
    assert attempts.run() == "answer"
    (pause,) = attempts.pauses
    assert 3.0 <= pause <= 3.75


def test_without_a_word_the_pauses_grow() -> None:
    attempts = Attempts(busy(), busy(), busy())
    attempts.run()
    assert attempts.pauses == sorted(attempts.pauses)
    assert attempts.pauses[2] > 3 * attempts.pauses[0]


def test_an_absurd_wish_for_patience_is_bounded() -> None:
    attempts = Attempts(busy(3600.0))
    attempts.run()
    assert attempts.pauses[0] <= 10


def test_it_gives_up_after_a_few() -> None:
    attempts = Attempts(*[busy()] * 99)
    with pytest.raises(ServerRefused):
        attempts.run()
    assert attempts.count == ATTEMPTS


def test_what_will_not_change_is_not_tried_again() -> None:
    attempts = Attempts(Refusal(status="INVALID_ARGUMENT", message="no"))
    with pytest.raises(ServerRefused):
        attempts.run()
    assert attempts.count == 1
    assert attempts.pauses == []
