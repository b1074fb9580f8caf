import assert from "node:assert/strict";
import { test } from "node:test";
import { close, script } from "./course.mjs";

const { decades, drawn, errorAxes } = await script("page/errors.mjs");
const { GAP, outline, scale, squared, tick, ticks } = await script("page/plot.mjs");

test("ticks are round numbers inside the range, about as many as asked for", () => {
  assert.deepEqual(ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks(-2.2, 2.2, 5), [-2, -1, 0, 1, 2]);
  assert.deepEqual(ticks(0.1, 0.35, 3), [0.1, 0.2, 0.3]);
  for (const n of [1, 3, 8]) assert.ok(ticks(-7.3, 91.2, n).length <= 2.5 * n + 1);
});

test("ticks of a logarithmic axis are powers of ten, every one or every few", () => {
  const exponents = (...range) => ticks(...range, true).map((v) => Math.round(Math.log10(v)));
  assert.deepEqual(exponents(1e-3, 1, 5), [-3, -2, -1, 0]);
  assert.deepEqual(exponents(1e-12, 1e2, 5), [-12, -9, -6, -3, 0]);
});

test("a tick is written short, a power of ten with its exponent", () => {
  assert.deepEqual([tick(-0.5), tick(1e-12, true), tick(100, true)], ["−0.5", "10⁻¹²", "10²"]);
});

test("a scale and its inverse lead there and back, linear or logarithmic", () => {
  for (const log of [false, true]) {
    const x = scale([0.01, 10], [40, 300], log);
    assert.deepEqual([x(0.01), x(10)], [40, 300]);
    for (const v of [0.02, 0.5, 7]) close([x.inverse(x(v))], [v], 1e-12, `log ${log}`);
  }
});

test("a squared plot widens the range that is too narrow and moves no middle", () => {
  const area = { left: 0, right: 200, top: 0, bottom: 100 };
  const { x, y } = squared({ x: [-1, 1], y: [0, 2] }, area);
  assert.deepEqual(
    [x, y],
    [
      [-2, 2],
      [0, 2],
    ],
  );
});

test("a line breaks at a gap, leaves out points too close and holds far ones nearby", () => {
  const same = (v) => v;
  const line = (points) => outline(points, same, same);
  assert.equal(line([[0, 0], [5, 5], GAP, [9, 9], [20, 9.04]]), "M0 0L5 5M9 9L20 9");
  assert.equal(
    line([
      [0, 0],
      [1, 1],
      [1.5, 1.5],
      [8, 0],
    ]),
    "M0 0L8 0",
  );
  assert.equal(
    line([
      [0, 0],
      [1, 1],
    ]),
    "M0 0L1 1",
  ); // the last one stays
  assert.equal(
    line([
      [0, 0],
      [1e9, 0],
    ]),
    "M0 0L100000 0",
  );
});

test("errors stand on whole powers of ten, with room around them and no zero", () => {
  assert.deepEqual(decades([1, 10], 0.08).map(Math.log10), [-1, 2]);
  assert.deepEqual(decades([2e-3, NaN]).map(Math.log10).map(Math.round), [-4, -1]);
  assert.equal(drawn(0), 1e-12);
  const axes = errorAxes([1, 2], [1e-3, 1e-1], { xlabel: "h", ylabel: "error" });
  assert.ok(axes.xlog && axes.ylog && axes.y[0] < 1e-3 && axes.y[1] > 1e-1);
  assert.deepEqual([axes.x, axes.xlabel, axes.ylabel], [[1, 2], "h", "error"]);
});
