/** One `connect()`: the run of its pipeline, and the `connect` step. */

import { debug } from '../debug.ts'
import type { ClientContext } from './client.ts'
import type { ConnectOptions } from './connect-options.ts'
import { type ConnectionEnd, describeEnd, reasonOf } from '../connection-end.ts'
import type { EndReason } from '../end-reason.ts'
import { dial } from './dial.ts'
import { asError, isCioError } from '../errors.ts'
import { checkPeerNeeds, noSecureStep } from '../identity/peer-needs.ts'
import { emitSafely, reasonOfError, rootCause } from '../lifecycle/app-events.ts'
import { isEndedHere } from '../streams/reading.ts'
import { lifeOf } from '../lifecycle/context.ts'
import { endStream } from '../lifecycle/end-stream.ts'
import { checkOptions, tlsWish } from '../lifecycle/known-options.ts'
import { run, stoppedError } from '../lifecycle/run.ts'
import { checkDuration } from '../options.ts'
import type { Next } from '../pipeline/middleware.ts'

const log = debug('cio:client')

/** Runs the client pipeline; resolves when the client is connected, rejects if it fails before. */
export function runClient(ctx: ClientContext): Promise<void> {
  return run(ctx, ctx.app.pipelines.client, (thrown) => {
    const { hasConnected } = lifeOf(ctx)
    const error = rootCause(
      ctx,
      thrown ?? (hasConnected ? undefined : stoppedError(ctx, 'connected')),
    )
    log('%d over: %s', ctx.id, error?.message ?? 'ended')
    return error
  })
}

/** The end of a client's pipeline: waits until the connection ends or `close()` is called. */
export async function clientEnd(ctx: ClientContext): Promise<void> {
  const life = lifeOf(ctx)
  ctx.come()
  life.ready()
  emitSafely(ctx.app, 'connect', ctx)
  try {
    life.readAhead()
    await Promise.race([life.over(), life.untilDraining()])
  } finally {
    ctx.connected = false
  }
}

/** The `connect` step: a connection that lives until the inner middleware return. */
export async function connect(ctx: ClientContext, next: Next): Promise<void> {
  const { options } = ctx
  checkOptions('connect', options)
  checkPeerNeeds(ctx.app.pipelines.client, (hasStep) => whyNoPeer(options, hasStep))
  const life = lifeOf(ctx)
  const { flush, halfOpen } = life.times()
  checkDuration('connect', 'flushTimeout', flush)
  checkDuration('connect', 'halfOpenTimeout', halfOpen)
  const { probe } = ctx.app.pipelines.client
  if (probe) life.observe(probe)
  await open(ctx).catch((error: Error) => {
    if (probe) life.observed(notConnected(ctx, error))
    throw error
  })

  let came = false
  const forget = ctx.onConnect(() => (came = true))
  let thrown: Error | undefined
  let ordinary: EndReason = 'served'
  try {
    await next()
    ctx.lost = life.hasEnded
    ordinary = ordinaryEnd(ctx)
    await endStream(ctx, flush)
  } catch (error) {
    ctx.lost ||= life.hasEnded
    thrown = asError(error)
    // The original cause, if the thrown error is its consequence.
    throw rootCause(ctx, thrown) ?? thrown
  } finally {
    if (thrown) ctx.disconnect()
    forget()
    ctx.options = options
    const hears = came && ctx.app.listenerCount('disconnect') > 0
    if (hears || probe) {
      const error = rootCause(ctx, thrown)
      const end = describe(ctx, error, ordinary)
      life.observed(end)
      if (hears) emitSafely(ctx.app, 'disconnect', error, ctx, end)
    }
  }
}

function describe(
  ctx: ClientContext,
  error: Error | undefined,
  ordinary: EndReason,
): ConnectionEnd {
  const cause = error ?? lifeOf(ctx).evictedBy
  return describeEnd(ctx.step, cause ? reasonOfError(cause, ctx) : ordinary, cause)
}

/** The end of an attempt that made no connection. */
function notConnected(ctx: ClientContext, error: Error): ConnectionEnd {
  if (ctx.isDraining) return describeEnd(ctx.step, ordinaryEnd(ctx), error)
  const reason = isCioError(error) ? reasonOf(error) : 'upstream'
  return describeEnd(ctx.step, reason, error)
}

/** Why a connection ended without an error. */
function ordinaryEnd(ctx: ClientContext): EndReason {
  const { wasDestroyed, isDraining, stream, transport } = lifeOf(ctx)
  if (wasDestroyed) return 'forced'
  if (isDraining) return 'drained'
  return ctx.lost && !isEndedHere(stream, ctx.socket, transport) ? 'remote_ended' : 'served'
}

async function open(ctx: ClientContext): Promise<void> {
  const life = lifeOf(ctx)
  try {
    // Also aborts if close() was called before.
    const { stream, options } = await dial(ctx.options, ctx.draining)
    ctx.attach(stream)
    ctx.options = options
    life.hasConnected = true
  } catch (thrown) {
    const error = asError(ctx.isClosed ? ctx.signal.reason : thrown)
    if (!ctx.isDraining) life.failure = error
    throw error
  }
}

/** Why a client has no identity of its server; undefined where it may have one. */
function whyNoPeer(options: ConnectOptions, hasStep: boolean): string | undefined {
  if (!hasStep) return noSecureStep
  const { tls, targets = [] } = options
  const asks = [options, ...targets].some((one) => tlsWish('connect', one) !== undefined)
  if (tls ?? asks) return undefined
  return 'the client uses no TLS, so the server has no identity; give `connect()` the `ca` that has signed the certificate of the server, or `tls: true` for a public one'
}
