import base64

import pytest

from core.errors import InvalidArgument
from services.paging import BY_TIME_AND_SEQUENCE, next_page_token, page_request


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (1000, 1000), (2**31 - 1, 1000)])
def test_sizes_have_a_default_and_a_limit(asked: int, given: int) -> None:
    assert page_request(asked, "").size == given


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        page_request(-1, "")
    assert caught.value.violations[0].field == "page_size"


def test_a_token_brings_its_cursor_back() -> None:
    token = next_page_token((1_700_000_000_000_000, "brains"), "datasets")
    assert page_request(7, token, "datasets").after == (1_700_000_000_000_000, "brains")
    assert token.isascii()
    assert not set(token) & set("+/= ")
    assert next_page_token(None, "datasets") == ""


def forged(cursor: str, *query: str) -> str:
    """A token whose check is right and whose cursor is anything."""
    from services.paging import _check

    text = cursor.encode()
    return base64.urlsafe_b64encode(_check(text, query) + text).decode().rstrip("=")


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "nonsense",
        "ü",
        "a b",
        "=" * 8,
        next_page_token((7, 7), "predictions", "label = glioma"),
        next_page_token((7, 7), "predictions", "", "desc"),
        next_page_token((7, "x"), "predictions", ""),
        next_page_token((7,), "predictions", ""),
        forged('[7, "7"]', "predictions", ""),
        forged("[7, true]", "predictions", ""),
        forged("7", "predictions", ""),
        forged("[7, 1e3]", "predictions", ""),
        forged("{", "predictions", ""),
        forged(f"[7, {2**70}]", "predictions", ""),
        forged("[" * 700, "predictions", ""),
        forged("[" * 200_000, "predictions", ""),
    ],
)
def test_damaged_and_foreign_tokens_are_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        page_request(0, token, "predictions", "", cursor=BY_TIME_AND_SEQUENCE)
    assert caught.value.violations[0].field == "page_token"


def test_every_change_of_a_token_is_noticed() -> None:
    token = next_page_token((123_456, 7), "predictions")
    data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        tampered = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        with pytest.raises(InvalidArgument):
            page_request(0, tampered, "predictions", cursor=BY_TIME_AND_SEQUENCE)
