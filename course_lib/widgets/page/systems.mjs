// The right-hand sides of course_lib/systems.py, and what the adjoint needs of them.

import { SYSTEMS } from "./tables.mjs";

/** @import { Field, Vector } from "./rk.mjs" */
/** @import { Choice } from "./tables.mjs" */

/** @type {Record<string, Field>} */
export const FIELDS = {
  decay: (t, [y]) => [-5 * y],
  oscillator: (t, [u, v]) => [v, -u],
  spiral: (t, [u, v]) => [-0.1 * u - v, u - 0.1 * v],
  vanderpol: (t, [u, v]) => [v, 2 * (1 - u * u) * v - u],
  pendulum: (t, [u, v]) => [v, -Math.sin(u)],
  ring: (t, [u, v]) => {
    const pull = 2 * (1 - u * u - v * v);
    return [pull * u - 2 * v, pull * v + 2 * u];
  },
};

/**
 * λᵀ ∂f/∂y
 * @type {Record<string, (t: number, y: Vector, lam: Vector) => number[]>}
 */
export const PULLBACKS = {
  oscillator: (t, y, [a, b]) => [-b, a],
  spiral: (t, y, [a, b]) => [-0.1 * a + b, -a - 0.1 * b],
  vanderpol: (t, [u, v], [a, b]) => [-b * (4 * u * v + 1), a + 2 * b * (1 - u * u)],
  pendulum: (t, [u], [a, b]) => [-b * Math.cos(u), a],
  ring: (t, [u, v], [a, b]) => {
    const pull = 2 * (1 - u * u - v * v);
    const along = -4 * (a * u + b * v);
    return [pull * a + along * u + 2 * b, pull * b + along * v - 2 * a];
  },
};

/**
 * @param {string} name
 * @returns {Choice}
 */
const named = (name) => [name, SYSTEMS[name].label];

/** The systems that have a pullback: those in the plane. */
export const PLANE = Object.keys(PULLBACKS).map(named);
/** All but the ring, which is for the adjoint. */
export const PROBLEMS = Object.keys(SYSTEMS)
  .filter((name) => name !== "ring")
  .map(named);

/**
 * The two halves of a state (y, λ).
 * @param {Vector} z
 */
export const halves = (z) => [z.slice(0, z.length / 2), z.slice(z.length / 2)];

/**
 * The backward dynamics of (y, λ): (f, -λᵀ ∂f/∂y).
 * @param {string} name
 * @returns {Field}
 */
export const augmented = (name) => (t, z) => {
  const [y, lam] = halves(z);
  return [...FIELDS[name](t, y), ...PULLBACKS[name](t, y, lam).map((v) => -v)];
};
