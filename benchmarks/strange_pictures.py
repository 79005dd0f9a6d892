"""Pictures that are no slice of a head, of many kinds, made here or brought by packages.

None is used to choose anything: what is strange to a model is learned from slices alone.
"""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_sample_images

Grey = NDArray[np.uint8]
Maker = Callable[[np.random.Generator], Grey]

_SIDE: Final = 256
_WORDS: Final = (
    *("patient", "name", "report", "date", "sequence", "contrast"),
    *("none", "seen", "finding", "normal", "left", "right"),
)


def photograph(rng: np.random.Generator) -> Grey:
    """A part of one of scikit-learn's two photographs, of any size and brightness."""
    image = load_sample_images().images[int(rng.integers(2))]
    grey = np.asarray(Image.fromarray(image).convert("L"))
    side = int(rng.integers(120, 420))
    top, left = (int(rng.integers(0, n - side)) for n in grey.shape)
    part = Image.fromarray(grey[top : top + side, left : left + side])
    return np.asarray(part.point(lambda v: min(255, int(v * rng.uniform(0.6, 1.3)))))


def noise(rng: np.random.Generator) -> Grey:
    """White noise, or noise that was blurred."""
    grey = rng.integers(0, 256, (_SIDE, _SIDE), np.uint8)
    radius = float(rng.choice([0, 0, 2, 6, 15]))
    blurred = np.asarray(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(radius)), float)
    spread = np.ptp(blurred) or 1
    return ((blurred - blurred.min()) * 255 / spread).astype(np.uint8)


def page(rng: np.random.Generator) -> Grey:
    """A page of words, dark on light or light on dark."""
    dark = bool(rng.integers(2))
    picture = Image.new("L", (_SIDE, _SIDE), 0 if dark else 255)
    draw = ImageDraw.Draw(picture)
    for line in range(int(rng.integers(6, 18))):
        words = " ".join(rng.choice(_WORDS, 6))
        draw.text((8, 6 + 14 * line), words, fill=255 if dark else 0)
    return np.asarray(picture)


def blank(rng: np.random.Generator) -> Grey:
    """One grey, or a slope between two."""
    low, high = sorted(int(v) for v in rng.integers(0, 256, 2))
    if rng.integers(2):
        high = low
    slope = np.linspace(low, high, _SIDE).astype(np.uint8)
    return np.rot90(np.tile(slope, (_SIDE, 1)), int(rng.integers(4))).copy()


def drawing(rng: np.random.Generator) -> Grey:
    """Lines, boxes and discs, as of a chart or a logo."""
    picture = Image.new("L", (_SIDE, _SIDE), int(rng.choice([0, 255])))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 14))):
        x0, y0, x1, y1 = (int(v) for v in rng.integers(0, _SIDE, 4))
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        shade = int(rng.integers(0, 256))
        draw_one = rng.choice(np.array(["line", "rectangle", "ellipse"]))
        if draw_one == "line":
            draw.line((x0, y0, x1, y1), fill=shade, width=int(rng.integers(1, 6)))
        elif draw_one == "rectangle":
            draw.rectangle(box, fill=shade)
        else:
            draw.ellipse(box, fill=shade)
    return np.asarray(picture)


def chest(rng: np.random.Generator) -> Grey:
    """A phantom of an axial chest: a bright wall, two dark lungs, a heart, a spine, vessels."""
    picture = Image.new("L", (_SIDE, _SIDE), 0)
    draw = ImageDraw.Draw(picture)
    wobble = lambda v, by=8: v + float(rng.uniform(-by, by))  # noqa: E731
    draw.ellipse(
        (wobble(18), wobble(50), wobble(238), wobble(210)), fill=int(rng.integers(110, 180))
    )
    lung = int(rng.integers(15, 45))
    draw.ellipse((wobble(40), wobble(70), wobble(115), wobble(190)), fill=lung)
    draw.ellipse((wobble(140), wobble(70), wobble(215), wobble(190)), fill=lung)
    draw.ellipse(
        (wobble(105), wobble(95), wobble(165), wobble(155)), fill=int(rng.integers(120, 190))
    )
    draw.ellipse(
        (wobble(115), wobble(165), wobble(140), wobble(195)), fill=int(rng.integers(190, 255))
    )
    for _ in range(25):
        x, y, r = rng.uniform(45, 210), rng.uniform(80, 180), rng.uniform(1, 4)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.integers(80, 160)))
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.5)), float)
    return np.clip(soft + rng.normal(0, 6, soft.shape), 0, 255).astype(np.uint8)


def limb(rng: np.random.Generator) -> Grey:
    """A phantom of a limb along its axis: soft tissue, and bones with bright edges."""
    picture = Image.new("L", (_SIDE, _SIDE), 0)
    draw = ImageDraw.Draw(picture)
    width = int(rng.integers(60, 110))
    draw.rounded_rectangle((128 - width, 0, 128 + width, 255), 20, fill=int(rng.integers(60, 120)))
    for side in (-1, 1)[: int(rng.integers(1, 3))]:
        centre = 128 + side * width * 0.45
        half = float(rng.uniform(10, 22))
        joint = float(rng.uniform(90, 170))
        for top, bottom in ((-20, joint - 4), (joint + 4, 280)):
            box = (centre - half, top, centre + half, bottom)
            draw.rounded_rectangle(box, 9, fill=int(rng.integers(130, 190)), outline=240, width=3)
    soft = picture.rotate(float(rng.uniform(0, 180))).filter(ImageFilter.GaussianBlur(1.2))
    grey = np.asarray(soft, float)
    return np.clip(grey + rng.normal(0, 6, grey.shape), 0, 255).astype(np.uint8)


MAKERS: Final[dict[str, Maker]] = {
    "photograph": photograph,
    "noise": noise,
    "page of text": page,
    "blank or slope": blank,
    "drawing": drawing,
    "chest phantom": chest,
    "limb phantom": limb,
}
"""Kinds that need no slice; :func:`from_slices` makes others of slices."""


def made(count: int, seed: int) -> Iterator[tuple[str, Grey]]:
    """``count`` pictures, the kinds in turn."""
    rng = np.random.default_rng(seed)
    names = list(MAKERS)
    for number in range(count):
        name = names[number % len(names)]
        yield name, MAKERS[name](rng)


def from_slices(slices: list[Grey], seed: int) -> Iterator[tuple[str, Grey]]:
    """Each slice inverted, or in pieces that were shuffled, in turn."""
    rng = np.random.default_rng(seed)
    for number, grey in enumerate(slices):
        if number % 2:
            yield "inverted slice", 255 - grey
        else:
            yield "shuffled slice", shuffled(grey, rng)


def shuffled(grey: Grey, rng: np.random.Generator, pieces: int = 4) -> Grey:
    side = min(grey.shape) // pieces
    tiles = [
        grey[y * side : (y + 1) * side, x * side : (x + 1) * side]
        for y in range(pieces)
        for x in range(pieces)
    ]
    order = rng.permutation(len(tiles))
    rows = [
        np.hstack([tiles[i] for i in order[r * pieces : (r + 1) * pieces]]) for r in range(pieces)
    ]
    return np.vstack(rows)
