/** A pipeline: a list of named entries to add, remove, replace, disable and enable. */

import { compose, type Passed, type Run } from './compose.ts'
import { CioError, asError } from '../errors.ts'
import { checkRequires, warnOfHints } from './hint-checks.ts'
import { importMiddleware } from './import-middleware.ts'
import type { Hints, Middleware } from './middleware.ts'
import { order } from './order.ts'
import { type FoldedProbe, type PipelineProbe, Probes } from './probe.ts'
import {
  type Registrable,
  type Registration,
  type SettledHints,
  checkPipeline,
  hintsOf,
  isCalled,
  isNamed,
  nameOf,
  registration,
  sameName,
} from './registration.ts'

/** An entry in the final order. */
export interface PipelineEntry extends SettledHints {
  /** Whether it is a step of Cio. */
  readonly step: boolean
  /** Whether it runs: false after `disable()`. */
  readonly enabled: boolean
  /** The file and line that registered it. */
  readonly at: string
  /** The reason for its place. */
  readonly why: string
}

/** Chooses entries: by name, or by a predicate. */
export type Selector = string | ((entry: Pick<PipelineEntry, 'name' | 'step' | 'at'>) => boolean)

type Report<Ctx> = (ctx: Ctx, error: Error) => void

/**
 * One of an app's three pipelines.
 *
 * A change applies to runs that begin after it; running ones keep their order.
 */
export class Pipeline<Ctx extends object & { step: string }> {
  readonly kind: 'server' | 'connection' | 'client'
  readonly #farEnd: Run<Ctx>
  readonly #report: Report<Ctx>
  #registrations: Registration<Ctx>[] = []
  #entries: readonly PipelineEntry[] | undefined
  #run: Run<Ctx> | undefined
  /** The same, with measured steps. */
  #timedRun: Run<Ctx> | undefined
  #generation = 0
  readonly #probes: Probes<Ctx>
  readonly #warned = new Set<string>()

  /** @param report Gets what comes too late to reject a run. */
  constructor(
    kind: 'server' | 'connection' | 'client',
    farEnd: Run<Ctx>,
    report: Report<Ctx> = (_, error) => console.error(error),
  ) {
    this.kind = kind
    this.#farEnd = farEnd
    this.#report = report
    this.#probes = new Probes((ctx, thrown) => report(ctx, asError(thrown)))
  }

  /** The names in the final order, without disabled entries. */
  get names(): string[] {
    return [...this].filter(({ enabled }) => enabled).map(({ name }) => name)
  }

  /**
   * The entries in the final order, including disabled ones.
   *
   * @throws `ERR_CIO_ORDER_CYCLE`
   */
  [Symbol.iterator](): Iterator<PipelineEntry> {
    return this.#order()[Symbol.iterator]()
  }

  /**
   * How many times the pipeline has changed. A run keeps the order with which it began:
   * `ctx.generation` says which.
   */
  get generation(): number {
    return this.#generation
  }

  /** Whether an entry of that name is there and enabled. */
  has(name: string): boolean {
    return this.#registrations.some((entry) => entry.enabled && isCalled(entry, name))
  }

  /** The enabled entries that need something, such as an identity. */
  needing(what: 'peer'): PipelineEntry[] {
    return [...this].filter(({ enabled, needs }) => enabled && needs === what)
  }

  /** The enabled entries that may provide it. */
  providing(what: 'peer'): PipelineEntry[] {
    return [...this].filter(({ enabled, provides }) => enabled && provides === what)
  }

  /**
   * Registers a middleware, as `useConnection` and the other `use…` methods do.
   *
   * If the `name` in its hints is that of a step of Cio, it replaces that step. It takes the step's
   * place and hints, unless it has its own.
   *
   * @throws `ERR_CIO_DUPLICATE_NAME`: the name is taken, or its function has a step's name by chance
   * @throws `ERR_CIO_OPTION`: it is neither a function nor a module's name, alone or with options
   */
  add(
    middleware: Registrable<Ctx>,
    hints: Hints = {},
    { at = 'unknown', step = false }: { readonly at?: string; readonly step?: boolean } = {},
  ): void {
    const added = registration(this.kind, middleware, hints, at, step)
    if (!this.#replaceStep(added)) {
      this.#checkName(added)
      this.#registrations.push(added)
    }
    this.#changed()
  }

  /** Removes entries; returns how many. */
  remove(which: Selector): number {
    const kept = this.#registrations.filter((entry) => !selects(which, entry))
    const removed = this.#registrations.length - kept.length
    this.#registrations = kept
    if (removed > 0) this.#changed()
    return removed
  }

  /**
   * Replaces a middleware by another one under the same name and in the same place. It keeps the
   * hints of the old registration, unless you pass others.
   *
   * @throws `ERR_CIO_UNKNOWN_NAME`: nothing has that name
   */
  replace(name: string, middleware: Registrable<Ctx>, hints?: Hints): void {
    const place = this.#registrations.findIndex((entry) => isCalled(entry, name))
    const old = this.#registrations[place]
    if (!old) throw this.#unknown(name)
    const kept = { ...(hints ?? old.hints), name: nameOf(old) }
    const entry = registration(this.kind, middleware, kept, old.at, false)
    this.#registrations[place] = { ...entry, enabled: old.enabled }
    this.#changed()
  }

  /** Disables entries for future runs, and keeps their places; returns how many. */
  disable(which: Selector): number {
    return this.#switch(which, false)
  }

  /** Enables entries for future runs; returns how many. */
  enable(which: Selector): number {
    return this.#switch(which, true)
  }

  /**
   * The composed function, made once, and again only after a change. It is a promise only while
   * modules must be imported first.
   *
   * @throws `ERR_CIO_ORDER_CYCLE`
   * @throws `ERR_CIO_REQUIRES`
   * @throws `ERR_CIO_LOAD`
   * @throws `ERR_CIO_DUPLICATE_NAME`: a module has brought a name that is taken
   */
  compose(): Run<Ctx> | Promise<Run<Ctx>> {
    const passed = this.probe?.step
    const run = passed ? this.#timedRun : this.#run
    if (run) return run
    if (this.#registrations.some((entry) => entry.enabled && !entry.middleware)) {
      return this.#load().then(() => this.compose())
    }
    if (passed) return (this.#timedRun = this.#compile(passed))
    return (this.#run = this.#compile())
  }

  /**
   * The probes of this pipeline as one; undefined without any.
   *
   * @internal
   */
  get probe(): FoldedProbe<Ctx> | undefined {
    return this.#probes.folded
  }

  /**
   * Adds a probe for runs that begin from now on. Returns a function that removes it.
   *
   * @internal
   */
  observe(probe: PipelineProbe<Ctx>): () => void {
    return this.#probes.add(probe, () => (this.#timedRun = undefined))
  }

  #compile(passed?: Passed<Ctx>): Run<Ctx> {
    for (const entry of this.#registrations) this.#checkName(entry)
    checkRequires(this.kind, this.#registrations)
    warnOfHints(this.kind, this.#registrations, this.#warned)
    const places = order(this.#registrations.map(hintsOf))
    const steps = places
      .map(({ index }) => this.#registrations[index]!)
      .filter(({ enabled }) => enabled)
      .map((entry) => {
        return { ...hintsOf(entry), at: entry.at, middleware: entry.middleware! }
      })
    return compose(steps, this.#farEnd, this.#report, passed)
  }

  #order(): readonly PipelineEntry[] {
    return (this.#entries ??= order(this.#registrations.map(hintsOf)).map(({ index, why }) => {
      const entry = this.#registrations[index]!
      const { step, enabled, at } = entry
      return { ...hintsOf(entry), step, enabled, at, why: step ? `step of Cio, ${why}` : why }
    }))
  }

  async #load(): Promise<void> {
    const waiting = this.#registrations.filter((entry) => entry.enabled && !entry.middleware)
    const loaded = await Promise.all(
      waiting.map(({ module, options }) => importMiddleware(module!, options)),
    )
    for (const [index, entry] of waiting.entries()) {
      const middleware = loaded[index] as Middleware<Ctx>
      // Before it is kept: the next run does not load it again.
      checkPipeline(this.kind, { ...entry, middleware })
      entry.middleware = middleware
      if (this.#registrations.includes(entry)) this.#replaceStep(entry)
    }
    this.#stale()
  }

  /** Replaces the step of the same name by an entry; false if there is none. */
  #replaceStep(entry: Registration<Ctx>): boolean {
    const others = this.#registrations.filter((other) => other !== entry)
    const step = others.find((other) => other.step && sameName(other, entry))
    if (!step) return false
    // A function that is called `secure` by chance would otherwise replace TLS.
    if (!isNamed(entry)) {
      throw new CioError(
        'ERR_CIO_DUPLICATE_NAME',
        `the function at ${entry.at} is called \`${nameOf(step)}\`, as a step of Cio is; say \`{ name: '${nameOf(step)}' }\` in its hints if it should replace the step, or give it another name`,
      )
    }
    entry.defaults = step.hints
    this.#registrations = others.map((other) => (other === step ? entry : other))
    return true
  }

  #switch(which: Selector, enabled: boolean): number {
    const chosen = this.#registrations.filter((entry) => selects(which, entry))
    for (const entry of chosen) entry.enabled = enabled
    if (chosen.length > 0) this.#changed()
    return chosen.length
  }

  #changed(): void {
    this.#generation += 1
    this.#stale()
  }

  #stale(): void {
    this.#run = undefined
    this.#timedRun = undefined
    this.#entries = undefined
  }

  #checkName(added: Registration<Ctx>): void {
    const taken = this.#registrations.find((entry) => entry !== added && sameName(entry, added))
    if (!taken) return
    throw new CioError(
      'ERR_CIO_DUPLICATE_NAME',
      `the ${this.kind} pipeline has a \`${nameOf(added)}\` already, registered at ${taken.at}; give this one (at ${added.at}) a \`name\` of its own in its hints`,
    )
  }

  #unknown(name: string): CioError {
    return new CioError(
      'ERR_CIO_UNKNOWN_NAME',
      `the ${this.kind} pipeline has no \`${name}\` to replace; it has ${[...this].map((entry) => `\`${entry.name}\``).join(', ')}`,
    )
  }
}

function selects(which: Selector, entry: Registration<never>): boolean {
  if (typeof which === 'string') return isCalled(entry, which)
  return which({ name: nameOf(entry), step: entry.step, at: entry.at })
}
