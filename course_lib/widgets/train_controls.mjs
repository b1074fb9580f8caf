// The controls of a TrainExplorer: data, models, solver, optimiser, time, and buttons.
import { button } from "./page/bar.mjs";
import { choice, element, legend, memo, put, slider } from "./page/frame.mjs";
import { plays } from "./page/play.mjs";
import { solverControls } from "./page/solver_controls.mjs";

/** @import { AnyModel } from "@anywidget/types" */
/** @import { Figure } from "./page/frame.mjs" */
/** @import { Choice } from "./page/tables.mjs" */

/** @type {Choice[]} */
const GRADIENT = [
  ["direct", "through the steps"],
  ["adjoint", "adjoint"],
  ["checkpointed", "checkpointed"],
];
/** @type {Choice[]} */
const OPTIMISERS = [
  ["sgd", "SGD"],
  ["adam", "Adam"],
];
/** @type {Choice[]} */
const OWN = [
  ["own points", "your own points"],
  ["own path", "your own path"],
];
/** @type {Choice[]} */
const NO_YES = [
  ["no", "no"],
  ["yes", "yes"],
];

/**
 * All controls; what comes back shows those that have a meaning.
 * @param {Figure} figure
 * @param {AnyModel} model
 */
export function addControls(figure, model) {
  const names = (/** @type {string} */ trait, /** @type {(held: any) => string} */ label) =>
    Object.entries(model.get(trait)).map(
      ([name, held]) => /** @type {Choice} */ ([name, label(held)]),
    );
  const kinds = names("kinds", ([label]) => label);
  choice(figure, model, "data", "Data", [...names("sets", ({ label }) => label), ...OWN]);
  const first = choice(figure, model, "first", "Model", kinds);
  const others = ["second", "third"].map((name) =>
    choice(figure, model, name, `${name === "second" ? "Second" : "Third"} model`, [
      ["none", "none"],
      ...kinds,
    ]),
  );
  slider(figure, model, "width", "Width", { min: 2, max: 32, step: 1 });
  slider(figure, model, "hidden", "Hidden layers", { min: 1, max: 3, step: 1 });
  const layers = slider(figure, model, "layers", "ResNet layers", { min: 1, max: 20, step: 1 });
  const input = choice(figure, model, "time", "t as an input", NO_YES);
  const solver = solverControls(figure, model);
  choice(figure, model, "gradient", "Gradient", GRADIENT);
  choice(figure, model, "optimizer", "Optimiser", OPTIMISERS);
  slider(figure, model, "lr", "Learning rate", { min: 1e-4, max: 1, log: true });
  slider(figure, model, "batch", "Batch", { min: 4, max: 200, step: 4 });
  slider(figure, model, "seed", "Seed", { min: 0, max: 20, step: 1 });
  const time = { min: 0, max: 1, step: 0.01, key: "t" };
  plays(figure, slider(figure, model, "moment", "Time t", time));
  for (const [name, wide] of OWN_ROWS) own(figure, model, name, wide);
  legend(figure, [
    ["exact", "first class"],
    ["ours", "second class, or what was learnt"],
    ["data", "to be learnt"],
    ["rival", "where the computed map crosses itself"],
  ]);
  keepOnly(figure, model.get("controls"));
  return () => {
    const path =
      model.get("data") === "own path" || model.get("sets")[model.get("data")]?.task === "path";
    for (const other of [first, ...others, input]) other.hide(path);
    const chosen = ["first", "second", "third"].map((name) => model.get(name));
    layers.hide(path || !chosen.some((name) => name.startsWith("resnet")));
    solver();
  };
}

/**
 * Take away the controls that are not asked for, if some are. Links still set what they set.
 * @param {Figure} figure
 * @param {string[]} asked names of traits
 */
function keepOnly({ controls }, asked) {
  for (const input of controls.querySelectorAll("[name]")) {
    const wanted = !asked.length || asked.includes(input.getAttribute("name") ?? "");
    if (!wanted) input.closest(".live-control")?.remove();
  }
}

/** @type {[name: string, wide: number][]} */
const OWN_ROWS = [
  ["points", 3],
  ["track", 2],
];

/**
 * Own points are in the link to the figure, too.
 * @param {Figure} figure
 * @param {AnyModel} model
 * @param {string} name of the trait
 * @param {number} wide numbers of a row
 */
function own({ settings }, model, name, wide) {
  const get = () => model.get(name).flat().join(" ");
  /** @param {string} text */
  const parse = (text) => {
    const numbers = text.split(" ").map(Number);
    const whole = numbers.length % wide === 0 && numbers.every(Number.isFinite);
    return whole && (wide < 3 || numbers.every((x, i) => i % 3 < 2 || x * x === x))
      ? text
      : undefined;
  };
  /** @param {string} text */
  const set = (text) => {
    const numbers = text ? text.split(" ").map(Number) : [];
    const rows = Array.from({ length: numbers.length / wide }, (_, i) => {
      return numbers.slice(i * wide, (i + 1) * wide);
    });
    put(model, name, rows);
  };
  settings.push({ key: name, start: get(), get, set, parse });
}

/**
 * Train, one step, reset; and for own data which class is put, undo and clear.
 * @param {Figure} figure
 * @param {AnyModel} model
 * @param {{ pen: { name: () => string, undo: () => void, clear: () => void }, step: () => void }} acts
 */
export function addButtons(figure, model, { pen, step }) {
  const train = button("Train", () => put(model, "running", !model.get("running")));
  const again = () => {
    for (const name of ["weights", "moments", "steps", "losses"]) model.set(name, []);
    put(model, "running", false);
  };
  const main = [train, button("One step", step), button("Begin again", again)];
  const kind = button("", () => put(model, "label", 1 - model.get("label")));
  const hand = [kind, button("Undo", pen.undo), button("Clear", pen.clear)];
  figure.controls.append(element("div", { class: "live-buttons" }, ...main, ...hand));
  const said = memo();
  return () => {
    const [running, name, label] = [model.get("running"), pen.name(), model.get("label")];
    said(`${running} ${name} ${label}`, () => {
      train.textContent = running ? "Pause" : "Train";
      for (const made of hand) made.hidden = !name;
      kind.hidden = name !== "points";
      kind.textContent = label ? "Putting: second class" : "Putting: first class";
    });
  };
}
