/** Engines on one broker that a test can take away: in memory, or over NATS. */

import type { ExecutionContext } from 'ava'
import { type Engine, memory, memoryHub } from '../../src/index.ts'

/** A broker and its engines. */
export interface Engines {
  readonly make: () => Engine
  /** Takes the broker away from all engines; fulfils when all of them know. */
  readonly down: () => Promise<void>
  /** Brings it back, with what it has stored; fulfils when all engines are up. */
  readonly up: () => Promise<void>
  /** Cuts one of the first two engines off from the broker; fulfils when it knows. */
  readonly cut: (engine: Engine) => Promise<void>
  /** Connects it again; fulfils when it is up. */
  readonly heal: (engine: Engine) => Promise<void>
}

/** A test, or one that is skipped aloud. */
export type RunTest = (title: string, run: (t: ExecutionContext) => Promise<void>) => void

/** How a contract is run. */
export interface ContractOf {
  readonly test: RunTest
  readonly over: string
  readonly engines: (t: ExecutionContext) => Promise<Engines>
}

/** Engines of one hub. */
export async function memoryEngines(): Promise<Engines> {
  const hub = memoryHub()
  const made: Engine[] = []
  const cut = new Set<Engine>()
  return {
    make: () => {
      const engine = memory(hub)
      made.push(engine)
      return engine
    },
    down: async () => hub.cut(...made),
    up: async () => hub.heal(),
    cut: async (engine) => hub.cut(...cut.add(engine)),
    heal: async (engine) => {
      cut.delete(engine)
      hub.heal()
      hub.cut(...cut)
    },
  }
}
