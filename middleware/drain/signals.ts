/** One listener of the process for each signal, whoever waits for it. */

const waiting = new Map<NodeJS.Signals, Set<(signal: NodeJS.Signals) => void>>()

function hear(signal: NodeJS.Signals): void {
  // A set may change while it is gone through: who stops is not called, who comes is.
  for (const call of waiting.get(signal) ?? []) call(signal)
}

/**
 * Calls with each of these signals, and keeps them from ending the process. Returns what stops it:
 * with the last one to wait for a signal, it does again what it did before.
 */
export function watchSignals(
  signals: readonly NodeJS.Signals[],
  call: (signal: NodeJS.Signals) => void,
): () => void {
  for (const signal of signals) {
    const calls = waiting.get(signal) ?? new Set()
    if (calls.size === 0) process.on(signal, hear)
    waiting.set(signal, calls.add(call))
  }
  return () => {
    for (const signal of signals) {
      const calls = waiting.get(signal)
      if (calls?.delete(call) && calls.size === 0) process.off(signal, hear)
    }
  }
}
