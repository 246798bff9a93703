/** Sends away who has been let in: what lists, reloads and expiry share. */

import { reportError } from './app-events.ts'
import { closeTimeout, lifeOf } from './context.ts'
import { CioError } from '../errors.ts'
import { checkDuration, optionError } from '../options.ts'
import type { StreamContext } from './stream-context.ts'
import type { StreamLife } from './stream-life.ts'

/** What becomes of a connection whose peer would not be let in any more. */
export type RevokedAction = 'drain' | 'destroy' | 'keep'

/** How to send somebody away. */
export interface EvictOptions {
  /**
   * What becomes of the connection: asked to finish and cut at the deadline, cut at once, or left
   * as it is.
   *
   * @default 'drain'
   */
  readonly revoked?: RevokedAction
  /**
   * Milliseconds to finish in, with `'drain'`; what is open then is destroyed. `Infinity` waits for
   * ever.
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

/**
 * Sends away who is on a connection, and tells why by the event that the error calls for: at once
 * where it is asked to finish, with its end where it is cut. Who has been asked already is told of
 * once for each code, and has the shortest of the times.
 */
export function evict(ctx: StreamContext, error: CioError, options: EvictOptions = {}): void {
  const { revoked = 'drain', drainTimeout = closeTimeout } = options
  if (ctx.isClosed || revoked === 'keep') return
  if (revoked === 'destroy') return ctx.destroy(error)

  const life = lifeOf<StreamLife>(ctx)
  if (life.evictedBy?.code !== error.code) reportError(ctx.app, error, ctx)
  life.evictedBy = error
  // Why has been told: at the deadline it is cut without an error.
  const reason = new CioError('ERR_CIO_CLOSING', error.message, { cause: error })
  void ctx.close({ timeout: drainTimeout, reason })
}
