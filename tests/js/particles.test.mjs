import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { carry, points, positions } = await script("particles.mjs");
const { mlpField } = await script("page/network.mjs");

test("the particles are where Python has them, in either direction and between steps", () => {
  assert.ok(cases.flights.length >= 12);
  for (const { network, start, span, settings, moment, expected } of cases.flights) {
    const f = mlpField(network);
    const there = positions(f, carry(f, points(start), span, settings), moment);
    assert.equal(there.length, expected.length);
    const what = JSON.stringify([settings, span, moment]);
    for (const [i, y] of expected.entries()) close(there[i], y, 1e-6, what);
  }
});

test("many particles share the steps of a redraw, and a stopped one is nowhere", () => {
  const starts = Array.from({ length: 500 }, () => [0, 0]);
  const still = () => [0, 0];
  const paths = carry(still, starts, [0, 1], { method: "euler", step_size: 1e-3 });
  const steps = paths.reduce((sum, path) => sum + path.attempts.length, 0);
  assert.ok(steps <= 10_000);
  assert.deepEqual(positions(still, paths, 0.01)[0], [NaN, NaN]);
});
