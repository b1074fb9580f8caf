// A training that answers messages: in a worker made of this very text, so that the page
// never waits for it, or where workers are refused in the page, between two frames.
import { Trainer } from "./trainer.mjs";

/** @import { Training } from "./descent.mjs" */
/** @import { Report, Setup } from "./trainer.mjs" */

/**
 * @typedef {{ kind: "begin", id: number, setup: Setup, saved?: Training[] }} Begin
 * @typedef {{ kind: "adopt", setup: Setup }} Adopt
 * @typedef {{ kind: "run" | "pause" | "step" | "drawn" | "moved" }} Word
 * @typedef {Begin | Adopt | Word} Message
 */
/**
 * What is told of a training: to which `begin` it belongs, its models, steps a second.
 * @typedef {{ id: number, reports: Report[], running: boolean, able: boolean, rate: number }} Told
 */

const BETWEEN = 90; // milliseconds from one report to the next, at least
const HAND = 150; // milliseconds that a move of the hand counts

/** A training that answers messages. */
export class Session {
  /** @type {Trainer | null} */
  #trainer = null;
  #id = 0;
  #running = false;
  #able = true; // whether it can go on, and is to
  #asked = false; // whether the next slice is on its way
  #drawn = true; // whether the last report was drawn
  #told = 0;
  #moved = -HAND;
  #steps = 0;
  /** @type {(told: Told) => void} */
  #tell;
  /** @type {(work: () => void, pause: number) => void} */
  #later;
  /** @type {number} */
  #slice;

  /**
   * @param {(told: Told) => void} tell
   * @param {(work: () => void, pause: number) => void} later after some milliseconds
   * @param {number} slice milliseconds of work at a time
   */
  constructor(tell, later, slice) {
    this.#tell = tell;
    this.#later = later;
    this.#slice = slice;
  }

  /** @param {Message} message */
  receive(message) {
    this.#able = true;
    if (message.kind === "begin") {
      this.#trainer = new Trainer(message.setup, message.saved);
      [this.#id, this.#running] = [message.id, false];
    } else if (message.kind === "adopt") {
      this.#trainer?.adopt(message.setup);
      this.#moved = performance.now();
      if (this.#running) return; // the next report is soon
    } else if (message.kind === "drawn" || message.kind === "moved") {
      if (message.kind === "drawn") this.#drawn = true;
      else this.#moved = performance.now();
      return;
    } else if (message.kind === "step") {
      this.#trainer?.step();
    } else {
      this.#running = message.kind === "run";
      [this.#told, this.#steps] = [performance.now(), 0];
      if (this.#running) {
        this.#ask();
        return;
      }
    }
    this.#report();
  }

  /** While the hand moves, the page has the processor for two thirds of the time. */
  get #third() {
    return performance.now() - this.#moved < HAND ? this.#slice / 3 : 0;
  }

  #ask() {
    if (this.#asked) return;
    this.#asked = true;
    this.#later(() => {
      this.#asked = false;
      if (this.#running) this.#work();
    }, 2 * this.#third);
  }

  #work() {
    const trainer = /** @type {Trainer} */ (this.#trainer);
    const until = performance.now() + (this.#third || this.#slice);
    do {
      if (trainer.able) trainer.step();
      this.#steps++;
      this.#able = trainer.able && trainer.steps !== trainer.setup.until;
    } while (this.#able && performance.now() < until);
    if (!this.#able) this.#running = false;
    const due = performance.now() - this.#told > BETWEEN && this.#drawn;
    if (due || !this.#running) this.#report();
    if (this.#running) this.#ask();
  }

  #report() {
    if (!this.#trainer) return;
    const now = performance.now();
    const rate = this.#steps ? (1000 * this.#steps) / Math.max(1, now - this.#told) : NaN;
    const reports = this.#trainer.report();
    this.#drawn = false;
    this.#tell({ id: this.#id, reports, running: this.#running, able: this.#able, rate });
    [this.#told, this.#steps] = [performance.now(), 0];
  }
}

/**
 * What a worker does.
 * @param {{ postMessage: (told: Told) => void, onmessage: any }} scope
 */
export function answer(scope) {
  const session = new Session(
    (told) => scope.postMessage(told),
    (work, pause) => setTimeout(work, pause),
    30,
  );
  scope.onmessage = (/** @type {{ data: Message }} */ { data }) => session.receive(data);
}

/**
 * A session in a worker, or in the page if workers are refused.
 * @param {string} source of this module, with all it imports
 * @param {(told: Told) => void} tell
 * @param {() => void} refused is called where there is no worker
 */
export function connect(source, tell, refused) {
  /** @type {Message[] | null} */
  let past = []; // what a session in the page would have to know, until the worker answers
  /** @type {{ receive: (message: Message) => void, close: () => void }} */
  let session;
  const inPage = () => {
    const here = new Session(tell, (work) => requestAnimationFrame(work), 8);
    session = { receive: (message) => here.receive(message), close: () => here.receive(PAUSE) };
    refused();
    for (const message of past ?? []) here.receive(message);
  };
  try {
    const worker = workerOf(source);
    worker.onmessage = ({ data }) => {
      past = null;
      tell(data);
    };
    worker.onerror = inPage;
    session = { receive: (told) => worker.postMessage(told), close: () => worker.terminate() };
  } catch {
    inPage();
  }
  const send = (/** @type {Message} */ message) => {
    past?.push(message);
    session.receive(message);
  };
  return { send, close: () => session.close() };
}

/** @type {Message} */
const PAUSE = { kind: "pause" };

/**
 * A worker of the module's own text. Not a module itself: from file:// those are refused.
 * @param {string} source
 */
function workerOf(source) {
  const script = source.replace(/^export .*$/m, "");
  const text = ['"use strict";(() => {', script, "answer(self);})();"];
  return new Worker(URL.createObjectURL(new Blob(text, { type: "text/javascript" })));
}
