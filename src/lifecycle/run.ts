/** The common part of `listen()` and `connect()`: a run whose caller awaits its start. */

import { reportError } from './app-events.ts'
import { type Context, lifeOf } from './context.ts'
import { CioError, asError, isCioError } from '../errors.ts'
import { allowListeners } from '../streams/lazy-abort.ts'
import type { Pipeline } from '../pipeline/pipeline.ts'

/**
 * Runs a pipeline; resolves when the run reaches its end, rejects if it fails before.
 *
 * @param outcome Makes the error of a run from the value that one of its middleware threw.
 */
export function run<Ctx extends Context & { options: { readonly signal?: AbortSignal } }>(
  ctx: Ctx,
  pipeline: Pipeline<Ctx>,
  outcome: (thrown: Error | undefined) => Error | undefined,
): Promise<void> {
  const { signal } = ctx.options
  const life = lifeOf(ctx)
  const abort = (): void => {
    if (life.wasReady) void ctx.close()
    else ctx.destroy(asError(signal?.reason))
  }
  const start = async (): Promise<void> => {
    if (signal) {
      allowListeners(signal)
      signal.addEventListener('abort', abort)
    }
    if (signal?.aborted) abort()
    const composed = await pipeline.compose()
    ctx.generation = pipeline.generation
    ctx.signal.throwIfAborted()
    await composed(ctx)
  }

  return new Promise((resolve, reject) => {
    life.whenReady = resolve
    // Does not wait for the middleware to return.
    ctx.signal.addEventListener('abort', () => reject(asError(ctx.signal.reason)))
    const finish = (thrown: Error | undefined): void => {
      signal?.removeEventListener('abort', abort)
      life.hasReturned = true
      const error = outcome(thrown)
      if (!error) resolve()
      if (life.isSettled) return
      life.settle(error)
      // The caller of connect() gets the error; a rejection is also reported by its event.
      const known = !life.wasReady && !isCioError(error, 'ERR_CIO_REJECTED')
      if (error && !known) reportError(ctx.app, error, ctx)
    }
    start().then(
      () => finish(undefined),
      (thrown) => finish(asError(thrown)),
    )
  })
}

/** The error of a run whose middleware returned early, without `next()`. */
export function stoppedError(ctx: Context, what: string): CioError {
  return new CioError(
    'ERR_CIO_STOPPED',
    `\`${ctx.step}\` returned without calling next(), so nothing ${what}; call next(), or throw to say why not`,
  )
}
