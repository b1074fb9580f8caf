// The axes that errors are drawn along.

/** @import { Axes, Range } from "./plot.mjs" */

/**
 * Whole powers of ten around all of some positive numbers. `air` is left on either side, as
 * a share of what the exponents span; if that is nothing, one power of ten.
 * @param {number[]} values
 * @returns {Range}
 */
export function decades(values, air = 0) {
  const exponents = values.map(Math.log10).filter(Number.isFinite);
  const [low, high] = [Math.min(...exponents), Math.max(...exponents)];
  const extra = (high - low) * air || 1;
  return [10 ** Math.floor(low - extra), 10 ** Math.ceil(high + extra)];
}

/**
 * An error as it is drawn: there is no zero on a logarithmic axis.
 * @param {number} error
 */
export const drawn = (error) => Math.max(error, 1e-12);

/**
 * The axes of errors over a step size or a tolerance.
 * @param {Range} x
 * @param {number[]} errors
 * @param {{ xlabel: string, ylabel: string, air?: number }} options
 * @returns {Axes}
 */
export const errorAxes = (x, errors, { air, ...labels }) => ({
  x,
  y: decades(errors, air),
  xlog: true,
  ylog: true,
  ...labels,
});
