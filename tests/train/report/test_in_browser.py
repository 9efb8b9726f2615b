"""The page in a real browser; skipped where there is none."""

from __future__ import annotations

import json
import os

import pytest

from support.chromium import PROGRAM, opened
from ultra_train.report.run_page import page_of
from ultra_train.report.run_record import RunRecord

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed (Debian's package chromium)"),
    pytest.mark.skipif("ULTRA_NO_BROWSER" in os.environ, reason="ULTRA_NO_BROWSER is set, as in .ci/run"),
]

INKED = """[...document.querySelectorAll("[data-chart]")].map((card) => {
  const number = Number(card.dataset.chart);
  const figure = Bokeh.documents[0].roots()[number];
  const view = Bokeh.index.get_by_id(figure.id);
  const canvas = view.canvas_view.primary.el;
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const rgb = (name) => {
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return [1, 3, 5].map((at) => parseInt(probe.fillStyle.slice(at, at + 2), 16)).join();
  };
  const seen = {};
  for (let i = 0; i < pixels.length; i += 4) {
    if (pixels[i + 3] > 200) {
      const key = [pixels[i], pixels[i + 1], pixels[i + 2]].join();
      seen[key] = (seen[key] ?? 0) + 1;
    }
  }
  const curves = [...new Set(figure.renderers.filter((r) => r.tags[0] === "line").map((r) => r.tags[2]))];
  return [card.querySelector("h2").textContent, curves.map((colour) => seen[rgb(`--series-${colour}`)] ?? 0)];
})"""
"""For every chart, the number of pixels in the colour of each of its curves."""

TOOLTIPS = """(() => {
  const found = [];
  const visit = (root) => root.querySelectorAll("*").forEach((element) => {
    if (element.shadowRoot) visit(element.shadowRoot);
    if (element.classList.contains("bk-tooltip-content")) found.push(element.textContent);
  });
  visit(document);
  return found;
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a run with every kind of curve, an event, and a name that is no HTML."""
    lines = [
        {
            "step": n,
            "loss": 5 / n,
            "tokens_seen": 100 * n,
            "training_hours": n / 100,
            "lr_norms": 0.1,
            "lr_<other>": 0.2 + n / 100,
            "grad_norm": 1 + n % 3,
            "memory_gb": 1.5,
        }
        for n in range(1, 2001)
    ]
    lines += [{"step": n, "eval_loss": 6 / n, "eval_perplexity": 2.0 + n} for n in range(100, 2001, 100)]
    lines += [{"event": "dropped_update", "step": 1000, "reason": "the loss is </script> nan"}]
    path = tmp_path_factory.mktemp("page") / "page.html"
    page_of([RunRecord(name="a run", lines=lines)]).write(path)
    return path


@pytest.fixture(params=[(1280, False), (390, True)], ids=["wide-light", "narrow-dark"])
def tab(request, page, tmp_path):
    width, dark = request.param
    with opened(page, tmp_path, width=width, dark=dark) as one:
        one.wait_for("globalThis.Bokeh?.documents.length && Bokeh.documents[0].is_idle")
        yield one


def hover(tab, selector, share):
    """Move the pointer to a place in a chart, given as a share of its width, and return the tooltips."""
    box = json.loads(
        tab.evaluate(
            f"""(() => {{ const card = document.querySelector({json.dumps(selector)});
            card.scrollIntoView({{block: "center"}});
            return JSON.stringify(card.querySelector(".plot").getBoundingClientRect()); }})()"""
        )
    )
    x, y = box["left"] + share * box["width"], box["top"] + box["height"] / 2
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - 3, y=y)
    tab.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    return tab.wait_for(f"(() => {{ const found = {TOOLTIPS}; return found.length ? found : null; }})()")


def test_every_curve_is_drawn_and_the_pointer_shows_values(tab):
    drawn = dict(tab.evaluate(INKED))
    assert set(drawn) == {
        "Loss",
        "Perplexity",
        "Learning rate by role",
        "Gradient norm before clipping",
        "Memory GB",
    }
    assert [title for title, pixels in drawn.items() if min(pixels) < 20] == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    told = hover(tab, "[data-chart='0']", 0.6)
    assert any(text.startswith("training ") and "tokens" in text for text in told)
    assert tab.complaints == []


def test_switches_change_the_charts(tab):
    figure = "Bokeh.documents[0].roots()[0]"
    assert tab.evaluate(f"{figure}.x_range.end") == pytest.approx(2000, rel=0.02)
    tab.evaluate("document.querySelector('[data-x=tokens]').click()")
    assert tab.evaluate(f"{figure}.x_range.end") == pytest.approx(200_000, rel=0.02)
    tab.evaluate("document.querySelector('.log').click()")
    assert tab.evaluate(f"{figure}.y_scale.type") == "LogScale"
    tab.evaluate("document.querySelector('.curve').click()")
    shown = f"{figure}.renderers.filter((one) => one.name === 'training').map((one) => one.visible)"
    assert not any(tab.evaluate(shown))
    tab.evaluate("document.querySelector('.curve').click()")
    tab.evaluate(
        "{const s = document.getElementById('smoothing'); s.value = 0.9; s.dispatchEvent(new Event('input'))}"
    )
    data = f"{figure}.renderers.find((one) => one.tags[0] === 'smooth').data_source.data"
    raw, smooth = (tab.evaluate(f"[...{data}.{name}]") for name in ("mean", "smooth"))
    assert smooth[0] == pytest.approx(raw[0])
    assert min(raw) < smooth[20] < max(raw)
    assert smooth[20] != raw[20]
    assert dict(tab.evaluate(INKED))["Loss"][0] > 20
    assert tab.complaints == []
