/** The time of a pool, which a test can replace. */

/** Time and chance. */
export interface Clock {
  /** Milliseconds. */
  now(): number
  /** Calls a function after so many milliseconds; returns a function that stops it. */
  after(milliseconds: number, call: () => void): () => void
  /** From 0 up to, and without, 1. */
  readonly random: () => number
}

/** The timers of Node. */
export const realClock: Clock = {
  now: () => performance.now(),
  after: (milliseconds, call) => {
    const timer = setTimeout(call, milliseconds)
    return () => clearTimeout(timer)
  },
  random: Math.random,
}
