/** The parts of a snapshot. */

import type { SlowCall } from './calls.ts'

/** A server. */
export interface ServerView {
  readonly address: string
  /** `stopping`: it will drain after the delay of `drain`, still accepts, and is not ready. */
  readonly state: 'listening' | 'paused' | 'stopping' | 'draining'
  readonly tls: boolean
  readonly connections: number
  readonly handshakes: number
  readonly queued: number
  readonly dropped: number
}

/** A middleware of a pipeline, with the number of connections in it. */
export interface StepView {
  readonly name: string
  /** Whether it is a step of Cio. */
  readonly step: boolean
  readonly at: string
  readonly why: string
  readonly active: number
  /** Seconds to pass it, in the last minute; null if nothing has passed it. */
  readonly p50: number | null
  readonly p99: number | null
  /** How many connections have passed it, ever. */
  readonly passed: number
  /** How many ended in it in the last minute, by reason. */
  readonly ended: Readonly<Record<string, number>>
}

/** A client. */
export interface ClientView {
  readonly id: number
  readonly target: string
  readonly connected: boolean
  readonly step: string
}

/** All calls of one method in one direction. */
export interface MethodView {
  readonly side: 'server' | 'client'
  readonly method: string
  /** How many there were, and how many of them failed, since the watch began. */
  readonly count: number
  readonly failed: number
  /** Calls of the last minute, and their seconds; null if there were none. */
  readonly lately: number
  readonly p50: number | null
  readonly p99: number | null
}

/** Calls of `rpc`. */
export interface CallsView {
  /** The most called of the last minute first. */
  readonly methods: readonly MethodView[]
  /** The slowest of the last five minutes. */
  readonly slowest: readonly SlowCall[]
}
