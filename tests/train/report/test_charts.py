from __future__ import annotations

import math

import numpy as np
import pytest

from ultra_train.report.charts import AXES, Chart, Series, card
from ultra_train.report.charts import _columns as columns


def series(values, name="loss", **options):
    steps = list(range(1, len(values) + 1))
    return Series(name=name, x={"step": steps}, y=values, **options)


@pytest.mark.parametrize("values", [[], [1.0], [math.nan, math.inf, 2.0], [math.nan] * 5])
def test_a_chart_without_two_points_is_not_drawn(values):
    assert Chart(title="Loss", series=[series(values)]).drawn() is None


def test_an_empty_curve_is_left_out_of_its_chart():
    chart = Chart(title="Loss", series=[series([1.0, 2.0]), series([math.nan] * 2, "eval")]).drawn()
    assert [one.name for one in chart.series] == ["loss"]


def test_values_that_are_not_finite_are_left_out():
    drawn, few = columns(series([1.0, math.nan, math.inf, 4.0], low=[0, 0, 0, 3], high=[2, 0, 0, 5]), AXES)
    assert drawn["value"].tolist() == [1.0, 4.0]
    assert drawn["step"].tolist() == [1.0, 4.0]
    assert drawn["high"].tolist() == [2.0, 5.0]
    assert np.isnan(drawn["hours"]).all()
    assert few


def test_only_positive_values_have_a_logarithmic_axis():
    positive, zero = (
        Chart(title="a", series=[series([1.0, 2.0])]),
        Chart(title="a", series=[series([0.0, 2.0])]),
    )
    assert "class=log" in card(positive, 0, "")
    assert "class=log" not in card(zero, 0, "")


def test_names_are_escaped():
    text = card(Chart(title="a<b", note="<i>", series=[series([1.0, 2.0], "<script>")]), 0, "")
    assert "<script>" not in text
    assert "a&lt;b" in text
    assert "<i>" not in text.replace("<i></i>", "")
