/** Which bound of time a connection has overstepped. Pure: told the time, and what has passed. */

import type { Traffic } from './traffic.ts'

/** Bounds of time, in milliseconds. */
export interface Bounds {
  readonly handshake: number
  readonly firstByte: number
  readonly idle: number
  readonly write: number
  readonly lifetime: number
}

/** How often one looks within a bound: what is over it is found a quarter late at most. */
const looks = 4

/** Compares what has passed with what had passed when it looked before. */
export class Deadlines {
  readonly #bounds: Bounds
  readonly #since: number
  #last: Traffic
  /** Since when nothing has passed, nothing was sent, no handshake ends, and the peer is silent. */
  #idleSince: number
  #stuckSince: number
  #handshakeSince: number
  #silentSince: number
  #spoken = false
  #old = false

  constructor(bounds: Bounds, now: number, traffic: Traffic) {
    this.#bounds = bounds
    this.#last = traffic
    this.#since = now
    this.#idleSince = now
    this.#stuckSince = now
    this.#handshakeSince = now
    this.#silentSince = now
  }

  /** The bound that is overstepped now, if one is. `lifetime` comes once, the others each time. */
  check(now: number, traffic: Traffic): keyof Bounds | undefined {
    const { read, sent, waiting, encrypted, handshaking, spoken } = traffic
    const last = this.#last
    this.#last = traffic
    if (read !== last.read || sent !== last.sent) this.#idleSince = now
    if (!waiting || !last.waiting || sent !== last.sent) this.#stuckSince = now
    if (!handshaking || !last.handshaking) this.#handshakeSince = now
    if (encrypted !== last.encrypted || handshaking) {
      this.#silentSince = now
      this.#spoken = false
    } else this.#spoken ||= spoken

    const { handshake, firstByte, idle, write, lifetime } = this.#bounds
    if (now - this.#handshakeSince >= handshake) return 'handshake'
    if (!this.#spoken && now - this.#silentSince >= firstByte) return 'firstByte'
    if (now - this.#stuckSince >= write) return 'write'
    if (now - this.#idleSince >= idle) return 'idle'
    if (this.#old || now - this.#since < lifetime) return undefined
    this.#old = true
    return 'lifetime'
  }

  /** Milliseconds until the next look; `Infinity` where nothing is bounded any more. */
  delay(now: number): number {
    const { handshake, firstByte, idle, write, lifetime } = this.#bounds
    const early = this.#spoken ? Infinity : Math.min(firstByte, handshake)
    const left = this.#old ? Infinity : this.#since + lifetime - now
    return Math.max(1, Math.min(early / looks, idle / looks, write / looks, left))
  }
}
