// A field as short strokes.
import { GAP } from "./plot.mjs";
import { linspace } from "./rk.mjs";

/** @import { Plot } from "./plot.mjs" */
/** @import { Field, Span } from "./rk.mjs" */

const ALONG = 17; // strokes along the time axis

/**
 * Short strokes along the field, equally long on the paper.
 * @param {Plot} paper
 * @param {Field} f
 * @param {boolean} flat whether y is a number, drawn over time
 * @param {Span} span
 */
export function strokes({ area, x, y }, f, flat, [t0, t1]) {
  const across = flat ? linspace(t0, t1, ALONG) : between(x, area.left, area.right);
  const up = between(y, area.bottom, area.top);
  const unit = [x(1) - x(0), y(1) - y(0)];
  const points = [];
  for (const a of across) {
    for (const b of up) {
      const slope = flat ? [1, f(a, [b])[0]] : f(t0, [a, b]);
      const length = Math.hypot(slope[0] * unit[0], slope[1] * unit[1]) || 1;
      const [da, db] = [(slope[0] / length) * 6, (slope[1] / length) * 6];
      points.push([a - da, b - db], [a + da, b + db], GAP);
    }
  }
  return points;
}

/**
 * Numbers inside an axis, one about every 25 pixels.
 * @param {Plot["x"]} axis
 * @param {number} from
 * @param {number} to
 */
function between(axis, from, to) {
  const n = Math.round(Math.abs(to - from) / 25);
  return linspace(from, to, n + 2)
    .slice(1, -1)
    .map(axis.inverse);
}
