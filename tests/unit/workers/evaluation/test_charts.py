"""Charts are well-formed SVG with their points where they belong."""

from xml.etree import ElementTree as Xml

import pytest

from workers.evaluation.charts import Axes, Series, line_chart, share_axes

AXES = Axes(x_range=(1, 3), y_range=(0, 2), x_name="epoch", y_name="loss")


def test_points_are_in_proportion() -> None:
    left, bottom = AXES.place((1, 0))
    right, top = AXES.place((3, 2))

    assert AXES.place((2, 1)) == pytest.approx(((left + right) / 2, (top + bottom) / 2))
    assert left < right
    assert top < bottom, "SVG's y axis runs down"


def test_one_point_is_in_the_middle() -> None:
    axes = Axes(x_range=(1, 1), y_range=(0, 2), x_name="epoch", y_name="loss")

    assert axes.place((1, 0))[0] == AXES.place((2, 0))[0]


def test_a_chart_has_a_line_and_a_mark_for_each_point() -> None:
    svg = Xml.fromstring(
        line_chart(
            "loss",
            [Series(name="a", points=[(1, 2), (2, 1), (3, 0)]), Series(name="b", points=[(1, 1)])],
            AXES,
        )
    )

    assert [len(line.attrib["points"].split()) for line in svg.iter("polyline")] == [3, 1]
    assert len(list(svg.iter("circle"))) == 4
    assert {"a", "b", "epoch", "loss"} <= {text.text for text in svg.iter("text")}


def test_names_are_escaped() -> None:
    svg = line_chart("<script>", [Series(name="<b>&", points=[(1, 1)])], AXES)

    assert "<script>" not in svg
    assert "<b>&" in [text.text for text in Xml.fromstring(svg).iter("text")]


def test_a_diagonal_is_drawn_where_it_means_something() -> None:
    points = [Series(name="", points=[(0.2, 0.1), (0.9, 0.95)])]
    axes = share_axes("confidence", "accuracy")
    svg = Xml.fromstring(line_chart("reliability", points, axes, diagonal=True))

    assert len(list(svg.iter("line"))) == 1
    assert len(list(svg.iter("circle"))) == 2
    assert not list(Xml.fromstring(line_chart("reliability", points, axes)).iter("line"))


def test_a_long_curve_has_no_marks() -> None:
    curve = Series(name="a", points=[(i / 99, i / 99) for i in range(100)], marked=False)
    svg = Xml.fromstring(line_chart("ROC", [curve], share_axes("x", "y", named_below=True)))

    assert not list(svg.iter("circle"))
    (name,) = (text for text in svg.iter("text") if text.text == "a")
    assert float(name.attrib["y"]) > 120, "in the lower half"
