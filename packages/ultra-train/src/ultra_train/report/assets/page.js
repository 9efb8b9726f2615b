// The switches of the page: they set properties of the figures that bokeh has drawn.
"use strict";

(() => {
  const $ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const make = (name, attributes = {}) => new (Bokeh.Models.get(name))(attributes);
  const { axes, charts } = JSON.parse(document.getElementById("data").textContent);
  const cards = $("[data-chart]");
  const hidden = new Set(); // groups that are switched off
  const figures = new Map(); // by the number of the chart
  const shared = make("Range1d"); // all charts show the same part of the axis
  let axis = Object.keys(axes)[0];
  let weight = 0;

  const role = (renderer) => renderer.tags[0];
  const number = (renderer) => renderer.tags[1];
  const group = (renderer) => renderer.tags[role(renderer) === "mark" ? 2 : 3];
  const renderers = () => [...figures.values()].flatMap((figure) => figure.renderers);
  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const isPressed = (button) => button.getAttribute("aria-pressed") === "true";

  function decode(numbers) {
    const [[kind, text]] = Object.entries(numbers);
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return kind === "f8" ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer);
  }

  // An axis that a curve does not have hides it.
  function columnsOf(encoded, length) {
    const columns = Object.fromEntries(Object.entries(encoded).map(([name, numbers]) => [name, decode(numbers)]));
    const nowhere = new Float64Array(length ?? columns.value.length).fill(NaN);
    return { ...Object.fromEntries(Object.keys(axes).map((name) => [name, nowhere])), ...columns };
  }

  function scaleOf(logarithmic) {
    return {
      scale: make(logarithmic ? "LogScale" : "LinearScale"),
      ticker: make(logarithmic ? "LogTicker" : "BasicTicker"),
    };
  }

  function draw(chart) {
    const { scale, ticker } = scaleOf(chart.log);
    const decoded = chart.series.map((series) => columnsOf(series.columns));
    const largest = Math.max(...decoded.map(({ value }) => value.reduce((most, one) => Math.max(most, Math.abs(one)), 0)));
    // without a span of its own, an axis of equal values would reach 1 below and above them
    const range = make("DataRange1d", { only_visible: true, range_padding: 0.06, default_span: largest || 1 });
    const figure = make("Plot", {
      height: 260,
      sizing_mode: "stretch_width",
      x_range: shared,
      y_range: range,
      x_scale: make("LinearScale"),
      y_scale: scale,
      extra_y_ranges: { marks: make("Range1d", { start: 0, end: 1 }) },
      extra_y_scales: { marks: make("LinearScale") },
      toolbar_location: null,
      background_fill_alpha: 0,
      border_fill_alpha: 0,
      outline_line_color: null,
      min_border_right: 12,
      min_border_top: 8,
    });
    addAxes(figure, ticker);
    const curves = chart.series.map((series, number) => addCurve(figure, series, decoded[number], number));
    range.renderers = curves.flatMap(({ line, others }) => [line, ...others]);
    const marks = chart.marks.map((kind) => addMarks(figure, kind));
    const where = Object.entries(axes).map(([name, one]) => ` · @${name}{${one.format}} ${one.label}`).join("");
    const tip = (text) => `<div style="font: 12px/1.5 system-ui, sans-serif">${text}<small>${where}</small></div>`;
    const hover = { point_policy: "snap_to_data", line_policy: "nearest", formatters: { "@value": "printf" } };
    const mode = curves.length > 8 ? "mouse" : "vline"; // a value of each of many curves would cover the chart
    const curve = tip("$name <b>@value{%.4g}</b>");
    const zoom = make("BoxZoomTool", { dimensions: "width" });
    const tools = [
      make("HoverTool", { ...hover, renderers: curves.map(({ line }) => line), mode, tooltips: curve }),
      zoom,
      make("WheelZoomTool", { dimensions: "width", modifiers: { ctrl: true } }),
    ];
    if (marks.length) tools.push(make("HoverTool", { renderers: marks, mode: "mouse", tooltips: tip("@text") }));
    figure.add_tools(...tools);
    // a finger that scrolls the page must not zoom into the chart below it
    figure.toolbar.active_drag = matchMedia("(pointer: coarse)").matches ? null : zoom;
    return figure;
  }

  function addAxes(figure, ticker) {
    const font = { major_label_text_font: "system-ui, sans-serif", major_label_text_font_size: "11px" };
    const ticks = { minor_tick_line_color: null, major_tick_in: 0, major_tick_out: 4 };
    const below = make("LinearAxis", {
      ...font,
      ...ticks,
      ticker: make("BasicTicker", { desired_num_ticks: 5 }),
      formatter: make("NumeralTickFormatter", { format: "0.[00]a" }),
    });
    const left = make("LinearAxis", {
      ...font,
      ...ticks,
      ticker,
      formatter: make("PrintfTickFormatter", { format: "%.4g" }),
      axis_line_color: null,
      major_tick_line_color: null,
    });
    figure.add_layout(below, "below");
    figure.add_layout(left, "left");
    figure.add_layout(make("Grid", { dimension: 1, ticker }), "center");
  }

  function addCurve(figure, series, columns, number) {
    const source = make("ColumnDataSource", { data: { ...columns, smooth: columns.mean } });
    const style = { line_dash: series.dash, line_join: "round" };
    const add = (kind, name, attributes) => {
      const tags = [kind, number, series.colour, series.group, series.length];
      const glyph = make(name, { x: { field: axis }, ...attributes });
      return figure.add_glyph(glyph, source, { name: series.name, tags });
    };
    const others = [];
    if (columns.low) {
      others.push(add("band", "VArea", { y1: { field: "low" }, y2: { field: "high" }, fill_alpha: 0.18 }));
    }
    const line = add("line", "Line", { y: { field: "value" }, line_width: 1.8, ...style });
    add("smooth", "Line", { y: { field: "smooth" }, line_width: 2.2, ...style });
    if (series.length === "few") others.push(add("dots", "Scatter", { y: { field: "value" }, size: { value: 5 } }));
    return { line, others };
  }

  function addMarks(figure, { kind, group, columns, text }) {
    const data = { ...columnsOf(columns, text.length), text };
    const source = make("ColumnDataSource", { data });
    const place = { y_range_name: "marks", tags: ["mark", kind, group] };
    const [at, foot, top] = [{ field: axis }, { value: 0 }, { value: 1 }];
    const line = { x0: at, x1: at, y0: foot, y1: top, line_dash: "dotted", line_alpha: 0.7 };
    figure.add_glyph(make("Segment", line), source, place);
    const dot = { x: at, y: foot, marker: { value: "triangle" }, size: { value: 11 } };
    return figure.add_glyph(make("Scatter", dot), source, place);
  }

  function paint() {
    const [soft, rule] = [colour("soft"), colour("rule")];
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
    if (all) shared.setv({ ...all, reset_start: all.start, reset_end: all.end });
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
      if (role(renderer) !== "smooth") continue;
      const source = renderer.data_source;
      source.data = { ...source.data, smooth: smooth(source.data.mean) };
    }
    showCurves();
  }

  function showCurves() {
    for (const card of cards) {
      const figure = figures.get(Number(card.dataset.chart));
      const off = new Set($(".curve", card).filter((b) => !isPressed(b)).map((b) => Number(b.dataset.series)));
      const several = figure.renderers.filter((one) => role(one) === "line").length > 1;
      for (const renderer of figure.renderers) {
        const kind = role(renderer);
        const shown = !hidden.has(group(renderer)) && (kind === "mark" || !off.has(number(renderer)));
        // of a long curve the means are drawn over the range of its values
        const averaged = weight > 0 || renderer.tags[4] === "long";
        renderer.visible = shown && (kind !== "smooth" || averaged);
        if (kind === "line") renderer.glyph.line_alpha = averaged ? (several ? 0.25 : 0.4) : 1;
      }
    }
  }

  function showScale(card, logarithmic) {
    const figure = figures.get(Number(card.dataset.chart));
    const [left] = figure.left;
    const { scale, ticker } = scaleOf(logarithmic);
    figure.y_scale = scale;
    left.ticker = ticker;
    for (const grid of figure.center) grid.ticker = ticker;
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

  async function begin() {
    const page = new (Bokeh.require("document").Document)();
    for (const card of cards) {
      const number = Number(card.dataset.chart);
      figures.set(number, draw(charts[number]));
    }
    paint();
    listen();
    showCurves();
    showEverything();
    for (const card of cards) page.add_root(figures.get(Number(card.dataset.chart)));
    await Bokeh.embed.add_document_standalone(page, document.body, cards.map((card) => card.querySelector(".plot")));
  }

  begin();
})();
