// DensityFlowExplorer: particles along a trained field, from noise to data and back.

import { sample } from "./page/dense.mjs";
import { choice, frame, legend, memo, short, slider } from "./page/frame.mjs";
import { networkField } from "./page/network.mjs";
import { effort } from "./page/paths.mjs";
import { plays } from "./page/play.mjs";
import { GAP, Plot } from "./page/plot.mjs";
import { distance, reference, rkStep, solve } from "./page/rk.mjs";
import { FIXED, MAX_STEPS } from "./page/tables.mjs";
import { decode } from "./page/wire.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure, Memo } from "./page/frame.mjs" */
/** @import { Field, Path, Settings, Span, Vector } from "./page/rk.mjs" */
/** @import { Choice } from "./page/tables.mjs" */

const TOLERANCE = { rtol: 1e-6, atol: 1e-6 }; // of the flow that is called exact
const TRACED = 24; // particles whose steps are drawn

/**
 * The particles' starts, as points.
 * @param {string} text
 * @returns {Vector[]}
 */
export function points(text) {
  const flat = new Float32Array(decode(text));
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
}

/**
 * One solve for every particle; they share the steps of a redraw. No DOM.
 * @param {Field} f
 * @param {Vector[]} starts
 * @param {Span} span
 * @param {Settings} settings
 */
export function carry(f, starts, span, settings) {
  const max_steps = Math.ceil(MAX_STEPS / starts.length);
  return starts.map((y) => solve(f, y, span, { max_steps, ...settings }));
}

/**
 * Where all particles are at time t: the step that leads past t, taken only so far.
 * @param {Field} f
 * @param {Path[]} paths
 * @param {number} t
 */
export const positions = (f, paths, t) =>
  paths.map(({ method, steps, stopped }) => {
    const step = steps.findLast((s) => (t - s.t) * s.h >= 0);
    if (stopped || !step) return GAP;
    return rkStep(f, step.t, step.y, t - step.t, method, step.stages[0])[0];
  });

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "Particles along a trained field", draw });
  addControls(figure, model);
  const paper = new Plot(figure, { title: "The particles at one time", height: 400 });
  const [noise, data] = get("particles").map(points);
  /** @type {[network: Memo<Field>, exactly: Memo<Path[]>, roughly: Memo<Path[]>]} */
  const [network, exactly, roughly] = [memo(), memo(), memo()];

  // Solve anew only what the controls have changed; the time alone changes little.
  function draw() {
    const [method, step_size, t] = ["method", "step_size", "moment"].map(get);
    const [[x, y], [t0, t1]] = ["window", "span"].map(get);
    const forward = get("source") === "noise";
    /** @type {[starts: Vector[], span: Span]} */
    const [starts, span] = forward ? [noise, [t0, t1]] : [data, [t1, t0]];
    const key = `${forward} ${get("weights")[get("snapshot")]}`;
    const f = network(key, () => networkField(get));
    const exact = exactly(key, () => starts.map((start) => reference(f, start, span, TOLERANCE)));
    const settings = { method, step_size };
    const paths = roughly(`${method} ${step_size} ${key}`, () => carry(f, starts, span, settings));
    const here = positions(f, paths, t);
    const there = exact.map((path) => sample(path, [t])[0]);
    paper.set({ x, y, equal: true, xlabel: "y₁", ylabel: "y₂" });
    paper.dots("data", data, "data wide");
    drawParticles(paper, paths, here, there);
    const head = `${effort(paths[0], settings)} for each particle.`;
    const stopped = [...paths, ...exact].find((path) => path.stopped)?.stopped;
    const miss = here.reduce((sum, y, i) => sum + distance(y, there[i]), 0) / here.length;
    const { nfe, accepted: steps } = paths[0];
    const set = {
      source: get("source"),
      snapshot: Number(get("snapshot")),
      method,
      h: step_size,
      t,
    };
    figure.tell({ ...set, nfe, steps, error: stopped ? NaN : miss });
    if (stopped) return `${head} A particle stopped at t = ${short(stopped.t)}: ${stopped.why}.`;
    return `${head} At t = ${short(t)} they are ${short(miss)} from the exact flow on average.`;
  }

  return figure.close;
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  const [t0, t1] = model.get("span");
  /** @type {string[]} */
  const snapshots = model.get("snapshots");
  /** @type {Choice[]} */
  const fields = snapshots.map((label, i) => [String(i), label]);
  if (fields.length > 1) choice(figure, model, "snapshot", "Field", fields);
  choice(figure, model, "source", "Start from", [
    ["noise", "noise"],
    ["data", "data"],
  ]);
  choice(figure, model, "method", "Method", FIXED);
  const longest = t1 - t0;
  const sizes = { min: longest / 10, max: longest, log: true, key: "h" };
  slider(figure, model, "step_size", "Step size h", sizes);
  plays(figure, slider(figure, model, "moment", "Time t", { min: t0, max: t1, key: "t" }));
  legend(figure, [
    ["ours", "particles, steps of some"],
    ["exact", "to where the exact flow has them"],
    ["data wide", "data"],
  ]);
}

/**
 * @param {Plot} paper
 * @param {Path[]} paths
 * @param {Vector[]} here where the particles are
 * @param {Vector[]} there where the exact flow has them
 */
function drawParticles(paper, paths, here, there) {
  const steps = paths.slice(0, TRACED).flatMap(({ ys }) => [...ys, GAP]);
  const gaps = here.flatMap((y, i) => [y, there[i], GAP]);
  paper.line("steps", steps, "ours hair");
  paper.line("gaps", gaps, "exact thin");
  const known = here.filter(([u]) => !Number.isNaN(u));
  paper.dots("here", known, "ours");
}

export default { render };
