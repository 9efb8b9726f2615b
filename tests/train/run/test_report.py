from __future__ import annotations

from xml.etree import ElementTree

from ultra_train.run.report import chart, points, write_report


def test_values_that_are_not_finite_are_left_out():
    records = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": "nan"},
        {"step": 3, "loss": float("inf")},
        {"step": 4},
    ]
    assert points(records, "loss") == [(1.0, 2.0)]


def test_a_chart_is_well_formed_and_inside_its_box():
    tree = ElementTree.fromstring(chart({"a<b": [(0, 1.0), (10, 5.0)], "flat": [(0, 3.0), (5, 3.0)]}))
    lines = [e for e in tree if e.tag == "polyline"]
    assert len(lines) == 2
    for line in lines:
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 640
            assert 0 <= y <= 240


def test_one_value_for_all_steps_makes_a_chart_too():
    ElementTree.fromstring(chart({"a": [(1, 2.0), (2, 2.0)]}))


def test_events_are_told_and_texts_are_escaped(tmp_path):
    records = [
        {"step": 1, "loss": 2.0, "lr_attention": 0.1},
        {"step": 2, "loss": 1.0, "lr_attention": 0.2},
        {"step": 3, "event": "dropped_update", "reason": "<nan>", "module": "a (Linear)"},
    ]
    page = write_report(tmp_path, records, "my <run>").read_text()
    assert "my &lt;run&gt;" in page
    assert "&lt;nan&gt;" in page
    assert "Learning rate by role" in page
    assert "Accuracy" not in page


def test_a_run_without_any_line(tmp_path):
    assert write_report(tmp_path, [], "empty").is_file()
