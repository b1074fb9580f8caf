// Brings the live figures of a built page to life without a kernel and without a network.
//
// myst-nb leaves the state of every widget and a place for every view in the page. An
// anywidget brings its own module as text: import it, give it a model that holds the state,
// and let it render. This takes the place of require.js, html-manager and their hosts.
(() => {
  const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
  const VIEW = 'script[type="application/vnd.jupyter.widget-view+json"]';

  // What anywidget calls a model: named values, and listeners to their changes.
  class Model {
    #values;
    #listeners = new Map();

    constructor(values) {
      this.#values = values;
    }
    get(name) {
      return this.#values[name];
    }
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
    on(events, listener) {
      for (const event of events.split(" ")) {
        if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
        this.#listeners.get(event).add(listener);
      }
    }
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

  const modules = new Map();

  async function load(source) {
    if (!modules.has(source)) {
      const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      modules.set(
        source,
        import(url).then(async ({ default: made }) => {
          URL.revokeObjectURL(url);
          return typeof made === "function" ? made() : made;
        }),
      );
    }
    return modules.get(source);
  }

  const styles = new Set();

  function dress(css) {
    if (!css || styles.has(css)) return;
    styles.add(css);
    document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  }

  const models = new Map();

  async function start(place, records) {
    const el = document.createElement("div");
    el.className = "live-figure";
    place.replaceWith(el);
    try {
      const id = JSON.parse(place.textContent).model_id;
      const record = records[id];
      if (record?.model_module !== "anywidget") throw new Error("its state is not in the page");
      const widget = await load(record.state._esm);
      dress(record.state._css);
      if (!models.has(id)) {
        models.set(id, new Model(structuredClone(record.state)));
        await widget.initialize?.({ model: models.get(id) });
      }
      await widget.render({ model: models.get(id), el });
      el.dataset.live = "started";
    } catch (error) {
      el.dataset.live = "failed";
      el.setAttribute("role", "alert");
      el.textContent = `This live figure could not start: ${error.message}`;
    }
  }

  async function startAll() {
    const records = {};
    for (const script of document.querySelectorAll(STATE)) {
      Object.assign(records, JSON.parse(script.textContent).state);
    }
    await Promise.all([...document.querySelectorAll(VIEW)].map((place) => start(place, records)));
    document.documentElement.dataset.live = "ready";
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", startAll);
  else startAll();
})();
