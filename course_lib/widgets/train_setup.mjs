// From the traits of a TrainExplorer to what is trained, and back. No DOM here.

import { solverSettings } from "./page/solver_controls.mjs";
import { decode } from "./page/wire.mjs";

/** @import { Training } from "./page/descent.mjs" */
/** @import { Recipe, Rows } from "./page/learner.mjs" */
/** @import { Setup } from "./page/trainer.mjs" */

/** @typedef {(name: string) => any} Get */

const EVERY = 0.2; // of time, from one point of a path to the next
const PIECE = 6; // points of a piece of a path
const ATTEMPTS = 500; // of one solve: a training that needs more is said to stop
/** @type {[number, number][]} */
const SQUARE = [
  [-3, 3],
  [-3, 3],
];

/**
 * The points that are learnt from, and what the picture shows of the plane or the line.
 * @param {Get} get
 * @returns {{ rows: Rows, window: [number, number][], track: Float64Array }}
 */
export function rowsOf(get) {
  const name = get("data");
  if (name === "own points") {
    const points = get("points");
    const x = Float64Array.from(points.flatMap((/** @type {number[]} */ row) => row.slice(0, 2)));
    const y = Float64Array.from(points, (/** @type {number[]} */ row) => row[2]);
    return { rows: { task: "classes", dim: 2, x, y, times: [] }, window: SQUARE, track: x };
  }
  if (name === "own path") return pieces(Float64Array.from(get("track").flat()));
  const { task, x, y, window } = get("sets")[name];
  const [inputs, targets] = [x, y].map((text) => new Float64Array(new Float32Array(decode(text))));
  if (task === "path") return pieces(inputs);
  const rows = { task, dim: window.length, x: inputs, y: targets, times: [] };
  return { rows, window, track: new Float64Array(0) };
}

/**
 * A path as rows: the pieces of a few points that it has, each from its own start.
 * @param {Float64Array} track
 */
function pieces(track) {
  const n = track.length / 2;
  const k = Math.min(PIECE, n);
  const many = k > 1 ? n - k + 1 : 0;
  const blocks = Array.from({ length: k }, (_, i) => [...track.subarray(2 * i, 2 * (i + many))]);
  const times = blocks.map((_, i) => EVERY * i);
  const [x, y] = [track.slice(0, 2 * many), Float64Array.from(blocks.flat())];
  /** @type {Rows} */
  const rows = { task: "path", dim: 2, x, y, times };
  return { rows, window: SQUARE, track };
}

/**
 * The models that are trained, by name; of a path one.
 * @param {Get} get
 * @param {Rows["task"]} task
 * @returns {string[]}
 */
export const modelsOf = (get, task) =>
  task === "path"
    ? ["ode"]
    : ["first", "second", "third"].map(get).filter((name) => name !== "none");

/**
 * @param {Get} get
 * @param {string} name of the model
 * @param {Rows["task"]} task
 * @returns {Recipe}
 */
function recipeOf(get, name, task) {
  const [, model, extra, shared] = get("kinds")[name];
  const [width, hidden, layers, gradient] = ["width", "hidden", "layers", "gradient"].map(get);
  const time = get("time") === "yes" && task !== "path";
  const solver = { ...solverSettings(get), max_steps: ATTEMPTS };
  return { model, width, hidden, extra, time, layers, shared, solver, gradient };
}

const HOW = ["optimizer", "lr", "batch", "seed", "until"];

/**
 * What is trained, as the traits have it.
 * @param {Get} get
 * @returns {Setup}
 */
export function setupOf(get) {
  const made = rowsOf(get);
  const recipes = modelsOf(get, made.rows.task).map((name) => recipeOf(get, name, made.rows.task));
  const [optimizer, lr, batch, seed, until] = HOW.map(get);
  return { recipes, ...made, optimizer, lr, batch, seed, until };
}

// Another of these is another training; of the rest the same goes on.
const ANEW = ["data", "first", "second", "third", "width", "hidden", "time", "layers", "seed"];
const GOES_ON = ["points", "track", "method", "step_size", "rtol", "gradient", "optimizer", "lr"];
GOES_ON.push("batch", "until");

/**
 * What a training is known by, and what it can go on with.
 * @param {Get} get
 */
export const keysOf = (get) => [ANEW, GOES_ON].map((names) => JSON.stringify(names.map(get)));

// --- what travels ----------------------------------------------------------------------

/**
 * Numbers as base64; `decode` reads it.
 * @param {Float64Array | Float32Array} numbers
 */
export function encode(numbers) {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/**
 * The trainings that the traits hold, if any.
 * @param {Get} get
 * @returns {Training[]}
 */
export function savedIn(get) {
  const [weights, moments, steps] = ["weights", "moments", "steps"].map(get);
  return weights.map((/** @type {string} */ text, /** @type {number} */ i) => {
    const theta = new Float64Array(decode(text));
    const both = new Float64Array(decode(moments[i] ?? ""));
    const [mean, square] = both.length
      ? [both.slice(0, theta.length), both.slice(theta.length)]
      : [new Float64Array(theta.length), new Float64Array(theta.length)];
    return { theta, mean, square, steps: steps[i] ?? 0 };
  });
}
