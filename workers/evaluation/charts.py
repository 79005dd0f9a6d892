"""Small charts as SVG text, drawn without a plotting library so that a report is one light file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

_WIDTH: Final = 440
_HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 12, 24, 36
# Blue, orange, green and purple of Okabe and Ito's palette stay apart for every kind of colour
# vision.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#9a4d80")

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named line; ``points`` are (x, y) in the units of the axes, each with a mark or not."""

    name: str
    points: Sequence[Point]
    marked: bool = True


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What the edges of a chart stand for, and at which end of it the lines are named."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_name: str
    y_name: str
    named_below: bool = False

    def place(self, point: Point) -> Point:
        """Where a point is, in the chart's pixels."""
        return (
            _LEFT + _share(point[0], self.x_range) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - _share(point[1], self.y_range) * (_HEIGHT - _TOP - _BOTTOM),
        )


def line_chart(
    title: str, series: Sequence[Series], axes: Axes, *, diagonal: bool = False
) -> Markup:
    """Lines with their names, above a dashed diagonal where that means something."""
    below = _diagonal(axes) if diagonal else Markup("")
    lines = [_line(axes, s, i) + _name(axes, s, i, len(series)) for i, s in enumerate(series)]
    return _frame(title, axes, below + Markup("").join(lines))


def share_axes(x_name: str, y_name: str, *, named_below: bool = False) -> Axes:
    """Axes from 0 to 1."""
    return Axes(
        x_range=(0, 1), y_range=(0, 1), x_name=x_name, y_name=y_name, named_below=named_below
    )


def _diagonal(axes: Axes) -> Markup:
    (x_low, x_high), (y_low, y_high) = axes.x_range, axes.y_range
    (x1, y1), (x2, y2) = axes.place((x_low, y_low)), axes.place((x_high, y_high))
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="ideal"/>').format(
        *_rounded(x1, y1, x2, y2)
    )


def _line(axes: Axes, series: Series, place: int) -> Markup:
    colour = _COLOURS[place % len(_COLOURS)]
    placed = [_rounded(*axes.place(point)) for point in series.points]
    path = " ".join(f"{x},{y}" for x, y in placed)
    marks = Markup("").join(
        Markup('<circle cx="{}" cy="{}" r="2.5" fill="{}"/>').format(x, y, colour)
        for x, y in placed * series.marked
    )
    line = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>')
    return line.format(path, colour) + marks


def _name(axes: Axes, series: Series, place: int, count: int) -> Markup:
    top = _HEIGHT - _BOTTOM - 14 * count if axes.named_below else _TOP + 14
    colour = _COLOURS[place % len(_COLOURS)]
    name = Markup('<text x="{}" y="{}" text-anchor="end" style="fill:{}">{}</text>')
    return name.format(_WIDTH - _RIGHT - 4, top + 14 * place, colour, series.name)


def _frame(title: str, axes: Axes, content: Markup) -> Markup:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    return (
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            _WIDTH, _HEIGHT, title
        )
        + Markup('<path d="M{},{} V{} H{}" class="axis"/>').format(_LEFT, _TOP, bottom, right)
        + _text(_LEFT, bottom + 14, "middle", f"{axes.x_range[0]:.3g}")
        + _text(right, bottom + 14, "end", f"{axes.x_range[1]:.3g}")
        + _text(_LEFT - 5, bottom, "end", f"{axes.y_range[0]:.3g}")
        + _text(_LEFT - 5, _TOP + 8, "end", f"{axes.y_range[1]:.3g}")
        + _text((_LEFT + right) / 2, _HEIGHT - 6, "middle", axes.x_name)
        + _text(4, 12, "start", axes.y_name)
        + content
        + Markup("</svg>")
    )


def _text(x: float, y: float, anchor: str, text: str) -> Markup:
    template = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
    return template.format(*_rounded(x, y), anchor, escape(text))


def _share(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return (value - low) / (high - low) if high > low else 0.5


def _rounded(*values: float) -> tuple[float, ...]:
    return tuple(round(value, 1) for value in values)
