/** The check of one promise: two engines on one broker. */

import { randomBytes } from 'node:crypto'
import { isCioError } from 'cio'
import type { Engine, Row, Table } from '../engine.ts'

/** Ends and restores the connection of all engines to the broker. */
export interface Outage {
  begin(): unknown
  end(): unknown
}

/** How a promise is checked. */
export interface Check {
  readonly needsOutage?: boolean
  readonly run: (trial: Trial) => Promise<void>
}

/** The checks of some promises, by name. */
export type Checks = Readonly<Record<string, Check>>

/** Two engines on one broker, for the check of one promise. */
export class Trial {
  readonly one: Engine
  readonly other: Engine
  readonly outage: Outage | undefined
  readonly #timeout: number
  readonly #end = new AbortController()

  constructor(make: () => Engine, timeout: number, outage?: Outage) {
    this.one = make()
    this.other = make()
    this.#timeout = timeout
    this.outage = outage
  }

  /** Aborts when the check is over. */
  get signal(): AbortSignal {
    return this.#end.signal
  }

  async run(check: (trial: Trial) => Promise<void>): Promise<void> {
    try {
      await this.within(this.one.open(this.signal), 'open()')
      await this.within(this.other.open(this.signal), 'open()')
      await this.within(check(this), 'the check')
    } finally {
      this.#end.abort()
      await this.one.close()
      await this.other.close()
    }
  }

  /** A word that no other check uses. */
  word(): string {
    return `t${randomBytes(6).toString('hex')}`
  }

  table(engine: Engine, name: string): Promise<Table> {
    return engine.table(name, { ttl: 60_000 })
  }

  /** Fulfils when the broker has seen all that an engine has asked before. */
  async settle(engine: Engine): Promise<void> {
    const subject = this.word()
    const known = engine.subscribe(subject, ({ reply }) => reply(bytes('')))
    await engine.request(subject, bytes(''), { timeout: 5_000 })
    known.unsubscribe()
  }

  /** Collects the rows of a watch. */
  async watch(
    table: Table,
    snapshot = false,
    signal: AbortSignal = this.signal,
  ): Promise<Collected<Row>> {
    const rows = new Collected<Row>(this)
    await table.watch((row) => rows.add(row), { snapshot, signal })
    return rows
  }

  async within<Value>(work: Promise<Value>, what: string): Promise<Value> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const fail = (): void => reject(new Error(`${what} took longer than ${this.#timeout} ms`))
      timer = setTimeout(fail, this.#timeout)
    })
    try {
      return await Promise.race([work, late])
    } finally {
      clearTimeout(timer)
    }
  }
}

/** What arrives, for a check that waits for it. */
export class Collected<Item> {
  readonly items: Item[] = []
  readonly #trial: Trial
  #stir = (): void => {}

  constructor(trial: Trial) {
    this.#trial = trial
  }

  add(item: Item): void {
    this.items.push(item)
    this.#stir()
  }

  async until(found: (items: readonly Item[]) => boolean, what: string): Promise<void> {
    const wait = async (): Promise<void> => {
      while (!found(this.items)) await new Promise<void>((resolve) => (this.#stir = resolve))
    }
    await this.#trial.within(wait(), what)
  }
}

export function bytes(text: string): Uint8Array {
  return Buffer.from(text)
}

export function text(payload: Uint8Array | null | undefined): string | undefined {
  return payload ? Buffer.from(payload).toString() : undefined
}

/** @throws if the claim is false */
export function check(claim: boolean, message: string): asserts claim {
  if (!claim) throw new Error(message)
}

/** Checks that a function throws, or its promise rejects, with a code. */
export async function rejects(code: string, work: () => unknown, what: string): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (isCioError(error, code)) return
    throw new Error(`${what} fails with ${String(error)} and not with ${code}`, { cause: error })
  }
  throw new Error(`${what} does not fail with ${code}`)
}
