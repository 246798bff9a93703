/** Calls of `rpc`: how long they took, how they ended, and the slowest of the last minutes. */

import type { StreamContext } from 'cio'
import type { ProbedCall } from 'cio/kit'
import type { Families } from './collector/families.ts'
import type { Identities } from './collector/identities.ts'
import { type Attributes, Histogram, type Place } from './instruments.ts'
import { metrics } from './metrics.ts'
import { clean, codeLabel } from './text.ts'

/** A slow call, with its caller. */
export interface SlowCall {
  readonly side: 'server' | 'client'
  readonly method: string
  /** The number of its connection, and the verified name of the peer. */
  readonly connection: number
  readonly peer: string | null
  /** Seconds. */
  readonly duration: number
  readonly code: number | null
  /** Milliseconds since 1970. */
  readonly ended: number
}

/** All calls of one method in one direction. */
export interface MethodCalls {
  readonly side: 'server' | 'client'
  readonly method: string
  readonly histogram: Histogram
  failed: number
}

/** Seconds from which a call is slow, how many are kept, and the milliseconds that they are kept. */
const slow = 0.1
const mostSlow = 20
const keepSlow = 300_000
/** Maximum methods with separate figures, since client code may make up names. */
const mostMethods = 200

const jsonrpc: Place = { key: 'jsonrpc', attributes: { 'rpc.system.name': 'jsonrpc' } }

export class Calls {
  readonly methods: Map<string, MethodCalls> = new Map()
  #slowest: readonly SlowCall[] = []

  readonly #families: Pick<Families, 'rpcServer' | 'rpcClient'>

  constructor(families: Pick<Families, 'rpcServer' | 'rpcClient'>) {
    this.#families = families
  }

  /** The slowest of the last five minutes, the slowest first. */
  get slowest(): readonly SlowCall[] {
    const since = Date.now() - keepSlow
    return (this.#slowest = this.#slowest.filter(({ ended }) => ended >= since))
  }

  /** A call is over. */
  add(ctx: StreamContext, call: ProbedCall, identities: Identities): void {
    const { side, code } = call
    const seconds = call.duration / 1_000
    const method = call.isKnown ? clean(call.method, 100) : '_OTHER'
    const error = errorOf(call)
    const { rpcServer, rpcClient } = this.#families
    const family = side === 'server' ? rpcServer : rpcClient
    family
      .of(jsonrpc, `${method} ${error}`, () => attributesOf(method, code, error))
      .record(seconds)
    const known = this.#method(side, method)
    known.histogram.record(seconds)
    if (error !== undefined) known.failed += 1
    if (seconds < slow || seconds <= (this.#slowest[mostSlow - 1]?.duration ?? 0)) return
    const one = {
      side,
      method,
      connection: ctx.id,
      peer: identities.nameOf(ctx) ?? null,
      duration: seconds,
      code: code ?? null,
      ended: Date.now(),
    }
    this.#slowest = [...this.slowest, one]
      .toSorted((a, b) => b.duration - a.duration)
      .slice(0, mostSlow)
  }

  #method(side: MethodCalls['side'], method: string): MethodCalls {
    const key = `${side} ${method}`
    const known = this.methods.get(key)
    if (known) return known
    if (this.methods.size >= mostMethods && method !== '_OTHER') return this.#method(side, '_OTHER')
    const histogram = new Histogram(metrics.rpcServer.buckets!)
    const made = { side, method, histogram, failed: 0 }
    this.methods.set(key, made)
    return made
  }
}

/** `error.type`: the code of the error response, or that of an error without a response. */
function errorOf({ code, error }: ProbedCall): string | undefined {
  if (code !== undefined) return String(code)
  return error && codeLabel(String((error as NodeJS.ErrnoException).code))
}

function attributesOf(
  method: string,
  code: number | undefined,
  error: string | undefined,
): Attributes {
  return {
    'rpc.method': method,
    ...(code !== undefined && { 'rpc.status_code': String(code) }),
    ...(error !== undefined && { 'error.type': error }),
  }
}
