// The switches of the page: they set properties of the figures that bokeh has drawn.
"use strict";

(() => {
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const cards = $("[data-chart]");
  const hidden = new Set(); // groups that are switched off
  let figures = new Map();
  let axis = $("[data-x][aria-pressed=true]")[0]?.dataset.x;
  let weight = 0;

  const role = (renderer) => renderer.tags[0];
  const number = (renderer) => renderer.tags[1];
  const group = (renderer) => renderer.tags[role(renderer) === "mark" ? 2 : 3];
  const renderers = () => [...figures.values()].flatMap((figure) => figure.renderers);
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const isPressed = (button) => button.getAttribute("aria-pressed") === "true";

  function paint() {
    const [ink, soft, rule] = [colour("ink"), colour("soft"), colour("rule")];
    for (const figure of figures.values()) {
      for (const one of [...figure.left, ...figure.below]) {
        one.setv({ major_label_text_color: soft, axis_line_color: figure.left.includes(one) ? null : rule });
        one.setv({ major_tick_line_color: figure.left.includes(one) ? null : rule });
      }
      for (const grid of figure.center) grid.setv({ grid_line_color: grid.dimension === 1 ? rule : null });
      for (const tool of figure.toolbar.tools) {
        if (tool.overlay) tool.overlay.setv({ fill_color: soft, fill_alpha: 0.15, line_color: soft });
      }
      for (const renderer of figure.renderers) {
        const kind = role(renderer);
        const chosen = kind === "mark" ? colour(`mark-${renderer.tags[1]}`) : colour(`series-${renderer.tags[2]}`);
        const glyph = renderer.glyph;
        if (glyph.properties.line_color) glyph.line_color = kind === "dots" ? null : chosen;
        if (glyph.properties.fill_color) glyph.fill_color = chosen;
        if (kind === "mark" && glyph.properties.fill_color) glyph.line_color = colour("card");
      }
    }
    document.documentElement.style.setProperty("--bokeh-ink", ink);
  }

  function bounds() {
    let [low, high] = [Infinity, -Infinity];
    for (const renderer of renderers()) {
      if (role(renderer) !== "line" || hidden.has(group(renderer))) continue;
      for (const x of renderer.data_source.data[axis] ?? []) {
        if (Number.isFinite(x)) [low, high] = [Math.min(low, x), Math.max(high, x)];
      }
    }
    if (low > high) return null;
    const margin = (high - low || Math.abs(high) || 1) * 0.01;
    return { start: low - margin, end: high + margin };
  }

  function showEverything() {
    const all = bounds();
    const range = figures.values().next().value?.x_range;
    if (range && all) range.setv({ ...all, reset_start: all.start, reset_end: all.end });
  }

  function showAxis(name) {
    axis = name;
    $("[data-x]").forEach((button) => press(button, button.dataset.x === name));
    for (const renderer of renderers()) {
      const glyph = renderer.glyph;
      for (const property of ["x", "x0", "x1"]) {
        if (glyph.properties[property]) glyph[property] = { field: name };
      }
    }
    showEverything();
  }

  // An exponential moving average of the means that the drawn points stand for, corrected for its start.
  function smooth(values) {
    const out = new Float32Array(values.length);
    let [sum, total] = [0, 0];
    for (let i = 0; i < values.length; i++) {
      sum = weight * sum + (1 - weight) * values[i];
      total = weight * total + (1 - weight);
      out[i] = sum / total;
    }
    return out;
  }

  function showSmoothing() {
    for (const renderer of renderers()) {
      if (role(renderer) !== "smooth" || weight === 0) continue;
      const source = renderer.data_source;
      source.data = { ...source.data, smooth: smooth(source.data.mean) };
    }
    showCurves();
  }

  function showCurves() {
    for (const card of cards) {
      const figure = figures.get(card.dataset.chart);
      const off = new Set($(".curve", card).filter((b) => !isPressed(b)).map((b) => Number(b.dataset.series)));
      for (const renderer of figure.renderers) {
        const kind = role(renderer);
        const shown = !hidden.has(group(renderer)) && (kind === "mark" || !off.has(number(renderer)));
        renderer.visible = shown && (kind !== "smooth" || weight > 0);
        if (kind === "line") renderer.glyph.line_alpha = weight > 0 ? 0.28 : 1;
      }
    }
  }

  function showScale(card, logarithmic) {
    const figure = figures.get(card.dataset.chart);
    const make = (name) => new (Bokeh.Models.get(name))();
    const [left] = figure.left;
    const ticker = make(logarithmic ? "LogTicker" : "BasicTicker");
    figure.y_scale = make(logarithmic ? "LogScale" : "LinearScale");
    left.ticker = ticker;
    for (const grid of figure.center) if (grid.dimension === 1) grid.ticker = ticker;
  }

  function listen() {
    $("[data-x]").forEach((button) => button.addEventListener("click", () => showAxis(button.dataset.x)));
    $("#reset").forEach((button) => button.addEventListener("click", showEverything));
    $("#smoothing").forEach((slider) =>
      slider.addEventListener("input", () => {
        weight = Number(slider.value);
        slider.parentElement.querySelector("output").value = weight > 0 ? weight.toFixed(2) : "off";
        showSmoothing();
      }),
    );
    $(".group").forEach((button) =>
      button.addEventListener("click", () => {
        press(button, !isPressed(button));
        hidden[isPressed(button) ? "delete" : "add"](button.dataset.group);
        showCurves();
        showEverything();
      }),
    );
    for (const card of cards) {
      card.querySelector(".plot").addEventListener("dblclick", showEverything);
      $(".curve", card).forEach((button) =>
        button.addEventListener("click", () => {
          press(button, !isPressed(button));
          showCurves();
        }),
      );
      $(".log", card).forEach((button) =>
        button.addEventListener("click", () => {
          press(button, !isPressed(button));
          showScale(card, isPressed(button));
        }),
      );
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  }

  function begin() {
    const models = Bokeh.documents.flatMap((one) => one.roots());
    if (models.length < cards.length) {
      requestAnimationFrame(begin);
      return;
    }
    figures = new Map(models.map((model) => [model.name, model]));
    // a finger that scrolls the page must not zoom into the chart below it
    if (matchMedia("(pointer: coarse)").matches) {
      for (const figure of figures.values()) figure.toolbar.active_drag = null;
    }
    paint();
    listen();
    showEverything();
  }

  begin();
})();
