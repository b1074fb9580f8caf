import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { exactPath, lawAt, pathsAt, randomPaths, wellDensities } = await script("noise.mjs");
const { brownian, normalsAt, threefry } = await script("page/brownian.mjs");

test("threefry gives the words that its authors published", () => {
  const known = [
    [
      [0, 0, 0, 0],
      [0x6b200159, 0x99ba4efe],
    ],
    [
      [0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3],
      [0xc4923a9c, 0x483df7a0],
    ],
  ];
  for (const [words, expected] of known) {
    assert.deepEqual(
      threefry(...words).map((x) => x >>> 0),
      expected,
    );
  }
});

test("an odd count of normal numbers is the beginning of an even one", () => {
  assert.deepEqual([...normalsAt(5, 3, 3)], [...normalsAt(5, 3, 4)].slice(0, 3));
});

test("a finer path keeps the points of a coarser one", () => {
  const [coarse, fine] = [2, 5].map((halvings) => brownian(7, halvings, 2, 2));
  for (let i = 0; i < coarse.length; i++) assert.deepEqual(coarse[i], fine[8 * i]);
});

test("paths, the exact one, the state at a time and the density are Python's", () => {
  assert.equal(cases.noises.length, 9);
  for (const { order, moment, expected } of cases.noises) {
    const what = `${order.system}, ${order.method}`;
    const ys = randomPaths(order, brownian(order.seed, 8, 200, 2));
    close(
      ys.flatMap((row) => [...row.slice(0, 5)]),
      expected.ys,
      1e-10,
      what,
    );
    close(pathsAt(ys, moment), expected.at, 1e-10, what);
    const exact = exactPath(order, brownian(order.seed, 9, 1, 2), order.method);
    close(exact, expected.exact, 1e-10, what);
    const { x, p } = lawAt(order, moment, wellDensities);
    close(x, expected.x, 1e-12, what);
    close(p, expected.density, 1e-9, what);
  }
});

test("mean and spread are those of the density", () => {
  for (const { order, moment, expected } of cases.noises) {
    const { x, p, mean, spread } = lawAt(order, moment, wellDensities);
    const width = expected.x[1] - expected.x[0];
    const sum = (of) => p.reduce((s, q, i) => s + width * q * of(x[i]), 0);
    // The window cuts off a tail of geometric Brownian motion.
    const near = order.system === "geometric" ? 0.35 : 0.03;
    assert.ok(Math.abs(sum((u) => u) - mean) < near * (1 + mean), order.system);
    assert.ok(Math.abs(Math.sqrt(sum((u) => (u - mean) ** 2)) - spread) < 2 * near * spread);
  }
});
