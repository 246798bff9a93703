/**
 * Ended connections: a ring buffer for each reason, so that health checks do not push out other
 * ends.
 */

import type { ConnectionEnd, EndReason, Refusal } from 'cio'
import { type Passed, type PassedStep, passedSteps } from './ways.ts'

/** An ended connection. Texts are cut, and have no control characters. */
export interface ClosedConnection {
  readonly id: number
  readonly kind: 'connection' | 'client'
  readonly reason: EndReason
  readonly by: ConnectionEnd['by']
  readonly step: string
  readonly why: string | undefined
  readonly code: string | undefined
  readonly message: string | undefined
  /** The refusal, if it was refused, with the file and line that registered the step. */
  readonly refusal: Omit<Refusal, 'peer'> | undefined
  /** The verified name. */
  readonly peer: string | null
  /** The name that an unverified certificate claims. */
  readonly claimed: string | null
  readonly address: string | null
  /** The server, or the target of a client. */
  readonly place: string
  /** When it ended, in milliseconds since 1970. */
  readonly ended: number
  /** Seconds from its begin. */
  readonly duration: number
  readonly rx: number
  readonly tx: number
  readonly generation: number
  /** The steps that it had passed, for a short connection. */
  readonly steps: readonly PassedStep[]
}

/** The stored form, in which the steps take less memory. */
export interface KeptConnection extends Omit<ClosedConnection, 'steps'>, Passed {}

/** The public form. */
export function shown({ way, times, ...facts }: KeptConnection): ClosedConnection {
  return { ...facts, steps: passedSteps({ way, times }) }
}

interface Ring {
  readonly kept: KeptConnection[]
  /** The place of the next one. */
  next: number
}

/** A bounded number of them for each reason. */
export class EndedRings {
  readonly #most: number
  readonly #rings = new Map<EndReason, Ring>()

  constructor(most: number) {
    this.#most = most
  }

  get isOff(): boolean {
    return this.#most === 0
  }

  add(one: KeptConnection): void {
    let ring = this.#rings.get(one.reason)
    if (!ring) this.#rings.set(one.reason, (ring = { kept: [], next: 0 }))
    ring.kept[ring.next] = one
    ring.next = (ring.next + 1) % this.#most
  }

  /** The last ones, newest first: of one reason, or of all. */
  last(reason?: EndReason, limit: number = Infinity): ClosedConnection[] {
    const chosen =
      reason === undefined
        ? [...this.#rings.values()].flatMap(({ kept }) => kept)
        : (this.#rings.get(reason)?.kept ?? [])
    return chosen
      .toSorted((a, b) => b.ended - a.ended || b.id - a.id)
      .slice(0, limit)
      .map(shown)
  }
}
