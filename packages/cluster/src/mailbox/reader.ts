/** Delivers the letters of one connection, one after the other. */

import { Backoff, asError, maxTimerDelay } from 'cio/kit'
import { type Letter, type Letters, downError } from '../engine.ts'
import type { Gate } from './gate.ts'

/** The part of a mailbox that its readers share. */
export interface Post {
  /** The letters; undefined without a broker. */
  readonly letters: () => Letters | undefined
  readonly gate: Gate
  /** Milliseconds between looks for letters whose notice was lost. */
  readonly checkInterval: number
}

/** The connection. */
export interface Receiver {
  readonly code: string
  /** Whether it may have letters: only if its name is confirmed. */
  readonly isHolder: () => boolean
  /** Decodes a letter, for each attempt to deliver it; undefined: it cannot be read, which is reported. */
  readonly open: (letter: Letter) => ((attempt: number) => Promise<unknown>) | undefined
  readonly failed: (error: Error, letter: Letter, attempt: number) => void
}

const confirmDelay = 500
const mostLooks = 5

export class Reader {
  readonly #post: Post
  readonly #to: Receiver
  readonly #backoff: Backoff
  /** The last letter that was delivered, or could not be read. */
  #after = 0
  /** A letter that was delivered, but not removed yet. */
  #undone: number | undefined
  /** The `seq` of the last letter that a notice announced. */
  #news = 0
  #looks = 0
  #attempt = 0
  #isOver = false
  #isStirred = false
  #stir = (): void => {}

  constructor(post: Post, to: Receiver, retry: { delay: number; maxDelay: number }) {
    this.#post = post
    this.#to = to
    this.#backoff = new Backoff('mailbox', { ...retry, retries: Infinity, factor: 2, jitter: 0.5 })
  }

  /** Looks for letters now. */
  wake(seq = 0): void {
    this.#news = Math.max(this.#news, seq)
    this.#looks = 0
    this.#isStirred = true
    this.#stir()
  }

  end(): void {
    this.#isOver = true
    this.#stir()
  }

  async run(): Promise<void> {
    const { checkInterval } = this.#post
    while (!this.#over()) {
      this.#isStirred = false
      try {
        if (!this.#post.letters()) await this.#rest(checkInterval)
        else if (!this.#to.isHolder()) await this.#rest(confirmDelay)
        else if (await this.#deliverAll()) await this.#rest(checkInterval * (0.5 + Math.random()))
      } catch {
        // Without a broker it waits for `wake()`. A broker that hangs for a moment wakes nothing.
        await this.#rest(this.#post.letters() ? confirmDelay : checkInterval)
      }
    }
  }

  #over(): boolean {
    return this.#isOver
  }

  /** Whether all letters that are known have been delivered. */
  async #deliverAll(): Promise<boolean> {
    const { gate } = this.#post
    while (!this.#over()) {
      await this.#removeDelivered()
      const letter = await gate.run(() => this.#letters().next(this.#to.code, this.#after))
      if (!letter) {
        // A replica of the broker may not have it yet.
        if (this.#news <= this.#after || this.#looks >= mostLooks) return true
        this.#looks += 1
        await this.#rest(2 ** this.#looks * 10)
      } else if (!(await this.#deliver(letter))) return false
    }
    // The connection has ended meanwhile, and the device has the letter.
    await this.#removeDelivered()
    return false
  }

  async #removeDelivered(): Promise<void> {
    if (this.#undone === undefined) return
    await this.#letters().remove(this.#to.code, this.#undone)
    this.#undone = undefined
  }

  async #deliver(letter: Letter): Promise<boolean> {
    // The name may have been taken over meanwhile.
    if (this.#over() || !this.#to.isHolder()) return false
    const deliver = this.#to.open(letter)
    if (!deliver) {
      // It stays: an instance of another release may be able to read it.
      this.#after = letter.seq
      return true
    }
    this.#attempt += 1
    try {
      await deliver(this.#attempt)
    } catch (error) {
      if (this.#over()) return false
      this.#to.failed(asError(error), letter, this.#attempt)
      const until = performance.now() + this.#backoff.delay(this.#attempt)
      // Notices of other letters do not shorten this wait.
      for (let left = 1; left > 0 && !this.#over(); left = until - performance.now()) {
        this.#isStirred = false
        await this.#rest(left)
      }
      return false
    }
    this.#attempt = 0
    this.#after = letter.seq
    this.#undone = letter.seq
    return true
  }

  #letters(): Letters {
    const letters = this.#post.letters()
    if (!letters) throw downError('mailbox')
    return letters
  }

  /** Waits; `wake()` and `end()` end it. */
  async #rest(duration: number): Promise<void> {
    if (this.#isOver || this.#isStirred) return
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(duration, maxTimerDelay)).unref()
      this.#stir = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#stir = () => {}
  }
}
