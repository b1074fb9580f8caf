// A fully connected network on many rows at once, and its exact derivatives: what
// course_lib.models.MLPDynamics and autograd are in Python. Flat arrays, no DOM.

/**
 * A network in a vector of weights: W (out × in, by rows) and b of each layer in turn, from
 * the place `at`; tanh between layers. With `time`, t is the last input of every row.
 * @typedef {{ widths: number[], time: boolean, at: number }} Net
 */
/**
 * What an evaluation went through: the inputs, each layer's outputs; `out` is the last.
 * @typedef {{ net: Net, layers: Float64Array[], out: Float64Array }} Trace
 */

/**
 * How many weights a network has.
 * @param {number[]} widths
 */
export const countOf = (widths) =>
  widths.slice(1).reduce((sum, outputs, l) => sum + outputs * (widths[l] + 1), 0);

/**
 * How many numbers a trace keeps for a row.
 * @param {number[]} widths
 */
export const traced = (widths) => widths.reduce((sum, width) => sum + width, 0);

/**
 * An empty trace for as many rows.
 * @param {Net} net
 * @param {number} rows
 * @returns {Trace}
 */
export function traceOf(net, rows) {
  const layers = net.widths.map((width) => new Float64Array(rows * width));
  return { net, layers, out: layers[layers.length - 1] };
}

/**
 * Evaluate a network on rows of y, and leave in `trace` what it went through.
 * @param {Trace} trace
 * @param {Float64Array} theta
 * @param {number} t
 * @param {ArrayLike<number>} y
 */
export function evaluate({ net, layers, out }, theta, t, y) {
  enter(net, layers[0], t, y);
  let at = net.at;
  for (let l = 1; l < layers.length; l++) {
    const size = [net.widths[l - 1], net.widths[l]];
    affine(theta, at, size, layers[l - 1], layers[l]);
    if (l < layers.length - 1) squash(layers[l]);
    at += size[1] * (size[0] + 1);
  }
  return out;
}

/**
 * @param {Net} net
 * @param {Float64Array} entry
 * @param {number} t
 * @param {ArrayLike<number>} y
 */
function enter({ widths: [width], time }, entry, t, y) {
  const dim = width - Number(time);
  for (let to = 0, from = 0; to < entry.length; ) {
    for (let d = 0; d < dim; d++) entry[to++] = y[from++];
    if (time) entry[to++] = t;
  }
}

/**
 * tanh in place. 1 - 2 / (e^2x + 1) is right to 1e-16 of 1, and faster than Math.tanh.
 * @param {Float64Array} x
 */
function squash(x) {
  for (let i = 0; i < x.length; i++) x[i] = 1 - 2 / (Math.exp(2 * x[i]) + 1);
}

/**
 * z = W x + b for every row, four outputs at a time: they share each x.
 * @param {Float64Array} theta
 * @param {number} at where W begins
 * @param {number[]} size inputs and outputs
 * @param {Float64Array} x
 * @param {Float64Array} z
 */
function affine(theta, at, [inputs, outputs], x, z) {
  const bias = at + inputs * outputs;
  const rows = z.length / outputs;
  let j = 0;
  for (; j + 3 < outputs; j += 4) {
    const w = at + j * inputs;
    const [w2, w3, w4] = [w + inputs, w + 2 * inputs, w + 3 * inputs];
    for (let r = 0; r < rows; r++) {
      let p = theta[bias + j];
      let q = theta[bias + j + 1];
      let u = theta[bias + j + 2];
      let s = theta[bias + j + 3];
      for (let i = 0, from = r * inputs; i < inputs; i++) {
        const v = x[from + i];
        p += theta[w + i] * v;
        q += theta[w2 + i] * v;
        u += theta[w3 + i] * v;
        s += theta[w4 + i] * v;
      }
      const to = r * outputs + j;
      z[to] = p;
      z[to + 1] = q;
      z[to + 2] = u;
      z[to + 3] = s;
    }
  }
  for (; j < outputs; j++) {
    for (let r = 0; r < rows; r++) {
      let p = theta[bias + j];
      for (let i = 0; i < inputs; i++) p += theta[at + j * inputs + i] * x[r * inputs + i];
      z[r * outputs + j] = p;
    }
  }
}

/**
 * gᵀ ∂out/∂y of an evaluation, rows like y; gᵀ ∂out/∂θ is added to `sums`.
 * @param {Trace} trace
 * @param {Float64Array} theta
 * @param {ArrayLike<number>} g rows like out
 * @param {Float64Array} sums as long as theta
 */
export function pullback({ net, layers }, theta, g, sums) {
  const { widths, time } = net;
  let at = net.at + countOf(widths);
  let back = Float64Array.from(g);
  for (let l = layers.length - 1; l > 0; l--) {
    const size = [widths[l - 1], widths[l]];
    at -= size[1] * (size[0] + 1);
    const x = layers[l - 1];
    addWeights(sums, at, size, back, x);
    back = transposed(theta, at, size, back);
    if (l > 1) for (let i = 0; i < x.length; i++) back[i] *= 1 - x[i] * x[i];
  }
  return time ? withoutTime(back, widths[0]) : back;
}

/**
 * Add Σ_rows g xᵀ and Σ_rows g to the sums for W and b.
 * @param {Float64Array} sums
 * @param {number} at
 * @param {number[]} size inputs and outputs
 * @param {Float64Array} g
 * @param {Float64Array} x
 */
function addWeights(sums, at, [inputs, outputs], g, x) {
  const rows = g.length / outputs;
  for (let j = 0; j < outputs; j++) {
    let i = 0;
    for (; i + 3 < inputs; i += 4) {
      let [p, q, u, s] = [0, 0, 0, 0];
      for (let r = 0, from = i, to = j; r < rows; r++, from += inputs, to += outputs) {
        const v = g[to];
        p += v * x[from];
        q += v * x[from + 1];
        u += v * x[from + 2];
        s += v * x[from + 3];
      }
      const w = at + j * inputs + i;
      sums[w] += p;
      sums[w + 1] += q;
      sums[w + 2] += u;
      sums[w + 3] += s;
    }
    for (; i < inputs; i++) {
      let p = 0;
      for (let r = 0; r < rows; r++) p += g[r * outputs + j] * x[r * inputs + i];
      sums[at + j * inputs + i] += p;
    }
    let b = 0;
    for (let r = 0; r < rows; r++) b += g[r * outputs + j];
    sums[at + inputs * outputs + j] += b;
  }
}

/**
 * Wᵀ g for every row, four outputs at a time.
 * @param {Float64Array} theta
 * @param {number} at
 * @param {number[]} size inputs and outputs
 * @param {Float64Array} g
 */
function transposed(theta, at, [inputs, outputs], g) {
  const rows = g.length / outputs;
  const out = new Float64Array(rows * inputs);
  const whole = outputs - (outputs % 4);
  for (let r = 0; r < rows; r++) {
    const to = r * inputs;
    for (let j = 0; j < whole; j += 4) {
      const [w, from] = [at + j * inputs, r * outputs + j];
      const [w2, w3, w4] = [w + inputs, w + 2 * inputs, w + 3 * inputs];
      const [p, q, u, s] = [g[from], g[from + 1], g[from + 2], g[from + 3]];
      for (let i = 0; i < inputs; i++) {
        out[to + i] += theta[w + i] * p + theta[w2 + i] * q + theta[w3 + i] * u + theta[w4 + i] * s;
      }
    }
    for (let j = whole; j < outputs; j++) {
      const [w, v] = [at + j * inputs, g[r * outputs + j]];
      for (let i = 0; i < inputs; i++) out[to + i] += theta[w + i] * v;
    }
  }
  return out;
}

/**
 * The rows without their last number.
 * @param {Float64Array} rows
 * @param {number} width
 */
const withoutTime = (rows, width) => rows.filter((_, i) => (i + 1) % width);
