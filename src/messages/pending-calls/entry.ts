/** A call, from the time it is made. */

/** A call that waits for its answer. */
export interface PendingCall<Answer> {
  /** The name of the call, for errors. */
  readonly label: string
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
}

export class Entry<Answer> implements PendingCall<Answer> {
  readonly label: string
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: unknown) => void
  readonly timeout: number
  readonly signal: AbortSignal | undefined
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
  ) {
    this.label = label
    this.resolve = resolve
    this.reject = reject
    this.timeout = timeout
    this.signal = signal
    this.due = performance.now() + timeout
  }
}
