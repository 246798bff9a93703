/** Fault injection: a middleware that makes a connection behave badly, reproducibly by its seed. */

import { type Duplex, Transform } from 'node:stream'
import { endGracefully } from '../streams/end-gracefully.ts'
import { StackLayer } from '../streams/stack-layer.ts'
import { type Middleware, defineMiddleware } from '../pipeline/middleware.ts'
import { checkCount, checkDuration, checkOptionNames, optionError } from '../options.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { resetError } from './duplex-pair.ts'
import { seeded } from './random.ts'

/** Options of {@link chaos}. */
export interface ChaosOptions {
  /**
   * Maximum delay of each piece in milliseconds.
   *
   * @default 0
   */
  readonly delay?: number
  /**
   * Maximum size of a piece in bytes: larger chunks are cut at random places. `Infinity` cuts
   * nothing.
   *
   * @default Infinity
   */
  readonly chop?: number
  /**
   * Bytes in one direction within which the connection is reset, at a random place. `Infinity`
   * never resets.
   *
   * @default Infinity
   */
  readonly reset?: number
  /**
   * Milliseconds for which a direction stalls, once, before one of its first four pieces.
   *
   * @default 0
   */
  readonly stall?: number
  /**
   * The seed of the random numbers. Each connection of one `chaos()` gets other faults. If a run
   * makes the connections in the same order, the faults are the same.
   *
   * @default 1
   */
  readonly seed?: number
}

const flushTimeout = 30_000
const firstPieces = 4

/**
 * Injects faults into a connection: delays, small pieces, stalls, resets.
 *
 * It works beneath TLS, so that the handshake is affected too, over sockets and in-memory pairs. It
 * never changes or loses bytes, except after a reset.
 *
 * @pipelines connection, client
 * @order before everything that has a stream
 * @adds nothing; replaces `ctx.stream`
 * @rejects `ECONNRESET`, where it resets
 * @throws `ERR_CIO_OPTION`: an option is out of its range
 *
 * @example
 * import assert from 'node:assert/strict'
 * import { Cio, lines } from 'cio'
 * import { chaos, testApp } from 'cio/testing'
 *
 * const app = new Cio()
 *   .useConnection(chaos({ chop: 3, delay: 2, seed: 7 }))
 *   .useConnection(lines())
 *   .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line.toUpperCase())))
 *
 * await using run = await testApp(app, { client: new Cio().useClient(lines()) })
 * await run.client.messages.send('in pieces')
 * assert.equal((await run.client.messages.next()).value, 'IN PIECES')
 */
export function chaos(options: ChaosOptions = {}): Middleware<StreamContext> {
  checkOptionNames('chaos', options, ['delay', 'chop', 'reset', 'stall', 'seed'])
  const { delay = 0, chop = Infinity, reset = Infinity, stall = 0, seed = 1 } = options
  checkDuration('chaos', 'delay', delay)
  checkCount('chaos', 'chop', chop, 1)
  checkCount('chaos', 'reset', reset)
  checkDuration('chaos', 'stall', stall)
  if (!Number.isInteger(seed)) throw optionError('chaos', 'seed', 'a whole number', seed)
  const mischief = { delay, chop, reset, stall }
  const next = seeded(seed)

  return defineMiddleware<StreamContext>(
    { name: 'chaos', before: ['secure', '*'], after: ['certs', 'connect'] },
    async function chaos(ctx, inside) {
      const beneath = ctx.stream
      const cut = (): void => {
        cutOff(beneath)
        layer.destroy(resetError())
      }
      const decode = [new FaultyStream(mischief, next() * 2 ** 32, cut)]
      const encode = [new FaultyStream(mischief, next() * 2 ** 32, cut)]
      const layer = new StackLayer(beneath, { decode, encode })
      ctx.stream = layer
      try {
        await inside()
        // TLS stays on top of it.
        await endGracefully(ctx.stream, flushTimeout)
        await endGracefully(layer, flushTimeout)
      } finally {
        layer.destroy()
        ctx.stream = beneath
      }
    },
  )
}

/** The error of a reset, the same as on the other side. */
function cutOff(stream: Duplex & { resetAndDestroy?: () => unknown }): void {
  if (stream.resetAndDestroy) stream.resetAndDestroy()
  else stream.destroy()
}

/** One direction. Its faults depend on the byte position, not on how the input is cut. */
class FaultyStream extends Transform {
  readonly #mischief: Required<Omit<ChaosOptions, 'seed'>>
  readonly #reset: () => void
  readonly #sizes: () => number
  readonly #delays: () => number
  readonly #stallsBefore: number
  #untilReset: number
  #untilCut: number
  #pieces = 0
  #timer: NodeJS.Timeout | NodeJS.Immediate | undefined

  constructor(mischief: Required<Omit<ChaosOptions, 'seed'>>, seed: number, reset: () => void) {
    super()
    const first = seeded(seed)
    this.#mischief = mischief
    this.#reset = reset
    this.#sizes = seeded(first() * 2 ** 32)
    this.#delays = seeded(first() * 2 ** 32)
    this.#stallsBefore = Math.floor(first() * firstPieces)
    this.#untilReset =
      mischief.reset === Infinity ? Infinity : Math.floor(first() * (mischief.reset + 1))
    this.#untilCut = this.#pieceSize()
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    if (chunk.length === 0) return done()
    const wait = this.#wait()
    const go = (): void => this.#pass(chunk, done)
    // Never in the same turn: two pieces in one turn would be read as one.
    this.#timer = wait > 0 ? setTimeout(go, wait) : setImmediate(go)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#timer as NodeJS.Timeout)
    clearImmediate(this.#timer as NodeJS.Immediate)
    done(error)
  }

  #pass(chunk: Buffer, done: () => void): void {
    const size = Math.min(chunk.length, this.#untilCut, this.#untilReset)
    if (size > 0) this.push(chunk.subarray(0, size))
    this.#untilReset -= size
    this.#untilCut -= size
    if (this.#untilCut === 0) this.#untilCut = this.#pieceSize()
    if (this.#untilReset === 0) {
      // Earlier input must be read first.
      this.#timer = setImmediate(this.#reset)
      return
    }
    this._transform(chunk.subarray(size), 'utf8', done)
  }

  #pieceSize(): number {
    const { chop } = this.#mischief
    return chop === Infinity ? Infinity : 1 + Math.floor(this.#sizes() * chop)
  }

  #wait(): number {
    const { delay, stall } = this.#mischief
    const stalls = this.#pieces++ === this.#stallsBefore
    return (delay > 0 ? this.#delays() * delay : 0) + (stalls ? stall : 0)
  }
}
