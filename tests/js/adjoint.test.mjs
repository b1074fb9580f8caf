import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { adjointState } = await script("adjoint.mjs");
const { endOf } = await script("page/rk.mjs");
const { halves } = await script("page/systems.mjs");

test("the adjoint figure shows the gradient and the start that Python finds", () => {
  assert.ok(cases.adjoints.length >= 6);
  for (const { problem, target, rtol, expected } of cases.adjoints) {
    const state = adjointState({ problem, target, rtol });
    assert.equal(state.back.nfe, expected.nfe_back);
    close(state.gradient, expected.gradient, 1e-7, problem);
    close(halves(endOf(state.back))[0], expected.reconstructed, 1e-7, problem);
    close(state.exact, expected.exact, 1e-7, problem);
  }
});
