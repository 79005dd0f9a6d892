"""How well each tumour was outlined survives being written and read."""

import json

import pytest

from core.held_out_outlines import HeldOutOutlines
from tests.fakes.held_out import outlines


def test_they_come_back_as_they_were_written() -> None:
    kept = outlines(0.75)
    assert HeldOutOutlines.from_json(kept.to_json()) == kept


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"slices": [{"sha256": "a"}]}, {"slices": None}, {"protocol": ...}]
)
def test_what_was_written_otherwise_is_refused(change: dict[str, object]) -> None:
    values = json.loads(outlines(0.75).to_json()) | change
    kept = {name: value for name, value in values.items() if value is not ...}
    with pytest.raises(ValueError, match="held-out outlines"):
        HeldOutOutlines.from_json(json.dumps(kept).encode())
