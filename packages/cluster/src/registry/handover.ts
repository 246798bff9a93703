/** The questions between instances about the connections that have names. */

import { isCioError } from 'cio'
import type { Cluster } from '../cluster.ts'
import type { Incoming } from '../engine.ts'
import { type Header, decodeFrame, encodeFrame, numberOf, textOf } from '../wire/frames.ts'
import { atMost } from '../at-most.ts'
import type { Claim } from './entry.ts'
import { takenOverError } from './errors.ts'
import type { Holder } from './holder.ts'

// The previous connection may take as long as this instance waits, and its answer needs a moment
// more.
const answerMargin = 250

export class Handover {
  readonly #cluster: Cluster
  readonly #name: string
  readonly #timeout: number
  readonly #open: ReadonlyMap<string, Holder>

  /** `open`: the connections of this instance whose pipeline has not returned. */
  constructor(
    cluster: Cluster,
    options: { readonly name: string; readonly handoverTimeout: number },
    open: ReadonlyMap<string, Holder>,
  ) {
    this.#cluster = cluster
    this.#name = options.name
    this.#timeout = options.handoverTimeout
    this.#open = open
  }

  /**
   * How long the connection of a claim is open, in milliseconds; null: it has ended. Undefined: its
   * instance hangs, or is of a release that does not say.
   */
  async ageOf(key: string, { instance, connection }: Claim): Promise<number | null | undefined> {
    const answer = await this.#ask(instance, { kind: 'held', key, connection })
    if (answer?.kind === 'no') return null
    return answer && numberOf(answer, 'age')
  }

  /** Fulfils when the connection of a claim has let go, or its instance does not answer. */
  yielded(key: string, { instance, connection }: Claim): Promise<unknown> {
    if (instance !== this.#cluster.engine.instance) {
      // The watch of that instance ends the connection if this does not arrive.
      return this.#ask(instance, { kind: 'yield', key, connection }).catch(() => {})
    }
    const before = this.#open.get(connection)
    before?.supersede(takenOverError(key))
    return before?.released ?? Promise.resolve()
  }

  /** Answers another instance. */
  async serve({ payload, reply }: Incoming): Promise<void> {
    const header = decodeFrame(payload)?.header
    const holder = header && this.#open.get(textOf(header, 'connection') ?? '')
    if (header?.kind === 'held') {
      const answer = holder ? { kind: 'yes', age: Math.round(holder.age) } : { kind: 'no' }
      return reply(encodeFrame(answer))
    }
    if (header?.kind !== 'yield') return reply(encodeFrame({ kind: 'unsupported' }))
    if (holder) {
      holder.supersede(takenOverError(holder.key))
      await this.atMost(holder.released)
    }
    reply(encodeFrame({ kind: 'yes' }))
  }

  /** Waits for the previous connections to finish, at most as long as a handover may take. */
  async atMost(...work: readonly Promise<unknown>[]): Promise<void> {
    if (work.length > 0) await atMost(this.#timeout, Promise.all(work))
  }

  /** The answer; undefined without one: the instance hangs. */
  async #ask(
    instance: string,
    header: { readonly kind: string; readonly key: string; readonly connection: string },
  ): Promise<Header | undefined> {
    const request = encodeFrame(header)
    const timeout = this.#timeout + answerMargin
    try {
      const subject = `${this.#name}.at.${instance}`
      const answer = await this.#cluster.engine.request(subject, request, { timeout })
      return decodeFrame(answer)?.header
    } catch (error) {
      if (isCioError(error, 'ERR_CIO_NO_RESPONDER')) return { kind: 'no' }
      if (isCioError(error, 'ERR_CIO_CALL_TIMEOUT')) return undefined
      throw error
    }
  }
}
