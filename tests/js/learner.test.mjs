import assert from "node:assert/strict";
import { test } from "node:test";
import { cases, close, script } from "./course.mjs";

const { numbers } = await script("page/chance.mjs");
const { batchOf, begin, descend, pick } = await script("page/descent.mjs");
const { judge, lossAndGradient, planOf } = await script("page/learner.mjs");

const taken = ({ x, y, ...rows }) => ({
  ...rows,
  x: Float64Array.from(x),
  y: Float64Array.from(y),
});

test("the gradient of every model, method and kind is the one PyTorch finds", () => {
  assert.ok(cases.gradients.length >= 100);
  const kinds = new Set();
  for (const { recipe, rows, theta, expected } of cases.gradients) {
    const what = JSON.stringify({ recipe, task: rows.task });
    kinds.add([recipe.model, recipe.solver.method, recipe.gradient].join());
    const plan = planOf(recipe, rows.task, rows.dim);
    assert.equal(plan.count, theta.length, what);
    const found = lossAndGradient(plan, Float64Array.from(theta), taken(rows));
    assert.equal(found.stopped, null, what);
    close([found.loss], [expected.loss], 1e-9, what);
    close(found.grad, expected.grad, 1e-9, what);
    close([judge(plan, Float64Array.from(theta), taken(rows)).loss], [expected.loss], 1e-9, what);
  }
  assert.equal(kinds.size, 7 * 3 + 2);
});

test("the solves there and back cost what they cost in Python", () => {
  for (const { recipe, rows, theta, expected } of cases.gradients) {
    const adaptive = recipe.solver.rtol !== undefined;
    if (recipe.model !== "ode" || !adaptive) continue;
    const plan = planOf(recipe, rows.task, rows.dim);
    const { cost } = lossAndGradient(plan, Float64Array.from(theta), taken(rows));
    const what = JSON.stringify({ recipe, task: rows.task });
    assert.equal(cost.nfe, expected.nfe, what);
    assert.equal(cost.nfeBack, expected.nfeBack, what);
  }
});

test("fifty steps from the same weights and batches end where PyTorch ends", () => {
  assert.ok(cases.trainings.length >= 12);
  for (const { recipe, rows, theta, optimizer, lr, seed, size } of cases.trainings) {
    const plan = planOf(recipe, rows.task, rows.dim);
    const training = begin(plan, seed);
    const data = taken(rows);
    const n = data.x.length / data.dim;
    for (let step = 0; step < 50; step++) {
      const batch = pick(data, batchOf(n, size, seed, step));
      const { grad } = lossAndGradient(plan, training.theta, batch);
      descend(training, grad, { optimizer, lr, trained: plan.trained });
    }
    const gap = Math.max(...theta.map((v, i) => Math.abs(v - training.theta[i])));
    assert.ok(gap < 1e-6, `${JSON.stringify({ recipe, optimizer })}: ${gap}`);
  }
});

test("the three gradients of a fixed method differ in what they keep", () => {
  const made = cases.gradients.filter(({ recipe }) => recipe.solver.method === "rk4");
  const { recipe, rows, theta } = made.find(({ recipe: { model } }) => model === "ode");
  const finer = { ...recipe, solver: { method: "rk4", step_size: 0.02 } };
  const plan = planOf(finer, rows.task, rows.dim);
  const kept = (gradient) =>
    lossAndGradient(plan, Float64Array.from(theta), taken(rows), gradient).cost.kept;
  assert.ok(kept("direct") > 3 * kept("checkpointed"));
  assert.ok(kept("checkpointed") > 3 * kept("adjoint"));
});

test("numbers from a seed lie from 0 to 1, evenly, and come again", () => {
  const draw = (seed) => {
    const next = numbers(seed);
    return Array.from({ length: 4000 }, next);
  };
  const some = draw(1);
  assert.deepEqual(some, draw(1));
  assert.notDeepEqual(some, draw(2));
  assert.ok(some.every((x) => x >= 0 && x < 1));
  assert.ok(Math.abs(some.reduce((a, b) => a + b) / 4000 - 0.5) < 0.02);
});

test("an epoch has every row once, and the next one has another order", () => {
  const epoch = (first) => [0, 1, 2].flatMap((i) => batchOf(10, 4, 5, first + i));
  const sorted = (order) => [...order].sort((a, b) => a - b);
  assert.deepEqual(sorted(epoch(0)), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(sorted(epoch(3)), sorted(epoch(0)));
  assert.notDeepEqual(epoch(3), epoch(0));
});

test("a solve that cannot go on has no loss, and says why", () => {
  const { recipe, rows, theta } = cases.gradients.find(({ recipe: { model } }) => model === "ode");
  const plan = planOf(
    { ...recipe, solver: { method: "rk4", step_size: 0.1, max_steps: 3 } },
    rows.task,
    rows.dim,
  );
  const found = lossAndGradient(plan, Float64Array.from(theta), taken(rows));
  assert.ok(Number.isNaN(found.loss));
  assert.equal(found.stopped.why, "too many steps");
});
