// Three gradients of a solve, as course_lib.solvers has them: through its steps (odeint),
// through its steps taken again (odeint_checkpointed), and by the adjoint equation solved
// backwards (odeint_adjoint). No DOM here.
import { denseWeights, interpolate } from "./dense.mjs";
import { rkStep, solve } from "./rk.mjs";
import { METHODS } from "./tables.mjs";
import { Tape } from "./tape.mjs";

/** @import { Field, Settings, Step, Stop, Vector } from "./rk.mjs" */

/**
 * A field that can be differentiated.
 * @typedef {object} Flow
 * @property {Field} f
 * @property {(k: Vector, g: Vector, sums: Float64Array) => Float64Array} pull gᵀ ∂f/∂y at
 *   the evaluation that returned `k`; gᵀ ∂f/∂θ is added to `sums`
 * @property {Tape<any>} tape of the evaluations
 * @property {number} size numbers that an evaluation keeps
 */
/**
 * A step, where it ends, and which of the observations lie in it.
 * @typedef {Step & { tNext: number, yNext: Vector, seen: number[] }} Leg
 */
/**
 * What a gradient cost: evaluations of f on the way back, products λᵀ ∂f, and the most
 * numbers kept for it at a time.
 * @typedef {{ lam: Float64Array, nfe: number, pulls: number, kept: number, stopped: Stop | null }} Back
 */
/**
 * A solve at the times asked for, and the way back from ∂L/∂ys to ∂L/∂y0; ∂L/∂θ is added to
 * `sums`.
 * @typedef {object} Solved
 * @property {Vector[]} ys
 * @property {number} nfe
 * @property {number} accepted
 * @property {number} rejected
 * @property {Stop | null} stopped
 * @property {(gys: Vector[], sums: Float64Array) => Back} back
 */
/**
 * @typedef {(flow: Flow, y0: Float64Array, times: number[], settings: Settings) => Solved} Solver
 */

// --- the way there ---------------------------------------------------------------------

/**
 * Every step of a solve, with the observations in it. An adaptive method passes them, a
 * fixed-step method ends a step at each.
 * @param {Field} f
 * @param {Float64Array} y0
 * @param {number[]} times
 * @param {Settings} settings
 * @param {(leg: Leg) => void} each
 */
function walk(f, y0, times, settings, each) {
  const adaptive = Boolean(METHODS[settings.method].b_error);
  const [t0, direction] = [times[0], Math.sign(times[times.length - 1] - times[0])];
  const total = { nfe: 0, accepted: 0, rejected: 0, stopped: /** @type {Stop | null} */ (null) };
  let [next, y] = [1, /** @type {Vector} */ (y0)];
  /** @type {Settings["each"]} */
  const take = (step, tNext, yNext) => {
    const seen = [];
    while (next < times.length && direction * (times[next] - tNext) <= 0) seen.push(next++);
    y = yNext;
    each({ ...step, tNext, yNext, seen });
  };
  const stops = adaptive ? [t0, times[times.length - 1]] : times;
  for (let i = 1; i < stops.length && !total.stopped; i++) {
    const path = solve(f, y, [stops[i - 1], stops[i]], { ...settings, each: take });
    total.nfe += path.nfe;
    total.accepted += path.accepted;
    total.rejected += path.rejected;
    total.stopped = path.stopped;
  }
  return total;
}

/**
 * The observations in a step.
 * @param {Leg} leg
 * @param {Settings} settings
 * @param {number[]} times
 * @returns {Vector[]}
 */
const observed = (leg, { method }, times) =>
  leg.seen.map((i) =>
    times[i] === leg.tNext
      ? leg.yNext
      : interpolate(leg, /** @type {number[][]} */ (METHODS[method].dense), times[i]),
  );

// --- back through steps ----------------------------------------------------------------

/**
 * @param {Vector} into
 * @param {number} w
 * @param {Vector} x
 */
function addTo(into, w, x) {
  for (let d = 0; d < into.length; d++) into[d] += w * x[d];
}

/** @param {number} n */
const zeros = (n) => new Float64Array(n);

/**
 * From λ at the end of a step to λ at its start. `carried` is ∂L/∂k of the last stage, which
 * the step after it started from; what comes back is that of the first, if the step before
 * has it (`shared`).
 * @param {Flow} flow
 * @param {Leg} leg
 * @param {{ lam: Float64Array, carried: Float64Array | null }} arriving
 * @param {{ settings: Settings, times: number[], gys: Vector[], sums: Float64Array,
 *   shared: boolean, back: Back }} how
 */
function stepBack(flow, leg, { lam, carried }, { settings, times, gys, sums, shared, back }) {
  const method = METHODS[settings.method];
  const { stages, h } = leg;
  const last = stages.length - 1;
  const n = lam.length;
  /** @type {(Float64Array | null)[]} */
  const gk = stages.map(() => null);
  const add = (/** @type {number[]} */ weights, /** @type {Vector} */ g) => {
    weights.forEach((w, i) => {
      if (!w) return;
      gk[i] ??= zeros(n);
      addTo(/** @type {Float64Array} */ (gk[i]), h * w, g);
    });
  };
  const atEnd = lam.slice();
  const start = zeros(n);
  for (const i of leg.seen) {
    if (times[i] === leg.tNext) {
      addTo(atEnd, 1, gys[i]);
    } else {
      const theta = (times[i] - leg.t) / h;
      add(denseWeights(/** @type {number[][]} */ (method.dense), theta), gys[i]);
      addTo(start, 1, gys[i]);
    }
  }
  addTo(start, 1, atEnd);
  add(method.b, atEnd);
  if (carried) {
    gk[last] ??= zeros(n);
    addTo(/** @type {Float64Array} */ (gk[last]), 1, carried);
  }
  for (let i = last; i >= Number(shared); i--) {
    const g = gk[i];
    if (!g) continue;
    const gy = flow.pull(stages[i], g, sums);
    back.pulls++;
    addTo(start, 1, gy);
    if (i) add(method.a[i - 1], gy);
  }
  return { lam: start, carried: shared ? gk[0] : null };
}

/**
 * Back through steps that are on the tape, the last one first.
 * @param {Flow} flow
 * @param {Leg[]} legs
 * @param {Float64Array} lam
 * @param {{ settings: Settings, times: number[], gys: Vector[], sums: Float64Array, back: Back }} how
 */
function stepsBack(flow, legs, lam, how) {
  /** @type {{ lam: Float64Array, carried: Float64Array | null }} */
  let arriving = { lam, carried: null };
  for (let i = legs.length - 1; i >= 0; i--) {
    const before = legs[i - 1]?.stages;
    const shared = Boolean(before) && before[before.length - 1] === legs[i].stages[0];
    arriving = stepBack(flow, legs[i], arriving, { ...how, shared });
  }
  return arriving.lam;
}

/** @returns {Back} */
const nothing = () => ({ lam: zeros(0), nfe: 0, pulls: 0, kept: 0, stopped: null });

/** @type {Solver} */
function direct(flow, y0, times, settings) {
  /** @type {Vector[]} */
  const ys = [y0];
  /** @type {Leg[]} */
  const legs = [];
  flow.tape.release();
  const total = walk(flow.f, y0, times, settings, (leg) => {
    flow.tape.settle(leg.stages);
    legs.push(leg);
    ys.push(...observed(leg, settings, times));
  });
  /** @type {Solved["back"]} */
  const back = (gys, sums) => {
    const made = { ...nothing(), kept: flow.tape.kept * flow.size };
    made.lam = stepsBack(flow, legs, zeros(y0.length), { settings, times, gys, sums, back: made });
    addTo(made.lam, 1, gys[0]);
    return made;
  };
  return { ys, ...total, back };
}

/**
 * Of n steps about √n states are kept; the steps between two of them are taken again.
 * @type {Solver}
 */
function checkpointed(flow, y0, times, settings) {
  /** @type {Vector[]} */
  const ys = [y0];
  /** @type {Leg[]} */
  const legs = [];
  /** @type {Vector[]} */
  let kept = [];
  let stride = 1;
  flow.tape.release();
  const total = walk(flow.f, y0, times, settings, (leg) => {
    if (legs.length % stride === 0) kept.push(leg.y);
    if (kept.length > 2 * stride) {
      kept = kept.filter((_, i) => i % 2 === 0);
      stride *= 2;
    }
    ys.push(...observed(leg, settings, times));
    flow.tape.release(leg.stages[leg.stages.length - 1]);
    legs.push({ ...leg, y: zeros(0), yNext: zeros(0), stages: [] });
  });
  /** @type {Solved["back"]} */
  const back = (gys, sums) => {
    const made = nothing();
    made.lam = zeros(y0.length);
    for (let i = kept.length - 1; i >= 0; i--) {
      flow.tape.release();
      const again = repeat(flow, kept[i], legs.slice(i * stride, (i + 1) * stride), settings, made);
      made.lam = stepsBack(flow, again, made.lam, { settings, times, gys, sums, back: made });
      made.kept = Math.max(made.kept, kept.length * y0.length + flow.tape.kept * flow.size);
    }
    addTo(made.lam, 1, gys[0]);
    return made;
  };
  return { ys, ...total, back };
}

/**
 * Take steps again, from where the first of them began.
 * @param {Flow} flow
 * @param {Vector} y
 * @param {Leg[]} legs
 * @param {Settings} settings
 * @param {Back} back
 * @returns {Leg[]}
 */
function repeat(flow, y, legs, { method }, back) {
  const table = METHODS[method];
  /** @type {Vector | undefined} */
  let k1;
  return legs.map((leg) => {
    const [yNext, stages] = rkStep(flow.f, leg.t, y, leg.h, table, k1);
    back.nfe += stages.length - Number(Boolean(k1));
    flow.tape.settle(stages);
    const again = { ...leg, y, yNext, stages };
    [y, k1] = [yNext, table.fsal ? stages[stages.length - 1] : undefined];
    return again;
  });
}

// --- back by the adjoint equation ------------------------------------------------------

/**
 * Only the observations are kept. The state of the way back is (y, λ), each of which has to
 * meet the tolerance; ∂L/∂θ is a quadrature on the same stages.
 * @type {Solver}
 */
function adjoint(flow, y0, times, settings) {
  /** @type {Vector[]} */
  const ys = [y0];
  flow.tape.release();
  const total = walk(flow.f, y0, times, settings, (leg) => {
    ys.push(...observed(leg, settings, times));
    flow.tape.release(leg.stages[leg.stages.length - 1]);
  });
  return { ys, ...total, back: (gys, sums) => sweepBack(flow, ys, gys, sums, { times, settings }) };
}

/**
 * The equation of λ is linear: it is solved for λ over the largest entry of what arrives.
 * @param {Flow} flow
 * @param {Vector[]} ys
 * @param {Vector[]} gys
 * @param {Float64Array} sums
 * @param {{ times: number[], settings: Settings }} how
 */
function sweepBack(flow, ys, gys, sums, { times, settings }) {
  const n = ys[0].length;
  const size = gys.slice(1).reduce((most, g) => largest(g, most), 0) || 1;
  const total = zeros(sums.length);
  const back = { ...nothing(), kept: ys.length * n + flow.size };
  const lam = zeros(n);
  /** @type {number | undefined} */
  let first_step;
  for (let i = times.length - 1; i > 0 && !back.stopped; i--) {
    addTo(lam, 1 / size, gys[i]); // λ jumps at every observation
    const z = zeros(2 * n);
    z.set(ys[i]);
    z.set(lam, n);
    const made = solveBack(flow, z, [times[i], times[i - 1]], { ...settings, first_step }, total);
    lam.set(made.z.subarray(n));
    back.nfe += made.path.nfe;
    back.stopped = made.path.stopped;
    first_step = made.path.next;
  }
  back.pulls = back.nfe;
  back.lam = lam.map((v, d) => v * size + gys[0][d]);
  addTo(sums, size, total);
  return back;
}

/**
 * @param {Vector} x
 * @param {number} floor
 */
function largest(x, floor) {
  let most = floor;
  for (let d = 0; d < x.length; d++) most = Math.max(most, Math.abs(x[d]));
  return most;
}

/**
 * (y, λ) from one observation back to the one before, and the θ-integral added to `total`.
 * @param {Flow} flow
 * @param {Float64Array} z
 * @param {[number, number]} span
 * @param {Settings} settings
 * @param {Float64Array} total
 */
function solveBack(flow, z, span, settings, total) {
  const n = z.length / 2;
  const tape = new Tape(() => ({ out: zeros(2 * n), v: zeros(total.length) }));
  const { b } = METHODS[settings.method];
  /** @type {Field} */
  const f = (t, at) => {
    const { out, v } = tape.take();
    const k = flow.f(t, at.slice(0, n));
    const minus = /** @type {Float64Array} */ (at.slice(n)).map((x) => -x);
    v.fill(0);
    out.set(k);
    out.set(flow.pull(k, minus, v), n);
    flow.tape.release();
    return out;
  };
  let end = z;
  /** @type {Settings["each"]} */
  const each = ({ h, stages }, _, zNext) => {
    stages.forEach((k, i) => {
      if (b[i]) addTo(total, h * b[i], tape.of(k).v);
    });
    tape.release(stages[stages.length - 1]);
    end = /** @type {Float64Array} */ (zNext);
  };
  const path = solve(f, z, span, { ...settings, parts: 2, each });
  return { z: end, path };
}

/** The gradients by name, as a menu has them. @type {Record<string, Solver>} */
export const GRADIENTS = { direct, adjoint, checkpointed };
