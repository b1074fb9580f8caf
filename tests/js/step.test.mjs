import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { hereAt, moments, stepState, workOf } = await script("step.mjs");
const { estimate } = await script("page/rk.mjs");
const { METHODS } = await script("page/tables.mjs");

const stateOf = (traits) => stepState((name) => traits[name]);
const kinds = (method) => moments(METHODS[method]).map(({ kind }) => kind);

test("every attempt agrees with Python: stages, error, verdict and the size to try next", () => {
  assert.equal(cases.attempts.length, 7 * 3 * 2);
  for (const { traits, attempts } of cases.attempts) {
    const { problem, method, backward } = traits;
    const { path } = stateOf(traits);
    assert.equal(path.attempts.length, attempts.length);
    for (const [i, expected] of attempts.entries()) {
      const what = JSON.stringify({ problem, method, backward, i });
      const got = path.attempts[i];
      assert.equal(got.accepted, expected.accepted, what);
      close([got.t, got.h, got.next], [expected.t, expected.h, expected.h_next], 1e-9, what);
      close([...got.y, ...got.yNext], [...expected.y, ...expected.y_next], 1e-9, what);
      close(got.stages.flat(), expected.stages, 1e-9, `${what} stages`);
      if (!METHODS[method].b_error) continue;
      close(estimate(got, METHODS[method]), expected.error, 1e-9, `${what} error`);
      close([got.ratio], [expected.ratio], 1e-9, `${what} ratio`);
    }
  }
});

test("the lines that are marked, moment after moment, are those that Python executes", () => {
  for (const { traits, loop, executed } of cases.attempts) {
    const { path } = stateOf(traits);
    const count = path.attempts.length * moments(path.method).length;
    const marked = Array.from(
      { length: count },
      (_, n) => traits.marks[loop][workOf(hereAt(path, n))],
    );
    const lines = marked.flat().map((i) => traits.listing[loop][i].trim());
    assert.ok(lines.length >= count && path.attempts.length > 1);
    assert.deepEqual(executed.slice(0, lines.length), lines);
  }
});

test("an attempt is its stages, the new state, and a verdict if the method has one", () => {
  assert.deepEqual(kinds("euler"), ["size", "slope", "sum", "take"]);
  assert.deepEqual(kinds("midpoint"), ["size", "slope", "point", "slope", "sum", "take"]);
  assert.deepEqual(kinds("bosh3").slice(-6), ["point", "slope", "sum", "error", "verdict", "next"]);
  assert.equal(kinds("dopri5").filter((kind) => kind === "slope").length, 7);
});

test("beyond the last moment of the last attempt the walk stays there", () => {
  const { path } = stateOf(cases.attempts[0].traits);
  const here = hereAt(path, 10_000);
  assert.deepEqual([here.index, here.kind], [path.attempts.length - 1, "take"]);
  assert.ok(here.reached("sum") && !here.reached("verdict"));
  assert.equal(hereAt(path, 0).known, 0);
});
