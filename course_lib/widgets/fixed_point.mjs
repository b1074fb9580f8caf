// FixedPointExplorer: an equation z = f(z), and three ways to its solution, step by step.
import { choice, frame, legend, short, slider } from "./page/frame.mjs";
import { plays } from "./page/play.mjs";
import { Plot } from "./page/plot.mjs";

/** @import { RenderProps } from "@anywidget/types" */
/** @import { Choice } from "./page/tables.mjs" */

/**
 * @typedef {{ problem: string, weight: number, method: string, start: number }} Traits
 * @typedef {{ zs: number[][], fs: number[][], residuals: number[], evaluations: number[],
 *   end: "arrived" | "steps" | "singular" }} Way what a method did, from the start to its end
 * @typedef {{ f: (z: number[], w: number) => number[],
 *   jacobian: (z: number[], w: number) => number[][] }} Equation
 * @typedef {(z: number[], fz: number[]) => number[] | undefined} Next
 */

const MOST = 40;
const ARRIVED = 1e-8;
const EPS = 2 ** -52;
const SECOND = -1;
const REACH = 2.2; // of the pictures

/** @type {(z: number, w: number) => number} */
const bent = (z, w) => Math.tanh(w * z + 0.5);
/** @type {(z: number[], w: number) => number[]} */
const turned = ([u, v], w) => [
  Math.tanh(w * (0.6 * u - 0.8 * v) + 0.5),
  Math.tanh(w * (0.8 * u + 0.6 * v) - 0.3),
];

/** @type {Record<string, Equation>} */
const EQUATIONS = {
  line: { f: ([z], w) => [w * z + 0.5], jacobian: (_, w) => [[w]] },
  tanh: { f: ([z], w) => [bent(z, w)], jacobian: ([z], w) => [[w * (1 - bent(z, w) ** 2)]] },
  plane: {
    f: turned,
    jacobian: (z, w) => {
      const [a, b] = turned(z, w).map((y) => w * (1 - y * y));
      return [
        [0.6 * a, -0.8 * a],
        [0.8 * b, 0.6 * b],
      ];
    },
  },
};

/** @type {Choice[]} */
const NAMES = [
  ["tanh", "a neuron, tanh(w z + ½)"],
  ["plane", "two neurons, tanh(w R z + b)"],
  ["line", "a line, w z + ½"],
];
/** @type {Choice[]} */
const WAYS = [
  ["plain", "plain: z ← f(z)"],
  ["anderson", "Anderson"],
  ["newton", "Newton"],
];

// --- mathematics -----------------------------------------------------------------------

const dot = (/** @type {number[]} */ a, /** @type {number[]} */ b) =>
  a.reduce((sum, x, i) => sum + x * b[i], 0);
const size = (/** @type {number[]} */ a) => Math.sqrt(dot(a, a));

/**
 * The solution of A x = b by elimination; nothing where A is singular.
 * @param {number[][]} A
 * @param {number[]} b
 */
export function eliminate(A, b) {
  const n = b.length;
  const rows = A.map((row, i) => [...row, b[i]]);
  for (let k = 0; k < n; k++) {
    let top = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[top][k])) top = i;
    [rows[k], rows[top]] = [rows[top], rows[k]];
    if (!rows[k][k]) return undefined;
    for (let i = k + 1; i < n; i++) {
      const factor = rows[i][k] / rows[k][k];
      for (let j = k; j <= n; j++) rows[i][j] -= factor * rows[k][j];
    }
  }
  const x = Array(n).fill(0);
  for (let k = n - 1; k >= 0; k--) x[k] = (rows[k][n] - dot(rows[k].slice(0, n), x)) / rows[k][k];
  return x;
}

/**
 * The weights of Anderson's mixture: see mixing_weights of course_lib.models.fixed_points.
 * @param {number[][]} gaps
 */
export function mixingWeights(gaps) {
  const raw = gaps.map(size);
  const longest = Math.max(...raw);
  const lengths = raw.map((length) => Math.max(length, EPS * longest + 2 ** -1022));
  const directions = gaps.map((gap, i) => gap.map((x) => x / lengths[i]));
  const gram = directions.map((a, i) =>
    directions.map((b, j) => dot(a, b) + (i === j ? 10 * EPS : 0)),
  );
  const least = Math.min(...lengths);
  const shares = lengths.map((length) => least / length);
  const alpha = (eliminate(gram, shares) ?? shares).map((x, i) => x * shares[i]);
  const sum = alpha.reduce((a, b) => a + b, 0);
  return alpha.map((x) => x / sum);
}

/**
 * How a method gets from z and f(z) to the next z; nothing where it has no step.
 * @param {string} method
 * @param {(z: number[]) => number[][]} jacobian
 * @param {number} memory
 * @returns {Next}
 */
function stepper(method, jacobian, memory) {
  /** @type {[number[], number[]][]} values and gaps */
  const last = [];
  if (method === "plain") return (_, fz) => [...fz];
  if (method === "newton") {
    return (z, fz) => {
      const lines = jacobian(z).map((row, i) => row.map((x, j) => (i === j ? 1 - x : -x)));
      const gap = fz.map((x, i) => x - z[i]);
      return eliminate(lines, gap)?.map((x, i) => z[i] + x);
    };
  }
  return (z, fz) => {
    last.push([fz, fz.map((x, i) => x - z[i])]);
    if (last.length > memory) last.shift();
    const alpha = mixingWeights(last.map(([, gap]) => gap));
    return fz.map((_, d) => last.reduce((sum, [value], i) => sum + alpha[i] * value[d], 0));
  };
}

/**
 * What a method does, until it arrives or has made all its steps; no DOM.
 * @param {Traits} traits
 * @returns {Way}
 */
export function fixedPointWay({ problem, weight, method, start }) {
  const { f, jacobian } = EQUATIONS[problem];
  let z = problem === "plane" ? [start, SECOND] : [start];
  const n = z.length;
  const next = stepper(method, (at) => jacobian(at, weight), n + 1);
  /** @type {Way} */
  const way = { zs: [], fs: [], residuals: [], evaluations: [], end: "steps" };
  for (let k = 0; ; k++) {
    const fz = f(z, weight);
    const gap = size(fz.map((x, i) => x - z[i]));
    way.zs.push(z);
    way.fs.push(fz);
    way.residuals.push(gap / (Math.sqrt(n) + size(z)));
    way.evaluations.push(k + 1 + (method === "newton" ? n * k : 0));
    if (way.residuals[k] <= ARRIVED) return { ...way, end: "arrived" };
    if (k === MOST) return way;
    const there = next(z, fz);
    if (!there) return { ...way, end: "singular" };
    z = there;
  }
}

/**
 * The largest modulus of an eigenvalue of ∂f/∂z.
 * @param {string} problem
 * @param {number} weight
 * @param {number[]} z
 */
export function radiusAt(problem, weight, z) {
  const J = EQUATIONS[problem].jacobian(z, weight);
  if (J.length === 1) return Math.abs(J[0][0]);
  const [[a, b], [c, d]] = J;
  const [half, det] = [(a + d) / 2, a * d - b * c];
  const inside = half * half - det;
  return inside < 0 ? Math.sqrt(det) : Math.abs(half) + Math.sqrt(inside);
}

// --- the figure ------------------------------------------------------------------------

/** @param {RenderProps<Traits & { step: number }>} props */
function render({ model, el }) {
  const title = "The steps of an iteration towards a fixed point";
  const figure = frame(el, model, { title, draw });
  choice(figure, model, "problem", "Equation", NAMES);
  choice(figure, model, "method", "Method", WAYS);
  slider(figure, model, "weight", "Weight w", { min: -3, max: 3, step: 0.05, key: "w" });
  slider(figure, model, "start", "Start", { min: -2, max: 2, step: 0.05 });
  plays(figure, slider(figure, model, "step", "Step", { min: 0, max: MOST, step: 1 }));
  legend(figure, [
    ["exact wide", "f, or in the plane the fixed point"],
    ["ours", "this method"],
    ["faint", "diagonal; the other two methods"],
  ]);
  const map = new Plot(figure, { title: "The map and the steps on it", height: 320 });
  const paper = new Plot(figure, { title: "Residual against evaluations of f", height: 320 });

  function draw() {
    const [problem, method] = [model.get("problem"), model.get("method")];
    const [weight, start, step] = [model.get("weight"), model.get("start"), model.get("step")];
    const ways = Object.fromEntries(
      WAYS.map(([name]) => [name, fixedPointWay({ problem, weight, method: name, start })]),
    );
    if (problem === "plane") drawPlane(map, ways, method, step);
    else drawCobweb(map, (z) => EQUATIONS[problem].f([z], weight)[0], ways[method], step);
    drawResiduals(paper, ways, method, step);
    figure.tell({ problem, method, w: weight, start, ...reached(problem, weight, ways[method]) });
    return told(problem, weight, ways, method, step);
  }

  return figure.close;
}

/**
 * A staircase between the curve of f and the diagonal.
 * @param {Plot} map
 * @param {(z: number) => number} f
 * @param {Way} way
 * @param {number} step
 */
function drawCobweb(map, f, { zs, fs }, step) {
  map.set({ x: [-REACH, REACH], y: [-REACH, REACH], equal: true, xlabel: "z", ylabel: "f(z)" });
  const [low, high] = [map.x.inverse(map.area.left), map.x.inverse(map.area.right)];
  const across = Array.from({ length: 161 }, (_, i) => low + ((high - low) * i) / 160);
  map.line(
    "diagonal",
    [
      [low, low],
      [high, high],
    ],
    "faint thin",
  );
  map.line(
    "map",
    across.map((z) => [z, f(z)]),
    "exact wide",
  );
  map.dots("target", [], "exact large");
  const upTo = zs.slice(0, step + 1);
  const stairs = upTo.flatMap(([z], k) =>
    k < upTo.length - 1
      ? [
          [z, z],
          [z, fs[k][0]],
        ]
      : [[z, z]],
  );
  map.line("way", stairs, "ours thin");
  map.dots(
    "nodes",
    upTo.map(([z]) => [z, z]),
    "ours",
  );
  map.dots(
    "here",
    [upTo[upTo.length - 1]].map(([z]) => [z, z]),
    "ours large",
  );
}

/**
 * @param {Plot} map
 * @param {Record<string, Way>} ways
 * @param {string} method
 * @param {number} step
 */
function drawPlane(map, ways, method, step) {
  map.set({ x: [-REACH, REACH], y: [-REACH, REACH], equal: true, xlabel: "z₁", ylabel: "z₂" });
  const arrived = Object.values(ways).filter(({ end }) => end === "arrived");
  const upTo = ways[method].zs.slice(0, step + 1);
  map.line("diagonal", [], "faint thin");
  map.line("map", [], "exact wide");
  map.dots(
    "target",
    arrived.map(({ zs }) => zs[zs.length - 1]),
    "exact large",
  );
  map.line("way", upTo, "ours thin");
  map.dots("nodes", upTo, "ours");
  map.dots("here", upTo.slice(-1), "ours large");
}

/**
 * @param {Plot} paper
 * @param {Record<string, Way>} ways
 * @param {string} method
 * @param {number} step
 */
function drawResiduals(paper, ways, method, step) {
  const labels = { xlabel: "evaluations of f", ylabel: "residual" };
  paper.set({ x: [0, MOST + 2], y: [1e-12, 10], ylog: true, ...labels });
  const curve = (/** @type {Way} */ way) =>
    way.residuals.map((r, k) => [way.evaluations[k], Math.max(r, 1e-12)]);
  const others = WAYS.filter(([name]) => name !== method).map(([name]) => curve(ways[name]));
  for (const [i, points] of others.entries()) paper.line(`other ${i}`, points, "faint thin");
  const mine = curve(ways[method]);
  paper.line("mine", mine, "ours thin");
  paper.dots("steps", mine, "ours");
  paper.dots("now", [mine[Math.min(step, mine.length - 1)]], "ours large");
}

/**
 * @param {string} problem
 * @param {number} weight
 * @param {Record<string, Way>} ways
 * @param {string} method
 * @param {number} step
 */
function told(problem, weight, ways, method, step) {
  const { residuals, evaluations } = ways[method];
  const now = Math.min(step, residuals.length - 1);
  const calls = evaluations[now] === 1 ? "evaluation" : "evaluations";
  const head = `Step ${now}: ${evaluations[now]} ${calls} of f, residual ${short(residuals[now])}.`;
  const sure =
    Math.abs(weight) < 1
      ? `|w| = ${short(Math.abs(weight))} < 1: f is a contraction, with one fixed point.`
      : `|w| = ${short(Math.abs(weight))}: f is no contraction.`;
  return `${head} ${outcome(problem, weight, method, ways[method])} ${sure} ${race(ways)}`;
}

/**
 * What a method cost, and where it arrived, if it did.
 * @param {string} problem
 * @param {number} weight
 * @param {Way} way
 */
function reached(problem, weight, { zs, evaluations, end }) {
  const z = end === "arrived" ? zs[zs.length - 1] : undefined;
  const radius = z && radiusAt(problem, weight, z);
  return { nfe: evaluations[evaluations.length - 1], z: z?.[0], radius };
}

/**
 * How it ends.
 * @param {string} problem
 * @param {number} weight
 * @param {string} method
 * @param {Way} way
 */
function outcome(problem, weight, method, { zs, residuals, end }) {
  const z = zs[zs.length - 1];
  if (end === "singular")
    return "No step from here: the line that touches f is parallel to the diagonal.";
  if (end === "arrived") {
    const there = z.map(short).join(", ");
    const radius = short(radiusAt(problem, weight, z));
    const slope = z.length === 1 ? "slope of f there" : "spectral radius there";
    return `It arrives at z = ${z.length === 1 ? there : `(${there})`} (${slope}: ${radius} in size).`;
  }
  if (problem === "line" && method === "plain" && Math.abs(weight) > 1)
    return `It diverges: after ${zs.length - 1} steps |z| is ${short(size(z))}.`;
  return `After ${MOST} steps it has not arrived yet: the residual is ${short(residuals[MOST])}.`;
}

/**
 * What the solution costs each method.
 * @param {Record<string, Way>} ways
 */
function race(ways) {
  const cost = (/** @type {string} */ name) => {
    const { evaluations, end } = ways[name];
    return end === "arrived" ? String(evaluations[evaluations.length - 1]) : "not there";
  };
  const costs = ["plain", "anderson", "newton"].map(cost);
  return `Evaluations to a residual of 10⁻⁸: plain ${costs[0]}, Anderson ${costs[1]}, Newton ${costs[2]}.`;
}

export default { render };
