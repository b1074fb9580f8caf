// Chance that Python repeats: numbers from a seed. No DOM here.

/**
 * Numbers from 0 up to 1 from a seed: the generator mulberry32.
 * @param {number} seed
 */
export function numbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Standard normal numbers from a seed, two from every two numbers (Box and Muller 1958).
 * @param {number} seed
 * @param {number} n an even number
 */
export function normals(seed, n) {
  const next = numbers(seed);
  return Array.from({ length: n / 2 }, () => {
    const [length, angle] = [Math.sqrt(-2 * Math.log(1 - next())), 2 * Math.PI * next()];
    return [length * Math.cos(angle), length * Math.sin(angle)];
  }).flat();
}
