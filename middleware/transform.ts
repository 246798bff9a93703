import { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CioError } from '../src/errors.ts'
import { raiseListenerLimit } from '../src/streams/stack-layer.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** Makes the transforms of one connection. */
export type MakeTransform = (
  ctx: StreamContext,
) => Duplex | readonly Duplex[] | Promise<Duplex | readonly Duplex[]>

/** What {@link transform} takes: a transform, what makes it, or several of these. */
export type TransformOptions = Duplex | MakeTransform | readonly (Duplex | MakeTransform)[]

/**
 * Sends what the peer sends through transforms, and back to it.
 *
 * A function makes the transforms of each connection. A transform itself serves one connection, as
 * a client has; a second one is refused, since it would mix two peers' bytes. Without any, it is
 * an echo. The transforms in between may be of objects.
 *
 * The peer's end goes through them, and ends the stream. An error of one of them ends the
 * connection, and is told by `error` unless it is a `CioError` with `fault: 'remote'`. To read and
 * write the transformed stream yourself, use `layer`.
 *
 * @pipelines connection, client
 * @order last: it reads and writes `ctx.stream` until its end
 * @adds nothing
 * @rejects `ERR_CIO_TRANSFORM_USED` (local): a transform has served a connection before;
 *   an error of a transform, as it is
 * @throws `ERR_CIO_OPTION`: something is neither a transform nor a function
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
    throw optionError('transform', 'transforms', 'transforms or functions that make them', source)
  }

  return defineMiddleware<StreamContext>(
    { name: 'transform' },
    async function transform(ctx, next) {
      const { stream } = ctx
      raiseListenerLimit(stream)
      const made = await Promise.all(sources.map((source) => make(source, ctx)))
      const passed = pipeline([stream, ...made.flat(), stream])
      // At once, so that a client is connected; the end of the stream ends both.
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
        'transform: a transform has served a connection before, and would mix the bytes of two; give a function that makes one',
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
