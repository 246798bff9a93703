/** The types of middleware and of their order hints. */

import { checkOptionNames, optionError } from '../options.ts'

/**
 * Runs the inner middleware, and settles when they are done with the connection, server or client.
 */
export type Next = () => Promise<void>

/**
 * A middleware: `In` is what it needs on `ctx`, `Adds` what it puts there.
 *
 * It may return without calling `next()` (stop), throw (fail), await before it (pause), and work
 * after it.
 */
export interface Middleware<In extends object = object, Adds extends object = {}> {
  // Inferred from `adds` alone; otherwise TypeScript would infer what a function needs as what it
  // adds.
  (ctx: In & NoInfer<Adds>, next: Next): unknown
  /** Never set: carries the type of what it adds, for inference only. */
  readonly adds?: Adds
  /** Its publisher's hints; a registration may override them. */
  readonly hints?: Hints
}

/** The order hints of a middleware: its place relative to others, by name. */
export interface Hints {
  /**
   * The name in other hints and in `inspect()`; unique in its pipeline.
   *
   * @default the function's name
   */
  readonly name?: string
  /**
   * The pipelines that it works in. Registering it in another one throws.
   *
   * @default all
   */
  readonly pipelines?: readonly ('server' | 'connection' | 'client')[]
  /** Runs before these, if present; `'*'` means all that do not have the same hint. */
  readonly before?: string | readonly string[]
  /** Runs after these, if present; `'*'` means all that do not have the same hint. */
  readonly after?: string | readonly string[]
  /** These must be present and enabled; otherwise `listen()` and `connect()` fail. */
  readonly requires?: string | readonly string[]
  /**
   * Its `next()` may be called again after it has settled, and runs the inner middleware again. For
   * retry loops.
   *
   * @default false
   */
  readonly repeats?: boolean
  /**
   * Its requirements: `'peer'` is an identity in `ctx.peer`. If nothing in the run can provide one,
   * `listen()` and `connect()` fail and say what to add.
   *
   * @default nothing
   */
  readonly needs?: 'peer'
  /**
   * `'peer'`: it can give the inner middleware an identity in `ctx.peer`, because it upgrades the
   * stream to TLS, or hands the connection to another app.
   *
   * @default nothing
   */
  readonly provides?: 'peer'
}

/** The names of all hints. */
const hintNames: readonly string[] = [
  'name',
  'pipelines',
  'before',
  'after',
  'requires',
  'repeats',
  'needs',
  'provides',
  'refusalOf',
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
  const { refusalOf, pipelines } = hints
  if (pipelines !== undefined && !areKinds(pipelines)) {
    throw optionError(owner, 'pipelines', 'a list of the names of pipelines', pipelines)
  }
  if (refusalOf !== undefined && typeof refusalOf !== 'function') {
    throw optionError(owner, 'refusalOf', 'a function', refusalOf)
  }
}

function areKinds(given: unknown): boolean {
  const kinds: readonly unknown[] = ['server', 'connection', 'client']
  return Array.isArray(given) && given.length > 0 && given.every((kind) => kinds.includes(kind))
}

/**
 * Adds its publisher's hints to a middleware.
 *
 * @throws `ERR_CIO_OPTION`: a hint is unknown, or has the wrong type
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
