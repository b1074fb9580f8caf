// Brings the checks of a page to life: questions stand in its HTML, controls are made here.
// The overview (tools/checks.py) and the line at the top of a chapter are filled here too.
import { meets, readNumber, verdict } from "./judge.mjs";
import { entries, follow, keep, kept, note } from "./progress.mjs";

/** @import { Condition, Facts, Sealed } from "./judge.mjs" */

/**
 * What a check holds: see course_lib/checks/check.py. `told` are words for later.
 * @typedef {{ kind: "number" | "predict" | "goal", told: string, unit: string, sealed: Sealed,
 *   conditions: Condition[][] }} Task
 * @typedef {{ right?: string, hint?: string, answer?: number }} Told
 * @typedef {{ el: HTMLElement, name: string, task: Task, told: Told, say: (html: string) => void,
 *   done: (done: boolean) => void }} Check
 */

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string>} [attributes]
 * @param {(Node | string)[]} children
 */
function made(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const QUIET = { "data-lm-suppress-shortcuts": "true" }; // its keys are no commands to a notebook

/** @param {string} text in base64, so that nobody reads it by accident */
const opened = (text) =>
  new TextDecoder().decode(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)));

/** @param {string} text */
const escaped = (text) => made("i", {}, text).innerHTML;

/** @param {HTMLElement} el */
function enliven(el) {
  const name = el.id.replace("check-", "");
  /** @type {Task} */
  const task = JSON.parse(el.dataset.check ?? "");
  const status = made("div", { class: "check-status", role: "status" });
  const say = (/** @type {string} */ html) => {
    status.innerHTML = html;
    /** @type {any} */ (window).MathJax?.typesetPromise?.([status]);
  };
  const done = (/** @type {boolean} */ is) => {
    el.classList.toggle("check-done", is);
    const mark = el.querySelector(".check-mark");
    if (mark) mark.textContent = is ? " ✓ done" : "";
  };
  el.querySelector(".check-still")?.remove();
  el.querySelector(".check-title")?.append(made("span", { class: "check-mark" }));
  const check = { el, name, task, told: JSON.parse(opened(task.told)), say, done };
  const form = KINDS[task.kind](check);
  el.append(...(form ? [form] : []), status);
  el.dataset.live = "started";
}

/**
 * A line of controls, and what Enter and the button do.
 * @param {string} label of the button
 * @param {(Node | string)[]} parts
 * @param {() => void} act
 */
function lineOf(label, parts, act) {
  const button = made("button", { type: "submit", ...QUIET }, label);
  const form = made("form", { class: "check-form" }, ...parts, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    act();
  });
  return form;
}

/**
 * @param {string} name
 * @param {Record<string, string>} [more]
 */
const field = (name, more) =>
  made("input", {
    type: "text",
    autocomplete: "off",
    "aria-describedby": `check-${name}-asked`,
    ...QUIET,
    ...more,
  });

// --- a number --------------------------------------------------------------------------

/** @param {Check} check */
function number({ name, task, told, say, done }) {
  const input = field(name, { inputmode: "text", size: "10" });
  let wrong = 0;
  const right = () => {
    done(true);
    say(`<p><strong>Right.</strong> ${told.right ?? ""}</p>`);
  };
  const act = () => {
    const x = readNumber(input.value, task.unit);
    if (Number.isNaN(x))
      return say("<p>Write a number: 0.001, 1e-3, 10^-3, 1/3 or 1,000 are read.</p>");
    const judged = verdict(task.sealed, x);
    if (judged === "right") {
      note(name, { done: true, said: input.value });
      return right();
    }
    wrong += 1;
    const words = judged === "nearly" ? "Nearly: the tolerance is smaller." : "Not yet.";
    say(`<p>${words}${told.hint && wrong > 1 ? ` Hint: ${told.hint}` : ""}</p>`);
  };
  const { done: was, said } = entries()[name] ?? {};
  input.value = String(said ?? "");
  if (was) right();
  const label = made("label", {}, "Your answer ", input, task.unit ? ` ${task.unit}` : "");
  return lineOf("Check", [label], act);
}

// --- predict, then reveal --------------------------------------------------------------

/** @param {Check} check */
function predict(check) {
  const { el, name, told, say, done } = check;
  const { inputs, parts, read, words } = el.querySelector(".check-choices")
    ? choices(check)
    : freeLine(check);
  const show = (/** @type {string} */ said) => {
    for (const input of inputs) input.disabled = true;
    done(true);
    form.hidden = true;
    again.hidden = false;
    say(`${words(said)}<p>${told.right ?? ""}</p>`);
  };
  const act = () => {
    const said = read();
    if (!said) return say("<p>Commit yourself first; nobody else reads it.</p>");
    note(name, { done: true, said });
    show(said);
    again.focus(); // the button that was pressed is gone
  };
  const again = made("button", { type: "button", hidden: "", ...QUIET }, "Predict again");
  const form = lineOf("Commit, then reveal", parts, act);
  again.addEventListener("click", () => {
    note(name, undefined);
    for (const input of inputs) input.disabled = false;
    done(false);
    say("");
    form.hidden = false;
    again.hidden = true;
    inputs[0].focus();
  });
  const said = entries()[name]?.said;
  if (said) show(String(said));
  return made("div", { class: "check-again" }, form, again);
}

/**
 * The list of choices, each with a button before it.
 * @param {Check} check
 */
function choices({ el, name, told }) {
  const items = [...el.querySelectorAll(".check-choices > li")];
  el.querySelector(".check-choices")?.setAttribute("role", "radiogroup");
  el.querySelector(".check-choices")?.setAttribute("aria-labelledby", `check-${name}-asked`);
  const inputs = items.map((item, i) => {
    const input = made("input", {
      type: "radio",
      name: `check-${name}`,
      value: String(i),
      ...QUIET,
    });
    item.setAttribute("role", "presentation");
    item.replaceChildren(made("label", {}, input, made("span", {}, ...item.childNodes)));
    return input;
  });
  const words = (/** @type {string} */ said) => {
    inputs.forEach((input, i) => {
      input.checked = String(i) === said;
    });
    const answer = items[told.answer ?? 0].querySelector("span")?.innerHTML;
    return String(told.answer) === said
      ? "<p><strong>As you predicted.</strong></p>"
      : `<p><strong>Not as you predicted.</strong> It is: ${answer}</p>`;
  };
  return { inputs, parts: [], read: () => inputs.find((input) => input.checked)?.value, words };
}

/** @param {Check} check */
function freeLine({ name }) {
  const input = field(name, { size: "40" });
  const parts = [made("label", {}, "Your prediction ", input)];
  const words = (/** @type {string} */ said) => `<p>You predicted: ${escaped(said)}</p>`;
  return { inputs: [input], parts, read: () => input.value.trim(), words };
}

// --- a goal for a live figure ----------------------------------------------------------

/**
 * The last figure before a check that tells what is asked of it.
 * @param {HTMLElement} el
 * @param {string[]} names
 */
function figureOf(el, names) {
  /** @type {NodeListOf<HTMLElement>} */
  const roots = document.querySelectorAll(".live[data-facts]");
  return [...roots].findLast(
    (root) =>
      root.compareDocumentPosition(el) & Node.DOCUMENT_POSITION_FOLLOWING &&
      names.every((name) => name in factsOf(root)),
  );
}

/**
 * @param {HTMLElement} root
 * @returns {Facts}
 */
const factsOf = (root) => JSON.parse(root.dataset.facts ?? "{}");

/** @param {Check} check */
function goal({ el, name, task, told, say, done }) {
  const { conditions } = task;
  const names = conditions.flat().map(([fact]) => fact);
  const items = [...el.querySelectorAll(".check-steps > li")];
  let reached = Math.min(Number(entries()[name]?.steps ?? 0) || 0, conditions.length);
  const show = () => {
    items.forEach((item, i) => {
      item.classList.toggle("check-reached", i < reached);
    });
    done(reached === conditions.length);
    const count = conditions.length > 1 ? `Step ${reached} of ${conditions.length} reached. ` : "";
    if (reached === conditions.length) say(`<p><strong>Reached.</strong> ${told.right ?? ""}</p>`);
    else
      say(
        `<p>${count}${reached ? "Go on in" : "Move"} the figure above: it is judged as you move it.</p>`,
      );
  };
  const judge = () => {
    const root = figureOf(el, names);
    if (!root || reached === conditions.length) return;
    const before = reached;
    while (reached < conditions.length && meets(factsOf(root), conditions[reached])) reached += 1;
    if (reached === before) return;
    note(name, { done: reached === conditions.length, steps: reached });
    show();
  };
  show();
  addEventListener("live-facts", judge);
  judge();
}

/** @type {Record<Task["kind"], (check: Check) => HTMLElement | void>} */
const KINDS = { number, predict, goal };

// --- how much is done ------------------------------------------------------------------

/** @param {string[]} names */
function countOf(names) {
  const all = entries();
  return names.filter((name) => all[name]?.done).length;
}

const BLOCKED =
  "This browser keeps nothing for this page, so what you did is forgotten when you leave it.";

/** The line at the top of a chapter. */
function tally() {
  const names = [...document.querySelectorAll("article .check")].map((el) => el.id.slice(6));
  const title = document.querySelector("article h1");
  if (!title || !names.length) return;
  const line = made("p", { class: "check-tally" });
  (document.querySelector("article .chapter-line") ?? title).after(line);
  const show = () => {
    const all = entries();
    const next = names.find((name) => !all[name]?.done);
    const link = next ? [" ", made("a", { href: `#check-${next}` }, "Go to the next")] : [];
    const words = `${countOf(names)} of ${names.length} checks done.`;
    line.replaceChildren(words, ...link, kept() ? "" : ` ${BLOCKED}`);
  };
  follow(show);
  show();
}

/** @param {HTMLElement} box the list of all checks */
function overview(box) {
  const links = [...box.querySelectorAll("a[data-check-name]")];
  const names = links.map((link) => link.getAttribute("data-check-name") ?? "");
  const marks = links.map((link) => {
    const mark = made("span", { class: "check-mark" });
    link.after(mark);
    return mark;
  });
  const status = made("p", { class: "check-status", role: "status" });
  const save = made("button", { type: "button" }, "Export as a file");
  const clear = made("button", { type: "button" }, "Clear everything");
  const show = () => {
    const all = entries();
    links.forEach((link, i) => {
      const done = Boolean(all[names[i]]?.done);
      marks[i].textContent = done ? " ✓ done" : "";
      link.parentElement?.classList.toggle("check-reached", done);
    });
    status.textContent = `${countOf(names)} of ${names.length} checks done. ${kept() ? "" : BLOCKED}`;
  };
  save.addEventListener("click", () => download(entries()));
  clear.addEventListener("click", () => {
    if (confirm("Forget which checks you did, in the whole book?")) keep({});
  });
  box.prepend(status, made("p", { class: "check-form" }, save, clear));
  follow(show);
  show();
}

/** @param {ReturnType<typeof entries>} all */
function download(all) {
  const text = JSON.stringify({ book: document.title, checks: all }, null, 2);
  const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  made("a", { href, download: "checks.json" }).click();
  setTimeout(() => URL.revokeObjectURL(href)); // once the browser has begun to read it
}

function begin() {
  /** @type {NodeListOf<HTMLElement>} */
  const fresh = document.querySelectorAll(".check:not([data-live])");
  fresh.forEach(enliven);
  if (document.documentElement.dataset.checks) return;
  document.documentElement.dataset.checks = "ready";
  tally();
  /** @type {NodeListOf<HTMLElement>} */
  const lists = document.querySelectorAll(".check-overview");
  lists.forEach(overview);
}

if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin);
else begin();
