// What a check accepts. No DOM here; course_lib/checks/check.py says the same in Python.
import { sha256 } from "./hash.mjs";

/**
 * A fact of a figure, how it is compared, and with what.
 * @typedef {[fact: string, sign: string, value: number | string]} Condition
 * @typedef {Record<string, number | string | null>} Facts
 * @typedef {{ salt: string, grid: number, reach: number, near: number, hash: string }} Sealed
 */

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

/**
 * The number that a reader wrote: 0.001, 1e-3, 10^-3, 2·10^-3, 1/3, 1,000; else NaN.
 * @param {string} text
 * @param {string} [unit] may stand behind it
 */
export function readNumber(text, unit = "") {
  const [plain, mark] = [text, unit].map((it) => it.replace(/[−–]/g, "-").replace(/\s/g, ""));
  const bare = mark && plain.endsWith(mark) ? plain.slice(0, -mark.length) : plain;
  const [over, under, ...more] = bare.split("/");
  if (more.length) return NaN;
  return under === undefined ? plainNumber(over) : plainNumber(over) / plainNumber(under);
}

/** @param {string} text */
function plainNumber(text) {
  const thousands = /^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$/.test(text)
    ? text.replaceAll(",", "")
    : text;
  const powers = thousands.replace(/[*×·x]10\^/, "e").replace(/^([+-]?)10\^/, "$11e");
  return NUMBER.test(powers) ? Number(powers) : NaN;
}

/**
 * Whether a number is right. It is put on the grid, and what lies within reach of it there
 * is compared with the hash of the right one.
 * @param {Sealed} sealed
 * @param {number} x
 * @returns {"right" | "nearly" | "wrong"}
 */
export function verdict({ salt, grid, reach, near, hash }, x) {
  const at = Math.floor(x / grid + 0.5);
  if (!Number.isSafeInteger(at)) return "wrong";
  for (let off = 0; off <= near; off++) {
    const found = [at - off, at + off].some((n) => sha256(`${salt}|${n}`) === hash);
    if (found) return off <= reach ? "right" : "nearly";
  }
  return "wrong";
}

/** @type {Record<string, (a: any, b: any) => boolean>} */
const SIGNS = {
  "=": (a, b) => a === b,
  "!=": (a, b) => a !== b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

/**
 * Whether what a figure shows meets all conditions; what it cannot say meets none.
 * @param {Facts} facts
 * @param {Condition[]} conditions
 */
export const meets = (facts, conditions) =>
  conditions.every(
    ([fact, sign, value]) => (facts[fact] ?? null) !== null && SIGNS[sign](facts[fact], value),
  );
