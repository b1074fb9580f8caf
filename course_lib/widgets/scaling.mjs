// ScalingExplorer: where the time of a training step goes that processes share.
import { choice, frame, legend, short, slider } from "./page/frame.mjs";
import { Plot } from "./page/plot.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure, Lens } from "./page/frame.mjs" */
/** @import { Vector } from "./page/rk.mjs" */

/**
 * Seconds of a step that are fixed and that a row takes, bytes of the gradient, seconds of
 * an empty message, bytes a second.
 * @typedef {{ fixed: number, row: number, size: number, latency: number, bandwidth: number }} Cost
 * @typedef {{ cost: Cost, batch: number, each: boolean }} Order
 */

const MOST = 1024;
const PARTS = ["rival thin", "faint", "data thin"];

/**
 * Seconds of a step for the rows of the largest part, for what is not split, and for the
 * messages, as `StepCost.parts` has them.
 * @param {Order} order
 * @param {number} processes
 * @returns {[rows: number, fixed: number, messages: number]}
 */
export function parts({ cost, batch, each }, processes) {
  const { fixed, row, size, latency, bandwidth } = cost;
  const rows = each ? batch : Math.ceil(batch / processes);
  const messages = 2 * (processes - 1) * (latency + size / processes / bandwidth);
  return [row * rows, fixed, messages];
}

/**
 * Seconds of a step.
 * @param {Order} order
 * @param {number} processes
 */
export const seconds = (order, processes) => parts(order, processes).reduce((a, b) => a + b);

/**
 * Rows a second over those of one process.
 * @param {Order} order
 * @param {number} processes
 */
export const speedUp = (order, processes) =>
  ((order.each ? processes : 1) * seconds(order, 1)) / seconds(order, processes);

/**
 * The fewest processes, with a row each at least, that reach the largest speed-up.
 * @param {Order} order
 */
export function best(order) {
  const useful = order.each ? MOST : Math.min(MOST, order.batch);
  let found = 1;
  let most = 1;
  for (let n = 2; n <= useful; n++) {
    const gain = speedUp(order, n);
    if (gain > most) [found, most] = [n, gain];
  }
  return found;
}

/** Numbers of processes that a curve is drawn through: all few, and then ever fewer. */
export const COUNTS = Array.from({ length: 161 }, (_, i) => Math.round(MOST ** (i / 160))).filter(
  (n, i, all) => n !== all[i - 1],
);

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "Where the time of a shared step goes", draw });
  addControls(figure, model);
  const time = new Plot(figure, { title: "Milliseconds of a step by the number of processes" });
  const gain = new Plot(figure, { title: "The speed-up by the number of processes" });

  function draw() {
    const order = ordered(get);
    const processes = get("processes");
    const top = best(order);
    drawTime(time, order, processes);
    drawGain(gain, order, processes, top);
    const now = stateOf(order, processes, top);
    const [network, share, batch] = ["network", "share", "batch"].map(get);
    const [bandwidth, faster, unsplit] = ["bandwidth", "faster", "unsplit"].map(get);
    figure.tell({ network, share, batch, processes, bandwidth, faster, unsplit, ...now });
    return report(order, processes, now);
  }

  return figure.close;
}

/**
 * What the traits ask for.
 * @param {(name: string) => any} get
 * @returns {Order}
 */
export function ordered(get) {
  const [fixed, row, size, latency] = get("costs")[get("names").indexOf(get("network"))];
  const bandwidth = get("bandwidth");
  const measured = { fixed: fixed * get("unsplit"), row: row / get("faster"), size };
  const cost = { ...measured, latency, bandwidth };
  return { cost, batch: get("batch"), each: get("share") === "each" };
}

/**
 * @param {Plot} plot
 * @param {Order} order
 * @param {number} processes
 */
function drawTime(plot, order, processes) {
  const ms = (/** @type {(n: number) => number} */ f) => COUNTS.map((n) => [n, 1e3 * f(n)]);
  const whole = ms((n) => seconds(order, n));
  const high = Math.max(...whole.map(([, y]) => y));
  const low = Math.min(...whole.map(([, y]) => y)) / 30;
  plot.set({
    x: [1, MOST],
    y: [low, 1.3 * high],
    xlog: true,
    ylog: true,
    xlabel: "processes",
    ylabel: "ms a step",
  });
  PARTS.forEach((style, i) => {
    const line = ms((n) => parts(order, n)[i]).filter(([, y]) => y > 0);
    plot.line(style, line, style);
  });
  plot.line("ours", whole, "ours");
  plot.dots("now", [[processes, 1e3 * seconds(order, processes)]], "ours");
}

/**
 * @param {Plot} plot
 * @param {Order} order
 * @param {number} processes
 * @param {number} top
 */
function drawGain(plot, order, processes, top) {
  const points = COUNTS.map((n) => [n, speedUp(order, n)]);
  const low = Math.min(0.5, ...points.map(([, y]) => y));
  plot.set({
    x: [1, MOST],
    y: [low, MOST],
    xlog: true,
    ylog: true,
    xlabel: "processes",
    ylabel: "times as fast as one",
  });
  /** @type {Vector[]} */
  const ideal = [
    [1, 1],
    [MOST, MOST],
  ];
  plot.line("ideal", ideal, "exact dashed");
  plot.line("ours", points, "ours");
  plot.dots("best", [[top, speedUp(order, top)]], "exact");
  plot.dots("now", [[processes, speedUp(order, processes)]], "ours");
}

/**
 * Powers of two, by their exponents.
 * @type {Lens}
 */
const power = { get: (x) => Math.log2(x), set: (_, x) => 2 ** x };

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  const times = (/** @type {number} */ x) => `× ${short(x)}`;
  const rate = (/** @type {number} */ x) => `${short(x / 1e9)} GB/s`;
  const names = model.get("names").map((/** @type {string} */ name) => [name, name]);
  choice(figure, model, "network", "Network", names);
  choice(figure, model, "share", "Batch", [
    ["one", "one, shared by all"],
    ["each", "one for each"],
  ]);
  const format = (/** @type {number} */ x) => String(2 ** x);
  const powers = { min: 0, step: 1, lens: power, format };
  slider(figure, model, "batch", "Rows of a batch", { ...powers, max: 16, key: "log2batch" });
  slider(figure, model, "processes", "Processes", { ...powers, max: 10, key: "log2processes" });
  slider(figure, model, "bandwidth", "Bandwidth", {
    min: 1e6,
    max: 1e12,
    log: true,
    format: rate,
  });
  slider(figure, model, "faster", "Device faster", {
    min: 1,
    max: 1e4,
    log: true,
    format: times,
  });
  slider(figure, model, "unsplit", "Part not split", {
    min: 0.01,
    max: 10,
    log: true,
    format: times,
  });
  legend(figure, [
    ["ours", "whole step, speed-up"],
    [PARTS[0], "rows"],
    [PARTS[1], "not split"],
    [PARTS[2], "messages"],
    ["exact dashed", "ideal; dot: the most there is"],
  ]);
}

/**
 * What checks may ask besides the settings.
 * @param {Order} order
 * @param {number} processes
 * @param {number} top
 */
export function stateOf(order, processes, top) {
  const time = seconds(order, processes);
  const speedup = speedUp(order, processes);
  return {
    ms: 1e3 * time,
    talk: parts(order, processes)[2] / time,
    speedup,
    efficiency: speedup / processes,
    best: top,
    most: speedUp(order, top),
  };
}

/**
 * @param {Order} order
 * @param {number} processes
 * @param {ReturnType<typeof stateOf>} now
 */
function report(order, processes, { ms, speedup, efficiency, best: top, most }) {
  const [rows, fixed, messages] = parts(order, processes).map((x) => short(1e3 * x));
  const who = processes === 1 ? "1 process" : `${processes} processes`;
  const idle = !order.each && processes > order.batch;
  return (
    `${who}: ${short(ms)} ms a step, of which rows ${rows}, not split ${fixed}, messages ` +
    `${messages}. ${short(speedup)} times as fast as one, ${Math.round(100 * efficiency)}% of ` +
    `what is ideal.${idle ? " There are fewer rows than processes: some have nothing to do." : ""}` +
    ` The most is ${short(most)} times, with ${top}.`
  );
}

export default { render };
