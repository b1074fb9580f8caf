import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { augmented, FIELDS, halves, PULLBACKS } = await script("page/systems.mjs");
const { SYSTEMS } = await script("page/tables.mjs");

test("every system has its field", () => {
  assert.deepEqual(Object.keys(FIELDS).sort(), Object.keys(SYSTEMS).sort());
});

test("the pullback of every field is λᵀ ∂f/∂y", () => {
  const { pullbacks } = cases;
  assert.equal(pullbacks.length, 5 * Object.keys(PULLBACKS).length);
  for (const { problem, y, lam, expected } of pullbacks) {
    close(PULLBACKS[problem](0, y, lam), expected, 1e-12, problem);
    const [, back] = halves(augmented(problem)(0, [...y, ...lam]));
    const opposite = expected.map((v) => -v);
    close(back, opposite, 1e-12, problem);
  }
});
