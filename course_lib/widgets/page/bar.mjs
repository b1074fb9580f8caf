// The line under a figure: back to the start, a link to what it shows, the whole screen, the
// figure alone.
import { asked, follow, fragment } from "./address.mjs";

/** @import { Setting } from "./address.mjs" */

/**
 * A figure, as its bar needs it.
 * @typedef {object} Barred
 * @property {HTMLElement} el what the host made for it: `data-name` is its name in an
 *   address, `data-alone` where it stands alone; a notebook gives neither
 * @property {HTMLElement} root
 * @property {Setting[]} settings
 * @property {(words: string) => void} say puts words into the status until the next move
 * @property {AbortSignal} signal of its end
 */

/**
 * @param {string} text
 * @param {() => void} press
 */
export function button(text, press) {
  const made = document.createElement("button");
  Object.assign(made, { type: "button", textContent: text, onclick: press });
  made.dataset.lmSuppressShortcuts = "true"; // its keys are no commands to a notebook
  return made;
}

/** @param {Barred} figure */
export function bar(figure) {
  const { el, root, settings } = figure;
  const { name, alone } = el.dataset;
  const line = document.createElement("p");
  line.className = "live-bar";
  line.append(button("Reset", () => follow(settings)));
  if (name) {
    line.append(button("Copy link", () => copyLink(figure, name)));
    const arrive = () => open(figure, name);
    addEventListener("hashchange", arrive, { signal: figure.signal });
    queueMicrotask(arrive); // once the figure has its controls
  }
  if (document.fullscreenEnabled) line.append(fullScreen(figure));
  if (alone && name) line.append(openAlone(figure, name, alone));
  root.append(line);
}

/**
 * @param {Barred} figure
 * @param {string} name
 */
async function copyLink({ settings, say }, name) {
  history.replaceState(history.state, "", fragment(name, settings));
  try {
    await navigator.clipboard.writeText(location.href);
    say("Link copied.");
  } catch {
    say(`Copy this link: ${location.href}`); // the browser refused
  }
}

/**
 * Shows what the address asks, if it asks that of this figure, and goes there.
 * @param {Barred} figure
 * @param {string} name
 */
function open({ root, settings, say }, name) {
  const wanted = asked(location.hash, name);
  if (!wanted) return;
  const ignored = follow(settings, wanted);
  say(ignored && `Ignored in the address: ${ignored}.`);
  // A page around this one stays where its reader is.
  if (parent !== window) return;
  root.tabIndex = -1;
  const go = () => {
    root.scrollIntoView({ behavior: "instant" });
    root.focus({ preventScroll: true });
  };
  requestAnimationFrame(() => requestAnimationFrame(go)); // the figures above are drawn
}

/**
 * A link to the figure alone, as it is when the link is used.
 * @param {Barred} figure
 * @param {string} name
 * @param {string} alone
 */
function openAlone({ settings }, name, alone) {
  const link = document.createElement("a");
  const aim = () => {
    link.href = alone + fragment(name, settings);
  };
  for (const use of ["pointerdown", "focus", "click"]) link.addEventListener(use, aim);
  return Object.assign(link, { href: alone, textContent: "Open alone" });
}

/** @param {Barred} figure */
function fullScreen({ root, say, signal }) {
  const full = button("Full screen", () => {
    const done = root.matches(":fullscreen") ? document.exitFullscreen() : root.requestFullscreen();
    done.catch(() => say("The browser refused the whole screen."));
  });
  const tell = () => {
    full.textContent = root.matches(":fullscreen") ? "Leave full screen" : "Full screen";
  };
  document.addEventListener("fullscreenchange", tell, { signal });
  return full;
}
