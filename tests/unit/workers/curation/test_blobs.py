from dataclasses import replace
from hashlib import sha256

import pytest

from core.datasets import DatasetItem, Split, dataset_digest
from core.errors import ArtefactCorrupt
from core.labels import TumourLabel
from tests.fakes.store import FakeArtefactStore
from workers.curation.blobs import blob_key, read_blob, read_items, write_blob, write_items

PLAIN = DatasetItem(
    path="glioma/1.png",
    sha256="a" * 64,
    size_bytes=10,
    label=TumourLabel.GLIOMA,
    width=4,
    height=5,
)
FULL = replace(
    PLAIN,
    path="no_tumor/Gehirn \N{BRAIN}\n2.png",
    label=TumourLabel.NO_TUMOR,
    group="p1",
    split=Split.TEST,
    mask_sha256="b" * 64,
)


class CountingStore(FakeArtefactStore):
    """Remembers what was written, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def put(self, key: str, data: bytes) -> None:
        self.written.append(key)
        super().put(key, data)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def test_a_blob_is_found_by_the_hash_of_its_bytes(store: CountingStore) -> None:
    digest = write_blob(store, b"pixels")
    assert digest == sha256(b"pixels").hexdigest()
    assert read_blob(store, digest) == b"pixels"


def test_the_same_bytes_are_stored_once(store: CountingStore) -> None:
    digests = [write_blob(store, data) for data in (b"one", b"two", b"one")]
    assert digests[0] == digests[2] != digests[1]
    assert store.written == [blob_key(digest) for digest in digests[:2]]


def test_a_missing_blob_is_corrupt(store: CountingStore) -> None:
    with pytest.raises(ArtefactCorrupt, match="missing"):
        read_blob(store, "a" * 64)


@pytest.mark.parametrize("data", [b"", b"pixel", b"pixelz", b"pixels "])
def test_a_changed_blob_is_corrupt(store: CountingStore, data: bytes) -> None:
    digest = write_blob(store, b"pixels")
    store.put(blob_key(digest), data)
    with pytest.raises(ArtefactCorrupt, match=digest):
        read_blob(store, digest)


def test_items_come_back_as_they_were(store: CountingStore) -> None:
    digest = write_items(store, [PLAIN, FULL])
    assert digest == dataset_digest([PLAIN, FULL])
    assert read_items(store, digest) == (PLAIN, FULL)


def test_equal_lists_of_items_share_a_place(store: CountingStore) -> None:
    assert write_items(store, [PLAIN, FULL]) == write_items(store, [FULL, PLAIN])
    assert len(store.files) == 1


def test_missing_items_are_corrupt(store: CountingStore) -> None:
    with pytest.raises(ArtefactCorrupt, match="missing"):
        read_items(store, "a" * 64)


@pytest.mark.parametrize(
    "change",
    [(b'"glioma"', b'"pituitary"'), (b"a" * 64, b"c" * 64), (b'"p1"', b'""'), (b'"test"', b"null")],
    ids=["label", "picture", "group", "split"],
)
def test_changed_items_are_corrupt(store: CountingStore, change: tuple[bytes, bytes]) -> None:
    digest = write_items(store, [PLAIN, FULL])
    (key,) = store.files
    store.put(key, store.get(key).replace(*change))
    with pytest.raises(ArtefactCorrupt, match=digest):
        read_items(store, digest)


def test_a_list_that_lost_an_item_is_corrupt(store: CountingStore) -> None:
    digest = write_items(store, [PLAIN, FULL])
    (key,) = store.files
    store.put(key, store.get(key).split(b"\n")[0])
    with pytest.raises(ArtefactCorrupt, match=digest):
        read_items(store, digest)


@pytest.mark.parametrize("text", [b"", b'{"path": ', b"\xff", b'{"label": "glioma"}', b"[]"])
def test_a_list_that_cannot_be_read_is_corrupt(store: CountingStore, text: bytes) -> None:
    digest = write_items(store, [PLAIN])
    store.put(f"datasets/{digest}/items.jsonl", text)
    with pytest.raises(ArtefactCorrupt):
        read_items(store, digest)
