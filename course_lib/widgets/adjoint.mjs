// AdjointExplorer: forward to the end, back with the adjoint, and what was lost on the way.
import { SYSTEMS } from "./page/tables.mjs";
import { FIELDS, PULLBACKS, augmented, distance, linspace, norm, sample, solve } from "./page/rk.mjs";
import { GAP, choice, coordinate, frame, handle, hull, legend, plot, put, short, slider } from "./page/plot.mjs";

const FINE = { method: "dopri5", rtol: 1e-11, atol: 1e-13 };
const LEVELS = linspace(-8, -1, 8).map((e) => 10 ** e);

// The loss |y(T) - target|², its gradient by the adjoint, and the state the way back
// re-creates, at tolerance rtol = atol; no DOM.
export function adjointState({ problem, target, rtol }) {
  const { y0, span } = SYSTEMS[problem];
  const settings = { method: "dopri5", rtol, atol: rtol };
  const forward = solve(FIELDS[problem], y0, span, settings);
  const end = forward.ys.at(-1);
  const lam = end.map((v, d) => 2 * (v - target[d]));
  const back = solve(augmented(problem), [...end, ...lam], [span[1], span[0]], { ...settings, parts: 2 });
  const [y, gradient] = halves(back.ys.at(-1));
  const exact = exactGradient(problem, target);
  return {
    forward,
    back,
    gradient,
    exact,
    reconstruction: distance(y, y0),
    error: distance(gradient, exact) / norm(exact),
  };
}

const halves = (z) => [z.slice(0, z.length / 2), z.slice(z.length / 2)];

// ∂L/∂y0 = Sᵀ 2(y(T) - target), with S = ∂y(T)/∂y0 from the linearised equation beside y.
const transported = new Map();

function exactGradient(problem, target) {
  if (!transported.has(problem)) {
    const { y0, span } = SYSTEMS[problem];
    const f = (t, z) => {
      const y = z.slice(0, 2);
      const rows = [[1, 0], [0, 1]].map((e) => PULLBACKS[problem](t, y, e));
      const times = (row, column) => row[0] * z[2 + column] + row[1] * z[4 + column];
      return [...FIELDS[problem](t, y), ...rows.flatMap((row) => [times(row, 0), times(row, 1)])];
    };
    transported.set(problem, solve(f, [...y0, 1, 0, 0, 1], span, FINE).ys.at(-1));
  }
  const [u, v, a, b, c, d] = transported.get(problem);
  const [p, q] = [2 * (u - target[0]), 2 * (v - target[1])];
  return [a * p + c * q, b * p + d * q];
}

function render({ model, el }) {
  const title = "The adjoint on its way back, and what the way back loses";
  const figure = frame(el, model, { title, draw });
  const systems = Object.entries(SYSTEMS).filter(([name]) => PULLBACKS[name]);
  choice(figure, model, "problem", "Problem", systems.map(([name, s]) => [name, s.label]));
  slider(figure, model, "rtol", "Tolerance", { min: 1e-8, max: 0.1, log: true, step: 0.1 });
  ["Target y₁", "Target y₂"].forEach((label, d) =>
    slider(figure, model, "target", label, { min: -3, max: 3, step: 0.05, lens: coordinate(d) }),
  );
  legend(figure, [
    ["exact wide", "forward path y(t)"],
    ["ours", "state on the way back"],
    ["rival", "adjoint λ(t)"],
    ["data", "target (drag it)"],
  ]);
  const paper = plot(figure, { title: "Forward path, way back, and adjoint arrows", height: 340 });
  const errors = plot(figure, { title: "Errors against tolerance", height: 340 });
  const place = handle(paper, "data", {
    at: () => model.get("target"),
    move: (x, y) => put(model, "target", [x, y].map((v) => Math.min(3, Math.max(-3, v)))),
  });

  let kept = { key: "" }; // the errors at all tolerances, while problem and target stay

  function sweep(problem, target) {
    const key = JSON.stringify([problem, target]);
    if (kept.key === key) return kept.done;
    const all = LEVELS.map((level) => [level, adjointState({ problem, target, rtol: level })]);
    kept = { key, done: all.filter(([, s]) => !s.back.stopped) };
    return kept.done;
  }

  function draw() {
    const [problem, target] = [model.get("problem"), model.get("target")];
    const rtol = model.get("rtol");
    const state = adjointState({ problem, target, rtol });
    drawWay(paper, problem, target, state);
    place();
    drawLosses(errors, sweep(problem, target), rtol, state);
    return sum(rtol, state);
  }

  return figure.close;
}

function drawWay(paper, problem, target, { forward, back }) {
  const { span, window: ranges } = SYSTEMS[problem];
  paper.set({ x: ranges[0], y: ranges[1], equal: true, xlabel: "y₁", ylabel: "y₂" });
  const smooth = sample(forward, linspace(...span, 300), "dopri5");
  const until = back.ts.at(-1);
  const returned = sample(back, linspace(span[1], until, 300), "dopri5");
  paper.line("forward", smooth, "exact wide");
  paper.line("back", returned.map((z) => z.slice(0, 2)), "ours");
  paper.dots("ends", [forward.ys[0], back.ys.at(-1).slice(0, 2)], "ours");
  paper.line("pull", [forward.ys.at(-1), target], "data thin dashed");
  paper.line("arrows", arrows(paper, sample(back, linspace(span[1], until, 13), "dopri5")), "rival");
}

// λ at some times, from the state it belongs to; the longest is 60 pixels long.
function arrows(paper, states) {
  const parts = states.map(halves).filter(([y]) => y.every(Number.isFinite));
  const longest = Math.max(...parts.map(([, lam]) => norm(lam))) || 1;
  const unit = 60 / Math.abs(paper.x(1) - paper.x(0)) / longest;
  return parts.flatMap(([[u, v], lam]) => {
    const [p, q] = lam.map((x) => x * unit);
    const tip = [u + p, v + q];
    const barb = (s) => [tip[0] - 0.2 * p + s * 0.12 * q, tip[1] - 0.2 * q - s * 0.12 * p];
    return [[u, v], tip, barb(1), GAP, tip, barb(-1), GAP];
  });
}

function drawLosses(paper, done, rtol, here) {
  const floor = (e) => Math.max(e, 1e-12);
  const seen = done.flatMap(([, s]) => [s.error, s.reconstruction]).map((e) => Math.log10(floor(e)));
  const [low, high] = hull(seen, 0);
  paper.set({
    x: [LEVELS[0], LEVELS.at(-1)],
    y: [10 ** Math.floor(low), 10 ** Math.ceil(high)],
    xlog: true,
    ylog: true,
    xlabel: "tolerance",
    ylabel: "error",
  });
  paper.line("reconstruction", done.map(([r, s]) => [r, floor(s.reconstruction)]), "ours thin");
  paper.line("gradient", done.map(([r, s]) => [r, floor(s.error)]), "rival thin");
  const points = (e) => (here.back.stopped ? [] : [[rtol, floor(e)]]);
  paper.dots("reconstruction here", points(here.reconstruction), "ours large");
  paper.dots("gradient here", points(here.error), "rival large");
}

function sum(rtol, { forward, back, reconstruction, error }) {
  const head =
    `Tolerance ${short(rtol)}: ${forward.nfe} evaluations of f forward, ${back.nfe} back.`;
  if (forward.stopped || back.stopped) {
    const [way, { t, why }] = forward.stopped ? ["forward", forward.stopped] : ["way back", back.stopped];
    return `${head} The ${way} stopped at t = ${short(t)}: ${why}. There is no gradient.`;
  }
  const verdict = error > 0.1 ? " This gradient is wrong, and nothing said so." : "";
  return (
    `${head} The way back misses the start by ${short(reconstruction)}; ` +
    `the gradient is off by ${short(100 * error)}%.${verdict}`
  );
}

export default { render };
