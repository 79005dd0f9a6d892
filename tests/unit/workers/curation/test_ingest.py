import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from core.datasets import Dataset, DatasetItem, OnBadFile, Split, audit_page_key
from core.errors import (
    AlreadyExists,
    DatasetRefused,
    DeadlinePassed,
    InvalidArgument,
    RequestIdReused,
    StoreUnavailable,
)
from core.labels import TumourLabel
from core.messages import IngestRequest, IngestSource
from core.settings import Settings
from tests.fakes.records import a_dataset
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeUnitOfWork, FakeUnitOfWorkFactory
from workers.curation.blobs import blob_key, read_blob, read_items
from workers.curation.ingest import MAX_REJECTED, ingest

Files = dict[str, bytes]


def a_picture(number: int = 0, width: int = 20, height: int = 16) -> bytes:
    """A PNG unlike those of other numbers."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def some_pictures(folders: Iterable[str] = ("glioma", "no_tumor"), each: int = 3) -> Files:
    """Different pictures, ``each`` in every folder."""
    paths = [f"{folder}/{number}.png" for folder in folders for number in range(each)]
    return {path: a_picture(number) for number, path in enumerate(paths)}


def with_manifest(files: Files, rows: Iterable[str], folder: str = "") -> Files:
    text = "\n".join(["path,label,group,mask", *rows])
    return files | {f"{folder}manifest.csv": text.encode()}


def zipped(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return buffer.getvalue()


LOCATION: Final = "staging/1"


class World:
    """A worker over fakes, and a folder from which it may import."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FakeArtefactStore()
        self.uow_factory = FakeUnitOfWorkFactory()
        self.clock = FakeClock()
        self.settings = Settings.from_environment({}, data_dir=folder, import_roots=str(folder))

    def upload(self, files: Files, **changes: Any) -> Dataset:
        """Ingest an upload of the files; the data set as it was stored."""
        index = [{"path": path, "key": f"{LOCATION}/{n}"} for n, path in enumerate(files)]
        self.store.put(f"{LOCATION}/index.json", json.dumps(index).encode())
        for entry in index:
            self.store.put(entry["key"], files[entry["path"]])
        return self.ingest(source=IngestSource.STAGED, location=LOCATION, **changes)

    def import_folder(self, files: Files, **changes: Any) -> Dataset:
        """Ingest the files from a folder that the worker may read; the data set as stored."""
        folder = self.folder / "set"
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        uri = folder.as_uri()
        values = {"location": uri, "origin": uri} | changes
        return self.ingest(source=IngestSource.URI, **values)

    def ingest(self, **changes: Any) -> Dataset:
        values: dict[str, Any] = {
            "id": "1",
            "reply_to": "replies",
            "dataset_id": "brains",
            "origin": "upload",
            "on_bad_file": OnBadFile.REFUSE,
            "request_id": None,
            "caller": "ann",
        }
        dataset_id = ingest(
            IngestRequest(**values | changes),
            store=self.store,
            uow_factory=self.uow_factory,
            clock=self.clock,
            settings=self.settings,
        )
        return self.uow_factory.state.datasets[dataset_id]

    def refusal(self, files: Files, **changes: Any) -> DatasetRefused:
        with pytest.raises(DatasetRefused) as caught:
            self.upload(files, **changes)
        self.check_nothing_is_visible()
        return caught.value

    def check_nothing_is_visible(self) -> None:
        assert self.uow_factory.state.datasets == {}
        assert self.store.list("datasets") == ()
        assert self.store.list("staging") == ()

    def items(self, dataset: Dataset) -> dict[str, DatasetItem]:
        return {item.path: item for item in read_items(self.store, dataset.digest)}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def problems(error: DatasetRefused | Dataset) -> dict[str, str]:
    return {file.path: file.problem for file in error.rejected}


# --- what is stored -----------------------------------------------------------------------------


def test_a_data_set_is_stored_with_what_is_known_of_it(world: World) -> None:
    files = some_pictures(["glioma_tumor", "notumor"], each=4)
    request_id = str(uuid4())
    dataset = world.upload(files, request_id=request_id)
    assert replace(dataset, audit=None) == Dataset(
        id="brains",
        create_time=world.clock.now(),
        request_id=request_id,
        caller="ann",
        source="upload",
        digest=dataset.digest,
        item_count=8,
        size_bytes=sum(map(len, files.values())),
        class_counts={TumourLabel.GLIOMA: 4, TumourLabel.NO_TUMOR: 4},
        group_count=0,
        mask_count=0,
        has_given_split=False,
        duplicate_count=0,
    )


def test_every_item_leads_to_its_picture(world: World) -> None:
    files = some_pictures()
    items = world.items(world.upload(files))
    assert items.keys() == files.keys()
    for path, item in items.items():
        assert read_blob(world.store, item.sha256) == files[path]
        assert (item.width, item.height, item.size_bytes) == (20, 16, len(files[path]))


def test_the_same_picture_is_stored_once(world: World) -> None:
    files = some_pictures() | {"glioma/again.png": a_picture(0)}
    dataset = world.upload(files)
    assert (dataset.item_count, dataset.duplicate_count) == (7, 1)
    assert len(world.store.list("blobs")) == 6


def test_equal_data_sets_share_their_digest_and_their_pictures(world: World) -> None:
    first = world.upload(some_pictures())
    stored = world.store.list("blobs")
    second = world.upload(some_pictures(), dataset_id="copy")
    assert (second.id, second.digest) == ("copy", first.digest)
    assert world.store.list("blobs") == stored


@pytest.mark.parametrize("top", ["", "brains/", "brains/v1/"])
def test_folders_that_all_share_do_not_count(world: World, top: str) -> None:
    plain = some_pictures()
    dataset = world.upload({f"{top}{path}": data for path, data in plain.items()})
    assert world.items(dataset).keys() == plain.keys()


def test_training_and_testing_folders_are_kept(world: World) -> None:
    folders = [f"{part}/{label}" for part in ("Training", "Testing") for label in ("me", "no")]
    dataset = world.upload(some_pictures(folders))
    assert dataset.has_given_split
    splits = {path.split("/")[0]: item.split for path, item in world.items(dataset).items()}
    assert splits == {"Training": Split.TRAIN, "Testing": Split.TEST}


def test_a_training_folder_alone_is_no_given_split(world: World) -> None:
    dataset = world.upload(some_pictures(["Training/glioma", "Training/healthy"]))
    assert not dataset.has_given_split


def test_other_files_are_passed_over(world: World) -> None:
    dataset = world.upload(some_pictures() | {"readme.txt": b"hello", "glioma/notes.md": b"x"})
    assert (dataset.item_count, dataset.rejected) == (6, ())


def test_a_folder_on_the_server_is_taken_in(world: World, tmp_path: Path) -> None:
    dataset = world.import_folder(some_pictures())
    assert (dataset.item_count, dataset.source) == (6, (tmp_path / "set").as_uri())
    assert len(list((tmp_path / "set").rglob("*.png"))) == 6


def test_a_uri_that_may_not_be_read_is_refused(world: World) -> None:
    with pytest.raises(InvalidArgument):
        world.ingest(source=IngestSource.URI, location="file:///etc")
    world.check_nothing_is_visible()


# --- the manifest -------------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["", "set/"])
def test_a_manifest_is_read_wherever_it_lies(world: World, top: str) -> None:
    files = {f"{n}.png": a_picture(n) for n in range(6)} | {"mask.png": a_mask()}
    rows = [f"{n}.png,{'glioma' if n < 3 else 'healthy'},patient {n // 2}," for n in range(6)]
    rows[0] += "mask.png"
    placed = {f"{top}{path}": data for path, data in files.items()}
    dataset = world.upload(with_manifest(placed, rows, folder=top))
    assert (dataset.item_count, dataset.group_count, dataset.mask_count) == (6, 3, 1)
    item = world.items(dataset)["0.png"]
    assert (item.label, item.group) == (TumourLabel.GLIOMA, "patient 0")
    assert item.mask_sha256 == sha256(files["mask.png"]).hexdigest()


@pytest.mark.parametrize("name", ["Manifest.csv", "MANIFEST.CSV"])
@pytest.mark.parametrize("how", ["upload", "archive", "import"])
def test_capitals_in_a_manifests_name_make_no_difference(world: World, how: str, name: str) -> None:
    files = {f"{n}.png": a_picture(n) for n in range(6)} | {"mask.png": a_mask()}
    rows = [f"{n}.png,{'glioma' if n < 3 else 'healthy'},patient {n // 2}," for n in range(6)]
    rows[0] += "mask.png"
    files[name] = with_manifest({}, rows)["manifest.csv"]
    placed = {f"set/{path}": data for path, data in files.items()}
    match how:
        case "upload":
            dataset = world.upload(placed)
        case "archive":
            dataset = world.upload({"set.zip": zipped(placed)})
        case _:
            dataset = world.import_folder(placed)
    assert (dataset.item_count, dataset.group_count, dataset.mask_count) == (6, 3, 1)


def rows_for(files: Files, mask: str = "") -> list[str]:
    """A row for each file, the first with a mask."""
    rows = [f"{path},{path.split('/')[0]},," for path in files]
    return [rows[0] + mask, *rows[1:]]


def test_a_mask_of_another_size_is_refused(world: World) -> None:
    files = some_pictures()
    rows = rows_for(files, mask="mask.png")
    error = world.refusal(with_manifest(files | {"mask.png": a_picture(9, width=32)}, rows))
    assert problems(error) == {
        "glioma/0.png": "its mask mask.png has 32 x 16 pixels, the picture 20 x 16"
    }


def test_a_broken_mask_is_refused(world: World) -> None:
    files = some_pictures()
    rows = rows_for(files, mask="mask.png")
    error = world.refusal(with_manifest(files | {"mask.png": b"broken"}, rows))
    assert problems(error)["glioma/0.png"].startswith("its mask mask.png: ")


def a_mask(background: object = 0, mark: object = 255, mode: str = "L", kind: str = "PNG") -> bytes:
    """A mask of the size of :func:`a_picture`."""
    picture = Image.new(mode, (20, 16), background)  # type: ignore[arg-type]
    picture.paste(mark, (5, 5, 9, 9))  # type: ignore[arg-type]
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "mask",
    [
        a_mask(),
        a_mask(mark=1),
        a_mask(mark=1, mode="1"),
        a_mask((0, 0, 0), (255, 0, 0), "RGB"),
        a_mask((0, 0, 0, 0), (0, 255, 0, 255), "RGBA"),
        a_mask(0, 3000, "I;16"),
        a_mask(kind="JPEG"),
    ],
    ids=["grey", "faint", "1 bit", "colour", "transparent", "16 bit", "JPEG"],
)
def test_whatever_is_not_black_marks_the_tumour(world: World, mask: bytes) -> None:
    files = some_pictures()
    dataset = world.upload(with_manifest(files | {"m.png": mask}, rows_for(files, mask="m.png")))
    assert (dataset.mask_count, dataset.rejected) == (1, ())


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (a_mask(mark=0), "is black all over and marks no tumour, but its label is glioma"),
        (a_mask(255, 255), "is nowhere black, so it marks the whole picture"),
        (a_mask((0, 0, 255), (255, 0, 0), "RGB"), "is nowhere black, so it marks the whole"),
        (a_picture(0), "is the picture itself"),
    ],
    ids=["black", "white", "coloured background", "the picture"],
)
def test_a_mask_that_marks_no_place_is_refused(world: World, mask: bytes, problem: str) -> None:
    files = some_pictures(each=4)
    placed = with_manifest(files | {"m.png": mask}, rows_for(files, mask="m.png"))
    error = world.refusal(placed)
    assert problems(error).keys() == {"glioma/0.png"}
    assert problems(error)["glioma/0.png"].startswith(f"its mask m.png {problem}")
    dataset = world.upload(placed, on_bad_file=OnBadFile.SKIP)
    assert (dataset.item_count, dataset.mask_count) == (7, 0)
    assert problems(dataset) == problems(error)


@pytest.mark.parametrize("mark", [0, 255])
def test_a_mask_of_a_slice_without_a_tumour_marks_nothing(world: World, mark: int) -> None:
    files = some_pictures(["no_tumor", "glioma"])
    placed = with_manifest(files | {"m.png": a_mask(mark=mark)}, rows_for(files, mask="m.png"))
    if not mark:
        assert world.upload(placed).mask_count == 0
    else:
        said = "its mask m.png marks a tumour, but its label is no_tumor"
        assert problems(world.refusal(placed)) == {"no_tumor/0.png": said}


def test_a_mask_that_is_not_there_is_refused(world: World) -> None:
    files = some_pictures()
    error = world.refusal(with_manifest(files, rows_for(files, mask="m.png")))
    assert problems(error) == {"glioma/0.png": "its mask m.png is not there"}


def test_a_mask_whose_picture_is_not_there_is_refused(world: World) -> None:
    files = some_pictures(each=4)
    rows = rows_for(files, mask="m.png")
    del files["glioma/0.png"]
    error = world.refusal(with_manifest(files | {"m.png": a_mask()}, rows))
    assert problems(error) == {"glioma/0.png": "manifest.csv names it, but it is not there"}


def test_a_broken_picture_that_no_row_names_does_no_harm(world: World) -> None:
    files = some_pictures()
    dataset = world.upload(with_manifest(files | {"glioma/broken.png": b"x"}, rows_for(files)))
    assert (dataset.item_count, dataset.rejected) == (6, ())


def test_two_manifests_are_one_too_many(world: World) -> None:
    files = with_manifest(with_manifest(some_pictures(), []), [], folder="glioma/")
    assert "more than one manifest.csv" in world.refusal(files).message


def test_two_manifests_whose_names_differ_in_capitals_are_one_too_many(world: World) -> None:
    files = with_manifest(some_pictures(), [])
    files["Manifest.csv"] = files["manifest.csv"]
    assert world.refusal(files).message == (
        "There is more than one manifest.csv: Manifest.csv, manifest.csv. Keep one; capitals make "
        "no difference."
    )


def test_a_manifest_that_is_no_table_is_refused(world: World) -> None:
    assert "no column" in world.refusal(some_pictures() | {"manifest.csv": b"hello"}).message


# --- bad files ----------------------------------------------------------------------------------


BAD: Final[dict[str, bytes]] = {
    "glioma/empty.png": b"",
    "glioma/text.jpg": b"not a picture",
    "glioma/short.png": a_picture(50)[:-60],
    "glioma/tiny.png": a_picture(51, width=4),
    "glioma/scan.dcm": b"DICM" * 50,
    "elsewhere/1.png": a_picture(52),
}


@pytest.mark.parametrize("path", BAD)
def test_a_bad_file_is_named_and_the_data_set_refused(world: World, path: str) -> None:
    error = world.refusal(some_pictures() | {path: BAD[path]})
    assert list(problems(error)) == [path]
    assert problems(error)[path] in error.message
    assert error.message.startswith("1 of its files cannot be used")


def test_what_nobody_waits_for_any_more_is_not_taken_in(world: World) -> None:
    files = some_pictures(["glioma_tumor", "notumor"], each=4)
    now = world.clock.now().timestamp()
    with pytest.raises(DeadlinePassed):
        world.upload(files, take_up_by=now - 1)
    world.check_nothing_is_visible()
    assert world.upload(files, take_up_by=now + 1).item_count == 8


def test_bad_files_are_skipped_on_request(world: World) -> None:
    dataset = world.upload(some_pictures() | BAD, on_bad_file=OnBadFile.SKIP)
    assert dataset.item_count == 6
    assert problems(dataset).keys() == BAD.keys()
    assert world.items(dataset).keys() == some_pictures().keys()


def test_skipping_does_not_change_what_the_rest_is(world: World) -> None:
    clean = world.upload(some_pictures())
    mended = world.upload(some_pictures() | BAD, dataset_id="b", on_bad_file=OnBadFile.SKIP)
    assert mended.digest == clean.digest


def test_a_picture_above_the_limits_is_a_bad_file(world: World, tmp_path: Path) -> None:
    world.settings = Settings.from_environment({}, data_dir=tmp_path, max_image_pixels=1000)
    error = world.refusal(some_pictures() | {"glioma/large.png": a_picture(9, width=80)})
    assert list(problems(error)) == ["glioma/large.png"]


def test_of_very_many_bad_files_some_are_named(world: World) -> None:
    broken = {f"glioma/broken {n}.png": b"x" for n in range(MAX_REJECTED + 5)}
    error = world.refusal(some_pictures() | broken)
    assert (len(error.rejected), error.more) == (MAX_REJECTED, 5)
    assert error.message.endswith(f"(and {MAX_REJECTED} more)")
    assert error.message.startswith(f"{MAX_REJECTED + 5} of its files")
    dataset = world.upload(some_pictures() | broken, on_bad_file=OnBadFile.SKIP)
    assert (len(dataset.rejected), dataset.rejected_count) == (MAX_REJECTED, MAX_REJECTED + 5)
    assert dataset.audit is not None
    key = audit_page_key(dataset.digest, dataset.audit.page_sha256)
    assert "<p>And 5 more.</p>" in world.store.get(key).decode()


def test_bad_files_are_counted_whatever_the_data_set_is_refused_for(world: World) -> None:
    broken = {f"glioma/broken {n}.png": b"x" for n in range(MAX_REJECTED + 5)}
    error = world.refusal(some_pictures(["glioma"]) | broken, on_bad_file=OnBadFile.SKIP)
    assert "only the class" in error.message
    assert (len(error.rejected), error.more) == (MAX_REJECTED, 5)


def test_a_picture_with_two_labels_is_refused(world: World) -> None:
    files = some_pictures() | {"no_tumor/twin.png": a_picture(0)}
    assert problems(world.refusal(files)) == {
        "glioma/0.png": "the same picture is labelled glioma and no_tumor",
        "no_tumor/twin.png": "the same picture is labelled glioma and no_tumor",
    }


def test_skipping_leaves_out_every_copy_of_a_picture_with_two_labels(world: World) -> None:
    files = some_pictures(each=4) | {"no_tumor/twin.png": a_picture(0)}
    dataset = world.upload(files, on_bad_file=OnBadFile.SKIP)
    assert dataset.class_counts == {TumourLabel.GLIOMA: 3, TumourLabel.NO_TUMOR: 4}
    assert world.items(dataset).keys().isdisjoint(problems(dataset))


# --- too little ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files", [{"notes.txt": b"hello"}, with_manifest(some_pictures(), [])], ids=["text", "no rows"]
)
def test_a_data_set_without_slices_is_refused(world: World, files: Files) -> None:
    assert "no labelled picture" in world.refusal(files).message


def test_one_class_alone_is_refused(world: World) -> None:
    error = world.refusal(some_pictures(["glioma", "Glioma_Tumor"]))
    assert error.message == "It has only the class glioma; at least two are needed"


@pytest.mark.parametrize(("count", "said"), [(1, "1 picture;"), (2, "2 pictures;")])
def test_a_class_with_too_few_pictures_is_refused(world: World, count: int, said: str) -> None:
    files = some_pictures(["glioma", "me", "no"])
    for number in range(count, 3):
        del files[f"no/{number}.png"]
    error = world.refusal(files)
    assert error.message.startswith(f"The class no_tumor has {said}")


def test_skipping_may_leave_too_little(world: World) -> None:
    files = some_pictures() | {"glioma/0.png": b"broken"}
    error = world.refusal(files, on_bad_file=OnBadFile.SKIP)
    assert error.message.startswith("The class glioma has 2 pictures")
    assert list(problems(error)) == ["glioma/0.png"]


def test_a_data_set_of_which_nothing_can_be_read_is_refused_by_what_is_wrong(world: World) -> None:
    files = dict.fromkeys(some_pictures(), b"not a picture")
    error = world.refusal(files, on_bad_file=OnBadFile.SKIP)
    assert error.message.startswith("None of its 6 labelled pictures can be used. Mend them")
    assert "glioma/0.png: The bytes are not a picture" in error.message
    assert problems(error).keys() == files.keys()
    error = world.refusal(files)
    assert error.message.startswith("6 of its files cannot be used")


# --- all or nothing -----------------------------------------------------------------------------


class FullStore(FakeArtefactStore):
    """Has no room for keys that begin with ``full``."""

    full = "nothing/"

    def put(self, key: str, data: bytes) -> None:
        if key.startswith(self.full):
            raise StoreUnavailable("artefact store")
        super().put(key, data)


@pytest.mark.parametrize("full", ["datasets/", blob_key(sha256(a_picture(4)).hexdigest())])
def test_a_store_that_fills_up_leaves_nothing_visible(world: World, full: str) -> None:
    world.store = store = FullStore()
    store.full = full
    with pytest.raises(StoreUnavailable):
        world.upload(some_pictures())
    world.check_nothing_is_visible()
    store.full = "nothing/"
    assert world.upload(some_pictures()).item_count == 6


def test_the_staged_files_go_when_the_data_set_is_stored(world: World) -> None:
    world.upload(some_pictures())
    assert world.store.list("staging") == ()


# --- names and repeated requests ----------------------------------------------------------------


def test_a_name_is_given_once(world: World) -> None:
    first = world.upload(some_pictures())
    with pytest.raises(AlreadyExists):
        world.upload(some_pictures(each=4))
    assert world.uow_factory.state.datasets == {"brains": first}
    assert world.store.list("staging") == ()


def test_a_repeated_request_gives_the_first_data_set(world: World) -> None:
    request_id = str(uuid4())
    first = world.upload(some_pictures(), request_id=request_id)
    # Redelivered: the staged files are gone by now.
    again = world.ingest(source=IngestSource.STAGED, location=LOCATION, request_id=request_id)
    assert again == first


def test_a_request_id_serves_one_data_set_of_its_caller(world: World) -> None:
    request_id = str(uuid4())
    world.upload(some_pictures(), request_id=request_id)
    with pytest.raises(RequestIdReused):
        world.upload(some_pictures(), dataset_id="other", request_id=request_id)
    theirs = world.upload(some_pictures(), dataset_id="other", request_id=request_id, caller="bob")
    assert theirs.caller == "bob"


def test_a_request_id_serves_one_source(world: World) -> None:
    request_id = str(uuid4())
    first = world.import_folder(some_pictures(), request_id=request_id)
    assert world.import_folder(some_pictures(), request_id=request_id) == first
    with pytest.raises(RequestIdReused):
        world.import_folder(some_pictures(), request_id=request_id, origin="file:///elsewhere")
    with pytest.raises(RequestIdReused):
        world.upload(some_pictures(), request_id=request_id)


def test_a_name_that_is_taken_meanwhile_is_refused(world: World) -> None:
    world.uow_factory.rival = lambda uow: uow.datasets.add(a_dataset("brains", caller="bob"))
    with pytest.raises(AlreadyExists):
        world.upload(some_pictures())


def test_the_same_request_that_was_faster_has_the_answer(world: World) -> None:
    request_id = str(uuid4())
    faster = a_dataset("brains", request_id=request_id, source="upload")

    def store_it(uow: FakeUnitOfWork) -> None:
        uow.datasets.add(faster)
        uow.commit()

    world.uow_factory.rival = store_it
    assert world.upload(some_pictures(), request_id=request_id) == faster


def test_what_lies_outside_the_manifests_folder_is_no_part_of_the_set(world: World) -> None:
    files = some_pictures()
    inside = with_manifest({f"data/{path}": data for path, data in files.items()}, rows_for(files))
    text = inside.pop("manifest.csv")
    outside = {path: a_picture(100 + number) for number, path in enumerate(files)}
    dataset = world.upload(inside | outside | {"data/manifest.csv": text})
    found = {path: item.sha256 for path, item in world.items(dataset).items()}
    assert found == {path: sha256(data).hexdigest() for path, data in files.items()}
    assert dataset.audit is not None
    assert (dataset.audit.unnamed_count, dataset.audit.unnamed_example) == (6, "glioma/0.png")


def test_pictures_that_the_manifest_passes_over_are_told(world: World) -> None:
    files = some_pictures(each=5)
    rows = rows_for({path: data for path, data in files.items() if path < "no_tumor/3"})
    dataset = world.upload(with_manifest(files | {"glioma/x.jpg": b"broken"}, rows))
    assert dataset.item_count == 8
    assert dataset.audit is not None
    (told,) = (text for text in dataset.audit.warnings if "manifest.csv does not name" in text)
    assert told.startswith("3 pictures were left out, because manifest.csv does not name them: ")
    assert "glioma/x.jpg and others" in told


def test_a_manifest_that_names_everything_is_no_warning(world: World) -> None:
    files = some_pictures()
    for placed in (files, with_manifest(files, rows_for(files))):
        audit = world.upload(placed, dataset_id=f"d{len(placed)}").audit
        assert audit is not None
        assert not [text for text in audit.warnings if "does not name" in text]


def test_a_staging_folder_that_stays_behind_spoils_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(prefix: str) -> None:
        raise StoreUnavailable("artefact store")

    monkeypatch.setattr(world.store, "delete", away)
    assert world.upload(some_pictures()).id == "brains"
