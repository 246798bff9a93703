/** What limits by address go by, and their rates, in bounded memory. */

import { isIPv6 } from 'node:net'
import { type Rate, TokenBucket } from '../../src/rates/token-bucket.ts'

const groupsOfNetwork = 4
const groupsOfAddress = 8

/**
 * What an address is counted as: an IPv4 address itself, an IPv6 address its /64, since that is what
 * one customer gets, and could take a new address from for each connection.
 *
 * @param address In canonical form
 */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const after = tail === '' ? [] : tail.split(':')
    const zeros = groupsOfAddress - groups.length - after.length
    groups.push(...Array<string>(Math.max(0, zeros)).fill('0'), ...after)
  }
  return `${groups.slice(0, groupsOfNetwork).join(':')}::/64`
}

/**
 * A rate for each address, for a bounded number of them.
 *
 * A bucket that nobody has taken from for `per` is full again, and as good as none. So there are two
 * generations: who is seen is in the young one, which becomes the old one after `per`, and with that
 * the old one is forgotten. It does so earlier where half of the room is taken: to refuse the new
 * addresses of a flood instead would let it keep everybody out.
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

  /** How many addresses it remembers, at most. */
  get size(): number {
    return this.#young.size + this.#old.size
  }

  /** Takes a token of an address; false where it has none. */
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
