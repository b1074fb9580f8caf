import assert from "node:assert/strict";
import { test } from "node:test";
import { script } from "./course.mjs";

const { stepSizeState } = await script("step_size.mjs");

test("half the step size divides the error by two to the order of the method", () => {
  const orders = { euler: 1, midpoint: 2, heun: 2, rk4: 4 };
  for (const [method, order] of Object.entries(orders)) {
    const at = (step_size) => stepSizeState({ problem: "oscillator", method, step_size }).error;
    const measured = Math.log2(at(0.02) / at(0.01));
    assert.ok(Math.abs(measured - order) < 0.1, `${method}: ${measured}`);
  }
});
