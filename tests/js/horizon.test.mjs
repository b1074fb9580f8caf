import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { curve, descent, ground, misfit, readings } = await script("horizon.mjs");

test("the misfit, its valleys, the descent and the curve are those of Python", () => {
  assert.ok(cases.horizons.length >= 8);
  for (const { task, start, steps, loss, minima, basin, path, curve: drawn } of cases.horizons) {
    const seen = readings(task);
    const found = ground(seen);
    const what = JSON.stringify({ ...task, draws: 0 });
    close(found.losses, loss, 1e-9, what);
    assert.equal(found.minima, minima, what);
    close(found.basin, basin, 1e-9, what);
    const walked = descent(seen, start);
    close(walked, path, 1e-9, what);
    const finite = (points) => points.filter(([t]) => t !== null && !Number.isNaN(t)).flat();
    close(finite(curve(seen, walked[steps])), finite(drawn), 1e-9, what);
  }
});

test("the slope of the misfit is that of its finite differences", () => {
  const [{ task }] = cases.horizons;
  const seen = readings({ ...task, noise: 0.2 });
  for (const omega of [0.6, 1, 1.7, 2.9]) {
    const [ahead, behind] = [1e-5, -1e-5].map((d) => misfit(seen, omega + d)[0]);
    close([misfit(seen, omega)[1]], [(ahead - behind) / 2e-5], 1e-6, `at ${omega}`);
  }
});

test("windows follow each other and fill the horizon, whatever their number", () => {
  const [{ task }] = cases.horizons;
  for (const windows of [1, 3, 7, 8]) {
    const { y, edges } = readings({ ...task, windows });
    assert.deepEqual([edges.length, edges[0], edges.at(-1)], [windows + 1, 0, y.length - 1]);
    const gaps = edges.slice(1).map((edge, k) => edge - edges[k]);
    assert.ok(Math.max(...gaps) - Math.min(...gaps) <= 1);
  }
});
