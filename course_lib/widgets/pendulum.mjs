// PendulumExplorer: a pendulum by a true field and two learnt ones, and what its energy does.
import {
  choice,
  clamp,
  coordinate,
  frame,
  legend,
  memo,
  put,
  short,
  slider,
} from "./page/frame.mjs";
import { handle } from "./page/handle.mjs";
import { ACTIVATIONS, mlpField } from "./page/network.mjs";
import { plays } from "./page/play.mjs";
import { GAP, Plot } from "./page/plot.mjs";
import { linspace, solve } from "./page/rk.mjs";
import { FIELDS } from "./page/systems.mjs";
import { FIXED, MAX_STEPS, METHODS } from "./page/tables.mjs";
import { decode } from "./page/wire.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure, Memo } from "./page/frame.mjs" */
/** @import { Range } from "./page/plot.mjs" */
/** @import { Field, Stop, Vector } from "./page/rk.mjs" */
/** @import { Choice } from "./page/tables.mjs" */

/**
 * A field, and its two halves where it has them.
 * @typedef {{ f: Field, force?: (q: number) => number, velocity?: (p: number) => number }} Law
 */
/**
 * @typedef {{ ts: number[], ys: Vector[], stopped: Stop | null }} Walk
 * @typedef {{ method: string, step_size: number, t_end: number, start: Vector }} Order
 */

/** @type {[angle: Range, momentum: Range]} */
const WINDOW = [
  [-4, 4],
  [-3, 3],
];
const LEVELS = [0.25, 0.75, 1.25, 2, 3];
/** @type {Choice} */
const LEAPFROG = ["leapfrog", "leapfrog"];
const UNFIT =
  "Leapfrog needs a velocity that depends on the momentum alone and a force that depends on " +
  "the angle alone. Those of the plain network do not: choose another field, or another method.";

/**
 * The true energy.
 * @param {Vector} y
 */
export const energyOf = ([q, p]) => (p * p) / 2 + 1 - Math.cos(q);

/**
 * The slope of a network of one number with one hidden layer of tanh.
 * @param {string} weights
 */
export function slopeOf(weights) {
  const flat = new Float64Array(new Float32Array(decode(weights)));
  const n = (flat.length - 1) / 3;
  const [w, b, a] = [0, n, 2 * n].map((at) => flat.subarray(at, at + n));
  const inner = new Float64Array(n);
  return (/** @type {number} */ x) => {
    for (let i = 0; i < n; i++) inner[i] = w[i] * x + b[i];
    ACTIVATIONS.tanh(inner);
    let slope = 0;
    for (let i = 0; i < n; i++) slope += a[i] * w[i] * (1 - inner[i] * inner[i]);
    return slope;
  };
}

/**
 * The three fields, by name.
 * @param {number[]} widths of the plain network
 * @param {string[]} weights of the plain network, of T and of V
 * @returns {Record<string, Law>}
 */
export function laws(widths, [plain, kinetic, potential]) {
  const velocity = slopeOf(kinetic);
  const pull = slopeOf(potential);
  const force = (/** @type {number} */ q) => -pull(q);
  return {
    true: { f: FIELDS.pendulum, force: (q) => -Math.sin(q), velocity: (p) => p },
    plain: { f: mlpField({ widths, activation: "tanh", weights: plain }) },
    hamiltonian: { f: (t, [q, p]) => [velocity(p), force(q)], force, velocity },
  };
}

/**
 * The path of a law from a start; null where the method does not fit it.
 * @param {Law} law
 * @param {Order} order
 * @returns {Walk | null}
 */
export function walk({ f, force, velocity }, { method, step_size, t_end, start }) {
  if (method !== "leapfrog") return solve(f, start, [0, t_end], { method, step_size });
  if (!force || !velocity) return null;
  const n = Math.max(1, Math.ceil(t_end / step_size - 1e-6));
  const h = t_end / n;
  let [q, p] = start;
  let push = force(q);
  /** @type {Walk} */
  const path = { ts: [0], ys: [start], stopped: null };
  for (let i = 0; i < n; i++) {
    if (i === MAX_STEPS) return { ...path, stopped: { t: i * h, why: "too many steps" } };
    p += (h / 2) * push;
    q += h * velocity(p);
    push = force(q);
    p += (h / 2) * push;
    if (!Number.isFinite(q + p)) return { ...path, stopped: { t: i * h, why: "not finite" } };
    path.ts.push((i + 1) * h);
    path.ys.push([q, p]);
  }
  return path;
}

/**
 * The curves of the energy of a start, about every way down that the window shows.
 * @param {number} energy
 */
export const levels = (energy) =>
  energy < 2
    ? [-1, 0, 1].flatMap((turns) => [
        ...level(energy).map(([q, p]) => [q + 2 * Math.PI * turns, p]),
        GAP,
      ])
    : level(energy);

/**
 * A curve of one energy, up to the edges of the window.
 * @param {number} energy
 * @returns {Vector[]}
 */
export function level(energy) {
  const most = energy < 2 ? Math.acos(1 - energy) : WINDOW[0][1];
  const half = linspace(0, Math.PI, 121).map((s) => {
    const q = most * Math.cos(s);
    return [q, Math.sqrt(Math.max(0, 2 * (energy - 1 + Math.cos(q))))];
  });
  const mirrored = half.map(([q, p]) => [q, -p]);
  return energy < 2 ? [...half, ...mirrored.reverse()] : [...half, GAP, ...mirrored];
}

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "A pendulum and its energy", draw });
  addControls(figure, model);
  const plane = new Plot(figure, { title: "The path in the plane of angle and momentum" });
  const over = new Plot(figure, { title: "The energy over time" });
  const place = startHandle(plane, model);
  /** @type {Memo<Record<string, Law>>} */
  const fields = memo();

  function draw() {
    const [method, step_size, t_end, start] = ["method", "step_size", "t_end", "start"].map(get);
    const all = fields(get("weights").join(), () => laws(get("widths"), get("weights")));
    const order = { method, step_size, t_end, start };
    const path = walk(all[get("field")], order);
    const energy = energyOf(start);
    drawPlane(plane, energy, path?.ys ?? []);
    drawEnergy(over, energy, t_end, path);
    place();
    figure.tell(factsNow(get("field"), order, path));
    return path ? report(order, path) : UNFIT;
  }

  return figure.close;
}

/**
 * @param {Plot} plane
 * @param {number} energy of the start
 * @param {Vector[]} ys
 */
function drawPlane(plane, energy, ys) {
  const [x, y] = WINDOW;
  plane.set({ x, y, equal: true, xlabel: "angle q", ylabel: "momentum p" });
  const others = LEVELS.flatMap((e) => [...level(e), GAP]);
  plane.line("levels", others, "faint hair");
  plane.line("exact", levels(energy), "exact wide");
  plane.line("ours", ys, "ours thin");
  plane.dots("nodes", ys.length <= 300 ? ys : [], "ours");
}

/**
 * @param {Plot} over
 * @param {number} energy of the start
 * @param {number} t_end
 * @param {Walk | null} path
 */
function drawEnergy(over, energy, t_end, path) {
  const flat = (/** @type {number} */ e) => [0, t_end].map((t) => [t, e]);
  const points = path ? path.ys.map((y, i) => [path.ts[i], energyOf(y)]) : [];
  over.set({
    x: [0, t_end],
    y: [0, Math.max(4, 1.1 * energy)],
    xlabel: "time t",
    ylabel: "energy",
  });
  over.line("top", flat(2), "faint dashed");
  over.line("exact", flat(energy), "exact wide");
  over.line("ours", points, "ours thin");
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  choice(figure, model, "field", "Field", [
    ["true", "true"],
    ["plain", "plain network"],
    ["hamiltonian", "Hamiltonian network"],
  ]);
  choice(figure, model, "method", "Method", [...FIXED, LEAPFROG]);
  slider(figure, model, "step_size", "Step size h", { min: 0.05, max: 2, log: true, key: "h" });
  plays(figure, slider(figure, model, "t_end", "End time", { min: 5, max: 400, log: true }));
  ["Start angle", "Start momentum"].forEach((label, d) => {
    const [min, max] = WINDOW[d];
    slider(figure, model, "start", label, { min, max, lens: coordinate(d) });
  });
  legend(figure, [
    ["exact wide", "energy of the start"],
    ["ours", "computed"],
    ["faint", "other energies; dashed: that of the pendulum upside down"],
  ]);
}

/**
 * The start, to be dragged.
 * @param {Plot} plane
 * @param {AnyModel} model
 */
function startHandle(plane, model) {
  const at = () => model.get("start");
  return handle(plane, "ours", {
    at,
    move: (q, p) => put(model, "start", [clamp(q, ...WINDOW[0]), clamp(p, ...WINDOW[1])]),
  });
}

/**
 * What checks may ask; a path that there is not, or that stopped, has no energies.
 * @param {string} field
 * @param {Order} order
 * @param {Walk | null} path
 */
function factsNow(field, { method, step_size, t_end, start }, path) {
  const begin = energyOf(start);
  const whole = path && !path.stopped ? path.ys.map(energyOf) : [NaN];
  const end = whole[whole.length - 1];
  const off = Math.max(...whole.map((energy) => Math.abs(energy - begin)));
  const h = path ? sizeOf(method, step_size, path) : step_size;
  return { field, method, h, t_end, begin, end, kept: end / begin, off };
}

/**
 * The step that is taken: leapfrog divides the time into equal ones.
 * @param {string} method
 * @param {number} step_size
 * @param {Walk} path
 */
const sizeOf = (method, step_size, { ts }) =>
  method === LEAPFROG[0] && ts.length > 1 ? ts[1] : step_size;

/**
 * What the method did, and to the energy.
 * @param {Order} order
 * @param {Walk} path
 */
function report({ method, step_size }, path) {
  const { ts, ys, stopped } = path;
  const name = METHODS[method]?.label ?? LEAPFROG[1];
  const head = `${name}, h = ${short(sizeOf(method, step_size, path))}: ${ts.length - 1} steps.`;
  if (stopped) return `${head} It stopped at t = ${short(stopped.t)}: ${stopped.why}.`;
  const all = ys.map(energyOf);
  const [first, last] = [all[0], all[all.length - 1]];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  return (
    `${head} Energy ${short(first)} at the start, ${short(last)} at t = ` +
    `${short(ts[ts.length - 1])}; from ${short(low)} to ${short(high)} on the way.`
  );
}

export default { render };
