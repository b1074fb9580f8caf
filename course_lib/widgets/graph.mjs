// GraphExplorer: heat, or a learnt flow, on a graph, and what is left of the differences.
import { button } from "./page/bar.mjs";
import {
  choice,
  element,
  fill,
  frame,
  legend,
  memo,
  put,
  shape,
  short,
  slider,
} from "./page/frame.mjs";
import { pixel } from "./page/handle.mjs";
import { plays } from "./page/play.mjs";
import { GAP, Plot } from "./page/plot.mjs";
import { rkStep, solve } from "./page/rk.mjs";
import { solverControls } from "./page/solver_controls.mjs";
import { METHODS } from "./page/tables.mjs";
import { decode } from "./page/wire.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure, Memo } from "./page/frame.mjs" */
/** @import { Field, Settings, Stop, Vector } from "./page/rk.mjs" */

/**
 * A graph: neighbours of each node, edges, places, labels, and the second and the largest
 * eigenvalue of its Laplacian.
 * @typedef {{ near: number[][], edges: number[][], places: Vector[], labels: number[],
 *   ends: [second: number, largest: number] }} Net
 */
/**
 * A flow on a graph: its field, its start from a number for each node, and the number that
 * is read off each node.
 * @typedef {{ f: Field, begin: (x: number[]) => Vector, read: (y: Vector) => Vector }} Flow
 */
/**
 * @typedef {{ ts: number[], values: Vector[], energy: number[], stopped: Stop | null }} Shown
 */

const END = 8;
/** @type {[low: number, high: number]} */
const HEIGHTS = [1e-8, 1e4];

/**
 * @param {(name: string) => any} get
 * @returns {Net}
 */
export function netOf(get) {
  const at = get("names").indexOf(get("graph"));
  const [edges, places, labels, ends] = ["edges", "places", "labels", "ends"].map(
    (name) => get(name)[at],
  );
  /** @type {number[][]} */
  const near = labels.map(() => []);
  for (const [i, j] of edges) {
    near[i].push(j);
    near[j].push(i);
  }
  return { near, edges, places, labels, ends };
}

/**
 * x' = -L x.
 * @param {Net} net
 * @returns {Flow}
 */
export function heat({ near }) {
  const f = (/** @type {number} */ _, /** @type {Vector} */ x) =>
    near.map((js, i) => {
      let sum = 0;
      for (const j of js) sum += x[j] - x[i];
      return sum;
    });
  return { f, begin: (x) => x, read: (y) => y };
}

/**
 * The field tanh(P X W + X U) - X of a GraphField, P being the mean of a node and its
 * neighbours, between an encoder and a decoder.
 * @param {Net} net
 * @param {string} weights
 * @returns {Flow}
 */
export function learnt({ near }, weights) {
  const flat = new Float64Array(new Float32Array(decode(weights)));
  const w = Math.floor(Math.sqrt(flat.length / 2));
  const [into, heard, own, out] = [0, w, w + w * w, w + 2 * w * w].map((a) => flat.subarray(a));
  const mean = new Float64Array(w);
  /** @type {Field} */
  const f = (_, x) => {
    const slope = new Array(x.length);
    near.forEach((js, i) => {
      for (let k = 0; k < w; k++) {
        let sum = x[i * w + k];
        for (const j of js) sum += x[j * w + k];
        mean[k] = sum / (js.length + 1);
      }
      for (let k = 0; k < w; k++) {
        let sum = 0;
        for (let l = 0; l < w; l++)
          sum += heard[k * w + l] * mean[l] + own[k * w + l] * x[i * w + l];
        slope[i * w + k] = Math.tanh(sum) - x[i * w + k];
      }
    });
    return slope;
  };
  const begin = (/** @type {number[]} */ x) =>
    x.flatMap((v) => Array.from(into.subarray(0, w), (e) => e * v));
  const read = (/** @type {Vector} */ y) =>
    near.map((_, i) => {
      let sum = 0;
      for (let k = 0; k < w; k++) sum += out[k] * y[i * w + k];
      return sum;
    });
  return { f, begin, read };
}

/**
 * 1 where a node is warm, -1 where it is cold, else 0.
 * @param {number} n
 * @param {number[]} warm
 * @param {number[]} cold
 */
export function startOf(n, warm, cold) {
  const x = new Array(n).fill(0);
  for (const i of warm) if (i in x) x[i] = 1;
  for (const i of cold) if (i in x) x[i] = -1;
  return x;
}

/**
 * ½ Σ a_ij (v_i - v_j)².
 * @param {Net} net
 * @param {Vector} v
 */
export function energyOf({ edges }, v) {
  let sum = 0;
  for (const [i, j] of edges) sum += (v[i] - v[j]) ** 2;
  return sum;
}

/**
 * A flow from a start to a moment, at the ends of its steps.
 * @param {Net} net
 * @param {Flow} flow
 * @param {number[]} x
 * @param {number} t
 * @param {Settings} settings
 * @returns {Shown}
 */
export function shownBy(net, { f, begin, read }, x, t, settings) {
  const { ts, ys, stopped } = solve(f, begin(x), [0, t], settings);
  const values = ys.map(read);
  return { ts, values, energy: values.map((v) => energyOf(net, v)), stopped };
}

/**
 * By what a step multiplies the fastest mode of heat.
 * @param {string} method
 * @param {number} h
 * @param {number} largest eigenvalue
 */
export const factorOf = (method, h, largest) =>
  rkStep((_, [y]) => [-largest * y], 0, [1], h, METHODS[method])[0][0];

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "Warm and cold, from neighbour to neighbour", draw });
  const { settings, node } = addControls(figure, model);
  const plot = new Plot(figure, { title: "The graph, its nodes coloured", height: 320 });
  const over = new Plot(figure, { title: "The smoothing energy over time", height: 320 });
  plot.svg.querySelector(".live-axes")?.remove();
  const paint = painter(plot, model, () => net);
  /** @type {Memo<Net>} */
  const nets = memo();
  let net = netOf(get);

  function draw() {
    net = nets(get("graph"), () => netOf(get));
    const flow = get("kind") === "heat" ? heat(net) : learnt(net, get("weights"));
    const last = net.labels.length - 1;
    node.input.max = String(last);
    if (get("node") > last) put(model, "node", last); // that of a larger graph
    const x = startOf(net.labels.length, get("warm"), get("cold"));
    const how = settings();
    const shown = shownBy(net, flow, x, get("t"), how);
    const now = shown.values[shown.values.length - 1];
    drawGraph(plot, net);
    paint(now, x);
    drawEnergy(over, net, get("kind"), shown);
    const facts = factsNow(get, net, x, how, shown);
    figure.tell(facts);
    return report(facts, net, how, shown);
  }

  return figure.close;
}

/**
 * @param {Plot} plot
 * @param {Net} net
 */
function drawGraph(plot, { edges, places }) {
  plot.set({ x: [-1.1, 1.1], y: [-1.1, 1.1], equal: true, xlabel: "", ylabel: "" });
  const lines = edges.flatMap(([i, j]) => [places[i], places[j], GAP]);
  plot.line("edges", lines, "faint hair");
}

/**
 * @param {Plot} over
 * @param {Net} net
 * @param {string} kind
 * @param {Shown} shown
 */
function drawEnergy(over, { ends }, kind, { ts, energy }) {
  const [y, x] = [HEIGHTS, /** @type {[number, number]} */ ([0, END])];
  over.set({ x, y, ylog: true, xlabel: "time t", ylabel: "smoothing energy" });
  const bound = x.map((t) => [t, energy[0] * Math.exp(-2 * ends[0] * t)]);
  over.line("bound", kind === "heat" && energy[0] ? bound : [], "exact dashed");
  const points = energy.map((e, i) => [ts[i], e || NaN]);
  over.line("ours", points, "ours");
  over.dots("now", points.slice(-1), "ours large");
}

/**
 * The nodes: circles for the first label, squares for the others; the colour is that of the
 * sign, and as strong as the number is beside the largest. A hand that goes over nodes
 * makes them what it made the first: from nothing warm, from warm cold, from cold nothing.
 * @param {Plot} plot
 * @param {AnyModel} model
 * @param {() => Net} net
 */
function painter(plot, model, net) {
  /** @type {SVGElement[]} */
  let marks = [];
  let drawn = "";
  /** @type {number | null} */
  let brush = null;
  const at = (/** @type {PointerEvent} */ event) => marks.indexOf(under(event));
  plot.above.addEventListener("pointerdown", (event) => {
    const i = at(event);
    if (i < 0) return;
    event.preventDefault();
    const old = startOf(marks.length, model.get("warm"), model.get("cold"))[i];
    brush = old === 0 ? 1 : old === 1 ? -1 : 0;
    plot.above.setPointerCapture(event.pointerId);
    give(model, i, brush);
    put(model, "node", i);
  });
  plot.above.addEventListener("touchstart", (e) => e.preventDefault(), { passive: false });
  plot.above.addEventListener("pointermove", (event) => {
    const i = brush === null ? -1 : at(event);
    if (i >= 0) give(model, i, /** @type {number} */ (brush));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    plot.above.addEventListener(end, () => {
      brush = null;
    });
  }
  return (/** @type {Vector} */ now, /** @type {number[]} */ given) => {
    const { labels, places } = net();
    if (model.get("graph") !== drawn) {
      marks = labels.map(markOf);
      plot.above.replaceChildren(...marks);
      drawn = model.get("graph");
    }
    const most = Math.max(...now.map(Math.abs)) || 1;
    marks.forEach((mark, i) => {
      const [px, py] = [plot.x(places[i][0]), plot.y(places[i][1])].map(pixel);
      fill(mark, { transform: `translate(${px} ${py})` });
      // No style attribute: a page that stands alone forbids it.
      const chosen = i === model.get("node");
      Object.assign(mark.style, styleOf(now[i] / most, Boolean(given[i]), chosen));
    });
  };
}

/**
 * @param {number} label
 * @param {number} i
 */
function markOf(label, i) {
  const round = shape("circle", { r: 8 });
  const mark = label ? shape("rect", { x: -7, y: -7, width: 14, height: 14 }) : round;
  mark.append(shape("title", {}, `node ${i}`));
  return mark;
}

/**
 * @param {number} share of the largest number, with its sign
 * @param {boolean} given
 * @param {boolean} chosen
 */
function styleOf(share, given, chosen) {
  const color = share < 0 ? "var(--exact)" : "var(--ours)";
  const ink = Math.round(100 * Math.abs(share));
  return {
    cursor: "pointer",
    stroke: "currentColor",
    strokeWidth: given ? "3" : "1",
    strokeDasharray: chosen ? "3 2" : "none",
    fill: `color-mix(in srgb, ${color} ${ink}%, var(--paper))`,
  };
}

/**
 * The mark of a node under a pointer, also where the plot has captured it.
 * @param {PointerEvent} event
 */
const under = ({ clientX, clientY }) =>
  /** @type {SVGElement} */ (document.elementFromPoint(clientX, clientY));

/**
 * Make a node warm (1), cold (-1) or neither.
 * @param {AnyModel} model
 * @param {number} node
 * @param {number} value
 */
function give(model, node, value) {
  ["warm", "cold"].forEach((name, k) => {
    const others = model.get(name).filter((/** @type {number} */ i) => i !== node);
    const all = value === 1 - 2 * k ? [...others, node].sort((a, b) => a - b) : others;
    if (all.join() !== model.get(name).join()) put(model, name, all);
  });
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function addControls(figure, model) {
  const names = model.get("names");
  choice(
    figure,
    model,
    "graph",
    "Graph",
    names.map((/** @type {string} */ n) => [n, n]),
  );
  choice(figure, model, "kind", "Flow", [
    ["heat", "heat"],
    ["learnt", "learnt"],
  ]);
  const settings = solverControls(figure, model);
  plays(figure, slider(figure, model, "t", "Time t", { min: 0.02, max: END, step: 0.01 }));
  const last = Math.max(...model.get("labels").map((/** @type {number[]} */ l) => l.length)) - 1;
  const node = slider(figure, model, "node", "Node", { min: 0, max: last, step: 1 });
  givers(figure, model);
  for (const name of ["warm", "cold"]) figure.settings.push(nodesIn(model, name, last));
  legend(figure, [
    ["ours wide", "above 0"],
    ["exact wide", "below 0; strongest where it is largest"],
    ["exact dashed", "heat falls at least this fast"],
  ]);
  return { settings, node };
}

/**
 * Buttons that warm and cool the chosen node: what a hand does, by keyboard.
 * @param {Figure} figure
 * @param {AnyModel} model
 */
function givers(figure, model) {
  const buttons = [
    ["Warm", 1],
    ["Cold", -1],
    ["Neither", 0],
  ].map(([text, value]) =>
    button(String(text), () => give(model, model.get("node"), Number(value))),
  );
  const group = element(
    "span",
    { role: "group", "aria-label": "The node at the start" },
    ...buttons,
  );
  Object.assign(group.style, { display: "flex", gap: "0.4em" });
  const row = element("div", {}, element("span", {}, "It starts"), group);
  Object.assign(row.style, {
    display: "grid",
    gridTemplateColumns: "7em 1fr",
    gap: "0.5em",
    alignItems: "center",
  });
  figure.controls.append(row);
}

/**
 * Nodes in the address: 0-5-33.
 * @param {AnyModel} model
 * @param {string} name of the trait
 * @param {number} last
 */
function nodesIn(model, name, last) {
  const get = () => model.get(name).join("-");
  const list = (/** @type {string} */ text) => (text ? text.split("-").map(Number) : []);
  return {
    key: name,
    start: get(),
    get,
    set: (/** @type {string} */ text) => put(model, name, list(text)),
    parse: (/** @type {string} */ text) =>
      /^(\d+(-\d+)*)?$/.test(text) && list(text).every((i) => i <= last) ? text : undefined,
  };
}

/**
 * The longest step there is until t, if steps are equal.
 * @param {{ step_size?: number }} settings
 * @param {number} t
 */
const stepOf = ({ step_size }, t) => step_size && Math.min(step_size, t);

/**
 * What checks may ask; a flow that stopped has no numbers.
 * @param {(name: string) => any} get
 * @param {Net} net
 * @param {number[]} x
 * @param {Settings} how
 * @param {Shown} shown
 */
function factsNow(get, { labels, ends }, x, how, { values, energy, stopped }) {
  const now = values[values.length - 1];
  const [graph, kind, method, t] = ["graph", "kind", "method", "t"].map(get);
  const sides = new Set(labels).size > 1;
  const h = kind === "heat" && stepOf(how, t);
  const grows = h && Math.abs(factorOf(method, h, ends[1])) > 1;
  const right = now.filter((v, i) => (labels[i] ? v < 0 : v > 0)).length;
  const last = energy[energy.length - 1];
  return {
    ...{ graph, kind, method, t, h: how.step_size },
    limit: 2 / ends[1],
    given: x.filter(Boolean).length,
    right: sides && !stopped && !grows ? right : undefined,
    energy: stopped ? undefined : last,
    left: stopped || !energy[0] ? undefined : last / energy[0],
    largest: stopped ? undefined : Math.max(...now.map(Math.abs)),
  };
}

/**
 * @param {ReturnType<typeof factsNow>} facts
 * @param {Net} net
 * @param {Settings} how
 * @param {Shown} shown
 */
function report(facts, { labels, ends }, { method, step_size }, { ts, stopped }) {
  const size = step_size ? `, h = ${short(step_size)}` : "";
  const head = `${METHODS[method].label}${size}: ${ts.length - 1} steps.`;
  if (!facts.given) return `${head} Nothing flows: no node is warm or cold. Choose one.`;
  const words = [head];
  const h = facts.kind === "heat" && stepOf({ step_size }, facts.t);
  if (h) {
    const factor = factorOf(method, h, ends[1]);
    const grows = Math.abs(factor) > 1 ? "it grows: this step is too long" : "it fades";
    words.push(`A step multiplies the fastest mode by ${short(factor)}; ${grows}.`);
  }
  if (stopped) return `${words.join(" ")} It stopped at t = ${short(stopped.t)}: ${stopped.why}.`;
  words.push(
    `At t = ${short(facts.t)} the largest number is ${short(facts.largest ?? 0)} in size, ` +
      `the smoothing energy ${short(facts.energy ?? 0)}.`,
  );
  if (facts.right !== undefined) {
    words.push(`${facts.right} of ${labels.length} nodes are on the side of their shape.`);
  }
  return words.join(" ");
}

export default { render };
