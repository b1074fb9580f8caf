// StepSizeExplorer: one step size, one path, and where it ends.
import { FIXED, METHODS, PROBLEMS, SYSTEMS } from "./page/tables.mjs";
import { FIELDS, distance, linspace, sample, solve } from "./page/rk.mjs";
import { choice, frame, hull, legend, plot, short, slider } from "./page/plot.mjs";

const EXACT = { method: "dopri5", rtol: 1e-12, atol: 1e-14 };
const SIZES = linspace(-2.5, 0.3, 29).map((e) => 10 ** e);

const references = new Map();

function reference(problem) {
  const { y0, span } = SYSTEMS[problem];
  if (!references.has(problem)) references.set(problem, solve(FIELDS[problem], y0, span, EXACT));
  return references.get(problem);
}

// What the pictures show for one problem, method and step size; no DOM.
export function stepSizeState({ problem, method, step_size: stepSize }) {
  const { y0, span } = SYSTEMS[problem];
  const exact = reference(problem);
  const path = solve(FIELDS[problem], y0, span, { method, stepSize });
  return { exact, path, error: distance(path.ys.at(-1), exact.ys.at(-1)) };
}

function render({ model, el }) {
  let kept = { key: "" }; // what changes with problem and method only
  const title = "Numerical and exact path for a step size of your choice";
  const figure = frame(el, model, { title, draw });
  choice(figure, model, "problem", "Problem", PROBLEMS);
  choice(figure, model, "method", "Method", FIXED);
  slider(figure, model, "step_size", "Step size h", { min: SIZES[0], max: 2, log: true });
  legend(figure, [["exact wide", "exact"], ["ours", "numerical"]]);
  const paths = plot(figure, { title: "The numerical path and the exact one", height: 300 });
  const errors = plot(figure, { title: "Error at the end against step size", height: 300 });

  function refresh(problem, method) {
    if (kept.key === problem + method) return;
    const times = linspace(...SYSTEMS[problem].span, 400);
    const states = sample(reference(problem), times, "dopri5");
    const sweep = SIZES.map((h) => [h, stepSizeState({ problem, method, step_size: h })]);
    const known = sweep.filter(([, s]) => !s.path.stopped && s.error < 1e3);
    kept = { key: problem + method, curve: onPaper(times, states) };
    kept.errors = known.map(([h, s]) => [h, Math.max(s.error, 1e-12)]);
  }

  function draw() {
    const [problem, method] = [model.get("problem"), model.get("method")];
    const h = model.get("step_size");
    refresh(problem, method);
    const { path, error } = stepSizeState({ problem, method, step_size: h });
    const points = onPaper(path.ts, path.ys);
    paths.set(sheet(problem));
    paths.line("exact", kept.curve, "exact wide");
    paths.line("ours", points, "ours thin");
    paths.dots("nodes", points.length <= 400 ? points : [], "ours");
    const [low, high] = hull(kept.errors.map(([, e]) => Math.log10(e)));
    errors.set({
      x: [SIZES[0], 2],
      y: [10 ** Math.floor(low), 10 ** Math.ceil(high)],
      xlog: true,
      ylog: true,
      xlabel: "step size h",
      ylabel: "error at the end",
    });
    errors.line("sweep", kept.errors, "ours thin");
    errors.dots("here", path.stopped ? [] : [[h, Math.max(error, 1e-12)]], "ours large");
    return report(METHODS[method], h, path, error, points.findIndex((p) => !paths.holds(p)));
  }

  return figure.close;
}

// A scalar is drawn against time, a pair in its plane.
const onPaper = (ts, ys) => ys.map((y, i) => (y.length === 1 ? [ts[i], y[0]] : y));

function sheet(problem) {
  const { window: [first, second], span } = SYSTEMS[problem];
  if (!second) return { x: span, y: first, xlabel: "time t", ylabel: "y" };
  const equal = first[1] - first[0] === second[1] - second[0];
  return { x: first, y: second, equal, xlabel: "y₁", ylabel: "y₂" };
}

// `out` is the first point outside the plot, or -1.
function report(method, h, path, error, out) {
  const steps = path.accepted;
  const layers = method.c.length === 1 ? "layers" : `layers of ${method.c.length} stages each`;
  const head = `${method.label}, h = ${short(h)}: ${steps} steps, ${path.nfe} evaluations of f.`;
  const network = `As a network: a ResNet with ${steps} ${layers}.`;
  if (path.stopped) {
    const { t, why } = path.stopped;
    const what = why === "not finite" ? "Unstable: the numbers overflowed after" : "Too many steps: it stopped at";
    return `${head} ${what} t = ${short(t)}. ${network}`;
  }
  const where = out < 0 ? "" : ` It left the plot at t = ${short(path.ts[out])}: unstable.`;
  return `${head} Error at the end ${short(error)}.${where} ${network}`;
}

export default { render };
