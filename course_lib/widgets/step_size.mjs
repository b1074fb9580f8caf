// StepSizeExplorer: one step size, one path, and where it ends.

import { sample } from "./page/dense.mjs";
import { drawn, errorAxes } from "./page/errors.mjs";
import { choice, frame, legend, memo, short, slider } from "./page/frame.mjs";
import { effort } from "./page/paths.mjs";
import { Plot } from "./page/plot.mjs";
import { distance, endOf, linspace, reference, solve } from "./page/rk.mjs";
import { FIELDS, PROBLEMS } from "./page/systems.mjs";
import { FIXED, SYSTEMS } from "./page/tables.mjs";

/** @import { RenderProps } from "@anywidget/types" */
/** @import { Memo } from "./page/frame.mjs" */
/** @import { Axes } from "./page/plot.mjs" */
/** @import { Path, Vector } from "./page/rk.mjs" */

/**
 * @typedef {{ problem: string, method: string, step_size: number }} Traits
 * @typedef {{ path: Path, error: number }} State a path, and its error at the end
 */

const SIZES = linspace(-2.5, 0.3, 29).map((e) => 10 ** e);
const LARGEST = 2;

/**
 * The path that every step size is measured by.
 * @param {string} problem
 */
function exactPath(problem) {
  const { y0, span } = SYSTEMS[problem];
  return reference(FIELDS[problem], y0, span);
}

/**
 * What the pictures show for one problem, method and step size; no DOM.
 * @param {Traits} traits
 * @returns {State}
 */
export function stepSizeState({ problem, method, step_size }, exact = exactPath(problem)) {
  const { y0, span } = SYSTEMS[problem];
  const path = solve(FIELDS[problem], y0, span, { method, step_size });
  return { path, error: distance(endOf(path), endOf(exact)) };
}

/**
 * Step sizes and their errors, as far as they tell something.
 * @param {string} problem
 * @param {string} method
 * @param {Path} exact
 * @returns {Vector[]}
 */
function sweep(problem, method, exact) {
  return SIZES.flatMap((step_size) => {
    const { path, error } = stepSizeState({ problem, method, step_size }, exact);
    return path.stopped || !(error < 1e3) ? [] : [[step_size, drawn(error)]];
  });
}

/** @param {RenderProps<Traits>} props */
function render({ model, el }) {
  const title = "Numerical and exact path for a step size of your choice";
  const figure = frame(el, model, { title, draw });
  choice(figure, model, "problem", "Problem", PROBLEMS);
  choice(figure, model, "method", "Method", FIXED);
  slider(figure, model, "step_size", "Step size h", {
    min: SIZES[0],
    max: LARGEST,
    log: true,
    key: "h",
  });
  legend(figure, [
    ["exact wide", "exact"],
    ["ours", "numerical"],
  ]);
  const paths = new Plot(figure, { title: "The numerical path and the exact one", height: 300 });
  const errors = new Plot(figure, { title: "Error at the end against step size", height: 300 });
  /** @type {[exactly: Memo<Path>, curves: Memo<Vector[]>, sweeps: Memo<Vector[]>]} */
  const [exactly, curves, sweeps] = [memo(), memo(), memo()];

  function draw() {
    const [problem, method] = [model.get("problem"), model.get("method")];
    const step_size = model.get("step_size");
    const exact = exactly(problem, () => exactPath(problem));
    const state = stepSizeState({ problem, method, step_size }, exact);
    const curve = curves(problem, () => smooth(problem, exact));
    drawPaths(paths, problem, curve, state.path);
    const known = sweeps(problem + method, () => sweep(problem, method, exact));
    drawErrors(errors, known, step_size, state);
    const { nfe, accepted, stopped } = state.path;
    const error = stopped ? NaN : state.error;
    figure.tell({ problem, method, h: step_size, nfe, steps: accepted, error });
    return report(step_size, state, paths);
  }

  return figure.close;
}

/**
 * @param {string} problem
 * @param {Path} path
 */
function smooth(problem, path) {
  const times = linspace(...SYSTEMS[problem].span, 400);
  return onPaper(times, sample(path, times));
}

/**
 * Points of the plot: a scalar is drawn against time, a pair in its plane.
 * @param {number[]} ts
 * @param {Vector[]} ys
 */
const onPaper = (ts, ys) => ys.map((y, i) => (y.length === 1 ? [ts[i], y[0]] : y));

/**
 * @param {Plot} paper
 * @param {string} problem
 * @param {Vector[]} curve
 * @param {Path} path
 */
function drawPaths(paper, problem, curve, path) {
  const points = onPaper(path.ts, path.ys);
  paper.set(sheet(problem));
  paper.line("exact", curve, "exact wide");
  paper.line("ours", points, "ours thin");
  paper.dots("nodes", points.length <= 400 ? points : [], "ours");
}

/**
 * @param {string} problem
 * @returns {Axes}
 */
function sheet(problem) {
  const { window, span } = SYSTEMS[problem];
  const [first, second] = window;
  if (!second) return { x: span, y: first, xlabel: "time t", ylabel: "y" };
  const equal = first[1] - first[0] === second[1] - second[0];
  return { x: first, y: second, equal, xlabel: "y₁", ylabel: "y₂" };
}

/**
 * @param {Plot} paper
 * @param {Vector[]} known step sizes and their errors
 * @param {number} step_size
 * @param {State} here
 */
function drawErrors(paper, known, step_size, { path, error }) {
  const labels = { xlabel: "step size h", ylabel: "error at the end", air: 0.08 };
  const found = known.map(([, e]) => e);
  paper.set(errorAxes([SIZES[0], LARGEST], found, labels));
  paper.line("sweep", known, "ours thin");
  paper.dots("here", path.stopped ? [] : [[step_size, drawn(error)]], "ours large");
}

/**
 * @param {number} step_size
 * @param {State} state
 * @param {Plot} paper
 */
function report(step_size, { path, error }, paper) {
  const { method, stopped, accepted, ts, ys } = path;
  const stages = method.c.length;
  const layers = stages === 1 ? "layers" : `layers of ${stages} stages each`;
  const head = `${effort(path, { method: method.name, step_size })}.`;
  const network = `As a network: a ResNet with ${accepted} ${layers}.`;
  if (stopped) {
    const overflow = stopped.why === "not finite";
    const what = overflow
      ? "Unstable: the numbers overflowed after"
      : "Too many steps: it stopped at";
    return `${head} ${what} t = ${short(stopped.t)}. ${network}`;
  }
  const out = onPaper(ts, ys).findIndex((point) => !paper.holds(point));
  const left = out < 0 ? "" : ` It left the plot at t = ${short(ts[out])}: unstable.`;
  return `${head} Error at the end ${short(error)}.${left} ${network}`;
}

export default { render };
