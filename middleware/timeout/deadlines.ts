/** Which timeout a connection has exceeded. Pure: gets the time and the traffic as arguments. */

import type { Traffic } from './traffic.ts'

/** Timeouts, in milliseconds. */
export interface Bounds {
  readonly handshake: number
  readonly firstByte: number
  readonly idle: number
  readonly write: number
  readonly lifetime: number
}

/** Checks per timeout: a timeout fires at most a quarter late. */
const looks = 4

/** Compares the traffic with that of the last check. */
export class Deadlines {
  readonly #bounds: Bounds
  readonly #since: number
  #last: Traffic
  /**
   * Start times: of no traffic, of no sent byte, of the handshake, and of no byte from the peer.
   */
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

  /** The timeout that is exceeded now, if any. Returns `lifetime` once, the others each time. */
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

  /** Milliseconds until the next check; `Infinity` if no timeout is active. */
  delay(now: number): number {
    const { handshake, firstByte, idle, write, lifetime } = this.#bounds
    const early = this.#spoken ? Infinity : Math.min(firstByte, handshake)
    const left = this.#old ? Infinity : this.#since + lifetime - now
    return Math.max(1, Math.min(early / looks, idle / looks, write / looks, left))
  }
}
