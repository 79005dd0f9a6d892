"""What the reaper takes from its pipe."""

from services.supervisor.reaper_process import live_groups


def test_groups_that_were_struck_are_not_ended() -> None:
    assert live_groups(["+10\n", "+11\n", "-10\n", "+12\n", "-99\n"]) == {11, 12}


def test_an_empty_pipe_has_nothing_to_end() -> None:
    assert live_groups([]) == set()
