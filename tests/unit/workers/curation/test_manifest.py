from typing import Final

import pytest

from core.datasets import Split
from core.errors import DatasetRefused
from core.labels import TumourLabel
from workers.curation.manifest import Described, Description, describe, strip_common_folder

PATHS: Final = ("a.png", "b.png", "masks/a.png")


def rejected(description: Description) -> dict[str, str]:
    return {file.path: file.problem for file in description.rejected}


def by_manifest(*lines: str) -> Description:
    return describe(PATHS, "\n".join(lines).encode())


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("glioma", TumourLabel.GLIOMA),
        ("glioma_tumor", TumourLabel.GLIOMA),
        ("Glioma Tumour", TumourLabel.GLIOMA),
        ("meningioma", TumourLabel.MENINGIOMA),
        ("MENINGIOMA-TUMOR", TumourLabel.MENINGIOMA),
        ("pituitary", TumourLabel.PITUITARY),
        ("pituitary_tumor", TumourLabel.PITUITARY),
        ("no_tumor", TumourLabel.NO_TUMOR),
        ("notumor", TumourLabel.NO_TUMOR),
        ("no tumors", TumourLabel.NO_TUMOR),
        ("Healthy", TumourLabel.NO_TUMOR),
    ],
)
def test_the_folder_names_the_class_however_it_is_spelt(folder: str, label: TumourLabel) -> None:
    description = describe([f"{folder}/1.png"], None)
    assert description == Description(slices=(Described(path=f"{folder}/1.png", label=label),))


def test_the_nearest_folder_that_names_a_class_counts() -> None:
    (found,) = describe(["healthy/glioma/axial/1.png"], None).slices
    assert found.label is TumourLabel.GLIOMA


@pytest.mark.parametrize("path", ["1.png", "brains/1.png", "glioblastoma/1.png", "tumor/1.png"])
def test_a_picture_in_no_known_folder_is_named(path: str) -> None:
    description = describe([path], None)
    assert description.slices == ()
    assert rejected(description) == {path: "no folder above it names a known class"}


def test_a_file_name_is_no_class() -> None:
    assert "scans/glioma" not in rejected(describe(["scans/glioma"], None))
    assert describe(["scans/glioma.png"], None).slices == ()


def test_only_pictures_count() -> None:
    paths = ["glioma/1.PNG", "glioma/2.jpeg", "glioma/notes.txt", "glioma/3", "readme.md"]
    description = describe(paths, None)
    assert [found.path for found in description.slices] == ["glioma/1.PNG", "glioma/2.jpeg"]
    assert description.rejected == ()


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("Training/glioma/1.png", Split.TRAIN),
        ("train/glioma/1.png", Split.TRAIN),
        ("Testing/glioma/1.png", Split.TEST),
        ("glioma/TEST/1.png", Split.TEST),
        ("glioma/1.png", None),
        ("glioma/test.png", None),
    ],
)
def test_folders_tell_the_split(path: str, split: Split | None) -> None:
    (found,) = describe([path], None).slices
    assert (found.label, found.split) == (TumourLabel.GLIOMA, split)


def test_a_manifest_tells_label_group_and_mask() -> None:
    description = by_manifest(
        "path,label,group,mask",
        "a.png,glioma_tumor,patient 1,masks/a.png",
        "b.png,healthy,,",
    )
    assert description == Description(
        slices=(
            Described(
                path="a.png", label=TumourLabel.GLIOMA, group="patient 1", mask="masks/a.png"
            ),
            Described(path="b.png", label=TumourLabel.NO_TUMOR),
        )
    )


def test_a_manifest_outranks_folders_and_keeps_their_split() -> None:
    description = describe(["Testing/glioma/1.png"], b"path,label\nTesting/glioma/1.png,healthy")
    (found,) = description.slices
    assert (found.label, found.split) == (TumourLabel.NO_TUMOR, Split.TEST)


def test_what_a_manifest_does_not_name_is_no_slice_and_is_told() -> None:
    found = by_manifest("path,label", "b.png,me")
    assert [described.path for described in found.slices] == ["b.png"]
    assert found.unnamed == ("a.png", "masks/a.png")


def test_masks_and_slices_that_cannot_be_used_are_named_too() -> None:
    rows = ("./a.png,glioma,masks\\a.png", "b.png,lymphoma,")
    assert by_manifest("path,label,mask", *rows).unnamed == ()


@pytest.mark.parametrize(
    "text",
    [
        "\N{BYTE ORDER MARK}path,label\r\na.png,glioma\r\n",
        "Label , PATH\n glioma , a.png \n",
        "path,label,group,mask\na.png,glioma\n",
        "path,label\na.png,glioma,too,many\n",
        'path,label\n"a.png","glioma"\n\n',
        "path,label\n./a.png,glioma\n",
        "path,scanner,label\na.png,3T,glioma\n",
    ],
    ids=["Excel", "columns", "short row", "long row", "quotes", "dot", "more columns"],
)
def test_a_manifest_may_be_written_in_many_ways(text: str) -> None:
    expected = Description(
        slices=(Described(path="a.png", label=TumourLabel.GLIOMA),),
        unnamed=("b.png", "masks/a.png"),
    )
    assert describe(PATHS, text.encode()) == expected


def test_backslashes_in_a_path_mean_folders() -> None:
    assert describe(["scans/a.png"], b"path,label\nscans\\a.png,glioma").rejected == ()


@pytest.mark.parametrize(
    ("row", "path", "problem"),
    [
        ("z.png,glioma,,", "z.png", "manifest.csv names it, but it is not there"),
        ("../a.png,glioma,,", "../a.png", "manifest.csv names it, but it is not there"),
        ("a.png,lymphoma,,", "a.png", "manifest.csv gives it the unknown label 'lymphoma'"),
        ("a.png,,,", "a.png", "manifest.csv gives it the unknown label ''"),
        ("a.png,glioma,,masks/z.png", "a.png", "its mask masks/z.png is not there"),
        (",glioma,,", "manifest.csv", "a row names no path"),
        (
            ",glioma,,masks/a.png",
            "manifest.csv",
            "a row names no path, only the mask masks/a.png",
        ),
    ],
)
def test_a_bad_row_is_named_and_the_others_stay(row: str, path: str, problem: str) -> None:
    description = by_manifest("path,label,group,mask", row, "b.png,healthy,,")
    assert rejected(description) == {path: problem}
    assert [found.path for found in description.slices] == ["b.png"]


def test_a_file_that_is_named_twice_counts_once() -> None:
    description = by_manifest("path,label", "a.png,glioma", "./a.png,healthy")
    assert rejected(description) == {"a.png": "manifest.csv names it twice"}
    assert [found.label for found in description.slices] == [TumourLabel.GLIOMA]


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        (b"", "no column label and no column path"),
        (b"path;label\na.png;glioma", "no column label and no column path"),
        (b"path,class\na.png,glioma", "no column label"),
        (b"file,label\na.png,glioma", "no column path"),
        ("path,label\nä.png,glioma".encode("latin-1"), "not a UTF-8 CSV file"),
        (b"path,label\n" + b"x" * 200_000, "not a UTF-8 CSV file"),
    ],
    ids=["empty", "semicolons", "no label", "no path", "latin-1", "endless field"],
)
def test_a_manifest_that_cannot_be_read_is_refused(manifest: bytes, problem: str) -> None:
    with pytest.raises(DatasetRefused, match=problem):
        describe(PATHS, manifest)


def test_a_manifest_without_rows_describes_nothing() -> None:
    assert by_manifest("path,label") == Description(slices=(), unnamed=PATHS)


@pytest.mark.parametrize(
    ("paths", "count"),
    [
        ([], 0),
        (["1.png"], 0),
        (["brains/1.png"], 1),
        (["brains/v2/glioma/1.png", "brains/v2/healthy/1.png"], 2),
        (["brains/glioma/1.png", "other/glioma/1.png"], 0),
        (["brains/glioma/1.png", "brains/readme.png"], 1),
        (["glioma/1.png", "glioma/2.png"], 0),
        (["brains/Training/glioma/1.png", "brains/Training/healthy/1.png"], 1),
    ],
)
def test_shared_folders_count_until_one_that_means_something(paths: list[str], count: int) -> None:
    assert strip_common_folder(paths) == count


@pytest.mark.parametrize("mask", ["masks/a.png", "masks\\a.png", "./masks/a.png"])
def test_a_mask_is_spelt_as_freely_as_a_picture(mask: str) -> None:
    found = describe(["a.png", "masks/a.png"], f"path,label,mask\na.png,glioma,{mask}".encode())
    assert [described.mask for described in found.slices] == ["masks/a.png"]


@pytest.mark.parametrize(
    "path",
    ["glioma/masks/1.png", "Masks/glioma/1.png", "glioma/1_mask.png", "glioma/a (1)-Mask_2.png"],
)
def test_a_mask_without_a_manifest_is_no_slice(path: str) -> None:
    description = describe([path, "glioma/1.png"], None)
    assert [found.path for found in description.slices] == ["glioma/1.png"]
    assert rejected(description) == {
        path: "by its name it is a mask, no slice; name it in the column mask of manifest.csv or "
        "remove it"
    }


@pytest.mark.parametrize("path", ["glioma/unmasked.png", "glioma/mask.png", "no mask/glioma/1.png"])
def test_not_every_name_with_a_mask_in_it_is_one(path: str) -> None:
    assert [found.path for found in describe([path], None).slices] == [path]


def test_a_manifest_may_call_a_slice_what_it_likes() -> None:
    assert describe(["masks/1_mask.png"], b"path,label\nmasks/1_mask.png,glioma").rejected == ()


def test_a_mask_is_no_slice_too() -> None:
    description = by_manifest(
        "path,label,mask", "a.png,glioma,masks/a.png", "masks/a.png,glioma,", "b.png,healthy,"
    )
    assert rejected(description) == {
        "masks/a.png": "manifest.csv names it as a slice and as the mask of another"
    }
    assert [found.path for found in description.slices] == ["a.png", "b.png"]
