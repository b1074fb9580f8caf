// DigitDepthExplorer: the ODE block and the head of a digit classifier, solved in the page.
import { convolution } from "./page/convolution.mjs";
import { choice, element, frame, legend, memo, short, slider } from "./page/frame.mjs";
import { GAP, Plot, text } from "./page/plot.mjs";
import { endOf, solve } from "./page/rk.mjs";
import { reader } from "./page/rows.mjs";
import { decode } from "./page/wire.mjs";

/** @import { RenderProps } from "@anywidget/types" */
/** @import { Memo } from "./page/frame.mjs" */
/** @import { Field, Path, Vector } from "./page/rk.mjs" */
/** @import { Carried } from "./page/rows.mjs" */
/** @import { Choice } from "./page/tables.mjs" */

const SIZE = 64 * 36; // channels of 6 × 6
const TAPS = 65 * 9; // what a 3 × 3 convolution reads: time is a channel too
const PADDED = Array.from({ length: 36 }, (_, p) => p + 9 + 2 * Math.floor(p / 6)); // in 8 × 8

/**
 * Whole numbers as base64, and the unit that they count.
 * @typedef {[text: string, unit: number]} Counts
 * @typedef {(t: number, y: Vector, affine: Vector) => Float64Array} Layer
 * @typedef {{ f: Field, head: (y: Vector) => number[] }} Classifier
 */

/** @param {Counts} counts */
const scaled = ([text, unit]) => new Float64Array(new Int8Array(decode(text))).map((v) => v * unit);

/**
 * Pairs of channels normalised together, into `out`, padded or not.
 * @param {Vector} y
 * @param {Vector} affine factors, then summands, one for each channel
 * @param {number} floor nothing below it comes out
 */
function groupNorm(y, affine, floor, out = new Float64Array(SIZE)) {
  const padded = out.length > SIZE;
  for (let from = 0; from < SIZE; from += 72) {
    let mean = 0;
    let square = 1e-5;
    for (let i = from; i < from + 72; i++) mean += y[i] / 72;
    for (let i = from; i < from + 72; i++) square += (y[i] - mean) ** 2 / 72;
    for (let i = from; i < from + 72; i++) {
      const c = Math.floor(i / 36);
      const v = ((y[i] - mean) / Math.sqrt(square)) * affine[c] + affine[64 + c];
      out[padded ? 64 * c + PADDED[i % 36] : i] = v > floor ? v : floor;
    }
  }
  return out;
}

/**
 * A convolution of what groupNorm makes of y, behind a ReLU, with the time as a last channel.
 * @param {Float64Array} kernels
 * @param {Float64Array} bias
 * @returns {Layer}
 */
function layer(kernels, bias) {
  const x = new Float64Array(65 * 64);
  const convolved = convolution(kernels, bias);
  return (t, y, affine) => {
    groupNorm(y, affine, 0, x);
    for (const p of PADDED) x[64 * 64 + p] = t;
    return convolved(x);
  };
}

/**
 * f(t, y), and the probabilities at y; the numbers come in PyTorch's order.
 * @param {Carried} weights
 * @returns {Classifier}
 */
export function classifier(weights) {
  const { vector, matrix } = reader(weights);
  const [norm1, norm2, norm3] = [128, 128, 128].map(vector);
  const [conv1, conv2] = [0, 1].map(() => layer(matrix(64, TAPS), vector(64)));
  const [norm4, W, b] = [vector(128), matrix(10, 64), vector(10)];
  return {
    f: (t, y) => groupNorm(conv2(t, conv1(t, y, norm1), norm2), norm3, -Infinity),
    head(y) {
      const scores = Array.from(b);
      groupNorm(y, norm4, 0).forEach((v, i) => {
        for (let d = 0; d < 10; d++) scores[d] += (W[64 * d + Math.floor(i / 36)] * v) / 36;
      });
      const total = scores.reduce((sum, v) => sum + Math.exp(v), 0);
      return scores.map((v) => Math.exp(v) / total);
    },
  };
}

/**
 * The solve from the stem's output, and the probabilities at its end; no DOM.
 * @param {Classifier} net
 * @param {Counts} feature
 * @param {number} rtol
 */
export function digitState({ f, head }, feature, rtol) {
  const settings = { method: "dopri5", rtol, atol: rtol };
  const path = solve(f, scaled(feature), [0, 1], settings);
  return { path, probabilities: head(endOf(path)) };
}

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "Depth of the network for one picture", draw });
  const picture = element("img", { class: "live-picture" });
  figure.controls.before(picture);
  /** @type {string[]} */
  const names = get("names");
  /** @type {Choice[]} */
  const offered = names.map((name, i) => [String(i), name]);
  choice(figure, model, "digit", "Digit", offered);
  slider(figure, model, "rtol", "Tolerance", { min: 1e-5, max: 0.1, log: true, step: 0.1 });
  legend(figure, [
    ["ours", "accepted steps; other classes"],
    ["data", "rejected attempts"],
    ["exact", "the label"],
  ]);
  const steps = new Plot(figure, { title: "Step size over time, a dot at each step" });
  const bars = new Plot(figure, { title: "Probability of each class" });
  const net = classifier(get("weights"));
  /** @type {Memo<ReturnType<typeof digitState>>} */
  const states = memo();

  function draw() {
    const [digit, rtol] = [get("digit"), get("rtol")];
    const feature = get("features")[digit];
    const { path, probabilities } = states(`${digit} ${rtol}`, () =>
      digitState(net, feature, rtol),
    );
    picture.src = get("pictures")[digit];
    picture.alt = `The digit: ${names[digit]}`;
    drawSteps(steps, path);
    drawBars(bars, probabilities, get("labels")[digit]);
    const [label, most] = [get("labels")[digit], Math.max(...probabilities)];
    const answer = probabilities.indexOf(most);
    const { nfe, accepted, rejected } = path;
    figure.tell({ digit: +digit, label, answer, probability: most, rtol, nfe, accepted, rejected });
    return report(rtol, path, probabilities);
  }

  return figure.close;
}

/**
 * @param {Plot} paper
 * @param {Path} path
 */
function drawSteps(paper, { attempts }) {
  const sizes = (/** @type {boolean} */ accepted) =>
    attempts.filter((a) => a.accepted === accepted).map((a) => [a.t, a.h]);
  paper.set({ x: [-0.03, 1], y: [1e-3, 1], ylog: true, xlabel: "time t", ylabel: "step size h" });
  paper.dots("accepted", sizes(true), "ours");
  paper.dots("rejected", sizes(false), "data");
}

/**
 * @param {Plot} paper
 * @param {number[]} values
 * @param {number} label the right class
 */
function drawBars(paper, values, label) {
  paper.set({ x: [-0.7, 9.7], y: [0, 1.1], xlabel: "class", ylabel: "probability" });
  const bar = (/** @type {number} */ p, /** @type {number} */ d) => [[d, 0], [d, p], GAP];
  paper.line("all", values.flatMap(bar), "ours large");
  paper.line("label", bar(values[label], label), "exact large");
  const words = values.map((p, d) => text(paper.x(d), paper.y(p) - 4, String(d), "middle"));
  paper.above.replaceChildren(...words);
}

/**
 * @param {number} rtol
 * @param {Path} path
 * @param {number[]} probabilities
 */
function report(rtol, { accepted, rejected, nfe }, probabilities) {
  const most = Math.max(...probabilities);
  return (
    `Solved in your browser at tolerance ${short(rtol)}: ${accepted} steps accepted, ` +
    `${rejected} rejected, ${nfe} evaluations of f. ` +
    `The answer is ${probabilities.indexOf(most)}, with ${(100 * most).toFixed(1)}%.`
  );
}

export default { render };
