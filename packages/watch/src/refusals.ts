/** Groups of refusals by step, reason and peer. Bounded, also in a flood. */

import { networkOf } from 'cio/kit'
import { type ClosedConnection, type KeptConnection, shown } from './ended.ts'
import { SpaceSaving } from './space-saving.ts'

/** Refusals with the same step, reason and peer. */
export interface RefusalGroup {
  readonly step: string
  readonly reason: string
  readonly at: string | undefined
  /** The verified name, or else the network: /24 of IPv4, /64 of IPv6. Null without an address. */
  readonly who: string | null
  readonly verified: boolean
  readonly count: number
  /** By how much the count may be too large, because the group replaced another one. */
  readonly error: number
  readonly first: number
  readonly last: number
  /** The last refusal of the group. */
  readonly example: ClosedConnection
}

interface Group {
  readonly first: number
  last: number
  example: KeptConnection
}

export class Refusals {
  readonly #groups: SpaceSaving<Group>

  constructor(most: number) {
    this.#groups = new SpaceSaving(most)
  }

  add(example: KeptConnection): void {
    const { refusal, peer, ended } = example
    if (!refusal) return
    const key = `${refusal.step}\n${refusal.why}\n${peer === null ? 'from' : 'name'}\n${whoOf(example)}`
    const cell = this.#groups.add(key, 1, () => ({ first: ended, last: ended, example }))
    cell.value.last = ended
    cell.value.example = example
  }

  /** The groups, the newest first. */
  list(): RefusalGroup[] {
    return this.#groups
      .cells()
      .map(({ weight, error, value: { first, last, example } }) => {
        const { step, why, at } = example.refusal!
        const verified = example.peer !== null
        const who = whoOf(example)
        const counts = { count: weight, error, first, last }
        return { step, reason: why, at, who, verified, ...counts, example: shown(example) }
      })
      .toSorted((a, b) => b.last - a.last)
  }
}

function whoOf({ peer, address }: KeptConnection): string | null {
  return peer ?? (address === null ? null : networkOf(address))
}
