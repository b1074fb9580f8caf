// HorizonExplorer: the misfit of a spring's frequency, while the horizon grows.
import { clamp, frame, legend, put, short, slider } from "./page/frame.mjs";
import { handle } from "./page/handle.mjs";
import { plays } from "./page/play.mjs";
import { GAP, Plot } from "./page/plot.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure } from "./page/frame.mjs" */
/** @import { Range } from "./page/plot.mjs" */
/** @import { Vector } from "./page/rk.mjs" */

/**
 * Readings every quarter of a time unit: place, velocity; and the first reading of every
 * window, with the last reading of all behind them.
 * @typedef {{ y: number[], v: number[], edges: number[] }} Seen
 * @typedef {{ horizon: number, windows: number, noise: number, draws: number[] }} Task
 * @typedef {{ losses: number[], minima: number, deepest: number, basin: Range }} Ground
 */

const EVERY = 0.25; // from a reading to the next
const [LOW, HIGH, CELLS] = [0.4, 3, 520]; // frequencies that are tried
const STEPS = 60; // of gradient descent
const FINE = 4; // points of the model's curve from a reading to the next
const TOP = 2.5; // of the misfit's axis

/** @param {number} i */
const omegaAt = (i) => LOW + ((HIGH - LOW) / CELLS) * i;

/**
 * What is read of a spring with the frequency 1.
 * @param {Task} task
 * @returns {Seen}
 */
export function readings({ horizon, windows, noise, draws }) {
  const n = Math.floor(horizon / EVERY + 0.5);
  const at = Array.from({ length: n + 1 }, (_, i) => i);
  return {
    y: at.map((i) => Math.cos(EVERY * i) + noise * draws[2 * i]),
    v: at.map((i) => -Math.sin(EVERY * i) + noise * draws[2 * i + 1]),
    edges: Array.from({ length: windows + 1 }, (_, k) =>
      Math.floor((2 * k * n + windows) / (2 * windows)),
    ),
  };
}

/**
 * The mean square misfit of a frequency, and its slope.
 * @param {Seen} seen
 * @param {number} omega
 * @returns {[loss: number, slope: number]}
 */
export function misfit({ y, v, edges }, omega) {
  // From a reading to the next the angle ωs grows by as much every time.
  const [c1, s1] = [Math.cos(omega * EVERY), Math.sin(omega * EVERY)];
  let [loss, slope] = [0, 0];
  for (let k = 0; k + 1 < edges.length; k++) {
    const first = edges[k];
    const [place, speed] = [y[first], v[first] / omega];
    let [c, s] = [1, 0];
    for (let i = first + 1; i <= edges[k + 1]; i++) {
      [c, s] = [c * c1 - s * s1, s * c1 + c * s1];
      const off = place * c + speed * s - y[i];
      const time = EVERY * (i - first);
      loss += off * off;
      slope += 2 * off * (time * (speed * c - place * s) - (speed * s) / omega);
    }
  }
  const n = y.length - 1;
  return [loss / n, slope / n];
}

/**
 * The misfit of every frequency, and its valleys.
 * @param {Seen} seen
 * @returns {Ground}
 */
export function ground(seen) {
  const losses = Array.from({ length: CELLS + 1 }, (_, i) => misfit(seen, omegaAt(i))[0]);
  let [minima, deepest] = [0, 0];
  for (let i = 0; i <= CELLS; i++) {
    if (losses[i] < losses[i - 1] && losses[i] < losses[i + 1]) minima++;
    if (losses[i] < losses[deepest]) deepest = i;
  }
  let [low, high] = [deepest, deepest];
  while (losses[low - 1] > losses[low]) low--;
  while (losses[high + 1] > losses[high]) high++;
  return { losses, minima, deepest: omegaAt(deepest), basin: [omegaAt(low), omegaAt(high)] };
}

/**
 * The frequencies that gradient descent goes through.
 * @param {Seen} seen
 * @param {number} start
 */
export function descent(seen, start) {
  const gaps = seen.edges.slice(1).map((edge, k) => edge - seen.edges[k]);
  const longest = EVERY * Math.max(...gaps);
  const path = [start];
  for (let i = 0; i < STEPS; i++) {
    path.push(clamp(path[i] - misfit(seen, path[i])[1] / longest ** 2, LOW, HIGH));
  }
  return path;
}

/**
 * The model's places over time, window by window.
 * @param {Seen} seen
 * @param {number} omega
 * @returns {Vector[]}
 */
export function curve({ y, v, edges }, omega) {
  return edges.slice(0, -1).flatMap((first, k) => {
    const n = FINE * (edges[k + 1] - first);
    const part = Array.from({ length: n + 1 }, (_, i) => {
      const s = (i * EVERY) / FINE;
      return [
        EVERY * first + s,
        y[first] * Math.cos(omega * s) + (v[first] * Math.sin(omega * s)) / omega,
      ];
    });
    return k ? [GAP, ...part] : part;
  });
}

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "The misfit of a frequency", draw });
  addControls(figure, model);
  const land = new Plot(figure, { title: "The misfit of every frequency" });
  const over = new Plot(figure, { title: "Readings and model over time" });
  let level = 0;
  const place = handle(land, "rival", {
    at: () => [get("start"), Math.min(TOP, level)],
    move: (omega) => put(model, "start", clamp(omega, LOW, HIGH)),
  });

  function draw() {
    const [horizon, windows, noise, draws] = ["horizon", "windows", "noise", "draws"].map(get);
    const seen = readings({ horizon, windows, noise, draws });
    const [all, path] = [ground(seen), descent(seen, get("start"))];
    const walked = path.slice(0, get("steps") + 1);
    level = misfit(seen, path[0])[0];
    drawLand(land, seen, all, walked);
    drawOver(over, seen, walked[walked.length - 1]);
    place();
    const end = path[STEPS];
    figure.tell({
      ...{ horizon, windows, noise, start: path[0], end, off: Math.abs(end - 1) },
      ...{ minima: all.minima, basin: all.basin[1] - all.basin[0] },
    });
    return report({ horizon, windows, noise, draws }, all, walked, end);
  }

  return figure.close;
}

/**
 * @param {Plot} land
 * @param {Seen} seen
 * @param {Ground} ground
 * @param {number[]} walked
 */
function drawLand(land, seen, { losses, basin }, walked) {
  land.set({ x: [LOW, HIGH], y: [0, TOP], xlabel: "frequency ω", ylabel: "misfit" });
  land.line(
    "truth",
    [0, TOP].map((l) => [1, l]),
    "exact dashed",
  );
  land.line(
    "basin",
    basin.map((omega) => [omega, 0]),
    "exact wide",
  );
  land.line(
    "loss",
    losses.map((l, i) => [omegaAt(i), l]),
    "faint",
  );
  const steps = walked.map((omega) => [omega, misfit(seen, omega)[0]]);
  land.dots("steps", steps, "ours");
  land.dots("now", steps.slice(-1), "ours wide");
}

/**
 * @param {Plot} over
 * @param {Seen} seen
 * @param {number} omega
 */
function drawOver(over, seen, omega) {
  const { y, edges } = seen;
  const points = y.map((place, i) => [EVERY * i, place]);
  over.set({ x: [0, EVERY * (y.length - 1)], y: [-2, 2], xlabel: "time t", ylabel: "place y" });
  over.line("model", curve(seen, omega), "ours");
  over.dots("seen", points, "data");
  over.dots(
    "starts",
    edges.slice(0, -1).map((i) => points[i]),
    "rival wide",
  );
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  plays(figure, slider(figure, model, "horizon", "Horizon T", { min: 4, max: 40, step: 0.25 }));
  slider(figure, model, "windows", "Windows", {
    ...{ min: 1, max: 8, step: 1 },
    format: (n) => (n === 1 ? "one shot" : String(n)),
  });
  slider(figure, model, "noise", "Noise", { min: 0, max: 0.5, step: 0.01 });
  slider(figure, model, "start", "Start of the descent", { min: LOW, max: HIGH, step: 0.01 });
  plays(figure, slider(figure, model, "steps", "Steps shown", { min: 0, max: STEPS, step: 2 }));
  legend(figure, [
    ["faint", "misfit"],
    ["exact wide", "basin of the deepest valley; dashed: the truth"],
    ["ours", "descent, and the model where it stands"],
    ["data", "readings"],
    ["rival", "start of the descent; starts of the windows"],
  ]);
}

/**
 * What the ground is like, and where the descent ends.
 * @param {Task} task
 * @param {Ground} ground
 * @param {number[]} walked
 * @param {number} end of all steps
 */
function report({ horizon, windows }, { minima, deepest, basin }, walked, end) {
  const cut = windows === 1 ? "one shot" : `${windows} windows`;
  const [low, high] = basin;
  const inside = (end > low || low === LOW) && (end < high || high === HIGH);
  const where = `${inside ? "in" : "outside"} the deepest valley`;
  const atEdge = deepest === LOW || deepest === HIGH;
  const lowest = atEdge ? "The lowest point is at the border" : "The deepest is at";
  const [n, now] = [walked.length - 1, walked[walked.length - 1]];
  const soFar = n < STEPS ? `After ${n} steps from ${short(walked[0])} the descent is at ` : "";
  const after = soFar ? `${soFar}${short(now)}; after` : `From ${short(walked[0])}, after`;
  return (
    `Horizon ${short(horizon)}, ${cut}: ${minima} ${minima === 1 ? "minimum" : "minima"} ` +
    `between ${LOW} and ${HIGH}. ${lowest}${atEdge ? "," : ""} ${short(deepest)}, its basin ` +
    `${short(high - low)} wide. ${after} ${STEPS} steps the descent is at ${short(end)}, ${where}.`
  );
}

export default { render };
