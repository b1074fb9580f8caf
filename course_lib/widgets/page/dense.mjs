// Between the ends of the steps: dense output.
import { advance } from "./rk.mjs";

/** @import { Path, Step, Vector } from "./rk.mjs" */

/**
 * The solution at time t inside a step, by its dense output.
 * @param {Step} step
 * @param {number[][]} dense
 * @param {number} t
 */
export function interpolate(step, dense, t) {
  return advance(step.y, step.h, denseWeights(dense, (t - step.t) / step.h), step.stages);
}

/**
 * The weights b_i(θ) that reach t + θh.
 * @param {number[][]} dense
 * @param {number} theta
 */
export const denseWeights = (dense, theta) =>
  dense.map((row) => row.reduceRight((sum, c) => (sum + c) * theta, 0));

/**
 * The states at the given times, increasing in the direction of the solve; NaN beyond the
 * point where it stopped. Fixed steps are joined by straight lines: they have no dense output.
 * @param {Path} path
 * @param {number[]} times
 * @returns {Vector[]}
 */
export function sample({ method, ts, ys, steps }, times) {
  const direction = Math.sign(steps[0]?.h ?? 1);
  const missing = ys[0].map(() => NaN);
  let i = 0;
  return times.map((t) => {
    if (t === ts[0]) return ys[0];
    while (i < steps.length && direction * (t - ts[i + 1]) > 0) i++;
    const step = steps[i];
    if (!step) return missing;
    if (method.dense) return interpolate(step, method.dense, t);
    const theta = (t - step.t) / step.h;
    return step.y.map((v, d) => v + theta * (ys[i + 1][d] - v));
  });
}
