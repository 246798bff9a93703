/** A layer over a stream: a Duplex whose bytes are decoded from it, and encoded to it. */

import { Duplex, PassThrough, Writable, pipeline } from 'node:stream'
import zlib from 'node:zlib'
import { CioError } from '../errors.ts'

/** What a {@link StackLayer} is made of. */
export interface StackLayerOptions {
  /**
   * What the bytes of the stream beneath go through before they are read, in this order.
   *
   * @default nothing
   */
  readonly decode?: readonly Duplex[]
  /**
   * What written bytes go through on their way to the stream beneath, in this order.
   *
   * @default nothing
   */
  readonly encode?: readonly Duplex[]
  /**
   * Leaves it to the encoder when it lets go of what it holds. Otherwise it is flushed whenever
   * nothing more waits to be written, so that a peer that waits for an answer gets it.
   *
   * @default false
   */
  readonly buffered?: boolean
  /**
   * Times its own length that received bytes may decode to, at most; `Infinity` takes any. It
   * counts after the first MiB of what was decoded, since a small message shrinks a lot.
   *
   * @default 100
   */
  readonly maxRatio?: number
}

const defaultMaxRatio = 100
const freeOfRatio = 1024 * 1024

type Done = (error?: Error | null) => void

/**
 * The Duplex on top of another one.
 *
 * The ends of both directions pass through it, each by itself; so does backpressure, however much
 * a decoder makes of little. It ends the stream beneath, and is destroyed together with it. What a
 * decoder throws is `ERR_CIO_DECODE` (remote), what an encoder throws is `ERR_CIO_ENCODE` (local).
 * Input that decodes to more than `maxRatio` allows is `ERR_CIO_DECODE_RATIO` (remote).
 */
export class StackLayer extends Duplex {
  readonly #beneath: Duplex
  readonly #coders: readonly Duplex[]
  readonly #encoders: readonly [Duplex, ...Duplex[]]
  readonly #buffered: boolean
  #failure: CioError | undefined
  /** Bytes that came from the stream beneath. */
  #received = 0
  #taken: Done | undefined
  #sent: Done | undefined

  constructor(beneath: Duplex, options: StackLayerOptions = {}) {
    super({ allowHalfOpen: true })
    const { decode = [], encode = [], buffered = false, maxRatio = defaultMaxRatio } = options
    const [first = new PassThrough(), ...others] = encode
    this.#beneath = beneath
    this.#coders = [...decode, first, ...others]
    this.#encoders = [first, ...others]
    this.#buffered = buffered
    if (beneath.destroyed) {
      // Newer versions of Node throw in the middle of a pipeline() with it.
      this.destroy(new CioError('ERR_CIO_CLOSED', 'the stream beneath was closed before'))
      return
    }
    raiseListenerLimit(beneath)

    // Before those of pipeline(), which destroys what is beneath by the same error.
    for (const coder of decode) {
      coder.on('error', (error) => {
        if (this.#endedEmpty) this.push(null)
        else this.destroy(this.#cause('decode', error))
      })
    }
    for (const coder of this.#encoders) {
      coder.on('error', (error) => this.destroy(this.#cause('encode', error)))
    }
    const bound = decode.length > 0 ? maxRatio : Infinity
    let decoded = 0
    const sink = new Writable({
      // Then what is not bytes is an error of this stream, and not one that nobody catches.
      objectMode: beneath.readableObjectMode && decode.length === 0,
      write: (chunk: Buffer, _encoding, taken) => {
        decoded += chunk.length
        if (decoded > freeOfRatio && decoded > this.#received * bound) {
          this.destroy((this.#failure ??= ratioError(bound)))
        } else if (this.push(chunk)) taken()
        else this.#taken = taken
      },
      final: (done) => {
        this.push(null)
        done()
      },
    })
    beneath.on('data', this.#count)
    pipeline([beneath, ...decode, sink], (error) => {
      if (error && !this.#endedEmpty) this.destroy(error)
    })
    pipeline([...this.#encoders, beneath], (error) => {
      if (error) this.destroy(error)
      else this.#sent?.()
    })
  }

  /** Why it failed by itself, not by the stream beneath or by who destroyed it. */
  get failure(): CioError | undefined {
    return this.#failure
  }

  override _read(): void {
    const taken = this.#taken
    this.#taken = undefined
    taken?.()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    const last = this.writableLength === chunk.length
    this.#encoders[0].write(chunk, (error) => {
      if (error) done(this.#cause('encode', error))
      else if (last && !this.#buffered) flush(this.#encoders, done)
      else done()
    })
  }

  override _final(done: Done): void {
    this.#sent = done
    this.#encoders[0].end()
  }

  override _destroy(error: Error | null, done: Done): void {
    const beneath = this.#beneath
    beneath.off('data', this.#count)
    for (const coder of this.#coders) coder.destroy()
    if (error || !beneath.readableEnded || !beneath.writableFinished) beneath.destroy()
    done(error)
  }

  /** Who ends without a byte has ended, though zlib finds its input cut off. */
  get #endedEmpty(): boolean {
    return this.#received === 0 && this.#beneath.readableEnded && !this.destroyed
  }

  readonly #count = (chunk: Uint8Array): void => {
    this.#received += chunk.length
  }

  /** The error to tell: the coder's own, unless it is but how the end of the rest shows in it. */
  #cause(direction: 'decode' | 'encode', cause: Error): Error {
    if (this.destroyed || this.#beneath.destroyed) return cause
    this.#failure ??=
      direction === 'decode'
        ? new CioError('ERR_CIO_DECODE', `what the peer sent does not decode: ${cause.message}`, {
            fault: 'remote',
            cause,
          })
        : new CioError('ERR_CIO_ENCODE', `what was written does not encode: ${cause.message}`, {
            cause,
          })
    return this.#failure
  }
}

function ratioError(maxRatio: number): CioError {
  return new CioError(
    'ERR_CIO_DECODE_RATIO',
    `what the peer sent decodes to more than ${maxRatio} times its length; raise \`maxRatio\` if it may`,
    { fault: 'remote' },
  )
}

// What two of Node's pipelines add for `close`, the event that they add most to.
const listenersOfPipelines = 8

/**
 * Raises the number of listeners above which Node warns of a leak, by what a stream gets that is
 * in a pipeline for each direction.
 */
export function raiseListenerLimit(stream: Duplex): void {
  const bound = stream.getMaxListeners()
  // 0 is no bound.
  if (bound > 0) stream.setMaxListeners(bound + listenersOfPipelines)
}

/** What zlib and its like have. */
interface Flushes extends Duplex {
  flush(done: () => void): void
  flush(kind: number, done: () => void): void
}

/** Asks one encoder after the other for what it holds. */
function flush([encoder, ...others]: readonly Duplex[], done: Done): void {
  if (!encoder) return done()
  const next = (): void => flush(others, done)
  if (encoder.destroyed || !('flush' in encoder) || typeof encoder.flush !== 'function') {
    return next()
  }
  // Without a kind, zlib forgets what it has seen, and small messages hardly shrink any more.
  const deflates = deflaters.some((kind) => encoder instanceof kind)
  if (deflates) (encoder as Flushes).flush(zlib.constants.Z_SYNC_FLUSH, next)
  else (encoder as Flushes).flush(next)
}

const { Deflate, DeflateRaw, Gzip } = zlib as unknown as Record<string, new () => Duplex>
const deflaters = [Deflate!, DeflateRaw!, Gzip!]
