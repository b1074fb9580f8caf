// What all these tests need: the scripts beside their tables, and what Python computed.
// tests/test_scripts.py puts both into a folder and says where it is.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const folder = pathToFileURL(`${process.env.MODULES}/`);

/** A script of course_lib/widgets. */
export const script = (name) => import(new URL(name, folder));

export const cases = JSON.parse(readFileSync(process.env.CASES));

/** That all numbers agree, up to a tolerance relative to the largest of them. */
export function close(got, expected, tolerance, what) {
  const size = Math.max(...expected.map(Math.abs), 1e-12);
  const gap = Math.max(...expected.map((v, i) => Math.abs(v - got[i])));
  assert.ok(gap <= tolerance * size, `${what}: off by ${gap / size}`);
}
