"""Item lists survive the store, also those from before there were components."""

import json
from dataclasses import replace

import pytest

from core.datasets import DatasetItem, Split, audit_page_key, dataset_digest
from core.errors import ArtefactCorrupt
from core.labels import TumourLabel
from tests.fakes.store import FakeArtefactStore
from workers.curation.blobs import read_items, write_audit_page, write_items

ITEM = DatasetItem(
    path="glioma/1.png",
    sha256="a" * 64,
    size_bytes=10,
    label=TumourLabel.GLIOMA,
    width=4,
    height=5,
    split=Split.TRAIN,
    component="a" * 16,
)


def test_items_come_back_with_their_components() -> None:
    store = FakeArtefactStore()
    assert read_items(store, write_items(store, [ITEM])) == (ITEM,)


def test_a_list_from_before_components_is_read() -> None:
    store = FakeArtefactStore()
    digest = write_items(store, [ITEM])
    (key,) = store.files
    values = json.loads(store.files[key])
    del values["component"]
    store.files[key] = json.dumps(values).encode()
    (item,) = read_items(store, digest)
    assert (item.component, item.path) == ("", ITEM.path)


def test_looks_are_kept_where_older_workers_do_not_read() -> None:
    store = FakeArtefactStore()
    item = replace(ITEM, look="0123456789abcdef")
    digest = write_items(store, [item])
    assert digest == dataset_digest([ITEM])
    assert b"look" not in store.get(f"datasets/{digest}/items.jsonl")
    assert read_items(store, digest) == (item,)
    write_items(store, [ITEM])  # by an older worker, over the same list
    assert read_items(store, digest) == (item,)
    store.put(f"datasets/{digest}/looks.json", b"{")
    with pytest.raises(ArtefactCorrupt):
        read_items(store, digest)


def test_a_label_that_was_changed_is_noticed() -> None:
    store = FakeArtefactStore()
    digest = write_items(store, [ITEM])
    (key,) = store.files
    store.files[key] = store.files[key].replace(b'"glioma"', b'"pituitary"')
    with pytest.raises(ArtefactCorrupt):
        read_items(store, digest)


def test_two_pages_of_one_list_do_not_replace_each_other() -> None:
    store = FakeArtefactStore()
    digest = dataset_digest([ITEM])
    for page in (b"one", b"two"):
        page_sha256 = write_audit_page(store, digest, page)
        assert store.get(audit_page_key(digest, page_sha256)) == page
    assert len(store.files) == 2
