// DensityFlowExplorer: particles along a trained field, from noise to data and back.
import { FIXED, MAX_STEPS, METHODS } from "./page/tables.mjs";
import { decode, distance, memo, networkField, rkStep, sample, solve } from "./page/rk.mjs";
import { GAP, choice, frame, legend, plot, short, slider } from "./page/plot.mjs";

const TIGHT = { method: "dopri5", rtol: 1e-6, atol: 1e-6 };
const TRACED = 24; // particles whose steps are drawn

// The particles' starts, as points.
export function points(text) {
  const flat = [...decode(text)];
  return flat.flatMap((u, i) => (i % 2 ? [[flat[i - 1], u]] : []));
}

// One solve for every particle, and where all of them are at time t: the step that leads
// past t, taken only so far. No DOM.
export const carry = (f, starts, span, settings) => starts.map((y) => solve(f, y, span, settings));
export const positions = (f, paths, t, { method }) =>
  paths.map(({ steps, stopped }) => {
    if (stopped) return GAP;
    const step = steps.findLast((s) => (t - s.t) * s.h >= 0);
    return rkStep(f, step.t, step.y, t - step.t, METHODS[method], step.stages[0])[0];
  });

function render({ model, el }) {
  const get = (name) => model.get(name);
  const [t0, t1] = get("span");
  const [noise, data] = get("particles").map(points);
  const [x, y] = get("window");
  const [network, exactly, roughly] = [memo(), memo(), memo()];
  const figure = frame(el, model, { title: "Particles along a trained field", draw });
  const stages = get("stages").map((label, i) => [i, label]);
  if (stages[1]) choice(figure, model, "stage", "Field", stages);
  choice(figure, model, "source", "Start from", [["noise", "noise"], ["data", "data"]]);
  choice(figure, model, "method", "Method", FIXED);
  const max = t1 - t0;
  slider(figure, model, "step_size", "Step size h", { min: max / 10, max, log: true });
  slider(figure, model, "moment", "Time t", { min: t0, max: t1 });
  legend(figure, [
    ["ours", "particles, steps of some"],
    ["exact", "to where the exact flow has them"],
    ["data wide", "data"],
  ]);
  const paper = plot(figure, { title: "The particles at one time", height: 400 });

  // Solve anew only what the controls have changed; the time alone changes little.
  function draw() {
    const [source, method, t] = ["source", "method", "moment"].map(get);
    const [starts, way] = source === "noise" ? [noise, [t0, t1]] : [data, [t1, t0]];
    const maxSteps = Math.ceil(MAX_STEPS / starts.length);
    const ours = { method, stepSize: get("step_size"), maxSteps };
    const key = source + get("weights")[get("stage")];
    const f = network(key, () => networkField(get));
    const exact = exactly(key, () => carry(f, starts, way, TIGHT));
    const paths = roughly(JSON.stringify(ours) + key, () => carry(f, starts, way, ours));
    const here = positions(f, paths, t, ours);
    const there = exact.map((path) => sample(path, [t], TIGHT.method)[0]);
    paper.set({ x, y, equal: true, xlabel: "y₁", ylabel: "y₂" });
    paper.dots("data", data, "data wide");
    paper.line("steps", paths.slice(0, TRACED).flatMap(({ ys }) => [...ys, GAP]), "ours hair");
    paper.line("gaps", here.flatMap((y, i) => [y, there[i], GAP]), "exact thin");
    paper.dots("here", here.filter(([u]) => !Number.isNaN(u)), "ours");
    const [{ accepted, nfe }] = paths;
    const head =
      `${METHODS[method].label}, h = ${short(ours.stepSize)}: ${accepted} steps, ` +
      `${nfe} evaluations of f for each particle.`;
    const { stopped } = [...paths, ...exact].find((path) => path.stopped) ?? {};
    if (stopped) return `${head} A particle stopped at t = ${short(stopped.t)}: ${stopped.why}.`;
    const miss = here.reduce((sum, y, i) => sum + distance(y, there[i]), 0) / here.length;
    return `${head} At t = ${short(t)} they are ${short(miss)} from the exact flow on average.`;
  }

  return figure.close;
}

export default { render };
