// StepExplorer: a Runge–Kutta step taken apart, moment after moment, attempt after attempt.
import { arrows } from "./page/arrows.mjs";
import {
  choice,
  clamp,
  coordinate,
  element,
  fill,
  frame,
  legend,
  memo,
  put,
  short,
  slider,
} from "./page/frame.mjs";
import { handle } from "./page/handle.mjs";
import { plays } from "./page/play.mjs";
import { Plot } from "./page/plot.mjs";
import { advance, endOf, estimate, factor, norm, reference, solve } from "./page/rk.mjs";
import { solverControls, solverSettings } from "./page/solver_controls.mjs";
import { strokes } from "./page/strokes.mjs";
import { augmented, FIELDS, halves, PLANE } from "./page/systems.mjs";
import { METHODS, SYSTEMS } from "./page/tables.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Control, Figure, Memo } from "./page/frame.mjs" */
/** @import { Axes, Range } from "./page/plot.mjs" */
/** @import { Attempt, Path, Settings, Vector } from "./page/rk.mjs" */
/** @import { Method } from "./page/tables.mjs" */

/**
 * What is done in an attempt at a time, with the number of the stage if it has one.
 * @typedef {{ kind: string, stage: number }} Moment
 * @typedef {{ exact: Path, path: Path }} State the path drawn dark, and what is taken apart
 */
/**
 * Where the reader stands: in an attempt, at a moment.
 * @typedef {Attempt & Moment & Place} Here
 */
/**
 * @typedef {object} Place
 * @property {Path} path
 * @property {Method} method
 * @property {number} index of the attempt
 * @property {Attempt | undefined} before the attempt before it
 * @property {Vector[]} looks where its stages look
 * @property {number} known how many of its stages are
 * @property {(kind: string) => boolean} reached whether it has come to such a moment
 */

const REACH = 3; // how far a coordinate of the start can be pulled

/**
 * What the pictures show: the attempts of a solve, or of the way back; no DOM.
 * @param {(name: string) => any} get
 * @returns {State}
 */
export function stepState(get) {
  const [problem, first_step, max_steps] = ["problem", "first_step", "attempts"].map(get);
  const [f, y0, { span }] = [FIELDS[problem], get("start"), SYSTEMS[problem]];
  const exact = reference(f, y0, span);
  const settings = { ...solverSettings(get), first_step, max_steps };
  if (!get("backward")) return { exact, path: solve(f, y0, span, settings) };
  const z = [...endOf(exact), 1, 0]; // λ of the first component there
  const how = { ...settings, parts: 2 };
  return { exact, path: solve(augmented(problem), z, [span[1], span[0]], how) };
}

/**
 * The moments of an attempt, in order.
 * @param {Method} method
 * @returns {Moment[]}
 */
export const moments = ({ c, b_error }) =>
  [
    ["size", "slope"],
    ...c.slice(1).map(() => ["point", "slope"]),
    b_error ? ["sum", "error", "verdict", "next"] : ["sum", "take"],
  ].flatMap((kinds, stage) => kinds.map((kind) => ({ kind, stage })));

/**
 * Where the reader stands at the n-th moment, or at the last one.
 * @param {Path} path
 * @param {number} n
 * @returns {Here}
 */
export function hereAt(path, n) {
  const { method, attempts } = path;
  const each = moments(method);
  const at = Math.min(n, attempts.length * each.length - 1);
  const index = Math.floor(at / each.length);
  const passed = each.slice(0, 1 + (at % each.length));
  const count = (/** @type {string} */ kind) => passed.filter((one) => one.kind === kind).length;
  const { y, h, stages } = attempts[index];
  return {
    ...attempts[index],
    ...passed[passed.length - 1],
    path,
    method,
    index,
    before: attempts[index - 1],
    looks: method.c.map((_, i) => (i ? advance(y, h, method.a[i - 1], stages) : y)),
    known: count("slope"),
    reached: (kind) => count(kind) > 0,
  };
}

/**
 * The name under which Python has found the lines that do this.
 * @param {Here} here
 */
export function workOf({ method: { b_error, fsal }, index, accepted, kind, stage }) {
  if (kind === "size") return b_error ? (index ? "size" : "first") : "equal";
  if (kind === "slope") return stage ? "slope" : "start";
  if (kind === "sum") return fsal ? "there" : "sum";
  if (kind === "next") return accepted ? "accepted" : "rejected";
  return kind;
}

/** @param {number} v */
const held = (v) => clamp(v, -REACH, REACH);

/** @param {Path} path */
const facts = ({ accepted, rejected, nfe }) => ({ accepted, rejected, nfe });

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "One Runge–Kutta step taken apart", draw });
  const [solver, first, moment] = addControls(figure, model);
  const all = new Plot(figure, { title: "The path and the steps so far", height: 300 });
  const near = new Plot(figure, { title: "The attempt, close up", height: 300 });
  const place = handle(all, "ours", {
    at: () => get("start"),
    move: (...point) => put(model, "start", point.map(held)),
  });
  const [code, rows] = [listing(), element("table", { class: "live-tried" })];
  figure.plots.append(code, rows);
  /** @type {[states: Memo<State>, texts: Memo<void>]} */
  const [states, texts] = [memo(), memo()];

  function draw() {
    const settings = solver();
    first.hide("step_size" in settings);
    const problem = get("problem");
    const key = JSON.stringify([settings, problem, get("start"), get("first_step")]);
    const { exact, path } = states(key, () => stepState(get));
    figure.tell(facts(path));
    const here = hereAt(path, get("moment"));
    stand(moment, here, get("moment"));
    const { window } = SYSTEMS[problem];
    all.set({ x: window[0], y: window[1], equal: true, xlabel: "y₁", ylabel: "y₂" });
    near.set(sheet(here, window));
    for (const paper of [all, near]) ground(paper, problem, exact);
    drawAll(all, here);
    place();
    drawNear(near, here);
    drawRows(rows, here);
    const work = workOf(here);
    const loop = path.method.b_error ? "adaptive" : "fixed";
    texts(loop + work, () => write(code, get("listing")[loop], get("marks")[loop][work]));
    return said(here);
  }

  return figure.close;
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 * @returns {[solver: () => Settings, first: Control, moment: Control]}
 */
function addControls(figure, model) {
  choice(figure, model, "problem", "Problem", PLANE);
  const most = moments(METHODS.dopri5).length; // no method has more stages
  const range = { min: 0, max: model.get("attempts") * most - 1, step: 1 };
  const moment = slider(figure, model, "moment", "Moment", range);
  plays(figure, moment);
  const solver = solverControls(figure, model);
  const first = slider(figure, model, "first_step", "First h", { min: 0.01, max: 2, log: true });
  ["Start y₁", "Start y₂"].forEach((label, d) => {
    const ends = { min: -REACH, max: REACH, step: 0.05, lens: coordinate(d) };
    slider(figure, model, "start", label, ends);
  });
  /** @type {[style: string, meaning: string][]} */
  const entries = [
    ["exact wide", "exact path"],
    ["ours", "stages, slopes and steps"],
    ["data", "second answer"],
    ["rival", "adjoint λ"],
  ];
  legend(figure, entries.slice(0, model.get("backward") ? 4 : 3));
  return [solver, first, moment];
}

/**
 * The slider stands where the reader does: how far it goes depends on the attempts.
 * @param {Control} moment
 * @param {Here} here
 * @param {number} n
 */
function stand({ box, input }, here, n) {
  const words = `${here.index + 1}: ${name(here)}`;
  const max = here.path.attempts.length * moments(here.method).length - 1;
  fill(input, { max, "aria-valuetext": words });
  input.value = String(n);
  /** @type {HTMLElement} */ (box.querySelector("output")).textContent = words;
}

/** @param {number} i */
const low = (i) => "₁₂₃₄₅₆₇"[i];

/** @type {Record<string, string>} */
const NAMES = { size: "h", point: "y", slope: "k", sum: "new y", verdict: "≤ 1?", next: "next h" };

/**
 * A moment, in short.
 * @param {Moment} moment
 */
const name = ({ kind, stage }) =>
  (NAMES[kind] ?? kind) + (kind === "point" || kind === "slope" ? low(stage) : "");

// --- the plane -------------------------------------------------------------------------

/**
 * @param {Plot} paper
 * @param {string} problem
 * @param {Path} exact
 */
function ground(paper, problem, exact) {
  paper.line("field", strokes(paper, FIELDS[problem], false, [0, 0]), "faint hair");
  paper.line("exact", exact.ys, "exact wide");
}

/**
 * @param {Plot} paper
 * @param {Here} here
 */
function drawAll(paper, { path, index, y, yNext, reached }) {
  const before = path.attempts.slice(0, index).filter(({ accepted }) => accepted);
  const ends = [...before.map((one) => one.y), y];
  paper.line("path", reached("sum") ? [...ends, yNext] : ends, "ours thin");
  paper.dots("steps", ends, "ours");
}

/**
 * Axes around all that an attempt comes to.
 * @param {Here} here
 * @param {Range[]} window
 * @returns {Axes}
 */
function sheet({ yNext, looks }, window) {
  const [x, y] = window.map((range, d) => {
    const places = [yNext, ...looks].map((point) => point[d]);
    const [from, to] = [Math.min(...places), Math.max(...places)];
    const air = 0.3 * (to - from) + 1e-3;
    return to - from < 1e3 ? /** @type {Range} */ ([from - air, to + air]) : range;
  });
  return { x, y, equal: true, xlabel: "y₁, close up", ylabel: "y₂" };
}

/**
 * @param {Plot} paper
 * @param {Here} here
 */
function drawNear(paper, here) {
  const { method, kind, h, y, yNext, stages, accepted, looks, known, reached } = here;
  const seen = looks.slice(0, known + Number(kind === "point" || kind === "size"));
  const done = reached("sum");
  const at = done ? yNext : seen[seen.length - 1];
  const style = done && (accepted || !reached("verdict")) ? "ours thin" : "ours thin dashed";
  paper.line("way", [y, at], style);
  const pairs = stages.slice(0, known).map((k, i) => [looks[i], k]);
  paper.line("slopes", arrows(pairs, h / 4), "ours");
  paper.dots("points", seen, "ours");
  paper.dots("ends", done ? [y, yNext] : [y], "ours large");
  const gap = reached("error") ? [advance(yNext, -1, [1], [estimate(here, method)]), yNext] : [];
  paper.line("gap", gap, "data");
  paper.dots("second", gap.slice(0, 1), "data large");
  const lams = y.length > 2 ? [y, at].map(halves) : [];
  const unit = 50 / Math.abs(paper.x(1) - paper.x(0)) / Math.max(...lams.map(([, l]) => norm(l)));
  paper.line("adjoint", arrows(lams, unit), "rival");
}

// --- the attempts, the listing, the words ----------------------------------------------

/** @param {number} x */
const number = (x) => (Number.isFinite(x) ? short(x) : "not finite");

const HEAD = ["attempt", "t", "h", "ratio", "verdict", "next h"];

/**
 * @param {HTMLElement} table
 * @param {Here} here
 */
function drawRows(table, { path, method: { b_error }, index, reached }) {
  const told = ["error", "verdict", "next"].filter(reached).length;
  const so = reached("take") ? 6 : 3 + told;
  const lines = path.attempts.map(({ t, h, ratio, accepted, next }, i) => {
    const judged = [b_error ? number(ratio) : "none", accepted ? "accepted" : "rejected"];
    const then = isEnd(path, i) ? "none" : number(next);
    const cells = [String(i + 1), number(t), number(h), ...judged, then];
    const shown = i < index ? 6 : i > index ? 1 : so;
    return element(
      "tr",
      { "aria-current": i === index ? "step" : "false" },
      ...cells.map((cell, at) => element("td", {}, at < shown ? cell : "")),
    );
  });
  const head = HEAD.map((word) => element("th", {}, word));
  table.replaceChildren(element("tr", {}, ...head), ...lines);
}

/** A place for the source, which scrolls. */
const listing = () =>
  element("pre", { class: "live-code", tabindex: 0, role: "region", "aria-label": "Source" });

/**
 * The lines of a listing, some marked and in view.
 * @param {HTMLElement} code
 * @param {string[]} lines
 * @param {number[]} marked
 */
function write(code, lines, marked) {
  const parts = lines.map((line, i) => (marked.includes(i) ? element("mark", {}, line) : line));
  code.replaceChildren(...parts.flatMap((part) => [part, "\n"]));
  const top = code.querySelector("mark")?.offsetTop ?? 0;
  code.scrollTop = top - code.clientHeight / 2;
}

/**
 * A state, which is (y, λ) on the way back.
 * @param {Vector} z
 */
const vector = (z) =>
  (z.length > 2 ? halves(z) : [z])
    .map((part) => `(${Array.from(part, number).join(", ")})`)
    .join(", λ ");

/**
 * Σ w_i k_i, written out.
 * @param {number[]} weights
 */
function sum(weights) {
  const terms = weights.flatMap((w, i) => (w ? [`${short(w)} k${low(i)}`] : []));
  return `h (${terms.join(" + ").replaceAll("+ −", "− ")})`;
}

/**
 * Whether an attempt is the one that arrives.
 * @param {Path} path
 * @param {number} i
 */
const isEnd = ({ attempts, stopped }, i) =>
  !stopped && i === attempts.length - 1 && attempts[i].accepted;

/** @type {Record<string, (here: Here) => string>} */
const WORDS = {
  size: ({ t, h, y }) => `from t = ${short(t)}, y = ${vector(y)} it tries h = ${short(h)}.`,
  slope({ method: { c, fsal }, before, stage, stages }) {
    const at = stage ? `t + ${short(c[stage])} h, y${low(stage)}` : "t, y";
    const known = !stage && fsal && before ? ", known already" : "";
    return `k${low(stage)} = f(${at}) = ${vector(stages[stage])}${known}.`;
  },
  point: ({ method: { a }, looks, stage }) =>
    `y${low(stage)} = y + ${sum(a[stage - 1])} = ${vector(looks[stage])}.`,
  sum({ method: { b, fsal }, yNext }) {
    const told = fsal ? "where the last stage looked" : `y + ${sum(b)}`;
    return `the new y is ${told}: ${vector(yNext)}.`;
  },
  error: (here) =>
    `the second answer is ${sum(here.method.b_error ?? [])} = ` +
    `${vector(estimate(here, here.method))} away, ${number(here.ratio)} times the tolerance.`,
  verdict: ({ t, h, ratio, accepted }) =>
    accepted
      ? `${number(ratio)} ≤ 1: accepted. t moves on to ${short(t + h)}.`
      : `${number(ratio)}, not ≤ 1: rejected. t and y stay.`,
  next({ method: { order }, path, index, h, ratio, next }) {
    if (isEnd(path, index)) return "t is at its end: no step follows.";
    const [best, taken] = [factor(ratio, order), next / Math.abs(h)];
    const limit = Math.abs(best / taken - 1) < 1e-9 ? "" : `, held to ${short(taken)}`;
    return `0.9 · ${number(ratio)}^(−1/${order}) = ${number(best)}${limit}. Times that, h = ${short(next)} is next.`;
  },
  take: () => "it estimates no error: the step is taken.",
};

/** @param {Here} here */
function said(here) {
  const { path, method, index, kind } = here;
  const last = index === path.attempts.length - 1;
  const over = last && path.stopped?.why === "not finite" ? " The step after it overflows." : "";
  return `${method.label}, attempt ${index + 1}: ${WORDS[kind](here)}${over}`;
}

export default { render };
