/** Who is let in: caps and rates, in all and by address. */

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

/** Which cap somebody is over. */
export type Cap = 'connections' | 'perAddress' | 'rate' | 'ratePerAddress'

/** Let in, over a cap, or gone meanwhile. */
export type Verdict = 'in' | 'gone' | Cap

/**
 * Counts connections. Each `enter()` that came out as `in` needs one `leave()`.
 *
 * Who is over a cap by address is never queued: an address could fill the line that is there for all.
 */
export class ConnectionLimiter {
  readonly #caps: Caps
  readonly #line: WaitQueue
  readonly #bucket: TokenBucket
  readonly #rates: AddressRates
  /** Of those who are in, and of those who wait. */
  readonly #byAddress = new Map<string, number>()
  #inside = 0
  #timer: NodeJS.Timeout | undefined

  constructor(caps: Caps) {
    this.#caps = caps
    this.#line = new WaitQueue(caps.waitTimeout)
    this.#bucket = new TokenBucket(caps.rate)
    this.#rates = new AddressRates(caps.ratePerAddress, caps.maxAddresses)
  }

  /** How many are in. */
  get count(): number {
    return this.#inside
  }

  /** How many wait. */
  get waiting(): number {
    return this.#line.length
  }

  /** How many addresses have a count of their own. */
  get addresses(): number {
    return this.#byAddress.size
  }

  /** Lets a connection from a network in, now or after a wait, or says why not. */
  enter(network: string | undefined, transport: Duplex): Verdict | Promise<Verdict> {
    const { perAddress, ratePerAddress, waitTimeout, maxWaiting } = this.#caps
    if (network !== undefined) {
      if ((this.#byAddress.get(network) ?? 0) >= perAddress) return 'perAddress'
      const bounded = ratePerAddress.count < Infinity
      if (bounded && !this.#rates.take(network)) return 'ratePerAddress'
    }
    const over = this.#obstacle()
    // Not past those who wait.
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

  /** One that was let in is gone: the next one may come in. */
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
    // Who leaves wakes up the others; a token comes by itself.
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
