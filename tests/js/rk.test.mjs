import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { sample } = await script("page/dense.mjs");
const { advance, distance, endOf, linspace, reference, solve } = await script("page/rk.mjs");
const { FIELDS } = await script("page/systems.mjs");

test("fixed and adaptive solves agree with Python, step for step", () => {
  assert.ok(cases.solves.length >= 200);
  for (const { problem, y0, span, settings, expected } of cases.solves) {
    const what = JSON.stringify({ problem, y0, span, settings });
    const path = solve(FIELDS[problem], y0, span, settings);
    assert.equal(path.stopped, null, what);
    for (const key of ["accepted", "rejected", "nfe"]) assert.equal(path[key], expected[key], what);
    close(endOf(path), expected.end, 1e-9, what);
    if (!expected.inside) continue;
    const inside = sample(path, expected.times);
    for (const [i, y] of expected.inside.entries()) close(inside[i], y, 1e-9, `${what} inside`);
  }
});

test("a solve that cannot go on stops and says where, after at most 10,000 attempts", () => {
  const tolerance = { rtol: 1e-6, atol: 1e-6 };
  const blow = solve((_, [y]) => [y * y], [1], [0, 2], { method: "dopri5", ...tolerance });
  assert.ok(Math.abs(blow.stopped.t - 1) < 1e-3 && blow.accepted > 5);
  const euler = { method: "euler", step_size: 0.1 };
  const wild = solve((_, [y]) => [1e200 * y * y], [1e100], [0, 1], euler);
  assert.equal(wild.stopped.why, "not finite");
  const long = solve((_, y) => y, [1], [0, 1], { ...euler, step_size: 1e-6 });
  assert.equal(long.stopped.why, "too many steps");
  assert.equal(long.accepted, 10_000);
  const nan = solve(() => [NaN], [1], [0, 1], { method: "tsit5", ...tolerance });
  assert.deepEqual([nan.stopped.why, nan.accepted], ["not finite", 0]);
});

test("a method that is not known and a step size that is missing are refused", () => {
  assert.throws(() => solve((_, y) => y, [1], [0, 1], { method: "eule" }), /unknown method eule/);
  for (const step_size of [undefined, 0, -1, NaN]) {
    const settings = { method: "rk4", step_size };
    assert.throws(() => solve((_, y) => y, [1], [0, 1], settings), /needs a step_size/);
  }
});

test("the number of steps can be limited further", () => {
  const settings = { method: "euler", step_size: 0.1, max_steps: 3 };
  const path = solve((_, y) => y, [1], [0, 1], settings);
  assert.deepEqual([path.accepted, path.stopped.why], [3, "too many steps"]);
});

test("beyond the point where a solve stopped its states are not known", () => {
  const settings = { method: "euler", step_size: 0.25, max_steps: 2 };
  const path = solve(() => [1], [0], [0, 1], settings);
  assert.deepEqual(sample(path, [0, 0.1, 0.5, 0.75]), [[0], [0.1], [0.5], [NaN]]);
});

test("the reference is exact to what a plot can show", () => {
  const there = endOf(reference(FIELDS.oscillator, [1, 0], [0, 10]));
  assert.ok(distance(there, [Math.cos(10), -Math.sin(10)]) < 1e-10);
});

test("vectors: sums along stages, and numbers from one end to the other", () => {
  assert.deepEqual(
    advance(
      [1, 2],
      0.5,
      [1, 0, 2],
      [
        [1, 1],
        [9, 9],
        [2, 3],
      ],
    ),
    [3.5, 5.5],
  );
  assert.deepEqual(linspace(0, 0.3, 4).at(-1), 0.3);
});

test("a solve that hands its steps on keeps none, and says which step it would try next", () => {
  const settings = { method: "dopri5", rtol: 1e-6, atol: 1e-6 };
  const kept = solve(FIELDS.oscillator, [1, 0], [0, 5], settings);
  const steps = [];
  const each = (step, tNext, yNext) => steps.push([step.h, tNext, yNext]);
  const path = solve(FIELDS.oscillator, [1, 0], [0, 5], { ...settings, each });
  assert.deepEqual([path.steps, path.ts, path.accepted], [[], [0], kept.accepted]);
  assert.deepEqual(
    steps.map(([h]) => h),
    kept.steps.map(({ h }) => h),
  );
  assert.deepEqual(steps.at(-1).slice(1), [5, endOf(kept)]);
  const again = { ...settings, first_step: path.next };
  assert.equal(solve(FIELDS.oscillator, [1, 0], [0, 5], again).attempts[0].h, path.next);
});
