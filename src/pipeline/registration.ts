/** An entry of a pipeline as it was registered: its names, and the hints that hold for it. */

import { type Hints, type Middleware, checkHints } from './middleware.ts'
import { optionError } from '../options.ts'

/** What `useConnection` and its like take: a middleware, or the name of a module that exports one. */
export type Registrable<Ctx extends object> = Middleware<Ctx> | string

/** A middleware with all that was said about it. */
export interface Registration<Ctx extends object> {
  /** Absent while it is the name of a module that has not been loaded. */
  middleware: Middleware<Ctx> | undefined
  readonly module: string | undefined
  /** What the registration said; it goes before what the publisher said. */
  readonly hints: Hints
  /** What holds where neither said anything: the hints of the step that it replaces. */
  defaults: Hints
  readonly step: boolean
  readonly at: string
  enabled: boolean
}

/** The hints that hold for an entry, as lists. */
export interface SettledHints {
  /** What others' hints call it; `anonymous` for a function without a name. */
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
 * Checks what `useConnection` and its like were given.
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
  if (typeof given !== 'string' && typeof given !== 'function') {
    throw optionError(`${kind} pipeline`, 'middleware', 'a function or the name of a module', given)
  }
  checkHints(`hints of the ${kind} pipeline`, hints)
  const [middleware, module] = typeof given === 'string' ? [undefined, given] : [given, undefined]
  return { middleware, module, hints, defaults: {}, at, step, enabled: true }
}

/** What hints and selectors call it. */
export function nameOf(entry: Registration<never>): string {
  return hint(entry, 'name') ?? (functionName(entry) || entry.module) ?? anonymous
}

/** Whether its name was said, by whoever registered or published it, and is not just its function's. */
export function isNamed(entry: Registration<never>): boolean {
  return hint(entry, 'name') !== undefined
}

function functionName({ middleware }: Registration<never>): string | undefined {
  // JavaScript's own name for a default export that has none.
  return middleware?.name === 'default' ? undefined : middleware?.name
}

/** A module goes by its own name as well, before and after it has told the one of its function. */
export function isCalled(entry: Registration<never>, name: string): boolean {
  return nameOf(entry) === name || entry.module === name
}

/** Whether two have the same name; those without one never have. */
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

/** The hints that hold: the registration's before the publisher's, before those of the step. */
export function hintsOf(entry: Registration<never>): SettledHints {
  const needs = hint(entry, 'needs')
  const provides = hint(entry, 'provides')
  return {
    name: nameOf(entry),
    before: list(hint(entry, 'before')),
    after: list(hint(entry, 'after')),
    requires: list(hint(entry, 'requires')),
    repeats: hint(entry, 'repeats') ?? false,
    ...(needs && { needs }),
    ...(provides && { provides }),
  }
}

function list(names: string | readonly string[] | undefined): readonly string[] {
  return typeof names === 'string' ? [names] : (names ?? [])
}
