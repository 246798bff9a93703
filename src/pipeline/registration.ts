/** A registered entry of a pipeline: its names, and its effective hints. */

import { type Hints, type Middleware, checkHints } from './middleware.ts'
import { CioError } from '../errors.ts'
import { optionError } from '../options.ts'

/**
 * The name of a module whose default export is a middleware or a factory of one. With options, the
 * export is a factory. It checks the options when Cio loads the module.
 */
export type ModuleName = string | readonly [name: string, options: object]

/** The argument of the `use…` methods. */
export type Registrable<Ctx extends object> = Middleware<Ctx> | ModuleName

/** A middleware with its hints. */
export interface Registration<Ctx extends object> {
  /** Undefined until the module is imported. */
  middleware: Middleware<Ctx> | undefined
  readonly module: string | undefined
  /** The options for the factory of the module. */
  readonly options: object | undefined
  /** The hints of the registration; they take precedence over the publisher's. */
  readonly hints: Hints
  /** The fallback: the hints of the step that it replaces. */
  defaults: Hints
  readonly step: boolean
  readonly at: string
  enabled: boolean
}

/** The effective hints of an entry, as lists. */
export interface SettledHints {
  /** Its name; `anonymous` for a function without one. */
  readonly name: string
  readonly before: readonly string[]
  readonly after: readonly string[]
  readonly requires: readonly string[]
  readonly repeats: boolean
  readonly needs?: 'peer'
  readonly provides?: 'peer'
}

const anonymous = 'anonymous'

/**
 * Checks the arguments of the `use…` methods.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function registration<Ctx extends object>(
  kind: string,
  given: Registrable<Ctx>,
  hints: Hints,
  at: string,
  step: boolean,
): Registration<Ctx> {
  const [module, options] = typeof given === 'function' ? [] : moduleOf(given)
  if (isGenerator(given) || (module === undefined && typeof given !== 'function')) {
    const rule =
      'a function that is no generator, the name of a module, or a list of its name and its options'
    throw optionError(`${kind} pipeline`, 'middleware', rule, given)
  }
  checkHints(`hints of the ${kind} pipeline`, hints)
  const middleware = typeof given === 'function' ? given : undefined
  const entry = { middleware, module, options, hints, defaults: {}, at, step, enabled: true }
  checkPipeline(kind, entry)
  return entry
}

/**
 * Checks that a middleware works in its pipeline. Only TypeScript would notice that it does not: `drain`
 * would do nothing on a connection.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkPipeline(kind: string, entry: Registration<never>): void {
  const pipelines: readonly string[] | undefined = hint(entry, 'pipelines')
  if (!pipelines || pipelines.includes(kind)) return
  const methods = pipelines.map((one) => `\`use${one[0]!.toUpperCase()}${one.slice(1)}()\``)
  throw new CioError(
    'ERR_CIO_OPTION',
    `\`${nameOf(entry)}\` does not work in the ${kind} pipeline; register it with ${methods.join(' or ')} (at ${entry.at})`,
  )
}

/** Whether it is a generator function, as in Koa 1: a call of it would run nothing, in silence. */
export function isGenerator(given: unknown): boolean {
  return typeof given === 'function' && Object.prototype.toString.call(given).includes('Generator')
}

/** The name of a module and its options; nothing if it is neither. */
function moduleOf(given: ModuleName): [name?: string, options?: object] {
  if (typeof given === 'string') return [given]
  const [name, options, ...more]: readonly unknown[] = Array.isArray(given) ? given : []
  const isPair = typeof name === 'string' && typeof options === 'object' && options !== null
  return isPair && more.length === 0 ? [name, options] : []
}

/** The names that hints and selectors may use. */
export function nameOf(entry: Registration<never>): string {
  return hint(entry, 'name') ?? (functionName(entry) || entry.module) ?? anonymous
}

/** Whether a hint sets its name, and not only its function. */
export function isNamed(entry: Registration<never>): boolean {
  return hint(entry, 'name') !== undefined
}

function functionName({ middleware }: Registration<never>): string | undefined {
  // JavaScript's own name for a default export that has none.
  return middleware?.name === 'default' ? undefined : middleware?.name
}

/** An entry that was given as a module also has the name of the module. */
export function isCalled(entry: Registration<never>, name: string): boolean {
  return nameOf(entry) === name || entry.module === name
}

/** Whether two have the same name; unnamed ones never do. */
export function sameName(a: Registration<never>, b: Registration<never>): boolean {
  const name = nameOf(a)
  return name !== anonymous && name === nameOf(b)
}

function hint<Hint extends keyof Hints>(
  { hints, middleware, defaults }: Registration<never>,
  which: Hint,
): Hints[Hint] {
  return hints[which] ?? middleware?.hints?.[which] ?? defaults[which]
}

/** The effective hints: the registration's, then the publisher's, then those of the step. */
export function hintsOf(entry: Registration<never>): SettledHints {
  const needs = hint(entry, 'needs')
  const provides = hint(entry, 'provides')
  const refusalOf = hint(entry, 'refusalOf')
  return {
    name: nameOf(entry),
    before: list(hint(entry, 'before')),
    after: list(hint(entry, 'after')),
    requires: list(hint(entry, 'requires')),
    repeats: hint(entry, 'repeats') ?? false,
    ...(needs && { needs }),
    ...(provides && { provides }),
    ...(refusalOf && { refusalOf }),
  }
}

function list(names: string | readonly string[] | undefined): readonly string[] {
  return typeof names === 'string' ? [names] : (names ?? [])
}
