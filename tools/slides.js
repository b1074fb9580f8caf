// Starts the slides: sets formulas and figures first, then lets what does not fit a slide go
// on to the next, then hands over to reveal.js.
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: it keeps these names from the page
(() => {
  const overfull = (slide) => slide.scrollHeight > slide.clientHeight;

  /** A slide for what is left of one, with the same title. */
  function continued(slide) {
    const next = slide.cloneNode(false);
    next.removeAttribute("id");
    next.classList.remove("title");
    next.append(slide.querySelector("h2").cloneNode(true));
    next.append(slide.querySelector("aside").cloneNode(true));
    slide.after(next);
    return next;
  }

  /** Makes a block that is alone and too tall smaller, and if that is not enough, scroll. */
  function shrink(slide, block) {
    for (let zoom = 0.95; zoom > 0.6 && overfull(slide); zoom -= 0.05) block.style.zoom = zoom;
    if (!overfull(slide)) return;
    block.style.zoom = 1;
    block.classList.add("scrolls");
    block.tabIndex = 0;
  }

  /** Moves blocks from the end of a slide to a new one until it fits; returns the new one. */
  function split(slide) {
    const blocks = [...slide.querySelectorAll(":scope > .block")];
    if (!overfull(slide) || !blocks.length) return null;
    if (blocks.length === 1) {
      shrink(slide, blocks[0]);
      return null;
    }
    const next = continued(slide);
    const title = next.firstElementChild;
    const leads = () => blocks.length > 1 && blocks.at(-1).matches(".leads");
    while (blocks.length > 1 && overfull(slide)) title.after(blocks.pop());
    while (leads()) title.after(blocks.pop());
    if (overfull(slide)) shrink(slide, blocks[0]);
    return next;
  }

  function fit() {
    for (const slide of document.querySelectorAll(".slides > section > section")) {
      slide.classList.add("leaf");
      for (let rest = slide; rest; ) rest = split(rest);
    }
  }

  /** Whether every live figure has drawn itself, or said why it cannot. */
  const drawn = () =>
    document.documentElement.dataset.live === "ready" &&
    !document.querySelector(".live:not([data-drawn])");

  async function start() {
    await window.MathJax.startup.promise;
    await document.fonts.ready;
    while (!drawn()) await new Promise(requestAnimationFrame);
    for (const figure of document.querySelectorAll(".live-figure"))
      figure.dataset.preventSwipe = "";
    fit();
    await window.Reveal.initialize({
      width: 1280,
      height: 720,
      margin: 0,
      center: false,
      hash: true,
      transition: "none",
      navigationMode: "linear",
      slideNumber: "c/t",
      plugins: [window.RevealNotes],
      // Keys belong to a figure, a check, a summary or a box that has the focus.
      keyboardCondition: () =>
        !document.activeElement?.closest(".live-figure, .check, details, .scrolls"),
    });
    document.documentElement.dataset.slides = "ready";
  }

  start();
})();
