// ode.mjs against course_lib: the settings and what Python made of them come in a file.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(process.env.MODULES + "/");
const { FIELDS, PULLBACKS, augmented, decode, mlpField, networkField, sample, solve } = await import(
  new URL("page/rk.mjs", folder)
);
const { adjointState } = await import(new URL("adjoint.mjs", folder));
const { classifier, digitState } = await import(new URL("digit.mjs", folder));
const { carry, points, positions } = await import(new URL("particles.mjs", folder));
const { codeOf, decoder, sweptArea } = await import(new URL("latent.mjs", folder));
const { coarse, fan } = await import(new URL("field.mjs", folder));
const { cases, networks, pullbacks, adjoints, digits, flights, walks } = JSON.parse(readFileSync(process.env.CASES));

function close(got, expected, tolerance, what) {
  const scale = Math.max(...expected.map(Math.abs), 1e-12);
  const gap = Math.max(...expected.map((v, i) => Math.abs(v - got[i])));
  assert.ok(gap <= tolerance * scale, `${what}: off by ${gap / scale}`);
}

test("fixed and adaptive solves agree with Python, step for step", () => {
  assert.ok(cases.length >= 200);
  for (const { problem, y0, span, settings, expected } of cases) {
    const what = JSON.stringify({ problem, y0, span, settings });
    const path = solve(FIELDS[problem], y0, span, settings);
    assert.equal(path.stopped, null, what);
    assert.equal(path.accepted, expected.accepted, what);
    assert.equal(path.rejected, expected.rejected, what);
    assert.equal(path.nfe, expected.nfe, what);
    close(path.ys.at(-1), expected.end, 1e-9, what);
    if (expected.inside) {
      const inside = sample(path, expected.times, settings.method);
      expected.inside.forEach((y, i) => close(inside[i], y, 1e-9, `${what} inside`));
    }
  }
});

test("a network's field is the one PyTorch computes", () => {
  for (const { widths, activation, time, weights, points } of networks) {
    const f = mlpField({ widths, activation, time, weights: decode(weights) });
    for (const [t, y, dy] of points) close(f(t, y), dy, 1e-6, activation);
  }
});

test("the pullback of every field is λᵀ ∂f/∂y", () => {
  assert.equal(pullbacks.length, 5 * Object.keys(PULLBACKS).length);
  for (const { problem, y, lam, expected } of pullbacks) {
    close(PULLBACKS[problem](0, y, lam), expected, 1e-12, problem);
    close(augmented(problem)(0, [...y, ...lam]).slice(2), expected.map((v) => -v), 1e-12, problem);
  }
});

test("the adjoint figure shows the gradient and the start that Python finds", () => {
  for (const { problem, target, rtol, expected } of adjoints) {
    const state = adjointState({ problem, target, rtol });
    assert.equal(state.back.nfe, expected.nfe_back);
    close(state.gradient, expected.gradient, 1e-7, problem);
    close(state.back.ys.at(-1).slice(0, 2), expected.reconstructed, 1e-7, problem);
    close(state.exact, expected.exact, 1e-7, problem);
  }
});

test("the digit figure takes the steps that Python takes, to the same probabilities", () => {
  assert.ok(digits.length >= 12);
  for (const { weights, feature, rtol, expected } of digits) {
    const { path, probabilities } = digitState(classifier(weights), feature, rtol);
    for (const key of ["nfe", "accepted", "rejected"]) assert.equal(path[key], expected[key]);
    expected.probabilities.forEach((p, d) => assert.ok(Math.abs(p - probabilities[d]) < 1e-4));
  }
});

test("the particles are where Python has them, in either direction and between steps", () => {
  assert.ok(flights.length >= 12);
  for (const { network, start, span, settings, moment, expected } of flights) {
    const f = mlpField({ ...network, weights: decode(network.weights) });
    const paths = carry(f, points(start), span, settings);
    const there = positions(f, paths, moment, settings);
    assert.equal(there.length, expected.length);
    expected.forEach((y, i) => close(there[i], y, 1e-6, JSON.stringify([settings, span, moment])));
  }
});

test("a latent point, its path and its curve are Python's", () => {
  assert.ok(walks.length >= 9);
  for (const { traits, settings, span, code, nfe, ends } of walks) {
    const get = (name) => traits[name];
    close(codeOf(get), code, 1e-7, "code");
    const path = solve(networkField(get), codeOf(get), span, settings);
    const look = decoder(get);
    assert.equal(path.nfe, nfe);
    close([...look(path.ys[0]), ...look(path.ys.at(-1))], ends, 1e-6, JSON.stringify(settings));
  }
});

test("the swept area is positive for a counter-clockwise circle and the circle's own", () => {
  const circle = Array.from({ length: 1001 }, (_, i) => [3 + Math.cos(i * 2e-3 * Math.PI), Math.sin(i * 2e-3 * Math.PI)]);
  assert.ok(Math.abs(sweptArea(circle) - Math.PI) < 1e-3);
  assert.ok(Math.abs(sweptArea(circle.reverse()) + Math.PI) < 1e-3);
});

test("a solve that cannot go on stops and says where, after at most 10,000 attempts", () => {
  const blow = solve((t, [y]) => [y * y], [1], [0, 2], { method: "dopri5", rtol: 1e-6, atol: 1e-6 });
  assert.ok(Math.abs(blow.stopped.t - 1) < 1e-3 && blow.accepted > 5);
  const wild = solve((t, [y]) => [1e200 * y * y], [1e100], [0, 1], { method: "euler", stepSize: 0.1 });
  assert.equal(wild.stopped.why, "not finite");
  const long = solve((t, y) => y, [1], [0, 1], { method: "euler", stepSize: 1e-6 });
  assert.equal(long.stopped.why, "too many steps");
  assert.equal(long.accepted, 10_000);
  const nan = solve(() => [NaN], [1], [0, 1], { method: "tsit5", rtol: 1e-3, atol: 1e-3 });
  assert.deepEqual([nan.stopped.why, nan.accepted], ["not finite", 0]);
  assert.throws(() => solve((t, y) => y, [1], [0, 1], { method: "eule" }), /unknown method eule/);
});

test("the paths of a fan take at most 10,000 steps together, however hard the field", () => {
  const starts = fan([[-2, 2], [-2, 2]]);
  const fast = (t, [u, v]) => [40 * v + Math.cos(90 * u), -40 * u];
  for (const settings of [{ method: "rk4", stepSize: 0.01 }, { method: "bosh3", rtol: 1e-7, atol: 1e-7 }]) {
    for (const length of [1, 31.45, 94.35]) {
      const paths = starts.map((y) => solve(fast, y, [0, length], coarse(settings, length)));
      const steps = paths.reduce((sum, path) => sum + path.attempts.length, 0);
      assert.ok(steps <= 10_000, `${settings.method} over ${length}: ${steps}`);
    }
  }
});
