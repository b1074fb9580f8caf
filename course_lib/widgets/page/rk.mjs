// Explicit Runge–Kutta solvers for the live figures: course_lib/solvers in plain arrays,
// step for step, so that both accept and reject the same steps. No DOM here.
//
// Where Python raises SolverError, `solve` stops and says where and why: a figure draws
// what there is.
import { MAX_STEPS, METHODS } from "./tables.mjs";

/** @import { Method } from "./tables.mjs" */

/**
 * @typedef {number[] | Float64Array} Vector a state, or its derivative
 * @typedef {(t: number, y: Vector) => Vector} Field a right-hand side f(t, y)
 * @typedef {[from: number, to: number]} Span backward in time if `to` is the smaller
 */
/**
 * How to solve: `step_size` for a method of fixed steps, tolerances for an adaptive one.
 * @typedef {object} Settings
 * @property {string} method a name in METHODS
 * @property {number} [step_size]
 * @property {number} [rtol]
 * @property {number} [atol]
 * @property {number} [max_steps] attempts, rejected ones among them
 * @property {number} [parts] equal blocks of y whose errors are judged one by one
 * @property {number} [first_step] the size to try first, in place of one chosen from f
 * @property {(step: Step, tNext: number, yNext: Vector) => void} [each] takes every step
 *   that is accepted; the path then keeps none
 */
/**
 * A problem and how it is solved, nothing left open.
 * @typedef {Required<Omit<Settings, "method" | "each" | "first_step">> &
 *   Pick<Settings, "each" | "first_step"> &
 *   { f: Field, y0: Vector, span: Span, method: Method }} Task
 */
/**
 * An accepted step from `t` over the signed length `h`, with its stages k_i.
 * @typedef {{ t: number, h: number, y: Vector, stages: Vector[] }} Step
 */
/**
 * A step that was tried: where it leads, its estimated error over tolerance (NaN of a method
 * that estimates none), whether it was taken, and the size to try next.
 * @typedef {Step & { yNext: Vector, ratio: number, accepted: boolean, next: number }} Attempt
 */
/**
 * Where a solve could not go on, and why.
 * @typedef {{ t: number, why: string }} Stop
 */
/**
 * What came of a solve: the states at the ends of the steps, the steps, every attempt, and
 * `stopped`, if it could not go on.
 * @typedef {object} Path
 * @property {Method} method
 * @property {number[]} ts
 * @property {Vector[]} ys
 * @property {Step[]} steps
 * @property {Attempt[]} attempts
 * @property {number} nfe
 * @property {number} accepted
 * @property {number} rejected
 * @property {number} next the size that an adaptive method would try next
 * @property {Stop | null} stopped
 */

const SAFETY = 0.9;
const MIN_FACTOR = 0.2;
const MOST_REJECTED = 20; // of attempts that end in NaN, each a fifth of the one before
const MAX_FACTOR = 10;

// --- vectors ---------------------------------------------------------------------------

/**
 * y + h Σ w_i k_i, an array of the kind of y
 * @param {Vector} y
 * @param {number} h
 * @param {number[]} weights
 * @param {Vector[]} stages
 * @returns {Vector}
 */
export function advance(y, h, weights, stages) {
  if (y instanceof Float64Array) return advanceMany(y, h, weights, stages);
  const out = new Array(y.length);
  for (let d = 0; d < y.length; d++) {
    let slope = 0;
    for (let i = 0; i < stages.length; i++) {
      if (weights[i]) slope += weights[i] * stages[i][d];
    }
    out[d] = y[d] + h * slope;
  }
  return out;
}

/**
 * The same for long arrays, stage after stage.
 * @param {Float64Array} y
 * @param {number} h
 * @param {number[]} weights
 * @param {Vector[]} stages
 */
function advanceMany(y, h, weights, stages) {
  const out = y.slice();
  stages.forEach((k, i) => {
    const w = h * weights[i];
    if (w) for (let d = 0; d < out.length; d++) out[d] += w * k[d];
  });
  return out;
}

/**
 * `n` equally spaced numbers, both ends included.
 * @param {number} a
 * @param {number} b
 * @param {number} n
 */
export const linspace = (a, b, n) =>
  Array.from({ length: n }, (_, i) => (i === n - 1 ? b : a + ((b - a) * i) / (n - 1)));

/** @param {Vector} y */
export const norm = (y) => Math.hypot(...y);

/**
 * @param {Vector} a
 * @param {Vector} b
 */
export const distance = (a, b) => norm(a.map((v, d) => v - b[d]));

/** @param {Vector} y */
const finite = (y) => y.every(Number.isFinite);

/**
 * The larger number, NaN if `a` is.
 * @param {number} a
 * @param {number} b
 */
const larger = (a, b) => (a > b || Number.isNaN(a) ? a : b);

/**
 * The largest root mean square over `parts` equal blocks of x.
 * @param {Vector} x
 * @param {number} parts
 */
function rms(x, parts) {
  const n = x.length / parts;
  let most = 0;
  for (let p = 0; p < parts; p++) {
    let sum = 0;
    for (let d = p * n; d < (p + 1) * n; d++) sum += x[d] * x[d];
    most = larger(Math.sqrt(sum / n), most);
  }
  return most;
}

// --- one step --------------------------------------------------------------------------

/**
 * One step of length h: the new state and the stages.
 * @param {Field} f
 * @param {number} t
 * @param {Vector} y
 * @param {number} h
 * @param {Method} method
 * @param {Vector} [k1] f(t, y) if it is known already
 * @returns {[yNext: Vector, stages: Vector[]]}
 */
export function rkStep(f, t, y, h, method, k1) {
  const stages = [k1 ?? f(t, y)];
  let yStage = y;
  for (let i = 1; i < method.c.length; i++) {
    yStage = advance(y, h, method.a[i - 1], stages);
    stages.push(f(t + method.c[i] * h, yStage));
  }
  return [method.fsal ? yStage : advance(y, h, method.b, stages), stages];
}

// --- a whole solve ---------------------------------------------------------------------

/**
 * Solve y' = f(t, y), y(t0) = y0 up to t1, forward or backward.
 * @param {Field} f
 * @param {Vector} y0
 * @param {Span} span
 * @param {Settings} settings
 * @returns {Path}
 */
export function solve(f, y0, span, settings) {
  const method = METHODS[settings.method];
  if (!method) throw new Error(`unknown method ${settings.method}`);
  const adaptive = Boolean(method.b_error);
  const { step_size = NaN, rtol = 1e-5, atol = 1e-6 } = settings;
  if (!adaptive && !(step_size > 0)) throw new Error(`${method.name} needs a step_size`);
  const { max_steps = MAX_STEPS, parts = 1, first_step, each } = settings;
  /** @type {Path} */
  const path = {
    method,
    ts: [span[0]],
    ys: [y0],
    steps: [],
    attempts: [],
    nfe: 0,
    accepted: 0,
    rejected: 0,
    next: NaN,
    stopped: null,
  };
  /** @type {Field} */
  const counted = (t, y) => {
    path.nfe++;
    return f(t, y);
  };
  const how = { method, step_size, rtol, atol, max_steps, parts, first_step, each };
  const task = { f: counted, y0, span, ...how };
  path.stopped = adaptive ? adaptiveSteps(task, path) : fixedSteps(task, path);
  return path;
}

/**
 * The solve that a figure calls exact: its errors are too small to be drawn.
 * @param {Field} f
 * @param {Vector} y0
 * @param {Span} span
 * @param {{ rtol: number, atol: number }} [tolerance] a looser one for what is costly
 */
export const reference = (f, y0, span, tolerance = { rtol: 1e-12, atol: 1e-14 }) =>
  solve(f, y0, span, { method: "dopri5", ...tolerance });

/**
 * The state where a solve ended.
 * @param {Path} path
 */
export const endOf = ({ ys }) => ys[ys.length - 1];

/**
 * @param {Path} path
 * @param {Attempt} attempt
 * @param {number} tNext
 * @param {Settings["each"]} each
 */
function accept(path, attempt, tNext, each) {
  path.accepted++;
  if (each) {
    each(attempt, tNext, attempt.yNext);
    return;
  }
  path.steps.push(attempt);
  path.attempts.push(attempt);
  path.ts.push(tNext);
  path.ys.push(attempt.yNext);
}

/**
 * Steps of equal size, the last one shortened to end at t1.
 * @param {Task} task
 * @param {Path} path takes the steps
 * @returns {Stop | null}
 */
function fixedSteps({ f, y0, span: [t0, t1], method, step_size, max_steps, each }, path) {
  const n = Math.max(1, Math.ceil(Math.abs(t1 - t0) / step_size - 1e-6));
  const h = Math.sign(t1 - t0) * step_size;
  let y = y0;
  for (let i = 0; i < n; i++) {
    const t = t0 + i * h;
    if (i === max_steps) return { t, why: "too many steps" };
    const size = i < n - 1 ? h : t1 - t;
    const [yNext, stages] = rkStep(f, t, y, size, method);
    if (!finite(yNext)) return { t, why: "not finite" };
    const tNext = i < n - 1 ? t0 + (i + 1) * h : t1;
    const done = { accepted: true, ratio: NaN, next: step_size };
    accept(path, { t, h: size, y, stages, yNext, ...done }, tNext, each);
    y = yNext;
  }
  return null;
}

/**
 * Steps from t0 to exactly t1, each as long as its error estimate allows.
 * @param {Task} task
 * @param {Path} path takes the steps
 * @returns {Stop | null}
 */
function adaptiveSteps(task, path) {
  const { f, y0, method, max_steps, first_step, each } = task;
  const [t0, t1] = task.span;
  const sign = Math.sign(t1 - t0);
  let [t, y, k1, failed] = [t0, y0, f(t0, y0), 0];
  if (!finite(k1)) return { t, why: "not finite" };
  let h = first_step ?? initialStep(task, k1);
  for (let attempt = 0; attempt < max_steps; attempt++) {
    const left = Math.abs(t1 - t);
    const last = h >= 0.999 * left; // do not leave a sliver for one more step
    const size = last ? left : h;
    const [yNext, stages] = rkStep(f, t, y, sign * size, method, k1);
    const step = { t, h: sign * size, y, stages };
    const ratio = errorRatio(step, yNext, task);
    const accepted = ratio <= 1 && finite(yNext);
    const best = Math.max(MIN_FACTOR, accepted || ratio > 1 ? factor(ratio, method.order) : 0);
    const most = accepted && !failed ? MAX_FACTOR : 1;
    const next = size * Math.min(most, best);
    // Cut short to end at t1: h itself is still worth a try.
    const tried = {
      ...step,
      yNext,
      ratio,
      accepted,
      next: last && accepted ? Math.max(h, next) : next,
    };
    h = tried.next;
    if (accepted) {
      const tNext = last ? t1 : t + sign * size;
      path.next = h;
      accept(path, tried, tNext, each);
      if (last) return null;
      [t, y, k1, failed] = [tNext, yNext, stages[stages.length - 1], 0];
    } else {
      if (!each) path.attempts.push(tried);
      path.rejected++;
      failed++;
      const hopeless = failed >= MOST_REJECTED && !Number.isFinite(ratio);
      if (h <= 16 * spacing(t) || hopeless) return { t, why: "step underflow" };
    }
  }
  return { t, why: "too many steps" };
}

/**
 * What to multiply h by, without limits: the error of a step goes like h^order.
 * @param {number} ratio
 * @param {number} order
 */
export const factor = (ratio, order) => (ratio > 0 ? SAFETY * ratio ** (-1 / order) : Infinity);

/**
 * The distance from |t| to the next larger number: no step can be smaller.
 * @param {number} t
 */
function spacing(t) {
  const x = Math.abs(t);
  return x < 2 ** -1022 ? 2 ** -1074 : 2 ** (Math.floor(Math.log2(x)) - 52);
}

/**
 * h Σ (b_i - b̂_i) k_i: the new state less the second answer of an adaptive method.
 * @param {Step} step
 * @param {Method} method
 */
export const estimate = ({ h, y, stages }, { b_error }) =>
  advance(new Array(y.length).fill(0), h, /** @type {number[]} */ (b_error), stages);

/**
 * Estimated local error over tolerance; NaN fails every comparison.
 * @param {Step} step
 * @param {Vector} yNext
 * @param {Task} task
 */
function errorRatio(step, yNext, { method, rtol, atol, parts }) {
  const { y } = step;
  return rms(
    estimate(step, method).map(
      (e, d) => e / (rtol * larger(Math.abs(y[d]), Math.abs(yNext[d])) + atol),
    ),
    parts,
  );
}

/**
 * A first step size from the sizes of y, y' and y'' (Hairer, Nørsett, Wanner I, II.4).
 * @param {Task} task
 * @param {Vector} k1 f(t0, y0)
 */
function initialStep({ f, y0: y, span: [t, t1], method, rtol, atol, parts }, k1) {
  const over = (/** @type {Vector} */ x) =>
    rms(
      x.map((v, d) => v / (Math.abs(y[d]) * rtol + atol)),
      parts,
    );
  const [d0, d1] = [over(y), over(k1)];
  let h0 = d0 < 1e-5 || d1 < 1e-5 ? 1e-6 : Math.max((0.01 * d0) / d1, 32 * spacing(t));
  h0 = Math.min(h0, Math.abs(t1 - t));
  const ahead = Math.sign(t1 - t) * h0;
  const there = f(t + ahead, advance(y, ahead, [1], [k1]));
  const d2 = over(there.map((v, d) => v - k1[d])) / h0;
  const steepest = d1 > d2 ? d1 : d2;
  let h1 = Math.max(1e-6, 1e-3 * h0);
  if (steepest > 1e-15) h1 = (0.01 / steepest) ** (1 / (method.order + 1));
  return Number.isFinite(h1) ? Math.max(Math.min(100 * h0, h1), 32 * spacing(t)) : h0;
}
