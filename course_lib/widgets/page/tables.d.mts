// What course_lib/widgets/page/module.py writes into tables.mjs, for the type checker.

/** An explicit Runge–Kutta method, as course_lib/solvers/tableaus.py has it. */
export interface Method {
  name: string;
  label: string;
  order: number;
  c: number[];
  a: number[][];
  b: number[];
  b_error: number[] | null;
  dense: number[][] | null;
  fsal: boolean;
}

/** A small system, as course_lib/systems.py has it; its field is in systems.mjs. */
export interface System {
  label: string;
  y0: number[];
  span: [number, number];
  window: [number, number][];
}

/** A value of a choice, and what the reader calls it. */
export type Choice = [name: string, label: string];

export const MAX_STEPS: number;
export const METHODS: Record<string, Method>;
export const FIXED: Choice[];
export const ADAPTIVE: Choice[];
export const SYSTEMS: Record<string, System>;
