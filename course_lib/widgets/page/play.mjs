// A slider of time, or of stages, that moves by itself.
import { button } from "./bar.mjs";

/** @import { Control, Figure } from "./frame.mjs" */

const PLAYS = "live-play"; // the event by which one that starts stops all others
const LONG = 4000; // ms over the whole slider; half a second a stage, if that is longer

/**
 * Moves a slider as a hand does, and knows where between two of its steps it is.
 * @param {HTMLInputElement} input
 */
function mover(input) {
  const [low, step] = [input.min, input.step].map(Number);
  // The last place of its steps, which max need not be; and it may change.
  const high = () => Number(Object.assign(input.cloneNode(), { value: input.max }).value);
  let at = low;
  return {
    length: () => high() - low,
    stages: step === 1,
    /** From where it stands; at the end, from the start. */
    begin() {
      const here = Number(input.value);
      at = here < high() - step / 2 ? here : low;
    },
    /**
     * Whether there is more to go.
     * @param {number} by
     */
    move(by) {
      at = Math.min(high(), at + by);
      const old = input.value;
      input.value = String(at);
      if (input.value !== old) input.dispatchEvent(new Event("input"));
      return at < high();
    },
  };
}

/**
 * Gives a slider a button that plays it from where it is to its end.
 *
 * One thing plays at a time on a page, and only in view. Where the reader asks for less
 * motion, the button makes one step: a stage, or a tenth of the way.
 * What the figure says is for the ear at rest only.
 * @param {Figure} figure
 * @param {Control} slider
 */
export function plays({ signal, status }, { box, input, label }) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const { length, stages, begin, move } = mover(input);
  const pace = () => length() / Math.max(LONG, stages ? 500 * length() : 0);
  let [frame, before] = [0, 0];
  const made = button("", () => (frame ? stop() : start()));
  const tell = () => {
    made.textContent = frame ? "Pause" : calm.matches ? "Step" : "Play";
    made.setAttribute("aria-label", `${made.textContent}: ${label}`);
    status.setAttribute("aria-live", frame ? "off" : "polite");
  };
  const tick = (/** @type {number} */ now) => {
    // A page that was hidden for a while goes on where it was.
    const more = move(pace() * Math.min(100, before ? now - before : 0));
    before = now;
    if (more) frame = requestAnimationFrame(tick);
    else stop();
  };
  const start = () => {
    document.dispatchEvent(new Event(PLAYS)); // whatever plays stops
    begin();
    if (calm.matches) return void move(stages ? 1 : length() / 10);
    [frame, before] = [requestAnimationFrame(tick), 0];
    sight.observe(box);
    tell();
  };
  const stop = () => {
    cancelAnimationFrame(frame);
    frame = 0;
    sight.disconnect();
    tell();
  };
  const sight = new IntersectionObserver(([{ isIntersecting }]) => isIntersecting || stop());
  input.addEventListener("input", ({ isTrusted }) => isTrusted && stop());
  document.addEventListener(PLAYS, stop, { signal });
  calm.addEventListener("change", stop, { signal });
  signal.addEventListener("abort", stop);
  made.className = "live-play";
  box.append(made);
  tell();
}
