import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { codeOf, decoder, sweptArea } = await script("latent.mjs");
const { networkField } = await script("page/network.mjs");
const { endOf, solve } = await script("page/rk.mjs");

test("a latent point, its path and its curve are Python's", () => {
  assert.ok(cases.walks.length >= 9);
  for (const { traits, settings, span, code, nfe, ends } of cases.walks) {
    const get = (name) => traits[name];
    close(codeOf(get), code, 1e-7, "code");
    const path = solve(networkField(get), codeOf(get), span, settings);
    const look = decoder(get);
    assert.equal(path.nfe, nfe);
    close([...look(path.ys[0]), ...look(endOf(path))], ends, 1e-6, JSON.stringify(settings));
  }
});

test("the swept area is positive for a counter-clockwise circle and the circle's own", () => {
  const circle = Array.from({ length: 1001 }, (_, i) => {
    const angle = (i * 2 * Math.PI) / 1000;
    return [3 + Math.cos(angle), Math.sin(angle)];
  });
  assert.ok(Math.abs(sweptArea(circle) - Math.PI) < 1e-3);
  assert.ok(Math.abs(sweptArea(circle.reverse()) + Math.PI) < 1e-3);
});
