// ToleranceExplorer: a tolerance, the steps it leads to, and the error that comes of it.
import { ADAPTIVE, METHODS, PROBLEMS, SYSTEMS } from "./page/tables.mjs";
import { FIELDS, distance, linspace, sample, solve } from "./page/rk.mjs";
import { choice, frame, hull, legend, plot, short, slider } from "./page/plot.mjs";

const TRUTH = { method: "dopri5", rtol: 1e-11, atol: 1e-13 };
const TOLERANCES = linspace(-8, -1, 15).map((e) => 10 ** e);

// The adaptive solve, and RK4 in equal steps for as many evaluations of f; no DOM.
export function toleranceState({ problem, method, rtol }) {
  const { y0, span } = SYSTEMS[problem];
  const f = FIELDS[problem];
  const adaptive = solve(f, y0, span, { method, rtol, atol: rtol });
  const n = Math.max(1, Math.round(adaptive.nfe / 4));
  const fixed = solve(f, y0, span, { method: "rk4", stepSize: (span[1] - span[0]) / n });
  return { adaptive, fixed, stepSize: (span[1] - span[0]) / n };
}

// The largest distance to the exact solution at the ends of the steps.
function worst(path, truth) {
  const exact = sample(truth, path.ts, "dopri5");
  return Math.max(...path.ys.map((y, i) => distance(y, exact[i])));
}

function render({ model, el }) {
  let kept = { key: "" }; // what changes with problem and method only
  const title = "Accepted and rejected steps for a tolerance of your choice";
  const figure = frame(el, model, { title, draw });
  choice(figure, model, "problem", "Problem", PROBLEMS);
  choice(figure, model, "method", "Method", ADAPTIVE);
  const range = { min: TOLERANCES[0], max: TOLERANCES.at(-1), log: true, step: 0.05 };
  slider(figure, model, "rtol", "Tolerance", range);
  legend(figure, [
    ["exact wide", "exact"],
    ["ours", "accepted steps"],
    ["data", "rejected attempts"],
    ["rival", "RK4, equal steps, same cost"],
  ]);
  const curves = plot(figure, {
    title: "The first component over time, a dot at each step",
    wide: true,
  });
  const sizes = plot(figure, { title: "Step size over time" });
  const errors = plot(figure, { title: "Largest error against tolerance" });

  function refresh(problem, method) {
    if (kept.key === problem + method) return;
    const { y0, span } = SYSTEMS[problem];
    const truth = solve(FIELDS[problem], y0, span, TRUTH);
    const times = linspace(...span, 500);
    const curve = sample(truth, times, "dopri5").map((y, i) => [times[i], y[0]]);
    kept = { key: problem + method, truth, curve };
    kept.sweep = TOLERANCES.map((rtol) => {
      const { adaptive, fixed } = toleranceState({ problem, method, rtol });
      return [rtol, worst(adaptive, truth), worst(fixed, truth)];
    });
  }

  function draw() {
    const [problem, method] = [model.get("problem"), model.get("method")];
    const rtol = model.get("rtol");
    refresh(problem, method);
    const state = toleranceState({ problem, method, rtol });
    drawCurves(curves, problem, kept.curve, state);
    drawSizes(sizes, problem, state);
    const found = { adaptive: worst(state.adaptive, kept.truth), fixed: worst(state.fixed, kept.truth) };
    drawErrors(errors, kept.sweep, rtol, found);
    return tell(METHODS[method], rtol, state, found);
  }

  return figure.close;
}

function drawCurves(paper, problem, curve, { adaptive, fixed }) {
  const { span, window: ranges } = SYSTEMS[problem];
  paper.set({ x: span, y: ranges[0], xlabel: "time t", ylabel: "y₁" });
  const first = (path) => path.ts.map((t, i) => [t, path.ys[i][0]]);
  paper.line("fixed", first(fixed), "rival thin");
  paper.line("exact", curve, "exact wide");
  paper.dots("steps", first(adaptive), "ours");
  paper.bars("rejected", failures(adaptive).map((a) => a.t + a.h), 14, "data");
}

const failures = (path) => path.attempts.filter((a) => !a.accepted);

function drawSizes(paper, problem, { adaptive, stepSize }) {
  const { span } = SYSTEMS[problem];
  const tried = adaptive.attempts.map((a) => Math.log10(a.h));
  const [low, high] = hull([...tried, Math.log10(stepSize)]);
  paper.set({
    x: span,
    y: [10 ** Math.floor(low), 10 ** Math.ceil(high)],
    ylog: true,
    xlabel: "time t",
    ylabel: "step size h",
  });
  const points = adaptive.steps.map((s) => [s.t, s.h]);
  paper.line("fixed", span.map((t) => [t, stepSize]), "rival");
  paper.line("sizes", points, "ours thin");
  paper.dots("accepted", points, "ours");
  paper.dots("rejected", failures(adaptive).map((a) => [a.t, a.h]), "data");
}

function drawErrors(paper, sweep, rtol, found) {
  const floor = (e) => Math.max(e, 1e-12);
  const seen = sweep.flatMap(([r, a, b]) => [r, floor(a), floor(b)]).filter((e) => e < 1e3);
  const [low, high] = hull(seen.map(Math.log10), 0);
  paper.set({
    x: [TOLERANCES[0], TOLERANCES.at(-1)],
    y: [10 ** Math.floor(low), 10 ** Math.ceil(high)],
    xlog: true,
    ylog: true,
    xlabel: "tolerance",
    ylabel: "largest error",
  });
  paper.line("equal", sweep.map(([r]) => [r, r]), "faint dashed");
  paper.line("fixed", sweep.map(([r, , e]) => [r, floor(e)]), "rival thin");
  paper.line("adaptive", sweep.map(([r, e]) => [r, floor(e)]), "ours thin");
  paper.dots("fixed here", [[rtol, floor(found.fixed)]], "rival large");
  paper.dots("here", [[rtol, floor(found.adaptive)]], "ours large");
}

function tell(method, rtol, { adaptive, fixed }, found) {
  const { accepted, rejected, nfe, stopped } = adaptive;
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
