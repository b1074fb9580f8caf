// A Brownian path from a seed, the same as course_lib.solvers.BrownianPath has. No DOM here.

const ROTATIONS = Int32Array.of(13, 15, 26, 6, 17, 29, 16, 24);
const DIGITS = 40;
const keys = new Int32Array(3); // of the call that is on

/**
 * Encrypt a counter by a key: Threefry 2×32 with twenty rounds (Salmon et al. 2011).
 * @param {number} k0
 * @param {number} k1
 * @param {number} c0
 * @param {number} c1
 * @returns {[number, number]} two words of 32 bits, with a sign
 */
export function threefry(k0, k1, c0, c1) {
  keys[0] = k0;
  keys[1] = k1;
  keys[2] = k0 ^ k1 ^ 0x1bd11bda;
  let x = (c0 + k0) | 0;
  let y = (c1 + k1) | 0;
  for (let round = 0; round < 20; round++) {
    const bits = ROTATIONS[round & 7];
    x = (x + y) | 0;
    y = ((y << bits) | (y >>> (32 - bits))) ^ x;
    if ((round & 3) === 3) {
      const i = (round + 1) >> 2;
      x = (x + keys[i % 3]) | 0;
      y = (y + keys[(i + 1) % 3] + i) | 0;
    }
  }
  return [x, y];
}

/**
 * n standard normal numbers that belong to a place.
 * @param {number} seed
 * @param {number} place
 * @param {number} n
 */
export function normalsAt(seed, place, n) {
  const found = new Float64Array(n);
  for (let j = 0; j < n; j += 2) {
    const [first, second] = threefry(seed | 0, place, j / 2, 0);
    const length = Math.sqrt(-2 * Math.log(((first >>> 0) + 0.5) / 2 ** 32));
    const angle = (2 * Math.PI * (second >>> 0)) / 2 ** 32;
    found[j] = length * Math.cos(angle);
    if (j + 1 < n) found[j + 1] = length * Math.sin(angle);
  }
  return found;
}

/**
 * n paths at 2^halvings + 1 even times from 0 to `end`, a row for each time.
 * @param {number} seed
 * @param {number} halvings
 * @param {number} n
 * @param {number} end
 */
export function brownian(seed, halvings, n, end) {
  const [last, size] = [2 ** halvings, Math.sqrt(end)];
  const unit = 2 ** (Math.floor(Math.log2(size)) - DIGITS);
  const tidied = (/** @type {number} */ w) => Math.round(w / unit) * unit;
  /** @type {Float64Array[]} */
  const rows = Array(last + 1);
  rows[0] = new Float64Array(n);
  rows[last] = normalsAt(seed, 0, n).map((z) => tidied(size * z));
  for (let level = 0; level < halvings; level++) {
    const [many, gap, bend] = [2 ** level, last >> level, size * 2 ** (-level / 2 - 1)];
    for (let i = 0; i < many; i++) {
      const [low, high] = [rows[i * gap], rows[(i + 1) * gap]];
      const middle = normalsAt(seed, many + i, n);
      for (let p = 0; p < n; p++) middle[p] = tidied((low[p] + high[p]) / 2 + bend * middle[p]);
      rows[i * gap + gap / 2] = middle;
    }
  }
  return rows;
}
