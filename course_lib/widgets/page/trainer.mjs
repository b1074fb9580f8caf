// Up to three models that learn from the same rows, side by side, and what is drawn of them.
// It runs in a worker, or in the page a little at a time. No DOM here.

import { sample } from "./dense.mjs";
import { batchOf, begin, descend, pick } from "./descent.mjs";
import {
  flowOf,
  judge,
  lifted,
  lossAndGradient,
  planOf,
  readOut,
  run,
  solverOf,
} from "./learner.mjs";
import { linspace, solve } from "./rk.mjs";

/** @import { Training } from "./descent.mjs" */
/** @import { Cost, Plan, Recipe, Rows } from "./learner.mjs" */

/**
 * What is learnt, from what and how.
 * @typedef {object} Setup
 * @property {Recipe[]} recipes
 * @property {Rows} rows
 * @property {string} optimizer
 * @property {number} lr
 * @property {number} batch rows of a step
 * @property {number} until the step at which it pauses by itself, if it is not there yet
 * @property {number} seed of the first weights and of the order
 * @property {[low: number, high: number][]} window what the picture shows
 * @property {Float64Array} track all of a path, of which rows are pieces
 */
/**
 * A model that learns.
 * @typedef {object} Learner
 * @property {Plan} plan
 * @property {Training} training
 * @property {number[]} losses one a step
 * @property {Cost | null} cost of the last gradient
 * @property {string} stopped why it cannot go on, or ""
 */
/**
 * What is drawn of a model: states at moments (moment after moment, row after row, `dim`
 * numbers each), scores on a grid, and at which points of a lattice the computed map turns
 * the plane over, or which points of a line it puts before the one before them.
 * @typedef {object} Picture
 * @property {number[]} moments
 * @property {number} dim
 * @property {Float64Array[]} states
 * @property {Float64Array} scores
 * @property {number[]} turned
 * @property {number[]} line w₁, w₂, b of a read-out in the plane
 */
/**
 * @typedef {Training & { losses: number[], cost: Cost | null, stopped: string, loss: number,
 *   right: number, off: number, picture: Picture | null }} Report
 */

export const GRID = 32; // points of the picture's grid, each way
export const LATTICE = 16; // points where the map is examined, each way
const NEAR = 1e-5; // how far from such a point its neighbours are
const MOMENTS = 21;

/** @param {Setup} setup */
const plansOf = ({ recipes, rows }) => recipes.map((recipe) => planOf(recipe, rows.task, rows.dim));

/** Models that learn side by side. */
export class Trainer {
  /**
   * @param {Setup} setup
   * @param {Training[]} [saved] to go on with
   */
  constructor(setup, saved) {
    this.setup = setup;
    /** @type {Learner[]} */
    this.learners = plansOf(setup).map((plan, i) => {
      const fits = saved?.[i]?.theta.length === plan.count;
      const training = fits && saved ? saved[i] : begin(plan, setup.seed);
      return { plan, training, losses: [], cost: null, stopped: "" };
    });
  }

  /**
   * Go on with another solver, gradient or optimiser.
   * @param {Setup} setup
   */
  adopt(setup) {
    this.setup = setup;
    plansOf(setup).forEach((plan, i) => {
      Object.assign(this.learners[i], { plan, stopped: "" });
    });
  }

  /** Whether any of the models can go on. */
  get able() {
    return this.learners.some(({ stopped }) => !stopped) && this.setup.rows.x.length > 0;
  }

  /** How many steps the model that has gone farthest has taken. */
  get steps() {
    return Math.max(0, ...this.learners.map(({ training }) => training.steps));
  }

  /** One step of every model that can go on. */
  step() {
    for (const learner of this.learners) if (!learner.stopped) this.#learn(learner);
  }

  /** @param {Learner} learner */
  #learn(learner) {
    const { plan, training } = learner;
    const { optimizer, lr } = this.setup;
    const found = lossAndGradient(plan, training.theta, this.#batch(training.steps));
    learner.cost = found.cost;
    if (found.stopped) learner.stopped = found.stopped.why;
    else if (!found.grad.every(Number.isFinite)) learner.stopped = "its gradient overflowed";
    if (learner.stopped) return;
    learner.losses.push(found.loss);
    descend(training, found.grad, { optimizer, lr, trained: plan.trained });
  }

  /** @param {number} step */
  #batch(step) {
    const { rows, batch, seed } = this.setup;
    return pick(rows, batchOf(rows.x.length / rows.dim, batch, seed, step));
  }

  /**
   * What is told and drawn of every model now.
   * @returns {Report[]}
   */
  report() {
    const { rows } = this.setup;
    return this.learners.map((learner) => {
      const { plan, training, losses, cost, stopped } = learner;
      learner.losses = [];
      const none = rows.x.length === 0;
      const made = none ? { loss: NaN, right: NaN } : judge(plan, training.theta, rows);
      const off = none || stopped ? NaN : this.#off(learner);
      const picture = pictureOf(plan, training.theta, this.setup);
      return { ...training, losses, cost, stopped, ...made, off, picture };
    });
  }

  /**
   * How far the gradient is from the one through the steps, over the length of that.
   * @param {Learner} learner
   */
  #off({ plan, training }) {
    if (plan.recipe.model !== "ode" || plan.recipe.gradient === "direct") return 0;
    const batch = this.#batch(training.steps);
    const [ours, exact] = ["", "direct"].map((kind) =>
      lossAndGradient(plan, training.theta, batch, kind),
    );
    if (ours.stopped || exact.stopped) return NaN;
    const gap = ours.grad.map((v, i) => v - exact.grad[i]);
    return Math.hypot(...gap) / Math.hypot(...exact.grad);
  }
}

// --- pictures --------------------------------------------------------------------------

/**
 * What is drawn of a model.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {Setup} setup
 * @returns {Picture | null} nothing where its solve stops
 */
export function pictureOf(plan, theta, { rows, window, track }) {
  if (rows.task === "path") {
    const times = linspace(
      0,
      (rows.times[1] ?? 0) * (track.length / 2 - 1),
      4 * (track.length / 2),
    );
    return track.length < 4 ? null : along(plan, theta, track.slice(0, 2), times);
  }
  const starts = rows.task === "values" ? Float64Array.from(linspace(...window[0], 41)) : rows.x;
  const picture = along(plan, theta, starts, linspace(0, 1, MOMENTS));
  if (!picture) return null;
  if (rows.task === "values") {
    const end = picture.states[picture.states.length - 1];
    const first = end.filter((_, i) => i % picture.dim === 0);
    return { ...picture, turned: plan.recipe.model === "mlp" ? [] : swapped(first) };
  }
  const grid = gridOf(window, GRID);
  const { ys, stopped } = run(plan, theta, grid, [], "adjoint");
  if (stopped) return picture;
  const end = /** @type {Float64Array} */ (ys[ys.length - 1]);
  const flat = plan.state === 2 && plan.recipe.model !== "mlp";
  const scores = readOut(plan, theta, end);
  if (!flat) return { ...picture, scores };
  const line = [...theta.subarray(plan.head, plan.head + 3)];
  return { ...picture, scores, turned: folds(plan, theta, window), line };
}

/**
 * States on the way from the starts. A network that is no flow has only what comes out: a
 * number, or nothing that could be drawn.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {Float64Array} starts
 * @param {number[]} moments
 * @returns {Picture | null}
 */
function along(plan, theta, starts, moments) {
  const rest = { scores: new Float64Array(0), turned: [], line: [] };
  const { dim, state } = plan;
  if (plan.recipe.model === "mlp") {
    const { ys } = run(plan, theta, starts, []);
    const end = plan.task === "values" ? readOut(plan, theta, ys[1]) : starts;
    return { moments: [0, 1], dim, states: [starts, end], ...rest };
  }
  const y0 = lifted(starts, dim, state);
  const { settings } = solverOf(plan, moments);
  const flow = flowOf(plan, theta, starts.length / dim);
  const path = solve(flow.f, y0, [0, moments[moments.length - 1]], settings);
  if (path.stopped) return null;
  const states = /** @type {Float64Array[]} */ (sample(path, moments));
  return { moments, dim: state, states, ...rest };
}

/**
 * Points of a grid over the window, row after row from below.
 * @param {[number, number][]} window
 * @param {number} n points each way
 */
export function gridOf([across, up], n) {
  const [xs, ys] = [linspace(...across, n), linspace(...up, n)];
  return Float64Array.from(ys.flatMap((y) => xs.flatMap((x) => [x, y])));
}

/**
 * Where the computed map has a negative determinant: it turns the plane over there, which no
 * flow of the plane can do.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {[number, number][]} window
 */
export function folds(plan, theta, window) {
  const at = gridOf(window, LATTICE);
  const trios = Array.from({ length: at.length / 2 }, (_, i) => {
    const [x, y] = [at[2 * i], at[2 * i + 1]];
    return [x, y, x + NEAR, y, x, y + NEAR];
  });
  const { ys, stopped } = run(plan, theta, Float64Array.from(trios.flat()), [], "adjoint");
  if (stopped) return [];
  const image = /** @type {Float64Array} */ (ys[ys.length - 1]);
  return trios.flatMap((_, i) => (area(image, 3 * i, 3 * i + 1, 3 * i + 2) < 0 ? [i] : []));
}

/**
 * Twice the area of a triangle of three points, negative if they run clockwise.
 * @param {Float64Array} points
 * @param {number} a
 * @param {number} b
 * @param {number} c
 */
function area(points, a, b, c) {
  const [x, y] = [points[2 * a], points[2 * a + 1]];
  const [u, v] = [points[2 * b] - x, points[2 * b + 1] - y];
  return u * (points[2 * c + 1] - y) - v * (points[2 * c] - x);
}

/**
 * The neighbours on a line that changed places: no flow of the line can do that.
 * @param {Float64Array} ends in the order of their starts
 */
export const swapped = (ends) =>
  Array.from(ends.keys()).filter((i) => i > 0 && ends[i] < ends[i - 1]);

/**
 * Where a path crosses itself: no field that does not change can have such a path.
 * @param {Float64Array} track x, y of one point after the other
 * @returns {[number, number][]}
 */
export function crossings(track) {
  /** @type {[number, number][]} */
  const found = [];
  const pieces = track.length / 2 - 1;
  for (let i = 0; i < pieces; i++) {
    for (let j = i + 2; j < pieces; j++) {
      const [p, q] = [area(track, i, i + 1, j), area(track, i, i + 1, j + 1)];
      if (p * q >= 0 || area(track, j, j + 1, i) * area(track, j, j + 1, i + 1) >= 0) continue;
      const share = p / (p - q);
      const at = (/** @type {number} */ d) =>
        track[2 * j + d] + share * (track[2 * j + 2 + d] - track[2 * j + d]);
      found.push([at(0), at(1)]);
    }
  }
  return found;
}
