import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { factorOf, heat, learnt, netOf, shownBy, startOf } = await script("graph.mjs");

const net = (traits) => netOf((name) => traits[name]);

test("heat and the learnt flow are those of Python on every graph, by every solver", () => {
  assert.equal(cases.graphs.length, 16);
  for (const { traits, kind, settings, end, t, values, energy } of cases.graphs) {
    const here = net(traits);
    const flow = kind === "heat" ? heat(here) : learnt(here, traits.weights);
    const x = startOf(here.labels.length, traits.warm, traits.cold);
    const shown = shownBy(here, flow, x, end, settings);
    const what = `${kind} ${traits.graph} ${settings.method}`;
    assert.equal(shown.stopped, null, what);
    close(shown.ts, t, 1e-9, what);
    assert.equal(shown.ts.length, t.length, what);
    close(shown.values.flat(), values, 1e-9, what);
    close(shown.energy, energy, 1e-9, what);
  }
});

test("a step too long multiplies the fastest mode, and says so", () => {
  const [{ traits }] = cases.graphs;
  const [, largest] = net(traits).ends;
  assert.ok(Math.abs(factorOf("euler", (2 / largest) * 0.99, largest)) < 1);
  assert.ok(Math.abs(factorOf("euler", (2 / largest) * 1.01, largest)) > 1);
  close([factorOf("rk4", 0.1, 1)], [Math.exp(-0.1)], 1e-6, "rk4");
});

test("a flow that overflows stops, and has numbers until there", () => {
  const [{ traits }] = cases.graphs;
  const here = net(traits);
  const x = startOf(here.labels.length, [0], [33]);
  const shown = shownBy(here, heat(here), x, 8, { method: "rk4", step_size: 0.3 });
  assert.equal(shown.stopped, null);
  const long = { method: "rk4", step_size: 0.3 };
  const stopped = shownBy(here, heat(here), x, 80, long).stopped;
  assert.equal(stopped.why, "not finite");
});

test("a node that a graph does not have is neither warm nor cold", () => {
  assert.deepEqual(startOf(3, [0, 33], [2, 40]), [1, 0, -1]);
});
