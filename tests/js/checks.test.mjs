import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, script } from "./course.mjs";

const { sha256 } = await script("checks/hash.mjs");
const { meets, readNumber, verdict } = await script("checks/judge.mjs");

test("a text has the hash that Python gives it", () => {
  for (const { text, hash } of cases.hashes) assert.equal(sha256(text), hash, text);
});

test("a number is right up to its tolerance and nearly right up to three times that", () => {
  for (const { sealed, tried, expected } of cases.numbers)
    assert.equal(verdict(sealed, tried), expected, `${JSON.stringify(sealed)} ${tried}`);
});

test("a number is read as people write it, and what is none is not", () => {
  const read = { 0.001: 1e-3, "1e-3": 1e-3, "10^-3": 1e-3, "−2·10^-3": -2e-3, "1/4": 0.25 };
  Object.assign(read, { "1,000": 1000, "12,345.5": 12345.5, ".5": 0.5, " 5 700 ": 5700 });
  for (const [text, x] of Object.entries(read)) assert.equal(readNumber(text), x, text);
  assert.equal(readNumber("12 steps", "steps"), 12);
  assert.equal(readNumber("12 fine steps", "fine steps"), 12);
  for (const text of [
    "",
    "0,5",
    "ten",
    "0,001",
    "0,716",
    "1/2/3",
    "0x10",
    "Infinity",
    "1e",
    "12 steps",
  ])
    assert.ok(Number.isNaN(readNumber(text)), text);
});

test("no number that is not finite is right", () => {
  const { sealed } = cases.numbers[0];
  for (const x of [Infinity, -Infinity, NaN, 1e300]) assert.equal(verdict(sealed, x), "wrong");
});

test("facts meet conditions if they meet all, and what a figure cannot say meets none", () => {
  const facts = { method: "euler", error: 0.01, nfe: 40, h: null };
  assert.ok(
    meets(facts, [
      ["method", "=", "euler"],
      ["error", "<", 0.1],
      ["nfe", "<=", 40],
    ]),
  );
  assert.ok(
    !meets(facts, [
      ["error", "<", 0.1],
      ["nfe", "<", 40],
    ]),
  );
  assert.ok(!meets(facts, [["method", "!=", "euler"]]));
  for (const sign of ["=", "!=", "<", "<=", ">", ">="]) {
    assert.ok(!meets(facts, [["h", sign, 0]]), sign);
    assert.ok(!meets(facts, [["nothing", sign, 0]]), sign);
  }
});
