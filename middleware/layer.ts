import type { Duplex } from 'node:stream'
import { CioError } from '../src/errors.ts'
import { endGracefully } from '../src/streams/end-gracefully.ts'
import { StackLayer } from '../src/streams/stack-layer.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import {
  checkCount,
  checkDuration,
  checkFlag,
  checkOptionNames,
  optionError,
} from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

type Coders = Duplex | readonly Duplex[]

/** Creates the transform for the bytes of one connection, or an array of transforms in a row. */
export type MakeCoder = (ctx: StreamContext) => Coders | Promise<Coders>

/** Options of {@link layer}. */
export interface LayerOptions {
  /**
   * Creates the transform for received bytes, such as `createGunzip`.
   *
   * @default bytes pass unchanged
   */
  readonly decode?: MakeCoder
  /**
   * Creates the transform for sent bytes, such as `createGzip`.
   *
   * @default bytes pass unchanged
   */
  readonly encode?: MakeCoder
  /**
   * Lets the encoder decide when to flush. This compresses one long transfer better, but blocks
   * request and response protocols, where each side would wait for the other.
   *
   * @default false
   */
  readonly buffered?: boolean
  /**
   * The maximum ratio of decoded to received bytes; `Infinity` accepts any. It applies after the
   * first MiB of decoded data, because a small message may shrink a lot.
   *
   * @default 100
   */
  readonly maxRatio?: number
  /**
   * Milliseconds for the peer to read the encoded data after all inner middleware have returned.
   * `Infinity` waits for ever.
   *
   * @default 30_000
   */
  readonly flushTimeout?: number
}

const defaultFlushTimeout = 30_000

/**
 * Compression (gzip, Brotli), encryption or any transform of the stream.
 *
 * In the middleware after `layer`, `ctx.stream` is decoded and encoded. After `next()` has settled,
 * `ctx.stream` is the original stream again. Ends pass through. If the peer ends its side, you may
 * still write. If you end your side, the encoder writes its last bytes first. Backpressure passes
 * through too: the decoder decodes no faster than you read. `maxRatio` limits the decompression
 * ratio, against a decompression bomb. Limit the data that you collect too; the codecs do
 * (`maxLength`).
 *
 * To send the peer's input through transforms and back to the peer, use `transform`.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.stream`; if there are several, the first one is
 *   outermost
 * @adds nothing; replaces `ctx.stream`
 * @rejects `ERR_CIO_DECODE` (remote): the input cannot be decoded, or ends too early;
 *   `ERR_CIO_DECODE_RATIO` (remote): the input decodes to more than `maxRatio` allows;
 *   `ERR_CIO_ENCODE` (local): the encoder failed; `ERR_CIO_FLUSH_TIMEOUT` (remote): the peer did
 *   not read the sent data in time
 * @throws `ERR_CIO_OPTION`: an option is of the wrong kind or out of its range
 *
 * @example
 * import { createGunzip, createGzip } from 'node:zlib'
 * import { Cio, lines, layer } from 'cio'
 *
 * const gzip = layer({ decode: () => createGunzip(), encode: () => createGzip() })
 * const app = new Cio()
 *   .useConnection(gzip)
 *   .useConnection(lines())
 *   .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line.toUpperCase())))
 *   .useClient(gzip)
 *   .useClient(lines())
 *
 * const server = await app.listen(0)
 * const client = await app.connect(server.port)
 * await client.messages.send('hello')
 * console.log((await client.messages.next()).value) // HELLO
 * await app.close()
 */
export function layer(options: LayerOptions): Middleware<StreamContext> {
  checkOptionNames('layer', options, ['decode', 'encode', 'buffered', 'maxRatio', 'flushTimeout'])
  const { decode, encode, buffered = false, flushTimeout = defaultFlushTimeout } = options
  const { maxRatio } = options
  if (maxRatio !== undefined) checkCount('layer', 'maxRatio', maxRatio, 1)
  checkDuration('layer', 'flushTimeout', flushTimeout)
  checkFlag('layer', 'buffered', buffered)
  checkMakeCoder('decode', decode)
  checkMakeCoder('encode', encode)

  return defineMiddleware<StreamContext>(
    { name: 'layer', pipelines: ['connection', 'client'] },
    async function layer(ctx, next) {
      const inner = ctx.stream
      // In parallel: the decoder of each side may need data from the other side.
      const [encoders, decoders] = await Promise.all([make(encode, ctx), make(decode, ctx)])
      const layer = new StackLayer(inner, {
        decode: decoders,
        encode: encoders,
        buffered,
        ...(maxRatio && { maxRatio }),
      })
      ctx.stream = layer
      try {
        await next()
        if (!(await endGracefully(layer, flushTimeout)) && !ctx.broken)
          throw flushTimeoutError(ctx, flushTimeout)
      } finally {
        layer.destroy()
        ctx.stream = inner
      }
    },
  )
}

function checkMakeCoder(option: string, value: unknown): void {
  if (value === undefined || typeof value === 'function') return
  throw optionError('layer', option, 'a function that makes a transform', value)
}

async function make(from: MakeCoder | undefined, ctx: StreamContext): Promise<readonly Duplex[]> {
  const made: unknown = from ? await from(ctx) : []
  return (Array.isArray(made) ? made : [made]) as readonly Duplex[]
}

function flushTimeoutError({ remote }: StreamContext, flushTimeout: number): CioError {
  return new CioError(
    'ERR_CIO_FLUSH_TIMEOUT',
    `${remote} did not read the data sent to it within ${flushTimeout} ms`,
    { fault: 'remote' },
  )
}

export { layer as default }
