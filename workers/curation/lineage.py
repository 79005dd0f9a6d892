"""Which part slices had for a model's ancestors: what taught them, what chose, what judged.

A model that goes on from another must not be judged by slices that the other has learned from or
was chosen by, nor by others of the same patients. So every version keeps its own parts and its
ancestors', by the hashes of slices and of the names of their groups, and a split leaves each in
the part it had: what was held out once stays held out, and the new model and the old one can be
compared by it.

A slice is known by its bytes or, where these are new, by its look, its group by its name. Looks are
perceptual hashes: a picture that was encoded anew has the same one or nearly so
(``benchmarks/near_duplicates.py``). No pixels are kept that could confirm it, since they would be
the patient's; so now and then a slice that resembles a known one has its part, and is judged by no
number that it could have falsified.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from hashlib import sha256
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from core.datasets import DatasetItem

MAX_LOOK_DISTANCE: Final = 2
"""Bits of 64 in which the looks of a slice and of one that is known by it may differ."""
_LOOK: Final = "look-"


class Part(IntEnum):
    """Of a split; the lower, the more a model has made of its slices."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True)
class Lineage:
    """``parts``: what is known of a slice (hex SHA-256), a look (``look-`` and 16 hex digits) or a
    group (``group-`` and the hex SHA-256 of its name, which may be a patient's) to the part it
    had."""

    parts: Mapping[str, Part] = field(default_factory=dict)

    def part_of(self, group: Iterable[DatasetItem]) -> Part | None:
        """The part of slices that stay together: the lowest of them; None if all are new."""
        return min((part for item in group for part in self._parts_of(item)), default=None)

    def _parts_of(self, item: DatasetItem) -> set[Part]:
        """By its bytes and its group; by its look only where these are new."""
        exact = {self.parts[key] for key in _exact_keys(item) if key in self.parts}
        return exact or (self._parts_like(_LOOK + item.look) if item.look else set())

    @cached_property
    def _looks(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """All looks, and the part of each."""
        looks = [(_bits(key), part) for key, part in self.parts.items() if key.startswith(_LOOK)]
        bits, parts = zip(*looks, strict=True) if looks else ((), ())
        return np.array(bits, np.uint64), np.array(parts, np.int64)

    def _parts_like(self, look: str) -> set[Part]:
        bits, parts = self._looks
        distances = np.bitwise_count(bits ^ np.uint64(_bits(look)))
        return {Part(part) for part in parts[distances <= MAX_LOOK_DISTANCE].tolist()}

    def followed_by(
        self,
        parts: Mapping[Part, Iterable[DatasetItem]],
        groups: Iterable[Sequence[DatasetItem]],
    ) -> Self:
        """With those of one more split, and all slices that belong to them.

        ``groups`` are all slices of the data set, as they stay together, whether or not the split
        has made use of them. What was of two parts is of the lower one.
        """
        had = {item.path: part for part in sorted(parts, reverse=True) for item in parts[part]}
        merged = dict(self.parts)
        for group in groups:
            found = [had[item.path] for item in group if item.path in had]
            before = self.part_of(group)
            if before is not None:
                found.append(before)
            for key in _keys(group) if found else ():
                merged[key] = min(*found, merged.get(key, Part.TEST))
        return type(self)(merged)

    def to_json(self) -> bytes:
        """Canonical: names of parts to sorted hashes."""
        names: dict[str, list[str]] = {part.name.lower(): [] for part in Part}
        for key, part in sorted(self.parts.items()):
            names[part.name.lower()].append(key)
        return json.dumps(names, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        values = json.loads(text)
        return cls({key: part for part in Part for key in values[part.name.lower()]})


def _keys(group: Iterable[DatasetItem]) -> set[str]:
    keys: set[str] = set()
    for item in group:
        keys.update(_exact_keys(item))
        if item.look:
            keys.add(_LOOK + item.look)
    return keys


def _exact_keys(item: DatasetItem) -> Iterator[str]:
    yield item.sha256
    if item.group:
        yield f"group-{sha256(item.group.encode()).hexdigest()}"


def _bits(look: str) -> int:
    return int(look.removeprefix(_LOOK), 16)


NO_LINEAGE: Final = Lineage()
"""Of a model that goes on from no other."""
