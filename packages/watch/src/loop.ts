/**
 * Measures how busy the event loop is. Not by `monitorEventLoopDelay`, which costs more than
 * everything else here.
 */

import { type EventLoopUtilization, performance } from 'node:perf_hooks'

const interval = 500
const minute = 60_000 / interval

export class LoopMeter {
  readonly #delays: number[] = []
  readonly #timer: NodeJS.Timeout
  #place = 0
  #before: EventLoopUtilization = performance.eventLoopUtilization()
  #due = performance.now() + interval

  constructor() {
    this.#timer = setInterval(() => this.#tick(), interval).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** The share of the time since the last call in which the loop was busy. */
  utilization(): number {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, this.#before)
    this.#before = now
    return utilization
  }

  /** Seconds by which the timer was late, 99th percentile of the last minute. */
  delay(): number {
    const sorted = this.#delays.toSorted((a, b) => a - b)
    return (sorted[Math.ceil(sorted.length * 0.99) - 1] ?? 0) / 1_000
  }

  #tick(): void {
    const now = performance.now()
    this.#delays[this.#place] = Math.max(0, now - this.#due)
    this.#place = (this.#place + 1) % minute
    this.#due = now + interval
  }
}
