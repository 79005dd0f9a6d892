"""Finding pictures in folders."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

PICTURE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


def is_picture(path: Path) -> bool:
    """Whether the name says so; the server looks at the bytes."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def files_below(folder: Path) -> Iterator[Path]:
    """Every file, in the order of the names; hidden ones and those of macOS archives left out."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if entry.is_dir():
            yield from files_below(entry)
        elif entry.is_file():
            yield entry


def pictures_in(paths: Iterable[Path]) -> list[Path]:
    """The pictures of each folder; a file that is named itself always counts."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += (file for file in files_below(path) if is_picture(file))
        else:
            found.append(path)
    return found
