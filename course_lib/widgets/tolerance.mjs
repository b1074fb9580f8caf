// ToleranceExplorer: a tolerance, the steps it leads to, and the error that comes of it.

import { sample } from "./page/dense.mjs";
import { decades, drawn, errorAxes } from "./page/errors.mjs";
import { choice, frame, legend, memo, short, slider } from "./page/frame.mjs";
import { Plot } from "./page/plot.mjs";
import { distance, linspace, reference, solve } from "./page/rk.mjs";
import { FIELDS, PROBLEMS } from "./page/systems.mjs";
import { ADAPTIVE, SYSTEMS } from "./page/tables.mjs";

/** @import { RenderProps } from "@anywidget/types" */
/** @import { Memo } from "./page/frame.mjs" */
/** @import { Path, Vector } from "./page/rk.mjs" */

/**
 * @typedef {{ problem: string, method: string, rtol: number }} Traits
 * @typedef {{ adaptive: number, fixed: number }} Errors the largest at the ends of the steps
 * @typedef {[rtol: number, errors: Errors][]} Sweep
 */
/**
 * An adaptive solve, and RK4 in equal steps of `step_size` for as many evaluations of f.
 * @typedef {{ adaptive: Path, fixed: Path, step_size: number }} State
 */

const TOLERANCES = linspace(-8, -1, 15).map((e) => 10 ** e);
const [TIGHTEST, LOOSEST] = [TOLERANCES[0], TOLERANCES[TOLERANCES.length - 1]];

/**
 * What the pictures show for one problem, method and tolerance; no DOM.
 * @param {Traits} traits
 * @returns {State}
 */
export function toleranceState({ problem, method, rtol }) {
  const { y0, span } = SYSTEMS[problem];
  const f = FIELDS[problem];
  const adaptive = solve(f, y0, span, { method, rtol, atol: rtol });
  const n = Math.max(1, Math.round(adaptive.nfe / 4));
  const step_size = (span[1] - span[0]) / n;
  return { adaptive, fixed: solve(f, y0, span, { method: "rk4", step_size }), step_size };
}

/**
 * The largest errors at the ends of the steps.
 * @param {State} state
 * @param {Path} exact
 * @returns {Errors}
 */
export function errorsOf({ adaptive, fixed }, exact) {
  const worst = (/** @type {Path} */ { ts, ys }) => {
    const there = sample(exact, ts);
    return Math.max(...ys.map((y, i) => distance(y, there[i])));
  };
  return { adaptive: worst(adaptive), fixed: worst(fixed) };
}

/**
 * Every tolerance with the errors it leads to.
 * @param {string} problem
 * @param {string} method
 * @param {Path} exact
 * @returns {Sweep}
 */
const sweep = (problem, method, exact) =>
  TOLERANCES.map((rtol) => [rtol, errorsOf(toleranceState({ problem, method, rtol }), exact)]);

/** @param {RenderProps<Traits>} props */
function render({ model, el }) {
  const title = "Accepted and rejected steps for a tolerance of your choice";
  const figure = frame(el, model, { title, draw });
  choice(figure, model, "problem", "Problem", PROBLEMS);
  choice(figure, model, "method", "Method", ADAPTIVE);
  const range = { min: TIGHTEST, max: LOOSEST, log: true, step: 0.05 };
  slider(figure, model, "rtol", "Tolerance", range);
  legend(figure, [
    ["exact wide", "exact"],
    ["ours", "accepted steps"],
    ["data", "rejected attempts"],
    ["rival", "RK4, equal steps, same cost"],
  ]);
  const over = "The first component over time, a dot at each step";
  const curves = new Plot(figure, { title: over, wide: true });
  const sizes = new Plot(figure, { title: "Step size over time" });
  const errors = new Plot(figure, { title: "Largest error against tolerance" });
  /** @type {[exactly: Memo<Path>, lines: Memo<Vector[]>, sweeps: Memo<Sweep>]} */
  const [exactly, lines, sweeps] = [memo(), memo(), memo()];

  function draw() {
    const [problem, method] = [model.get("problem"), model.get("method")];
    const { y0, span } = SYSTEMS[problem];
    const rtol = model.get("rtol");
    const exact = exactly(problem, () => reference(FIELDS[problem], y0, span));
    const state = toleranceState({ problem, method, rtol });
    const found = errorsOf(state, exact);
    const line = lines(problem, () => smooth(problem, exact));
    drawCurves(curves, problem, line, state);
    drawSizes(sizes, problem, state);
    const all = sweeps(problem + method, () => sweep(problem, method, exact));
    drawErrors(errors, all, rtol, found);
    const { nfe, accepted, rejected, stopped } = state.adaptive;
    const error = stopped ? NaN : found.adaptive;
    figure.tell({ problem, method, rtol, nfe, accepted, rejected, error, rk4_error: found.fixed });
    return report(rtol, state, found);
  }

  return figure.close;
}

/**
 * The first component over time.
 * @param {number[]} ts
 * @param {Vector[]} ys
 */
const first = (ts, ys) => ts.map((t, i) => [t, ys[i][0]]);

/**
 * @param {string} problem
 * @param {Path} path
 */
function smooth(problem, path) {
  const times = linspace(...SYSTEMS[problem].span, 500);
  return first(times, sample(path, times));
}

/**
 * @param {Plot} paper
 * @param {string} problem
 * @param {Vector[]} line
 * @param {State} state
 */
function drawCurves(paper, problem, line, { adaptive, fixed }) {
  const { span, window } = SYSTEMS[problem];
  paper.set({ x: span, y: window[0], xlabel: "time t", ylabel: "y₁" });
  paper.line("fixed", first(fixed.ts, fixed.ys), "rival thin");
  paper.line("exact", line, "exact wide");
  paper.dots("steps", first(adaptive.ts, adaptive.ys), "ours");
  const failures = adaptive.attempts.filter((a) => !a.accepted);
  const ends = failures.map((a) => a.t + a.h);
  paper.bars("rejected", ends, 14, "data");
}

/**
 * @param {Plot} paper
 * @param {string} problem
 * @param {State} state
 */
function drawSizes(paper, problem, { adaptive, step_size }) {
  const { span } = SYSTEMS[problem];
  const { attempts } = adaptive;
  const y = decades([...attempts.map((a) => a.h), step_size], 0.08);
  paper.set({ x: span, y, ylog: true, xlabel: "time t", ylabel: "step size h" });
  const points = (/** @type {boolean} */ accepted) =>
    attempts.filter((a) => a.accepted === accepted).map((a) => [a.t, a.h]);
  const equal = span.map((t) => [t, step_size]);
  paper.line("fixed", equal, "rival");
  paper.line("sizes", points(true), "ours thin");
  paper.dots("accepted", points(true), "ours");
  paper.dots("rejected", points(false), "data");
}

/**
 * @param {Plot} paper
 * @param {Sweep} all
 * @param {number} rtol
 * @param {Errors} here
 */
function drawErrors(paper, all, rtol, here) {
  const labels = { xlabel: "tolerance", ylabel: "largest error" };
  const equal = all.map(([r]) => [r, r]);
  const adaptive = all.map(([r, e]) => [r, drawn(e.adaptive)]);
  const fixed = all.map(([r, e]) => [r, drawn(e.fixed)]);
  const seen = [equal, adaptive, fixed].flat().map(([, e]) => e);
  paper.set(
    errorAxes(
      [TIGHTEST, LOOSEST],
      seen.filter((e) => e < 1e3),
      labels,
    ),
  );
  paper.line("equal", equal, "faint dashed");
  paper.line("fixed", fixed, "rival thin");
  paper.line("adaptive", adaptive, "ours thin");
  paper.dots("fixed here", [[rtol, drawn(here.fixed)]], "rival large");
  paper.dots("here", [[rtol, drawn(here.adaptive)]], "ours large");
}

/**
 * @param {number} rtol
 * @param {State} state
 * @param {Errors} found
 */
function report(rtol, { adaptive, fixed }, found) {
  const { method, accepted, rejected, nfe, stopped } = adaptive;
  const head =
    `${method.label}, tolerance ${short(rtol)}: ${accepted} steps accepted, ` +
    `${rejected} rejected, ${nfe} evaluations of f.`;
  if (stopped) return `${head} It gave up at t = ${short(stopped.t)}: ${stopped.why}.`;
  const rival = fixed.stopped
    ? `stops at t = ${short(fixed.stopped.t)}: ${fixed.stopped.why}`
    : `is off by ${short(found.fixed)}`;
  return (
    `${head} Largest error ${short(found.adaptive)}. ` +
    `RK4 in ${fixed.accepted} equal steps, for the same cost, ${rival}.`
  );
}

export default { render };
