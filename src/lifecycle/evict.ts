/**
 * Closes connections whose peers are not admitted any more: shared by lists, reloads and expiry.
 */

import { reportError } from './app-events.ts'
import { closeTimeout, lifeOf } from './context.ts'
import { noteSite as noteSiteOf } from '../connection-end.ts'
import { CioError } from '../errors.ts'
import { checkDuration, optionError } from '../options.ts'
import type { PipelineEntry } from '../pipeline/pipeline.ts'
import type { StreamContext } from './stream-context.ts'

/** What happens to a connection whose peer is not admitted any more. */
export type RevokedAction = 'drain' | 'destroy' | 'keep'

/** Options of `evict()`. */
export interface EvictOptions {
  /**
   * What happens to the connection: `'drain'` asks it to finish and destroys it at the deadline,
   * `'destroy'` destroys it at once, `'keep'` leaves it open.
   *
   * @default 'drain'
   */
  readonly revoked?: RevokedAction
  /**
   * Milliseconds to finish, with `'drain'`; then Cio destroys what is still open. `Infinity` waits
   * for ever.
   *
   * @default 15_000
   */
  readonly drainTimeout?: number
}

const ways: readonly unknown[] = ['drain', 'destroy', 'keep']

/**
 * Checks the options of {@link evict}.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkEvictOptions(owner: string, options: EvictOptions): void {
  const { revoked = 'drain', drainTimeout = closeTimeout } = options
  if (!ways.includes(revoked)) {
    throw optionError(owner, 'revoked', "'drain', 'destroy' or 'keep'", revoked)
  }
  checkDuration(owner, 'drainTimeout', drainTimeout)
}

/** Notes where a middleware was registered, by its name, for an error that it does not throw. */
export function noteSite(ctx: StreamContext, error: CioError, step?: string): void {
  const name = step ?? error.refusal?.step
  const entries = [...(ctx.app.pipelines[ctx.kind] as Iterable<PipelineEntry>)]
  noteSiteOf(error, entries.find((entry) => entry.name === name)?.at)
}

/**
 * Closes a connection, and reports the error by the event of its fault. With `'drain'` it reports
 * at once, with `'destroy'` at the end. A connection that drains already is reported once for each
 * code, and gets the shortest of the timeouts.
 */
export function evict(ctx: StreamContext, error: CioError, options: EvictOptions = {}): void {
  const { revoked = 'drain', drainTimeout = closeTimeout } = options
  if (ctx.isClosed || revoked === 'keep') return
  noteSite(ctx, error)
  if (revoked === 'destroy') return ctx.destroy(error)

  const life = lifeOf(ctx)
  if (life.evictedBy?.code !== error.code) reportError(ctx.app, error, ctx)
  life.evictedBy = error
  // The error was reported before: at the deadline the connection is destroyed without one.
  const reason = new CioError('ERR_CIO_CLOSING', error.message, { cause: error })
  void ctx.close({ timeout: drainTimeout, reason })
}
