/**
 * Decides what a connection sends next, and which request begins next, while the other side does
 * not read.
 */

import { CioError } from '../errors.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { handled, refused } from '../lifecycle/unawaited.ts'
import type { Pump } from './pump.ts'

type Task = () => void

interface Parked {
  readonly task: Task
  readonly bytes: number
}

/**
 * Maximum requests that wait beside the running ones: as many calls as the default of `maxCalls`
 * allows.
 */
const maxParked = 1_000
const maxParkedBytes = 16 * 1024 * 1024
const maxNotifications = 1_000

/**
 * The messages that wait for room, and the requests that wait to begin.
 *
 * Answers and calls wait until the other side reads, so that large messages cannot overflow
 * `maxQueueSize`. A request begins when there is room for its answer. Otherwise the other side
 * could make Cio compute all answers at once. Answers go first. Then calls and requests take turns,
 * so that neither side can keep the other waiting for ever.
 */
export class SendQueue {
  readonly #ctx: StreamContext
  readonly #pump: Pump
  readonly #maxRunning: number
  readonly #answers: Task[] = []
  /** Calls and notifications in their order, and answers that follow a notification. */
  readonly #line = new Set<Task>()
  /** Messages of that queue that a later answer must not overtake. */
  readonly #ordered = new Set<Task>()
  readonly #parked: Parked[] = []
  #parkedBytes = 0
  #bytesSeen = 0
  #running = 0
  #isSending = false
  #isRequestNext = false

  /** @param maxRunning Maximum number of requests that run at once. */
  constructor(ctx: StreamContext, pump: Pump, maxRunning: number) {
    this.#ctx = ctx
    this.#pump = pump
    this.#maxRunning = maxRunning
  }

  /** Whether there is room now, and nothing waits for it. */
  get isFree(): boolean {
    return !this.#isSending && !this.#pump.drained()
  }

  /** Whether more requests may wait to begin. */
  get mayPark(): boolean {
    return this.#parked.length < maxParked && this.#parkedBytes < maxParkedBytes
  }

  /** Runs a task that sends an answer, as soon as there is room. */
  answer(task: Task): void {
    if (this.isFree) return task()
    if (this.#ordered.size > 0) this.#order(task)
    else this.#answers.push(task)
    this.#start()
  }

  /** Queues a task that sends a call. It may be removed. */
  call(task: Task): void {
    this.#line.add(task)
    this.#start()
  }

  /** Removes a call that was given up before it was sent. */
  remove(task: Task): void {
    this.#line.delete(task)
  }

  /**
   * Sends a message that has no answer: at once, or after the calls that wait for room.
   *
   * @throws `ERR_CIO_QUEUE_SIZE` (local): too many wait
   */
  notify(message: unknown): Promise<void> {
    if (this.#line.size === 0) return this.#pump.send(message)
    if (this.#ordered.size >= maxNotifications) {
      const many = `${this.#ordered.size} messages wait for room behind calls to ${this.#ctx.remote}`
      return refused(this.#ctx, new CioError('ERR_CIO_QUEUE_SIZE', `${many}; await each`))
    }
    const sent = new Promise<void>((resolve) => {
      this.#order(() => resolve(this.#pump.send(message)))
    })
    this.#start()
    return handled(sent)
  }

  /**
   * Whether a request may begin at once, since there is room for its answer. Then it counts as
   * running until `done()`; otherwise `park()` it.
   */
  mayBegin(): boolean {
    if (this.#parked.length > 0 || this.#running >= this.#maxRunning || !this.isFree) return false
    this.#running += 1
    return true
  }

  /** Runs a request when there is room for its answer. It counts as running until `done()`. */
  park(task: Task): void {
    // Cio knows the number of bytes only by chunk, so bytes before the first chunk do not count.
    const bytes = this.#parked.length === 0 ? 0 : this.#pump.bytesRead - this.#bytesSeen
    this.#bytesSeen = this.#pump.bytesRead
    this.#parkedBytes += bytes
    this.#parked.push({ task, bytes })
    this.#start()
  }

  /** A request that began was answered. */
  done(): void {
    this.#running -= 1
    if (this.#parked.length > 0) this.#start()
  }

  /** Notes a message that is not a request, so that its bytes do not count as waiting. */
  skip(): void {
    if (this.#parked.length > 0) this.#bytesSeen = this.#pump.bytesRead
  }

  #order(task: Task): void {
    this.#line.add(task)
    this.#ordered.add(task)
  }

  #start(): void {
    if (!this.#isSending) void this.#send()
  }

  async #send(): Promise<void> {
    this.#isSending = true
    while (this.#hasNext) {
      const room = this.#pump.drained()
      try {
        if (room) await room
      } catch {
        // The connection closed: each task notices that by itself.
      }
      this.#next()?.()
    }
    this.#isSending = false
  }

  get #mayUnpark(): boolean {
    return this.#parked.length > 0 && this.#running < this.#maxRunning
  }

  get #hasNext(): boolean {
    return this.#answers.length > 0 || this.#line.size > 0 || this.#mayUnpark
  }

  #next(): Task | undefined {
    const answer = this.#answers.shift()
    if (answer) return answer
    if (this.#line.size === 0 || (this.#isRequestNext && this.#mayUnpark)) return this.#unpark()
    const [task] = this.#line
    this.#isRequestNext = true
    this.#line.delete(task!)
    this.#ordered.delete(task!)
    return task
  }

  #unpark(): Task | undefined {
    if (!this.#mayUnpark) return undefined
    const { task, bytes } = this.#parked.shift()!
    this.#isRequestNext = false
    this.#parkedBytes -= bytes
    this.#running += 1
    return task
  }
}
