import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { eliminate, fixedPointWay, mixingWeights, radiusAt } = await script("fixed_point.mjs");

test("the fixed-point figure takes the steps that Python takes", () => {
  for (const { expected, ...traits } of cases["fixed points"]) {
    const { zs, residuals, evaluations, end } = fixedPointWay(traits);
    const what = JSON.stringify(traits);
    assert.equal(end === "arrived", expected !== null, what);
    if (!expected) continue;
    assert.deepEqual(evaluations, expected.evaluations, what);
    close(residuals, expected.residuals, 1e-9, what);
    close(zs[zs.length - 1], expected.z, 1e-9, what);
  }
});

test("elimination solves, exchanges rows, and says where it cannot", () => {
  close(
    eliminate(
      [
        [0, 2],
        [1, 1],
      ],
      [4, 5],
    ),
    [3, 2],
    1e-15,
    "a row to exchange",
  );
  assert.equal(
    eliminate(
      [
        [1, 2],
        [2, 4],
      ],
      [1, 1],
    ),
    undefined,
  );
});

test("the weights of two residuals on the line are those of the secant", () => {
  close(mixingWeights([[0.4], [-0.1]]), [0.2, 0.8], 1e-12, "opposite");
  close(mixingWeights([[0.4], [0.1]]), [-1 / 3, 4 / 3], 1e-12, "alike");
  assert.deepEqual(mixingWeights([[0]]), [1]);
});

test("Newton has no step where f is parallel to the diagonal, and a line takes it one", () => {
  const line = { problem: "line", method: "newton", start: -1 };
  assert.equal(fixedPointWay({ ...line, weight: 1 }).end, "singular");
  assert.equal(fixedPointWay({ ...line, weight: 3 }).residuals.length, 2);
});

test("the plain residual shrinks by the spectral radius at the end", () => {
  for (const problem of ["tanh", "plane"]) {
    const { zs, residuals } = fixedPointWay({ problem, method: "plain", weight: -0.9, start: 1 });
    const n = residuals.length - 1;
    const rate = (residuals[n] / residuals[n - 10]) ** 0.1;
    assert.ok(Math.abs(rate / radiusAt(problem, -0.9, zs[n]) - 1) < 0.05, `${problem}: ${rate}`);
  }
});
