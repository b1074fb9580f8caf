// Digits from noise: course_lib.flows.LabelledVelocity, guided, and the decoder of DigitVAE,
// in plain arrays. Everything is done for two at a time: with and without a class, two images.
// Weights are read once and used twice. No DOM here.
import { reader } from "./rows.mjs";

/** @import { Vector } from "./rk.mjs" */
/** @import { Carried, Linear, Reader } from "./rows.mjs" */

/**
 * Whose velocity: a class, a share of the way to another one, and the weight of guidance.
 * @typedef {{ label: number, other: number, mix: number, guidance: number }} Asked
 */
/**
 * @typedef {object} Generator
 * @property {(t: number, y: Vector, asked: Asked) => Float64Array} velocity
 * @property {(codes: Vector[]) => Float64Array[]} images of two codes: 28 × 28 numbers each,
 *   by rows, ink being 1
 */

const [DIM, WIDTH, NONE] = [16, 192, 10];
const WAVES = Array.from({ length: 8 }, (_, i) => Math.fround(2 * Math.PI * 2 ** (i / 2 - 2)));

/**
 * W x + b for the two halves of x; `out` has the first from the place `to`, the second from
 * `then`. Four rows at a time: eight sums that do not wait for one another.
 * @param {Linear} layer of as many rows as 4 divides
 * @param {Float64Array} x
 * @param {Float64Array} out
 */
function twice({ W, b, inputs, outputs }, x, out, to = 0, then = outputs) {
  for (let j = 0; j < outputs; j += 4) {
    const w = j * inputs;
    const [w2, w3, w4] = [w + inputs, w + 2 * inputs, w + 3 * inputs];
    let [p, q, r, s] = [b[j], b[j + 1], b[j + 2], b[j + 3]];
    let [p2, q2, r2, s2] = [p, q, r, s];
    for (let i = 0; i < inputs; i++) {
      const u = x[i];
      const v = x[inputs + i];
      const k = W[w + i];
      const l = W[w2 + i];
      const m = W[w3 + i];
      const n = W[w4 + i];
      p += k * u;
      q += l * u;
      r += m * u;
      s += n * u;
      p2 += k * v;
      q2 += l * v;
      r2 += m * v;
      s2 += n * v;
    }
    out.set([p, q, r, s], to + j);
    out.set([p2, q2, r2, s2], then + j);
  }
}

/**
 * x / (1 + e^-x), in place.
 * @param {Float64Array} x
 */
function silu(x) {
  for (let i = 0; i < x.length; i++) x[i] /= 1 + Math.exp(-x[i]);
}

// --- the velocity ----------------------------------------------------------------------

/**
 * The rows of h + seen with mean 0 and variance 1, scaled and shifted, into `out`.
 * @param {Float64Array} h
 * @param {Float64Array} seen
 * @param {Float64Array[]} affine
 * @param {Float64Array} out
 */
function layerNorm(h, seen, [scale, shift], out) {
  for (let row = 0; row < h.length; row += WIDTH) {
    let [mean, square] = [0, 0];
    for (let i = row; i < row + WIDTH; i++) {
      out[i] = h[i] + seen[i];
      mean += out[i] / WIDTH;
    }
    for (let i = row; i < row + WIDTH; i++) square += (out[i] - mean) ** 2 / WIDTH;
    const factor = 1 / Math.sqrt(square + 1e-5);
    for (let i = 0; i < WIDTH; i++) {
      out[row + i] = (out[row + i] - mean) * factor * scale[i] + shift[i];
    }
  }
}

/**
 * @param {Reader} read
 * @returns {Generator["velocity"]}
 */
function velocityOf({ vector, matrix, layer }) {
  const [entry, exit, time] = [layer(WIDTH, DIM), layer(DIM, WIDTH), layer(WIDTH, DIM)];
  const labels = matrix(NONE + 1, WIDTH);
  const blocks = Array.from({ length: 4 }, () => {
    const norm = [vector(WIDTH), vector(WIDTH)];
    return { norm, first: layer(WIDTH, WIDTH), second: layer(WIDTH, WIDTH) };
  });
  const [ends, angles] = [DIM, DIM].map((n) => new Float64Array(2 * n));
  const [h, seen, x, more] = [1, 2, 3, 4].map(() => new Float64Array(2 * WIDTH));

  return (t, y, { label, other, mix, guidance }) => {
    for (let i = 0; i < DIM; i++) {
      angles[i] = angles[i + DIM] = (i < 8 ? Math.sin : Math.cos)(t * WAVES[i % 8]);
      ends[i] = ends[i + DIM] = y[i];
    }
    twice(time, angles, seen);
    const [a, b] = [label * WIDTH, other * WIDTH];
    for (let i = 0; i < WIDTH; i++) {
      seen[i] += labels[a + i] + mix * (labels[b + i] - labels[a + i]);
      seen[i + WIDTH] += labels[NONE * WIDTH + i];
    }
    twice(entry, ends, h);
    for (const { norm, first, second } of blocks) {
      layerNorm(h, seen, norm, x);
      twice(first, x, more);
      silu(more);
      twice(second, more, x);
      for (let i = 0; i < 2 * WIDTH; i++) h[i] += x[i];
    }
    twice(exit, h, ends);
    return ends.slice(DIM).map((v, d) => v + guidance * (ends[d] - v));
  };
}

// --- the decoder -----------------------------------------------------------------------
// Images are kept by rows, the channels of a pixel side by side, in a border of zeros; the
// second image behind the first.

/**
 * Where pixels of size × size are that stand `wide` apart, `channels` numbers each.
 * @param {number} size
 * @param {number} wide
 * @param {number} channels
 */
const places = (size, wide, channels) =>
  Array.from(
    { length: size * size },
    (_, p) => (Math.floor(p / size) * wide + (p % size)) * channels,
  );

/**
 * A transposed convolution, kernel 4, stride 2, padding 1, of size × size pixels. Every
 * pixel that comes out is a linear layer of the four that meet in it.
 * @param {Reader} read
 * @param {number} size
 * @param {number} inputs channels
 * @param {number} outputs channels
 */
function enlarging({ matrix, vector }, size, inputs, outputs) {
  const [kernel, b] = [matrix(inputs, outputs * 16), vector(outputs)];
  const [wide, wider] = [size + 2, 2 * size + 2];
  const out = new Float64Array(2 * wider * wider * outputs);
  const [x, half] = [new Float64Array(8 * inputs), wide * wide * inputs];
  const [from, to] = [places(size, wide, inputs), places(size, wider, 2 * outputs)];
  const phases = [0, 1].flatMap((py) =>
    [0, 1].map((px) => {
      // Which neighbours meet in an even and in an odd row (or column), and in which row of
      // the kernel.
      const taps = [0, 1].flatMap((a) =>
        [0, 1].map((b) => [py - a, px - b, 4 * (2 * a + 1 - py) + 2 * b + 1 - px]),
      );
      const W = Float64Array.from({ length: 4 * inputs * outputs }, (_, i) => {
        const [row, [, , tap]] = [Math.floor(i / inputs), taps[Math.floor(i / inputs) % 4]];
        return kernel[((i % inputs) * outputs + Math.floor(row / 4)) * 16 + tap];
      });
      return {
        layer: { W, b, inputs: 4 * inputs, outputs },
        shifts: taps.map(([dy, dx]) => ((dy + 1) * wide + dx + 1) * inputs),
        corner: ((py + 1) * wider + px + 1) * outputs,
      };
    }),
  );
  return (/** @type {Float64Array} */ image) => {
    for (const { layer, shifts, corner } of phases) {
      for (let p = 0; p < from.length; p++) {
        let n = 0;
        for (let second = 0; second <= half; second += half) {
          for (const shift of shifts) {
            const start = second + from[p] + shift;
            for (let c = start; c < start + inputs; c++) x[n++] = image[c];
          }
        }
        twice(layer, x, out, corner + to[p], corner + to[p] + out.length / 2);
      }
    }
    silu(out);
    return out;
  };
}

/**
 * @param {Reader} read
 * @returns {Generator["images"]}
 */
function imagesOf(read) {
  const first = read.layer(32 * 49, DIM);
  const [larger, largest] = [enlarging(read, 7, 32, 32), enlarging(read, 14, 32, 16)];
  const [last, bias] = [read.matrix(1, 144), read.vector(1)];
  const [centre, spread] = [read.vector(DIM), read.vector(DIM)];
  const [small, start] = [32 * 49, 32 * 81].map((n) => new Float64Array(2 * n));
  const [inner, pixels] = [places(7, 9, 32), places(28, 30, 16)];
  return (codes) => {
    const scaled = codes.flatMap((y) => Array.from(y, (v, d) => centre[d] + spread[d] * v));
    twice(first, Float64Array.from(scaled), small);
    silu(small);
    for (let i = 0; i < small.length; i++) {
      const [channel, p] = [Math.floor(i / 49) % 32, i % 49];
      start[(i < 32 * 49 ? 0 : 32 * 81) + inner[p] + 320 + channel] = small[i];
    }
    const images = largest(larger(start));
    return [0, images.length / 2].map((half) =>
      Float64Array.from(pixels, (pixel) => {
        let sum = bias[0];
        for (let k = 0; k < 9; k++) {
          const at = half + pixel + (Math.floor(k / 3) * 30 + (k % 3)) * 16;
          for (let c = 0; c < 16; c++) sum += last[c * 9 + k] * images[at + c];
        }
        return 1 / (1 + Math.exp(-sum));
      }),
    );
  };
}

/**
 * The networks that a page carries.
 * @param {Carried} carried
 * @returns {Generator}
 */
export function generator(carried) {
  const read = reader(carried);
  return { velocity: velocityOf(read), images: imagesOf(read) };
}
