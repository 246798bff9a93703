/** What `listen()` and `connect()` have in common: a run that somebody waits for. */

import { reportError } from './app-events.ts'
import { type Context, lifeOf } from './context.ts'
import { CioError, asError, isCioError } from '../errors.ts'
import { allowListeners } from '../streams/lazy-abort.ts'
import type { Pipeline } from '../pipeline/pipeline.ts'

/**
 * Runs a pipeline; resolves when it is at the end of the pipeline, rejects if it failed before.
 *
 * @param outcome The error of a run whose middleware have returned, from what one of them threw.
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
    ctx.signal.throwIfAborted()
    await composed(ctx)
  }

  return new Promise((resolve, reject) => {
    life.whenReady = resolve
    // Does not wait for the middleware, which may take their time to return.
    ctx.signal.addEventListener('abort', () => reject(asError(ctx.signal.reason)))
    const finish = (thrown: Error | undefined): void => {
      signal?.removeEventListener('abort', abort)
      life.hasReturned = true
      const error = outcome(thrown)
      if (!error) resolve()
      if (life.isSettled) return
      life.settle(error)
      // Who waits for it has got the error; what turned the other side away is told all the same.
      const known = !life.wasReady && !isCioError(error, 'ERR_CIO_REJECTED')
      if (error && !known) reportError(ctx.app, error, ctx)
    }
    start().then(
      () => finish(undefined),
      (thrown) => finish(asError(thrown)),
    )
  })
}

/** The error of a run that a middleware ended before the end of its pipeline. */
export function stoppedError(ctx: Context, what: string): CioError {
  return new CioError(
    'ERR_CIO_STOPPED',
    `\`${ctx.step}\` returned without calling next(), so nothing ${what}; call next(), or throw to say why not`,
  )
}
