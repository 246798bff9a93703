/** Admission of connections: maximum numbers and rates, in total and by address. */

import type { Duplex } from 'node:stream'
import { type Rate, TokenBucket } from '../../src/rates/token-bucket.ts'
import { AddressRates } from './address.ts'
import { type Ending, WaitQueue } from './wait-queue.ts'

/** What {@link ConnectionLimiter} bounds. */
export interface Caps {
  readonly connections: number
  readonly perAddress: number
  readonly rate: Rate
  readonly ratePerAddress: Rate
  readonly maxAddresses: number
  readonly waitTimeout: number
  readonly maxWaiting: number
}

/** The limit that a connection exceeds. */
export type Cap = 'connections' | 'perAddress' | 'rate' | 'ratePerAddress'

/** Admitted, over a limit, or closed while it waited. */
export type Verdict = 'in' | 'gone' | Cap

/**
 * Counts connections. Each `enter()` that returned `in` needs one `leave()`.
 *
 * A connection over a limit by address never waits: one address could fill the queue that all
 * share.
 */
export class ConnectionLimiter {
  readonly #caps: Caps
  readonly #line: WaitQueue
  readonly #bucket: TokenBucket
  readonly #rates: AddressRates
  /** Admitted and waiting connections. */
  readonly #byAddress = new Map<string, number>()
  #inside = 0
  #timer: NodeJS.Timeout | undefined

  constructor(caps: Caps) {
    this.#caps = caps
    this.#line = new WaitQueue(caps.waitTimeout)
    this.#bucket = new TokenBucket(caps.rate)
    this.#rates = new AddressRates(caps.ratePerAddress, caps.maxAddresses)
  }

  /** Number of admitted connections. */
  get count(): number {
    return this.#inside
  }

  /** Number of waiting connections. */
  get waiting(): number {
    return this.#line.length
  }

  /** Number of different addresses. */
  get addresses(): number {
    return this.#byAddress.size
  }

  /** Admits a connection, now or after a wait, or returns the limit that it exceeds. */
  enter(network: string | undefined, transport: Duplex): Verdict | Promise<Verdict> {
    const { perAddress, ratePerAddress, waitTimeout, maxWaiting } = this.#caps
    if (network !== undefined) {
      if ((this.#byAddress.get(network) ?? 0) >= perAddress) return 'perAddress'
      const bounded = ratePerAddress.count < Infinity
      if (bounded && !this.#rates.take(network)) return 'ratePerAddress'
    }
    const over = this.#obstacle()
    // A new connection does not overtake waiting ones.
    if (!over && this.#line.length === 0) {
      this.#count(network, 1)
      this.#take()
      return 'in'
    }
    if (waitTimeout === 0 || this.#line.length >= maxWaiting) return over ?? 'rate'

    this.#count(network, 1)
    const ending = this.#line.join(transport, () => this.#take())
    this.#admit()
    return ending.then((how) => this.#settle(how, network))
  }

  /** An admitted connection has closed: the next one may enter. */
  leave(network: string | undefined): void {
    this.#inside--
    this.#count(network, -1)
    this.#admit()
  }

  #obstacle(): 'connections' | 'rate' | undefined {
    if (this.#inside >= this.#caps.connections) return 'connections'
    return this.#bucket.delay() > 0 ? 'rate' : undefined
  }

  #take(): void {
    this.#inside++
    this.#bucket.take()
  }

  #admit(): void {
    while (this.#line.length > 0 && !this.#obstacle()) this.#line.call()
    if (this.#line.length === 0 || this.#obstacle() !== 'rate') return
    // A connection that closes wakes a waiting one, but a new token needs a timer.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#admit()
    }, Math.ceil(this.#bucket.delay()))
  }

  #settle(how: Ending, network: string | undefined): Verdict {
    if (how === 'turn') return 'in'
    this.#count(network, -1)
    if (this.#line.length === 0) {
      clearTimeout(this.#timer)
      this.#timer = undefined
    }
    return how === 'gone' ? 'gone' : (this.#obstacle() ?? 'rate')
  }

  #count(network: string | undefined, more: 1 | -1): void {
    if (network === undefined) return
    const count = (this.#byAddress.get(network) ?? 0) + more
    if (count > 0) this.#byAddress.set(network, count)
    else this.#byAddress.delete(network)
  }
}
