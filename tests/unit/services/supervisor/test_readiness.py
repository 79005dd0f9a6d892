"""Ready is when every part has said so once."""

from services.supervisor.readiness import Readiness


def test_a_part_that_was_ready_once_is_not_asked_again() -> None:
    answers = {"gateway": [False, True], "worker": [False, False, True]}
    readiness = Readiness({name: iter(said).__next__ for name, said in answers.items()})
    assert readiness.missing() == ("gateway", "worker")
    assert readiness.missing() == ("worker",)
    assert readiness.missing() == ()
    assert readiness.missing() == ()
