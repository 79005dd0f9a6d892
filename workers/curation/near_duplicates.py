"""Pictures that show the same slice: a perceptual hash proposes pairs, pixels decide.

Copies of a slice that were scaled, re-encoded, or framed with more or less black have different
bytes. Both steps look at a small thumbnail of the head alone, so that none of this matters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Final

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from workers.imaging.blank import sampled

THUMBNAIL_SIDE: Final = 32
MAX_DISTANCE: Final = 8
"""Bits of 64 in which the hashes of a pair may differ."""
MIN_SIMILARITY: Final = 0.97
"""Correlation of a pair's thumbnails. Re-encoded copies reach 0.99 and more, the next slice of
the same head seldom 0.95."""
MAX_EXAMPLES: Final = 8

_DARK: Final = 0.1
"""Of the brightest pixels: what is darker is background."""
_THIN: Final = 0.02
"""Rows and columns with fewer bright pixels than this share hold no head, only noise or text."""
_TILE: Final = 1024
_KEPT: Final = 512

Hashes = NDArray[np.uint64]
Thumbnails = NDArray[np.uint8]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two pictures by index, ``first < second``; ``similarity`` is at most 1."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """What was found among n pictures. ``components`` (n,) numbers each picture's set of copies.

    Sets are closed under chains: if a is like b and b like c, the three are one set. Each example
    is from a set of its own.
    """

    components: Indices
    pair_count: int
    contradictory_pair_count: int
    examples: tuple[Pair, ...]
    contradictory_examples: tuple[Pair, ...]


def head_crop(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of a picture (height, width) without its dark margins; all of it if all is dark."""
    peak = float(np.percentile(sampled(grey), 99.5))
    bright = grey > max(_DARK * peak, 1.0)
    rows = np.flatnonzero(np.count_nonzero(bright, axis=1) > _THIN * grey.shape[1])
    columns = np.flatnonzero(np.count_nonzero(bright, axis=0) > _THIN * grey.shape[0])
    if not len(rows) or not len(columns):
        return grey
    return grey[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def thumbnail(grey: NDArray[np.uint8]) -> Thumbnails:
    """The head, averaged down (or drawn up) to (32, 32), 0..255; its shape is not kept."""
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    picture = Image.fromarray(head_crop(grey))
    return np.asarray(picture.resize(side, Image.Resampling.BOX))


def perceptual_hash(small: Thumbnails) -> int:
    """64 bits, from the signs of the lowest frequencies of a thumbnail (32, 32).

    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section
    3.2.1 (DCT-based hash), as ``imagehash`` has it.
    """
    bits = imagehash.phash(Image.fromarray(small)).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find_near_duplicates(hashes: Hashes, thumbnails: Thumbnails, labels: Indices) -> NearDuplicates:
    """All pairs and their sets among n pictures: hashes (n,), thumbnails (n, 32, 32), labels (n,).

    ``labels`` only tell which pairs contradict each other. Time grows with n², but in XOR and
    popcount alone; memory does not grow with the number of pairs.
    """
    components = np.arange(len(hashes))
    alike, contradictory = _Sample(), _Sample()
    for first, second, similarity in _pairs(hashes, thumbnails):
        components = _joined(components, first, second)
        differs = labels[first] != labels[second]
        alike.take(first, second, similarity)
        contradictory.take(first[differs], second[differs], similarity[differs])
    return NearDuplicates(
        components=components,
        pair_count=alike.count,
        contradictory_pair_count=contradictory.count,
        examples=alike.examples(components),
        contradictory_examples=contradictory.examples(components),
    )


Found = tuple[Indices, Indices, NDArray[np.float32]]


def _pairs(hashes: Hashes, thumbnails: Thumbnails) -> Iterator[Found]:
    """First, second and similarity of all pairs, tile by tile; no tile is empty."""
    for top, left in combinations_with_replacement(range(0, len(hashes), _TILE), 2):
        rows, columns = hashes[top : top + _TILE], hashes[left : left + _TILE]
        near = np.bitwise_count(rows[:, np.newaxis] ^ columns) <= MAX_DISTANCE
        if top == left:
            near = np.triu(near, k=1)
        first, second = np.nonzero(near)
        if len(first):
            found = _confirmed(first + top, second + left, thumbnails)
            if len(found[0]):
                yield found


def _confirmed(first: Indices, second: Indices, thumbnails: Thumbnails) -> Found:
    """Those of the proposed pairs whose pixels agree."""
    # One product of the pictures involved costs at most a tile, however many pairs they make.
    rows, row_of = np.unique(first, return_inverse=True)
    columns, column_of = np.unique(second, return_inverse=True)
    similarity = (_unit(thumbnails[rows]) @ _unit(thumbnails[columns]).T)[row_of, column_of]
    kept = similarity >= MIN_SIMILARITY
    return first[kept], second[kept], similarity[kept]


def _unit(thumbnails: Thumbnails) -> NDArray[np.float32]:
    """Each as a vector with mean 0 and length 1; a flat one stays 0 and is like nothing."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(lengths, 1e-3), np.float32)


def _joined(components: Indices, first: Indices, second: Indices) -> Indices:
    """The sets after each pair's two sets have become one."""
    ends = components[first], components[second]
    shape = (len(components), len(components))
    links = coo_array((np.ones(len(first), np.int8), ends), shape=shape)
    _, merged = connected_components(links, directed=False)
    return np.asarray(merged[components], np.int64)


class _Sample:
    """Counts pairs and keeps the first few hundred to choose examples from."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[Pair] = []

    def take(self, first: Indices, second: Indices, similarity: NDArray[np.float32]) -> None:
        self.count += len(first)
        room = max(0, _KEPT - len(self._kept))
        self._kept += [
            Pair(first=int(a), second=int(b), similarity=min(1.0, float(s)))
            for a, b, s in zip(first[:room], second[:room], similarity[:room], strict=True)
        ]

    def examples(self, components: Indices) -> tuple[Pair, ...]:
        """A few pairs, no two of them from one set."""
        by_set: dict[int, Pair] = {}
        for pair in self._kept:
            by_set.setdefault(int(components[pair.first]), pair)
        return tuple(list(by_set.values())[:MAX_EXAMPLES])
