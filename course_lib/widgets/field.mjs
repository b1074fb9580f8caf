// FlowExplorer: the field of a trained network, and the paths along it.
import { MAX_STEPS } from "./page/tables.mjs";
import { distance, linspace, memo, networkField, solve } from "./page/rk.mjs";
import { GAP, clamp, coordinate, frame, handle, legend, plot, put, short, slider } from "./page/plot.mjs";
import { effort, solverControls, trace } from "./page/solver_controls.mjs";

const ARROWS = 17; // along the time axis
const NAMES = ["y₁", "y₂"];

// Starts of the fan: spread over a line, or over a grid in the plane.
export function fan(window_) {
  if (window_.length === 1) return linspace(...window_[0], 31).slice(1, -1).map((y) => [y]);
  const inner = window_.map((range, d) => linspace(...range, 8 - d).slice(1, -1)); // 6 × 5
  return inner[0].flatMap((u) => inner[1].map((v) => [u, v]));
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const window_ = get("window");
  const dim = window_.length;
  const network = memo();
  const title = "Paths along the field of a trained network";
  const figure = frame(el, model, { title, draw });
  const solver = solverControls(figure, model);
  addControls(figure, model, window_);
  const data = get("data");
  legend(figure, [
    ["faint", "field, and paths from other starts"],
    ["ours", "path from the start you drag"],
    ["exact wide", "the same path, solved exactly"],
    ...(data.length ? [["data", "observations"]] : []),
  ]);
  const paper = plot(figure, { title: "The learnt field and paths along it", height: 380 });
  const place = handle(paper, "ours", {
    at: () => (dim === 1 ? [get("span")[0], get("start")[0]] : get("start")),
    move: (x, y) => {
      const point = dim === 1 ? [y] : [x, y];
      put(model, "start", point.map((v, d) => clamp(v, ...window_[d])));
    },
  });
  let kept = "";

  function draw() {
    const weights = get("weights")[get("stage")];
    const f = network(weights, () => networkField(get));
    const [t0, t1] = [get("span")[0], get("t_end")];
    paper.set(flowSheet(window_, t0, get("span")[1], t1));
    const settings = solver();
    const rough = coarse(settings, t1 - t0);
    const key = JSON.stringify([weights, rough, t1, paper.svg.getAttribute("width")]);
    if (key !== kept) drawFan(paper, f, window_, [t0, t1], rough);
    kept = key;
    const exact = solve(f, get("start"), [t0, t1], { method: "dopri5", rtol: 1e-8, atol: 1e-8 });
    const path = solve(f, get("start"), [t0, t1], settings);
    const trained = dim === 1 && t1 > get("span")[1] ? get("span")[1] : NaN;
    paper.dots("data", data, "data");
    paper.line("trained", window_[0].map((y) => [trained, y]), "faint dashed");
    paper.line("exact", trace(exact, "dopri5", 160, point), "exact wide");
    paper.line("ours", trace(path, settings.method, 160, point), "ours thin");
    paper.dots("nodes", path.accepted <= 200 ? nodes(path) : [], "ours");
    place();
    return describe(settings, path, exact, paper);
  }

  return figure.close;
}

function addControls(figure, model, window_) {
  const [t0, t1] = model.get("span");
  slider(figure, model, "t_end", "End time", { min: t0 + 0.05 * (t1 - t0), max: t0 + 3 * (t1 - t0) });
  const stages = model.get("stages");
  if (stages.length > 1) {
    const format = (stage) => stages[stage];
    const steps = { min: 0, max: stages.length - 1, step: 1, format };
    slider(figure, model, "stage", "Training", steps);
  }
  window_.forEach(([min, max], d) => {
    const label = window_.length === 1 ? "Start y" : `Start ${NAMES[d]}`;
    slider(figure, model, "start", label, { min, max, lens: coordinate(d) });
  });
}

function flowSheet(window_, t0, trained, t1) {
  if (window_.length === 1) {
    const x = [t0, Math.max(trained, t1)];
    return { x, y: window_[0], xlabel: "depth t", ylabel: "state y" };
  }
  return { x: window_[0], y: window_[1], equal: true, xlabel: NAMES[0], ylabel: NAMES[1] };
}

// Numbers inside an axis, one about every 25 pixels.
function between(axis, from, to) {
  const n = Math.round(Math.abs(to - from) / 25);
  return linspace(from, to, n + 2).slice(1, -1).map(axis.inverse);
}

const point = (y, t) => (y.length === 1 ? [t, y[0]] : y);
const nodes = (path) => path.ys.map((y, i) => point(y, path.ts[i]));

// The thirty paths of a fan share the steps of a redraw, and need no finer ones than these.
export function coarse({ method, stepSize, rtol = 0 }, length) {
  const tolerance = Math.max(rtol, 1e-3);
  const how = stepSize ? { stepSize: Math.max(stepSize, length / 300) } : { rtol: tolerance, atol: tolerance };
  return { method, maxSteps: Math.floor(MAX_STEPS / 30), ...how };
}

function drawFan(paper, f, window_, span, settings) {
  paper.line("field", strokes(paper, f, window_, span), "faint hair");
  const paths = fan(window_).map((start) =>
    trace(solve(f, start, span, settings), settings.method, 96, point),
  );
  paper.line("fan", paths.flatMap((points) => [...points, GAP]), "faint thin");
}

// Short strokes along the field, equally long on the paper.
function strokes(paper, f, window_, [t0, t1]) {
  const flat = window_.length === 1;
  const { left, right, top, bottom } = paper.area;
  const across = flat ? linspace(t0, t1, ARROWS) : between(paper.x, left, right);
  const up = between(paper.y, bottom, top);
  const unit = [paper.x(1) - paper.x(0), paper.y(1) - paper.y(0)];
  const points = [];
  for (const a of across) {
    for (const b of up) {
      const slope = flat ? [1, f(a, [b])[0]] : f(t0, [a, b]);
      const length = Math.hypot(slope[0] * unit[0], slope[1] * unit[1]) || 1;
      const [da, db] = slope.map((v) => (v / length) * 6);
      points.push([a - da, b - db], [a + da, b + db], GAP);
    }
  }
  return points;
}

function describe(settings, path, exact, paper) {
  const head = effort(path, settings);
  if (path.stopped) return head;
  const end = path.ys.at(-1);
  const out = nodes(path).findIndex((p) => !paper.holds(p));
  const left = out < 0 ? "" : ` It left the plot at t = ${short(path.ts[out])}.`;
  const off = exact.stopped ? "" : `, off by ${short(distance(end, exact.ys.at(-1)))}`;
  const at = `y(${short(path.ts.at(-1))}) = ${end.length === 1 ? short(end[0]) : `(${end.map(short).join(", ")})`}`;
  return `${head} ${at}${off}.${left}`;
}

export default { render };
