"""When the stack of the quickstart stays and when it goes."""

from collections.abc import Callable

import pytest

from core.errors import FailedPrecondition
from core.training import TrainingSpec
from services.cli.quickstart_run import Guide
from services.cli.tour import RECIPE, next_commands
from services.supervisor.stop_signals import StopSignals


def walked(tour: Callable[[], None], *, stay: bool) -> tuple[Guide, StopSignals]:
    stop = StopSignals()
    guide = Guide(tour, stop, stay=stay)
    guide.begin()
    guide.farewell()
    return guide, stop


@pytest.mark.parametrize("stay", [True, False])
def test_after_the_tour_the_stack_stays_only_with_a_terminal(stay: bool) -> None:
    guide, stop = walked(lambda: None, stay=stay)
    assert guide.complete
    assert stop.requested.is_set() is not stay


def test_a_failed_step_ends_it_and_says_why() -> None:
    def fail() -> None:
        raise FailedPrecondition("no training")

    guide, stop = walked(fail, stay=True)
    assert not guide.complete
    assert guide.failure == "no training"
    assert stop.requested.is_set()


def test_a_failure_after_ctrl_c_is_not_held_against_the_tour() -> None:
    stop = StopSignals()
    stop.requested.set()

    def fail() -> None:
        raise FailedPrecondition("the server is gone")

    guide = Guide(fail, stop, stay=True)
    guide.begin()
    guide.farewell()
    assert guide.failure is None
    assert not guide.complete


def test_the_recipe_is_one_the_server_takes() -> None:
    TrainingSpec.validated(RECIPE)


def test_the_next_commands_name_the_address_unless_it_is_the_usual_one() -> None:
    from pathlib import Path

    usual = next_commands("127.0.0.1:50051", Path("d"), "modelVersions/m")
    other = next_commands("127.0.0.1:7", Path("d"), "modelVersions/m")
    assert not any("--address" in command for command in usual)
    assert all("--address 127.0.0.1:7" in command.split("#")[0] for command in other)
    assert "braintumor models show m" in usual
