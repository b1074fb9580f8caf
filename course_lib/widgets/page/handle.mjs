// A point that a hand moves in a drawing.
import { clamp, shape, tidy } from "./frame.mjs";

/** @import { Area, Scale } from "./plot.mjs" */
/** @import { Vector } from "./rk.mjs" */

/**
 * What a point is moved in: a Plot, or a drawing with its scales.
 * @typedef {{ svg: SVGSVGElement, above: SVGGElement, area: Area, x: Scale, y: Scale }} Surface
 */

/**
 * A number of pixels, to a tenth.
 * @param {number} v
 */
export const pixel = (v) => Math.round(v * 10) / 10;

/**
 * A point of the plot that pointer and touch can move; sliders do the same by keyboard.
 * @param {Surface} plot
 * @param {string} style
 * @param {{ at: () => Vector, move: (x: number, y: number) => void }} place where it is,
 *   and what to do with a new place
 * @returns {() => void} puts it where it is now
 */
export function handle(plot, style, { at, move }) {
  const ring = shape("circle", { r: 22, class: "live-reach" });
  const dot = shape("circle", { r: 7, class: `live-handle ${style}` });
  const group = shape("g", { class: "live-drag" }, ring, dot);
  plot.above.append(group);
  group.addEventListener("pointerdown", (event) => {
    group.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  // touch-action alone does not keep Chromium from scrolling under an SVG group.
  group.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
  group.addEventListener("pointermove", (event) => {
    if (!group.hasPointerCapture(event.pointerId)) return;
    const box = plot.svg.getBoundingClientRect();
    const ratio = plot.svg.viewBox.baseVal.width / box.width;
    // A point that leaves the plot could not be taken back.
    const { left, right, top, bottom } = plot.area;
    const px = clamp((event.clientX - box.left) * ratio, left, right);
    const py = clamp((event.clientY - box.top) * ratio, top, bottom);
    move(tidy(plot.x.inverse(px)), tidy(plot.y.inverse(py)));
  });
  return () => {
    const [x, y] = at();
    group.setAttribute("transform", `translate(${pixel(plot.x(x))} ${pixel(plot.y(y))})`);
  };
}
