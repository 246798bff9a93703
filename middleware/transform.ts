import { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CioError } from '../src/errors.ts'
import { raiseListenerLimit } from '../src/streams/stack-layer.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** Creates the transforms of one connection. */
export type MakeTransform = (
  ctx: StreamContext,
) => Duplex | readonly Duplex[] | Promise<Duplex | readonly Duplex[]>

/**
 * The arguments of {@link transform}: a transform, a function that creates it, or a list of these.
 */
export type TransformOptions = Duplex | MakeTransform | readonly (Duplex | MakeTransform)[]

/**
 * Pipes a connection through transform streams, and back to the peer.
 *
 * Pass a function to create the transforms of each connection. A transform object serves only one
 * connection, which is enough for a client. Cio rejects a second use, because it would mix the
 * bytes of two peers. Without any transform, it is an echo. Transforms in the middle may be in
 * object mode.
 *
 * The end of the peer's input passes through the transforms and ends the stream. An error of a
 * transform closes the connection and emits `error`, or `remoteError` if it is a `CioError` with
 * `fault: 'remote'`. To read and write the transformed stream yourself, use `layer`.
 *
 * @pipelines connection, client
 * @order last: it reads and writes `ctx.stream` until its end
 * @adds nothing
 * @rejects `ERR_CIO_TRANSFORM_USED` (local): a transform has already served another connection;
 *   an error of a transform, unchanged
 * @throws `ERR_CIO_OPTION`: an argument is neither a transform nor a function
 *
 * @example
 * import { Transform } from 'node:stream'
 * import { Cio, transform } from 'cio'
 *
 * const upperCase = () =>
 *   new Transform({
 *     transform: (chunk, encoding, done) => done(null, chunk.toString('latin1').toUpperCase()),
 *   })
 * const app = new Cio().useConnection(transform(upperCase))
 * const server = await app.listen(0)
 * await server.close()
 */
export function transform(...transforms: readonly TransformOptions[]): Middleware<StreamContext> {
  const sources = transforms.flat() as readonly (Duplex | MakeTransform)[]
  for (const source of sources) {
    if (typeof source === 'function' || isDuplex(source)) continue
    throw optionError('transform', 'transforms', 'transforms or functions that create them', source)
  }

  return defineMiddleware<StreamContext>(
    { name: 'transform', pipelines: ['connection', 'client'] },
    async function transform(ctx, next) {
      const { stream } = ctx
      raiseListenerLimit(stream)
      const made = await Promise.all(sources.map((source) => make(source, ctx)))
      const passed = pipeline([stream, ...made.flat(), stream])
      // At once, so that a client counts as connected; the end of the stream ends both.
      const inside = next().catch((error: unknown) => {
        stream.destroy()
        throw error
      })
      const [here, there] = await Promise.allSettled([passed, inside])
      if (there.status === 'rejected') throw there.reason
      if (here.status === 'rejected') throw here.reason
    },
  )
}

const used = new WeakSet<Duplex>()

async function make(
  source: Duplex | MakeTransform,
  ctx: StreamContext,
): Promise<readonly Duplex[]> {
  const made = ([] as Duplex[]).concat(typeof source === 'function' ? await source(ctx) : source)
  for (const one of made) {
    if (!isDuplex(one)) throw optionError('transform', 'a transform that was made', 'a Duplex', one)
    if (used.has(one)) {
      throw new CioError(
        'ERR_CIO_TRANSFORM_USED',
        'transform: this transform has already served another connection, and would mix the bytes of both; pass a function that creates one',
      )
    }
    used.add(one)
  }
  return made
}

function isDuplex(value: unknown): value is Duplex {
  const { pipe, write } = (value ?? {}) as Partial<Duplex>
  return typeof pipe === 'function' && typeof write === 'function'
}

export { transform as default }
