// Paths of a solver that the reader sets: its controls, its settings, its words.
import { choice, clamp, short, slider } from "./frame.mjs";
import { interpolate, linspace } from "./rk.mjs";
import { ADAPTIVE, FIXED, METHODS } from "./tables.mjs";

/** @import { AnyModel } from "@anywidget/types" */
/** @import { Figure } from "./frame.mjs" */
/** @import { Path, Settings, Vector } from "./rk.mjs" */

/**
 * Controls for method, step size or tolerance; what comes back reads them.
 * @param {Figure} figure
 * @param {AnyModel} model
 * @returns {() => Settings}
 */
export function solverControls(figure, model) {
  choice(figure, model, "method", "Method", [...FIXED, ...ADAPTIVE]);
  const sizes = { min: 0.01, max: 2, log: true, key: "h" };
  const tolerances = { min: 1e-7, max: 1, log: true, step: 0.1 };
  const step = slider(figure, model, "step_size", "Step size h", sizes);
  const tolerance = slider(figure, model, "rtol", "Tolerance", tolerances);
  return () => {
    const settings = solverSettings((name) => model.get(name));
    step.hide("rtol" in settings);
    tolerance.hide("step_size" in settings);
    return settings;
  };
}

/**
 * The settings of a solve, as the traits have them.
 * @param {(name: string) => any} get
 * @returns {Settings}
 */
export function solverSettings(get) {
  const [method, step_size, rtol] = ["method", "step_size", "rtol"].map(get);
  return METHODS[method].b_error ? { method, rtol, atol: rtol } : { method, step_size };
}

/**
 * The path as a curve of about `detail` points: its steps, and moments inside them where
 * the method has dense output. `point` makes of y and t what is drawn.
 * @param {Path} path
 * @param {number} detail
 * @param {(y: Vector, t: number) => Vector} point
 */
export function trace({ method, ts, ys, steps }, detail, point) {
  const { dense } = method;
  const ends = ys.map((y, i) => point(y, ts[i]));
  if (!dense) return ends;
  const pieces = clamp(Math.ceil(detail / steps.length), 1, 16);
  if (pieces === 1) return ends;
  const curved = steps.flatMap((step, i) => {
    const inside = linspace(step.t, step.t + step.h, pieces + 1).slice(1, -1);
    return [ends[i], ...inside.map((t) => point(interpolate(step, dense, t), t))];
  });
  return [...curved, ends[ends.length - 1]];
}

/**
 * What the solver did.
 * @param {Path} path
 * @param {Settings} settings
 */
export function effort({ method, accepted, nfe }, { rtol, step_size }) {
  const how = step_size ? `h = ${short(step_size)}` : `tolerance ${short(rtol ?? NaN)}`;
  return `${method.label}, ${how}: ${accepted} steps, ${nfe} evaluations of f`;
}

/**
 * What the solver did, and whether it had to stop.
 * @param {Path} path
 * @param {Settings} settings
 */
export function account(path, settings) {
  const head = `${effort(path, settings)}.`;
  if (!path.stopped) return head;
  return `${head} It stopped at t = ${short(path.stopped.t)}: ${path.stopped.why}.`;
}
