// The settings of a figure in the address of its page: #figure=NAME&h=0.2. No DOM here.

/**
 * What a control sets.
 * @typedef {object} Setting
 * @property {string} key its name in an address
 * @property {any} start what it holds until the reader moves it
 * @property {() => any} get
 * @property {(value: any) => void} set
 * @property {(text: string) => any} parse the value that a text means; undefined if none
 */

/**
 * What an address asks of a figure; nothing if it names another, or none.
 * @param {string} hash
 * @param {string | undefined} name
 */
export function asked(hash, name) {
  const all = [...new URLSearchParams(hash.slice(1))];
  const named = all.some(([key, value]) => key === "figure" && value === name);
  return named ? all.filter(([key]) => key !== "figure") : undefined;
}

/**
 * The end of the address that leads to a figure as it is: what differs from the start.
 * @param {string} name
 * @param {Setting[]} settings
 */
export function fragment(name, settings) {
  const moved = settings.filter(({ get, start }) => get() !== start);
  const pairs = moved.map(({ key, get }) => [key, String(get())]);
  return `#${new URLSearchParams([["figure", name], ...pairs])}`;
}

/**
 * Sets what is asked, and all else to its start. What cannot be set is ignored, and
 * returned as words.
 * @param {Setting[]} settings
 * @param {string[][]} wanted pairs of key and text
 */
export function follow(settings, wanted = []) {
  const values = new Map(settings.map((setting) => [setting, setting.start]));
  const ignored = [];
  for (const [key, text] of wanted) {
    const setting = settings.find((one) => one.key === key);
    const value = setting?.parse(text);
    if (setting && value !== undefined) values.set(setting, value);
    else ignored.push(`${key}=${text}`.slice(0, 30));
  }
  for (const [{ get, set }, value] of values) if (get() !== value) set(value);
  return ignored.join(", ");
}
