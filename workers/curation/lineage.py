"""Which part slices had for a model's ancestors: what taught them, what chose, what judged.

A model that goes on from another must not be judged by slices that the other has learned from or
was chosen by. So every version keeps its own parts and its ancestors', by the slices' hashes, and a
split leaves each slice in the part it had: what was held out once stays held out, and the new
model and the old one can be compared by it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Self

from core.datasets import DatasetItem


class Part(IntEnum):
    """Of a split; the lower, the more a model has made of its slices."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True)
class Lineage:
    """``parts``: hex SHA-256 of a slice to the part it had."""

    parts: Mapping[str, Part] = field(default_factory=dict)

    def part_of(self, group: Iterable[DatasetItem]) -> Part | None:
        """The part of slices that stay together: the lowest of them; None if all are new."""
        known = (self.parts.get(item.sha256) for item in group)
        return min((part for part in known if part is not None), default=None)

    def followed_by(self, parts: Mapping[Part, Iterable[DatasetItem]]) -> Self:
        """With the slices of one more split. A slice that was of two parts is of the lower one."""
        merged = dict(self.parts)
        for part, items in parts.items():
            for item in items:
                merged[item.sha256] = min(part, merged.get(item.sha256, part))
        return type(self)(merged)

    def to_json(self) -> bytes:
        """Canonical: names of parts to sorted hashes."""
        names: dict[str, list[str]] = {part.name.lower(): [] for part in Part}
        for sha256, part in sorted(self.parts.items()):
            names[part.name.lower()].append(sha256)
        return json.dumps(names, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        values = json.loads(text)
        return cls({sha256: part for part in Part for sha256 in values[part.name.lower()]})


NO_LINEAGE: Final = Lineage()
"""Of a model that goes on from no other."""
