// LatentExplorer: a point of a latent space, its path along the field, the decoded curve.
import { decode, distance, linspace, memo, mlpField, networkField, solve } from "./page/rk.mjs";
import { GAP, clamp, coordinate, frame, handle, legend, plot, put, short, slider } from "./page/plot.mjs";
import { effort, solverControls, trace } from "./page/solver_controls.mjs";

const FINE = { method: "dopri5", rtol: 1e-6, atol: 1e-6 };
const REACH = 3; // how far a coordinate can be pulled

// The point between two codes, with two of its coordinates shifted.
export function codeOf(get) {
  const [a, b, share] = ["start", "end", "share"].map(get);
  const z = a.map((v, d) => v + share * (b[d] - v));
  get("coordinates").forEach((c, d) => (z[c] += get("shift")[d]));
  return z;
}

// The decoder as a function of a latent state.
export function decoder(get) {
  const look = mlpField({ widths: get("readout_widths"), activation: "elu", weights: decode(get("readout")) });
  return (z) => look(0, z);
}

// The area that the arrow from the centre of a curve sweeps, positive counter-clockwise.
export function sweptArea(points) {
  const middle = [0, 1].map((d) => points.reduce((sum, p) => sum + p[d], 0) / points.length);
  const arrows = points.map((p) => [p[0] - middle[0], p[1] - middle[1]]);
  return arrows.slice(1).reduce((sum, [x, y], i) => sum + (arrows[i][0] * y - arrows[i][1] * x) / 2, 0);
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const [network, look] = [memo(), decoder(get)];
  const [a, b, pair] = ["start", "end", "coordinates"].map(get);
  const names = pair.map((c) => `z${"₁₂₃₄₅₆₇₈₉"[c] ?? c + 1}`);
  const flat = (z) => pair.map((c) => z[c]);
  const figure = frame(el, model, { title: "A curve decoded from a point of the latent space", draw });
  slider(figure, model, "share", "Share of the way", { min: 0, max: 1, step: 0.01 });
  names.forEach((name, d) => {
    slider(figure, model, "shift", `Shift of ${name}`, { min: -REACH, max: REACH, lens: coordinate(d) });
  });
  const settings = solverControls(figure, model);
  slider(figure, model, "t_end", "End time", { min: 0.1, max: get("longest") });
  legend(figure, [
    ["ours", "your point, its path and its curve"],
    ["exact wide", "the same, solved exactly"],
    ["faint", "the ten steps of the walk; codes of other series"],
  ]);
  const space = plot(figure, { title: `Latent coordinates ${names.join(" and ")}`, height: 340 });
  const paper = plot(figure, { title: "The decoded curve", height: 340 });
  const place = handle(space, "ours", {
    at: () => flat(codeOf(get)),
    move: (...point) => {
      const base = flat(codeOf((name) => (name === "shift" ? [0, 0] : get(name))));
      put(model, "shift", point.map((v, d) => clamp(v - base[d], -REACH, REACH)));
    },
  });
  const walked = memo();
  const curve = (path, { method }) => trace(path, method, 160, look);
  const walk = linspace(0, 1, 10).map((share) => a.map((from, d) => from + share * (b[d] - from)));

  function draw() {
    const [[x, y], [u, v]] = [get("window"), get("plane")];
    const [how, span] = [settings(), [0, get("t_end")]];
    const [weights] = get("weights");
    const f = network(weights, () => networkField(get));
    space.set({ x: u, y: v, xlabel: names[0], ylabel: names[1] });
    paper.set({ x, y, equal: true, xlabel: "x₁", ylabel: "x₂" });
    const [exact, path] = [FINE, how].map((one) => solve(f, codeOf(get), span, one));
    const ours = curve(path, how);
    const steps = () => walk.flatMap((z) => [...curve(solve(f, z, span, FINE), FINE), GAP]);
    paper.line("walk", walked(span[1] + weights, steps), "faint hair");
    paper.line("exact", curve(exact, FINE), "exact wide");
    paper.line("ours", ours, "ours thin");
    paper.dots("nodes", path.ys.map(look), "ours");
    space.dots("codes", get("codes"), "faint");
    space.line("line", [a, b].map(flat), "faint");
    space.line("exact", trace(exact, "dopri5", 160, flat), "exact wide");
    space.line("ours", trace(path, how.method, 160, flat), "ours thin");
    place();
    if (path.stopped) return effort(path, how);
    const area = sweptArea(ours);
    const off = short(distance(ours.at(-1), look(exact.ys.at(-1))));
    const end = exact.stopped ? "" : `; its end is off by ${off}`;
    const way = area < 0 ? "clockwise" : "counter-clockwise";
    return `${effort(path, how)} The curve turns ${way} (swept area ${short(area)})${end}.`;
  }

  return figure.close;
}

export default { render };
