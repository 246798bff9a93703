/** Functions that see the messages of a connection, for middleware such as `heartbeat`. */

import { atOnce } from '../thenable.ts'

/** Sees the messages of one connection, in both directions. */
export interface Interceptor<In, Out = In> {
  /**
   * Called for each message when a reader takes it, before the reader gets it. If it returns
   * `true`, the reader never gets it. If it returns a promise, the reader waits; several calls of
   * `next()` at once may then be answered in another order.
   *
   * @default nothing
   */
  received?(message: In): boolean | void | PromiseLike<boolean | void>
  /**
   * Called for each message before it is sent, also for one that was encoded before. It cannot
   * change the message; if it throws, nothing is sent, and `send()` rejects.
   *
   * @default nothing
   */
  sending?(message: Out): void
}

/** Stands for a message that an interceptor keeps. */
export const kept: unique symbol = Symbol('kept')

/** The interceptors of a connection, in the order of their registration. */
export class Interceptors {
  // Not typed by the messages: `Messages<string>` must do where `Messages<unknown>` is wanted.
  #all: readonly Interceptor<unknown>[] = []

  /** Returns a function that removes it. */
  add<In, Out>(added: Interceptor<In, Out>): () => void {
    const interceptor = added as Interceptor<unknown>
    this.#all = [...this.#all, interceptor]
    return () => {
      this.#all = this.#all.filter((one) => one !== interceptor)
    }
  }

  /** @throws what an interceptor throws */
  sending(message: unknown): void {
    // An async one could refuse nothing any more.
    for (const one of this.#all) atOnce('intercept', 'sending', one.sending?.(message))
  }

  /** The same messages, each seen when it is taken. */
  *sendingEach<Out>(messages: Iterable<Out>): Iterable<Out> {
    for (const message of messages) {
      this.sending(message)
      yield message
    }
  }

  /** The message, or {@link kept}; a promise if one of them waits. */
  received<In>(message: In): In | typeof kept | Promise<In | typeof kept> {
    return from(this.#all, 0, message)
  }
}

function from<In>(
  all: readonly Interceptor<unknown>[],
  start: number,
  message: In,
): In | typeof kept | Promise<In | typeof kept> {
  for (let at = start; at < all.length; at++) {
    const verdict = all[at]!.received?.(message)
    if (verdict === true) return kept
    if (typeof verdict === 'object') return after(verdict, all, at + 1, message)
  }
  return message
}

async function after<In>(
  verdict: PromiseLike<boolean | void>,
  all: readonly Interceptor<unknown>[],
  next: number,
  message: In,
): Promise<In | typeof kept> {
  return (await verdict) === true ? kept : from(all, next, message)
}
