// DigitSampler: noise that a flow carries to a digit, and ten of them from one click.
import { button } from "./page/bar.mjs";
import { normals } from "./page/chance.mjs";
import { interpolate } from "./page/dense.mjs";
import {
  choice,
  coordinate,
  element,
  fill,
  frame,
  legend,
  memo,
  numberOf,
  put,
  shape,
  short,
  slider,
  unique,
} from "./page/frame.mjs";
import { generator } from "./page/generator.mjs";
import { handle, pixel } from "./page/handle.mjs";
import { plays } from "./page/play.mjs";
import { endOf, linspace, rkStep, solve } from "./page/rk.mjs";
import { ADAPTIVE, FIXED, METHODS } from "./page/tables.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure, Memo } from "./page/frame.mjs" */
/** @import { Asked, Generator } from "./page/generator.mjs" */
/** @import { Field, Path, Settings, Vector } from "./page/rk.mjs" */
/** @import { Choice } from "./page/tables.mjs" */

/**
 * @typedef {(name: string) => any} Get the value of a trait
 * @typedef {{ noise: Vector, asked: Asked }} Order what a digit is made of
 * @typedef {{ path: Path, state: Vector, guess: Vector }} Sampled
 * @typedef {Sampled & { images: Float64Array[], ms: number }} Made
 */

const [MANY, LENGTH, REACH] = [10, 4, 5];
const OFF = "none";
const LABELS = [..."0123456789", OFF];
const QUARTER = Math.PI / 2;
const COLD = 3; // digits made while the browser has yet to compile the code: no time to tell
/** @type {Choice[]} */
const GRIDS = [
  ["classes", "All ten classes"],
  ["noises", "Ten noises"],
  ["walk", "Ten steps of the walk"],
];

// --- what is made of the traits; no DOM -------------------------------------------------

/**
 * @param {Vector} a
 * @param {Vector} b
 */
const dot = (a, b) => Array.from(a).reduce((sum, v, d) => sum + v * b[d], 0);

/**
 * Two directions at right angles, and ten noises that have nothing to do with them.
 * @param {number} seed
 */
export function drawn(seed) {
  const all = normals(seed, 16 * (MANY + 2));
  const rows = linspace(0, MANY + 1, MANY + 2).map((i) => all.slice(16 * i, 16 * i + 16));
  const unit = (/** @type {number[]} */ a) => a.map((v) => v / Math.sqrt(dot(a, a)));
  const first = unit(rows[0]);
  const second = unit(rows[1].map((v, d) => v - dot(rows[1], first) * first[d]));
  return { plane: [first, second], noises: rows.slice(2) };
}

/**
 * Where in the plane a share of the walk is.
 * @param {number} share
 */
const onTheWay = (share) => [Math.cos, Math.sin].map((f) => LENGTH * f(share * QUARTER));

/**
 * What the figure's digit is made of, and the ten of the grid.
 * @param {Get} get
 * @returns {{ one: Order, many: Order[] }}
 */
export function orders(get) {
  const [guidance, mix, grid] = ["guidance", "mix", "grid"].map(get);
  const [label, other] = [get("label"), get("other")].map((name) => LABELS.indexOf(name));
  const { plane, noises } = drawn(get("seed"));
  const placed = (/** @type {Vector} */ [x, y]) => plane[0].map((v, d) => x * v + y * plane[1][d]);
  const asked = { label, other, mix, guidance };
  const noise = placed(get("at"));
  /** @type {Record<string, (i: number) => Order>} */
  const kinds = {
    classes: (i) => ({ noise, asked: { ...asked, label: i, other: i } }),
    noises: (i) => ({ noise: noises[i], asked }),
    walk: (i) => ({ noise: placed(onTheWay(i / (MANY - 1))), asked }),
  };
  const many = kinds[grid] ? Array.from({ length: MANY }, (_, i) => kinds[grid](i)) : [];
  return { one: { noise, asked }, many };
}

/**
 * @param {Get} get
 * @returns {Settings}
 */
export function settingsOf(get) {
  const [method, steps, rtol] = ["method", "steps", "rtol"].map(get);
  return METHODS[method].b_error ? { method, rtol, atol: rtol } : { method, step_size: 1 / steps };
}

/**
 * The path of a noise, the state at a moment, and where the field believes it will end.
 * @param {Generator} net
 * @param {Order} order
 * @param {number} t
 * @param {Settings} settings
 * @returns {Sampled}
 */
export function sampled(net, { noise, asked }, t, settings) {
  /** @type {Field} */
  const f = (at, y) => net.velocity(at, y, asked);
  const path = solve(f, Float64Array.from(noise), [0, 1], settings);
  const state = stateAt(f, path, t);
  if (t === 1) return { path, state, guess: state };
  const v = f(t, state);
  return { path, state, guess: state.map((y, d) => y + (1 - t) * v[d]) };
}

/**
 * The state at a time: by dense output, or the step that leads past it taken only so far.
 * @param {Field} f
 * @param {Path} path
 * @param {number} t
 */
function stateAt(f, path, t) {
  const step = path.steps.findLast((one) => one.t <= t);
  if (!step || t >= path.ts[path.ts.length - 1]) return endOf(path);
  const { dense } = path.method;
  if (dense) return interpolate(step, dense, t);
  return rkStep(f, step.t, step.y, t - step.t, path.method, step.stages[0])[0];
}

// --- the figure -------------------------------------------------------------------------

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "A digit forms from noise", draw });
  addControls(figure, model);
  const drawPlane = plane(figure, model);
  const box = element("div", { class: "live-box live-digits" });
  const row = element("div", { class: "live-box live-row live-digits" });
  const took = element("p", { class: "live-took" });
  figure.plots.append(box, row);
  figure.plots.after(took);
  const now = pictures(box, "the state at t", 1);
  const then = pictures(box, "where the field believes it ends", 1);
  const net = generator(get("weights"));
  const drawMany = gridOf(row, net);
  /** @type {Memo<Made>} */
  const digits = memo();
  let made = 0;

  function draw() {
    const [t, settings, { one, many }] = [get("moment"), settingsOf(get), orders(get)];
    const digit = digits(JSON.stringify([one, t, settings]), () => {
      made++;
      return make(net, one, t, settings);
    });
    now(0, digit.images[0], nameOf(get));
    then(0, digit.images[1], nameOf(get));
    drawPlane(digit);
    if (drawMany(many, t, settings)) figure.again();
    took.textContent =
      made > COLD
        ? `Solved and decoded in ${digit.ms.toFixed(1)} ms.`
        : "Solved and decoded in your browser; drag a slider to see how long it takes.";
    figure.tell({ guidance: one.asked.guidance, t, nfe: digit.path.nfe });
    return report(get, digit.path, settings, one);
  }

  return figure.close;
}

/**
 * Ten digits, two of them in every frame: the one digit follows the hand meanwhile. What
 * comes back says whether there are more to come.
 * @param {HTMLElement} row
 * @param {Generator} net
 */
function gridOf(row, net) {
  const show = pictures(row, "ten digits", MANY);
  /** @type {Memo<{ done: number }>} */
  const grids = memo();
  return (
    /** @type {Order[]} */ many,
    /** @type {number} */ t,
    /** @type {Settings} */ settings,
  ) => {
    const grid = grids(JSON.stringify([many, t, settings]), () => ({ done: 0 }));
    const two = many.slice(grid.done, grid.done + 2);
    const states = two.map((order) => sampled(net, order, t, settings).state);
    if (two.length) for (const image of net.images(states)) show(grid.done++, image, "");
    row.hidden = !many.length;
    row.dataset.made = String(grid.done);
    return grid.done < many.length;
  };
}

/**
 * What the figure shows of an order: a digit, and the time that it took.
 * @param {Generator} net
 * @param {Order} order
 * @param {number} t
 * @param {Settings} settings
 * @returns {Made}
 */
function make(net, order, t, settings) {
  const start = performance.now();
  const sample = sampled(net, order, t, settings);
  const images = net.images([sample.state, sample.guess]);
  return { ...sample, images, ms: performance.now() - start };
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  /** @type {Choice[]} */
  const labels = LABELS.map((name) => [name, name]);
  choice(figure, model, "label", "Class", labels);
  choice(figure, model, "other", "Second class", labels);
  slider(figure, model, "mix", "Class mix", { min: 0, max: 1, step: 0.01 });
  slider(figure, model, "guidance", "Guidance", { min: 0, max: 6, step: 0.1, format: tenths });
  for (const d of [0, 1]) {
    const range = { min: -REACH, max: REACH, step: 0.05, lens: coordinate(d) };
    slider(figure, model, "at", `Noise ${"₁₂"[d]}`, range);
  }
  walks(figure, model);
  choice(figure, model, "method", "Method", [...FIXED, ...ADAPTIVE]);
  const steps = slider(figure, model, "steps", "Steps", { min: 1, max: 32, step: 1 });
  const tolerances = { min: 1e-5, max: 0.1, log: true, step: 0.1 };
  const tolerance = slider(figure, model, "rtol", "Tolerance", tolerances);
  const only = () => {
    const adaptive = Boolean(METHODS[model.get("method")].b_error);
    steps.hide(adaptive);
    tolerance.hide(!adaptive);
  };
  model.on("change:method", only);
  only();
  const times = { min: 0, max: 1, step: 0.01, key: "t" };
  plays(figure, slider(figure, model, "moment", "Time t", times));
  addButtons(figure, model);
  legend(figure, [
    ["ours", "your noise, and the path of its digit as it is seen from here"],
    ["exact", "the walk between two noises"],
    ["faint", "length 4, that of nearly all noise"],
  ]);
}

/** @param {number} x */
const tenths = (x) => x.toFixed(1);

/**
 * A slider along the arc between the two directions. It moves the point, which the address
 * has already.
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function walks(figure, model) {
  const lens = {
    get: (/** @type {number[]} */ [x, y]) => Math.min(1, Math.max(0, Math.atan2(y, x) / QUARTER)),
    set: (/** @type {any} */ _, /** @type {number} */ share) =>
      onTheWay(share).map((v) => Math.round(1e6 * v) / 1e6),
  };
  const range = { min: 0, max: 1, step: 0.01, lens };
  plays(figure, slider(figure, model, "at", "Share of the way", range));
  figure.settings.pop();
}

/**
 * New noise, and ten digits at once.
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addButtons(figure, model) {
  const line = element("p", { class: "live-bar" });
  const anew = () => put(model, "seed", Math.floor(1e4 * Math.random()));
  line.append(button("New noise", anew));
  for (const [name, words] of GRIDS) {
    const pressed = () => model.get("grid") === name;
    const made = button(words, () => put(model, "grid", pressed() ? OFF : name));
    const tell = () => fill(made, { "aria-pressed": String(pressed()) });
    model.on("change:grid", tell);
    tell();
    line.append(made);
  }
  figure.controls.after(line);
  const names = [OFF, ...GRIDS.map(([name]) => name)];
  /** @type {[string, (text: string) => any][]} */
  const keys = [
    ["seed", (text) => numberOf(text, { min: 0, max: 9999, step: 1 })],
    ["grid", (text) => names.find((name) => name === text)],
  ];
  for (const [key, parse] of keys) {
    const get = () => model.get(key);
    const set = (/** @type {any} */ value) => put(model, key, value);
    figure.settings.push({ key, start: get(), get, set, parse });
  }
}

/**
 * A canvas of digits, ten in two rows; what comes back puts one into its place.
 * @param {HTMLElement} host
 * @param {string} caption
 * @param {number} many
 * @returns {(at: number, image: Float64Array, words: string) => void}
 */
function pictures(host, caption, many) {
  const across = Math.min(5, many);
  const size = { width: 28 * across, height: (28 * many) / across };
  const canvas = element("canvas", { role: "img", ...size });
  host.append(element("figure", {}, canvas, element("figcaption", {}, caption)));
  const ink = canvas.getContext("2d");
  const pixels = new ImageData(28, 28);
  return (at, image, words) => {
    image.forEach((v, i) => {
      pixels.data.set([0, 0, 0, 255 * v], 4 * i);
    });
    ink?.putImageData(pixels, 28 * (at % across), 28 * Math.floor(at / across));
    fill(canvas, { "aria-label": `${caption}: ${words}` });
  };
}

/**
 * The plane of the noise: the arc between two noises, the path of the digit as it is seen
 * from there, and the point to drag. What comes back draws it.
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function plane(figure, model) {
  const [id, side, get] = [unique(), 300, (/** @type {string} */ name) => model.get(name)];
  const scale = (/** @type {number} */ sign) => {
    const unit = (sign * side) / 2 / REACH;
    const to = (/** @type {number} */ v) => side / 2 + unit * v;
    return Object.assign(to, { inverse: (/** @type {number} */ p) => (p - side / 2) / unit });
  };
  const [x, y] = [scale(1), scale(-1)];
  const at = (/** @type {Vector} */ [u, v]) => `${pixel(x(u))} ${pixel(y(v))}`;
  const line = (/** @type {Vector[]} */ points) => `M${points.map(at).join("L")}`;
  const curve = (/** @type {string} */ style, d = "") => shape("path", { class: style, d });
  const arc = (/** @type {number} */ to) => line(linspace(0, to, 61).map(onTheWay));
  const [path, dots, here, above] = [
    curve("live-line ours"),
    curve("live-dots ours"),
    curve("live-dots ours large"),
    shape("g"),
  ];
  const names = ["first noise", "second noise"].map((words, i) => {
    const [u, v] = onTheWay(i);
    return shape("text", { x: x(u), y: y(v) + 26 - 36 * i, "text-anchor": "middle" }, words);
  });
  const svg = shape(
    "svg",
    { viewBox: `0 0 ${side} ${side}`, role: "img", class: "live-plot", "aria-labelledby": id },
    shape("title", { id }, "The plane of both noises, and the path seen in it"),
    curve("live-line faint hair", arc(4)),
    curve("live-line exact", arc(1)),
    ...[path, dots, here, ...names, above],
  );
  figure.plots.append(element("div", { class: "live-box" }, svg));
  const area = { left: 0, right: side, top: 0, bottom: side };
  const place = handle({ svg, above, area, x, y }, "ours", {
    at: () => get("at"),
    move: (...point) => put(model, "at", point),
  });
  return (/** @type {Sampled} */ { path: { ys }, state }) => {
    const { plane: axes } = drawn(get("seed"));
    const points = [...ys, state].map((one) => axes.map((e) => dot(e, one)));
    const seen = points.pop() ?? [];
    fill(path, { d: line(points) });
    fill(dots, { d: points.map((one) => `M${at(one)}h0`).join("") });
    fill(here, { d: `M${at(seen)}h0` });
    place();
  };
}

// --- words ------------------------------------------------------------------------------

/**
 * Which class is asked for.
 * @param {Get} get
 */
function nameOf(get) {
  const [label, other, mix] = ["label", "other", "mix"].map(get);
  const named = (/** @type {string} */ name) => (name === OFF ? "no class" : `class ${name}`);
  if (!mix || label === other) return named(label);
  return `${named(label)}, ${Math.round(100 * mix)}% of the way to ${named(other)}`;
}

/**
 * @param {Get} get
 * @param {Path} path
 * @param {Settings} settings
 * @param {Order} order
 */
function report(get, path, { rtol, method }, { noise, asked: { guidance } }) {
  const { accepted, nfe, stopped } = path;
  const how = rtol ? `, tolerance ${short(rtol)}` : "";
  const each = guidance === 0 || guidance === 1 ? 1 : 2;
  const length = Math.sqrt(dot(noise, noise));
  const head =
    `${METHODS[method].label}${how}: ${accepted} steps, ${nfe} evaluations of the field, ` +
    `${each * nfe} of the network (guidance ${tenths(guidance)}).`;
  if (stopped) return `${head} It stopped at t = ${short(stopped.t)}: ${stopped.why}.`;
  return `${head} Asked for: ${nameOf(get)}. The noise has length ${short(length)}.`;
}

export default { render };
