// FlowExplorer: the field of a trained network, and the paths along it.
import { clamp, coordinate, frame, legend, memo, put, short, slider } from "./page/frame.mjs";
import { handle } from "./page/handle.mjs";
import { networkField } from "./page/network.mjs";
import { account, trace } from "./page/paths.mjs";
import { plays } from "./page/play.mjs";
import { GAP, Plot } from "./page/plot.mjs";
import { distance, endOf, linspace, reference, solve } from "./page/rk.mjs";
import { solverControls } from "./page/solver_controls.mjs";
import { strokes } from "./page/strokes.mjs";
import { MAX_STEPS } from "./page/tables.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure, Memo } from "./page/frame.mjs" */
/** @import { Axes, Range } from "./page/plot.mjs" */
/** @import { Field, Path, Settings, Span, Vector } from "./page/rk.mjs" */

const PATHS = 30; // of a fan
const NAMES = ["y₁", "y₂"];
const TOLERANCE = { rtol: 1e-8, atol: 1e-8 }; // of the path that is called exact

/**
 * Starts of the fan: spread over a line, or over a grid in the plane.
 * @param {Range[]} ranges
 * @returns {Vector[]}
 */
export function fan(ranges) {
  const inner = ranges.map((range, d) => {
    const n = ranges.length === 1 ? PATHS - 1 : 6 - d; // 6 × 5 in the plane
    return linspace(...range, n + 2).slice(1, -1);
  });
  if (ranges.length === 1) return inner[0].map((y) => [y]);
  return inner[0].flatMap((u) => inner[1].map((v) => [u, v]));
}

/**
 * The paths of a fan share the steps of a redraw, and need no finer ones than these.
 * @param {Settings} settings
 * @param {number} length of the time that they take
 * @returns {Settings}
 */
export function coarse({ method, step_size, rtol = 0 }, length) {
  const max_steps = Math.floor(MAX_STEPS / PATHS);
  if (step_size) return { method, max_steps, step_size: Math.max(step_size, length / 300) };
  const tolerance = Math.max(rtol, 1e-3);
  return { method, max_steps, rtol: tolerance, atol: tolerance };
}

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const title = "Paths along the field of a trained network";
  const figure = frame(el, model, { title, draw });
  const solver = solverControls(figure, model);
  addControls(figure, model);
  const paper = new Plot(figure, { title: "The learnt field and paths along it", height: 380 });
  const place = startHandle(paper, model);
  /** @type {[network: Memo<Field>, fans: Memo<void>]} */
  const [network, fans] = [memo(), memo()];

  function draw() {
    const [ranges, data, start, t1] = ["window", "data", "start", "t_end"].map(get);
    const [t0, trained] = get("span");
    const weights = get("weights")[get("snapshot")];
    const f = network(weights, () => networkField(get));
    paper.set(sheet(ranges, t0, Math.max(trained, t1)));
    const settings = solver();
    const rough = coarse(settings, t1 - t0);
    const { left, right } = paper.area;
    const key = JSON.stringify([weights, rough, t1, left, right]);
    fans(key, () => drawFan(paper, f, ranges, [t0, t1], rough));
    const exact = reference(f, start, [t0, t1], TOLERANCE);
    const path = solve(f, start, [t0, t1], settings);
    const border = ranges.length === 1 && t1 > trained ? trained : NaN;
    const edge = ranges[0].map((/** @type {number} */ y) => [border, y]);
    paper.dots("data", data, "data");
    paper.line("trained", edge, "faint dashed");
    paper.line("exact", trace(exact, 160, point), "exact wide");
    paper.line("ours", trace(path, 160, point), "ours thin");
    paper.dots("nodes", path.accepted <= 200 ? nodes(path) : [], "ours");
    place();
    figure.tell(factsNow(get, settings, path, exact));
    return report(settings, path, exact, paper);
  }

  return figure.close;
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  const [t0, t1] = model.get("span");
  const ends = { min: t0 + 0.05 * (t1 - t0), max: t0 + 3 * (t1 - t0) };
  plays(figure, slider(figure, model, "t_end", "End time", ends));
  const snapshots = model.get("snapshots");
  if (snapshots.length > 1) {
    const format = (/** @type {number} */ at) => snapshots[at];
    const range = { min: 0, max: snapshots.length - 1, step: 1, format };
    plays(figure, slider(figure, model, "snapshot", "Training", range));
  }
  /** @type {Range[]} */
  const ranges = model.get("window");
  ranges.forEach(([min, max], d) => {
    const label = ranges.length === 1 ? "Start y" : `Start ${NAMES[d]}`;
    slider(figure, model, "start", label, { min, max, lens: coordinate(d) });
  });
  /** @type {[style: string, meaning: string][]} */
  const observed = model.get("data").length ? [["data", "observations"]] : [];
  legend(figure, [
    ["faint", "field, and paths from other starts"],
    ["ours", "path from the start you drag"],
    ["exact wide", "the same path, solved exactly"],
    ...observed,
  ]);
}

/**
 * The start, to be dragged.
 * @param {Plot} paper
 * @param {AnyModel} model
 */
function startHandle(paper, model) {
  /** @type {Range[]} */
  const ranges = model.get("window");
  const at = () => point(model.get("start"), model.get("span")[0]);
  return handle(paper, "ours", {
    at,
    move: (...place) => {
      const start = place.slice(-ranges.length); // on a line, up and down only
      put(
        model,
        "start",
        start.map((v, d) => clamp(v, ...ranges[d])),
      );
    },
  });
}

/**
 * @param {Range[]} ranges of the components of y
 * @param {number} t0
 * @param {number} t1
 * @returns {Axes}
 */
function sheet([first, second], t0, t1) {
  if (!second) return { x: [t0, t1], y: first, xlabel: "depth t", ylabel: "state y" };
  return { x: first, y: second, equal: true, xlabel: NAMES[0], ylabel: NAMES[1] };
}

/**
 * A point of the plot.
 * @param {Vector} y
 * @param {number} t
 */
const point = (y, t) => (y.length === 1 ? [t, y[0]] : y);

const nodes = (/** @type {Path} */ { ts, ys }) => ys.map((y, i) => point(y, ts[i]));

/**
 * @param {Plot} paper
 * @param {Field} f
 * @param {Range[]} ranges
 * @param {Span} span
 * @param {Settings} settings
 */
function drawFan(paper, f, ranges, span, settings) {
  paper.line("field", strokes(paper, f, ranges.length === 1, span), "faint hair");
  const paths = fan(ranges).map((start) => trace(solve(f, start, span, settings), 96, point));
  const lines = paths.flatMap((points) => [...points, GAP]);
  paper.line("fan", lines, "faint thin");
}

/**
 * @param {(name: string) => any} get
 * @param {Settings} settings
 * @param {Path} path
 * @param {Path} exact
 */
function factsNow(get, { method, step_size, rtol }, path, exact) {
  const [t_end, snapshot, [start1, start2]] = ["t_end", "snapshot", "start"].map(get);
  const [end1, end2] = path.stopped ? [NaN, NaN] : endOf(path);
  const error = path.stopped || exact.stopped ? NaN : distance(endOf(path), endOf(exact));
  const solved = { method, h: step_size, rtol, nfe: path.nfe, steps: path.accepted };
  return { t_end, snapshot, start1, start2, ...solved, end1, end2, error };
}

/**
 * @param {Settings} settings
 * @param {Path} path
 * @param {Path} exact
 * @param {Plot} paper
 */
function report(settings, path, exact, paper) {
  const head = account(path, settings);
  if (path.stopped) return head;
  const end = endOf(path);
  const at = end.length === 1 ? short(end[0]) : `(${Array.from(end, short).join(", ")})`;
  const off = exact.stopped ? "" : `, off by ${short(distance(end, endOf(exact)))}`;
  const out = nodes(path).findIndex((p) => !paper.holds(p));
  const left = out < 0 ? "" : ` It left the plot at t = ${short(path.ts[out])}.`;
  return `${head} y(${short(path.ts[path.ts.length - 1])}) = ${at}${off}.${left}`;
}

export default { render };
