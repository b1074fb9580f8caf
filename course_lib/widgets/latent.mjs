// LatentExplorer: a point of a latent space, its path along the field, the decoded curve.
import { clamp, coordinate, frame, legend, memo, put, short, slider } from "./page/frame.mjs";
import { handle } from "./page/handle.mjs";
import { mlpField, networkField } from "./page/network.mjs";
import { account, trace } from "./page/paths.mjs";
import { plays } from "./page/play.mjs";
import { GAP, Plot } from "./page/plot.mjs";
import { distance, endOf, linspace, reference, solve } from "./page/rk.mjs";
import { solverControls } from "./page/solver_controls.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure, Memo } from "./page/frame.mjs" */
/** @import { Field, Path, Settings, Span, Vector } from "./page/rk.mjs" */

/**
 * @typedef {(name: string) => any} Get the value of a trait
 * @typedef {(z: Vector) => Vector} Look what a latent state decodes to
 */

const TOLERANCE = { rtol: 1e-6, atol: 1e-6 }; // of the path that is called exact
const REACH = 3; // how far a coordinate can be pulled
const WALKED = 10; // codes on the way

/**
 * The point between two codes at some share of the way.
 * @param {Get} get
 * @param {number} share
 * @returns {number[]}
 */
function codeBetween(get, share) {
  const [a, b] = [get("start"), get("end")];
  return a.map((/** @type {number} */ v, /** @type {number} */ d) => v + share * (b[d] - v));
}

/**
 * The point that the figure shows: between the two codes, with two coordinates shifted.
 * @param {Get} get
 */
export function codeOf(get, shift = get("shift")) {
  const z = codeBetween(get, get("share"));
  get("coordinates").forEach((/** @type {number} */ c, /** @type {number} */ d) => {
    z[c] += shift[d];
  });
  return z;
}

/**
 * The decoder as a function of a latent state.
 * @param {Get} get
 * @returns {Look}
 */
export function decoder(get) {
  const [widths, weights] = [get("readout_widths"), get("readout")];
  const look = mlpField({ widths, activation: "elu", weights });
  return (z) => look(0, z);
}

/**
 * The area that the arrow from the centre of a curve sweeps, positive counter-clockwise.
 * The centre is the mean over time: a path has most points where the steps are short.
 * @param {Vector[]} points
 * @param {number[]} ts their times
 */
export function sweptArea(points, ts) {
  const near = (/** @type {number} */ i) => ts[clamp(i, 0, ts.length - 1)];
  const weights = ts.map((_, i) => (near(i + 1) - near(i - 1)) / 2);
  const lasts = near(ts.length) - near(0);
  const middle = [0, 1].map(
    (d) => points.reduce((sum, p, i) => sum + p[d] * weights[i], 0) / lasts,
  );
  const arrows = points.map((p) => [p[0] - middle[0], p[1] - middle[1]]);
  const swept = (/** @type {number} */ i) => {
    const [[a, b], [x, y]] = [arrows[i], arrows[i + 1]];
    return (a * y - b * x) / 2;
  };
  return arrows.slice(1).reduce((sum, _, i) => sum + swept(i), 0);
}

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, {
    title: "A curve decoded from a point of the latent space",
    draw,
  });
  const settings = addControls(figure, model);
  const names = coordinateNames(get);
  const title = `Latent coordinates ${names.join(" and ")}`;
  const space = new Plot(figure, { title, height: 340 });
  const paper = new Plot(figure, { title: "The decoded curve", height: 340 });
  const place = codeHandle(space, model);
  const look = decoder(get);
  /** @type {[network: Memo<Field>, walks: Memo<Vector[]>]} */
  const [network, walks] = [memo(), memo()];

  function draw() {
    const [[x, y], [u, v], t1] = ["window", "plane", "t_end"].map(get);
    const [weights] = get("weights");
    /** @type {Span} */
    const span = [0, t1];
    const how = settings();
    const f = network(weights, () => networkField(get));
    const exact = reference(f, codeOf(get), span, TOLERANCE);
    const path = solve(f, codeOf(get), span, how);
    space.set({ x: u, y: v, xlabel: names[0], ylabel: names[1] });
    drawSpace(space, get, exact, path);
    place();
    paper.set({ x, y, equal: true, xlabel: "x₁", ylabel: "x₂" });
    const walk = walks(`${t1} ${weights}`, () => curvesOnTheWay(get, f, span, look));
    paper.line("walk", walk, "faint hair");
    const ours = trace(path, 160, look);
    paper.line("exact", trace(exact, 160, look), "exact wide");
    paper.line("ours", ours, "ours thin");
    paper.dots("nodes", path.ys.map(look), "ours");
    const area = path.stopped ? NaN : sweptArea(ours, timesOf(path));
    const off =
      path.stopped || exact.stopped ? NaN : distance(look(endOf(path)), look(endOf(exact)));
    figure.tell(factsNow(get, how, path, { area, error: off }));
    return path.stopped ? account(path, how) : `${account(path, how)} ${turn(area, off)}`;
  }

  return figure.close;
}

/**
 * @param {Get} get
 * @returns {string[]}
 */
const coordinateNames = (get) =>
  get("coordinates").map((/** @type {number} */ c) => `z${"₁₂₃₄₅₆₇₈₉"[c] ?? c + 1}`);

/**
 * The two coordinates that are drawn, of a latent state.
 * @param {Get} get
 * @returns {(z: Vector) => Vector}
 */
function flat(get) {
  const [first, second] = get("coordinates");
  return (z) => [z[first], z[second]];
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  const settings = solverControls(figure, model);
  plays(figure, slider(figure, model, "share", "Share of the way", { min: 0, max: 1, step: 0.01 }));
  const ends = { min: 0.1, max: model.get("longest") };
  plays(figure, slider(figure, model, "t_end", "End time", ends));
  coordinateNames((name) => model.get(name)).forEach((name, d) => {
    const range = { min: -REACH, max: REACH, lens: coordinate(d) };
    slider(figure, model, "shift", `Shift of ${name}`, range);
  });
  legend(figure, [
    ["ours", "your point, its path and its curve"],
    ["exact wide", "the same, solved exactly"],
    ["faint", "the ten steps of the walk; codes of other series"],
  ]);
  return settings;
}

/**
 * The point of the latent space, to be dragged.
 * @param {Plot} space
 * @param {AnyModel} model
 */
function codeHandle(space, model) {
  const get = (/** @type {string} */ name) => model.get(name);
  return handle(space, "ours", {
    at: () => flat(get)(codeOf(get)),
    move: (...point) => {
      const base = flat(get)(codeOf(get, [0, 0]));
      put(
        model,
        "shift",
        point.map((v, d) => clamp(v - base[d], -REACH, REACH)),
      );
    },
  });
}

/**
 * The curves of the walk from one code to the other, with gaps between them.
 * @param {Get} get
 * @param {Field} f
 * @param {Span} span
 * @param {Look} look
 */
function curvesOnTheWay(get, f, span, look) {
  return linspace(0, 1, WALKED).flatMap((share) => {
    const path = reference(f, codeBetween(get, share), span, TOLERANCE);
    return [...trace(path, 160, look), GAP];
  });
}

/**
 * @param {Plot} space
 * @param {Get} get
 * @param {Path} exact
 * @param {Path} path
 */
function drawSpace(space, get, exact, path) {
  const ends = [get("start"), get("end")];
  space.dots("codes", get("codes"), "faint");
  space.line("line", ends.map(flat(get)), "faint");
  space.line("exact", trace(exact, 160, flat(get)), "exact wide");
  space.line("ours", trace(path, 160, flat(get)), "ours thin");
}

/**
 * The times of the points of a curve.
 * @param {Path} path
 */
const timesOf = (path) => trace(path, 160, (_, t) => [t]).map(([t]) => t);

/**
 * Which way a curve turns, and how far off it ends.
 * @param {number} area swept
 * @param {number} off NaN if nobody knows
 */
function turn(area, off) {
  const way = area < 0 ? "clockwise" : "counter-clockwise";
  const end = Number.isNaN(off) ? "" : `; its end is off by ${short(off)}`;
  return `The curve turns ${way} (swept area ${short(area)})${end}.`;
}

/**
 * @param {Get} get
 * @param {Settings} settings
 * @param {Path} path
 * @param {{ area: number, error: number }} found
 */
function factsNow(get, { method, step_size, rtol }, path, found) {
  const [share, t_end, [shift1, shift2]] = ["share", "t_end", "shift"].map(get);
  const solved = { method, h: step_size, rtol, nfe: path.nfe, steps: path.accepted };
  return { share, t_end, shift1, shift2, ...solved, ...found };
}

export default { render };
