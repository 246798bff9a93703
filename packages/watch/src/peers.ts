/** The verified peers with most traffic, in bounded memory. */

import type { Attributes } from './instruments.ts'
import { SpaceSaving } from './space-saving.ts'

/** More cells than are shown, so that the shown ones are correct. */
const cells = 1_024
const window = 60_000

/** One of the peers with most traffic. */
export interface PeerTraffic {
  /** The verified name, or `_OTHER` for all others together. */
  readonly name: string
  /** Bytes in the last whole minute. */
  readonly bytes: number
}

export class Peers {
  readonly #most: number
  #heavy = new SpaceSaving<undefined>(cells)
  #all = 0
  #begun = performance.now()
  #last: readonly PeerTraffic[] = []

  constructor(most: number) {
    this.#most = most
  }

  add(name: string | undefined, bytes: number): void {
    if (bytes <= 0) return
    this.#all += bytes
    if (name !== undefined) this.#heavy.add(name, bytes, () => undefined)
  }

  /** Closes the window, if a minute has passed. */
  tick(now: number): void {
    if (now - this.#begun < window) return
    this.#last = this.#top()
    this.#heavy = new SpaceSaving(cells)
    this.#all = 0
    this.#begun = now
  }

  /** The last whole minute; before there is one, the current one so far. */
  top(): readonly PeerTraffic[] {
    return this.#last.length > 0 ? this.#last : this.#top()
  }

  points(): { readonly attributes: Attributes; readonly value: number }[] {
    return this.#last.map(({ name, bytes }) => {
      return { attributes: { 'cio.peer.name': name }, value: bytes }
    })
  }

  #top(): PeerTraffic[] {
    const top = this.#heavy
      .cells()
      .slice(0, this.#most)
      // The error comes from other keys that had this cell.
      .map(({ key, weight, error }) => ({ name: key, bytes: weight - error }))
    const named = top.reduce((sum, { bytes }) => sum + bytes, 0)
    return this.#all > named ? [...top, { name: '_OTHER', bytes: this.#all - named }] : top
  }
}
