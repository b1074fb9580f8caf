// TrainExplorer: networks, neural ODEs and augmented ODEs, trained in the page.
import { frame, memo, short } from "./page/frame.mjs";
import { Plot } from "./page/plot.mjs";
import { crossings, LATTICE } from "./page/trainer.mjs";
import { addButtons, addControls } from "./train_controls.mjs";
import { trained } from "./train_follow.mjs";
import { costTable, drawLosses, modelPicture } from "./train_pictures.mjs";
import { drawnIn } from "./train_points.mjs";
import { keysOf, modelsOf, setupOf } from "./train_setup.mjs";

/** @import { RenderProps } from "@anywidget/types" */
/** @import { Memo } from "./page/frame.mjs" */
/** @import { Setup } from "./page/trainer.mjs" */
/** @import { Known } from "./train_follow.mjs" */

/** @param {RenderProps} props */
function render({ model, el }) {
  const get = (/** @type {string} */ name) => model.get(name);
  const figure = frame(el, model, { title: "Models that are trained in the page", draw });
  const training = trained(model, figure.again);
  const solver = addControls(figure, model);
  figure.controls.addEventListener("input", training.moved);
  const pictures = [0, 1, 2].map(() => modelPicture(figure));
  const curves = new Plot(figure, { title: "The loss after every step", height: 200, wide: true });
  const costs = costTable(figure);
  /** @type {[setups: Memo<Setup>, told: Memo<void>]} */
  const [setups, told] = [memo(), memo()];
  let cursor = "";
  const say = (/** @type {string} */ words) => {
    cursor = words;
    figure.again();
  };
  const pens = pictures.map(({ plot }) => drawnIn(plot, model, say));
  const buttons = addButtons(figure, model, { pen: pens[0], step: training.step });

  function draw() {
    solver();
    buttons();
    training.attend();
    const { known } = training;
    const setup = setups(keysOf(get).join(), () => setupOf(get));
    const kinds = modelsOf(get, setup.rows.task);
    const names = kinds.map((name) => get("kinds")[name][0]);
    pictures.forEach(({ draw: drawModel }, i) => {
      drawModel(known.reports[i], setup, names[i] ?? "", get("moment"));
    });
    for (const { show } of pens) show();
    const { clientWidth, clientHeight } = figure.plots; // on full screen el keeps its size
    told(`${known.told} ${names} ${clientWidth} ${clientHeight}`, () => {
      drawLosses(curves, known.losses);
      costs(names, known.reports);
      training.drawn();
    });
    figure.tell(factsNow(known, kinds, get("data")));
    return `${cursor} ${sentence(known, setup, names, get("running"))}`.trim();
  }

  return () => {
    training.close();
    figure.close();
  };
}

// --- what is said ----------------------------------------------------------------------

/**
 * Where the training is. While it goes on the numbers are in the table alone: nobody could
 * listen to them.
 * @param {Known} known
 * @param {Setup} setup
 * @param {string[]} names
 * @param {boolean} running
 */
function sentence({ reports, inPage, rate }, setup, names, running) {
  const where = inPage ? " Workers are refused here: it trains in the page itself." : "";
  const stopped = reports.flatMap(({ stopped: why, steps }, i) =>
    why ? [` The ${names[i]} stopped at step ${steps}: ${why}.`] : [],
  );
  const end = `${crossed(reports, setup, names)}${stopped.join("")}${where}`;
  if (!setup.rows.x.length)
    return `No points yet: click into the plot, or use arrow keys and Enter.${where}`;
  if (running) return `Training.${end}`;
  const steps = Math.max(0, ...reports.map((report) => report.steps));
  if (!steps) return `Not trained yet.${end}`;
  const losses = reports.map(({ loss }, i) => `${names[i]} ${short(loss)}`).join(", ");
  const pace = Number.isNaN(rate) ? "" : ` ${Math.round(rate)} steps a second.`;
  return `${steps} ${steps === 1 ? "step" : "steps"}; loss: ${losses}.${pace}${end}`;
}

const ALONE =
  "Only the neural ODE learns a path: a network has no times between its layers, and of an added coordinate the path says nothing.";

/**
 * Each model with its loss and its share of right answers.
 * @param {Known} known
 * @param {string[]} kinds
 * @param {string} data
 */
function factsNow({ reports }, kinds, data) {
  const steps = Math.max(0, ...reports.map((report) => report.steps));
  const each = [0, 1, 2].flatMap((i) => [
    [`model${i + 1}`, kinds[i]],
    [`loss${i + 1}`, steps ? reports[i]?.loss : null],
    [`right${i + 1}`, steps ? reports[i]?.right : null],
  ]);
  return { data, steps, ...Object.fromEntries(each) };
}

/**
 * Where what was learnt, or is to be learnt, crosses itself.
 * @param {Known["reports"]} reports
 * @param {Setup} setup
 * @param {string[]} names
 */
function crossed(reports, { rows, track }, names) {
  if (rows.task === "path") {
    const n = crossings(track).length;
    const often = n === 1 ? "once" : `${n} times`;
    const why = `The path crosses itself ${often}: no field of the plane alone does that.`;
    return ` ${ALONE}${n ? ` ${why}` : ""}`;
  }
  const what =
    rows.task === "values"
      ? "neighbours that changed places"
      : `of ${LATTICE * LATTICE} points where the map is turned over`;
  return reports
    .map(({ picture }, i) =>
      picture?.turned.length
        ? ` ${names[i]}: ${picture.turned.length} ${what}; no flow does that.`
        : "",
    )
    .join("");
}

export default { render };
