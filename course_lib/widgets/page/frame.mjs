// What every live figure stands in: a frame with controls, a legend and a status sentence.
// Colours and sizes are in live.css; nothing here knows an ODE.

/** @import { AnyModel } from "@anywidget/types" */
/** @import { Choice } from "./tables.mjs" */

/**
 * The parts of a figure that controls and plots go into.
 * @typedef {{ controls: HTMLElement, plots: HTMLElement, close: () => void }} Figure
 */
/**
 * A control, which can be hidden while it has no meaning.
 * @typedef {{ hide: (hidden: boolean) => void }} Control
 */
/**
 * Reads and writes the number of a slider where the trait holds more than that.
 * @typedef {object} Lens
 * @property {(held: any) => number} get
 * @property {(held: any, x: number) => any} set
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
  const controls = element("div", { class: "live-controls" });
  const plots = element("div", { class: "live-plots" });
  const status = element("p", { class: "live-status", "aria-live": "polite" });
  const parts = [controls, plots, status];
  const root = element("div", { class: "live", role: "group", "aria-label": title }, ...parts);
  el.append(root);
  let asked = 0;
  const redraw = () => {
    asked = 0;
    let said;
    try {
      said = draw();
      root.classList.remove("live-failed");
    } catch (error) {
      said = `This figure could not be drawn: ${/** @type {Error} */ (error).message}`;
      root.classList.add("live-failed");
    }
    if (said !== status.textContent) status.textContent = said;
    root.dataset.drawn = String(Number(root.dataset.drawn ?? 0) + 1);
  };
  const ask = () => {
    if (!asked) asked = requestAnimationFrame(redraw);
  };
  model.on("change", ask);
  const watch = new ResizeObserver(ask);
  watch.observe(plots);
  const close = () => {
    model.off("change", ask);
    watch.disconnect();
  };
  return { controls, plots, close };
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
  const input = element("select", { "data-lm-suppress-shortcuts": "true" });
  for (const [value, text] of options) input.append(new Option(text, value));
  const show = (/** @type {any} */ value) => {
    input.value = value;
  };
  bind(model, name, input, { show, read: () => input.value });
  return labelled(figure, label, input);
}

/**
 * A slider for a number, on a logarithmic scale if `log`.
 * @param {Figure} figure
 * @param {AnyModel} model
 * @param {string} name of the trait
 * @param {string} label
 * @param {{ min: number, max: number, step?: number, log?: boolean,
 *   format?: (x: number) => string, lens?: Lens }} options
 */
export function slider(figure, model, name, label, options) {
  const { min, max, step, log = false, format = short, lens = whole } = options;
  const to = log ? Math.log10 : Number;
  const input = element("input", {
    type: "range",
    min: to(min),
    max: to(max),
    step: step ?? (log ? 0.01 : (max - min) / 200),
    "data-lm-suppress-shortcuts": "true",
  });
  // The input says its value already.
  const output = element("output", { "aria-live": "off" });
  bind(model, name, input, {
    show: (held) => {
      const value = lens.get(held);
      input.value = String(to(value));
      output.textContent = format(value);
      input.setAttribute("aria-valuetext", format(value));
    },
    read: () => {
      const at = Number(input.value);
      return lens.set(model.get(name), tidy(log ? 10 ** at : at));
    },
  });
  return labelled(figure, label, input, output);
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
});

/**
 * An input that shows a trait and sets it.
 * @param {AnyModel} model
 * @param {string} name
 * @param {HTMLElement} input
 * @param {{ show: (value: any) => void, read: () => any }} ways
 */
function bind(model, name, input, { show, read }) {
  input.addEventListener("input", () => put(model, name, read()));
  const update = () => show(model.get(name));
  model.on(`change:${name}`, update);
  update();
}

/**
 * @param {Figure} figure
 * @param {string} label
 * @param {HTMLElement} input
 * @param {Node[]} more
 * @returns {Control}
 */
function labelled(figure, label, input, ...more) {
  input.id = unique();
  const box = element("div", { class: "live-control" });
  box.append(element("label", { for: input.id }, label), input, ...more);
  figure.controls.append(box);
  const hide = (/** @type {boolean} */ hidden) => {
    box.hidden = hidden;
  };
  return { hide };
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
