// What `round_rows` in course_lib/widgets/wire.py writes. No DOM here.
import { decode } from "./wire.mjs";

/**
 * Matrices as whole numbers that count the unit of their row, and units and vectors, in half
 * precision; both as base64.
 * @typedef {[counts: string, rest: string]} Carried
 */
/**
 * @typedef {{ W: Float64Array, b: Float64Array, inputs: number, outputs: number }} Linear
 */
/** @typedef {ReturnType<typeof reader>} Reader */

/**
 * Numbers in half precision; none of them is infinite.
 * @param {string} text
 */
function fromHalf(text) {
  return new Float64Array(new Uint16Array(decode(text))).map((h) => {
    const [exponent, digits] = [(h >> 10) & 31, h & 1023];
    const size = exponent ? (1024 + digits) * 2 ** (exponent - 25) : digits * 2 ** -24;
    return h >> 15 ? -size : size;
  });
}

/**
 * Reads matrices and vectors one after the other.
 * @param {Carried} carried
 */
export function reader([counts, rest]) {
  const [whole, parts] = [new Int8Array(decode(counts)), fromHalf(rest)];
  let [at, from] = [0, 0];
  const vector = (/** @type {number} */ n) => {
    from += n;
    return parts.slice(from - n, from);
  };
  const matrix = (/** @type {number} */ rows, /** @type {number} */ columns) => {
    const units = vector(rows);
    at += rows * columns;
    const counted = whole.subarray(at - rows * columns, at);
    return new Float64Array(counted).map((k, i) => k * units[Math.floor(i / columns)]);
  };
  /** @type {(outputs: number, inputs: number) => Linear} */
  const layer = (outputs, inputs) => {
    const W = matrix(outputs, inputs);
    return { W, b: vector(outputs), inputs, outputs };
  };
  return { vector, matrix, layer };
}
