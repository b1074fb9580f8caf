// AdjointExplorer: forward to the end, back with the adjoint, and what was lost on the way.
import { arrows } from "./page/arrows.mjs";
import { sample } from "./page/dense.mjs";
import { drawn, errorAxes } from "./page/errors.mjs";
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
import { Plot } from "./page/plot.mjs";
import { distance, endOf, linspace, norm, reference, solve } from "./page/rk.mjs";
import { augmented, FIELDS, halves, PLANE, PULLBACKS } from "./page/systems.mjs";
import { SYSTEMS } from "./page/tables.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure, Memo } from "./page/frame.mjs" */
/** @import { Field, Path, Vector } from "./page/rk.mjs" */

/**
 * @typedef {{ problem: string, target: Vector, rtol: number }} Traits
 */
/**
 * The way there, the way back, and how far off the start and the gradient are.
 * @typedef {{ forward: Path, back: Path, gradient: Vector, exact: Vector,
 *   reconstruction: number, error: number }} State
 */
/**
 * Tolerances and what is found at them.
 * @typedef {[rtol: number, state: State][]} Sweep
 */

const LEVELS = linspace(-8, -1, 8).map((e) => 10 ** e);
const REACH = 3; // how far a coordinate of the target can be pulled

/**
 * The loss |y(T) - target|², its gradient by the adjoint, and the state that the way back
 * re-creates, at tolerance rtol = atol; no DOM.
 * @param {Traits} traits
 * @returns {State}
 */
export function adjointState({ problem, target, rtol }, carried = sensitivity(problem)) {
  const { y0, span } = SYSTEMS[problem];
  const settings = { method: "dopri5", rtol, atol: rtol };
  const forward = solve(FIELDS[problem], y0, span, settings);
  const end = endOf(forward);
  const lam = end.map((v, d) => 2 * (v - target[d]));
  const size = Math.max(...lam.map(Math.abs)) || 1; // the equation of λ is linear
  const start = [...end, ...lam.map((v) => v / size)];
  const back = solve(augmented(problem), start, [span[1], span[0]], { ...settings, parts: 2 });
  const [y, carriedBack] = halves(endOf(back));
  const gradient = carriedBack.map((v) => v * size);
  const exact = exactGradient(carried, target);
  const reconstruction = distance(y, y0);
  return {
    forward,
    back,
    gradient,
    exact,
    reconstruction,
    error: distance(gradient, exact) / norm(exact),
  };
}

/**
 * y(T) and, by rows, ∂y(T)/∂y0: the linearised equation is solved beside y.
 * @param {string} problem
 */
function sensitivity(problem) {
  const { y0, span } = SYSTEMS[problem];
  /** @type {Field} */
  const f = (t, z) => {
    const y = z.slice(0, 2);
    const rows = [PULLBACKS[problem](t, y, [1, 0]), PULLBACKS[problem](t, y, [0, 1])];
    const columns = rows.flatMap(([a, b]) => [a * z[2] + b * z[4], a * z[3] + b * z[5]]);
    return [...FIELDS[problem](t, y), ...columns];
  };
  return endOf(reference(f, [...y0, 1, 0, 0, 1], span));
}

/**
 * ∂L/∂y0 = (∂y(T)/∂y0)ᵀ 2(y(T) - target)
 * @param {Vector} carried from `sensitivity`
 * @param {Vector} target
 */
function exactGradient([u, v, a, b, c, d], target) {
  const [p, q] = [2 * (u - target[0]), 2 * (v - target[1])];
  return [a * p + c * q, b * p + d * q];
}

/**
 * Every tolerance at which the way back comes to its end.
 * @param {string} problem
 * @param {Vector} target
 * @param {Vector} carried
 * @returns {Sweep}
 */
function sweep(problem, target, carried) {
  return LEVELS.flatMap((rtol) => {
    const state = adjointState({ problem, target, rtol }, carried);
    return state.back.stopped ? [] : [[rtol, state]];
  });
}

/** @param {RenderProps<Traits>} props */
function render({ model, el }) {
  const title = "The adjoint on its way back, and what the way back loses";
  const figure = frame(el, model, { title, draw });
  addControls(figure, model);
  const paper = new Plot(figure, {
    title: "Forward path, way back, and adjoint arrows",
    height: 340,
  });
  const errors = new Plot(figure, { title: "Errors against tolerance", height: 340 });
  const place = handle(paper, "data", {
    at: () => model.get("target"),
    move: (...point) =>
      put(
        model,
        "target",
        point.map((v) => clamp(v, -REACH, REACH)),
      ),
  });
  /** @type {[ends: Memo<Vector>, sweeps: Memo<Sweep>]} */
  const [ends, sweeps] = [memo(), memo()];

  function draw() {
    const [problem, target] = [model.get("problem"), model.get("target")];
    const rtol = model.get("rtol");
    const carried = ends(problem, () => sensitivity(problem));
    const state = adjointState({ problem, target, rtol }, carried);
    drawWay(paper, problem, target, state);
    place();
    const key = JSON.stringify([problem, target]);
    drawLosses(
      errors,
      sweeps(key, () => sweep(problem, target, carried)),
      rtol,
      state,
    );
    const { forward, back, reconstruction, error } = state;
    const lost = forward.stopped || back.stopped;
    figure.tell({
      ...{ problem, rtol, nfe: forward.nfe, nfe_back: back.nfe },
      ...{ reconstruction: lost ? NaN : reconstruction, error: lost ? NaN : error },
    });
    return report(rtol, state);
  }

  return figure.close;
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  choice(figure, model, "problem", "Problem", PLANE);
  slider(figure, model, "rtol", "Tolerance", { min: 1e-8, max: 0.1, log: true, step: 0.1 });
  ["Target y₁", "Target y₂"].forEach((label, d) => {
    const range = { min: -REACH, max: REACH, step: 0.05, lens: coordinate(d) };
    slider(figure, model, "target", label, range);
  });
  legend(figure, [
    ["exact wide", "forward path y(t)"],
    ["ours", "state on the way back"],
    ["rival", "adjoint λ(t)"],
    ["data", "target (drag it)"],
  ]);
}

/**
 * @param {Plot} paper
 * @param {string} problem
 * @param {Vector} target
 * @param {State} state
 */
function drawWay(paper, problem, target, { forward, back }) {
  const { span, window } = SYSTEMS[problem];
  paper.set({ x: window[0], y: window[1], equal: true, xlabel: "y₁", ylabel: "y₂" });
  const until = back.ts[back.ts.length - 1];
  const returned = (/** @type {number} */ n) =>
    sample(back, linspace(span[1], until, n)).map(halves);
  const states = returned(300).map(([y]) => y);
  paper.line("forward", sample(forward, linspace(...span, 300)), "exact wide");
  paper.line("back", states, "ours");
  paper.dots("ends", [forward.ys[0], halves(endOf(back))[0]], "ours");
  paper.line("pull", [endOf(forward), target], "data thin dashed");
  const known = returned(13).filter(([y]) => y.every(Number.isFinite));
  const longest = Math.max(...known.map(([, lam]) => norm(lam))) || 1;
  paper.line("arrows", arrows(known, 60 / Math.abs(paper.x(1) - paper.x(0)) / longest), "rival");
}

/**
 * @param {Plot} paper
 * @param {Sweep} known
 * @param {number} rtol
 * @param {State} here
 */
function drawLosses(paper, known, rtol, here) {
  const labels = { xlabel: "tolerance", ylabel: "error" };
  const starts = known.map(([r, s]) => [r, drawn(s.reconstruction)]);
  const gradients = known.map(([r, s]) => [r, drawn(s.error)]);
  const seen = [...starts, ...gradients].map(([, e]) => e);
  paper.set(errorAxes([LEVELS[0], LEVELS[LEVELS.length - 1]], seen, labels));
  paper.line("reconstruction", starts, "ours thin");
  paper.line("gradient", gradients, "rival thin");
  const point = (/** @type {number} */ e) => (here.back.stopped ? [] : [[rtol, drawn(e)]]);
  paper.dots("reconstruction here", point(here.reconstruction), "ours large");
  paper.dots("gradient here", point(here.error), "rival large");
}

/**
 * @param {number} rtol
 * @param {State} state
 */
function report(rtol, { forward, back, reconstruction, error }) {
  const head = `Tolerance ${short(rtol)}: ${forward.nfe} evaluations of f forward, ${back.nfe} back.`;
  const stopped = forward.stopped ?? back.stopped;
  if (stopped) {
    const way = forward.stopped ? "forward" : "way back";
    return `${head} The ${way} stopped at t = ${short(stopped.t)}: ${stopped.why}. There is no gradient.`;
  }
  const verdict = error > 0.1 ? " This gradient is wrong, and nothing said so." : "";
  return (
    `${head} The way back misses the start by ${short(reconstruction)}; ` +
    `the gradient is off by ${short(100 * error)}%.${verdict}`
  );
}

export default { render };
