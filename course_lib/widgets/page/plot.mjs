// What every live figure is made of: a frame with controls and a status line, plots with
// axes, lines and handles. Colours and sizes are in live.css; nothing here knows an ODE.

const SVG = "http://www.w3.org/2000/svg";

export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Every figure is a module of its own, so a count alone would not do.
const tag = Math.random().toString(36).slice(2);
let count = 0;
const unique = () => `live-${tag}-${count++}`;

// --- the frame ---------------------------------------------------------------------------

// A figure in `el` that calls `draw()` once a frame after any trait of the model changed,
// and says what `draw` returns. An error becomes a message in the figure.
export function frame(el, model, { title, draw }) {
  const controls = element("div", { class: "live-controls" });
  const plots = element("div", { class: "live-plots" });
  const status = element("p", { class: "live-status", "aria-live": "polite" });
  const root = element("div", { class: "live", role: "group", "aria-label": title });
  root.append(controls, plots, status);
  el.append(root);
  let asked = 0;
  const redraw = () => {
    asked = 0;
    let said;
    try {
      said = draw();
      root.classList.remove("live-failed");
    } catch (error) {
      said = `This figure could not be drawn: ${error.message}`;
      root.classList.add("live-failed");
    }
    if (said !== status.textContent) status.textContent = said;
    root.dataset.drawn = Number(root.dataset.drawn ?? 0) + 1;
  };
  const ask = () => (asked ||= requestAnimationFrame(redraw));
  model.on("change", ask);
  const watch = new ResizeObserver(ask);
  watch.observe(plots);
  const close = () => {
    model.off("change", ask);
    watch.disconnect();
  };
  return { controls, plots, ask, close };
}

// Tell the kernel of every move at once. Jupyter sends one message at a time, keeps the
// newest of those that wait, and only then knows the echo of a move from a newer move.
export function put(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

// --- controls ----------------------------------------------------------------------------

export function choice(figure, model, name, label, options) {
  const input = element("select", { "data-lm-suppress-shortcuts": "true" });
  for (const [value, text] of options) input.append(new Option(text, value));
  bind(figure, model, name, input, {
    show: (value) => (input.value = value),
    read: () => input.value,
  });
  return labelled(figure, label, input);
}

// A slider for a number, on a logarithmic scale if `log`. `lens` reads and writes the
// number where the trait holds more than that, such as one coordinate of a point.
export function slider(figure, model, name, label, options) {
  const { min, max, step, log = false, format = short, lens = identity } = options;
  const [to, from] = log ? [Math.log10, (x) => 10 ** x] : [(x) => x, (x) => x];
  const input = element("input", {
    type: "range",
    min: to(min),
    max: to(max),
    step: step ?? (log ? 0.01 : (max - min) / 200),
    "data-lm-suppress-shortcuts": "true",
  });
  // The input says its value already.
  const output = element("output", { "aria-live": "off" });
  bind(figure, model, name, input, {
    show: (held) => {
      const value = lens.get(held);
      input.value = to(value);
      output.textContent = format(value);
      input.setAttribute("aria-valuetext", format(value));
    },
    read: () => lens.set(model.get(name), tidy(from(Number(input.value)))),
  });
  return labelled(figure, label, input, output);
}

const identity = { get: (x) => x, set: (_, x) => x };

export const coordinate = (d) => ({
  get: (point) => point[d],
  set: (point, x) => point.with(d, x),
});

export const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

const tidy = (x) => Number(x.toPrecision(6));

function bind(figure, model, name, input, { show, read }) {
  input.addEventListener("input", () => put(model, name, read()));
  const update = () => show(model.get(name));
  model.on(`change:${name}`, update);
  update();
}

function labelled(figure, label, input, ...more) {
  input.id = unique();
  const box = element("div", { class: "live-control" });
  box.append(element("label", { for: input.id }, label), input, ...more);
  figure.controls.append(box);
  return { box, input, hide: (hidden) => (box.hidden = hidden) };
}

// --- numbers as people read them ---------------------------------------------------------

export function short(x) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  const text = size < 1e-3 || size >= 1e5 ? x.toExponential(1) : String(Number(x.toPrecision(3)));
  return text.replace(".0e", "e").replace("e+", "e").replaceAll("-", "−");
}

// --- plots -------------------------------------------------------------------------------

const MARGIN = { left: 46, right: 16, top: 8, bottom: 36 };

// One plot: `set` its ranges, then draw into it by name; what has the same name is replaced.
export function plot(figure, { title, height = 260, wide = false }) {
  const id = unique();
  const axes = shape("g", { class: "live-axes" });
  const inside = shape("g", { "clip-path": `url(#${id}-clip)` });
  const above = shape("g");
  const window_ = shape("rect");
  const svg = shape("svg", { role: "img", "aria-labelledby": `${id}-title`, class: "live-plot" });
  svg.append(
    shape("title", { id: `${id}-title` }, title),
    shape("defs", {}, shape("clipPath", { id: `${id}-clip` }, window_)),
    axes,
    inside,
    above,
  );
  const box = element("div", { class: wide ? "live-box live-row" : "live-box" }, svg);
  figure.plots.append(box);
  const layers = new Map();
  let drawn = "";
  const self = { svg, above, set, line, dots, bars, holds, x: null, y: null, area: null };

  function set(ranges) {
    const width = Math.max(240, Math.floor(box.clientWidth));
    const key = JSON.stringify([ranges, width]);
    if (key === drawn) return self;
    drawn = key;
    const area = {
      left: MARGIN.left,
      right: width - MARGIN.right,
      top: MARGIN.top,
      bottom: height - MARGIN.bottom,
    };
    self.area = area;
    const fitted = ranges.equal ? squared(ranges, area) : ranges;
    self.x = scale(fitted.x, [area.left, area.right], ranges.xlog);
    self.y = scale(fitted.y, [area.bottom, area.top], ranges.ylog);
    fill(svg, { viewBox: `0 0 ${width} ${height}`, width, height }, []);
    fill(window_, { x: area.left, y: area.top }, []);
    fill(window_, { width: area.right - area.left, height: area.bottom - area.top }, []);
    axes.replaceChildren(...axis(self, area, ranges, height));
    return self;
  }

  // Whether a point [x, y] can be seen, its own border included.
  function holds([u, v]) {
    const { left, right, top, bottom } = self.area;
    const [px, py] = [self.x(u), self.y(v)];
    return px > left - 1 && px < right + 1 && py > top - 1 && py < bottom + 1;
  }

  function layer(name) {
    if (!layers.has(name)) {
      layers.set(name, shape("path"));
      inside.append(layers.get(name));
    }
    return layers.get(name);
  }

  // A path through points [x, y], broken where one is not finite.
  function line(name, points, style) {
    fill(layer(name), { class: `live-line ${style}`, d: path(points, self) }, []);
  }

  // Round marks: zero-length strokes with round caps, so that thousands cost one node.
  function dots(name, points, style) {
    const d = points.map((p) => `M${pixel(near(self.x(p[0])))} ${pixel(near(self.y(p[1])))}h0`).join("");
    fill(layer(name), { class: `live-dots ${style}`, d }, []);
  }

  // Short upright strokes from the bottom of the plot, one for each x.
  function bars(name, xs, length, style) {
    const foot = height - MARGIN.bottom;
    const d = xs.map((x) => `M${pixel(self.x(x))} ${foot}v${-length}`).join("");
    fill(layer(name), { class: `live-line ${style}`, d }, []);
  }

  return self;
}

// A point that breaks a line.
export const GAP = [NaN, NaN];

const pixel = (v) => Math.round(v * 10) / 10;

// Points closer than two pixels to the one before are left out, but for the last.
function path(points, { x, y }) {
  let d = "";
  let pen = "M";
  let [fromX, fromY] = [NaN, NaN];
  for (let i = 0; i < points.length; i++) {
    const [px, py] = [x(points[i][0]), y(points[i][1])];
    if (Number.isFinite(px) && Number.isFinite(py)) {
      const next = points[i + 1];
      const between = pen === "L" && next && Number.isFinite(next[0] + next[1]);
      if (between && Math.abs(px - fromX) < 2 && Math.abs(py - fromY) < 2) continue;
      // Far outside the window a renderer loses precision: hold the pen nearby.
      d += `${pen}${pixel(near(px))} ${pixel(near(py))}`;
      [fromX, fromY] = [px, py];
      pen = "L";
    } else {
      pen = "M";
    }
  }
  return d;
}

const near = (v) => clamp(v, -1e5, 1e5);

function scale([low, high], [from, to], log = false) {
  const f = log ? Math.log10 : (v) => v;
  const [a, b] = [f(low), f(high)];
  const map = (v) => from + ((f(v) - a) / (b - a)) * (to - from);
  map.inverse = (p) => {
    const v = a + ((p - from) / (to - from)) * (b - a);
    return log ? 10 ** v : v;
  };
  return map;
}

// Widen one range so that a unit is as long across as it is up.
function squared({ x, y }, { left, right, top, bottom }) {
  const unit = Math.max((x[1] - x[0]) / (right - left), (y[1] - y[0]) / (bottom - top));
  const around = ([low, high], pixels) => {
    const [middle, half] = [(low + high) / 2, (unit * pixels) / 2];
    return [middle - half, middle + half];
  };
  return { x: around(x, right - left), y: around(y, bottom - top) };
}

function axis(self, { left, right, top, bottom }, { xlog, ylog, xlabel, ylabel }, height) {
  const [x0, x1] = [self.x.inverse(left), self.x.inverse(right)];
  const [y0, y1] = [self.y.inverse(bottom), self.y.inverse(top)];
  const parts = [shape("path", { class: "live-axis", d: `M${left} ${top}V${bottom}H${right}` })];
  for (const v of ticks(x0, x1, (right - left) / 70, xlog)) {
    const x = pixel(self.x(v));
    parts.push(shape("path", { class: "live-grid", d: `M${x} ${top}V${bottom}` }));
    parts.push(text(x, bottom + 15, tick(v, xlog), "middle"));
  }
  for (const v of ticks(y0, y1, (bottom - top) / 45, ylog)) {
    const y = pixel(self.y(v));
    parts.push(shape("path", { class: "live-grid", d: `M${left} ${y}H${right}` }));
    parts.push(text(left - 5, y + 4, tick(v, ylog), "end"));
  }
  parts.push(text((left + right) / 2, height - 5, xlabel, "middle"));
  const turned = text(0, 0, ylabel, "middle");
  turned.setAttribute("transform", `translate(11 ${(top + bottom) / 2}) rotate(-90)`);
  return [...parts, turned];
}

const text = (x, y, content, anchor) => shape("text", { x, y, "text-anchor": anchor }, content);

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function tick(v, log) {
  if (!log) return short(v);
  const exponent = Math.round(Math.log10(v));
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[digit]).join("");
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

// About `n` round numbers between a and b; powers of ten on a logarithmic axis.
export function ticks(a, b, n, log = false) {
  if (log) {
    const [low, high] = [Math.ceil(Math.log10(a) - 1e-9), Math.floor(Math.log10(b) + 1e-9)];
    const every = Math.max(1, Math.ceil((high - low + 1) / Math.max(n, 2)));
    const exponents = Array.from({ length: Math.max(0, high - low + 1) }, (_, i) => low + i);
    return exponents.filter((e) => e % every === 0).map((e) => 10 ** e);
  }
  const rough = (b - a) / Math.max(n, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const first = Math.ceil(a / step - 1e-9);
  const last = Math.floor(b / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => tidy((first + i) * step));
}

// A range that holds all finite values, with some air.
export function hull(values, air = 0.08) {
  const known = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const extra = (high - low) * air || 1;
  return [low - extra, high + extra];
}

// --- a legend, and points to drag ----------------------------------------------------------

export function legend(figure, entries) {
  const list = element("ul", { class: "live-legend" });
  for (const [style, text_] of entries) {
    list.append(element("li", {}, element("span", { class: `live-swatch ${style}` }), text_));
  }
  figure.plots.before(list);
}

// A point of the plot that pointer and touch can move; sliders do the same by keyboard.
// `at()` says where it is, `move(x, y)` what to do with a new place.
export function handle(plot_, style, { at, move }) {
  const ring = shape("circle", { r: 22, class: "live-reach" });
  const dot = shape("circle", { r: 7, class: `live-handle ${style}` });
  const group = shape("g", { class: "live-drag" }, ring, dot);
  plot_.above.append(group);
  group.addEventListener("pointerdown", (event) => {
    group.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  // touch-action alone does not keep Chromium from scrolling under an SVG group.
  group.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  group.addEventListener("pointermove", (event) => {
    if (!group.hasPointerCapture(event.pointerId)) return;
    const box = plot_.svg.getBoundingClientRect();
    const ratio = plot_.svg.viewBox.baseVal.width / box.width;
    // A point that leaves the plot could not be taken back.
    const { left, right, top, bottom } = plot_.area;
    const px = clamp((event.clientX - box.left) * ratio, left, right);
    const py = clamp((event.clientY - box.top) * ratio, top, bottom);
    move(tidy(plot_.x.inverse(px)), tidy(plot_.y.inverse(py)));
  });
  return () => {
    const [x, y] = at();
    group.setAttribute("transform", `translate(${pixel(plot_.x(x))} ${pixel(plot_.y(y))})`);
  };
}
