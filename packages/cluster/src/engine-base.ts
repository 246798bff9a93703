/** The common part of all engines: going down, coming up, and pending requests. */

import { EventEmitter } from 'node:events'
import { randomBytes } from 'node:crypto'
import { CioError } from 'cio'
import { allowListeners, checkDuration } from 'cio/kit'
import { type Gap, checkPayload, checkSubject, downError, leastTtl, maxPayload } from './engine.ts'

/** Ends a wait with an error. */
export type Interrupt = (error: Error) => void

interface EngineEvents {
  down: []
  up: [gap: Gap]
}

/**
 * The state of an engine, and the waits that end when it goes down.
 *
 * @internal
 */
export class EngineState extends EventEmitter<EngineEvents> {
  instance = ''
  isUp = false
  downCause: Error | undefined
  maxPayload: number = maxPayload
  #downSince: number | undefined
  /** They end when the engine goes down. */
  readonly waits: Set<Interrupt> = new Set()
  readonly #watches = new Set<() => void>()

  constructor() {
    super()
    // Each registry, room and list has a listener, so there may be many.
    this.setMaxListeners(0)
  }

  /**
   * Calls `end` once: when the signal aborts, or the engine goes down or closes, or by the function that is
   * returned.
   */
  untilOver(signal: AbortSignal, end: () => void): () => void {
    const over = (): void => {
      if (!this.#watches.delete(over)) return
      signal.removeEventListener('abort', over)
      end()
    }
    this.#watches.add(over)
    allowListeners(signal)
    signal.addEventListener('abort', over)
    return over
  }

  /** A new start counts as another instance. */
  begin(): void {
    this.instance = randomBytes(9).toString('base64url')
    this.#downSince = undefined
  }

  /** Marks the engine as up; emits `up` if it was down before. */
  setUp(): void {
    if (this.isUp) return
    this.isUp = true
    this.downCause = undefined
    const since = this.#downSince
    this.#downSince = undefined
    if (since !== undefined) this.emit('up', { duration: performance.now() - since })
  }

  /** Marks the engine as down, ends all waits, and emits `down`. */
  setDown(): void {
    if (!this.isUp) return
    this.#stop('the connection was lost')
    this.#downSince = performance.now()
    this.emit('down')
  }

  /** Marks the engine as closed: no event. */
  end(): void {
    this.#stop('the engine was closed')
    this.#downSince = undefined
  }

  /** @throws `ERR_CIO_CLUSTER_DOWN` */
  checkUp(what: string): void {
    if (!this.isUp) throw downError(what, this.downCause)
  }

  /** Checks a message and the connection to the broker. @throws `ERR_CIO_SUBJECT`, `ERR_CIO_PAYLOAD_SIZE`, `ERR_CIO_CLUSTER_DOWN` */
  checkMessage(what: string, subject: string, payload: Uint8Array): void {
    checkSubject(subject)
    checkPayload(subject, payload, this.maxPayload)
    this.checkUp(what)
  }

  /** Checks a table and the connection to the broker. @throws `ERR_CIO_SUBJECT`, `ERR_CIO_OPTION`, `ERR_CIO_CLUSTER_DOWN` */
  checkTable(name: string, ttl: number): void {
    checkSubject(name)
    checkDuration('table', 'ttl', ttl)
    if (ttl < leastTtl) throw new CioError('ERR_CIO_OPTION', `table: \`ttl\` is below ${leastTtl}`)
    this.checkUp('table')
  }

  /** Waits for an answer, at most until the engine goes down or the signal aborts. */
  wait<Value>(
    what: string,
    work: Promise<Value>,
    signal?: AbortSignal,
    mapError: (error: unknown) => unknown = (error) => error,
  ): Promise<Value> {
    return new Promise<Value>((resolve, reject) => {
      const finish = (): void => {
        this.waits.delete(interrupt)
        signal?.removeEventListener('abort', abort)
      }
      const interrupt: Interrupt = (cause) => {
        finish()
        reject(downError(what, cause))
      }
      const abort = (): void => {
        finish()
        reject(signal!.reason as Error)
      }
      if (signal?.aborted) return abort()
      this.waits.add(interrupt)
      if (signal) allowListeners(signal)
      signal?.addEventListener('abort', abort, { once: true })
      work.then(
        (value) => {
          finish()
          resolve(value)
        },
        (error: unknown) => {
          finish()
          reject(mapError(error))
        },
      )
    })
  }

  #stop(why: string): void {
    this.isUp = false
    const error = new CioError('ERR_CIO_CLOSED', why)
    for (const end of this.#watches) end()
    for (const interrupt of this.waits) interrupt(error)
  }
}
