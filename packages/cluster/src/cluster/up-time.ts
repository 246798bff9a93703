/** Runs work whenever the engine is up. */

import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { isCioError } from 'cio'
import { asError, debug } from 'cio/kit'
import type { Engine } from '../engine.ts'

const log = debug('cio:cluster')
const retryDelay = 500

type Work = (signal: AbortSignal) => unknown

/** Starts an engine, and runs work each time it comes up. */
export class UpTime {
  readonly #engine: Engine
  readonly #works = new Set<Work>()
  #up: AbortController | undefined
  #opened: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #stop = new AbortController()
  #users = 0
  /** Why the work of the start has not been done yet. */
  failure: Error | undefined

  constructor(engine: Engine) {
    this.#engine = engine
    engine.on('down', () => this.#end())
    engine.on('up', () => void this.#begin())
  }

  /** Connects for one more user; fulfils when the engine is up and all work has been done once. */
  async open(signal?: AbortSignal): Promise<void> {
    this.#users += 1
    this.#opened ??= this.#open()
    try {
      await untilAborted(this.#opened, signal)
    } catch (error) {
      await this.close(() => {})
      throw error
    }
  }

  /** Closes the engine when its last user leaves, after `before`. */
  async close(before: () => void): Promise<void> {
    if (this.#users === 0 || --this.#users > 0) return
    const opened = this.#opened
    this.#opened = undefined
    this.#stop.abort()
    this.#stop = new AbortController()
    await (this.#closing = this.#close(opened, before))
  }

  async #close(opened: Promise<void> | undefined, before: () => void): Promise<void> {
    await opened?.catch(() => {})
    this.#end()
    before()
    await this.#engine.close()
  }

  /** As `Cluster` has it. */
  whileUp(work: Work): () => void {
    this.#works.add(work)
    if (this.#up) void this.#run(work, this.#up.signal)
    return () => this.#works.delete(work)
  }

  async #open(): Promise<void> {
    const { signal } = this.#stop
    // It may be opened again before it is closed.
    await this.#closing?.catch(() => {})
    await this.#engine.open(signal)
    await this.#begin(true)
  }

  async #begin(isStart = false): Promise<void> {
    const up = (this.#up = new AbortController())
    // Each part of a cluster has some, so there may be many listeners.
    setMaxListeners(0, up.signal)
    await Promise.all([...this.#works].map((work) => this.#run(work, up.signal, isStart)))
    this.failure = undefined
  }

  #end(): void {
    this.#up?.abort()
    this.#up = undefined
  }

  /** Runs work until it fulfils; at the start, waiting does not mend an option that the broker refuses. */
  async #run(work: Work, signal: AbortSignal, isStart = false): Promise<void> {
    while (!signal.aborted) {
      const attempt = new AbortController()
      const end = (): void => attempt.abort()
      setMaxListeners(0, attempt.signal)
      signal.addEventListener('abort', end)
      try {
        await work(attempt.signal)
        return
      } catch (thrown) {
        if (signal.aborted) return
        // Otherwise what it has begun runs beside what the next attempt begins.
        end()
        signal.removeEventListener('abort', end)
        const error = asError(thrown)
        if (isStart && isCioError(error, 'ERR_CIO_OPTION')) throw error
        this.failure = error
        log('work fails, and is tried again: %s', error.message)
        await delay(retryDelay, undefined, { signal }).catch(() => {})
      }
    }
  }
}

async function untilAborted<Value>(work: Promise<Value>, signal?: AbortSignal): Promise<Value> {
  if (!signal) return work
  let abort = (): void => {}
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason as Error)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort)
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
