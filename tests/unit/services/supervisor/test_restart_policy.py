"""When a dead child is started again, and when it is given up."""

from services.supervisor.supervisor import GiveUp, Restart, RestartPolicy


def test_each_restart_within_the_window_waits_twice_as_long() -> None:
    policy = RestartPolicy(first_delay=0.5)
    assert [policy.died(at) for at in (0.0, 1.0, 3.0)] == [Restart(0.5), Restart(1.0), Restart(2.0)]


def test_the_fourth_death_within_a_minute_is_one_too_many() -> None:
    policy = RestartPolicy()
    for at in (0.0, 10.0, 20.0):
        assert isinstance(policy.died(at), Restart)
    assert policy.died(59.9) == GiveUp(4)


def test_deaths_that_are_long_past_do_not_count() -> None:
    policy = RestartPolicy(first_delay=0.5)
    for at in (0.0, 10.0, 20.0):
        policy.died(at)
    assert policy.died(60.0) == Restart(2.0)
    assert policy.died(200.0) == Restart(0.5)
