import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { orders, sampled, settingsOf } = await script("sampler.mjs");
const { normals } = await script("page/chance.mjs");
const { generator } = await script("page/generator.mjs");
const { endOf } = await script("page/rk.mjs");

test("a digit from noise, its path and its pixels are Python's", () => {
  assert.ok(cases.samples.length >= 6);
  for (const { traits, expected } of cases.samples) {
    const get = (name) => traits[name];
    const [net, settings, t] = [generator(get("weights")), settingsOf(get), get("moment")];
    const { one, many } = orders(get);
    close(one.noise, expected.noise, 1e-14, "noise");
    const made = sampled(net, one, t, settings);
    for (const key of ["nfe", "accepted", "rejected"]) assert.equal(made.path[key], expected[key]);
    close(endOf(made.path), expected.end, 1e-9, `end, ${settings.method}`);
    for (const key of ["state", "guess"]) close(made[key], expected[key], 1e-9, key);
    const [image, guessed] = net.images([made.state, made.guess]);
    close(image, expected.image, 1e-9, "image");
    close(guessed, expected.guessed, 1e-9, "the image of the guess");
    assert.equal(many.length, expected.many ? 10 : 0);
    for (let i = 0; i < many.length; i += 2) {
      const states = many.slice(i, i + 2).map((order) => sampled(net, order, t, settings).state);
      const both = net.images(states).flatMap((pixels) => [...pixels]);
      close(both, expected.many.slice(784 * i, 784 * (i + 2)), 1e-9, `digit ${i} of a grid`);
    }
  }
});

test("the numbers that are called normal have the moments of a normal", () => {
  const drawn = normals(3, 100000);
  for (const [power, moment] of [
    [1, 0],
    [2, 1],
    [3, 0],
    [4, 3],
  ]) {
    const mean = drawn.reduce((sum, v) => sum + v ** power, 0) / drawn.length;
    assert.ok(Math.abs(mean - moment) < 0.1, `moment ${power}: ${mean}`);
  }
});
