/** Finds resource leaks: timers, handles, and listeners of the process. */

import { AsyncLocalStorage, createHook } from 'node:async_hooks'
import { clearIdleTimers } from '../deadline.ts'

// Resources that live until they are closed. Requests and promises end by themselves.
const lasting =
  /^(Timeout|TCPWRAP|TCPSERVERWRAP|PIPEWRAP|PIPESERVERWRAP|UDPWRAP|FSEVENTWRAP|STATWATCHER|PROCESSWRAP|SIGNALWRAP|TTYWRAP|MESSAGEPORT|WORKER)$/

// Deep enough to reach the caller outside Node.
const frames = 40

// Turns of the event loop until Node reports closed resources.
const turns = 20

/** Tracks resources created within `during()`, and which of them are closed. */
export class ResourceLeaks {
  readonly #within = new AsyncLocalStorage<boolean>()
  readonly #open = new Map<number, string>()
  readonly #listeners = countListeners(process)
  readonly #hook = createHook({
    init: (id, type) => {
      if (!lasting.test(type) || !this.#within.getStore()) return
      this.#open.set(id, `${type === 'Timeout' ? 'a timer' : type}${origin()}`)
    },
    destroy: (id) => void this.#open.delete(id),
  })

  /** Runs a function whose resources count. */
  during<T>(work: () => T): T {
    // So that a deadline inside `run` gets a new timer, which counts if it is left.
    clearIdleTimers()
    this.#hook.enable()
    return this.#within.run(true, work)
  }

  /** Runs a function whose resources do not count. */
  aside<T>(work: () => T): T {
    return this.#within.run(false, work)
  }

  /** The leaked resources, in words; waits for Node to report closed ones. */
  async left(): Promise<string[]> {
    clearIdleTimers()
    for (let turn = 0; turn < turns && this.#open.size > 0; turn++) {
      await new Promise((resolve) => void this.aside(() => setImmediate(resolve)))
    }
    const found = [...this.#open.values(), ...more(this.#listeners, process, 'process')]
    this.#open.clear()
    return [...new Set(found)]
  }

  stop(): void {
    this.#hook.disable()
    // On Node 20, each enabled storage makes every promise of the process slower.
    this.#within.disable()
  }
}

interface Emitter {
  eventNames(): (string | symbol)[]
  listenerCount(event: string): number
}

/** How many listeners an emitter has, by event. */
export function countListeners(emitter: Emitter): ReadonlyMap<string | symbol, number> {
  return new Map(
    emitter.eventNames().map((event) => [event, emitter.listenerCount(event as string)] as const),
  )
}

/** The listeners added since, in words. */
export function more(
  before: ReadonlyMap<string | symbol, number>,
  emitter: Emitter,
  owner: string,
): string[] {
  return [...countListeners(emitter)]
    .filter(([event, count]) => count > (before.get(event) ?? 0))
    .map(([event]) => `a listener of \`${String(event)}\` on ${owner}`)
}

/** Where in the code under test it was created. */
function origin(): string {
  const usual = Error.stackTraceLimit
  Error.stackTraceLimit = frames
  const stack = new Error().stack?.split('\n').slice(1) ?? []
  Error.stackTraceLimit = usual
  const own = /node:|[\\/]src[\\/]testing[\\/]resource-leaks|node_modules[\\/](?!cio-)/
  const frame = stack.find((line) => !own.test(line))
  return frame ? ` (${frame.trim().replace(/^at /, '')})` : ''
}
