import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { added, allowed, drivenModel, moved, pathPieces, pathShown } = await script("path.mjs");

test("paths, states and probabilities are those of Python, known and whole", () => {
  assert.equal(cases.driven.length, 16);
  for (const { traits, shape, weights, leak, whole, known } of cases.driven) {
    const what = `${traits.interpolation} ${traits.moment}`;
    const shown = pathShown(drivenModel(shape, weights), traits);
    for (const [name, expected] of Object.entries({ whole, known })) {
      assert.equal(shown[name] === null, expected === null, what);
      if (!expected) continue;
      const { path, states, probability } = shown[name];
      close(path.flat(), expected[0], 1e-9, `${what} ${name}: path`);
      close(states.flat(), expected[1], 1e-9, `${what} ${name}: states`);
      close(probability, expected[2], 1e-9, `${what} ${name}: probability`);
    }
    assert.ok(Math.abs(shown.leak - leak) < 1e-9, what);
  }
});

test("only the natural cubic changes what was said before", () => {
  for (const { traits, leak } of cases.driven) {
    const some = traits.moment === 0.15 || traits.moment === 0.5;
    const leaks = traits.interpolation === "natural cubic" && some;
    assert.equal(leak > 1e-3, leaks, `${traits.interpolation} ${traits.moment}: ${leak}`);
  }
});

test("a path goes through its readings", () => {
  const rows = [
    [0, 1],
    [0.3, -1],
    [0.4, 0.5],
    [1, 2],
  ];
  for (const name of ["linear", "natural cubic", "hermite"]) {
    const pieces = pathPieces(name, rows);
    close(
      pieces.flatMap(([t, x]) => [t[0], x[0]]),
      rows.slice(0, -1).flat(),
      1e-12,
      name,
    );
    const ends = pieces.flatMap((piece) => piece.map((part) => part.reduce((a, b) => a + b)));
    close(ends, rows.slice(1).flat(), 1e-12, name);
  }
  assert.equal(pathPieces("rectilinear", rows).length, 6);
});

test("a reading is moved within the plot, and overtakes no other", () => {
  const rows = [
    [0, 1],
    [0.3, -1],
    [0.4, 0.5],
  ];
  assert.deepEqual(moved(rows, 1, [0.9, 5])[1], [0.38, 2]);
  assert.deepEqual(moved(rows, 1, [-1, -5])[1], [0.02, -2]);
  assert.deepEqual(moved(rows, 0, [-1, 0])[0], [0, 0]);
  assert.deepEqual(moved(rows, 2, [2, 0])[2], [1, 0]);
  assert.deepEqual(
    moved(
      [
        [0, 0],
        [0.01, 0],
      ],
      1,
      [0, 1],
    )[1],
    [0.01, 1],
  ); // too near already
});

test("a reading is added in the middle of the widest gap", () => {
  assert.deepEqual(
    added([
      [0, 1],
      [0.3, -1],
      [0.9, 1],
    ]),
    [
      [
        [0, 1],
        [0.3, -1],
        [0.6, 0],
        [0.9, 1],
      ],
      2,
    ],
  );
});

test("an address may ask for readings in order, in the plot, and not too many", () => {
  assert.ok(
    allowed([
      [0, 1],
      [1, -2],
    ]),
  );
  for (const rows of [
    [[0, 1]],
    [
      [0, 1],
      [0, 1],
    ],
    [
      [0, 1],
      [2, 1],
    ],
    [
      [0, 1],
      [1, 3],
    ],
    [
      [0, 1],
      [NaN, 0],
    ],
    [[0], [1]],
  ])
    assert.ok(!allowed(rows), JSON.stringify(rows));
  assert.ok(!allowed(Array.from({ length: 13 }, (_, i) => [i / 20, 0])));
});
