import assert from "node:assert/strict";
import { test } from "node:test";
import { script } from "./course.mjs";

const { asked, follow, fragment } = await script("page/address.mjs");
const { numberOf } = await script("page/frame.mjs");

/** Settings of a figure: a number from 0 to 2 and a method. */
function settings() {
  const held = { h: 0.1, method: "euler" };
  const of = (key, parse) => ({
    key,
    start: held[key],
    get: () => held[key],
    set: (value) => {
      held[key] = value;
    },
    parse,
  });
  const method = (text) => ["euler", "rk4"].find((name) => name === text);
  return [held, [of("h", (text) => numberOf(text, { min: 0, max: 2 })), of("method", method)]];
}

test("a link holds what differs from the start, and leads back to it", () => {
  const [held, there] = settings();
  assert.equal(fragment("step-size-explorer", there), "#figure=step-size-explorer");
  Object.assign(held, { h: 0.2, method: "rk4" });
  const link = fragment("step-size-explorer", there);
  assert.equal(link, "#figure=step-size-explorer&h=0.2&method=rk4");
  const [again, here] = settings();
  assert.equal(follow(here, asked(link, "step-size-explorer")), "");
  assert.deepEqual(again, held);
});

test("what a link does not name goes back to its start", () => {
  const [held, all] = settings();
  held.method = "rk4";
  follow(all, [["h", "0.5"]]);
  assert.deepEqual(held, { h: 0.5, method: "euler" });
  follow(all);
  assert.deepEqual(held, { h: 0.1, method: "euler" });
});

test("only the figure that is named is asked something", () => {
  for (const hash of ["", "#", "#order", "#figure", "#figure=another", "#h=0.2"]) {
    assert.equal(asked(hash, "mine"), undefined);
  }
  assert.equal(asked("#figure=mine", undefined), undefined);
  assert.deepEqual(asked("#h=1&figure=mine&h=2", "mine"), [
    ["h", "1"],
    ["h", "2"],
  ]);
});

test("what cannot be set is ignored and said, and does not keep the rest from being set", () => {
  const [held, all] = settings();
  const wanted = asked("#figure=x&h=3&method=rk5&colour=red&method=rk4", "x");
  assert.equal(follow(all, wanted), "h=3, method=rk5, colour=red");
  assert.deepEqual(held, { h: 0.1, method: "rk4" });
});

test("a long text of a link is cut where it is said", () => {
  const [, all] = settings();
  assert.equal(follow(all, [["x", "y".repeat(500)]]).length, 30);
});

test("a number of a link lies within its slider, and on a stage where there are stages", () => {
  const range = { min: 1e-8, max: 0.1 };
  for (const bad of ["", " ", "one", "NaN", "Infinity", "-1", "0.2", "0", "0.01x"]) {
    assert.equal(numberOf(bad, range), undefined, bad);
  }
  assert.equal(numberOf("1e-8", range), 1e-8);
  assert.equal(numberOf("0.1", range), 0.1);
  const stages = { min: 0, max: 3, step: 1 };
  assert.deepEqual(
    ["0", "2", "3", "1.5", "4"].map((text) => numberOf(text, stages)),
    [0, 2, 3, undefined, undefined],
  );
});

test("a number at an end of its slider is within it as six digits write it", () => {
  const [min, max] = [0.05 * Math.PI, 3 * Math.PI];
  for (const end of [min, max])
    assert.ok(numberOf(String(Number(end.toPrecision(6))), { min, max }));
});
