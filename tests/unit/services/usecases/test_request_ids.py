import pytest

from core.errors import InvalidArgument
from services.usecases.request_ids import check_request_id


def test_uuids_have_one_spelling() -> None:
    expected = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    for text in (expected, expected.upper(), expected.replace("-", "")):
        assert check_request_id(text) == expected
    assert check_request_id("") is None


@pytest.mark.parametrize("text", ["1", "no-uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8x"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_request_id(text)
    assert caught.value.violations[0].field == "request_id"
