/** One process listener for each signal, shared by all servers. */

const callbacks = new Map<NodeJS.Signals, Set<(signal: NodeJS.Signals) => void>>()

function dispatch(signal: NodeJS.Signals): void {
  // The set may change during the loop: a removed callback is not called, an added one is.
  for (const call of callbacks.get(signal) ?? []) call(signal)
}

/**
 * Calls `call` for each of these signals, and keeps them from ending the process. Returns a
 * function that stops it. After the last callback for a signal is removed, the signal has its
 * default effect again.
 */
export function watchSignals(
  signals: readonly NodeJS.Signals[],
  call: (signal: NodeJS.Signals) => void,
): () => void {
  for (const signal of signals) {
    const calls = callbacks.get(signal) ?? new Set()
    if (calls.size === 0) process.on(signal, dispatch)
    callbacks.set(signal, calls.add(call))
  }
  return () => {
    for (const signal of signals) {
      const calls = callbacks.get(signal)
      if (calls?.delete(call) && calls.size === 0) process.off(signal, dispatch)
    }
  }
}
