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

function arc(ts) {
  return ts.map((t) => [3 + Math.cos(t), Math.sin(t)]);
}

const times = (end, power = 1) => Array.from({ length: 1001 }, (_, i) => end * (i / 1000) ** power);

test("the swept area is positive for a counter-clockwise circle and the circle's own", () => {
  const ts = times(2 * Math.PI);
  assert.ok(Math.abs(sweptArea(arc(ts), ts) - Math.PI) < 1e-3);
  assert.ok(Math.abs(sweptArea(arc(ts).reverse(), ts) + Math.PI) < 1e-3);
});

test("the swept area of an open curve does not depend on where a solver puts its points", () => {
  const [even, crowded] = [times(2), times(2, 3)];
  const [one, other] = [even, crowded].map((ts) => sweptArea(arc(ts), ts));
  assert.ok(Math.abs(one - other) < 1e-3);
});
