// Plots: axes, lines, dots and points to drag.
import { element, fill, memo, shape, short, tidy, unique } from "./frame.mjs";
import { pixel } from "./handle.mjs";

/** @import { Figure, Memo } from "./frame.mjs" */
/** @import { Vector } from "./rk.mjs" */

/**
 * @typedef {[low: number, high: number]} Range
 * @typedef {{ left: number, right: number, top: number, bottom: number }} Area in pixels
 */
/**
 * From numbers to pixels, and back with `inverse`.
 * @typedef {((v: number) => number) & { inverse: (p: number) => number }} Scale
 */
/**
 * The axes of a plot.
 * @typedef {object} Axes
 * @property {Range} x
 * @property {Range} y
 * @property {string} xlabel
 * @property {string} ylabel
 * @property {boolean} [xlog]
 * @property {boolean} [ylog]
 * @property {boolean} [equal] a unit is as long across as it is up
 */

const MARGIN = { left: 46, right: 16, top: 8, bottom: 36 };

/** A point that breaks a line. */
export const GAP = [NaN, NaN];

/** One plot: `set` its axes, then draw into it by name; what has the same name is replaced. */
export class Plot {
  /** @type {Area} */
  area = { left: 0, right: 1, top: 0, bottom: 1 };
  x = scale([0, 1], [0, 1]);
  y = scale([0, 1], [1, 0]);
  svg = shape("svg", { role: "img", class: "live-plot" });
  /** What is drawn over lines and dots: handles and words. */
  above = shape("g");
  #axes = shape("g", { class: "live-axes" });
  #window = shape("rect");
  #inside = shape("g");
  /** @type {Map<string, SVGPathElement>} */
  #layers = new Map();
  /** @type {Memo<void>} */
  #fitted = memo();
  #box;
  #height;

  /**
   * @param {Figure} figure
   * @param {{ title: string, height?: number, wide?: boolean }} options
   */
  constructor(figure, { title, height = 260, wide = false }) {
    const id = unique();
    const clip = shape("clipPath", { id: `${id}-clip` }, this.#window);
    fill(this.#inside, { "clip-path": `url(#${id}-clip)` });
    fill(this.svg, { "aria-labelledby": `${id}-title` }, [
      shape("title", { id: `${id}-title` }, title),
      shape("defs", {}, clip),
      this.#axes,
      this.#inside,
      this.above,
    ]);
    this.#height = height;
    this.#box = element("div", { class: wide ? "live-box live-row" : "live-box" }, this.svg);
    figure.plots.append(this.#box);
  }

  /** @param {Axes} axes */
  set(axes) {
    const width = Math.max(240, Math.floor(this.#box.clientWidth));
    const full = this.#box.closest(":fullscreen"); // there the grid says how high
    const height = full ? Math.max(200, this.#box.clientHeight) : this.#height;
    this.#fitted(JSON.stringify([axes, width, height]), () => this.#fit(axes, width, height));
  }

  /**
   * @param {Axes} axes
   * @param {number} width
   * @param {number} height
   */
  #fit(axes, width, height) {
    const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
    const { left, top } = MARGIN;
    this.area = { left, right, top, bottom };
    const ranges = axes.equal ? squared(axes, this.area) : axes;
    this.x = scale(ranges.x, [left, right], axes.xlog);
    this.y = scale(ranges.y, [bottom, top], axes.ylog);
    fill(this.svg, { viewBox: `0 0 ${width} ${height}`, width, height });
    fill(this.#window, { x: left, y: top, width: right - left, height: bottom - top });
    this.#axes.replaceChildren(...axis(this, axes, height));
  }

  /**
   * Whether a point [x, y] can be seen, the border included.
   * @param {Vector} point
   */
  holds([u, v]) {
    const { left, right, top, bottom } = this.area;
    const [px, py] = [this.x(u), this.y(v)];
    return px > left - 1 && px < right + 1 && py > top - 1 && py < bottom + 1;
  }

  /**
   * @param {string} name
   * @param {string} style
   * @param {string} d
   */
  #draw(name, style, d) {
    let layer = this.#layers.get(name);
    if (!layer) {
      layer = shape("path");
      this.#layers.set(name, layer);
      this.#inside.append(layer);
    }
    fill(layer, { class: style, d });
  }

  /**
   * A line through points [x, y], broken where one is not finite.
   * @param {string} name
   * @param {Vector[]} points
   * @param {string} style
   */
  line(name, points, style) {
    this.#draw(name, `live-line ${style}`, outline(points, this.x, this.y));
  }

  /**
   * Round marks: zero-length strokes with round caps, so that thousands cost one node.
   * @param {string} name
   * @param {Vector[]} points
   * @param {string} style
   */
  dots(name, points, style) {
    const marks = points.map(([u, v]) => `M${pixel(near(this.x(u)))} ${pixel(near(this.y(v)))}h0`);
    this.#draw(name, `live-dots ${style}`, marks.join(""));
  }

  /**
   * Short upright strokes from the bottom of the plot, one for each x.
   * @param {string} name
   * @param {number[]} xs
   * @param {number} length in pixels
   * @param {string} style
   */
  bars(name, xs, length, style) {
    const strokes = xs.map((x) => `M${pixel(this.x(x))} ${this.area.bottom}v${-length}`);
    this.#draw(name, `live-line ${style}`, strokes.join(""));
  }
}

/**
 * Far outside the window a renderer loses precision: hold the pen nearby; what is no number
 * is out there too.
 * @param {number} v
 */
const near = (v) => (v > -1e5 ? Math.min(v, 1e5) : -1e5);

/**
 * The `d` of a line through points, broken where one is not finite. Points closer than two
 * pixels to the one before are left out, but for the last.
 * @param {Vector[]} points
 * @param {(v: number) => number} x
 * @param {(v: number) => number} y
 */
export function outline(points, x, y) {
  let d = "";
  let pen = "M";
  let [fromX, fromY] = [NaN, NaN];
  for (let i = 0; i < points.length; i++) {
    const [px, py] = [x(points[i][0]), y(points[i][1])];
    if (Number.isFinite(px) && Number.isFinite(py)) {
      const next = points[i + 1];
      const between = pen === "L" && next && Number.isFinite(next[0] + next[1]);
      if (between && Math.abs(px - fromX) < 2 && Math.abs(py - fromY) < 2) continue;
      d += `${pen}${pixel(near(px))} ${pixel(near(py))}`;
      [fromX, fromY] = [px, py];
      pen = "L";
    } else {
      pen = "M";
    }
  }
  return d;
}

// --- axes ------------------------------------------------------------------------------

/**
 * @param {Range} range
 * @param {[from: number, to: number]} pixels
 * @returns {Scale}
 */
export function scale([low, high], [from, to], log = false) {
  const f = log ? Math.log10 : (/** @type {number} */ v) => v;
  const [a, b] = [f(low), f(high)];
  const map = (/** @type {number} */ v) => from + ((f(v) - a) / (b - a)) * (to - from);
  const inverse = (/** @type {number} */ p) => {
    const v = a + ((p - from) / (to - from)) * (b - a);
    return log ? 10 ** v : v;
  };
  return Object.assign(map, { inverse });
}

/**
 * Widen one range so that a unit is as long across as it is up.
 * @param {{ x: Range, y: Range }} ranges
 * @param {Area} area
 * @returns {{ x: Range, y: Range }}
 */
export function squared({ x, y }, { left, right, top, bottom }) {
  const unit = Math.max((x[1] - x[0]) / (right - left), (y[1] - y[0]) / (bottom - top));
  /** @type {(range: Range, pixels: number) => Range} */
  const around = ([low, high], pixels) => {
    const [middle, half] = [(low + high) / 2, (unit * pixels) / 2];
    return [middle - half, middle + half];
  };
  return { x: around(x, right - left), y: around(y, bottom - top) };
}

/**
 * The axes as shapes: lines, ticks and words.
 * @param {Plot} plot
 * @param {Axes} axes
 * @param {number} height of the plot
 */
function axis({ area, x, y }, { xlog, ylog, xlabel, ylabel }, height) {
  const { left, right, top, bottom } = area;
  const parts = [shape("path", { class: "live-axis", d: `M${left} ${top}V${bottom}H${right}` })];
  const grid = (/** @type {string} */ d) => parts.push(shape("path", { class: "live-grid", d }));
  const words = [];
  for (const v of ticks(x.inverse(left), x.inverse(right), (right - left) / 70, xlog)) {
    grid(`M${pixel(x(v))} ${top}V${bottom}`);
    words.push(text(pixel(x(v)), bottom + 15, tick(v, xlog), "middle"));
  }
  for (const v of ticks(y.inverse(bottom), y.inverse(top), (bottom - top) / 45, ylog)) {
    grid(`M${left} ${pixel(y(v))}H${right}`);
    words.push(text(left - 5, pixel(y(v)) + 4, tick(v, ylog), "end"));
  }
  words.push(text((left + right) / 2, height - 5, xlabel, "middle"));
  const turned = text(0, 0, ylabel, "middle");
  turned.setAttribute("transform", `translate(11 ${(top + bottom) / 2}) rotate(-90)`);
  return [...parts, ...words, turned];
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} content
 * @param {"start" | "middle" | "end"} anchor
 */
export const text = (x, y, content, anchor) =>
  shape("text", { x, y, "text-anchor": anchor }, content);

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/**
 * A number at an axis.
 * @param {number} v
 */
export function tick(v, log = false) {
  if (!log) return short(v);
  const exponent = Math.round(Math.log10(v));
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[Number(digit)]);
  return `10${exponent < 0 ? "⁻" : ""}${digits.join("")}`;
}

/**
 * About `n` round numbers between a and b; powers of ten on a logarithmic axis.
 * @param {number} a
 * @param {number} b
 * @param {number} n
 */
export function ticks(a, b, n, log = false) {
  if (log) {
    const exponents = integers(Math.log10(a), Math.log10(b));
    const every = Math.max(1, Math.ceil(exponents.length / Math.max(n, 2)));
    return exponents.filter((e) => e % every === 0).map((e) => 10 ** e);
  }
  const rough = (b - a) / Math.max(n, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((m) => m * power >= rough * 0.999) ?? 10);
  return integers(a / step, b / step).map((i) => tidy(i * step));
}

/**
 * The whole numbers from a to b, but for rounding.
 * @param {number} a
 * @param {number} b
 */
function integers(a, b) {
  const [first, last] = [Math.ceil(a - 1e-9), Math.floor(b + 1e-9)];
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
}
