// In which colours and how much of a page is shown, and where the reader left off.
//
// The page's <html> carries the choices before anything is drawn, so nothing flashes: this
// script is loaded in the head, before the body. course.css hides and shows. Without
// JavaScript, or where nothing can be kept, a page shows its code.
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: it keeps these names from the page
(() => {
  const MODES = ["ideas", "code", "everything"];
  const root = document.documentElement;

  // Where storage is blocked, reading and writing throw.
  const kept = {
    /** @param {string} name */
    get(name) {
      try {
        return localStorage.getItem(name);
      } catch {
        return null;
      }
    },
    /**
     * @param {string} name
     * @param {string} text
     */
    set(name, text) {
      try {
        localStorage.setItem(name, text);
      } catch {
        // The choice holds for this page.
      }
    },
  };

  // What the theme does itself when the page is there: it would be seen, and styled, twice.
  if (root.dataset.mode === "auto") {
    root.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }

  // --- how much is shown ---------------------------------------------------------------

  const chosen = kept.get("course-reading") ?? "";
  root.dataset.reading = MODES.includes(chosen) ? chosen : "code";

  /** Opens every fold, or closes those that were opened so. */
  function setFolds() {
    const open = root.dataset.reading === "everything";
    const which = open ? "details:not([open])" : "details[data-opened]";
    for (const fold of document.querySelectorAll(`.bd-article ${which}`)) {
      fold.toggleAttribute("data-opened", open);
      fold.toggleAttribute("open", open);
    }
  }

  /** The first part of the text that is in view, whatever is shown. */
  function landmark() {
    const parts = document.querySelectorAll(
      ".bd-article section > :is(p, h1, h2, h3, ul, ol, div.math), .bd-article .cell_output",
    );
    return [...parts].find((part) => part.getBoundingClientRect().bottom > 80);
  }

  /** @param {string} mode */
  function show(mode) {
    const mark = landmark();
    const before = mark?.getBoundingClientRect().top ?? 0;
    root.dataset.reading = mode;
    setFolds();
    // What stood at the top of the window stays there.
    if (mark) scrollBy({ top: mark.getBoundingClientRect().top - before, behavior: "instant" });
    kept.set("course-reading", mode);
  }

  function startModes() {
    /** @type {NodeListOf<HTMLInputElement>} */
    const inputs = document.querySelectorAll(".reading-mode input");
    for (const input of inputs) {
      input.checked = input.value === root.dataset.reading;
      input.addEventListener("change", () => show(input.value));
    }
    if (inputs.length) setFolds();
  }

  /** Opens the folds around the place that the address names; not every browser does. */
  function openTarget() {
    const target = document.querySelector(":target");
    let fold = target?.closest("details");
    if (!fold || fold.open) return;
    for (; fold; fold = fold.parentElement?.closest("details")) fold.open = true;
    target?.scrollIntoView();
  }

  let moved = false; // also while the page is on its way
  const move = () => {
    moved = true;
  };
  for (const kind of ["wheel", "touchmove", "keydown", "pointerdown"]) {
    addEventListener(kind, move, { once: true, passive: true });
  }

  /** Goes there again when formulas have their heights, unless the reader has moved on. */
  async function returnToTarget() {
    await /** @type {any} */ (window).MathJax?.startup?.promise;
    for (let frames = 0; frames < 5 && !moved; frames++) {
      document.querySelector(":target")?.scrollIntoView({ behavior: "instant" });
      await new Promise(requestAnimationFrame);
    }
  }

  // --- where the reader left off -------------------------------------------------------

  /**
   * @typedef {{ file: string, title: string, id: string, section: string }} Place
   */

  const file = location.pathname.split("/").at(-1) ?? "";

  /** @returns {Place[]} one for each chapter, the latest first */
  function places() {
    try {
      const all = JSON.parse(kept.get("course-places") ?? "[]");
      return all.filter((/** @type {Place} */ { file }) => /^[\w-]+\.html$/.test(file));
    } catch {
      return [];
    }
  }

  /** @param {Element | null} heading */
  const words = (heading) => heading?.textContent?.replace(/[#\s]+$/, "").trim() ?? "";

  function keepPlace() {
    const passed = [...document.querySelectorAll(".bd-article section section")].filter(
      (section) => section.getBoundingClientRect().top < 150,
    );
    const section = passed.at(-1);
    if (!section) return;
    const [title, name] = [document.querySelector("h1"), section.querySelector("h2, h3")];
    const here = { file, title: words(title), id: section.id, section: words(name) };
    const others = places().filter((place) => place.file !== file);
    kept.set("course-places", JSON.stringify([here, ...others]));
  }

  /**
   * @param {HTMLAnchorElement | null} link
   * @param {Place | undefined} place
   * @param {string} folder of the chapters, seen from here
   * @param {string} text
   */
  function offer(link, place, folder, text) {
    if (!link || !place) return;
    link.href = `${folder}${place.file}#${encodeURIComponent(place.id)}`;
    link.textContent = text;
    link.hidden = false;
  }

  function startPlaces() {
    const [latest] = places();
    const here = places().find((place) => place.file === file);
    offer(
      document.querySelector(".book-resume"),
      latest,
      "chapters/",
      `Continue where you left off: ${latest?.title}, “${latest?.section}”`,
    );
    if (!location.hash) {
      offer(document.querySelector(".chapter-resume"), here, "", `Continue at “${here?.section}”`);
    }
    if (document.querySelector(".chapter-line")) addEventListener("pagehide", keepPlace);
  }

  // --- the search ----------------------------------------------------------------------

  /** Lets the search list its results without an excerpt, which a page from a file cannot fetch. */
  function readySearch() {
    // @ts-expect-error: Sphinx's documentation_options.js has it
    if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  }

  readySearch(); // at once: the search begins when the page is ready
  addEventListener("DOMContentLoaded", () => {
    startModes();
    startPlaces();
    openTarget();
  });
  addEventListener("load", returnToTarget);
  addEventListener("hashchange", openTarget);
})();
