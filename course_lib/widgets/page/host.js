// Brings the live figures of a built page to life without a kernel and without a network.
//
// myst-nb leaves the state of every widget and a place for every view in the page. An
// anywidget brings its own module as text: import it, give it a model that holds the state,
// and let it render. This takes the place of require.js, html-manager and their hosts.
//
// Figures share most of their text. tools/share.py keeps each part of it once a page, under
// `texts` beside the states, and a state then lists the places of its parts. What is large in
// a state tools/apart.py keeps in files, and such a figure starts when its place comes near.
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: it keeps these names from the page
(() => {
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';

  /**
   * @typedef {(...args: any[]) => void} Listener
   * @typedef {string | number[]} Text itself, or the places of its parts
   * @typedef {object} Saved
   * @property {string} model_module
   * @property {string} [model_name]
   * @property {Record<string, any>} state
   * @property {Record<string, string>} [apart] files with the rest of the state
   */

  // What anywidget calls a model: named values, and listeners to their changes.
  class Model {
    /** @type {Record<string, any>} */
    #values;
    /** @type {Map<string, Set<Listener>>} */
    #listeners = new Map();

    /** @param {Record<string, any>} values */
    constructor(values) {
      this.#values = values;
    }
    /** @param {string} name */
    get(name) {
      return this.#values[name];
    }
    /**
     * @param {string | Record<string, any>} name or many names with their values
     * @param {any} [value]
     */
    set(name, value) {
      if (typeof name === "object") {
        for (const [key, item] of Object.entries(name)) this.set(key, item);
        return;
      }
      if (Object.is(this.#values[name], value)) return;
      this.#values[name] = value;
      for (const event of [`change:${name}`, "change"]) {
        for (const listener of [...(this.#listeners.get(event) ?? [])]) listener({}, value);
      }
    }
    /**
     * @param {string} events
     * @param {Listener} listener
     */
    on(events, listener) {
      for (const event of events.split(" ")) {
        const listeners = this.#listeners.get(event) ?? new Set();
        this.#listeners.set(event, listeners.add(listener));
      }
    }
    /**
     * @param {string | null} [events] all of them unless given
     * @param {Listener | null} [listener] all of them unless given
     */
    off(events, listener) {
      if (!events) return this.#listeners.clear();
      for (const event of events.split(" ")) {
        if (listener) this.#listeners.get(event)?.delete(listener);
        else this.#listeners.delete(event);
      }
    }
    save_changes() {} // nobody to tell
    send() {}
  }

  /** @type {Map<string, Promise<any>>} */
  const modules = new Map();

  /** @param {string} source */
  async function load(source) {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    const { default: made } = await import(url);
    URL.revokeObjectURL(url);
    return typeof made === "function" ? made() : made;
  }

  /** @param {string} source */
  function widgetOf(source) {
    const widget = modules.get(source) ?? load(source);
    modules.set(source, widget);
    return widget;
  }

  /** @type {Set<string>} */
  const styles = new Set();

  /** @param {string} css */
  function dress(css) {
    if (!css || styles.has(css)) return;
    styles.add(css);
    document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  }

  /**
   * The value that a script leaves at its own element.
   * @param {string} src
   */
  function valueIn(src) {
    const script = document.createElement("script");
    const value = new Promise((done, fail) => {
      script.onload = () => done(/** @type {any} */ (script).value);
      script.onerror = () => fail(new Error(`${src} did not load`));
    });
    document.head.append(Object.assign(script, { src }));
    return value;
  }

  /**
   * Whether the address leads to a figure.
   * @param {HTMLElement} el
   */
  const named = ({ dataset: { name } }) =>
    new URLSearchParams(location.hash.slice(1)).getAll("figure").some((asked) => asked === name);

  /**
   * Waits until a figure is within a screen of what is seen, is printed, or is named.
   * @param {HTMLElement} el
   */
  function near(el) {
    return new Promise((/** @type {(value?: any) => void} */ done) => {
      const look = (/** @type {IntersectionObserverEntry[]} */ all) => {
        if (all.some((entry) => entry.isIntersecting)) done();
      };
      new IntersectionObserver(look, { rootMargin: "100%" }).observe(el);
      addEventListener("beforeprint", done);
      addEventListener("hashchange", () => named(el) && done());
    });
  }

  /** @type {Map<string, Promise<Model>>} */
  const models = new Map();

  /**
   * @param {any} widget
   * @param {Saved} record
   */
  async function modelOf(widget, { state, apart = {} }) {
    const away = Object.entries(apart).map(async ([name, src]) => [name, await valueIn(src)]);
    const model = new Model(
      structuredClone({ ...state, ...Object.fromEntries(await Promise.all(away)) }),
    );
    await widget.initialize?.({ model });
    return model;
  }

  /**
   * Draws a figure in its place, or says there why it cannot.
   * @param {HTMLElement} el
   * @param {string} id
   * @param {Saved} [record]
   */
  async function show(el, id, record) {
    try {
      if (!record) throw new Error("its state is not in the page");
      if (record.model_module !== "anywidget") {
        throw new Error(
          `a ${record.model_name} cannot live here; end a cell with each figure itself`,
        );
      }
      const widget = await widgetOf(record.state._esm);
      const model = models.get(id) ?? modelOf(widget, record);
      models.set(id, model);
      el.replaceChildren();
      await widget.render({ model: await model, el });
      el.dataset.live = "started";
    } catch (error) {
      el.dataset.live = "failed";
      el.setAttribute("role", "alert");
      el.textContent = `This live figure could not start: ${/** @type {Error} */ (error).message}`;
    }
  }

  /**
   * Puts a figure in the place of its view, which may say its name in an address and where
   * it stands alone.
   * @param {Element} place
   * @param {Record<string, Saved>} records by the names of the models
   */
  async function start(place, records) {
    const el = document.createElement("div");
    el.className = "live-figure";
    place.replaceWith(el);
    const { model_id: id, name, alone } = JSON.parse(place.textContent ?? "");
    Object.assign(el.dataset, name && { name }, alone && { alone });
    const record = records[id];
    if (!record?.apart || named(el)) return show(el, id, record);
    el.dataset.live = "waiting"; // and the page is ready without it
    el.textContent = "This live figure carries a model. It comes when you are near.";
    near(el).then(() => show(el, id, record));
  }

  /**
   * The states of a page, with the texts that they share.
   * @param {Element} script
   * @returns {Record<string, Saved>}
   */
  function saved(script) {
    const { state, texts } = JSON.parse(script.textContent ?? "");
    const whole = (/** @type {Text} */ text) =>
      Array.isArray(text) ? text.map((place) => texts[place]).join("\n") : text;
    for (const record of Object.values(state)) {
      if (record.model_module !== "anywidget") continue;
      record.state._esm = whole(record.state._esm);
      record.state._css = whole(record.state._css);
    }
    return state;
  }

  /** @type {Map<Element, Record<string, Saved>>} */
  const read = new Map();

  /** All states that are in the page by now: styles are put on, and modules begin to load. */
  function states() {
    for (const script of document.querySelectorAll(STATE)) {
      if (read.has(script)) continue;
      const records = saved(script);
      read.set(script, records);
      for (const { model_module, state } of Object.values(records)) {
        if (model_module !== "anywidget") continue;
        dress(state._css);
        widgetOf(state._esm).catch(() => {}); // what failed is said in the figure's place
      }
    }
    return Object.assign({}, ...read.values());
  }

  const parsing = () => document.readyState === "loading";
  /**
   * Whether something comes after a node; what is being parsed is the last.
   * @param {Node | null} node
   * @returns {boolean}
   */
  const followed = (node) => !!node && (!!node.nextSibling || followed(node.parentNode));
  /** @type {Promise<void>[]} */
  const starts = [];

  /**
   * Starts the figures whose places are there: nobody waits for the rest of a long page.
   */
  function startParsed() {
    const records = parsing() ? Object.assign({}, ...read.values()) : states();
    for (const place of document.querySelectorAll(VIEW)) {
      if (!parsing() || (read.size && followed(place))) starts.push(start(place, records));
    }
    if (parsing()) setTimeout(startParsed, 10);
  }

  async function startAll() {
    startParsed();
    await Promise.all(starts);
    document.documentElement.dataset.live = "ready";
  }

  states();
  startParsed();
  // When the page is parsed, and before its deferred scripts run.
  const parsed = parsing()
    ? new Promise((done) => document.addEventListener("readystatechange", done, { once: true }))
    : Promise.resolve();
  const started = parsed.then(startAll);

  // Where MathJax comes after this script, it sets the formulas when the figures are drawn,
  // some at a time: a second of its work in one piece would leave a slow machine without answers.
  const page = /** @type {any} */ (window);
  const idle = () =>
    new Promise((done) => {
      if (page.requestIdleCallback) requestIdleCallback(done, { timeout: 1000 });
      else setTimeout(done, 50);
    });

  async function setFormulas() {
    await started;
    const formulas = [...document.querySelectorAll(".math")];
    while (formulas.length) {
      await idle();
      await page.MathJax.typesetPromise(formulas.splice(0, 10));
    }
  }
  if (page.MathJax && !page.MathJax.startup) page.MathJax.startup = { pageReady: setFormulas };
})();
