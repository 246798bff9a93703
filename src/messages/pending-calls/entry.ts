/** A pending call. */

import { allowListeners } from '../../streams/lazy-abort.ts'

/** Takes the parts of an answer that has several parts. */
export interface PartsReceiver<Answer> {
  /** Takes a part that is not the last. Returns a promise while Cio must not read more. */
  push(part: Answer): Promise<void> | undefined
  /** Whether parts wait to be taken. Then the time until the next part does not count. */
  readonly isFull: boolean
}

/** A call that waits for its answer. */
export interface PendingCall<Answer> {
  /** The name of the call, for errors; empty for a call without one. */
  readonly label: string
  /** Fulfils the call with its answer. */
  readonly resolve: (answer: Answer) => void
  /** Rejects the call. */
  readonly reject: (error: unknown) => void
  /** Takes all parts but the last; undefined if the caller wants only the last. */
  readonly parts: PartsReceiver<Answer> | undefined
}

export class Entry<Answer> implements PendingCall<Answer> {
  readonly label: string
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
  readonly timeout: number
  readonly signal: AbortSignal | undefined
  readonly parts: PartsReceiver<Answer> | undefined
  /** When the call times out, by `performance.now()`. */
  due: number
  /** 0 until the call is sent. */
  id = 0
  isGivenUp = false
  abort: (() => void) | undefined
  /** The task that sends the call, while it waits for room. */
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
    // The signal may belong to many calls.
    if (signal) allowListeners(signal)
    this.parts = parts
    this.due = performance.now() + timeout
  }

  /** From now on an abort does not end the call. */
  forgetSignal(): void {
    if (!this.abort) return
    this.signal?.removeEventListener('abort', this.abort)
    this.abort = undefined
  }
}
