// What every live figure stands in: a frame with controls, a legend, a status sentence, and
// the line of buttons under it. Colours and sizes are in live.css; nothing here knows an ODE.
//
//   const figure = frame(el, model, { title, draw });  draw() after any change; what it returns is said
//   choice(figure, model, name, label, options)        a menu for a trait
//   slider(figure, model, name, label, options)        a slider; plays(figure, slider(…)) of play.mjs
//   legend(figure, entries)                            what the colours mean
//   figure.plots                                       where the plots go (plot.mjs appends its own)
//   figure.tell({ error, nfe })                        in draw: facts, which checks of the page judge by
//   return figure.close;                               at the end of render
//
// What a control sets is in the link to the figure, and Reset takes it back, without another
// word: `key` is its name in the address (the trait's name unless given), and `coordinate(d)`
// puts a number behind it. Other state joins by `figure.settings.push(…)`: see address.mjs.
import { bar } from "./bar.mjs";

/** @import { AnyModel } from "@anywidget/types" */
/** @import { Setting } from "./address.mjs" */
/** @import { Choice } from "./tables.mjs" */

/**
 * The parts of a figure that controls and plots go into, the line of what it says, its
 * settings, how to have it drawn again though nobody moved anything, and its end.
 * @typedef {{ controls: HTMLElement, plots: HTMLElement, status: HTMLElement, settings: Setting[],
 *   signal: AbortSignal, again: () => void, close: () => void,
 *   tell: (facts: Record<string, any>) => void }} Figure
 */
/**
 * A control, which can be hidden while it has no meaning.
 * @typedef {{ box: HTMLElement, input: HTMLInputElement, label: string,
 *   hide: (hidden: boolean) => void }} Control
 */
/**
 * Reads and writes the number of a slider where the trait holds more than that.
 * @typedef {object} Lens
 * @property {(held: any) => number} get
 * @property {(held: any, x: number) => any} set
 * @property {number} [place] among the sliders of the trait
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @typedef {Record<string, string | number>} Attributes
 */

/**
 * A new HTML element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {(Node | string)[]} children
 */
export const element = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

/**
 * A new element of a drawing.
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} [attributes]
 * @param {(Node | string)[]} children
 */
export const shape = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/**
 * @template {Element} E
 * @param {E} node
 * @param {Attributes} attributes
 * @param {(Node | string)[]} [children]
 */
export function fill(node, attributes, children = []) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

// Every figure is a module of its own, so a count alone would not do.
const tag = Math.random().toString(36).slice(2);
let count = 0;

/** A name that no other element of the page has. */
export const unique = () => `live-${tag}-${count++}`;

/**
 * What `make` made for the last key, and made anew for another.
 * @template T
 * @typedef {(key: string, make: () => T) => T} Memo
 */

/**
 * @template T
 * @returns {Memo<T>}
 */
export function memo() {
  /** @type {string | undefined} */
  let last;
  /** @type {T} */
  let made;
  return (key, make) => {
    if (key !== last) [made, last] = [make(), key];
    return made;
  };
}

// --- the frame -------------------------------------------------------------------------

/**
 * A figure in `el` that calls `draw()` once a frame after any trait of the model changed,
 * and says what `draw` returns. An error becomes a message in the figure.
 * @param {HTMLElement} el
 * @param {AnyModel} model
 * @param {{ title: string, draw: () => string }} options
 * @returns {Figure}
 */
export function frame(el, model, { title, draw }) {
  const [controls, plots] = ["controls", "plots"].map(part);
  const status = element("p", { class: "live-status", "aria-live": "polite" });
  const root = element("div", GROUP, controls, plots, status);
  root.setAttribute("aria-label", title);
  el.append(root);
  let [asked, note] = [0, ""];
  const redraw = () => {
    asked = 0;
    root.dataset.facts = "{}";
    const said = attempt(root, draw);
    dispatchEvent(new Event("live-facts"));
    const words = note ? `${note}\n${said}` : said;
    if (words !== status.textContent) status.textContent = words;
    root.dataset.drawn = String(Number(root.dataset.drawn ?? 0) + 1);
  };
  const say = (words = "") => {
    note = words;
    if (!asked) asked = requestAnimationFrame(redraw);
  };
  const tell = (/** @type {Record<string, any>} */ facts) => {
    // What is no finite number, and what there is not now, becomes null.
    root.dataset.facts = JSON.stringify(facts, (_, value) => value ?? null);
  };
  const changed = () => say();
  const again = () => say(note);
  model.on("change", changed);
  const watch = new ResizeObserver(again);
  watch.observe(plots);
  const closing = new AbortController();
  const { signal } = closing;
  signal.addEventListener("abort", () => {
    model.off("change", changed);
    watch.disconnect();
  });
  /** @type {Setting[]} */
  const settings = [];
  bar({ el, root, settings, say, signal });
  return { controls, plots, status, settings, signal, again, tell, close: () => closing.abort() };
}

const GROUP = { class: "live", role: "group" };

const part = (/** @type {string} */ name) => element("div", { class: `live-${name}` });

/**
 * What `draw` says, or why it could not.
 * @param {Element} root
 * @param {() => string} draw
 */
function attempt(root, draw) {
  root.classList.remove("live-failed");
  try {
    return draw();
  } catch (error) {
    root.classList.add("live-failed");
    return `This figure could not be drawn: ${/** @type {Error} */ (error).message}`;
  }
}

/**
 * What the colours mean, above the plots.
 * @param {Figure} figure
 * @param {[style: string, meaning: string][]} entries
 */
export function legend(figure, entries) {
  const list = element("ul", { class: "live-legend" });
  for (const [style, meaning] of entries) {
    list.append(element("li", {}, element("span", { class: `live-swatch ${style}` }), meaning));
  }
  figure.plots.before(list);
}

// --- controls --------------------------------------------------------------------------

/**
 * Tell the kernel of every move at once. Jupyter sends one message at a time, keeps the
 * newest of those that wait, and only then knows the echo of a move from a newer move.
 * @param {AnyModel} model
 * @param {string} name
 * @param {any} value
 */
export function put(model, name, value) {
  model.set(name, value);
  model.save_changes();
}

/**
 * A choice of one of several values.
 * @param {Figure} figure
 * @param {AnyModel} model
 * @param {string} name of the trait
 * @param {string} label
 * @param {Choice[]} options
 */
export function choice(figure, model, name, label, options) {
  const input = element("select");
  for (const [value, text] of options) input.append(new Option(text, value));
  /** @type {Ways} */
  const ways = {
    key: name,
    get: () => String(model.get(name)),
    set: (value) => put(model, name, value),
    parse: (text) => options.find(([value]) => value === text)?.[0],
  };
  const show = () => {
    input.value = ways.get();
  };
  bind(figure, model, name, input, ways, { show, read: () => input.value });
  return labelled(figure, label, input);
}

/**
 * A slider for a number, on a logarithmic scale if `log`.
 * @param {Figure} figure
 * @param {AnyModel} model
 * @param {string} name of the trait
 * @param {string} label
 * @param {{ min: number, max: number, step?: number, log?: boolean, key?: string,
 *   format?: (x: number) => string, lens?: Lens }} options
 */
export function slider(figure, model, name, label, options) {
  const { min, max, log = false, format = short, lens = whole } = options;
  const to = log ? Math.log10 : Number;
  // Short numbers, for the last digit of a sum could put the end out of reach.
  const [low, high] = [min, max].map((x) => tidy(to(x)));
  const { step = log ? 0.01 : Math.floor(1e9 * ((high - low) / 200)) / 1e9 } = options;
  const input = element("input", { type: "range", min: low, max: high, step });
  // The input says its value already.
  const output = element("output", { "aria-live": "off" });
  /** @type {Ways} */
  const ways = {
    key: (options.key ?? name) + (lens.place ?? ""),
    get: () => lens.get(model.get(name)),
    set: (x) => put(model, name, lens.set(model.get(name), x)),
    parse: (text) => numberOf(text, options),
  };
  const show = () => {
    const value = ways.get();
    input.value = String(to(value));
    output.textContent = format(value);
    input.setAttribute("aria-valuetext", format(value));
  };
  const read = () => tidy(log ? 10 ** Number(input.value) : Number(input.value));
  bind(figure, model, name, input, ways, { show, read });
  const control = labelled(figure, label, input, output);
  // The first coordinate begins a line, so that the others stand beside it.
  if (lens.place === 1) control.box.classList.add("live-first");
  return control;
}

/**
 * The number that a text means, if a slider can stand there.
 * @param {string} text
 * @param {{ min: number, max: number, step?: number }} range
 */
export function numberOf(text, { min, max, step }) {
  const x = text.trim() ? Number(text) : NaN;
  const air = 1e-5 * Math.abs(x); // an end of the slider, as `tidy` writes it
  if (step === 1 && !Number.isInteger(x)) return undefined;
  return Number.isFinite(x) && x >= min - air && x <= max + air ? x : undefined;
}

/** @type {Lens} */
const whole = { get: (x) => x, set: (_, x) => x };

/**
 * The lens on one coordinate of a point.
 * @param {number} d
 * @returns {Lens}
 */
export const coordinate = (d) => ({
  get: (point) => point[d],
  set: (point, x) => point.with(d, x),
  place: d + 1,
});

/** @typedef {Omit<Setting, "start">} Ways to and from a trait */

/**
 * An input that shows a trait and sets it.
 * @param {Figure} figure
 * @param {AnyModel} model
 * @param {string} name
 * @param {HTMLElement} input
 * @param {Ways} ways
 * @param {{ show: () => void, read: () => any }} hand what the input does
 */
function bind(figure, model, name, input, ways, { show, read }) {
  figure.settings.push({ ...ways, start: ways.get() });
  input.setAttribute("name", name);
  input.dataset.lmSuppressShortcuts = "true"; // its keys are no commands to a notebook
  input.addEventListener("input", () => ways.set(read()));
  model.on(`change:${name}`, show);
  show();
}

/**
 * @template {HTMLElement} I
 * @param {Figure} figure
 * @param {string} label
 * @param {I} input
 * @param {Node[]} more
 */
function labelled(figure, label, input, ...more) {
  input.id = unique();
  const box = element("div", { class: "live-control" });
  box.append(element("label", { for: input.id }, label), input, ...more);
  figure.controls.append(box);
  const hide = (/** @type {boolean} */ hidden) => {
    box.hidden = hidden;
  };
  return { box, input, label, hide };
}

// --- numbers ---------------------------------------------------------------------------

/**
 * @param {number} x
 * @param {number} low
 * @param {number} high
 */
export const clamp = (x, low, high) => Math.min(high, Math.max(low, x));

/**
 * x to six digits, as a hand sets it.
 * @param {number} x
 */
export const tidy = (x) => Number(x.toPrecision(6));

/**
 * x to three digits, as people read it.
 * @param {number} x
 */
export function short(x) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  const text = size < 1e-3 || size >= 1e5 ? x.toExponential(1) : String(Number(x.toPrecision(3)));
  return text.replace(".0e", "e").replace("e+", "e").replaceAll("-", "−");
}
