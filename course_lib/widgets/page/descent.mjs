// From a gradient to the next weights: torch.optim's SGD and Adam, the order of the rows and
// the first weights, drawn from a seed as course_lib/widgets/learner.py draws them. No DOM.
import { numbers } from "./chance.mjs";

/** @import { Plan, Rows } from "./learner.mjs" */

/**
 * The state of a training: what must travel to go on with it elsewhere.
 * @typedef {object} Training
 * @property {Float64Array} theta
 * @property {Float64Array} mean of the gradients, as Adam keeps it
 * @property {Float64Array} square of their squares
 * @property {number} steps taken
 */

const [BETA1, BETA2, EPS] = [0.9, 0.999, 1e-8];

/**
 * One step of an optimiser, in place.
 * @param {Training} training
 * @param {Float64Array} grad
 * @param {{ optimizer: string, lr: number, trained: number }} how
 */
export function descend(training, grad, { optimizer, lr, trained }) {
  const { theta, mean, square } = training;
  training.steps++;
  const size = lr / (1 - BETA1 ** training.steps);
  const scale = Math.sqrt(1 - BETA2 ** training.steps);
  for (let i = 0; i < trained; i++) {
    const g = grad[i];
    if (optimizer === "sgd") {
      theta[i] -= lr * g;
      continue;
    }
    mean[i] += (1 - BETA1) * (g - mean[i]);
    square[i] = BETA2 * square[i] + (1 - BETA2) * g * g;
    theta[i] -= (size * mean[i]) / (Math.sqrt(square[i]) / scale + EPS);
  }
}

// --- chance ----------------------------------------------------------------------------

/**
 * The first weights of a model: as nn.Linear draws them, evenly within 1 / √inputs.
 * @param {Plan} plan
 * @param {number} seed
 * @returns {Training}
 */
export function begin({ nets, head, state, count, trained }, seed) {
  const next = numbers(seed);
  const theta = new Float64Array(count);
  const fill = (
    /** @type {number} */ at,
    /** @type {number} */ n,
    /** @type {number} */ inputs,
  ) => {
    for (let i = at; i < at + n; i++) theta[i] = (2 * next() - 1) / Math.sqrt(inputs);
  };
  for (const { at: start, widths } of nets) {
    let at = start;
    for (let l = 1; l < widths.length; l++) {
      const n = widths[l] * (widths[l - 1] + 1);
      fill(at, n, widths[l - 1]);
      at += n;
    }
  }
  if (trained > head) fill(head, state + 1, state);
  else if (count > head) theta[head] = 1;
  return { theta, mean: new Float64Array(count), square: new Float64Array(count), steps: 0 };
}

/**
 * Which rows the batch of a step has: every epoch has an order of its own, from the seed.
 * @param {number} n rows
 * @param {number} size of a batch
 * @param {number} seed
 * @param {number} step
 */
export function batchOf(n, size, seed, step) {
  const each = Math.ceil(n / size);
  const epoch = Math.floor(step / each);
  const at = (step % each) * size;
  return orderOf(n, seed + 1 + 7919 * epoch).slice(at, at + size);
}

/**
 * The numbers from 0 to n - 1 in an order from a seed.
 * @param {number} n
 * @param {number} seed
 */
function orderOf(n, seed) {
  const next = numbers(seed);
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/**
 * Some of the rows.
 * @param {Rows} rows
 * @param {number[]} chosen
 * @returns {Rows}
 */
export function pick(rows, chosen) {
  const { dim, x, y, times, task } = rows;
  const n = x.length / dim;
  const width = task === "path" ? dim : 1;
  const blocks = y.length / (n * width);
  const some = (
    /** @type {Float64Array} */ from,
    /** @type {number} */ wide,
    /** @type {number} */ of,
  ) => {
    const out = new Float64Array(of * chosen.length * wide);
    for (let b = 0, to = 0; b < of; b++) {
      for (const r of chosen)
        for (let d = 0; d < wide; d++) out[to++] = from[(b * n + r) * wide + d];
    }
    return out;
  };
  return { ...rows, times, x: some(x, dim, 1), y: some(y, width, blocks) };
}
