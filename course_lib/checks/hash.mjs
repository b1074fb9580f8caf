// SHA-256 in plain JavaScript: the browser's own is missing on file:// and plain http.
//
// FIPS 180-4. Its constants are the first bits of roots of primes, so they are computed.

const PRIMES = [...Array(312).keys()].filter((n) => n > 1 && isPrime(n)); // 64 of them
const bits = (/** @type {number} */ x) => ((x % 1) * 2 ** 32) | 0;
const K = PRIMES.map((p) => bits(Math.cbrt(p)));
const START = PRIMES.slice(0, 8).map((p) => bits(Math.sqrt(p)));

/** @param {number} n */
function isPrime(n) {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return true;
}

/**
 * @param {number} x
 * @param {number} n
 */
const turn = (x, n) => (x >>> n) | (x << (32 - n));

/**
 * The SHA-256 of a text in UTF-8, as 64 hexadecimal digits.
 * @param {string} text
 */
export function sha256(text) {
  const words = padded(new TextEncoder().encode(text));
  let state = START;
  for (let at = 0; at < words.length; at += 16) state = mixed(state, words.slice(at, at + 16));
  return state.map((x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
}

/**
 * Words of 32 bits, whole blocks of 16: the bytes, a bit, zeros, and the number of bits.
 * @param {Uint8Array} bytes
 */
function padded(bytes) {
  const words = Array(16 * Math.ceil((bytes.length + 9) / 64)).fill(0);
  [...bytes, 0x80].forEach((byte, i) => {
    words[i >> 2] |= byte << (24 - 8 * (i % 4));
  });
  words[words.length - 1] = 8 * bytes.length;
  return words;
}

/**
 * @param {number[]} state
 * @param {number[]} w the block, 16 words
 */
function mixed(state, w) {
  for (let i = 16; i < 64; i++) {
    const [x, y] = [w[i - 15], w[i - 2]];
    const s0 = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3);
    const s1 = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
    w[i] = (w[i - 16] + s0 + w[i - 7] + s1) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let i = 0; i < 64; i++) {
    const s1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25);
    const one = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
    const s0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22);
    const two = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
  }
  return [a, b, c, d, e, f, g, h].map((x, i) => (x + state[i]) | 0);
}
