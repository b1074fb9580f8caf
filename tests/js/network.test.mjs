import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { ACTIVATIONS, linear, mlpField, networkField } = await script("page/network.mjs");
const { decode } = await script("page/wire.mjs");

test("a network's field is the one PyTorch computes", () => {
  for (const { points, ...network } of cases.networks) {
    const f = mlpField(network);
    for (const [t, y, dy] of points) close(f(t, y), dy, 1e-6, network.activation);
  }
});

test("a figure's field has the weights of the snapshot that is chosen", () => {
  const { points, weights, ...shape } = cases.networks[0];
  const traits = { ...shape, weights: ["", weights], snapshot: 1 };
  const f = networkField((name) => traits[name]);
  const [t, y, dy] = points[0];
  close(f(t, y), dy, 1e-6, "snapshot 1");
});

test("the functions between layers are right to 1e-7, however large their argument", () => {
  const xs = Float64Array.from({ length: 801 }, (_, i) => (i - 400) / 10);
  const exact = {
    tanh: Math.tanh,
    elu: (x) => (x < 0 ? Math.expm1(x) : x),
    relu: (x) => Math.max(0, x),
  };
  assert.deepEqual(Object.keys(ACTIVATIONS), Object.keys(exact));
  for (const [name, f] of Object.entries(exact)) {
    const got = xs.slice();
    ACTIVATIONS[name](got);
    got.forEach((y, i) => {
      assert.ok(Math.abs(y - f(xs[i])) < 1e-7, `${name}(${xs[i]}) = ${y}`);
    });
  }
});

test("a layer of any width is W x + b", () => {
  for (const outputs of [1, 3, 4, 7, 8]) {
    const W = Float64Array.from({ length: 2 * outputs }, (_, i) => i);
    const b = Float64Array.from({ length: outputs }, (_, i) => -i);
    const layer = { W, b, inputs: 2, outputs, out: new Float64Array(outputs) };
    linear(layer, Float64Array.of(1, 10));
    layer.out.forEach((y, j) => {
      assert.equal(y, 2 * j + 10 * (2 * j + 1) - j);
    });
  }
});

test("numbers travel as base64, whatever their kind", () => {
  const numbers = Int16Array.of(-5, 0, 32767);
  const text = Buffer.from(numbers.buffer).toString("base64");
  assert.deepEqual(new Int16Array(decode(text)), numbers);
});
