import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { best, COUNTS, ordered, parts, seconds, speedUp, stateOf } = await script("scaling.mjs");
const orderOf = (traits) => ordered((name) => traits[name]);

test("a shared step takes as long as in Python, and as many processes are best", () => {
  assert.ok(cases.shares.length >= 24);
  for (const { traits, parts: expected, speed_up, best: most } of cases.shares) {
    const order = orderOf(traits);
    const what = JSON.stringify(traits);
    for (const n of [1, 2, 3, 7, 64, 1000, 1024]) {
      const found = parts(order, n);
      found.forEach((x, i) => {
        close([x], [expected[i][n - 1]], 1e-12, what);
      });
      close([speedUp(order, n)], [speed_up[n - 1]], 1e-12, what);
    }
    assert.equal(best(order), most, what);
  }
});

test("the parts add up to the step, and messages have their share", () => {
  const order = orderOf(cases.shares[0].traits);
  const state = stateOf(order, 8, best(order));
  const whole = parts(order, 8).reduce((a, b) => a + b);
  close([seconds(order, 8), state.ms / 1e3], [whole, whole], 1e-12, "whole");
  close([state.talk], [parts(order, 8)[2] / whole], 1e-12, "talk");
  close([state.efficiency * 8], [state.speedup], 1e-12, "efficiency");
});

test("curves go through every small number of processes and end at the last", () => {
  assert.deepEqual(COUNTS.slice(0, 6), [1, 2, 3, 4, 5, 6]);
  assert.equal(COUNTS.at(-1), 1024);
});
