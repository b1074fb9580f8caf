import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { convolution } = await script("page/convolution.mjs");

test("a convolution by sixteen products a tile is that of PyTorch, twice in a row", () => {
  assert.ok(cases.convolutions.length >= 3);
  for (const { picture, kernels, bias, expected } of cases.convolutions) {
    const convolved = convolution(Float64Array.from(kernels), Float64Array.from(bias));
    const zeros = new Float64Array(picture.length);
    const other = convolved(zeros).map((v, i) => v - bias[Math.floor(i / 36)]);
    assert.ok(other.every((v) => v === 0));
    for (const _ of [0, 1]) {
      close(convolved(Float64Array.from(picture)), expected, 1e-13, `${bias.length} channels`);
    }
  }
});
