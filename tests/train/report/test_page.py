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
    rows = [["<key>", Markup("<b>1</b>")], ["a.b_c ____", 2]]
    page.add(section("Settings", table(["key", "value"], rows)))
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
    assert "<th scope=row>a.<wbr>b_<wbr>c ____</th>" in text


def test_a_page_without_charts_needs_no_script():
    page = Page("empty")
    page.add(section("Notes", "nothing"))
    assert "<script" not in page.render()


@pytest.mark.parametrize(("halves", "whole"), [(1, 2), (2, 1), (3, 2)])
def test_a_chart_without_a_neighbour_takes_the_full_width(halves, whole):
    page = Page("charts")
    curve = Series(name="a", x={"step": [1, 2]}, y=[2, 1])
    page.add_chart(Chart(title="first", series=[curve], whole=True))
    for number in range(halves):
        page.add_chart(Chart(title=f"{number}", series=[curve]))
    page.add("<p>end</p>")
    text = page.render()
    assert text.count('class="card chart whole"') == whole
    assert text.index("<h2>0") < text.index("<p>end")
