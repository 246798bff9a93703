/** Sends away who has been let in: what lists, reloads and expiry share. */

import { tell } from './app-events.ts'
import { closeTimeout } from './context.ts'
import { CioError } from '../errors.ts'
import { checkDuration, optionError } from '../options.ts'
import type { StreamContext } from './stream-context.ts'

/** What becomes of a connection whose peer would not be let in any more. */
export type Dismissal = 'drain' | 'destroy' | 'keep'

/** How to send somebody away. */
export interface DismissOptions {
  /**
   * What becomes of the connection: asked to finish and cut at the deadline, cut at once, or left
   * as it is.
   *
   * @default 'drain'
   */
  readonly onChange?: Dismissal
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
 * Checks the options of {@link dismiss}.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkDismissal(owner: string, options: DismissOptions): void {
  const { onChange = 'drain', drainTimeout = closeTimeout } = options
  if (!ways.includes(onChange)) {
    throw optionError(owner, 'onChange', "'drain', 'destroy' or 'keep'", onChange)
  }
  checkDuration(owner, 'drainTimeout', drainTimeout)
}

/**
 * Sends away who is on a connection, and tells why by the event that the error calls for: at once
 * where it is asked to finish, with its end where it is cut. Who has been asked already is told of
 * once for each code, and has the shortest of the times.
 */
export function dismiss(ctx: StreamContext, error: CioError, options: DismissOptions = {}): void {
  const { onChange = 'drain', drainTimeout = closeTimeout } = options
  if (ctx.isOver || onChange === 'keep') return
  if (onChange === 'destroy') return ctx.destroy(error)

  const before = dismissals.get(ctx)
  const until = Math.min(performance.now() + drainTimeout, before?.until ?? Infinity)
  dismissals.set(ctx, { code: error.code, until })
  if (before?.code !== error.code) tell(ctx.app, error, ctx)
  ctx.drain(new CioError('ERR_CIO_CLOSING', error.message, { cause: error }))
  if (until === (before?.until ?? Infinity)) return
  // Why has been told.
  const deadline = setTimeout(() => ctx.destroy(), drainTimeout)
  void ctx.closed.then(() => clearTimeout(deadline))
}

const dismissals = new WeakMap<StreamContext, { readonly code: string; readonly until: number }>()
