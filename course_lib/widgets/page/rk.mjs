// Explicit Runge–Kutta solvers for the live figures: course_lib/solvers.py in plain
// arrays, step for step, so that both accept and reject the same steps. No DOM here.
//
// Where Python raises SolverError, `solve` stops and says where and why: a figure draws
// what there is.
import { MAX_STEPS, METHODS } from "./tables.mjs";

const SAFETY = 0.9;
const MIN_FACTOR = 0.2;
const MAX_FACTOR = 10;

// --- one step --------------------------------------------------------------------------

// y + h Σ w_i k_i
export function advance(y, h, weights, stages) {
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

export function rkStep(f, t, y, h, method, k1) {
  const stages = [k1 ?? f(t, y)];
  let yStage = y;
  for (let i = 1; i < method.c.length; i++) {
    yStage = advance(y, h, method.a[i - 1], stages);
    stages.push(f(t + method.c[i] * h, yStage));
  }
  return [method.fsal ? yStage : advance(y, h, method.b, stages), stages];
}

// The solution at time t inside a step (dense output).
export function interpolate(step, method, t) {
  const theta = (t - step.t) / step.h;
  const weights = method.dense.map((row) =>
    row.reduceRight((sum, c) => (sum + c) * theta, 0),
  );
  return advance(step.y, step.h, weights, step.stages);
}

const finite = (y) => y.every(Number.isFinite);

// --- a whole solve ---------------------------------------------------------------------

// Solve y' = f(t, y), y(t0) = y0 up to t1, forward or backward.
//
// Returns { ts, ys, steps, attempts, nfe, accepted, rejected, stopped }: the states at the
// ends of the steps, the steps with their stages, every attempt as { t, h, accepted }, and
// null or { t, why } if the solve could not go on.
export function solve(f, y0, [t0, t1], settings) {
  const method = METHODS[settings.method];
  if (!method) throw new Error(`unknown method ${settings.method}`);
  const result = {
    ts: [t0],
    ys: [y0],
    steps: [],
    attempts: [],
    nfe: 0,
    accepted: 0,
    rejected: 0,
    stopped: null,
  };
  const counted = (t, y) => (result.nfe++, f(t, y));
  const walk = method.b_error ? adaptiveSteps : fixedSteps;
  walk(counted, t0, y0, t1, method, { maxSteps: MAX_STEPS, ...settings }, result);
  return result;
}

function take(result, step, tNext, yNext) {
  result.steps.push(step);
  result.attempts.push({ t: step.t, h: step.h, accepted: true });
  result.ts.push(tNext);
  result.ys.push(yNext);
  result.accepted++;
}

// Steps of equal size, the last one shortened to end at t1.
function fixedSteps(f, t0, y0, t1, method, { stepSize, maxSteps }, result) {
  const n = Math.max(1, Math.ceil(Math.abs(t1 - t0) / stepSize - 1e-6));
  const h = Math.sign(t1 - t0) * stepSize;
  let y = y0;
  for (let i = 0; i < n; i++) {
    const t = t0 + i * h;
    if (i === maxSteps) return void (result.stopped = { t, why: "too many steps" });
    const size = i < n - 1 ? h : t1 - t;
    const [yNext, stages] = rkStep(f, t, y, size, method);
    if (!finite(yNext)) return void (result.stopped = { t, why: "not finite" });
    take(result, { t, h: size, y, stages }, i < n - 1 ? t0 + (i + 1) * h : t1, yNext);
    y = yNext;
  }
}

// Steps from t0 to exactly t1, each as long as its error estimate allows.
function adaptiveSteps(f, t0, y0, t1, method, settings, result) {
  const { rtol, atol, maxSteps, parts = 1 } = settings;
  const sign = Math.sign(t1 - t0);
  let t = t0;
  let y = y0;
  let k1 = f(t, y);
  if (!finite(k1)) return void (result.stopped = { t, why: "not finite" });
  let h = initialStep(f, t, y, k1, t1, method.order, { rtol, atol, parts });
  let failed = 0;
  for (let attempt = 0; attempt < maxSteps; attempt++) {
    const left = Math.abs(t1 - t);
    const last = h >= 0.999 * left; // do not leave a sliver for one more step
    const size = last ? left : h;
    const tNext = last ? t1 : t + sign * size;
    const [yNext, stages] = rkStep(f, t, y, sign * size, method, k1);
    const ratio = errorRatio(size, stages, y, yNext, method, { rtol, atol, parts });
    if (ratio <= 1 && finite(yNext)) {
      take(result, { t, h: sign * size, y, stages }, tNext, yNext);
      if (last) return;
      const most = failed ? 1 : MAX_FACTOR;
      h = size * Math.min(most, Math.max(MIN_FACTOR, factor(ratio, method.order)));
      [t, y, k1, failed] = [tNext, yNext, stages.at(-1), 0];
    } else {
      result.attempts.push({ t, h: sign * size, accepted: false });
      result.rejected++;
      failed++;
      h = size * Math.max(MIN_FACTOR, ratio > 1 ? factor(ratio, method.order) : MIN_FACTOR);
      if (h <= 16 * spacing(t)) return void (result.stopped = { t, why: "step underflow" });
    }
  }
  result.stopped = { t, why: "too many steps" };
}

const factor = (ratio, order) => (ratio > 0 ? SAFETY * ratio ** (-1 / order) : Infinity);

// The distance from |t| to the next larger number: no step can be smaller.
function spacing(t) {
  const x = Math.abs(t);
  return x < 2 ** -1022 ? 2 ** -1074 : 2 ** (Math.floor(Math.log2(x)) - 52);
}

// Estimated local error over tolerance; NaN fails every comparison.
function errorRatio(size, stages, y, yNext, method, { rtol, atol, parts }) {
  const error = advance(new Array(y.length).fill(0), size, method.b_error, stages);
  return rms(
    error.map((e, d) => e / (rtol * larger(Math.abs(y[d]), Math.abs(yNext[d])) + atol)),
    parts,
  );
}

const larger = (a, b) => (a > b || Number.isNaN(a) ? a : b);

// The largest root mean square over `parts` equal blocks of x.
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

// A first step size from the sizes of y, y' and y'' (Hairer, Nørsett, Wanner I, II.4).
function initialStep(f, t, y, k1, t1, order, { rtol, atol, parts }) {
  const over = (x) => rms(x.map((v, d) => v / (Math.abs(y[d]) * rtol + atol)), parts);
  const [d0, d1] = [over(y), over(k1)];
  let h0 = d0 < 1e-5 || d1 < 1e-5 ? 1e-6 : Math.max((0.01 * d0) / d1, 32 * spacing(t));
  h0 = Math.min(h0, Math.abs(t1 - t));
  const ahead = Math.sign(t1 - t) * h0;
  const there = f(t + ahead, advance(y, ahead, [1], [k1]));
  const d2 = over(there.map((v, d) => v - k1[d])) / h0;
  const steepest = d1 > d2 ? d1 : d2;
  let h1 = Math.max(1e-6, 1e-3 * h0);
  if (steepest > 1e-15) h1 = (0.01 / steepest) ** (1 / (order + 1));
  return Number.isFinite(h1) ? Math.max(Math.min(100 * h0, h1), 32 * spacing(t)) : h0;
}

// The states at the given times, increasing in the direction of the solve; NaN beyond the
// point where it stopped. Fixed steps are joined by straight lines: they have no dense output.
export function sample(result, times, methodName) {
  const method = METHODS[methodName];
  const direction = Math.sign(result.steps[0]?.h ?? 1);
  const missing = result.ys[0].map(() => NaN);
  let i = 0;
  return times.map((t) => {
    if (t === result.ts[0]) return result.ys[0];
    while (i < result.steps.length && direction * (t - result.ts[i + 1]) > 0) i++;
    const step = result.steps[i];
    if (!step) return missing;
    if (method.dense) return interpolate(step, method, t);
    const theta = (t - step.t) / step.h;
    return step.y.map((v, d) => v + theta * (result.ys[i + 1][d] - v));
  });
}

export const linspace = (a, b, n) =>
  Array.from({ length: n }, (_, i) => (i === n - 1 ? b : a + ((b - a) * i) / (n - 1)));

export const norm = (y) => Math.hypot(...y);

export const distance = (a, b) => norm(a.map((v, d) => v - b[d]));

// --- right-hand sides: course_lib/systems.py -------------------------------------------

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

// λᵀ ∂f/∂y
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

// The backward dynamics of (y, λ): (f, -λᵀ ∂f/∂y).
export const augmented = (name) => (t, z) => {
  const n = z.length / 2;
  const [y, lam] = [z.slice(0, n), z.slice(n)];
  return [...FIELDS[name](t, y), ...PULLBACKS[name](t, y, lam).map((v) => -v)];
};

// --- a trained network as a field ------------------------------------------------------

// Lambert's continued fraction for tanh u, cut off after seven terms: n / d.
const above = (u, s) => u * (135135 + s * (17325 + s * (378 + s)));
const below = (s) => 135135 + s * (62370 + s * (3150 + s * 28));

// Functions between layers, on a whole layer at once. Math.tanh and Math.expm1 would take
// most of a redraw. Two doublings, tanh 2u = 2 tanh u / (1 + tanh² u), lead from a quarter
// of the argument to the whole, with one division in all; e^x - 1 = 2 tanh(x/2) /
// (1 - tanh(x/2)) goes the same way. The errors are below 1e-7.
export const ACTIVATIONS = {
  tanh(x) {
    for (let i = 0; i < x.length; i++) {
      const u = x[i] > 9 ? 2.25 : x[i] < -9 ? -2.25 : x[i] / 4;
      const n = above(u, u * u);
      const d = below(u * u);
      const p = 2 * n * d;
      const q = n * n + d * d;
      x[i] = (2 * p * q) / (p * p + q * q);
    }
  },
  elu(x) {
    for (let i = 0; i < x.length; i++) {
      const u = x[i] < -18 ? -2.25 : x[i] / 8;
      const n = above(u, u * u);
      const d = below(u * u);
      const p = 2 * n * d;
      const q = n * n + d * d;
      x[i] = x[i] < 0 ? (4 * p * q) / ((p - q) * (p - q)) : x[i];
    }
  },
  relu(x) {
    for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] = 0;
  },
};

// Base64 of little-endian numbers: float32 unless another kind of array is asked for.
export function decode(text, Kind = Float32Array) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Kind(bytes.buffer);
}

// The field of an MLPDynamics: `weights` holds W (out × in, by rows) and b of each layer.
export function mlpField({ widths, activation, time, weights }) {
  const squash = ACTIVATIONS[activation];
  const layers = [];
  let at = 0;
  for (let l = 1; l < widths.length; l++) {
    const [inputs, outputs] = [widths[l - 1], widths[l]];
    const W = Float64Array.from(weights.subarray(at, (at += inputs * outputs)));
    const b = Float64Array.from(weights.subarray(at, (at += outputs)));
    layers.push({ W, b, inputs, outputs, out: new Float64Array(outputs) });
  }
  const entry = new Float64Array(widths[0]);
  const [dim, state] = [widths.at(-1), widths[0] - Boolean(time)];
  return (t, y) => {
    for (let d = 0; d < state; d++) entry[d] = y[d];
    if (time) entry[state] = t;
    let x = entry;
    for (let l = 0; l < layers.length; l++) {
      linear(layers[l], x);
      x = layers[l].out;
      if (l < layers.length - 1) squash(x);
    }
    return dim === 1 ? [x[0]] : dim === 2 ? [x[0], x[1]] : Array.from(x);
  };
}

// The network that a figure shows, as its traits have it.
export function networkField(get) {
  const [widths, activation, time] = ["widths", "activation", "time"].map(get);
  return mlpField({ widths, activation, time, weights: decode(get("weights")[get("stage")]) });
}

// What `make` made for the last key, and made anew for another.
export function memo() {
  let last, made;
  return (key, make) => (key === last ? made : ([made, last] = [make(), key])[0]);
}

// out = W x + b, four rows at a time: they share each x, and their sums do not wait for
// one another. Half the time of one row after the other.
function linear({ W, b, inputs, outputs, out }, x) {
  let j = 0;
  for (; j + 3 < outputs; j += 4) {
    const w = j * inputs;
    const [w2, w3, w4] = [w + inputs, w + 2 * inputs, w + 3 * inputs];
    let p = b[j];
    let q = b[j + 1];
    let r = b[j + 2];
    let s = b[j + 3];
    for (let i = 0; i < inputs; i++) {
      const v = x[i];
      p += W[w + i] * v;
      q += W[w2 + i] * v;
      r += W[w3 + i] * v;
      s += W[w4 + i] * v;
    }
    out[j] = p;
    out[j + 1] = q;
    out[j + 2] = r;
    out[j + 3] = s;
  }
  for (; j < outputs; j++) {
    let p = b[j];
    for (let i = 0; i < inputs; i++) p += W[j * inputs + i] * x[i];
    out[j] = p;
  }
}
