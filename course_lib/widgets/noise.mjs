// NoiseExplorer: an SDE by steps of any size on the same noise, many paths and their density.
import { brownian } from "./page/brownian.mjs";
import { choice, frame, legend, memo, short, slider } from "./page/frame.mjs";
import { plays } from "./page/play.mjs";
import { Plot } from "./page/plot.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure, Memo } from "./page/frame.mjs" */
/** @import { Range } from "./page/plot.mjs" */
/** @import { Choice } from "./page/tables.mjs" */

/**
 * Drift, diffusion and its slope: all of x alone.
 * @typedef {{ f: (x: number) => number, g: (x: number) => number, slope: number, y0: number,
 *   window: Range, high: number }} System
 */
/**
 * @typedef {{ system: string, method: string, halvings: number, seed: number }} Order
 * @typedef {{ order: Order, ys: Float64Array[], exact: number[], ito: number[] }} Run
 * @typedef {{ x: number[], p: number[], mean: number, spread: number }} Law at a time
 */

const [END, PATHS, FINEST] = [2, 200, 9];
const [CELLS, EDGE, TICKS] = [121, 2.42, 200];
const SHOWN = 24; // of the many paths
const BINS = 25;
const [MU, SIGMA, THETA, PULLED] = [0.3, 0.6, 1.5, 0.8];

/** @type {Record<string, System>} */
const RANDOM_SYSTEMS = {
  geometric: {
    f: (x) => MU * x,
    g: (x) => SIGMA * x,
    slope: SIGMA,
    y0: 1,
    window: [0, 5],
    high: 1.5,
  },
  "ornstein-uhlenbeck": {
    f: (x) => -THETA * x,
    g: () => PULLED,
    slope: 0,
    y0: 1.5,
    window: [-1.5, 2],
    high: 1.5,
  },
  "double well": {
    f: (x) => 3 * (x - x * x * x),
    g: () => 0.9,
    slope: 0,
    y0: 0,
    window: [-2, 2],
    high: 1,
  },
};
/** @type {Choice[]} */
const EQUATIONS = [
  ["geometric", "dx = 0.3 x dt + 0.6 x dW"],
  ["ornstein-uhlenbeck", "dx = −1.5 x dt + 0.8 dW"],
  ["double well", "dx = 3 (x − x³) dt + 0.9 dW"],
];
/** @type {Choice[]} */
const WAYS = [
  ["euler-maruyama", "Euler–Maruyama (Itô)"],
  ["milstein", "Milstein (Itô)"],
  ["heun", "Heun (Stratonovich)"],
];
const ITO = "Itô’s integral";

const span = (/** @type {number} */ low, /** @type {number} */ high, /** @type {number} */ n) =>
  Array.from({ length: n }, (_, i) => low + ((high - low) * i) / (n - 1));
const isGeometric = (/** @type {Order} */ { system }) => system === "geometric";
/** The drift that the same equation has in Itô's form. */
const rate = (/** @type {string} */ method) => (method === "heun" ? MU + SIGMA ** 2 / 2 : MU);

// --- paths; no DOM ---------------------------------------------------------------------

/**
 * Paths in 2^halvings steps on the noise W, of which more points may be there; a row a time.
 * @param {Order} order
 * @param {Float64Array[]} W
 */
export function randomPaths({ system, method, halvings }, W) {
  const { f, g, slope, y0 } = RANDOM_SYSTEMS[system];
  const n = 2 ** halvings;
  const [h, stride, paths] = [END / n, (W.length - 1) / n, W[0].length];
  const ys = [new Float64Array(paths).fill(y0)];
  for (let i = 0; i < n; i++) {
    const [now, next] = [ys[i], new Float64Array(paths)];
    const [from, to] = [W[i * stride], W[(i + 1) * stride]];
    for (let p = 0; p < paths; p++) {
      const dw = to[p] - from[p];
      const x = now[p];
      const [drift, size] = [f(x), g(x)];
      const ahead = x + h * drift + size * dw;
      if (method === "heun") {
        next[p] = x + (h / 2) * (drift + f(ahead)) + ((size + g(ahead)) / 2) * dw;
      } else if (method === "milstein") {
        next[p] = ahead + (size * slope * (dw * dw - h)) / 2;
      } else next[p] = ahead;
    }
    ys.push(next);
  }
  return ys;
}

/**
 * The solution on one path, at 2⁹ + 1 times: in closed form, or by many steps of Heun.
 * @param {Order} order
 * @param {Float64Array[]} W
 * @param {string} method whose integral is meant
 */
export function exactPath(order, W, method) {
  if (!isGeometric(order)) {
    const fine = { ...order, method: "heun", halvings: FINEST };
    return randomPaths(fine, W).map(([x]) => x);
  }
  const mu = rate(method) - SIGMA ** 2 / 2;
  return W.map(([w], i) => Math.exp((mu * END * i) / (W.length - 1) + SIGMA * w));
}

/**
 * All paths at a time, on the straight lines between the ends of steps.
 * @param {Float64Array[]} ys
 * @param {number} moment
 */
export function pathsAt(ys, moment) {
  const n = ys.length - 1;
  const place = (moment / END) * n;
  const i = Math.min(Math.floor(place), n - 1);
  return ys[i].map((x, p) => x + (place - i) * (ys[i + 1][p] - x));
}

// --- densities -------------------------------------------------------------------------

const bernoulli = (/** @type {number} */ z) =>
  Math.abs(z) < 1e-3 ? 1 - z / 2 + (z * z) / 12 : z / Math.expm1(z);

/**
 * (1 + s A)^-1 q for a matrix of three diagonals, by elimination.
 * @param {Float64Array[]} diagonals below, on and above
 * @param {number} s
 * @param {Float64Array} q
 */
function thomas([below, on, above], s, q) {
  const n = q.length;
  const [x, c] = [q.slice(), new Float64Array(n)];
  for (let i = 0; i < n; i++) {
    const pivot = 1 + s * on[i] - (i ? s * below[i] * c[i - 1] : 0);
    c[i] = (s * above[i]) / pivot;
    x[i] = (x[i] - (i ? s * below[i] * x[i - 1] : 0)) / pivot;
  }
  for (let i = n - 2; i >= 0; i--) x[i] -= c[i] * x[i + 1];
  return x;
}

/** The Fokker–Planck matrix of two wells, see fokker_planck of course_lib.solvers. */
function wells() {
  const { f, g } = RANDOM_SYSTEMS["double well"];
  const width = (2 * EDGE) / CELLS;
  const D = g(0) ** 2 / 2;
  const [below, on, above] = [0, 1, 2].map(() => new Float64Array(CELLS));
  for (let i = 0; i < CELLS - 1; i++) {
    const pull = (f((i + 1) * width - EDGE) / D) * width;
    const [up, down] = [-pull, pull].map((z) => (bernoulli(z) * D) / width ** 2);
    below[i + 1] = up;
    above[i] = down;
    on[i] -= up;
    on[i + 1] -= down;
  }
  return [below, on, above];
}

/** The density of two wells at every tick of time, from a point at 0. */
export function wellDensities() {
  const [A, h] = [wells(), END / TICKS];
  const [below, on, above] = A;
  let p = new Float64Array(CELLS);
  p[(CELLS - 1) / 2] = CELLS / (2 * EDGE);
  const kept = [p];
  for (let k = 0; k < TICKS; k++) {
    // Crank and Nicolson; a point as start needs four half steps of backward Euler.
    const q =
      k < 2
        ? thomas(A, -h / 2, p)
        : p.map((x, i) => {
            const [left, right] = [p[i - 1] ?? 0, p[i + 1] ?? 0];
            return x + (h / 2) * (below[i] * left + on[i] * x + above[i] * right);
          });
    p = thomas(A, -h / 2, q);
    kept.push(p);
  }
  return kept;
}

/**
 * Density, mean and standard deviation at a time after the start.
 * @param {Order} order
 * @param {number} moment
 * @param {() => Float64Array[]} densities of two wells
 * @returns {Law}
 */
export function lawAt(order, moment, densities) {
  if (order.system === "double well") {
    const width = (2 * EDGE) / CELLS;
    const x = Array.from({ length: CELLS }, (_, i) => (i + 0.5) * width - EDGE);
    const p = [...densities()[Math.round((moment / END) * TICKS)]];
    const sum = (/** @type {(x: number) => number} */ of) =>
      p.reduce((s, q, i) => s + width * q * of(x[i]), 0);
    const mean = sum((u) => u);
    return { x, p, mean, spread: Math.sqrt(sum((u) => (u - mean) ** 2)) };
  }
  const x = span(...RANDOM_SYSTEMS[order.system].window, 121);
  const normal = (/** @type {number} */ z) => Math.exp(-(z * z) / 2) / Math.sqrt(2 * Math.PI);
  if (isGeometric(order)) {
    const mu = rate(order.method);
    const [centre, scale] = [(mu - SIGMA ** 2 / 2) * moment, SIGMA * Math.sqrt(moment)];
    const mean = Math.exp(mu * moment);
    const p = x.map((u) => (u > 1e-12 ? normal((Math.log(u) - centre) / scale) / (u * scale) : 0));
    return { x, p, mean, spread: mean * Math.sqrt(Math.expm1(SIGMA ** 2 * moment)) };
  }
  const mean = 1.5 * Math.exp(-THETA * moment);
  const spread = PULLED * Math.sqrt(-Math.expm1(-2 * THETA * moment) / (2 * THETA));
  return { x, p: x.map((u) => normal((u - mean) / spread) / spread), mean, spread };
}

// --- the figure ------------------------------------------------------------------------

/** @param {RenderProps<Order & { moment: number }>} props */
function render({ model, el }) {
  const figure = frame(el, model, { title: "Paths of a stochastic equation", draw });
  addControls(figure, model);
  const one = new Plot(figure, { title: "One path in steps, and the exact one", height: 290 });
  const all = new Plot(figure, { title: "The density of all paths at the time", height: 290 });
  /** @type {Memo<Float64Array[]>} */
  const noise = memo();
  /** @type {Memo<Float64Array[]>} */
  const fine = memo();
  /** @type {Memo<Run>} */
  const runs = memo();
  /** @type {Memo<Float64Array[]>} */
  const densities = memo();

  function draw() {
    const [system, method, halvings] = [
      model.get("system"),
      model.get("method"),
      model.get("halvings"),
    ];
    const [seed, moment] = [model.get("seed"), model.get("moment")];
    const order = { system, method, halvings, seed };
    const many = noise(String(seed), () => brownian(seed, FINEST - 1, PATHS, END));
    const single = fine(String(seed), () => brownian(seed, FINEST, 1, END));
    const run = runs(JSON.stringify(order), () => ({
      order,
      ys: randomPaths(order, many),
      exact: exactPath(order, single, method),
      ito: exactPath(order, single, "milstein"),
    }));
    const states = pathsAt(run.ys, moment);
    const law = moment ? lawAt(order, moment, () => densities("", wellDensities)) : null;
    drawPaths(one, run, moment);
    drawDensity(all, run, states, law);
    const facts = factsOf(run, states);
    figure.tell({ system, method, h: END / 2 ** halvings, t: moment, ...facts });
    return report(run, facts, moment, law);
  }

  return figure.close;
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  choice(figure, model, "system", "Equation", EQUATIONS);
  choice(figure, model, "method", "Method", WAYS);
  slider(figure, model, "halvings", "Steps", {
    min: 1,
    max: FINEST - 1,
    step: 1,
    format: (k) => String(2 ** k),
  });
  slider(figure, model, "seed", "Seed", { min: 0, max: 99, step: 1 });
  plays(
    figure,
    slider(figure, model, "moment", "Time t", { min: 0, max: END, step: END / TICKS, key: "t" }),
  );
  legend(figure, [
    ["exact wide", "exact path and density"],
    ["ours", "in steps"],
    ["rival", "exact path of Itô’s, where the method computes another"],
    ["faint", "more paths"],
  ]);
}

/**
 * @param {Plot} plot
 * @param {Run} run
 * @param {number} moment
 */
function drawPaths(plot, { order, ys, exact, ito }, moment) {
  const { window } = RANDOM_SYSTEMS[order.system];
  plot.set({ x: [0, END], y: window, xlabel: "time t", ylabel: "state x" });
  const n = ys.length - 1;
  const more = [];
  for (let p = 1; p <= SHOWN; p++) {
    for (let i = 0; i <= n; i++) more.push([(END * i) / n, ys[i][p]]);
    more.push([NaN, NaN]);
  }
  const over = (/** @type {number[]} */ xs) => xs.map((x, i) => [(END * i) / (xs.length - 1), x]);
  const mine = over(ys.map(([x]) => x));
  plot.line("more", more, "faint hair");
  plot.line("exact", over(exact), "exact wide");
  plot.line("ito", order.method === "heun" && isGeometric(order) ? over(ito) : [], "rival thin");
  plot.line("mine", mine, "ours thin");
  plot.dots("nodes", n <= 64 ? mine : [], "ours");
  plot.line(
    "now",
    window.map((x) => [moment, x]),
    "faint dashed",
  );
}

/**
 * @param {Plot} plot
 * @param {Run} run
 * @param {Float64Array} states
 * @param {Law | null} law
 */
function drawDensity(plot, { order }, states, law) {
  const { window, high } = RANDOM_SYSTEMS[order.system];
  plot.set({ x: window, y: [0, high], xlabel: "state x", ylabel: "density" });
  const counts = Array(BINS).fill(0);
  const width = (window[1] - window[0]) / BINS;
  for (const x of states) {
    const bin = Math.floor((x - window[0]) / width);
    if (bin >= 0 && bin < BINS) counts[bin] += 1 / (PATHS * width);
  }
  const stairs = counts.flatMap((c, i) =>
    [0, c, c, 0].map((height, k) => [window[0] + (i + (k > 1 ? 1 : 0)) * width, height]),
  );
  plot.line("law", law ? law.x.map((x, i) => [x, law.p[i]]) : [], "exact wide");
  plot.line("bins", stairs, "ours thin");
}

/**
 * @param {Run} run
 * @param {Float64Array} states
 */
function factsOf({ ys, exact, ito }, states) {
  const [n, last] = [ys.length - 1, exact.length - 1];
  const error = Math.max(...ys.map(([x], i) => Math.abs(x - exact[(i * last) / n])));
  const mean = states.reduce((sum, x) => sum + x, 0) / states.length;
  const square = states.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  const spread = Math.sqrt(square / (states.length - 1));
  return { error, apart: Math.abs(ys[n][0] - ito[last]), mean, spread };
}

/**
 * @param {Run} run
 * @param {ReturnType<typeof factsOf>} facts
 * @param {number} moment
 * @param {Law | null} law
 */
function report({ order, ys }, { error, apart, mean, spread }, moment, law) {
  const n = ys.length - 1;
  const [way, what] = [
    order.method === "heun" ? "Stratonovich’s integral" : ITO,
    isGeometric(order) ? "the exact path" : "512 steps of Heun",
  ];
  const name = WAYS.find(([key]) => key === order.method)?.[1].split(" ")[0];
  const head = `${name}, ${n} steps of ${short(END / n)}, ${way}: off by up to ${short(error)} from ${what}.`;
  const other =
    order.method === "heun" && isGeometric(order)
      ? ` From the end of the path of ${ITO} it is ${short(apart)} away.`
      : "";
  // A mean of 0 has rounding in it.
  const known = law ? `; exact ${short(Number(law.mean.toFixed(9)))} and ${short(law.spread)}` : "";
  return (
    `${head}${other} ${PATHS} paths at t = ${short(moment)}: ` +
    `mean ${short(mean)}, standard deviation ${short(spread)}${known}.`
  );
}

export default { render };
