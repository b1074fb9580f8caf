import assert from "node:assert/strict";
import { test } from "node:test";
import { script } from "./course.mjs";

const { coarse, fan } = await script("field.mjs");
const { solve } = await script("page/rk.mjs");

const WINDOW = [
  [-2, 2],
  [-2, 2],
];

test("a fan sets out from inside its window, on a line or in the plane", () => {
  assert.deepEqual([fan(WINDOW.slice(1)).length, fan(WINDOW).length], [29, 30]);
  for (const y of [...fan(WINDOW), ...fan(WINDOW.slice(1))].flat()) assert.ok(Math.abs(y) < 2);
});

test("the paths of a fan take at most 10,000 steps together, however hard the field", () => {
  const fast = (_, [u, v]) => [40 * v + Math.cos(90 * u), -40 * u];
  const ways = [
    { method: "rk4", step_size: 0.01 },
    { method: "bosh3", rtol: 1e-7, atol: 1e-7 },
  ];
  for (const settings of ways) {
    for (const length of [1, 31.45, 94.35]) {
      const rough = coarse(settings, length);
      const paths = fan(WINDOW).map((y) => solve(fast, y, [0, length], rough));
      const steps = paths.reduce((sum, path) => sum + path.attempts.length, 0);
      assert.ok(steps <= 10_000, `${settings.method} over ${length}: ${steps}`);
    }
  }
});
