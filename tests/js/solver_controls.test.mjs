import assert from "node:assert/strict";
import { test } from "node:test";
import { script } from "./course.mjs";

const { endOf, solve } = await script("page/rk.mjs");
const { account, effort, trace } = await script("page/paths.mjs");
const { solverSettings } = await script("page/solver_controls.mjs");

const decay = (_, [y]) => [-y];
const onPaper = ([y], t) => [t, y];
const how = (traits) => solverSettings((name) => traits[name]);

test("a fixed method takes the step size, an adaptive one the tolerance", () => {
  const traits = { step_size: 0.25, rtol: 1e-3 };
  assert.deepEqual(how({ ...traits, method: "rk4" }), { method: "rk4", step_size: 0.25 });
  const adaptive = { method: "tsit5", rtol: 1e-3, atol: 1e-3 };
  assert.deepEqual(how({ ...traits, method: "tsit5" }), adaptive);
});

test("a path of fixed steps is drawn from step to step, dense output as a curve", () => {
  const fixed = solve(decay, [1], [0, 1], { method: "rk4", step_size: 0.25 });
  assert.deepEqual(
    trace(fixed, 100, onPaper).map(([t]) => t),
    [0, 0.25, 0.5, 0.75, 1],
  );
  const dense = solve(decay, [1], [0, 1], { method: "dopri5", rtol: 1e-6, atol: 1e-6 });
  const curve = trace(dense, 100, onPaper);
  assert.ok(curve.length > 4 * dense.accepted);
  for (const [t, y] of curve) assert.ok(Math.abs(y - Math.exp(-t)) < 1e-4);
  assert.deepEqual(curve.at(-1), [1, endOf(dense)[0]]);
});

test("the words say what the solver did, and where it had to stop", () => {
  const settings = { method: "euler", step_size: 0.25 };
  const path = solve(decay, [1], [0, 1], settings);
  assert.equal(effort(path, settings), "Euler, h = 0.25: 4 steps, 4 evaluations of f");
  assert.equal(account(path, settings), `${effort(path, settings)}.`);
  const cut = solve(decay, [1], [0, 1], { ...settings, max_steps: 2 });
  assert.match(account(cut, settings), / It stopped at t = 0.5: too many steps\.$/);
  const adaptive = { method: "dopri5", rtol: 1e-4, atol: 1e-4 };
  const fine = solve(decay, [1], [0, 1], adaptive);
  assert.match(effort(fine, adaptive), /^Dormand–Prince 5, tolerance 1e−4: \d+ steps/);
});
