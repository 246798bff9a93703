/**
 * Composes an ordered pipeline into one function: koa-compose, plus a watch over each middleware's
 * `next()`.
 *
 * The promise that `next()` returns is Cio's own: it always has a handler, and it settles when the
 * middleware inside has returned and everything inside that one is done, awaited or not.
 */

import koaCompose from 'koa-compose'
import { noteSite } from '../connection-end.ts'
import type { CioError } from '../errors.ts'
import type { Next } from './middleware.ts'
import { ownPromise } from './own-promise.ts'
import { type Named, calledLate, calledTwice, notAwaited, notCalled } from './next-errors.ts'

/** A middleware of the composition. */
export interface Step<Ctx> {
  readonly name: string
  /** The file and line of its registration, for errors. */
  readonly at?: string
  readonly repeats: boolean
  readonly middleware: (ctx: Ctx, next: Next) => unknown
}

/** One run: settles when every middleware has. */
export type Run<Ctx> = (ctx: Ctx) => Promise<void>

/** Reports a fault of a middleware that nothing else reports. */
export type Report<Ctx> = (ctx: Ctx, error: CioError) => void

/** Gets the milliseconds that a run took to pass a step. */
export type Passed<Ctx> = (ctx: Ctx, name: string, duration: number) => void

/**
 * Composes steps around the end of the pipeline.
 *
 * Each run sets `ctx.step` to the name of the innermost middleware that it has entered. A second
 * `next()` is refused, unless the middleware declares `repeats`.
 *
 * @param report Gets `ERR_CIO_NOT_AWAITED`, once for each middleware of a run.
 * @param passed Gets the time of each step; without it nothing is measured.
 */
export function compose<Ctx extends { step: string }>(
  steps: readonly Step<Ctx>[],
  farEnd: Run<Ctx>,
  report: Report<Ctx>,
  passed?: Passed<Ctx>,
): Run<Ctx> {
  const repeating = steps.findIndex(({ repeats }) => repeats)
  const enterAll = (some: readonly Step<Ctx>[]): Layer<Ctx>[] =>
    some.map((step) => enter(step, report))
  const measured = (layers: Layer<Ctx>[]): Layer<Ctx>[] =>
    passed ? layers.map((layer, index) => timed(layer, steps[index - 1]?.name, passed)) : layers
  if (repeating === -1) return stack(measured([...enterAll(steps), end(farEnd)]))

  const inside = compose(steps.slice(repeating + 1), farEnd, report, passed)
  const outside = enterAll(steps.slice(0, repeating))
  return stack(measured([...outside, enter(steps[repeating]!, report, inside)]))
}

/** Monotonic. `performance.now()` takes twice as long, and each step of each connection asks. */
function milliseconds(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}

/** When a context entered its innermost step; only where that is measured. */
const enteredAt = Symbol('enteredAt')

/** A layer that measures the step before it, which has called `next()` by now. */
function timed<Ctx extends { step: string; [enteredAt]?: number }>(
  layer: Layer<Ctx>,
  before: string | undefined,
  passed: Passed<Ctx>,
): Layer<Ctx> {
  return (ctx, dispatch) => {
    const now = milliseconds()
    if (before !== undefined) passed(ctx, before, now - ctx[enteredAt]!)
    ctx[enteredAt] = now
    return layer(ctx, dispatch)
  }
}

type Layer<Ctx> = (ctx: Ctx, next: Next) => Promise<void> | undefined

// The declarations of koa-compose would bring Koa's types into ours.
const stack = koaCompose as <Ctx>(layers: readonly Layer<Ctx>[]) => Run<Ctx>

/** A middleware with what all of its visits share. */
interface Place<Ctx> {
  readonly step: Step<Ctx>
  readonly report: Report<Ctx>
  /** What is inside one that repeats. */
  readonly inside: Run<Ctx> | undefined
}

/** The state of one middleware in one run. */
interface State {
  /** The state of the one whose `next()` led here. */
  readonly outer: State | undefined
  /** The promise that `next()` returned last. */
  inner: Promise<void> | undefined
  /** Whether `inner` is pending. */
  isInside: boolean
  /** Whether it ends together with `inner`, because it returned the promise of its `next()`. */
  passesOn: boolean
  /** How the middleware has settled. */
  settled: 'fulfilled' | 'rejected' | undefined
}

/** Passed from `next()` to the layer that it enters, within one turn. */
let entering: State | undefined

/**
 * One middleware in one run. Each that waits holds one; a bound method takes less memory than a closure
 * with its scope.
 */
class Visit<Ctx extends { step: string }> implements State {
  readonly ctx: Ctx
  readonly place: Place<Ctx>
  readonly outer: State | undefined = entering
  /** koa-compose's `next()`; released once it has run. */
  dispatch: Next | undefined
  inner: Promise<void> | undefined = undefined
  isInside = false
  passesOn = false
  settled: State['settled'] = undefined

  constructor(ctx: Ctx, place: Place<Ctx>, dispatch: Next) {
    this.ctx = ctx
    this.place = place
    this.dispatch = dispatch
    entering = undefined
  }

  run(): Promise<void> | undefined {
    const { step } = this.place
    let returned: unknown
    try {
      returned = step.middleware(this.ctx, this.next.bind(this))
    } catch (thrown) {
      noteSite(thrown, step.at)
      return rejected(thrown, this)
    }
    if (typeof returned !== 'object' || returned === null) return this.fulfilled(returned)
    if (returned !== this.inner) {
      return Promise.resolve(returned).then(this.fulfilled.bind(this), this.rejected.bind(this))
    }
    // The usual `return next()`.
    this.settled = 'fulfilled'
    if (this.isInside) this.passesOn = true
    else leave(this.outer)
    return this.inner
  }

  next(): Promise<void> {
    const { ctx } = this
    const { step, report, inside } = this.place
    const error = refusal(step, this, inside !== undefined)
    if (error) {
      if (error.code === 'ERR_CIO_NOT_AWAITED' && this.settled === 'fulfilled') {
        reportOnce(ctx, step, error, report)
      }
      return ownPromise(rejected(error))
    }
    this.isInside = true
    if (inside) return again(this, inside(ctx))
    const dispatch = this.dispatch!
    // A second call is refused above, so koa-compose's function can be released early.
    this.dispatch = undefined
    return (this.inner = inward(this, dispatch))
  }

  /** Gives the work that Cio still waits for after a middleware has fulfilled. */
  fulfilled(value: unknown): Promise<void> | undefined {
    this.settled = 'fulfilled'
    if (this.isInside) {
      const { step, report } = this.place
      this.passesOn = true
      reportOnce(this.ctx, step, notAwaited(step), report)
      this.inner?.catch(() => this.outer?.inner?.catch(ignore))
      return this.inner
    }
    if (typeof value === 'function' && !this.inner) {
      return rejected(notCalled(this.place.step), this)
    }
    leave(this.outer)
    return undefined
  }

  rejected(thrown: unknown): never {
    this.settled = 'rejected'
    noteSite(thrown, this.place.step.at)
    // Added early enough, but after the handler of the middleware that awaits it.
    this.outer?.inner?.catch(() => leave(this.outer))
    throw thrown
  }
}

function enter<Ctx extends { step: string }>(
  step: Step<Ctx>,
  report: Report<Ctx>,
  inside?: Run<Ctx>,
): Layer<Ctx> {
  const place = { step, report, inside }
  return (ctx, dispatch) => {
    ctx.step = step.name
    return new Visit(ctx, place, dispatch).run()
  }
}

/** Runs what is inside a visit. */
function inward(visit: State, dispatch: Next): Promise<void> {
  entering = visit
  return ownPromise(dispatch())
}

/** Notes the end of one `next()` before the repeating middleware sees it. */
function again(visit: State, inner: Promise<void>): Promise<void> {
  const left = (): void => leave(visit)
  inner.then(left, left)
  return (visit.inner = ownPromise(inner))
}

/** The layer after the last middleware. */
function end<Ctx>(farEnd: Run<Ctx>): Layer<Ctx> {
  return (ctx) => {
    const outer = entering
    entering = undefined
    const left = (): void => leave(outer)
    try {
      const result = farEnd(ctx)
      result.then(left, left)
      return result
    } catch (thrown) {
      return rejected(thrown)
    }
  }
}

/** Notes that everything inside a visit is done. */
function leave(visit: State | undefined): void {
  for (let left = visit; left; left = left.outer) {
    left.isInside = false
    if (!left.passesOn) return
  }
}

function ignore(): void {}

/**
 * A rejection that has a handler. If a visit is given, it leaves the visit after other handlers
 * have run.
 */
function rejected(thrown: unknown, visit?: State): Promise<never> {
  const result = Promise.reject(thrown)
  if (visit) visit.settled = 'rejected'
  result.catch(visit ? () => leave(visit.outer) : ignore)
  return result
}

/** Why a call of `next()` runs nothing, if it does not. */
function refusal(step: Named, visit: State, repeats: boolean): CioError | undefined {
  if (visit.inner && (visit.isInside || !repeats)) return calledTwice(step, repeats)
  return visit.settled && calledLate(step)
}

const reported = new WeakMap<object, Set<Named>>()

function reportOnce<Ctx extends object>(
  ctx: Ctx,
  step: Step<Ctx>,
  error: CioError,
  report: Report<Ctx>,
): void {
  const steps = reported.get(ctx) ?? new Set()
  reported.set(ctx, steps)
  if (steps.has(step)) return
  steps.add(step)
  report(ctx, error)
}
