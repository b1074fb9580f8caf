import assert from "node:assert/strict";
import { test } from "node:test";
import { script } from "./course.mjs";

const { clamp, coordinate, memo, short, tidy, unique } = await script("page/frame.mjs");

test("a memo makes a thing once for a key, and anew for another", () => {
  const made = memo();
  let count = 0;
  const make = () => ++count;
  assert.deepEqual(
    ["a", "a", "b", "b", "a"].map((key) => made(key, make)),
    [1, 1, 2, 2, 3],
  );
});

test("what could not be made is tried again", () => {
  const made = memo();
  assert.throws(() => made("a", () => assert.fail("broken")), /broken/);
  assert.equal(
    made("a", () => 1),
    1,
  );
});

test("numbers are written as people read them", () => {
  const said = [0, 1, -0.5, 1234.5, 1e-4, -2.5e-7, 123456, 0.1 + 0.2].map(short);
  assert.deepEqual(said, ["0", "1", "−0.5", "1230", "1e−4", "−2.5e−7", "1.2e5", "0.3"]);
});

test("a hand sets a number to six digits, within its limits", () => {
  assert.equal(tidy(0.1 + 0.2), 0.3);
  assert.deepEqual(
    [-5, 0.5, 5].map((x) => clamp(x, -1, 1)),
    [-1, 0.5, 1],
  );
});

test("a slider for one coordinate leaves the others, and the old point, alone", () => {
  const lens = coordinate(1);
  const point = [1, 2, 3];
  assert.equal(lens.get(point), 2);
  assert.deepEqual(lens.set(point, 7), [1, 7, 3]);
  assert.deepEqual(point, [1, 2, 3]);
});

test("no two names are the same", () => {
  assert.notEqual(unique(), unique());
});
