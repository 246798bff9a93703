/** Calls that wait for their answers: matching, deadlines, cancelling and bounds. */

import { type CioError, asError } from '../errors.ts'
import { checkDuration, checkOptionNames } from '../options.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { handled, isRefused, refused } from '../lifecycle/unawaited.ts'
import { atOnce } from '../thenable.ts'
import { nothing } from './message-writer.ts'
import {
  answerLostError,
  callTimeoutError,
  openPlaceError,
  noIdError,
  tooManyCallsError,
  unsentError,
} from './pending-calls/call-errors.ts'
import { CallDeadlines } from './pending-calls/call-deadlines.ts'
import { CallIds } from './pending-calls/call-ids.ts'
import { Entry, type PartsReceiver, type PendingCall } from './pending-calls/entry.ts'
import { type PendingCallsOptions, checkPendingCallsOptions } from './pending-calls/options.ts'
import type { Pump } from './pump.ts'
import type { SendQueue } from './send-queue.ts'

export type { PendingCallsOptions } from './pending-calls/options.ts'
export type { PartsReceiver, PendingCall } from './pending-calls/entry.ts'

/** Options of a call. */
export interface CallOptions {
  /**
   * Aborts the call, which rejects with the signal's reason. Without it, nothing aborts the call.
   */
  readonly signal?: AbortSignal
  /**
   * Milliseconds from the call to its answer; then the call rejects. `Infinity` waits as long as
   * the connection lasts.
   *
   * @default the `timeout` of the middleware
   */
  readonly timeout?: number
}

const none: CallOptions = {}
const callOptionNames = ['signal', 'timeout']

/**
 * The calls of one connection, for middleware that match answers with requests, as `rpc` and
 * `requests` do.
 *
 * A call waits in the `SendQueue` while the other side does not read. If the connection is lost, a
 * call that was not sent rejects with `ERR_CIO_CLOSED`. A call that was sent rejects with
 * `ERR_CIO_ANSWER_LOST`: the other side may have acted on it.
 *
 * If answers match by id, Cio counts and drops an answer to a call that was given up. If answers
 * match in order, such a call keeps its place until its answer has come: otherwise every later
 * answer would go to the wrong call. If that takes more than twice its timeout, Cio ends the
 * connection.
 */
export class PendingCalls<Answer = unknown> {
  readonly #ctx: StreamContext
  readonly #pump: Pump
  readonly #queue: SendQueue
  readonly #timeout: number
  readonly #maxCalls: number
  readonly #isOrdered: boolean
  readonly #ids: CallIds
  readonly #cancel: ((id: number) => unknown) | undefined
  readonly #unsent = new Set<Entry<Answer>>()
  readonly #sent = new Map<unknown, Entry<Answer>>()
  /** If answers match in order: the id of the oldest request without an answer. */
  #oldest = 1
  #late = 0
  #closed = false
  readonly #deadlines: CallDeadlines<Entry<Answer>> = new CallDeadlines(
    () => [...this.#unsent, ...this.#sent.values()],
    (entry) => this.#timeOut(entry),
  )

  /** @throws `ERR_CIO_OPTION`: an option is unknown, missing or out of its range */
  constructor(ctx: StreamContext, pump: Pump, queue: SendQueue, options: PendingCallsOptions) {
    checkPendingCallsOptions(options)
    this.#ctx = ctx
    this.#pump = pump
    this.#queue = queue
    this.#timeout = options.timeout
    this.#maxCalls = options.maxCalls
    this.#isOrdered = options.match === 'order'
    this.#ids = new CallIds(options.maxId ?? Number.MAX_SAFE_INTEGER)
    this.#cancel = options.cancel
  }

  /**
   * How many calls wait for an answer or for room. If answers match in order, calls that were given
   * up count too.
   */
  get pending(): number {
    return this.#sent.size + this.#unsent.size
  }

  /** How many answers came too late, after their calls were given up. */
  get late(): number {
    return this.#late
  }

  /**
   * Sends a request as soon as there is room; settles with its answer, or with the last part of the
   * answer. `make` gets the id of the call and makes the message.
   *
   * @throws `ERR_CIO_CALL_TIMEOUT`, `ERR_CIO_ANSWER_LOST`, `ERR_CIO_CLOSED` (remote)
   * @throws `ERR_CIO_TOO_MANY_CALLS`, `ERR_CIO_ENCODE` (local), or the reason of `signal`
   */
  call(
    label: string,
    make: (id: number) => unknown,
    options: CallOptions = none,
    parts?: PartsReceiver<Answer>,
  ): Promise<Answer> {
    if (options !== none) checkOptionNames('call', options, callOptionNames)
    const { signal, timeout } = options
    if (timeout !== undefined) checkDuration('call', 'timeout', timeout)
    if (signal?.aborted) return handled(Promise.reject(asError(signal.reason)))
    const refusal = this.#refusal(label)
    if (refusal) return refused(this.#ctx, refusal)
    let entry: Entry<Answer>
    // If the connection ends, the call ends with it, and the connection reports the error.
    const answer = new Promise<Answer>((resolve, reject) => {
      entry = new Entry(label, resolve, reject, timeout ?? this.#timeout, signal, parts)
    })
    this.#enter(entry!)
    const unsent = this.#queue.isFree ? this.#send(entry!, make) : this.#wait(entry!, make)
    if (unsent) return unsent
    if (this.pending === 1) this.#pump.wake()
    return handled(answer)
  }

  /**
   * The call that an answer with this id belongs to. If it is undefined, ask `isLate()`. If
   * `isLast` is false, more parts follow: the call remains pending, and its timeout begins again.
   */
  answered(id: unknown, isLast = true): PendingCall<Answer> | undefined {
    const entry = this.#sent.get(id)
    if (!entry) return undefined
    if (isLast) this.#remove(entry)
    else entry.due = performance.now() + entry.timeout
    return entry
  }

  /**
   * The function that takes the parts of a pending call; undefined if the caller wants only the
   * last part.
   */
  partsOf(id: unknown): PartsReceiver<Answer> | undefined {
    return this.#sent.get(id)?.parts
  }

  /** The call that the next answer in order belongs to; undefined if no call waits. */
  answeredInOrder(isLast = true): PendingCall<Answer> | undefined {
    const entry = this.answered(this.#oldest, isLast)
    if (!entry || !isLast) return entry
    this.#oldest += 1
    if ((entry as Entry<Answer>).isGivenUp) this.#late += 1
    return entry
  }

  /**
   * Whether an answer that matches no call has an id that was used: then it came late, or twice.
   * Counts it, and frees the id with the last part.
   */
  isLate(id: unknown, isLast = true): boolean {
    if (!this.#ids.wasUsed(id)) return false
    if (isLast) {
      this.#late += 1
      this.#ids.free(id)
    }
    return true
  }

  /** Rejects pending and future calls: no more answers can arrive. May be called again. */
  close(): void {
    this.#closed = true
    this.#deadlines.stop()
    for (const entry of [...this.#unsent, ...this.#sent.values()]) {
      const closedError = entry.id === 0 ? unsentError : answerLostError
      this.#fail(entry, closedError(entry.label, this.#ctx))
    }
  }

  #refusal(label: string): CioError | undefined {
    if (this.#closed || !this.#pump.isWritable) return unsentError(label, this.#ctx)
    if (this.pending >= this.#maxCalls) return tooManyCallsError(label, this.pending)
    return this.#ids.hasFree(this.#sent.size) ? undefined : noIdError(label)
  }

  /** Watches the deadline and the signal of a new call. */
  #enter(entry: Entry<Answer>): void {
    const { signal } = entry
    this.#deadlines.watch(entry)
    if (!signal) return
    entry.abort = () => this.#giveUp(entry, asError(signal.reason))
    signal.addEventListener('abort', entry.abort)
  }

  #wait(entry: Entry<Answer>, make: (id: number) => unknown): undefined {
    const task = (): void => {
      this.#unsent.delete(entry)
      entry.task = undefined
      // The connection was lost in the same turn, and `close()` follows.
      if (!this.#pump.isWritable) this.#fail(entry, unsentError(entry.label, this.#ctx))
      else this.#send(entry, make)?.catch((error: unknown) => entry.reject(error))
    }
    entry.task = task
    this.#unsent.add(entry)
    this.#queue.call(task)
  }

  /** Passes the request to the queue; returns a rejection if that failed. */
  #send(entry: Entry<Answer>, make: (id: number) => unknown): Promise<never> | undefined {
    if (!this.#ids.hasFree(this.#sent.size)) {
      this.#remove(entry)
      return refused(this.#ctx, noIdError(entry.label))
    }
    const id = this.#ids.next(this.#isTaken)
    entry.id = id
    this.#sent.set(id, entry)
    let sent: Promise<void> | undefined
    try {
      sent = this.#pump.send(make(id))
      // A promise that waits for room rejects when the connection closes, which ends the call too.
      if (sent === nothing || !isRefused(sent)) return undefined
    } catch (thrown) {
      sent = refused(this.#ctx, thrown)
    }
    this.#remove(entry)
    this.#ids.takeBack()
    return sent as Promise<never>
  }

  readonly #isTaken = (id: number): boolean => this.#sent.has(id)

  #timeOut(entry: Entry<Answer>): void {
    const { label, timeout } = entry
    if (entry.parts?.isFull) entry.due = performance.now() + timeout
    else if (entry.isGivenUp) this.#pump.fail(openPlaceError(label, timeout, this.#ctx))
    else this.#giveUp(entry, callTimeoutError(label, timeout, this.#ctx))
  }

  #giveUp(entry: Entry<Answer>, reason: Error): void {
    const { id } = entry
    if (id !== 0 && this.#isOrdered) {
      entry.forgetSignal()
      entry.isGivenUp = true
      entry.due += entry.timeout
      this.#deadlines.watch(entry)
      return entry.reject(reason)
    }
    this.#fail(entry, reason)
    if (id === 0) return
    this.#ids.giveUp(id)
    // From a timer or a signal, where nothing else catches what it throws.
    try {
      const message = this.#cancel && atOnce('call', 'cancel', this.#cancel(id))
      if (message !== undefined) this.#queue.answer(() => void this.#pump.send(message))
    } catch (thrown) {
      this.#pump.fail(asError(thrown))
    }
  }

  #fail(entry: Entry<Answer>, reason: Error): void {
    this.#remove(entry)
    entry.reject(reason)
  }

  #remove(entry: Entry<Answer>): void {
    entry.forgetSignal()
    if (entry.id !== 0) this.#sent.delete(entry.id)
    if (entry.task) {
      this.#unsent.delete(entry)
      this.#queue.remove(entry.task)
    }
    if (this.#sent.size + this.#unsent.size === 0) this.#pump.wake()
  }
}
