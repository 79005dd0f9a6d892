"""Pictures that no data set has can be removed; those that one has stay."""

from pathlib import Path
from typing import Any

import pytest

from core.datasets import DatasetItem
from core.errors import ArtefactCorrupt
from core.labels import TumourLabel
from core.settings import Settings
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.migrate import upgrade
from db.unit_of_work import SqlUnitOfWorkFactory
from tests.fakes.records import a_dataset
from tests.fakes.store import FakeArtefactStore, FakeUnitOfWorkFactory
from workers.curation.blobs import blob_key, write_audit_page, write_blob, write_items
from workers.curation.unused import main, unused_keys


def an_item(store: Any, picture: bytes, mask: bytes | None = None) -> DatasetItem:
    return DatasetItem(
        path=f"glioma/{picture.decode()}.png",
        sha256=write_blob(store, picture),
        size_bytes=len(picture),
        label=TumourLabel.GLIOMA,
        width=4,
        height=5,
        mask_sha256=None if mask is None else write_blob(store, mask),
        look="0123456789abcdef",
    )


def take_in(uow_factory: Any, store: Any, dataset_id: str, items: list[DatasetItem]) -> str:
    """A data set of the items; its digest."""
    digest = write_items(store, items)
    write_audit_page(store, digest, b"a page")
    with uow_factory(write=True) as uow:
        uow.datasets.add(a_dataset(dataset_id, digest=digest))
        uow.commit()
    return digest


def test_only_what_no_data_set_has_is_unused() -> None:
    store, uow_factory = FakeArtefactStore(), FakeUnitOfWorkFactory()
    shared = an_item(store, b"shared", b"its mask")
    take_in(uow_factory, store, "kept", [shared])
    gone = take_in(uow_factory, store, "gone", [shared, an_item(store, b"own", b"own mask")])
    refused = write_blob(store, b"of a data set that was refused")
    store.put("models/1/graph.onnx", b"a model")
    assert unused_keys(store, uow_factory) == (blob_key(refused),)
    with uow_factory(write=True) as uow:
        uow.datasets.delete("gone")
        uow.commit()
    unused = unused_keys(store, uow_factory)
    assert {key for key in unused if key.startswith("datasets")} == set(
        store.list(f"datasets/{gone}")
    )
    assert sorted(store.get(key) for key in unused if key.startswith("blobs")) == [
        b"of a data set that was refused",
        b"own",
        b"own mask",
    ]


def test_nothing_is_unused_while_a_list_cannot_be_read() -> None:
    store, uow_factory = FakeArtefactStore(), FakeUnitOfWorkFactory()
    digest = take_in(uow_factory, store, "kept", [an_item(store, b"kept")])
    store.files[f"datasets/{digest}/items.jsonl"] += b"\n{}"
    with pytest.raises(ArtefactCorrupt):
        unused_keys(store, uow_factory)


def test_the_command_counts_before_it_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRAINTUMOR_DATA_DIR", str(tmp_path))
    settings = Settings.from_environment()
    upgrade(settings.database_url)
    store = FsspecArtefactStore(settings.artefact_url)
    factory = SqlUnitOfWorkFactory(create_store_engine(settings.database_url))
    take_in(factory, store, "kept", [an_item(store, b"kept")])
    factory.close()
    left = blob_key(write_blob(store, b"left"))
    assert main(["--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("1 file that no data set needs would be removed.")
    assert store.exists(left)
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("1 file that no data set needs was removed.")
    assert not store.exists(left)
    assert len(store.list("blobs")) == 1
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("0 files that no data set needs were removed.")


def test_a_store_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRAINTUMOR_DATA_DIR", str(tmp_path))
    upgrade(Settings.from_environment().database_url)
    monkeypatch.setenv("BRAINTUMOR_ARTEFACT_URL", "nonsense://bucket")
    assert main([]) == 1
    assert "nonsense" in capsys.readouterr().err


def test_a_wrong_folder_is_told_and_nothing_is_made_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRAINTUMOR_DATA_DIR", str(tmp_path / "wrong"))
    assert main(["--dry-run"]) == 1
    assert "There is no database at" in capsys.readouterr().err
    assert not (tmp_path / "wrong").exists()
