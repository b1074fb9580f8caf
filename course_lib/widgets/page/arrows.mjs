// Vectors as arrows.
import { GAP } from "./plot.mjs";

/** @import { Vector } from "./rk.mjs" */

/**
 * A line along arrows, each from a point and as long as its vector times `unit`.
 * @param {Vector[][]} pairs of a point and a vector
 * @param {number} unit
 */
export const arrows = (pairs, unit) =>
  pairs.flatMap(([[u, v], vector]) => {
    const [p, q] = [vector[0] * unit, vector[1] * unit];
    const tip = [u + p, v + q];
    const barb = (/** @type {number} */ s) => [
      tip[0] - 0.2 * p + s * 0.12 * q,
      tip[1] - 0.2 * q - s * 0.12 * p,
    ];
    return [[u, v], tip, barb(1), GAP, tip, barb(-1), GAP];
  });
