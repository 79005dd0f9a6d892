"""Several data sets as one folder."""

import csv
from pathlib import Path

from core.manifest import MANIFEST
from workers.curation.gather import gather


def a_source(folder: Path, *rows: tuple[str, str, str]) -> Path:
    for path, _, _ in rows:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())
    with (folder / MANIFEST).open("w", newline="") as manifest:
        writer = csv.writer(manifest)
        writer.writerows([("path", "label", "group"), *rows])
    return folder


def test_each_source_becomes_a_part_of_the_folder(tmp_path: Path) -> None:
    first = a_source(tmp_path / "first", ("a/1.png", "glioma", "p1"))
    second = a_source(tmp_path / "second", ("1.png", "no_tumor", "p1"), ("2.png", "glioma", ""))
    gather([first, second], tmp_path / "all")
    with (tmp_path / "all" / MANIFEST).open(newline="") as manifest:
        rows = [tuple(row.values()) for row in csv.DictReader(manifest)]
    assert rows == [
        ("first/a/1.png", "glioma", "p1", ""),
        ("second/1.png", "no_tumor", "p1", ""),
        ("second/2.png", "glioma", "", ""),
    ]
    assert (tmp_path / "all/first/a/1.png").read_bytes() == b"a/1.png"
    assert (tmp_path / "all/second/2.png").read_bytes() == b"2.png"


def test_the_sources_stay_as_they_were(tmp_path: Path) -> None:
    source = a_source(tmp_path / "first", ("1.png", "glioma", "p1"))
    gather([source], tmp_path / "all")
    assert sorted(p.name for p in source.iterdir()) == ["1.png", MANIFEST]


def test_masks_come_along(tmp_path: Path) -> None:
    source = tmp_path / "first"
    a_source(source, ("1.png", "glioma", "p1"))
    (source / "m").mkdir()
    (source / "m" / "1.png").write_bytes(b"mask")
    (source / MANIFEST).write_text("path,mask,label,group\n1.png,m/1.png,glioma,p1\n")
    gather([source], tmp_path / "all")
    with (tmp_path / "all" / MANIFEST).open(newline="") as manifest:
        (row,) = csv.DictReader(manifest)
    assert row["mask"] == "first/m/1.png"
    assert (tmp_path / "all" / row["mask"]).read_bytes() == b"mask"


def test_a_run_that_was_stopped_is_done_again(tmp_path: Path) -> None:
    source = a_source(tmp_path / "first", ("1.png", "glioma", "p1"), ("2.png", "glioma", "p2"))
    (tmp_path / "all" / "first").mkdir(parents=True)
    (tmp_path / "all" / "first" / "1.png").write_bytes(b"1.png")
    gather([source], tmp_path / "all")
    assert (tmp_path / "all/first/2.png").read_bytes() == b"2.png"
    assert sorted(p.name for p in (tmp_path / "all").iterdir()) == ["first", MANIFEST]


def test_what_was_gathered_stays_as_it_is(tmp_path: Path) -> None:
    source = a_source(tmp_path / "first", ("1.png", "glioma", "p1"))
    gather([source], tmp_path / "all")
    before = (tmp_path / "all" / MANIFEST).read_bytes()
    a_source(tmp_path / "first", ("3.png", "glioma", "p3"))
    gather([source], tmp_path / "all")
    assert (tmp_path / "all" / MANIFEST).read_bytes() == before
