/** The parts of one answer, as an async iterable. */

import { handled } from '../../src/lifecycle/unawaited.ts'
import type { PartsReceiver } from '../../src/messages/pending-calls.ts'

/** Holds the parts until they are taken. */
export class Parts<In> implements PartsReceiver<In> {
  readonly #max: number
  readonly #parts: In[] = []
  #last: Promise<void> | undefined
  #isDone = false
  #taken: (() => void) | undefined
  #arrived: (() => void) | undefined

  /** @param max How many parts may wait. At that number nothing more is read. */
  constructor(max: number) {
    this.#max = max
  }

  get isFull(): boolean {
    return this.#parts.length >= this.#max
  }

  push(part: In): Promise<void> | undefined {
    if (this.#isDone) return undefined
    this.#parts.push(part)
    this.#arrived?.()
    if (!this.isFull) return undefined
    return new Promise((resolve) => (this.#taken = resolve))
  }

  /** Yields the parts, the last one included. */
  async *read(last: Promise<In>): AsyncGenerator<In, void, undefined> {
    this.#last = last.then((part) => {
      this.#parts.push(part)
    })
    handled(this.#last)
      .finally(() => this.#end())
      .catch(() => {})
    try {
      for (;;) {
        while (this.#parts.length > 0) yield this.#take()
        if (this.#isDone) break
        await new Promise<void>((resolve) => (this.#arrived = resolve))
      }
      await this.#last
    } finally {
      this.#parts.length = 0
      this.#isDone = true
      this.#taken?.()
    }
  }

  #take(): In {
    const part = this.#parts.shift()!
    if (!this.isFull) this.#taken?.()
    return part
  }

  #end(): void {
    this.#isDone = true
    this.#arrived?.()
  }
}
