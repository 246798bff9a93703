/** Keys and rates of limits by address, in bounded memory. */

import { type Rate, TokenBucket } from '../../src/rates/token-bucket.ts'
import { networkOf } from '../../src/streams/endpoint.ts'

/**
 * The key of an address: an IPv4 address itself, an IPv6 address its /64. One customer gets a whole
 * /64, and could otherwise use a new address for each connection.
 *
 * @param address In canonical form
 */
export function keyOf(address: string): string {
  return address.includes(':') ? networkOf(address) : address
}

/**
 * A rate for each address, for a bounded number of addresses.
 *
 * A bucket that was unused for `per` is full again, so Cio need not keep it. Therefore there are
 * two generations. An address in use is in the young generation. After `per`, or when the young
 * generation holds half of `most`, it becomes the old generation, and Cio drops the previous old
 * one. The alternative, to reject new addresses during a flood, would let the flood lock out all
 * clients.
 */
export class AddressRates {
  readonly #rate: Rate
  readonly #most: number
  #young = new Map<string, TokenBucket>()
  #old = new Map<string, TokenBucket>()
  #turned = -Infinity

  constructor(rate: Rate, most: number) {
    this.#rate = rate
    this.#most = most
  }

  /** Upper bound of the number of remembered addresses. */
  get size(): number {
    return this.#young.size + this.#old.size
  }

  /** Takes a token from an address's bucket; false if it is empty. */
  take(network: string, now: number = performance.now()): boolean {
    const known = this.#young.get(network)
    if (known) return known.take(now)
    if (now - this.#turned >= this.#rate.per || this.#young.size >= this.#most / 2) this.#turn(now)
    const bucket = this.#old.get(network) ?? new TokenBucket(this.#rate)
    this.#young.set(network, bucket)
    return bucket.take(now)
  }

  #turn(now: number): void {
    this.#old = this.#young
    this.#young = new Map()
    this.#turned = now
  }
}
