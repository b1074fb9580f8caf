// What is trained in the page: a model, its loss on some rows, and the gradient of that.
// course_lib/widgets/learner.py builds the same of course_lib.models. No DOM here.
import { GRADIENTS } from "./gradients.mjs";
import { countOf, evaluate, pullback, traced, traceOf } from "./layers.mjs";
import { Tape } from "./tape.mjs";

/** @import { Flow } from "./gradients.mjs" */
/** @import { Net } from "./layers.mjs" */
/** @import { Settings, Vector } from "./rk.mjs" */

/**
 * What is trained, and how its gradient is found.
 * @typedef {object} Recipe
 * @property {"mlp" | "resnet" | "ode"} model
 * @property {number} width of the hidden layers
 * @property {number} hidden how many there are
 * @property {number} extra zeros appended to the input
 * @property {boolean} time whether t is an input
 * @property {number} layers of a ResNet
 * @property {boolean} shared whether they have the same weights
 * @property {Settings} solver of a neural ODE
 * @property {string} gradient a name in GRADIENTS
 */
/**
 * Rows: labels 0 and 1 (`classes`), numbers (`values`), or states at the times `times`
 * (`path`: time after time, row after row).
 * @typedef {object} Rows
 * @property {"classes" | "values" | "path"} task
 * @property {number} dim of the input
 * @property {Float64Array} x rows × dim
 * @property {Float64Array} y
 * @property {number[]} times
 */
/**
 * Where the weights are: networks of the body, and the read-out behind them.
 * @typedef {object} Plan
 * @property {Recipe} recipe
 * @property {Rows["task"]} task
 * @property {number} dim of the input
 * @property {number} state of what the body returns
 * @property {Net[]} nets one, or one for each layer
 * @property {number} head where the read-out begins
 * @property {number} count of all weights
 * @property {number} trained how many of them are trained, the first ones
 */
/**
 * @typedef {{ nfe: number, nfeBack: number, pulls: number, kept: number, accepted: number,
 *   rejected: number }} Cost
 */

/**
 * Where the weights of a model are.
 * @param {Recipe} recipe
 * @param {Rows["task"]} task
 * @param {number} dim of the input
 * @returns {Plan}
 */
export function planOf(recipe, task, dim) {
  const { model, width, hidden, extra, time, layers, shared } = recipe;
  const inner = new Array(hidden).fill(width);
  const flows = model !== "mlp";
  const state = flows ? dim + extra : width;
  const widths = flows ? [state + Number(time), ...inner, state] : [dim, ...inner];
  const many = model === "resnet" && !shared ? layers : 1;
  const nets = Array.from({ length: many }, (_, i) => {
    return { widths, time: flows && time, at: i * countOf(widths) };
  });
  const head = many * countOf(widths);
  const count = task === "path" ? head : head + state + 1;
  // A flow that is to compute a number is read off at its first coordinate.
  const trained = task === "values" && flows ? head : count;
  return { recipe, task, dim, state, nets, head, count, trained };
}

/**
 * The solver of a body, and the times at which it is asked. A ResNet takes Euler's steps; a
 * plain network none: it is evaluated once.
 * @param {Plan} plan
 * @param {number[]} times
 * @returns {{ settings: Settings, gradient: string, times: number[] }}
 */
export function solverOf({ recipe, task }, times) {
  const { model, layers, solver, gradient } = recipe;
  const asked = task === "path" ? times : [0, 1];
  if (model !== "resnet") return { settings: solver, gradient, times: asked };
  const settings = { method: "euler", step_size: 1 / layers };
  return { settings, gradient: "direct", times: asked };
}

/**
 * The field of a body on as many rows.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {number} rows
 * @returns {Flow}
 */
export function flowOf({ nets, recipe }, theta, rows) {
  const tape = new Tape(() => traceOf(nets[0], rows));
  const last = nets.length - 1;
  return {
    tape,
    size: rows * traced(nets[0].widths),
    f: (t, y) => {
      const trace = tape.take();
      trace.net = nets[Math.min(last, Math.round(t * recipe.layers))];
      return evaluate(trace, theta, t, y);
    },
    pull: (k, g, sums) => pullback(tape.of(k), theta, g, sums),
  };
}

/**
 * Rows of x with zeros behind.
 * @param {Float64Array} x
 * @param {number} dim
 * @param {number} state
 */
export function lifted(x, dim, state) {
  const out = new Float64Array((x.length / dim) * state);
  for (let r = 0; r < x.length / dim; r++) {
    for (let d = 0; d < dim; d++) out[r * state + d] = x[r * dim + d];
  }
  return out;
}

/**
 * A model as it runs: rows in, states out, and the way back.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {Float64Array} x
 * @param {number[]} times
 */
export function run(plan, theta, x, times, gradient = "") {
  const rows = x.length / plan.dim;
  if (plan.recipe.model === "mlp") return runOnce(plan, theta, x, rows);
  const how = solverOf(plan, times);
  const y0 = lifted(x, plan.dim, plan.state);
  const solver = GRADIENTS[gradient || how.gradient];
  return solver(flowOf(plan, theta, rows), y0, how.times, how.settings);
}

/**
 * A network without a flow: its last hidden layer.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {Float64Array} x
 * @param {number} rows
 */
function runOnce({ nets: [net] }, theta, x, rows) {
  const trace = traceOf(net, rows);
  const ys = [x, evaluate(trace, theta, 0, x)];
  for (let i = 0; i < trace.out.length; i++) trace.out[i] = Math.tanh(trace.out[i]);
  const back = (/** @type {Vector[]} */ gys, /** @type {Float64Array} */ sums) => {
    const g = trace.out.map((a, i) => gys[1][i] * (1 - a * a));
    const lam = pullback(trace, theta, g, sums);
    return { lam, nfe: 0, pulls: 1, kept: rows * traced(net.widths), stopped: null };
  };
  return { ys, nfe: 1, accepted: 0, rejected: 0, stopped: null, back };
}

/**
 * The read-out w·y + b of every row.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {Vector} y
 */
export function readOut({ head, state }, theta, y) {
  const out = new Float64Array(y.length / state).fill(theta[head + state]);
  for (let r = 0; r < out.length; r++) {
    for (let d = 0; d < state; d++) out[r] += theta[head + d] * y[r * state + d];
  }
  return out;
}

// --- losses ----------------------------------------------------------------------------

/**
 * The logistic loss of scores, mean over rows, and its slope for each of them.
 * @param {Float64Array} scores
 * @param {Float64Array} labels
 */
function logistic(scores, labels) {
  let loss = 0;
  const slopes = scores.map((z, r) => {
    const e = Math.exp(-Math.abs(z));
    loss += Math.max(z, 0) - z * labels[r] + Math.log1p(e);
    return ((z >= 0 ? 1 : e) / (1 + e) - labels[r]) / scores.length;
  });
  return { loss: loss / scores.length, slopes };
}

/**
 * The squared error, mean over all numbers, and its slope for each of them.
 * @param {Float64Array} got
 * @param {Float64Array} wanted
 */
function squaredError(got, wanted) {
  let loss = 0;
  const slopes = got.map((v, i) => {
    loss += (v - wanted[i]) ** 2;
    return (2 * (v - wanted[i])) / got.length;
  });
  return { loss: loss / got.length, slopes };
}

/**
 * The loss of what a body returned, ∂L/∂ys, and what the read-out adds to ∂L/∂θ.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {Vector[]} ys
 * @param {Rows} rows
 */
function lossOf(plan, theta, ys, { task, y }) {
  if (task === "path") {
    const got = new Float64Array(y.length);
    const n = ys[0].length;
    ys.forEach((state, i) => {
      got.set(state, i * n);
    });
    const { loss, slopes } = squaredError(got, y);
    return { loss, gys: ys.map((_, i) => slopes.subarray(i * n, (i + 1) * n)), read: null };
  }
  const end = ys[ys.length - 1];
  const scores = readOut(plan, theta, end);
  const { loss, slopes } = task === "classes" ? logistic(scores, y) : squaredError(scores, y);
  const { head, state } = plan;
  const lam = new Float64Array(end.length);
  for (let i = 0; i < lam.length; i++)
    lam[i] = slopes[Math.floor(i / state)] * theta[head + (i % state)];
  const read = (/** @type {Float64Array} */ sums) => {
    for (let i = 0; i < lam.length; i++)
      sums[head + (i % state)] += slopes[Math.floor(i / state)] * end[i];
    for (const slope of slopes) sums[head + state] += slope;
  };
  return {
    loss,
    gys: [...ys.slice(0, -1).map(({ length }) => new Float64Array(length)), lam],
    read,
  };
}

/**
 * The loss on some rows, its gradient, and what both cost. Where the solve stops, the loss
 * is NaN and `stopped` says why.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {Rows} rows
 * @param {string} [gradient] in place of the recipe's
 */
export function lossAndGradient(plan, theta, rows, gradient) {
  const solved = run(plan, theta, rows.x, rows.times, gradient);
  const grad = new Float64Array(theta.length);
  const { nfe, accepted, rejected } = solved;
  const cost = { nfe, accepted, rejected, nfeBack: 0, pulls: 0, kept: 0 };
  if (solved.stopped) return { loss: NaN, grad, cost, stopped: solved.stopped };
  const { loss, gys, read } = lossOf(plan, theta, solved.ys, rows);
  if (!Number.isFinite(loss)) return { loss, grad, cost, stopped: { t: 1, why: "not finite" } };
  const back = solved.back(gys, grad);
  read?.(grad);
  grad.fill(0, plan.trained);
  Object.assign(cost, { nfeBack: back.nfe, pulls: back.pulls, kept: back.kept });
  return { loss, grad, cost, stopped: back.stopped };
}

/**
 * The loss on some rows without a gradient, and the share of them that is on its side.
 * @param {Plan} plan
 * @param {Float64Array} theta
 * @param {Rows} rows
 */
export function judge(plan, theta, rows) {
  const { ys, stopped } = run(plan, theta, rows.x, rows.times, "adjoint");
  if (stopped) return { loss: NaN, right: NaN };
  const { loss } = lossOf(plan, theta, ys, rows);
  if (rows.task !== "classes") return { loss, right: NaN };
  const scores = readOut(plan, theta, ys[ys.length - 1]);
  return { loss, right: scores.filter((z, r) => z > 0 === rows.y[r] > 0).length / scores.length };
}
