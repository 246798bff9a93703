/** The run of a connection, from accept to close: see connection.ts. */

import { debug } from '../debug.ts'
import { emitSafely, isRemoteFault, reasonOfError, reportError, rootCause } from './app-events.ts'
import type { Contexts } from './app.ts'
import { connections, publishEnd, publishStart } from './channels.ts'
import { describeEnd, nothingSaid, quietReasons, reasonOf } from '../connection-end.ts'
import type { EndReason } from '../end-reason.ts'
import { lifeOf } from './context.ts'
import { cut, endStream } from './end-stream.ts'
import { asError, isCioError } from '../errors.ts'
import { isEndedHere, isRead } from '../streams/reading.ts'

type ConnectionContext = Contexts['connection']

const log = debug('cio:connection')

/**
 * Runs the connection pipeline over a context, from accept to close. Never throws.
 *
 * @param connected Waits for a stream that is still connecting.
 */
export function runConnection(ctx: ConnectionContext, connected?: () => Promise<unknown>): void {
  const { app } = ctx
  const { connection } = app.pipelines
  if (log.enabled) log('%d accepted from %s', ctx.id, ctx.remote)
  if (connection.probe) lifeOf(ctx).observe(connection.probe)
  emitSafely(app, 'connection', ctx)
  try {
    const composed = connection.compose()
    ctx.generation = connection.generation
    const run =
      connected || composed instanceof Promise
        ? Promise.all([composed, connected?.()]).then(([compiled]) => start(ctx, compiled))
        : start(ctx, composed)
    // Not an async function: its frame would stay in memory for the whole life of the connection.
    run.then(
      () => returned(ctx),
      (thrown: unknown) => failed(ctx, asError(thrown)),
    )
  } catch (thrown) {
    failed(ctx, asError(thrown))
  }
}

function start(
  ctx: ConnectionContext,
  composed: (ctx: ConnectionContext) => Promise<void>,
): Promise<void> {
  if (!connections.hasSubscribers) return composed(ctx)
  return publishStart(ctx, (lifeOf(ctx).message = { ctx }), composed)
}

/** All middleware have returned: ends the stream. */
function returned(ctx: ConnectionContext): void {
  const life = lifeOf(ctx)
  life.hasReturned = true
  const { stream, transport } = life
  const ordinary = ordinaryEnd(life)
  // Most streams have closed by now.
  if (stream!.destroyed && transport!.destroyed)
    return end(ctx, rootCause(ctx, undefined), ordinary)
  endStream(ctx, life.times().flush).then(
    () => end(ctx, rootCause(ctx, undefined), ordinary),
    (thrown: unknown) => {
      const error = rootCause(ctx, asError(thrown))
      life.blame(error)
      life.disconnect(error)
      end(ctx, error)
    },
  )
}

/** A middleware has thrown: ends the stream as the fault demands. */
function failed(ctx: ConnectionContext, thrown: Error): void {
  const life = lifeOf(ctx)
  life.hasReturned = true
  const error = rootCause(ctx, thrown)
  const done = (): void => end(ctx, error, ordinaryEnd(life))
  cut(ctx, error).then(done, done)
}

/** Why a connection ended without an error. */
function ordinaryEnd(life: ConnectionContext['lifeType']): EndReason {
  if (life.wasDestroyed) return 'forced'
  if (life.phase === 'draining') return 'drained'
  const { ctx, stream, transport } = life
  if (!life.hasEnded || isEndedHere(stream, ctx.socket, transport)) return 'served'
  return hasPassedNothing(ctx) ? 'nothing_said' : 'remote_ended'
}

/** Whether no byte passed over a server's connection, except the header of a load balancer. */
function hasPassedNothing(ctx: ConnectionContext): boolean {
  const { server, socket, encrypted } = ctx
  // Above TLS, what came before the handshake is not counted.
  const before = encrypted ? 0 : lifeOf(ctx).preambleSize
  return server !== null && socket?.bytesRead === before && socket.bytesWritten === 0
}

/** The connection is over. */
export function end(
  ctx: ConnectionContext,
  cause: Error | undefined,
  ordinary: EndReason = 'served',
): void {
  const life = lifeOf(ctx)
  if (life.isSettled) return
  const isQuiet = cause && !isCioError(cause) && isRemoteFault(cause, ctx) && hasPassedNothing(ctx)
  const error = isQuiet ? nothingSaid(ctx.remote, cause) : cause
  const { app } = ctx
  const evicted = life.evictedBy
  const reason = error ? reasonOfError(error, ctx) : evicted ? reasonOf(evicted) : ordinary
  life.settle(cause)
  if (log.enabled) log('%d over: %s', ctx.id, error?.message ?? 'ended')
  if (error && !quietReasons.has(reason)) reportError(app, error, ctx)
  // After the event, so that a listener that counts connections does not miss one that no probe has
  // counted as ended.
  ctx.server?.forget(ctx)
  const { probe, message } = life
  if (!probe && !message && app.listenerCount('close') === 0) return
  const ended = describeEnd(ctx.step, reason, error ?? evicted)
  probe?.end(ctx, ended)
  if (message) publishEnd(message, ended)
  emitSafely(app, 'close', ctx, ended)
}

/** The end of a connection's pipeline: waits for the stream to finish. */
export function connectionEnd(ctx: ConnectionContext): Promise<void> {
  const life = lifeOf(ctx)
  life.ready()
  const stream = life.stream!
  // Discards input that has no reader, so that the end of the other side is noticed.
  if (!isRead(stream)) stream.resume()
  return life.over()
}
