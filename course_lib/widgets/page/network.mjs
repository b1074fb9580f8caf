// A trained network as a field: course_lib.models.MLPDynamics in plain arrays. No DOM here.
import { decode } from "./wire.mjs";

/** @import { Field } from "./rk.mjs" */

// --- functions between layers ----------------------------------------------------------

// Lambert's continued fraction for tanh u, cut off after seven terms: n / d.
const above = (/** @type {number} */ u, /** @type {number} */ s) =>
  u * (135135 + s * (17325 + s * (378 + s)));
const below = (/** @type {number} */ s) => 135135 + s * (62370 + s * (3150 + s * 28));

/**
 * Functions between layers, on a whole layer at once and in place.
 *
 * Math.tanh and Math.expm1 would take most of a redraw. Two doublings,
 * tanh 2u = 2 tanh u / (1 + tanh² u), lead from a quarter of the argument to the whole,
 * with one division in all; e^x - 1 = 2 tanh(x/2) / (1 - tanh(x/2)) goes the same way. The
 * errors are below 1e-7.
 * @type {Record<string, (x: Float64Array) => void>}
 */
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

// --- layers ----------------------------------------------------------------------------

/**
 * A layer: W (out × in, by rows), b, and the place of what comes out.
 * @typedef {{ W: Float64Array, b: Float64Array, inputs: number, outputs: number,
 *   out: Float64Array }} Layer
 */

/**
 * out = W x + b, four rows at a time: they share each x, and their sums do not wait for
 * one another. Half the time of one row after the other.
 * @param {Layer} layer
 * @param {Float64Array} x
 */
export function linear({ W, b, inputs, outputs, out }, x) {
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

/**
 * The layers of a network, from W and b of each in turn.
 * @param {number[]} widths
 * @param {Float32Array} weights
 * @returns {Layer[]}
 */
function layersOf(widths, weights) {
  let at = 0;
  const take = (/** @type {number} */ n) => {
    at += n;
    return Float64Array.from(weights.subarray(at - n, at));
  };
  return widths.slice(1).map((outputs, l) => {
    const inputs = widths[l];
    const W = take(inputs * outputs);
    return { W, b: take(outputs), inputs, outputs, out: new Float64Array(outputs) };
  });
}

/**
 * The field of an MLPDynamics.
 * @param {{ widths: number[], activation: string, time?: boolean, weights: string }} network
 *   with the weights as base64 of float32
 * @returns {Field}
 */
export function mlpField({ widths, activation, time = false, weights }) {
  const squash = ACTIVATIONS[activation];
  const layers = layersOf(widths, new Float32Array(decode(weights)));
  const entry = new Float64Array(widths[0]);
  const [dim, state] = [widths[widths.length - 1], widths[0] - Number(time)];
  return (t, y) => {
    for (let d = 0; d < state; d++) entry[d] = y[d];
    if (time) entry[state] = t;
    /** @type {Float64Array} */
    let x = entry;
    for (let l = 0; l < layers.length; l++) {
      linear(layers[l], x);
      x = layers[l].out;
      if (l < layers.length - 1) squash(x);
    }
    return dim === 1 ? [x[0]] : dim === 2 ? [x[0], x[1]] : Array.from(x);
  };
}

/**
 * The network that a figure shows, as its traits have it.
 * @param {(name: string) => any} get
 */
export function networkField(get) {
  const [widths, activation, time] = ["widths", "activation", "time"].map(get);
  return mlpField({ widths, activation, time, weights: get("weights")[get("snapshot")] });
}
