/** The uses of a pool that wait for a connection, first come first served. */

import { allowListeners } from '../../streams/lazy-abort.ts'
import type { Clock } from './clock.ts'

interface Waiting<Member> {
  readonly choose: () => Member | undefined
  readonly resolve: (member: Member) => void
}

interface Condition {
  readonly holds: () => boolean
  readonly resolve: () => void
}

/** A queue. The pool bounds its length, and each entry has its own time limit. */
export class WaitingUses<Member> {
  readonly #clock: Clock
  readonly #timeout: number
  readonly #queue = new Set<Waiting<Member>>()
  readonly #conditions = new Set<Condition>()
  readonly #rejects = new Set<(error: unknown) => void>()

  constructor(clock: Clock, timeout: number) {
    this.#clock = clock
    this.#timeout = timeout
  }

  get size(): number {
    return this.#queue.size
  }

  /** Fulfils with the result of `choose`, once that is defined. */
  add(
    choose: () => Member | undefined,
    signal: AbortSignal | undefined,
    timeoutError: () => Error,
  ): Promise<Member> {
    return this.#bounded(signal, timeoutError, (resolve) => {
      const waiting = { choose, resolve }
      this.#queue.add(waiting)
      return () => this.#queue.delete(waiting)
    })
  }

  /** Fulfils when a condition holds. It checks the condition after each change. */
  until(
    holds: () => boolean,
    signal: AbortSignal | undefined,
    timeoutError: () => Error,
  ): Promise<void> {
    if (holds()) return Promise.resolve()
    return this.#bounded<void>(signal, timeoutError, (resolve) => {
      const condition = { holds, resolve }
      this.#conditions.add(condition)
      return () => this.#conditions.delete(condition)
    })
  }

  /** Checks the conditions. */
  changed(): void {
    for (const { holds, resolve } of this.#conditions) if (holds()) resolve()
  }

  /** Gives connections to the uses at the head of the queue, until no connection is left. */
  serve(): void {
    for (const { choose, resolve } of this.#queue) {
      const member = choose()
      if (member === undefined) return
      resolve(member)
    }
  }

  rejectAll(error: () => Error): void {
    for (const reject of this.#rejects) reject(error())
  }

  #bounded<Result>(
    signal: AbortSignal | undefined,
    timeoutError: () => Error,
    begin: (resolve: (result: Result) => void) => () => void,
  ): Promise<Result> {
    return new Promise<Result>((resolve, reject) => {
      const settle = (): void => {
        end()
        stop()
        this.#rejects.delete(fail)
        signal?.removeEventListener('abort', abort)
      }
      const fail = (error: unknown): void => {
        settle()
        reject(error)
      }
      const abort = (): void => fail(signal!.reason)
      const end = begin((result) => {
        settle()
        resolve(result)
      })
      const stop =
        this.#timeout === Infinity
          ? () => {}
          : this.#clock.after(this.#timeout, () => fail(timeoutError()))
      this.#rejects.add(fail)
      if (signal) allowListeners(signal)
      signal?.addEventListener('abort', abort)
    })
  }
}
