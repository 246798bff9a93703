/** A layer over a stream: a Duplex whose bytes are decoded from it, and encoded to it. */

import { Duplex, PassThrough, Writable, pipeline } from 'node:stream'
import { CioError } from '../errors.ts'
import { isConsequence } from '../network-errors.ts'

/** Options of a {@link StackLayer}. */
export interface StackLayerOptions {
  /**
   * The transforms for received bytes, in this order.
   *
   * @default nothing
   */
  readonly decode?: readonly Duplex[]
  /**
   * The transforms for written bytes, in this order.
   *
   * @default nothing
   */
  readonly encode?: readonly Duplex[]
  /**
   * Lets the encoder decide when to flush. By default Cio flushes it whenever nothing more waits to
   * be written, so that a waiting peer gets its answer.
   *
   * @default false
   */
  readonly buffered?: boolean
  /**
   * Decompression bombs: the maximum ratio of decoded to received bytes; `Infinity` accepts any. It
   * applies after the first decoded MiB, since small messages compress well.
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
 * It passes on backpressure, however much the input expands, and the end of each direction
 * separately. It ends the stream beneath, and is destroyed together with it. An error of a decoder
 * becomes `ERR_CIO_DECODE` (remote), one of an encoder `ERR_CIO_ENCODE` (local). Input that decodes
 * to more than `maxRatio` allows is `ERR_CIO_DECODE_RATIO` (remote).
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

    // Added before the listeners of pipeline(), which destroys the stream beneath with the same
    // error.
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
      // This makes a chunk that is not bytes an error of this stream, and not an uncaught error.
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

  /** Its own failure, and not that of the stream beneath or of a caller of destroy(). */
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

  /** Empty input is a regular end, though zlib reports truncated input. */
  get #endedEmpty(): boolean {
    return this.#received === 0 && this.#beneath.readableEnded && !this.destroyed
  }

  readonly #count = (chunk: Uint8Array): void => {
    this.#received += chunk.length
  }

  /** The error to report: the coder's own, unless it is a consequence of another failure. */
  #cause(direction: 'decode' | 'encode', cause: Error): Error {
    // A coder also gets the error of the stream beneath. If both fail in one turn, its own comes second.
    const isOfBeneath = cause === this.#beneath.errored || isConsequence(cause)
    if (isOfBeneath || this.destroyed) return cause
    this.#failure ??=
      direction === 'decode'
        ? new CioError('ERR_CIO_DECODE', `cannot decode what the peer sent: ${cause.message}`, {
            fault: 'remote',
            cause,
          })
        : new CioError('ERR_CIO_ENCODE', `cannot encode what was written: ${cause.message}`, {
            cause,
          })
    return this.#failure
  }
}

function ratioError(maxRatio: number): CioError {
  return new CioError(
    'ERR_CIO_DECODE_RATIO',
    `the data of the peer decodes to more than ${maxRatio} times its length; raise \`maxRatio\` if that is expected`,
    { fault: 'remote' },
  )
}

// The listeners that two of Node's pipelines add for `close`, the event with most of them.
const listenersOfPipelines = 8

/**
 * Raises the number of listeners above which Node warns of a leak. For a stream that is in one
 * pipeline per direction.
 */
export function raiseListenerLimit(stream: Duplex): void {
  const bound = stream.getMaxListeners()
  // Node has 0 for "no bound".
  if (bound > 0) stream.setMaxListeners(bound + listenersOfPipelines)
}

/** The flush() of zlib streams. */
interface Flushes extends Duplex {
  flush(done: () => void): void
  flush(kind: number, done: () => void): void
}

/** Flushes one encoder after the other. */
function flush([encoder, ...others]: readonly Duplex[], done: Done): void {
  if (!encoder) return done()
  const next = (): void => flush(others, done)
  if (encoder.destroyed || !('flush' in encoder) || typeof encoder.flush !== 'function') {
    return next()
  }
  // Without a flush kind zlib resets its window, and small messages hardly compress any more.
  const zlib = process.getBuiltinModule('node:zlib')
  const { Deflate, DeflateRaw, Gzip } = zlib as unknown as Record<string, new () => Duplex>
  const deflates = [Deflate!, DeflateRaw!, Gzip!].some((kind) => encoder instanceof kind)
  if (deflates) (encoder as Flushes).flush(zlib.constants.Z_SYNC_FLUSH, next)
  else (encoder as Flushes).flush(next)
}
