/** The parts of one answer, as an async iterable. */

import { handled } from '../../src/lifecycle/unawaited.ts'
import { checkOptionNames } from '../../src/options.ts'
import { anyOf, newAbort } from '../../src/streams/lazy-abort.ts'
import type { CallOptions, PartsReceiver } from '../../src/messages/pending-calls.ts'

/**
 * Makes a call when the loop begins, and yields the parts of its answer; the call fulfils with the
 * last part. Leaving the loop cancels the call.
 */
export function inParts<In>(
  maxParts: number,
  options: CallOptions,
  call: (options: CallOptions, parts: Parts<In>) => Promise<readonly In[]>,
): AsyncGenerator<In, void, undefined> {
  const values = read()
  const next = values.next.bind(values)
  return Object.assign(values, { next: () => handled(next()) })

  async function* read(): AsyncGenerator<In, void, undefined> {
    checkOptionNames('stream', options, ['signal', 'timeout'])
    const parts = new Parts<In>(maxParts)
    const left = newAbort()
    const either = anyOf(left.signal, options.signal)
    try {
      yield* parts.read(call({ ...options, signal: either }, parts))
    } finally {
      left.abort()
    }
  }
}

/** Holds the parts until they are taken. */
export class Parts<In> implements PartsReceiver<In> {
  readonly #max: number
  readonly #parts: In[] = []
  #last: Promise<void> | undefined
  #isDone = false
  #taken: (() => void) | undefined
  #arrived: (() => void) | undefined

  /** @param max Maximum parts that wait. At that number Cio stops reading. */
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

  /** Yields all parts, including the last. */
  async *read(last: Promise<readonly In[]>): AsyncGenerator<In, void, undefined> {
    this.#last = last.then((parts) => {
      for (const part of parts) this.#parts.push(part)
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
