// PathExplorer: a path through readings, the state that it drives, and what is read off.
import { button } from "./page/bar.mjs";
import { choice, clamp, element, frame, legend, put, short, slider, tidy } from "./page/frame.mjs";
import { handle } from "./page/handle.mjs";
import { plays } from "./page/play.mjs";
import { GAP, Plot } from "./page/plot.mjs";
import { linspace } from "./page/rk.mjs";
import { decode } from "./page/wire.mjs";

/** @import { AnyModel, RenderProps } from "@anywidget/types" */
/** @import { Figure } from "./page/frame.mjs" */
/** @import { Range } from "./page/plot.mjs" */
/** @import { Choice } from "./page/tables.mjs" */

/**
 * A cubic a + bθ + cθ² + dθ³ for time, and one for the value.
 * @typedef {[time: number[], value: number[]]} Piece
 * @typedef {{ pieces: Piece[], path: number[][], states: number[][],
 *   probability: number[] }} Driven
 * @typedef {{ start: (x: number[]) => number[], slope: (z: number[], dx: number[]) => number[],
 *   read: (z: number[]) => number }} Model
 * @typedef {{ whole: Driven, known: Driven | null, leak: number, until: number }} Shown
 */

const STEPS = 4; // of RK4 in a piece
const MOST = 12;
const AIR = 0.02; // the least time between two readings
/** @type {Range} */
const VALUES = [-2, 2];
/** @type {Range} */
const WINDOW = [-2.6, 2.6]; // a spline goes beyond its readings
const SAID = 1e-3; // a smaller change of a probability is not marked
/** @type {Choice[]} */
const NAMES = [
  ["linear", "linear"],
  ["rectilinear", "rectilinear"],
  ["natural cubic", "natural cubic"],
  ["hermite", "Hermite, backward differences"],
];

// --- paths -----------------------------------------------------------------------------

/**
 * The slopes of the natural cubic spline at its knots: a tridiagonal system.
 * @param {number[]} h the lengths of the pieces
 * @param {number[]} rise their chords' slopes
 */
function naturalSlopes(h, rise) {
  const n = h.length;
  const diagonal = [];
  const right = [];
  for (let i = 0; i <= n; i++) {
    const [before, after] = [i > 0 ? 1 / h[i - 1] : 0, i < n ? 1 / h[i] : 0];
    diagonal.push(2 * (before + after));
    right.push(3 * ((i > 0 ? before * rise[i - 1] : 0) + (i < n ? after * rise[i] : 0)));
    if (i === 0) continue;
    const factor = 1 / h[i - 1] / diagonal[i - 1];
    diagonal[i] -= factor / h[i - 1];
    right[i] -= factor * right[i - 1];
  }
  const m = Array(n + 1).fill(0);
  for (let i = n; i >= 0; i--) m[i] = (right[i] - (i < n ? m[i + 1] / h[i] : 0)) / diagonal[i];
  return m;
}

/**
 * Straight pieces through corners.
 * @param {number[][]} corners
 * @returns {Piece[]}
 */
const straight = (corners) =>
  corners.slice(1).map((to, i) => {
    const [[t, x], [u, y]] = [corners[i], to];
    return [
      [t, u - t, 0, 0],
      [x, y - x, 0, 0],
    ];
  });

/**
 * The pieces of a path through two readings or more: see course_lib.paths.
 * @param {string} name
 * @param {number[][]} rows
 * @returns {Piece[]}
 */
export function pathPieces(name, rows) {
  if (name === "linear") return straight(rows);
  if (name === "rectilinear")
    return straight(
      rows.flatMap(([t, x], i) =>
        i
          ? [
              [t, rows[i - 1][1]],
              [t, x],
            ]
          : [[t, x]],
      ),
    );
  const h = rows.slice(1).map(([t], i) => t - rows[i][0]);
  const rise = rows.slice(1).map(([, x], i) => (x - rows[i][1]) / h[i]);
  const m = name === "hermite" ? [rise[0], ...rise] : naturalSlopes(h, rise);
  return h.map((g, i) => {
    const [r, m0, m1] = [rise[i], m[i], m[i + 1]];
    const [t, x] = rows[i];
    return [
      [t, g, 0, 0],
      [x, g * m0, g * (3 * r - 2 * m0 - m1), g * (m0 + m1 - 2 * r)],
    ];
  });
}

const cubic = (/** @type {number[]} */ [a, b, c, d], /** @type {number} */ u) =>
  a + u * (b + u * (c + u * d));
const rate = (/** @type {number[]} */ [, b, c, d], /** @type {number} */ u) =>
  b + u * (2 * c + 3 * u * d);

/**
 * The path through the readings so far; in the rectilinear one time goes on to the moment.
 * @param {string} name
 * @param {number[][]} seen
 * @param {number} moment
 */
function knownPieces(name, seen, moment) {
  const last = seen[seen.length - 1];
  const waits = straight([last, [name === "rectilinear" ? moment : last[0], last[1]]]);
  if (seen.length === 1) return waits;
  return name === "rectilinear" ? [...pathPieces(name, seen), ...waits] : pathPieces(name, seen);
}

// --- what is driven --------------------------------------------------------------------

/**
 * A layer of a network from its weights, which are taken off.
 * @param {{ all: Float32Array, at: number }} weights
 * @param {number} inputs
 * @param {number} outputs
 * @returns {(x: number[]) => number[]}
 */
function layer(weights, inputs, outputs) {
  const take = (/** @type {number} */ n) => {
    weights.at += n;
    return Array.from(weights.all.subarray(weights.at - n, weights.at));
  };
  const [W, b] = [take(inputs * outputs), take(outputs)];
  return (x) => b.map((sum, j) => x.reduce((s, v, i) => s + W[j * inputs + i] * v, sum));
}

/**
 * The parts of a NeuralCDE of one channel and one output.
 * @param {number[]} shape
 * @param {string} text
 * @returns {Model}
 */
export function drivenModel([hidden, width], text) {
  const weights = { all: new Float32Array(decode(text)), at: 0 };
  const start = layer(weights, 2, hidden);
  const inner = layer(weights, hidden, width);
  const outer = layer(weights, width, 2 * hidden);
  const read = layer(weights, hidden, 1);
  return {
    start,
    slope(z, [dt, dx]) {
      const F = outer(inner(z).map(Math.tanh)).map(Math.tanh);
      return z.map((_, i) => F[2 * i] * dt + F[2 * i + 1] * dx);
    },
    read: (z) => 1 / (1 + Math.exp(-read(z)[0])),
  };
}

/**
 * Drives the state along the pieces, by STEPS steps of RK4 in each.
 * @param {Model} model
 * @param {Piece[]} pieces
 * @returns {Driven}
 */
export function drive({ start, slope, read }, pieces) {
  const place = (/** @type {Piece} */ piece, /** @type {number} */ u) =>
    piece.map((part) => cubic(part, u));
  let z = start(place(pieces[0], 0));
  const path = [place(pieces[0], 0)];
  const states = [z];
  const h = 1 / STEPS;
  for (const piece of pieces) {
    for (let step = 0; step < STEPS; step++) {
      const f = (/** @type {number} */ c, /** @type {number[]} */ at) => {
        const u = (step + c) * h;
        return slope(
          at,
          piece.map((part) => rate(part, u)),
        );
      };
      const on = (/** @type {number[]} */ k, /** @type {number} */ w) =>
        z.map((v, i) => v + w * h * k[i]);
      const k1 = f(0, z);
      const k2 = f(0.5, on(k1, 0.5));
      const k3 = f(0.5, on(k2, 0.5));
      const k4 = f(1, on(k3, 1));
      z = z.map((v, i) => v + (h / 6) * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]));
      path.push(place(piece, (step + 1) * h));
      states.push(z);
    }
  }
  return { pieces, path, states, probability: states.map(read) };
}

/**
 * What the figure shows: with all readings, and with those up to the moment.
 * @param {Model} model
 * @param {{ readings: number[][], interpolation: string, moment: number }} order
 * @returns {Shown}
 */
export function pathShown(model, { readings, interpolation, moment }) {
  const whole = drive(model, pathPieces(interpolation, readings));
  const seen = readings.filter(([t]) => t <= moment);
  if (!seen.length) return { whole, known: null, leak: 0, until: 0 };
  const known = drive(model, knownPieces(interpolation, seen, moment));
  const every = interpolation === "rectilinear" ? 2 : 1;
  const until = every * STEPS * (seen.length - 1) + 1; // places up to the last reading
  const gaps = known.probability.slice(0, until).map((p, i) => Math.abs(p - whole.probability[i]));
  return { whole, known, leak: Math.max(...gaps), until };
}

// --- the figure ------------------------------------------------------------------------

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "A path through readings", draw });
  const controls = addControls(figure, model);
  const over = new Plot(figure, { title: "The path over time", wide: true });
  const below = new Plot(figure, { title: "The driven state over time" });
  const odds = new Plot(figure, { title: "The probability over time" });
  const hands = addHandles(over, model);
  const network = drivenModel(get("shape"), get("weights"));

  function draw() {
    const [readings, interpolation, moment] = ["readings", "interpolation", "moment"].map(get);
    const shown = pathShown(network, { readings, interpolation, moment });
    drawPaths(over, shown, moment);
    drawStates(below, shown, moment);
    drawOdds(odds, shown, moment, get("labels")[0]);
    hands();
    controls();
    const final = shown.whole.probability[shown.whole.probability.length - 1];
    const { leak } = shown;
    figure.tell({ interpolation, readings: readings.length, moment, final, leak });
    return report(shown, get("labels")[0], final);
  }

  return figure.close;
}

/**
 * A line for the moment, from edge to edge.
 * @param {Plot} plot
 * @param {number} moment
 * @param {Range} y
 */
function now(plot, moment, [low, high]) {
  plot.line(
    "now",
    [
      [moment, low],
      [moment, high],
    ],
    "faint dashed",
  );
}

/**
 * @param {Plot} plot
 * @param {Shown} shown
 * @param {number} moment
 */
function drawPaths(plot, { whole, known }, moment) {
  plot.set({ x: [0, 1], y: WINDOW, xlabel: "time t", ylabel: "value" });
  now(plot, moment, WINDOW);
  plot.line("known", known ? smooth(known) : [], "exact wide");
  plot.line("whole", smooth(whole), "ours thin");
}

/**
 * The path at more places than the state is computed at.
 * @param {Driven} driven
 */
const smooth = ({ pieces }) =>
  pieces.flatMap((piece) => linspace(0, 1, 13).map((u) => piece.map((part) => cubic(part, u))));

/**
 * @param {Plot} plot
 * @param {Shown} shown
 * @param {number} moment
 */
function drawStates(plot, { whole, known }, moment) {
  const all = whole.states.flat().concat(known?.states.flat() ?? []);
  const edge = Math.ceil(Math.max(1, ...all.map(Math.abs)));
  /** @type {Range} */
  const y = [-edge, edge];
  plot.set({ x: [0, 1], y, xlabel: "time t", ylabel: "state z" });
  now(plot, moment, y);
  plot.line("known", known ? curves(known) : [], "exact wide");
  plot.line("whole", curves(whole), "ours thin");
}

/**
 * The components of the state, one after the other.
 * @param {Driven} driven
 */
const curves = ({ path, states }) =>
  states[0].flatMap((_, d) => [...states.map((z, i) => [path[i][0], z[d]]), GAP]);

/**
 * @param {Plot} plot
 * @param {Shown} shown
 * @param {number} moment
 * @param {string} label
 */
function drawOdds(plot, { whole, known, until }, moment, label) {
  const line = (/** @type {Driven} */ { path, probability }) =>
    probability.map((p, i) => [path[i][0], p]);
  plot.set({ x: [0, 1], y: [0, 1], xlabel: "time t", ylabel: `probability: ${label}` });
  now(plot, moment, [0, 1]);
  plot.line(
    "half",
    [
      [0, 0.5],
      [1, 0.5],
    ],
    "faint hair",
  );
  plot.line("known", known ? line(known) : [], "exact wide");
  plot.line("whole", line(whole), "ours thin");
  const changed = (known ? line(known).slice(0, until) : []).filter(
    ([, p], i) => Math.abs(p - whole.probability[i]) > SAID,
  );
  plot.bars(
    "leak",
    changed.map(([t]) => t),
    10,
    "data",
  );
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 * @returns {() => void} brings the controls up to date
 */
function addControls(figure, model) {
  choice(figure, model, "interpolation", "Path", NAMES);
  plays(figure, slider(figure, model, "moment", "Known until t", { min: 0, max: 1 }));
  const rows = () => /** @type {number[][]} */ (model.get("readings"));
  const which = slider(figure, model, "chosen", "Reading", { min: 1, max: MOST, step: 1 });
  const place = () => Math.min(model.get("chosen"), rows().length) - 1;
  const parts = ["Its time", "Its value"].map((label, d) => {
    const [min, max] = d ? VALUES : [0, 1];
    const lens = {
      get: () => rows()[place()][d],
      set: (/** @type {number[][]} */ _, /** @type {number} */ x) =>
        moved(rows(), place(), rows()[place()].with(d, x)),
      place: d + 1,
    };
    const made = slider(figure, model, "readings", label, { min, max, lens });
    figure.settings.pop(); // all readings together are one setting, the next
    return { ...made, lens };
  });
  figure.settings.push(settingOf(model, rows));
  addButtons(figure, model, rows, place);
  legend(figure, [
    ["exact wide", "from the readings known by then"],
    ["ours", "from all readings"],
    ["data", "marks at the bottom: what was said then is changed by later readings"],
  ]);
  return () => {
    which.input.max = String(rows().length);
    for (const { input, box, lens } of parts) {
      input.value = String(lens.get());
      input.setAttribute("aria-valuetext", short(lens.get()));
      const output = box.querySelector("output");
      if (output) output.textContent = short(lens.get());
    }
  };
}

/**
 * The readings as one setting of the address: t,x;t,x and so on.
 * @param {AnyModel} model
 * @param {() => number[][]} rows
 */
function settingOf(model, rows) {
  const write = () =>
    rows()
      .map((row) => row.join(","))
      .join(";");
  const read = (/** @type {string} */ text) => text.split(";").map((x) => x.split(",").map(Number));
  return {
    key: "readings",
    start: write(),
    get: write,
    set: (/** @type {string} */ text) => put(model, "readings", read(text)),
    parse: (/** @type {string} */ text) => (allowed(read(text)) ? text : undefined),
  };
}

/** @param {number[][]} rows */
export const allowed = (rows) =>
  rows.length >= 2 &&
  rows.length <= MOST &&
  rows.every(
    (row, i) =>
      row.length === 2 &&
      row.every(Number.isFinite) &&
      row[0] >= 0 &&
      row[0] <= 1 &&
      Math.abs(row[1]) <= VALUES[1] &&
      (i === 0 || row[0] > rows[i - 1][0]),
  );

/**
 * The readings with one of them moved; it does not overtake another.
 * @param {number[][]} rows
 * @param {number} i
 * @param {number[]} to
 */
export function moved(rows, i, [t, x]) {
  const low = i ? Math.min(rows[i - 1][0] + AIR, rows[i][0]) : 0;
  const high = i < rows.length - 1 ? Math.max(rows[i + 1][0] - AIR, rows[i][0]) : 1;
  return rows.with(i, [tidy(clamp(t, low, high)), tidy(clamp(x, ...VALUES))]);
}

/**
 * The readings with one more in the middle of the widest gap, on the straight line, and
 * its place.
 * @param {number[][]} rows
 * @returns {[number[][], number]}
 */
export function added(rows) {
  let widest = 0;
  const gap = (/** @type {number} */ i) => rows[i + 1][0] - rows[i][0];
  for (let i = 1; i < rows.length - 1; i++) if (gap(i) > gap(widest)) widest = i;
  const [a, b] = [rows[widest], rows[widest + 1]];
  const middle = a.map((v, d) => tidy((v + b[d]) / 2));
  return [rows.toSpliced(widest + 1, 0, middle), widest + 1];
}

/**
 * @param {Figure} figure
 * @param {AnyModel} model
 * @param {() => number[][]} rows
 * @param {() => number} place
 */
function addButtons(figure, model, rows, place) {
  const add = button("Add a reading", () => {
    if (rows().length === MOST) return;
    const [more, at] = added(rows());
    put(model, "readings", more);
    put(model, "chosen", at + 1);
  });
  const remove = button("Delete this reading", () => {
    if (rows().length === 2) return;
    const at = place();
    put(model, "readings", rows().toSpliced(at, 1));
    put(model, "chosen", Math.min(at + 1, rows().length));
  });
  figure.controls.append(element("div", { class: "live-buttons" }, add, remove));
}

/**
 * A handle for every reading that there may be.
 * @param {Plot} plot
 * @param {AnyModel} model
 * @returns {() => void} puts them where they are now
 */
function addHandles(plot, model) {
  const rows = () => /** @type {number[][]} */ (model.get("readings"));
  const hands = Array.from({ length: MOST }, (_, i) => {
    const at = () => rows()[i] ?? [0, 0];
    const move = (/** @type {number} */ t, /** @type {number} */ x) =>
      put(model, "readings", moved(rows(), i, [t, x]));
    const show = handle(plot, "exact", { at, move });
    const group = /** @type {SVGGElement} */ (plot.above.lastElementChild);
    group.addEventListener("pointerdown", () => put(model, "chosen", i + 1));
    return { show, group };
  });
  return () => {
    const chosen = Math.min(model.get("chosen"), rows().length) - 1;
    hands.forEach(({ show, group }, i) => {
      group.toggleAttribute("hidden", i >= rows().length);
      group.style.display = i < rows().length ? "" : "none";
      const dot = /** @type {SVGElement} */ (group.lastElementChild);
      dot.classList.toggle("ours", i === chosen);
      dot.classList.toggle("exact", i !== chosen);
      const late = i < rows().length && rows()[i][0] > model.get("moment");
      dot.style.opacity = late && i !== chosen ? "0.45" : "1";
      show();
    });
  };
}

/**
 * What is said at the end, and whether later readings change what was said before.
 * @param {Shown} shown
 * @param {string} label
 * @param {number} final
 */
function report({ known, leak, whole }, label, final) {
  const percent = (/** @type {number} */ p) => `${Math.round(100 * p)}%`;
  const all = `With all readings, ${label}: ${percent(final)}.`;
  if (!known) return `${all} No reading is known yet.`;
  const then = known.probability[known.probability.length - 1];
  const sofar = `With those known so far: ${percent(then)}.`;
  if (whole.path.length === known.path.length && leak === 0) return all;
  const before =
    leak > SAID
      ? `Later readings change what was said before them by up to ${short(100 * leak)} percentage points.`
      : "Later readings change nothing that was said before them.";
  return `${all} ${sofar} ${before}`;
}

export default { render };
