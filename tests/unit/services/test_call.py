from uuid import UUID

import pytest

from services.call import call_from_metadata, current_call, serving


@pytest.mark.parametrize("caller", ["ann", "dr.lee@clinic.example", "ns:svc-1_x", "x" * 128])
def test_a_caller_is_who_it_says_it_is(caller: str) -> None:
    call = call_from_metadata("/m", (("x-braintumor-caller", caller), ("other", "y")))
    assert (call.method, call.caller) == ("/m", caller)


@pytest.mark.parametrize("caller", ["", "a b", "a\nb", "x" * 129, "Zoë", b"ann"])
def test_a_caller_that_cannot_be_recorded_is_anonymous(caller: str | bytes) -> None:
    assert call_from_metadata("/m", (("x-braintumor-caller", caller),)).caller == "anonymous"


def test_a_sane_request_id_is_kept_and_any_other_replaced() -> None:
    assert call_from_metadata("/m", (("x-request-id", "abc-1"),)).request_id == "abc-1"
    made = [
        call_from_metadata("/m", metadata).request_id
        for metadata in ((), (("x-request-id", "a b"),), (("x-request-id", "x" * 129),))
    ]
    assert len({UUID(request_id) for request_id in made}) == 3


def test_the_current_call_is_known_while_it_is_served() -> None:
    call = call_from_metadata("/m", ())
    with serving(call):
        assert current_call() is call
    with pytest.raises(LookupError):
        current_call()
