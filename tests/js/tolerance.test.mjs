import assert from "node:assert/strict";
import { test } from "node:test";
import { script } from "./course.mjs";

const { errorsOf, toleranceState } = await script("tolerance.mjs");
const { reference } = await script("page/rk.mjs");
const { FIELDS } = await script("page/systems.mjs");
const { SYSTEMS } = await script("page/tables.mjs");

test("a tighter tolerance makes smaller errors, and its rival costs as much", () => {
  const { y0, span } = SYSTEMS.vanderpol;
  const exact = reference(FIELDS.vanderpol, y0, span);
  const found = [1e-3, 1e-5, 1e-7].map((rtol) => {
    const state = toleranceState({ problem: "vanderpol", method: "dopri5", rtol });
    assert.ok(Math.abs(state.fixed.nfe - state.adaptive.nfe) <= 4);
    assert.equal(state.fixed.accepted, Math.round((span[1] - span[0]) / state.step_size));
    return errorsOf(state, exact).adaptive;
  });
  assert.ok(found[0] > 10 * found[1] && found[1] > 10 * found[2], String(found));
});
