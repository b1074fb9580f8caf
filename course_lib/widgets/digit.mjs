// DigitDepthExplorer: the ODE block and the head of a digit classifier, solved in the page.
import { decode, solve } from "./page/rk.mjs";
import { GAP, choice, element, frame, legend, plot, shape, short, slider } from "./page/plot.mjs";

const SIZE = 64 * 36; // channels of 6 × 6
const TAPS = 65 * 9; // what a 3 × 3 convolution reads: time is a channel too
const PADDED = Array.from({ length: 36 }, (_, p) => p + 9 + 2 * Math.floor(p / 6)); // in 8 × 8

// Base64 of whole numbers in units.
const scaled = (Kind, [text, unit]) => Float64Array.from(decode(text, Kind), (v) => v * unit);

// Pairs of channels normalised together, into `out`, padded or not.
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

// Weights times the neighbourhoods of all places, in blocks of four by two sums, so that
// every number read is used more than once.
function convolution(A, bias) {
  const x = new Float64Array(65 * 64);
  const B = new Float64Array(36 * TAPS);
  const out = new Float64Array(SIZE);
  return (t, y, affine) => {
    groupNorm(y, affine, 0, x);
    for (const p of PADDED) x[64 * 64 + p] = t;
    let b = 0;
    for (const p of PADDED) {
      for (let c = p - 9; c < x.length; c += 64) {
        for (let n = 0; n < 24; n += 8) {
          for (let m = c + n; m < c + n + 3; m++) B[b++] = x[m];
        }
      }
    }
    for (let i = 0; i < 64; i += 4) {
      for (let j = 0; j < 36; j += 2) {
        let [p, q, r, s, p2, q2, r2, s2] = [0, 0, 0, 0, 0, 0, 0, 0];
        for (let a = i * TAPS, b = j * TAPS; b < (j + 1) * TAPS; a++, b++) {
          const u = B[b];
          const v = B[b + TAPS];
          const k = A[a];
          const l = A[a + TAPS];
          const m = A[a + 2 * TAPS];
          const n = A[a + 3 * TAPS];
          p += k * u;
          q += l * u;
          r += m * u;
          s += n * u;
          p2 += k * v;
          q2 += l * v;
          r2 += m * v;
          s2 += n * v;
        }
        [p, q, r, s].forEach((sum, d) => (out[(i + d) * 36 + j] = sum + bias[i + d]));
        [p2, q2, r2, s2].forEach((sum, d) => (out[(i + d) * 36 + j + 1] = sum + bias[i + d]));
      }
    }
    return out;
  };
}

// f(t, y) and the probabilities at y; the numbers come in PyTorch's order.
export function classifier(weights) {
  const numbers = scaled(Int16Array, weights);
  let at = 0;
  const take = (n) => numbers.subarray(at, (at += n));
  const [norm1, norm2, norm3] = [128, 128, 128].map(take);
  const [conv1, conv2] = [0, 1].map(() => convolution(take(64 * TAPS), take(64)));
  const [norm4, W, b] = [128, 640, 10].map(take);
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

// The solve from the stem's output, and the probabilities at its end; no DOM.
export function digitState({ f, head }, feature, rtol) {
  const settings = { method: "dopri5", rtol, atol: rtol };
  const path = solve(f, scaled(Int8Array, feature), [0, 1], settings);
  return { path, probabilities: head(path.ys.at(-1)) };
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const figure = frame(el, model, { title: "Depth of the network for one picture", draw });
  const picture = element("img", { class: "live-picture" });
  figure.controls.before(picture);
  choice(figure, model, "digit", "Digit", get("names").map((name, i) => [i, name]));
  slider(figure, model, "rtol", "Tolerance", { min: 1e-5, max: 0.1, log: true, step: 0.1 });
  legend(figure, [
    ["ours", "accepted steps; other classes"],
    ["data", "rejected attempts"],
    ["exact", "the label"],
  ]);
  const steps = plot(figure, { title: "Step size over time, a dot at each step" });
  const bars = plot(figure, { title: "Probability of each class" });
  const net = classifier(get("weights"));
  let [key, state] = [];

  function draw() {
    const [digit, rtol] = [get("digit"), get("rtol")];
    if (`${digit} ${rtol}` !== key) state = digitState(net, get("features")[digit], rtol);
    key = `${digit} ${rtol}`;
    const { path, probabilities } = state;
    picture.src = get("pictures")[digit];
    picture.alt = `The digit: ${get("names")[digit]}`;
    steps.set({ x: [-0.03, 1], y: [1e-3, 1], ylog: true, xlabel: "time t", ylabel: "step size h" });
    for (const [kind, style] of [[true, "ours"], [false, "data"]]) {
      steps.dots(style, path.attempts.filter((a) => a.accepted === kind).map((a) => [a.t, a.h]), style);
    }
    drawBars(bars, probabilities, get("labels")[digit]);
    const most = Math.max(...probabilities);
    return (
      `Solved in your browser at tolerance ${short(rtol)}: ${path.accepted} steps accepted, ` +
      `${path.rejected} rejected, ${path.nfe} evaluations of f. The answer is ${probabilities.indexOf(most)}, with ${(100 * most).toFixed(1)}%.`
    );
  }

  return figure.close;
}

function drawBars(paper, values, label) {
  paper.set({ x: [-0.7, 9.7], y: [0, 1.1], xlabel: "class", ylabel: "probability" });
  const bar = (p, d) => [[d, 0], [d, p], GAP];
  paper.line("all", values.flatMap(bar), "ours large");
  paper.line("label", bar(values[label], label), "exact large");
  const place = (p, d) => ({ x: paper.x(d), y: paper.y(p) - 4, "text-anchor": "middle" });
  paper.above.replaceChildren(...values.map((p, d) => shape("text", place(p, d), d)));
}

export default { render };
