from __future__ import annotations

import math
from base64 import b64decode

import numpy as np
import pytest

from ultra_train.report.charts import AXES, Chart, Mark, Series, card, drawing


def series(values, name="loss", **options):
    steps = list(range(1, len(values) + 1))
    return Series(name=name, x={"step": steps}, y=values, **options)


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, math.inf, 2.0], [math.nan] * 5])
def test_a_chart_without_two_points_is_not_drawn(values):
    assert Chart(title="Loss", series=[series(values)]).drawn() is None


def test_an_empty_curve_is_left_out_of_its_chart():
    chart = Chart(title="Loss", series=[series([1.0, 2.0]), series([math.nan] * 2, "eval")]).drawn()
    assert [one.name for one in chart.series] == ["loss"]


def decoded(curve, column):
    ((kind, text),) = curve["columns"][column].items()
    return np.frombuffer(b64decode(text), f"<{kind}").tolist()


def test_values_that_are_not_finite_are_left_out():
    one = series([1.0, math.nan, math.inf, 4.0], low=[0, 0, 0, 3], high=[2, 0, 0, 5])
    (curve,) = drawing(Chart(title="a", series=[one]), AXES)["series"]
    assert decoded(curve, "value") == [1.0, 4.0]
    assert decoded(curve, "step") == [1.0, 4.0]
    assert decoded(curve, "high") == [2.0, 5.0]
    assert "hours" not in curve["columns"]
    assert curve["length"] == "few"


def test_a_long_curve_is_thinned():
    (curve,) = drawing(Chart(title="a", series=[series(np.arange(5000.0))]), AXES)["series"]
    assert curve["length"] == "long"
    assert 1000 < len(decoded(curve, "value")) < 1210


def test_marks_of_a_kind_and_group_are_together():
    marks = [Mark(x={"step": n}, text=str(n), kind=("fault", "note")[n % 2], group="a") for n in range(4)]
    found = drawing(Chart(title="a", series=[series([1.0, 2.0])], marks=marks), AXES)["marks"]
    assert [(one["kind"], one["text"]) for one in found] == [("fault", ["0", "2"]), ("note", ["1", "3"])]
    assert decoded(found[1], "step") == [1.0, 3.0]


def test_only_positive_values_have_a_logarithmic_axis():
    positive, zero = (
        Chart(title="a", series=[series([1.0, 2.0])]),
        Chart(title="a", series=[series([0.0, 2.0])]),
    )
    assert "class=log" in card(positive, 0)
    assert "class=log" not in card(zero, 0)


def test_names_are_escaped():
    text = card(Chart(title="a<b", note="<i>", series=[series([1.0, 2.0], "<script>")]), 0)
    assert "<script>" not in text
    assert "a&lt;b" in text
    assert "<i>" not in text.replace("<i></i>", "")


@pytest.mark.parametrize(
    ("count", "group", "has"),
    [(1, "{}", False), (2, "{}", True), (8, "{}", True), (9, "{}", False), (9, "one", True)],
)
def test_the_legend_of_many_curves_is_that_of_the_page(count, group, has):
    curves = [series([1.0, 2.0], f"run {n}", group=group.format(f"run {n}")) for n in range(count)]
    assert ("class=legend" in card(Chart(title="Loss", series=curves), 0)) == has
