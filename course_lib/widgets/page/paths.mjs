// What came of a solve: its path as a curve, and in words.

import { interpolate } from "./dense.mjs";
import { clamp, short } from "./frame.mjs";
import { linspace } from "./rk.mjs";

/** @import { Path, Settings, Vector } from "./rk.mjs" */

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
