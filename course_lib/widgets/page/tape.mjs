// What a gradient needs of a solve: the numbers that each evaluation went through, kept or
// given back for the next one. No DOM here.

/** @import { Vector } from "./rk.mjs" */

/**
 * A place on a tape. It is known by the array `out` that its evaluation returned, and used
 * again once it is given back.
 * @template {{ out: Float64Array }} T
 */
export class Tape {
  /** @type {T[]} */
  #free = [];
  /** @type {T[]} */
  #fresh = [];
  /** @type {T[]} */
  #held = [];
  /** @type {Map<Vector, T>} */
  #places = new Map();
  #make;

  /** @param {() => T} make */
  constructor(make) {
    this.#make = make;
  }

  /** A place for one more evaluation. */
  take() {
    let place = this.#free.pop();
    if (!place) {
      place = this.#make();
      this.#places.set(place.out, place);
    }
    this.#fresh.push(place);
    return place;
  }

  /**
   * The place of the evaluation that returned `out`.
   * @param {Vector} out
   */
  of(out) {
    return /** @type {T} */ (this.#places.get(out));
  }

  /**
   * Keep what an accepted step used since the last one, and give back what was tried in vain.
   * @param {Vector[]} stages
   */
  settle(stages) {
    for (const place of this.#fresh) {
      (stages.includes(place.out) ? this.#held : this.#free).push(place);
    }
    this.#fresh = [];
  }

  /**
   * Give back everything, but for the place of `out`, which the next step starts from.
   * @param {Vector} [out]
   */
  release(out) {
    const all = [...this.#held, ...this.#fresh];
    this.#fresh = [];
    this.#held = all.filter((place) => place.out === out);
    this.#free.push(...all.filter((place) => place.out !== out));
  }

  /** How many places are kept. */
  get kept() {
    return this.#held.length;
  }
}
