import type { Duplex } from 'node:stream'
import { CioError } from '../src/errors.ts'
import { endGracefully } from '../src/streams/end-gracefully.ts'
import { StackLayer } from '../src/streams/stack-layer.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

type Coders = Duplex | readonly Duplex[]

/** Makes what the bytes of one connection go through: one transform, or several in a row. */
export type MakeCoder = (ctx: StreamContext) => Coders | Promise<Coders>

/** Options of {@link layer}. */
export interface LayerOptions {
  /**
   * Makes what received bytes go through before they are read, such as `createGunzip`.
   *
   * @default they pass as they are
   */
  readonly decode?: MakeCoder
  /**
   * Makes what written bytes go through before they are sent, such as `createGzip`.
   *
   * @default they pass as they are
   */
  readonly encode?: MakeCoder
  /**
   * Leaves it to the encoder when it lets go of what it holds: smaller for one long transfer, and
   * wrong for requests and responses, where each side would wait for the other.
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
  /**
   * Milliseconds for what was written to be encoded and read by the peer, once everything inside
   * has returned. `Infinity` waits for ever.
   *
   * @default 30_000
   */
  readonly flushTimeout?: number
}

const defaultFlushTimeout = 30_000

/**
 * Puts a layer on the stream, such as compression or a cipher.
 *
 * Inside it, `ctx.stream` is decoded and encoded; it is the old one again once `next()` has
 * settled. Ends pass through: the peer's as an end, after which one may still write; ours once the
 * encoder has written its last. So does backpressure: what decodes to much is decoded as fast as it
 * is read, and no faster. `maxRatio` bounds the work that a few bytes can ask for (a decompression
 * bomb). Bound what you collect, too; the codecs do (`maxLength`).
 *
 * To handle what is written as a chain from the peer and back to it, use `transform`.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.stream`; several stack, the first one outermost
 * @adds nothing; replaces `ctx.stream`
 * @rejects `ERR_CIO_DECODE` (remote): what it sent does not decode, or ends too early;
 *   `ERR_CIO_DECODE_RATIO` (remote): it decodes to more than `maxRatio` allows;
 *   `ERR_CIO_ENCODE` (local): the encoder failed;
 *   `ERR_CIO_FLUSH_TIMEOUT` (remote): it did not read what was written in time
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
  const { decode, encode, buffered = false, flushTimeout = defaultFlushTimeout } = options
  const { maxRatio } = options
  checkOptionNames('layer', options, ['decode', 'encode', 'buffered', 'maxRatio', 'flushTimeout'])
  if (maxRatio !== undefined) checkCount('layer', 'maxRatio', maxRatio, 1)
  checkDuration('layer', 'flushTimeout', flushTimeout)
  checkMakes('decode', decode)
  checkMakes('encode', encode)

  return defineMiddleware<StreamContext>({ name: 'layer' }, async function layer(ctx, next) {
    const beneath = ctx.stream
    // Together: each side may have to send something for the other's decoder.
    const [encoders, decoders] = await Promise.all([make(encode, ctx), make(decode, ctx)])
    const layer = new StackLayer(beneath, {
      decode: decoders,
      encode: encoders,
      buffered,
      ...(maxRatio && { maxRatio }),
    })
    ctx.stream = layer
    try {
      await next()
      if (!(await endGracefully(layer, flushTimeout)) && !ctx.broken)
        throw notRead(ctx, flushTimeout)
    } finally {
      layer.destroy()
      ctx.stream = beneath
    }
  })
}

function checkMakes(option: string, value: unknown): void {
  if (value === undefined || typeof value === 'function') return
  throw optionError('layer', option, 'a function that makes a transform', value)
}

async function make(from: MakeCoder | undefined, ctx: StreamContext): Promise<readonly Duplex[]> {
  const made: unknown = from ? await from(ctx) : []
  return (Array.isArray(made) ? made : [made]) as readonly Duplex[]
}

function notRead({ remote }: StreamContext, flushTimeout: number): CioError {
  return new CioError(
    'ERR_CIO_FLUSH_TIMEOUT',
    `${remote} did not read what was written within ${flushTimeout} ms`,
    { fault: 'remote' },
  )
}

export { layer as default }
