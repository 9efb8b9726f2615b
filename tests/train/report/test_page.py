from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from ultra_train.report.charts import Chart, Mark, Series
from ultra_train.report.page import POLICY, Page
from ultra_train.report.tables import Markup, section, table

LOADING = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Links(HTMLParser):
    """Collects what the tags of a page load, and the text of its styles."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in LOADING]


@pytest.fixture(scope="module")
def text() -> str:
    page = Page("two <runs>")
    curves = [
        Series(name=name, group=name, colour=n, x={"step": [1, 2, 3], "hours": [0.1, 0.2, 0.3]}, y=[3, 2, 1])
        for n, name in enumerate(("a", "b"))
    ]
    assert page.add_chart(Chart(title="Loss", series=curves, marks=[Mark(x={"step": 2}, text="resumed")]))
    assert not page.add_chart(Chart(title="Temperature", series=[]))
    page.add(section("Settings", table(["key", "value"], [["<key>", Markup("<b>1</b>")]])))
    return page.render()


def test_a_page_loads_nothing(text):
    links = Links()
    links.feed(text)
    assert links.loaded == []
    assert not links.tags & {"link", "iframe", "img", "object", "embed"}
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "@import" not in style
    assert "url(" not in style
    assert f'Content-Security-Policy" content="{POLICY}"' in text
    assert "http" not in POLICY


def test_a_page_is_smaller_than_two_megabytes(text):
    assert len(text) < 2_000_000


def test_charts_without_data_are_absent(text):
    assert text.count("data-chart=") == 1
    assert "Temperature" not in text


def test_only_axes_with_data_are_offered(text):
    assert re.findall(r"<button data-x=(\w+)", text) == ["step", "hours"]


def test_groups_have_a_switch_each(text):
    assert re.findall(r'class=group aria-pressed=true data-group="(\w)"', text) == ["a", "b"]


def test_the_legend_of_the_page_tells_more_groups_apart_than_there_are_colours():
    page = Page("many")
    curves = [
        Series(name=f"{n}", group=f"{n}", colour=n, dash=n // 8, x={"step": [1, 2]}, y=[2, 1])
        for n in range(19)
    ]
    page.add_chart(Chart(title="Loss", series=curves))
    switches = re.findall(r'class=group .*?data-group="\d+" (style=.*?)>', page.render())
    assert len(set(switches)) == len(switches) == 19


def test_text_is_escaped_and_markup_is_not(text):
    assert "<title>two &lt;runs&gt;</title>" in text
    assert "&lt;key&gt;" in text
    assert "<td><b>1</b></td>" in text


def test_a_page_without_charts_needs_no_script():
    page = Page("empty")
    page.add(section("Notes", "nothing"))
    assert "<script" not in page.render()
