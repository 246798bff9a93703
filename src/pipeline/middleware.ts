/** What a middleware is, and what it may say about its place. */

import { checkOptionNames, optionError } from '../options.ts'

/** Runs what is inside, and settles when that is done with the connection, server or client. */
export type Next = () => Promise<void>

/**
 * A middleware: `In` is what it needs on `ctx`, `Adds` what it puts there.
 *
 * It may return without calling `next()` (stop), throw (fail), await before it (pause), and work
 * after it.
 */
export interface Middleware<In extends object = object, Adds extends object = {}> {
  // Inferred from `adds` alone: what a function needs would pass for what it adds.
  (ctx: In & NoInfer<Adds>, next: Next): unknown
  /** Never there: carries the type of what it adds, for inference alone. */
  readonly adds?: Adds
  /** Its publisher's hints; a registration may override them. */
  readonly hints?: Hints
}

/** Where a middleware wants to stand, by the names of others. */
export interface Hints {
  /**
   * The name that others' hints and `inspect()` know it by; one of a kind in its pipeline.
   *
   * @default the function's name
   */
  readonly name?: string
  /** Runs before these, where they are present; `'*'` is all that do not say the same. */
  readonly before?: string | readonly string[]
  /** Runs after these, where they are present; `'*'` is all that do not say the same. */
  readonly after?: string | readonly string[]
  /** These must be present and enabled, or `listen()` and `connect()` fail. */
  readonly requires?: string | readonly string[]
  /**
   * Its `next()` may be called again once it has settled, and runs everything inside it afresh
   * each time. For loops that retry.
   *
   * @default false
   */
  readonly repeats?: boolean
  /**
   * What it cannot do without: `'peer'` is an identity in `ctx.peer`. Where nothing in the run can
   * give one, `listen()` and `connect()` fail and say what to add.
   *
   * @default nothing
   */
  readonly needs?: 'peer'
  /**
   * What it can give to those inside it: `'peer'` is an identity in `ctx.peer`, as a middleware gives
   * that makes TLS of the stream, or hands the connection to another app.
   *
   * @default nothing
   */
  readonly provides?: 'peer'
}

/** The names of all hints. */
const hintNames: readonly string[] = [
  'name',
  'before',
  'after',
  'requires',
  'repeats',
  'needs',
  'provides',
] satisfies readonly (keyof Hints)[]

/**
 * Checks hints.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkHints(owner: string, hints: Hints): void {
  checkOptionNames(owner, hints, hintNames)
  for (const name of ['needs', 'provides'] as const) {
    const value: unknown = hints[name]
    if (value !== undefined && value !== 'peer') throw optionError(owner, name, "'peer'", value)
  }
}

/**
 * Puts its publisher's hints on a middleware.
 *
 * @throws `ERR_CIO_OPTION`: a hint is of no kind that is known
 *
 * @example
 * import { defineMiddleware, type StreamContext } from 'cio'
 *
 * interface UserContext { user: string }
 *
 * export const user = () =>
 *   defineMiddleware<StreamContext, UserContext>(
 *     { name: 'user', after: 'allowList' },
 *     async function user(ctx, next) {
 *       ctx.user = ctx.peer?.name ?? 'nobody'
 *       await next()
 *     },
 *   )
 */
export function defineMiddleware<In extends object = object, Adds extends object = {}>(
  hints: Hints,
  middleware: (ctx: In & Adds, next: Next) => unknown,
): Middleware<In, Adds> {
  checkHints('defineMiddleware', hints)
  return Object.assign(middleware, { hints: Object.freeze({ ...hints }) })
}
