/** Letters in memory. */

import {
  type Appended,
  type Letter,
  type Letters,
  type LettersOptions,
  checkPayload,
  checkSubject,
  duplicateWindow,
  fullError,
} from '../engine.ts'
import type { EngineState } from '../engine-base.ts'

interface Stored extends Letter {
  readonly key: string
  readonly at: number
}

/** The letters of one name, which all engines of a hub share. */
export class LetterStore {
  options: LettersOptions
  // In the order in which they were appended, so the letters that expire first come first.
  readonly #all = new Map<number, Stored>()
  readonly #byKey = new Map<string, Map<number, Stored>>()
  readonly #ids = new Map<string, { readonly seq: number; readonly at: number }>()
  #bytes = 0
  #seq = 0

  constructor(options: LettersOptions) {
    this.options = options
  }

  append(key: string, payload: Uint8Array, id: string): Appended {
    this.#expire()
    const known = this.#ids.get(`${key}.${id}`)
    if (known) return { seq: known.seq, isDuplicate: true }
    const { maxPerKey, maxBytes } = this.options
    const box = this.#byKey.get(key) ?? new Map<number, Stored>()
    if (box.size >= maxPerKey || this.#bytes + payload.byteLength > maxBytes) throw fullError(key)
    const seq = ++this.#seq
    const at = performance.now()
    const letter = { key, seq, payload: Uint8Array.from(payload), at }
    this.#all.set(seq, letter)
    this.#byKey.set(key, box.set(seq, letter))
    this.#ids.set(`${key}.${id}`, { seq, at })
    this.#bytes += payload.byteLength
    return { seq, isDuplicate: false }
  }

  next(key: string, after: number): Letter | undefined {
    this.#expire()
    for (const letter of this.#byKey.get(key)?.values() ?? []) {
      if (letter.seq > after) return { seq: letter.seq, payload: letter.payload }
    }
    return undefined
  }

  remove(key: string, seq: number): void {
    const box = this.#byKey.get(key)
    const letter = box?.get(seq)
    if (!box || !letter) return
    box.delete(seq)
    if (box.size === 0) this.#byKey.delete(key)
    this.#all.delete(seq)
    this.#bytes -= letter.payload.byteLength
  }

  #expire(): void {
    const now = performance.now()
    for (const { key, seq, at } of this.#all.values()) {
      if (now - at < this.options.maxAge) break
      this.remove(key, seq)
    }
    for (const [id, { at }] of this.#ids) {
      if (now - at < Math.min(duplicateWindow, this.options.maxAge)) break
      this.#ids.delete(id)
    }
  }
}

/** The letters for one engine: no call passes while the engine is down. */
export class MemoryLetters implements Letters {
  readonly #engine: EngineState
  readonly #store: LetterStore

  constructor(engine: EngineState, store: LetterStore) {
    this.#engine = engine
    this.#store = store
  }

  async append(key: string, payload: Uint8Array, id: string): Promise<Appended> {
    checkPayload(key, payload, this.#engine.maxPayload)
    checkSubject(id)
    return this.#ask(key, () => this.#store.append(key, payload, id))
  }

  next(key: string, after: number): Promise<Letter | undefined> {
    return this.#ask(key, () => this.#store.next(key, after))
  }

  remove(key: string, seq: number): Promise<void> {
    return this.#ask(key, () => this.#store.remove(key, seq))
  }

  /** One turn in each direction, as over a network, so that an outage may happen in between. */
  async #ask<Value>(key: string, work: () => Value): Promise<Value> {
    checkSubject(key)
    this.#engine.checkUp('letters')
    return this.#engine.wait('letters', Promise.resolve().then(work))
  }
}
