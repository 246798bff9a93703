/** Connects through a proxy, which needs a handshake of its own first. */

import type { Duplex } from 'node:stream'
import type { ClientContext } from './client.ts'
import { type ConnectOptions, placeOf } from './connect-options.ts'
import { openSocket } from './open-socket.ts'
import { CioError, asError, isCioError } from '../errors.ts'
import type { Next } from '../pipeline/middleware.ts'
import { untilConnected } from './until-connected.ts'

/**
 * Asks a proxy for a connection to `target`, over a stream to the proxy. Returns the stream to the
 * target: the same stream, without reading any byte of the target, or another one on top of it.
 */
export type ProxyHandshake = (stream: Duplex, target: ConnectOptions) => Promise<Duplex>

/**
 * Runs the inner middleware with connections through a proxy: for a middleware before `connect`. It
 * sets `createConnection` in `ctx.options`, and restores it afterwards.
 *
 * It connects to the proxy as `connect()` would connect to the target, so proxies can be chained.
 * When the connection is not needed any more, Cio destroys the stream to the proxy, which must end
 * `negotiate`. It also destroys it if `negotiate` throws.
 *
 * @example
 * import { type ClientContext, type Middleware, defineMiddleware } from 'cio'
 * import { viaProxy } from 'cio/kit'
 * import { once } from 'node:events'
 *
 * // A proxy that takes the port of its own network as the first line, and says nothing.
 * const jump = (host: string, port: number): Middleware<ClientContext> =>
 *   defineMiddleware<ClientContext>({ name: 'jump', before: 'connect' }, (ctx, next) =>
 *     viaProxy(ctx, { host, port }, next, async (stream, target) => {
 *       if (!stream.write(`${target.port}\n`)) await once(stream, 'drain')
 *       return stream
 *     }),
 *   )
 */
export async function viaProxy(
  ctx: ClientContext,
  proxy: { readonly host: string; readonly port: number },
  next: Next,
  ask: ProxyHandshake,
): Promise<void> {
  const outer = ctx.options
  const { createConnection: reach = openSocket } = outer
  const { host, port } = proxy
  const attempt = async (target: ConnectOptions, signal: AbortSignal): Promise<Duplex> => {
    const { path: _, ...rest } = target
    const made = await reach({ ...rest, host, port }, signal)
    const stream = await untilConnected(made, placeOf(proxy), signal)
    const abort = (): void => void stream.destroy()
    signal.addEventListener('abort', abort)
    try {
      signal.throwIfAborted()
      return await ask(stream, target)
    } catch (error) {
      stream.destroy()
      throw error
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }
  const createConnection = (target: ConnectOptions, signal: AbortSignal): Promise<Duplex> =>
    new Promise((resolve, reject) => {
      const abort = (): void => reject(ofProxy(asError(signal.reason), placeOf(proxy)))
      signal.addEventListener('abort', abort)
      if (signal.aborted) abort()
      const settle = (): void => signal.removeEventListener('abort', abort)
      attempt(target, signal).then(resolve, reject).finally(settle)
    })
  ctx.options = { ...outer, createConnection }
  try {
    await next()
  } finally {
    ctx.options = outer
  }
}

/** A timeout of `connect()` names the target alone, and it may be the proxy that does not answer. */
function ofProxy(reason: Error, place: string): Error {
  if (!isCioError(reason, 'ERR_CIO_CONNECT_TIMEOUT')) return reason
  const message = `${reason.message}, by way of the proxy ${place}`
  return new CioError(reason.code, message, { fault: 'remote' })
}
