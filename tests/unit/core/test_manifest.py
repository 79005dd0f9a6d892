"""What a manifest says by itself; the rest is in the tests of what is made of it."""

import pytest

from core.errors import DatasetRefused
from core.manifest import manifest_rows, plain_path, unnamed


def test_columns_are_known_however_they_are_written() -> None:
    (row,) = manifest_rows("\N{BYTE ORDER MARK} Path,LABEL\r\na.png,glioma\r\n".encode())
    assert row == {"path": "a.png", "label": "glioma"}


def test_what_is_no_manifest_is_refused() -> None:
    with pytest.raises(DatasetRefused, match="no column path"):
        manifest_rows(b"file,label\n")


def test_paths_are_compared_as_the_files_have_them() -> None:
    assert plain_path(" .\\a\\b.png ") == "a/b.png"
    rows = manifest_rows(b"path,label,mask\n./a.png,glioma,m\\a.png\n")
    assert unnamed(["z.png", "m/a.png", "a.png", "b.png"], rows) == ["z.png", "b.png"]
