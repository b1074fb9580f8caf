// A convolution, 3 × 3, of a picture of 6 × 6 with many channels. No DOM here.
//
// Two neighbouring sums of three products, w₁d₁ + w₂d₂ + w₃d₃ and w₁d₂ + w₂d₃ + w₃d₄, can be
// had from four products instead of six, and so a square of two by two sums from 16 instead
// of 36: one product for each place of a weighted kernel and of a mixed piece of the picture
// (Winograd's way: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016).
// In rows and in columns it is the same, so every rule here is applied to the columns of a
// square, and then to its rows.

/**
 * A rule for one row or column: where its numbers begin and how far apart they stand, and
 * the same of what comes out.
 * @typedef {(from: Numbers, at: number, step: number, out: Numbers, to: number, next: number)
 *   => void} Rule
 * @typedef {Float64Array} Numbers
 */

const [MADE, TILES, PLACES] = [16, 9, 36]; // products for a tile, tiles of 2 × 2, pixels
// Where the piece of a tile begins, in 8 × 8 with a border of zeros; where the tile does, in 6 × 6.
const PIECES = Array.from({ length: TILES }, (_, p) => 16 * Math.floor(p / 3) + 2 * (p % 3));
const CORNERS = Array.from({ length: TILES }, (_, p) => 12 * Math.floor(p / 3) + 2 * (p % 3));

/** @type {Rule} */
function weighted(from, at, step, out, to, next) {
  const [a, b, c] = [from[at], from[at + step], from[at + 2 * step]];
  out[to] = a;
  out[to + next] = (a + b + c) / 2;
  out[to + 2 * next] = (a - b + c) / 2;
  out[to + 3 * next] = c;
}

/** @type {Rule} */
function mixed(from, at, step, out, to, next) {
  const [a, b, c, d] = [from[at], from[at + step], from[at + 2 * step], from[at + 3 * step]];
  out[to] = a - c;
  out[to + next] = b + c;
  out[to + 2 * next] = c - b;
  out[to + 3 * next] = b - d;
}

/** @type {Rule} */
function joined(from, at, step, out, to, next) {
  const [a, b, c, d] = [from[at], from[at + step], from[at + 2 * step], from[at + 3 * step]];
  out[to] = a + b + c;
  out[to + next] = b - c - d;
}

/**
 * Every kernel in sixteen numbers: a matrix (outputs × inputs) for each of them.
 * @param {Numbers} kernels outputs × inputs × 3 × 3
 */
function matrices(kernels) {
  const count = kernels.length / 9;
  const [part, out] = [new Float64Array(12), new Float64Array(MADE * count)];
  for (let n = 0; n < count; n++) {
    for (let x = 0; x < 3; x++) weighted(kernels, 9 * n + x, 3, part, x, 3);
    for (let y = 0; y < 4; y++) weighted(part, 3 * y, 1, out, 4 * y * count + n, count);
  }
  return out;
}

/**
 * Matrices times tiles, two rows and three tiles at a time: every number that is read is
 * used more than once.
 * @param {Numbers} W
 * @param {Numbers} V
 * @param {number} inputs
 * @param {Numbers} out
 */
function multiply(W, V, inputs, out) {
  const outputs = out.length / MADE / TILES;
  for (let i = 0; i < MADE * outputs; i += 2) {
    const first = TILES * Math.floor(i / outputs);
    for (let tile = 0; tile < TILES; tile += 3) {
      let [p, q, r, p2, q2, r2] = [0, 0, 0, 0, 0, 0];
      const [w, v] = [i * inputs, (first + tile) * inputs];
      for (let c = 0; c < inputs; c++) {
        const k = W[w + c];
        const l = W[w + inputs + c];
        const x = V[v + c];
        const y = V[v + inputs + c];
        const z = V[v + 2 * inputs + c];
        p += k * x;
        q += k * y;
        r += k * z;
        p2 += l * x;
        q2 += l * y;
        r2 += l * z;
      }
      const to = i * TILES + tile;
      out[to] = p;
      out[to + 1] = q;
      out[to + 2] = r;
      out[to + TILES] = p2;
      out[to + TILES + 1] = q2;
      out[to + TILES + 2] = r2;
    }
  }
}

/**
 * The function of a picture, every channel 8 × 8 with its border of zeros, that gives its
 * convolution with a bias, every channel 6 × 6; the next call overwrites what it gave.
 * @param {Numbers} kernels outputs × inputs × 3 × 3; the outputs are even in number
 * @param {Numbers} bias
 */
export function convolution(kernels, bias) {
  const outputs = bias.length;
  const inputs = kernels.length / 9 / outputs;
  const W = matrices(kernels);
  const V = new Float64Array(MADE * TILES * inputs);
  const products = new Float64Array(MADE * outputs * TILES);
  const [part, out] = [new Float64Array(16), new Float64Array(PLACES * outputs)];
  return (/** @type {Numbers} */ picture) => {
    for (let n = 0; n < TILES * inputs; n++) {
      const at = 64 * (n % inputs) + PIECES[Math.floor(n / inputs)];
      for (let x = 0; x < 4; x++) mixed(picture, at + x, 8, part, x, 4);
      for (let y = 0; y < 4; y++) {
        mixed(part, 4 * y, 1, V, 4 * y * TILES * inputs + n, TILES * inputs);
      }
    }
    multiply(W, V, inputs, products);
    const all = outputs * TILES;
    for (let n = 0; n < all; n++) {
      const to = PLACES * Math.floor(n / TILES) + CORNERS[n % TILES];
      for (let x = 0; x < 4; x++) joined(products, x * all + n, 4 * all, part, x, 4);
      for (let y = 0; y < 2; y++) joined(part, 4 * y, 1, out, to + 6 * y, 1);
    }
    for (let i = 0; i < out.length; i++) out[i] += bias[Math.floor(i / PLACES)];
    return out;
  };
}
