// Which checks are done: kept in this browser under one key, and nowhere else.

/** @typedef {{ done: boolean, said?: string, steps?: number }} Entry */

const KEY = "neural-odes-checks";
const CHANGED = "checks-progress";

/** @type {Record<string, Entry>} */
let here = {}; // where nothing can be kept: of this page, as long as it is open
let blocked = false;

/** Whether the browser keeps it. */
export function kept() {
  entries();
  return !blocked;
}

/** @returns {Record<string, Entry>} by the checks' names */
export function entries() {
  try {
    const text = localStorage.getItem(KEY);
    return blocked ? here : parsed(text);
  } catch {
    blocked = true;
    return here;
  }
}

/** @param {string | null} text which others may have written */
function parsed(text) {
  try {
    const found = JSON.parse(text ?? "{}");
    return found && typeof found === "object" && !Array.isArray(found) ? found : {};
  } catch {
    return {};
  }
}

/**
 * @param {string} name
 * @param {Entry | undefined} entry nothing to forget it
 */
export function note(name, entry) {
  const { [name]: _, ...others } = entries();
  keep(entry ? { ...others, [name]: entry } : others);
}

/** @param {Record<string, Entry>} all */
export function keep(all) {
  here = all;
  try {
    localStorage.setItem(KEY, JSON.stringify(all));
  } catch {
    blocked = true;
  }
  dispatchEvent(new Event(CHANGED));
}

/** @param {() => void} told of every change, one in another tab too */
export function follow(told) {
  addEventListener(CHANGED, told);
  addEventListener("storage", ({ key }) => {
    if (key === KEY || key === null) told();
  });
}
