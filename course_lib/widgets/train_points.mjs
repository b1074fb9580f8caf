// The reader's own data: points of two classes, or a path, by pointer, touch and keyboard.
import { clamp, put, shape, short, tidy } from "./page/frame.mjs";

/** @import { AnyModel } from "@anywidget/types" */
/** @import { Plot } from "./page/plot.mjs" */

const NEAREST = 0.18; // from one point of a stroke to the next
const MOVE = 0.25; // of the cursor, for a key
/** @type {Record<string, string>} */
const TRAITS = { "own points": "points", "own path": "track" };
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };

/**
 * Lets the reader put points into a plot while own data are chosen. What comes back puts the
 * cursor where it is.
 * @param {Plot} plot
 * @param {AnyModel} model
 * @param {(words: string) => void} say
 */
export function drawnIn(plot, model, say) {
  const pen = penOf(model);
  const place = [0, 0]; // of the cursor
  const cross = shape("path", { class: "live-cursor", d: "M-9 0H9M0-9V9" });
  plot.above.append(cross);
  const { svg } = plot;
  const show = () => {
    const own = pen.name() !== "";
    svg.classList.toggle("live-drawn", own);
    cross.toggleAttribute("hidden", !own || document.activeElement !== svg);
    if (own) {
      svg.setAttribute("tabindex", "0");
      cross.setAttribute("transform", `translate(${plot.x(place[0])} ${plot.y(place[1])})`);
    } else svg.removeAttribute("tabindex");
  };
  svg.addEventListener("focus", show);
  svg.addEventListener("blur", () => say(""));
  svg.addEventListener("keydown", (event) => {
    if (!pen.name()) return;
    const arrow = ARROWS[event.key];
    if (arrow)
      arrow.forEach((step, d) => {
        place[d] = tidy(clamp(place[d] + step * (event.shiftKey ? MOVE / 5 : MOVE), -3, 3));
      });
    else if (event.key === "Enter" || event.key === " ") pen.put(place);
    else if (event.key === "Backspace") pen.undo();
    else return;
    event.preventDefault();
    say(`Cursor at (${place.map(short).join(", ")}), ${pen.count()} points.`);
    show();
  });
  byPointer(plot, pen);
  return { show, ...pen };
}

/**
 * What a hand does to the trait of own points, or of an own path.
 * @param {AnyModel} model
 */
function penOf(model) {
  const name = () => TRAITS[model.get("data")] ?? "";
  const rows = () => /** @type {number[][]} */ (model.get(name()) ?? []);
  return {
    name,
    count: () => rows().length,
    last: () => rows().at(-1),
    /** @param {number[]} place */
    put([x, y]) {
      const row = [tidy(x), tidy(y)];
      put(model, name(), [...rows(), name() === "points" ? [...row, model.get("label")] : row]);
    },
    undo: () => put(model, name(), rows().slice(0, -1)),
    clear: () => put(model, name(), []),
  };
}

/**
 * A click puts a point, a stroke many.
 * @param {Plot} plot
 * @param {ReturnType<typeof penOf>} pen
 */
function byPointer(plot, pen) {
  const { svg } = plot;
  const at = (/** @type {PointerEvent} */ event) => {
    const box = svg.getBoundingClientRect();
    const ratio = svg.viewBox.baseVal.width / box.width;
    const { left, right, top, bottom } = plot.area;
    const px = clamp((event.clientX - box.left) * ratio, left, right);
    const py = clamp((event.clientY - box.top) * ratio, top, bottom);
    return [plot.x.inverse(px), plot.y.inverse(py)];
  };
  svg.addEventListener("pointerdown", (event) => {
    if (!pen.name()) return;
    svg.setPointerCapture(event.pointerId);
    pen.put(at(event));
  });
  svg.addEventListener("pointermove", (event) => {
    if (!pen.name() || !svg.hasPointerCapture(event.pointerId)) return;
    const [x, y] = at(event);
    const last = pen.last();
    if (!last || Math.hypot(x - last[0], y - last[1]) > NEAREST) pen.put([x, y]);
  });
}
