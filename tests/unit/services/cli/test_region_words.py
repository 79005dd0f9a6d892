"""What was outlined, in words."""

import pytest

from services.cli.output import Row
from services.cli.region_words import regions_in_words

ONE: Row = {"area_px": 7000, "area_mm2": None}
MEASURED: Row = {"area_px": 341, "area_mm2": 85.4}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"regions": [], "segmenter_version": None}, ""),
        ({"regions": [], "segmenter_version": "modelVersions/s"}, "nothing"),
        ({"regions": [ONE]}, "1 region, 7000 px"),
        ({"regions": [ONE, MEASURED]}, "2 regions, 7341 px"),
        ({"regions": [MEASURED, MEASURED]}, "2 regions, 682 px (171 mm2)"),
    ],
)
def test_regions_in_words(row: Row, words: str) -> None:
    assert regions_in_words(row) == words
