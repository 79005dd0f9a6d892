"""Small charts as SVG text, drawn without a plotting library so that a report is one light file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

_WIDTH: Final = 440
_HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 12, 36
_COLOURS: Final = ("#1f5fa8", "#d1661f")

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Series:
    """A named line; ``points`` are (x, y) in the units of the axes."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What the edges of a chart stand for."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_name: str
    y_name: str

    def place(self, point: Point) -> Point:
        """Where a point is, in the chart's pixels."""
        return (
            _LEFT + _share(point[0], self.x_range) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - _share(point[1], self.y_range) * (_HEIGHT - _TOP - _BOTTOM),
        )


def line_chart(title: str, series: Sequence[Series], axes: Axes) -> Markup:
    """Lines with their points marked and named."""
    lines = [_line(axes, s, _COLOURS[i % len(_COLOURS)], i) for i, s in enumerate(series)]
    return _frame(title, axes, Markup("").join(lines))


def reliability_chart(title: str, points: Sequence[Point]) -> Markup:
    """Accuracy over confidence, both 0..1, beside the diagonal of a perfectly calibrated model."""
    axes = Axes(x_range=(0, 1), y_range=(0, 1), x_name="confidence", y_name="accuracy")
    (x1, y1), (x2, y2) = axes.place((0, 0)), axes.place((1, 1))
    diagonal = Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="ideal"/>').format(
        *_rounded(x1, y1, x2, y2)
    )
    return _frame(title, axes, diagonal + _line(axes, Series(name="", points=points), _COLOURS[0]))


def _line(axes: Axes, series: Series, colour: str, place: int = 0) -> Markup:
    placed = [_rounded(*axes.place(point)) for point in series.points]
    path = " ".join(f"{x},{y}" for x, y in placed)
    marks = Markup("").join(
        Markup('<circle cx="{}" cy="{}" r="2.5" fill="{}"/>').format(x, y, colour)
        for x, y in placed
    )
    line = Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>')
    name = Markup('<text x="{}" y="{}" text-anchor="end" fill="{}">{}</text>')
    return (
        line.format(path, colour)
        + marks
        + name.format(_WIDTH - _RIGHT - 4, _TOP + 14 + 14 * place, colour, series.name)
    )


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
        + _text(4, (_TOP + bottom) / 2, "start", axes.y_name)
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
