/** Emits the events of an app, and decides which event reports an error. */

import { EventEmitter } from 'node:events'
import type { App, AppEvents } from './app.ts'
import { isOfCarrier, isOfOwnEnd } from './closed-errors.ts'
import { type Context, lifeOf } from './context.ts'
import { reasonOf } from '../connection-end.ts'
import type { EndReason } from '../end-reason.ts'
import { CioError, asError, describe, isCioError } from '../errors.ts'
import { isConsequence, isNetworkError } from '../network-errors.ts'
import type { StreamContext } from './stream-context.ts'

declare module './app.ts' {
  interface AppEvents {
    /**
     * A peer was rejected: by a list, or for a certificate that is not trusted (`ERR_CIO_REJECTED`).
     * Log each one: it shows a name that is missing in a list.
     */
    reject: [error: CioError, ctx: StreamContext]
    /**
     * The peer caused the end of a connection: a reset, a failed handshake, a message that is too
     * long. This is normal on the internet; a sudden rise is not.
     */
    remoteError: [error: CioError | NodeJS.ErrnoException, ctx: StreamContext]
    /**
     * The application failed: a handler threw, for example. Without a listener Cio prints it, once
     * per connection.
     */
    error: [error: CioError | NodeJS.ErrnoException, ctx?: Context]
  }
}

/** Emits an event, and survives listeners that throw. */
export function emitSafely<Event extends keyof AppEvents>(
  app: App,
  event: Event,
  ...details: AppEvents[Event]
): void {
  // Most events have no listener; `error` without one would throw.
  if (app.listenerCount(event) === 0) return
  try {
    ;(app.emit as (event: string, ...details: unknown[]) => boolean).call(app, event, ...details)
  } catch (thrown) {
    listenerFailed(app, event, thrown)
  }
}

/**
 * An async listener that rejects counts as one that throws; otherwise Node would end the process.
 */
export function catchRejections(app: App): void {
  Object.defineProperty(app, EventEmitter.captureRejectionSymbol, {
    value: (error: Error, event: unknown) => listenerFailed(app, event, error),
  })
}

function listenerFailed(app: App, event: unknown, thrown: unknown): void {
  if (event === 'error') print(thrown)
  else reportError(app, asError(thrown))
}

/** Reports an error by one event, which its fault decides. */
export function reportError(app: App, error: Error, ctx?: Context): void {
  const stream = ctx && ctx.kind !== 'server' ? (ctx as StreamContext) : undefined
  if (stream && isCioError(error, 'ERR_CIO_REJECTED'))
    return emitSafely(app, 'reject', error, stream)
  if (stream && isRemoteFault(error, stream)) return emitSafely(app, 'remoteError', error, stream)
  if (app.listenerCount('error') > 0) return emitSafely(app, 'error', error, ctx)
  print(error)
}

/** Prints a thrown value, even if it cannot be inspected. */
function print(thrown: unknown): void {
  try {
    console.error(thrown)
  } catch {
    console.error(describe(thrown))
  }
}

/** Whether the other side caused an error that ends a connection. */
export function isRemoteFault(error: Error, ctx: StreamContext): boolean {
  if (isCioError(error)) return error.fault === 'remote'
  const { cause, destroyedWith } = lifeOf(ctx)
  // Errors of files and databases in a handler have a `syscall` as well.
  return error === cause && error !== destroyedWith && isNetworkError(error)
}

/** The reason that belongs to an error. */
export function reasonOfError(error: Error, ctx: StreamContext): EndReason {
  if (isCioError(error)) return reasonOf(error)
  return isRemoteFault(error, ctx) ? 'remote_reset' : 'local_fault'
}

/** The error of a run: the original cause, if the thrown error is its consequence. */
export function rootCause(ctx: StreamContext, thrown: Error | undefined): Error | undefined {
  const error = causeOf(ctx, thrown)
  return error && isOfIterator(error, ctx) ? iterated(ctx, error) : error
}

/** Whether Node's own async iterator destroyed the stream, which leaves no other reason. */
function isOfIterator(error: Error, ctx: StreamContext): boolean {
  const { code, cause } = error as NodeJS.ErrnoException
  if (code !== 'ABORT_ERR' || cause !== undefined) return false
  const { destroyedWith } = lifeOf(ctx)
  return error === ctx.broken && error !== destroyedWith
}

function iterated({ step }: StreamContext, cause: Error): CioError {
  const message = `the stream was destroyed when a loop over it ended, as Node's \`for await (… of ctx.stream)\` does, in \`${step}\` or outside it; write \`for await (const chunk of ctx)\`, which leaves the stream open for a reply`
  return new CioError('ERR_CIO_ITERATED', message, { cause })
}

function causeOf(ctx: StreamContext, thrown: Error | undefined): Error | undefined {
  const { broken } = ctx
  const cause = broken && isOfCarrier(broken) ? undefined : broken
  if (!thrown || thrown === broken) return cause
  const gone = broken !== undefined || ctx.isClosed || isOfOwnEnd(thrown, ctx)
  return gone && isConsequence(thrown) ? cause : thrown
}
