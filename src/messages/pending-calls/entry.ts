/** A call, from the time it is made. */

import { allowListeners } from '../../streams/lazy-abort.ts'

/** Takes the parts of an answer that comes in several. */
export interface PartsReceiver<Answer> {
  /** Takes a part that is not the last. Returns a promise while no more may be read. */
  push(part: Answer): Promise<void> | undefined
  /** Whether parts wait to be taken, so that the time until the next one does not count. */
  readonly isFull: boolean
}

/** A call that waits for its answer. */
export interface PendingCall<Answer> {
  /** The name of the call, for errors; empty for a call without one. */
  readonly label: string
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
  /** Where parts go that are not the last; undefined if the caller wants only the last. */
  readonly parts: PartsReceiver<Answer> | undefined
}

export class Entry<Answer> implements PendingCall<Answer> {
  readonly label: string
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
  readonly timeout: number
  readonly signal: AbortSignal | undefined
  readonly parts: PartsReceiver<Answer> | undefined
  /** When it times out, by `performance.now()`. */
  due: number
  /** 0 until it is sent. */
  id = 0
  isGivenUp = false
  abort: (() => void) | undefined
  /** The task that sends it, while it waits for room. */
  task: (() => void) | undefined

  constructor(
    label: string,
    resolve: (answer: Answer) => void,
    reject: (error: unknown) => void,
    timeout: number,
    signal: AbortSignal | undefined,
    parts: PartsReceiver<Answer> | undefined,
  ) {
    this.label = label
    this.resolve = resolve
    this.reject = reject
    this.timeout = timeout
    this.signal = signal
    // It may be that of many calls.
    if (signal) allowListeners(signal)
    this.parts = parts
    this.due = performance.now() + timeout
  }

  /** An abort does not end it any more. */
  forgetSignal(): void {
    if (!this.abort) return
    this.signal?.removeEventListener('abort', this.abort)
    this.abort = undefined
  }
}
