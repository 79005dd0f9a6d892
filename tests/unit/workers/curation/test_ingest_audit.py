"""A data set comes in whole and audited, or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.datasets import Dataset, MaskAudit, OnBadFile, audit_page_key
from core.errors import DatasetRefused
from core.messages import IngestRequest, IngestSource
from core.settings import Settings
from tests.fakes.slices import a_head, jpeg, png
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeUnitOfWorkFactory
from workers.curation.blobs import read_items
from workers.curation.ingest import ingest


class Worker:
    """Takes in folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FakeArtefactStore()
        self.uow_factory = FakeUnitOfWorkFactory()

    def take(
        self, files: Mapping[str, bytes], name: str = "brains", on_bad: OnBadFile = OnBadFile.REFUSE
    ) -> Dataset:
        for path, data in files.items():
            target = self.folder / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        request = IngestRequest(
            id="1",
            reply_to="",
            dataset_id=name,
            source=IngestSource.URI,
            location=(self.folder / name).as_uri(),
            origin="here",
            on_bad_file=on_bad,
            request_id=None,
            caller="ann",
        )
        settings = Settings.from_environment(
            {}, data_dir=self.folder, import_roots=str(self.folder)
        )
        outside: dict[str, Any] = {"uow_factory": self.uow_factory, "clock": FakeClock()}
        ingest(request, store=self.store, settings=settings, **outside)
        return self.uow_factory.state.datasets[name]

    def page(self, dataset: Dataset) -> str:
        assert dataset.audit is not None
        key = audit_page_key(dataset.digest, dataset.audit.page_sha256)
        return self.store.get(key).decode()


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


def clean() -> dict[str, bytes]:
    names = ("glioma", "pituitary")
    return {f"{names[seed % 2]}/{seed}.png": png(a_head(seed)) for seed in range(8)}


def test_every_data_set_is_audited_at_arrival(worker: Worker) -> None:
    copy = {"pituitary/<b>copy.jpg": jpeg(a_head(0))}
    dataset = worker.take({**clean(), **copy})
    audit = dataset.audit
    assert audit is not None
    assert (audit.near_duplicate_pair_count, audit.contradictory_pair_count) == (1, 1)
    items = {item.path: item for item in read_items(worker.store, dataset.digest)}
    assert items["pituitary/<b>copy.jpg"].component == items["glioma/0.png"].component
    assert len({item.component for item in items.values()}) == 8
    page = worker.page(dataset)
    assert "pituitary/&lt;b&gt;copy.jpg" in page
    assert "<b>copy" not in page
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page
    assert "Near-duplicates with different labels" in page
    assert "Splits keep each set\non one side.</p>" in page
    assert "Likely label errors" in page
    assert "Not looked for yet" in page


def test_what_was_left_out_is_counted_and_named(worker: Worker) -> None:
    bad = {
        "glioma/broken.png": png(a_head(9))[:200],
        "glioma/twice.png": png(a_head(10)),
        "pituitary/twice.png": png(a_head(10)),
        "elsewhere/x.png": png(a_head(11)),
    }
    dataset = worker.take({**clean(), **bad}, on_bad=OnBadFile.SKIP)
    audit = dataset.audit
    assert audit is not None
    assert (audit.unreadable_count, audit.contradictory_exact_count) == (1, 2)
    assert (len(dataset.rejected), dataset.item_count) == (4, 8)
    page = worker.page(dataset)
    assert all(path in page for path in bad)


def a_mask(row: int, column: int, side: int = 8, shade: int = 255) -> NDArray[np.uint8]:
    mask = np.zeros((128, 128), np.uint8)
    mask[row : row + side, column : column + side] = shade
    return mask


def test_masks_that_were_refused_or_are_odd_are_counted_and_named(worker: Worker) -> None:
    masks = {
        "glioma/0.png": png(a_mask(60, 60)),
        "pituitary/1.png": png(a_mask(60, 60, side=1)),
        "glioma/2.png": png(a_mask(0, 0)),
        "glioma/4.png": png(a_mask(60, 60) + a_mask(80, 60, shade=90)),
        "glioma/6.png": png(a_mask(50, 60) + a_mask(80, 60, shade=100)),
        "pituitary/3.png": b"broken",
    }
    rows = [f"{path},{path.split('/')[0]},m/{path}" for path in masks]
    rows += [f"{path},{path.split('/')[0]}," for path in clean() if path not in masks]
    rows += ["glioma/8.png,glioma,m/none.png", "glioma/10.png,glioma,", "glioma/12.png,glioma,"]
    more = {f"glioma/{seed}.png": png(a_head(seed)) for seed in (8, 10, 12, 14)}
    more["pituitary/9.png"] = png(a_head(9))
    rows.append("pituitary/9.png,pituitary,")
    dataset = worker.take(
        {
            **clean(),
            **more,
            **{f"m/{path}": data for path, data in masks.items()},
            "manifest.csv": "\n".join(["path,label,mask", *rows]).encode(),
        },
        on_bad=OnBadFile.SKIP,
    )
    audit = dataset.audit
    assert audit is not None
    assert audit.masks is not None
    found = {(f.problem, f.refused): f.examples for f in audit.masks.findings}
    assert found == {
        ("has several shades", True): ("glioma/4.png", "glioma/6.png"),
        ("marks nothing inside of the head", True): ("glioma/2.png",),
        ("cannot be read", True): ("pituitary/3.png",),
        ("is not there", True): ("glioma/8.png",),
        ("marks hardly a pixel of the head", False): ("pituitary/1.png",),
    }
    assert audit.unreadable_count == 0
    assert (dataset.mask_count, audit.masks.unmasked_count) == (2, dataset.item_count - 2)
    page = worker.page(dataset)
    assert "<h2>Masks</h2>" in page
    assert "<td>has several shades</td><td>2</td><td>left out</td>" in page
    assert "<td>marks hardly a pixel of the head</td><td>1</td><td>kept</td>" in page


def test_masks_that_no_manifest_names_are_told(worker: Worker) -> None:
    dataset = worker.take(
        {**clean(), "glioma/0_mask.png": png(a_mask(60, 60))}, on_bad=OnBadFile.SKIP
    )
    assert dataset.audit is not None
    assert dataset.audit.masks is not None
    (finding,) = dataset.audit.masks.findings
    assert (finding.refused, finding.examples) == (True, ("glioma/0_mask.png",))
    assert "no manifest" in finding.problem


def test_a_page_of_a_data_set_without_masks_does_not_speak_of_them(worker: Worker) -> None:
    dataset = worker.take(clean())
    assert dataset.audit is not None
    assert dataset.audit.masks == MaskAudit(findings=(), unmasked_count=0)
    assert "<h2>Masks</h2>" not in worker.page(dataset)


def test_a_given_layout_has_its_leakage_measured(worker: Worker) -> None:
    files = {f"Training/{path}": data for path, data in clean().items()}
    files |= {f"Testing/glioma/{seed}.png": png(a_head(seed)) for seed in (20, 21)}
    files["Testing/pituitary/1.jpg"] = jpeg(a_head(1))
    dataset = worker.take(files)
    assert dataset.audit is not None
    assert {str(k): v.leaked_count for k, v in dataset.audit.leakage.items()} == {
        "glioma": 0,
        "pituitary": 1,
    }
    page = worker.page(dataset)
    assert "Testing slices that Training knows" in page
    assert "on one side, but for what the data set's own Testing folder has" in page


@pytest.mark.parametrize("level", [0, 90])
def test_a_data_set_that_shows_nothing_is_refused(worker: Worker, level: int) -> None:
    files = {
        f"{label}/{side}.png": png(np.full((side, 60 + offset), level, np.uint8))
        for offset, label in enumerate(("glioma", "pituitary"))
        for side in (50, 60, 70)
    }
    with pytest.raises(DatasetRefused, match="All of its pictures are blank"):
        worker.take(files)
    assert worker.uow_factory.state.datasets == {}


def test_a_class_that_shows_nothing_is_refused_by_name(worker: Worker) -> None:
    black = {f"no/{side}.png": png(np.zeros((side, 64), np.uint8)) for side in (50, 60, 70)}
    with pytest.raises(DatasetRefused, match="All pictures of the class no_tumor are blank"):
        worker.take({**clean(), **black})
    assert worker.uow_factory.state.datasets == {}
    assert worker.take({**clean(), **black, "no/head.png": png(a_head(9))}, "seen").item_count == 12


@pytest.mark.parametrize("on_bad", OnBadFile)
def test_equal_blank_pictures_in_two_classes_are_told_to_be_blank(
    worker: Worker, on_bad: OnBadFile
) -> None:
    black = png(np.zeros((64, 64), np.uint8))
    files = {f"{label}/{n}.png": black for label in ("glioma", "no") for n in range(3)}
    with pytest.raises(DatasetRefused, match="All of its pictures are blank"):
        worker.take(files, on_bad=on_bad)


def test_a_blank_picture_among_others_in_two_classes_is_told_to_be_blank(worker: Worker) -> None:
    black = png(np.zeros((64, 64), np.uint8))
    files = {"glioma/black.png": black, "pituitary/black.png": black}
    with pytest.raises(DatasetRefused, match="2 of its files cannot be used") as caught:
        worker.take({**clean(), **files})
    told = {file.path: file.problem for file in caught.value.rejected}
    assert told.keys() == files.keys()
    assert set(told.values()) == {
        "it is blank: one shade all over, such as black, and labelled glioma and pituitary; "
        "check how it was exported"
    }


def test_a_file_that_cannot_be_read_is_named_before_anything_is_called_blank(
    worker: Worker,
) -> None:
    black = png(np.zeros((64, 64), np.uint8))
    files = {"no/black.png": black, "no/broken.png": b"x"}
    with pytest.raises(DatasetRefused, match="1 of its files cannot be used"):
        worker.take({**clean(), **files})


def test_some_blank_slices_are_a_warning(worker: Worker) -> None:
    black = {"glioma/black.png": png(np.zeros((64, 64), np.uint8))}
    dataset = worker.take({**clean(), **black})
    assert dataset.audit is not None
    assert dataset.audit.blank_examples == ("glioma/black.png",)
    assert "Blank slices (1)" in worker.page(dataset)


def test_the_same_pictures_under_two_names_have_a_page_each(worker: Worker) -> None:
    first = worker.take(clean(), "one")
    second = worker.take(clean(), "two")
    assert first.digest == second.digest
    assert "datasets/one" in worker.page(first)
    assert "datasets/two" in worker.page(second)
