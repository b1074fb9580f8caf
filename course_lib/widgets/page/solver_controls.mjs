// A solver that the reader sets: its controls, and its settings.
import { choice, slider } from "./frame.mjs";
import { ADAPTIVE, FIXED, METHODS } from "./tables.mjs";

/** @import { AnyModel } from "@anywidget/types" */
/** @import { Figure } from "./frame.mjs" */
/** @import { Settings } from "./rk.mjs" */

/**
 * Controls for method, step size or tolerance; what comes back reads them.
 * @param {Figure} figure
 * @param {AnyModel} model
 * @returns {() => Settings}
 */
export function solverControls(figure, model) {
  choice(figure, model, "method", "Method", [...FIXED, ...ADAPTIVE]);
  const sizes = { min: 0.01, max: 2, log: true, key: "h" };
  const tolerances = { min: 1e-7, max: 1, log: true, step: 0.1 };
  const step = slider(figure, model, "step_size", "Step size h", sizes);
  const tolerance = slider(figure, model, "rtol", "Tolerance", tolerances);
  return () => {
    const settings = solverSettings((name) => model.get(name));
    step.hide("rtol" in settings);
    tolerance.hide("step_size" in settings);
    return settings;
  };
}

/**
 * The settings of a solve, as the traits have them.
 * @param {(name: string) => any} get
 * @returns {Settings}
 */
export function solverSettings(get) {
  const [method, step_size, rtol] = ["method", "step_size", "rtol"].map(get);
  return METHODS[method].b_error ? { method, rtol, atol: rtol } : { method, step_size };
}
