/** Reaches a registered connection by its name, on any instance. */

import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { isCioError } from 'cio'
import { handled } from 'cio/kit'
import type { Cluster } from '../cluster.ts'
import { checkPayload } from '../engine.ts'
import { encodeName } from '../names.ts'
import { encodeFrame, type Header } from '../wire/frames.ts'
import { encodeValue } from '../wire/values.ts'
import { type Order, obey, resultOf, serve } from './calls.ts'
import type { ClaimTable } from './claim-table.ts'
import type { Claims } from './claims.ts'
import { offlineError, unreachableError } from './errors.ts'
import type { Holder } from './holder.ts'

/** The settings of an order. */
export interface Reach {
  readonly timeout: number
  readonly signal?: AbortSignal | undefined
}

const firstRetry = 10
const longestRetry = 200

export class Directory {
  readonly #cluster: Cluster
  readonly #name: string
  readonly #maxBacklog: number
  readonly #table: ClaimTable
  readonly #claims: Claims
  readonly #prefix = randomBytes(6).toString('base64url')
  #lastId = 0

  constructor(
    cluster: Cluster,
    options: { readonly name: string; readonly maxBacklog: number },
    table: ClaimTable,
    claims: Claims,
  ) {
    this.#cluster = cluster
    this.#name = options.name
    this.#maxBacklog = options.maxBacklog
    this.#table = table
    this.#claims = claims
  }

  /** Takes orders for a connection. */
  listen(holder: Holder): void {
    holder.subscription = this.#cluster.engine.subscribe(
      this.#subject(holder.code),
      (message) => void handled(serve(holder, message, this.#maxBacklog)),
    )
  }

  leave(holder: Holder): void {
    holder.subscription?.unsubscribe()
    holder.subscription = undefined
  }

  /** Sends an order to the instance of the connection; fulfils with its result. */
  async reach(
    key: string,
    order: Order,
    options: Reach,
    code: string = encodeName(key),
  ): Promise<unknown> {
    const id = `${this.#prefix}.${++this.#lastId}`
    const request = encodeFrame(headerOf(order, id, options.timeout), bodyOf(order))
    // For a local connection too, so that the same values are refused on every instance.
    checkPayload(this.#subject(code), request, this.#cluster.engine.maxPayload)
    const local = this.#claims.held.get(code)
    const ctx = local?.isActive && !local.isLost ? local.ctx : undefined
    options.signal?.throwIfAborted()
    const { signal, timeout } = options
    if (ctx && order.kind === 'call')
      return obey(ctx, { ...order, timeout, ...(signal && { signal }) }, this.#maxBacklog)
    if (ctx) return obey(ctx, order, this.#maxBacklog)

    const until = performance.now() + options.timeout
    for (let attempt = 0; ; attempt++) {
      const left = Math.max(1, until - performance.now())
      try {
        return resultOf(key, await this.#request(code, request, { ...options, timeout: left }))
      } catch (error) {
        if (options.signal?.aborted || isCioError(error, 'ERR_CIO_CALL_TIMEOUT')) {
          if (order.kind === 'call') this.#cancel(code, id)
          if (options.signal?.aborted || order.kind === 'call') throw error
          throw unreachableError(key, options.timeout, error)
        }
        if (!isCioError(error, 'ERR_CIO_NO_RESPONDER')) throw error
        if (await this.#isOffline(code)) throw offlineError(key)
        // The name is being taken over or registered at this moment, and nothing has been sent.
        const wait = Math.min(firstRetry * 2 ** attempt, longestRetry)
        if (performance.now() + wait >= until) throw unreachableError(key, options.timeout, error)
        await delay(wait, undefined, options.signal ? { signal: options.signal } : {})
      }
    }
  }

  #request(code: string, request: Uint8Array, options: Reach): Promise<Uint8Array> {
    const { timeout, signal } = options
    return this.#cluster.engine.request(this.#subject(code), request, {
      timeout,
      ...(signal && { signal }),
    })
  }

  /** Whether there is no claim of an instance that is alive. */
  async #isOffline(code: string): Promise<boolean> {
    const { claim } = await this.#table.find(code)
    return !claim || !(await this.#cluster.checkAlive(claim.instance))
  }

  #cancel(code: string, id: string): void {
    const { engine } = this.#cluster
    if (engine.isUp) engine.publish(this.#subject(code), encodeFrame({ kind: 'cancel', id }))
  }

  #subject(code: string): string {
    return `${this.#name}.to.${code}`
  }
}

function bodyOf(order: Order): Uint8Array | undefined {
  if (order.kind === 'send') return encodeValue(order.message)
  return order.kind === 'call' ? encodeValue(order.params) : undefined
}

function headerOf(order: Order, id: string, timeout: number): Header {
  if (order.kind === 'send') return { kind: 'send' }
  if (order.kind === 'evict') return { kind: 'evict', reason: order.reason }
  return { kind: 'call', id, method: order.method, timeout }
}
