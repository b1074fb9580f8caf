import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, script } from "./course.mjs";

const { classifier, digitState } = await script("digit.mjs");

test("the digit figure takes the steps that Python takes, to the same probabilities", () => {
  assert.ok(cases.digits.length >= 12);
  for (const { weights, feature, rtol, expected } of cases.digits) {
    const { path, probabilities } = digitState(classifier(weights), feature, rtol);
    for (const key of ["nfe", "accepted", "rejected"]) assert.equal(path[key], expected[key]);
    for (const [d, p] of expected.probabilities.entries()) {
      assert.ok(Math.abs(p - probabilities[d]) < 1e-4);
    }
  }
});
