// What is drawn of a training: each model's picture, their losses, and the table of costs.

import { decades } from "./page/errors.mjs";
import { element, fill, memo, shape, short } from "./page/frame.mjs";
import { GAP, Plot } from "./page/plot.mjs";
import { linspace } from "./page/rk.mjs";
import { crossings, GRID, gridOf, LATTICE } from "./page/trainer.mjs";

/** @import { Figure, Memo } from "./page/frame.mjs" */
/** @import { Axes, Range } from "./page/plot.mjs" */
/** @import { Vector } from "./page/rk.mjs" */
/** @import { Picture, Report, Setup } from "./page/trainer.mjs" */

// Of the models, in their curves: the colours are the classes'.
export const STYLES = ["ink", "ink dashed", "faint"];
const BLUE = [0, 114, 178];
const ORANGE = [213, 94, 0];
const TRAILS = 60; // points whose way is drawn
const CURVE = 300; // points of a loss curve
const SLANT = 0.4; // how far a third coordinate of 1 moves a point

// --- a model ---------------------------------------------------------------------------

/**
 * The picture of one model.
 * @param {Figure} figure
 * @returns {{ plot: Plot, draw: (report: Report | undefined, setup: Setup, name: string, t: number) => void }}
 */
export function modelPicture(figure) {
  const plot = new Plot(figure, { title: "What a model has learnt", height: 280 });
  const surface = shape("image", { preserveAspectRatio: "none" });
  plot.svg.insertBefore(surface, plot.svg.querySelector(".live-axes"));
  const title = /** @type {Element} */ (plot.svg.querySelector("title"));
  const box = /** @type {HTMLElement} */ (plot.svg.parentElement);
  /** @type {Memo<void>} */
  const named = memo();
  const draw = (
    /** @type {Report | undefined} */ report,
    /** @type {Setup} */ setup,
    /** @type {string} */ name,
    /** @type {number} */ t,
  ) => {
    box.hidden = !name;
    if (!name) return;
    named(name, () => {
      title.textContent = `What the ${name} has learnt`;
    });
    const picture = report?.picture ?? null;
    plot.set(axesOf(setup, picture, name, t));
    const flat = setup.rows.task === "classes" && t === 0 && picture?.scores.length;
    surface.toggleAttribute("hidden", !flat);
    if (flat) {
      fill(surface, {
        href: painting(picture),
        ...placeOf(plot, setup.window),
      });
    }
    const layers = { classes: drawClasses, values: drawValues, path: drawPath };
    layers[setup.rows.task](plot, setup, picture, t);
  };
  return { plot, draw };
}

/**
 * @param {Plot} plot
 * @param {[number, number][]} window
 */
function placeOf({ x, y }, [across, up]) {
  const [left, top] = [x(across[0]), y(up[1])];
  return { x: left, y: top, width: x(across[1]) - left, height: y(up[0]) - top };
}

/** @type {WeakMap<Picture, string>} */
const paintings = new WeakMap();

/**
 * The image of a picture's scores, painted once.
 * @param {Picture} picture
 */
function painting(picture) {
  const known = paintings.get(picture) ?? paint(picture.scores);
  paintings.set(picture, known);
  return known;
}

/**
 * The scores on the grid as the address of an image: blue below zero, orange above.
 * @param {Float64Array} scores
 */
function paint(scores) {
  const canvas = element("canvas", { width: GRID, height: GRID });
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = pen.createImageData(GRID, GRID);
  scores.forEach((z, i) => {
    const row = GRID - 1 - Math.floor(i / GRID);
    const share = Math.abs(Math.tanh(z / 2));
    image.data.set([...(z > 0 ? ORANGE : BLUE), 25 + 75 * share], 4 * (row * GRID + (i % GRID)));
  });
  pen.putImageData(image, 0, 0);
  return canvas.toDataURL();
}

/**
 * @param {Setup} setup
 * @param {Picture | null} picture
 * @param {string} name
 * @param {number} t
 * @returns {Axes}
 */
function axesOf({ rows, window }, picture, name, t) {
  if (rows.task === "values")
    return { x: [0, 1], y: window[0], xlabel: `t (${name})`, ylabel: "y" };
  const seen = t > 0 && picture && rows.task === "classes";
  const [x, y] = seen ? aroundAll(picture, window) : window;
  return { x, y, equal: true, xlabel: name, ylabel: "y₂" };
}

/** @type {WeakMap<Picture, Range[]>} */
const around = new WeakMap();

/**
 * Ranges with all states of a picture in them: they stay while the time moves.
 * @param {Picture} picture
 * @param {Range[]} window
 */
function aroundAll(picture, window) {
  const known = around.get(picture) ?? window.map((range, d) => widened(picture, range, d));
  around.set(picture, known);
  return known;
}

/**
 * A range with all states of a picture in it, in whole numbers.
 * @param {Picture} picture
 * @param {Range} range
 * @param {number} d
 * @returns {Range}
 */
function widened(picture, [low, high], d) {
  for (const state of picture.states) {
    for (const point of pointsOf(state, picture.dim)) {
      [low, high] = [Math.min(low, Math.floor(point[d])), Math.max(high, Math.ceil(point[d]))];
    }
  }
  return [Math.max(low, -50), Math.min(high, 50)];
}

/**
 * The points of a state, a third coordinate drawn slantwise.
 * @param {Float64Array} state
 * @param {number} dim
 */
function pointsOf(state, dim) {
  return Array.from({ length: state.length / dim }, (_, r) => {
    const lift = dim > 2 ? SLANT * state[r * dim + 2] : 0;
    return [state[r * dim] + lift, state[r * dim + 1] + lift];
  });
}

/**
 * The state at a share of the way, on straight lines between the moments.
 * @param {Picture} picture
 * @param {number} share
 */
function stateAt({ states }, share) {
  const at = share * (states.length - 1);
  const i = Math.min(Math.floor(at), Math.max(0, states.length - 2));
  const after = states[i + 1] ?? states[i];
  return states[i].map((v, d) => v + (at - i) * (after[d] - v));
}

/** @typedef {(plot: Plot, setup: Setup, picture: Picture | null, t: number) => void} Drawing */

/** @type {Drawing} */
function drawClasses(plot, { rows, window }, picture, t) {
  const start = pointsOf(rows.x, 2);
  const here = picture?.states[0].length ? pointsOf(stateAt(picture, t), picture.dim) : start;
  const shown = here.length === start.length ? here : start; // a point was put a moment ago
  for (const label of [0, 1]) {
    const style = label ? "ours" : "exact";
    plot.dots(
      `class ${label}`,
      shown.filter((_, i) => rows.y[i] === label),
      style,
    );
  }
  plot.line("ways", picture && t > 0 ? ways(picture, t) : [], "faint hair");
  plot.line("line", picture?.line.length && t === 1 ? straight(plot, picture.line) : [], "thin");
  const turned = t === 0 ? (picture?.turned ?? []) : [];
  const lattice = turned.length ? pointsOf(gridOf(window, LATTICE), 2) : [];
  plot.dots(
    "turned",
    turned.map((i) => lattice[i]),
    "rival",
  );
  for (const name of ["targets", "path"]) plot.line(name, [], "faint");
}

/**
 * The ways of some points up to a share of it.
 * @param {Picture} picture
 * @param {number} t
 * @returns {Vector[]}
 */
function ways(picture, t) {
  const upTo = picture.states.slice(0, Math.ceil(t * (picture.states.length - 1)));
  const some = TRAILS * picture.dim;
  const all = [...upTo, stateAt(picture, t)].map((state) =>
    pointsOf(state.subarray(0, some), picture.dim),
  );
  return Array.from(all[0], (_, r) => [...all.map((points) => points[r]), GAP]).flat();
}

/**
 * The points of the plot's border where w·y + b = 0.
 * @param {Plot} plot
 * @param {number[]} line
 */
function straight({ area, x, y }, [w1, w2, b]) {
  if (Math.abs(w2) > Math.abs(w1)) {
    return [x.inverse(area.left), x.inverse(area.right)].map((u) => [u, -(w1 * u + b) / w2]);
  }
  return [y.inverse(area.bottom), y.inverse(area.top)].map((v) => [-(w2 * v + b) / w1, v]);
}

/** @type {Drawing} */
function drawValues(plot, { rows }, picture, t) {
  /** @type {Vector[][]} */
  const paths = [];
  if (picture) {
    const { states, dim, moments } = picture;
    for (let r = 0; r < states[0].length / dim; r++) {
      paths.push(states.map((state, i) => [moments[i], state[r * dim]]));
    }
  }
  const bad = new Set(picture?.turned.flatMap((i) => [i - 1, i]) ?? []);
  const some = (/** @type {boolean} */ which) =>
    paths.flatMap((path, i) => (bad.has(i) === which ? [...path, GAP] : []));
  plot.line("ways", some(false), "faint thin");
  plot.line("turned", some(true), "rival thin");
  plot.dots(
    "targets",
    [...rows.y].map((v) => [1, v]),
    "data",
  );
  const ends = picture ? stateAt(picture, t).filter((_, i) => i % picture.dim === 0) : [];
  plot.dots(
    "class 0",
    [...ends].map((v) => [t, v]),
    "ours",
  );
  for (const name of ["class 1", "line", "path"]) plot.line(name, [], "faint");
}

/** @type {Drawing} */
function drawPath(plot, { track }, picture, t) {
  const points = pointsOf(track, 2);
  plot.dots("targets", points, "data");
  plot.line("ways", points, "data hair");
  plot.dots("turned", crossings(track), "rival large");
  const path = picture ? picture.states.map((state) => pointsOf(state, picture.dim)[0]) : [];
  plot.line("path", path, "ours");
  plot.dots("class 1", picture ? pointsOf(stateAt(picture, t), picture.dim) : [], "ours large");
  for (const name of ["class 0", "line"]) plot.line(name, [], "faint");
}

// --- losses and costs ------------------------------------------------------------------

/**
 * The losses of all models, one curve each.
 * @param {Plot} plot
 * @param {number[][]} losses
 */
export function drawLosses(plot, losses) {
  const curves = losses.map(thinned);
  const values = curves.flat().map(([, loss]) => loss);
  const steps = Math.max(10, ...losses.map(({ length }) => length));
  const y = /** @type {Range} */ (values.length ? decades(values, 0.01) : [1e-3, 1]);
  plot.set({ x: [0, steps], y, ylog: true, xlabel: "step", ylabel: "loss" });
  STYLES.forEach((style, i) => {
    plot.line(style, curves[i] ?? [], style);
  });
}

/**
 * The mean losses of a few hundred stretches.
 * @param {number[]} losses
 */
function thinned(losses) {
  const every = Math.ceil(losses.length / CURVE);
  return linspace(0, losses.length, Math.floor(losses.length / (every || 1)) + 1)
    .slice(0, -1)
    .map((at) => {
      const some = losses.slice(Math.floor(at), Math.floor(at) + (every || 1));
      return [Math.floor(at) + some.length, some.reduce((a, b) => a + b, 0) / some.length];
    });
}

const HEADS = ["model", "loss", "right", "f there", "f back", "numbers kept", "gradient off by"];

/**
 * A table of what every model reached, and of what its last gradient cost.
 * @param {Figure} figure
 */
export function costTable(figure) {
  const head = element("tr", {}, ...HEADS.map((words) => element("th", { scope: "col" }, words)));
  const body = element("tbody");
  const table = element("table", { class: "live-costs" }, element("thead", {}, head), body);
  const name = { tabindex: 0, role: "group", "aria-label": "Losses and costs" };
  figure.plots.after(element("div", { class: "live-scroll", ...name }, table));
  return (/** @type {string[]} */ names, /** @type {Report[]} */ reports) => {
    body.replaceChildren(...names.map((name, i) => rowOf(name, reports[i], STYLES[i])));
  };
}

/**
 * @param {string} name
 * @param {Report | undefined} report
 * @param {string} style
 */
function rowOf(name, report, style) {
  const swatch = element("span", { class: `live-swatch ${style}` });
  const { loss = NaN, right = NaN, off = NaN, cost = null } = report ?? {};
  const whole = (/** @type {number | undefined} */ n) => (n === undefined ? "–" : String(n));
  const cells = [
    Number.isNaN(loss) ? "–" : short(loss),
    Number.isNaN(right) ? "–" : `${(100 * right).toFixed(1)}%`,
    whole(cost?.nfe),
    whole(cost?.nfeBack),
    whole(cost?.kept),
    Number.isNaN(off) ? "–" : short(off),
  ];
  const first = element("th", { scope: "row" }, swatch, ` ${name}`);
  return element("tr", {}, first, ...cells.map((words) => element("td", {}, words)));
}
