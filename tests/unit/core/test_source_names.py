import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets import check_dataset_id
from core.source_names import dataset_id_from, is_archive


@pytest.mark.parametrize(
    "name",
    [
        *("a.zip", "A.ZIP", "a.tar", "a.tar.gz", "a.TGZ", "a.TAR.GZ"),
        *("a.tar.bz2", "a.tbz2", "a.tar.xz", "a.txz", "sets/a.zip"),
    ],
)
def test_archives_are_known_by_their_suffix(name: str) -> None:
    assert is_archive(name)
    assert dataset_id_from(name.rpartition("/")[2]).lower() == "a"


@pytest.mark.parametrize(
    "name", ["zip", "a.png", "a.zip.png", "a.gz", "a.7z", "a.zip/b", "a.zip\n", ""]
)
def test_other_files_are_no_archives(name: str) -> None:
    assert not is_archive(name)


@pytest.mark.parametrize(
    ("name", "dataset_id"),
    [
        ("brains", "brains"),
        ("brains.v2.TAR.GZ", "brains.v2"),
        ("my scans (2024).zip", "my-scans-2024"),
        ("v1.2", "v1.2"),
        (".hidden", "hidden"),
        ("_é_", ""),
        ("x" * 80, "x" * 63),
    ],
)
def test_a_data_set_is_named_by_its_source(name: str, dataset_id: str) -> None:
    assert dataset_id_from(name) == dataset_id


@given(st.text())
def test_whatever_the_name_its_id_is_one(name: str) -> None:
    found = dataset_id_from(name)
    assert not found or check_dataset_id(found) == found
