import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { energyOf, laws, level, levels, walk } = await script("pendulum.mjs");

test("a pendulum swings as in Python, by every field and method", () => {
  assert.ok(cases.swings.length >= 16);
  for (const { widths, weights, field, order, t, ys, energy } of cases.swings) {
    const path = walk(laws(widths, weights)[field], order);
    const what = `${field} ${order.method} ${order.step_size}`;
    close(path.ts, t, 1e-12, what);
    assert.equal(path.ys.length, ys.length, what);
    close(path.ys.flat(), ys.flat(), 1e-5, what);
    close(path.ys.map(energyOf), energy, 1e-5, what);
  }
});

test("leapfrog has no way to go along a field that does not split", () => {
  const [{ widths, weights, order }] = cases.swings;
  assert.equal(walk(laws(widths, weights).plain, { ...order, method: "leapfrog" }), null);
});

test("leapfrog stops after as many steps as every other method", () => {
  const [{ widths, weights }] = cases.swings;
  const order = { method: "leapfrog", step_size: 1e-3, t_end: 100, start: [1, 0] };
  const { ys, stopped } = walk(laws(widths, weights).true, order);
  assert.deepEqual([ys.length, stopped.why], [10_001, "too many steps"]);
});

test("a curve of one energy has that energy, below and above the top", () => {
  for (const energy of [0.5, 1.9, 2.5]) {
    const points = level(energy).filter(([q]) => !Number.isNaN(q));
    assert.ok(points.length > 200);
    const all = points.map(energyOf);
    close(all, all.fill(energy), 1e-9, `energy ${energy}`);
  }
});

test("a start behind the top lies on a curve of its energy", () => {
  for (const start of [
    [3.9, 0],
    [-3.5, 0.2],
    [0.5, 0],
    [1, 2.5],
  ]) {
    const gaps = levels(energyOf(start)).map(([q, p]) => Math.hypot(q - start[0], p - start[1]));
    assert.ok(Math.min(...gaps.filter((gap) => !Number.isNaN(gap))) < 0.1, `from ${start}`);
  }
});
