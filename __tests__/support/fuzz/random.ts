/** A whole number from 0 up to, and without, this one. */
export type Below = (below: number) => number;

/** Numbers that are the same with each run (mulberry32). */
export function random(seed: number): Below {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export const pick = <T>(below: Below, list: readonly T[]): T => list[below(list.length)] as T;
