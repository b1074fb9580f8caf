// What is between the traits of a TrainExplorer and the training in its worker.

import { connect } from "./page/session.mjs";
import { decode } from "./page/wire.mjs";
import { encode, keysOf, savedIn, setupOf } from "./train_setup.mjs";

/** @import { AnyModel } from "@anywidget/types" */
/** @import { Message, Told } from "./page/session.mjs" */
/** @import { Report } from "./page/trainer.mjs" */
/** @import { Get } from "./train_setup.mjs" */

/**
 * The training as the page knows it.
 * @typedef {object} Known
 * @property {number} id of the last beginning
 * @property {string} anew what it is known by
 * @property {string} on what it goes on with
 * @property {string} weights those that the traits have
 * @property {boolean} running
 * @property {number} told how many reports have come
 * @property {boolean} inPage whether there is no worker
 * @property {number} rate steps a second
 * @property {Report[]} reports
 * @property {number[][]} losses
 */

/**
 * Follows the traits with a training, and the training with the traits.
 * @param {AnyModel} model
 * @param {() => void} again draws the figure again
 */
export function trained(model, again) {
  const get = (/** @type {string} */ name) => model.get(name);
  /** @type {Known} */
  const known = {
    ...{ id: 0, told: 0, anew: "", on: "", weights: "", running: false, inPage: false, rate: NaN },
    ...{ reports: [], losses: [] },
  };
  const refused = () => {
    known.inPage = true;
  };
  const session = connect(get("_esm"), (told) => hear(model, known, told, again), refused);
  const attend = () => {
    const [anew, on] = keysOf(get);
    if (anew !== known.anew || held(get) !== known.weights) {
      if (known.anew && anew !== known.anew) forget(model);
      beginAnew(get, known, session.send);
    } else if (on !== known.on) {
      session.send({ kind: "adopt", setup: setupOf(get) });
    }
    Object.assign(known, { anew, on });
    if (get("running") === known.running) return;
    known.running = get("running");
    session.send({ kind: known.running ? "run" : "pause" });
  };
  const step = () => {
    if (!get("running")) session.send({ kind: "step" });
  };
  return {
    known,
    attend,
    step,
    drawn: () => session.send({ kind: "drawn" }),
    moved: () => session.send({ kind: "moved" }),
    close: session.close,
  };
}

/**
 * The weights that the traits hold.
 * @param {Get} get
 */
const held = (get) => get("weights").join();

/**
 * Another model has nothing of what the last one learnt.
 * @param {AnyModel} model
 */
function forget(model) {
  for (const name of ["weights", "moments", "steps", "losses"]) model.set(name, []);
  model.save_changes();
}

/**
 * Begin a training, with the weights that the traits hold if there are any.
 * @param {Get} get
 * @param {Known} known
 * @param {(message: Message) => void} send
 */
function beginAnew(get, known, send) {
  known.id++;
  known.told++;
  known.weights = held(get);
  Object.assign(known, { reports: [], rate: NaN, running: false });
  known.losses = get("losses").map((/** @type {string} */ text) => [
    ...new Float32Array(decode(text)),
  ]);
  send({ kind: "begin", id: known.id, setup: setupOf(get), saved: savedIn(get) });
}

/**
 * What the training tells goes into the traits: the steps at once, all else when it pauses.
 * @param {AnyModel} model
 * @param {Known} known
 * @param {Told} told
 * @param {() => void} again
 */
function hear(model, known, told, again) {
  if (told.id === known.id) {
    known.reports = told.reports;
    told.reports.forEach(({ losses }, i) => {
      known.losses[i] ??= [];
      for (const loss of losses) known.losses[i].push(loss);
    });
    if (!Number.isNaN(told.rate)) known.rate = told.rate;
    if (!told.running) keep(model, known);
    if (!told.able && known.running) {
      known.running = false;
      model.set("running", false);
    }
  }
  known.told++;
  again();
  if (!told.running) model.save_changes();
}

/**
 * @param {AnyModel} model
 * @param {Known} known
 */
function keep(model, known) {
  const { reports, losses } = known;
  if (!reports.some(({ steps }) => steps)) return;
  const weights = reports.map(({ theta }) => encode(theta));
  known.weights = weights.join();
  model.set("weights", weights);
  model.set(
    "moments",
    reports.map(({ mean, square }) => encode(Float64Array.of(...mean, ...square))),
  );
  model.set(
    "steps",
    reports.map(({ steps }) => steps),
  );
  model.set(
    "losses",
    losses.map((some) => encode(Float32Array.from(some))),
  );
}
