import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { begin } = await script("page/descent.mjs");
const { planOf } = await script("page/learner.mjs");
const { Session } = await script("page/session.mjs");
const { crossings, folds, LATTICE, pictureOf, swapped, Trainer } = await script("page/trainer.mjs");
const { encode, keysOf, savedIn, setupOf } = await script("train_setup.mjs");
const { decode } = await script("page/wire.mjs");

const getter = (traits, changes) => (name) => ({ ...traits, ...changes })[name];

test("the rows of every set, and the first weights of every model, are Python's", () => {
  assert.ok(cases.explorers.length >= 8);
  for (const { traits, rows, weights } of cases.explorers) {
    const get = getter(traits);
    const setup = setupOf(get);
    close(setup.rows.x, rows.x, 1e-12, traits.data);
    close(setup.rows.y, rows.y, 1e-12, traits.data);
    if (rows.t.length) close(setup.rows.times, rows.t, 1e-12, traits.data);
    setup.recipes.forEach((recipe, i) => {
      const plan = planOf(recipe, setup.rows.task, setup.rows.dim);
      close(begin(plan, setup.seed).theta, weights[i], 1e-12, `${traits.data} ${i}`);
    });
  }
});

test("a training that is told and begun again from what was told goes on as it would have", () => {
  const get = getter(cases.explorers[0].traits, { batch: 8 });
  const [one, two] = [new Trainer(setupOf(get)), new Trainer(setupOf(get))];
  for (let i = 0; i < 6; i++) one.step();
  for (let i = 0; i < 3; i++) two.step();
  const [{ theta, mean, square, steps }] = two.report();
  const held = {
    weights: [encode(theta)],
    moments: [encode(Float64Array.of(...mean, ...square))],
    steps: [steps],
  };
  const again = new Trainer(
    setupOf(get),
    savedIn((name) => held[name]),
  );
  for (let i = 0; i < 3; i++) again.step();
  assert.deepEqual(again.learners[0].training.theta, one.learners[0].training.theta);
});

test("numbers that are encoded are decoded, bit for bit", () => {
  const numbers = Float64Array.of(Math.PI, -1e-300, 0);
  assert.deepEqual(new Float64Array(decode(encode(numbers))), numbers);
});

test("another solver goes on with the same weights, another width begins anew", () => {
  const { traits } = cases.explorers[0];
  const [anew, on] = keysOf(getter(traits));
  const solver = keysOf(getter(traits, { method: "dopri5" }));
  const wide = keysOf(getter(traits, { width: 5 }));
  assert.ok(solver[0] === anew && solver[1] !== on);
  assert.ok(wide[0] !== anew && wide[1] === on);
});

test("a path crosses itself where it does, and neighbours that changed places are named", () => {
  const bow = Float64Array.of(0, 0, 2, 2, 2, 0, 0, 2);
  assert.deepEqual(crossings(bow), [[1, 1]]);
  assert.deepEqual(crossings(bow.slice(0, 6)), []);
  assert.deepEqual(swapped(Float64Array.of(0, 2, 1, 3)), [2]);
});

const turning = (h) => ({
  model: "ode",
  width: 2,
  hidden: 1,
  extra: 0,
  time: false,
  layers: 1,
  shared: true,
  gradient: "direct",
  solver: { method: "euler", step_size: h },
});

test("Euler's method with a long step turns the plane over, with short steps it does not", () => {
  // f pulls the first coordinate to zero, at the rate 3 there.
  const theta = Float64Array.of(1, 0, 0, 1, 0, 0, -3, 0, 0, 0, 0, 0, 0, 0, 0);
  const window = [
    [-0.3, 0.3],
    [-1, 1],
  ];
  const turned = (h) => folds(planOf(turning(h), "classes", 2), theta, window).length;
  assert.equal(turned(1), LATTICE * LATTICE);
  assert.equal(turned(0.01), 0);
});

test("a solve that stops has no picture", () => {
  const { traits } = cases.explorers[0];
  const setup = setupOf(getter(traits, { first: "ode" }));
  const plan = planOf(setup.recipes[0], "classes", 2);
  assert.equal(pictureOf(plan, new Float64Array(plan.count).fill(1e308), setup), null);
});

test("a session gives way while the hand moves, and tells of what it adopts with the rest", () => {
  const [told, pauses, later] = [[], [], []];
  const clock = performance.now;
  let now = 1000;
  performance.now = () => now++;
  const session = new Session(
    (report) => told.push(report),
    (work, pause) => [later.push(work), pauses.push(pause)],
    30,
  );
  const traits = { ...cases.explorers[0].traits, second: "none", third: "none", batch: 4 };
  const setup = setupOf(getter(traits, {}));
  session.receive({ kind: "begin", id: 1, setup });
  session.receive({ kind: "drawn" });
  session.receive({ kind: "run" });
  const began = told.length;
  later.shift()();
  session.receive({ kind: "moved" });
  later.shift()();
  session.receive({ kind: "adopt", setup });
  assert.equal(told.length, began);
  now += 1000;
  later.shift()();
  performance.now = clock;
  assert.deepEqual(pauses, [0, 0, 20, 0]);
  assert.equal(told.length, began + 1);
});

test("a session trains until it is to pause, and one that cannot go on says so", () => {
  const told = [];
  const later = [];
  const session = new Session(
    (report) => told.push(report),
    (work) => later.push(work),
    1,
  );
  const work = () => {
    while (later.length) {
      later.shift()();
      session.receive({ kind: "drawn" });
    }
  };
  const traits = { ...cases.explorers[0].traits, second: "none", third: "none", batch: 4 };
  const begun = (id, changes) => {
    session.receive({ kind: "begin", id, setup: setupOf(getter(traits, changes)) });
    session.receive({ kind: "run" });
    work();
    return told.at(-1);
  };
  const paused = begun(1, { until: 7 });
  assert.deepEqual([paused.id, paused.running, paused.reports[0].steps], [1, false, 7]);
  assert.equal(told.flatMap(({ reports }) => reports[0].losses).length, 7);
  const lost = begun(2, { until: 50, optimizer: "sgd", lr: 1e300 });
  assert.deepEqual([lost.id, lost.running, lost.able], [2, false, false]);
  assert.ok(lost.reports[0].stopped);
});
