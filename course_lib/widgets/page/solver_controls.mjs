// Paths of a solver that the reader sets: its controls, its settings, its words.
import { ADAPTIVE, FIXED, METHODS } from "./tables.mjs";
import { interpolate, linspace } from "./rk.mjs";
import { choice, clamp, short, slider } from "./plot.mjs";

// Controls for method, step size or tolerance; `settings()` reads them.
export function solverControls(figure, model) {
  choice(figure, model, "method", "Method", [...FIXED, ...ADAPTIVE]);
  const step = slider(figure, model, "step_size", "Step size h", { min: 0.01, max: 2, log: true });
  const tolerance = slider(figure, model, "rtol", "Tolerance", { min: 1e-7, max: 1, log: true, step: 0.1 });
  return () => {
    const [method, stepSize, rtol] = ["method", "step_size", "rtol"].map((name) => model.get(name));
    const adaptive = Boolean(METHODS[method].b_error);
    step.hide(adaptive);
    tolerance.hide(!adaptive);
    return adaptive ? { method, rtol, atol: rtol } : { method, stepSize };
  };
}

// The path as a curve of about `detail` points: its steps, and moments inside them where
// the method has dense output. `point` makes of y and t what is drawn.
export function trace(path, name, detail, point) {
  const method = METHODS[name];
  const ends = path.ys.map((y, i) => point(y, path.ts[i]));
  const pieces = method.dense ? clamp(Math.ceil(detail / path.accepted), 1, 16) : 1;
  if (pieces === 1) return ends;
  const curved = path.steps.flatMap((step, i) => {
    const inside = linspace(step.t, step.t + step.h, pieces + 1).slice(1, -1);
    return [ends[i], ...inside.map((t) => point(interpolate(step, method, t), t))];
  });
  return [...curved, ends.at(-1)];
}

// What the solver did, and whether it had to stop.
export function effort(path, { method, rtol, stepSize }) {
  const how = rtol ? `tolerance ${short(rtol)}` : `h = ${short(stepSize)}`;
  const head = `${METHODS[method].label}, ${how}: ${path.accepted} steps, ${path.nfe} evaluations of f.`;
  if (!path.stopped) return head;
  return `${head} It stopped at t = ${short(path.stopped.t)}: ${path.stopped.why}.`;
}
