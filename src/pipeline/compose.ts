/**
 * Composes an ordered pipeline into one function: koa-compose, plus a watch over each middleware's
 * `next()`.
 *
 * The promise that `next()` returns is Cio's own: it always has a handler, and it settles when the
 * middleware inside has returned and everything inside that one is done, awaited or not.
 */

import koaCompose from 'koa-compose'
import { noteSite } from '../connection-end.ts'
import { CioError } from '../errors.ts'
import type { Next } from './middleware.ts'
import { ownPromise } from './own-promise.ts'
import { type Named, label, notAwaited, notCalled } from './next-errors.ts'

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

/** When a context entered its innermost step; only where that is measured. */
const enteredAt = Symbol('enteredAt')

/** A layer that measures the step before it, which has called `next()` by now. */
function timed<Ctx extends { step: string; [enteredAt]?: number }>(
  layer: Layer<Ctx>,
  before: string | undefined,
  passed: Passed<Ctx>,
): Layer<Ctx> {
  return (ctx, dispatch) => {
    const now = performance.now()
    if (before !== undefined) passed(ctx, before, now - ctx[enteredAt]!)
    ctx[enteredAt] = now
    return layer(ctx, dispatch)
  }
}

type Layer<Ctx> = (ctx: Ctx, next: Next) => Promise<void> | undefined

// The declarations of koa-compose would bring Koa's types into ours.
const stack = koaCompose as <Ctx>(layers: readonly Layer<Ctx>[]) => Run<Ctx>

/** The state of one middleware in one run. */
interface Visit {
  /** The visit whose `next()` led here. */
  readonly outer: Visit | undefined
  /** koa-compose's `next()`; released once it has run. */
  dispatch: Next | undefined
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
let entering: Visit | undefined

function enter<Ctx extends { step: string }>(
  step: Step<Ctx>,
  report: Report<Ctx>,
  inside?: Run<Ctx>,
): Layer<Ctx> {
  const { name, middleware } = step
  const next = (ctx: Ctx, visit: Visit): Promise<void> => {
    const error = refusal(step, visit, inside !== undefined)
    if (error) {
      if (error.code === 'ERR_CIO_NOT_AWAITED' && visit.settled === 'fulfilled') {
        reportOnce(ctx, step, error, report)
      }
      return ownPromise(rejected(error))
    }
    visit.isInside = true
    if (inside) return again(visit, inside(ctx))
    const dispatch = visit.dispatch!
    // A second call is refused above, so koa-compose's function can be released early.
    visit.dispatch = undefined
    entering = visit
    return (visit.inner = ownPromise(dispatch()))
  }

  /** The work that Cio still waits for after a middleware has fulfilled. */
  const fulfilled = (ctx: Ctx, visit: Visit, value: unknown): Promise<void> | undefined => {
    visit.settled = 'fulfilled'
    if (visit.isInside) {
      visit.passesOn = true
      reportOnce(ctx, step, notAwaited(step), report)
      return visit.inner
    }
    if (typeof value === 'function' && !visit.inner) {
      return rejected(notCalled(step), visit)
    }
    leave(visit.outer)
    return undefined
  }

  return (ctx, dispatch) => {
    ctx.step = name
    const visit: Visit = {
      outer: entering,
      dispatch,
      inner: undefined,
      isInside: false,
      passesOn: false,
      settled: undefined,
    }
    entering = undefined
    let returned: unknown
    try {
      returned = middleware(ctx, () => next(ctx, visit))
    } catch (thrown) {
      noteSite(thrown, step.at)
      return rejected(thrown, visit)
    }
    if (typeof returned !== 'object' || returned === null) return fulfilled(ctx, visit, returned)
    if (returned === visit.inner) return passOn(visit)
    const result = Promise.resolve(returned).then(
      (value) => {
        const rest = fulfilled(ctx, visit, value)
        rest?.catch(() => result.catch(ignore))
        return rest
      },
      (thrown: unknown) => {
        visit.settled = 'rejected'
        noteSite(thrown, step.at)
        // Added early enough, but after the handler of the middleware that awaits it.
        result.catch(() => leave(visit.outer))
        throw thrown
      },
    )
    return result
  }
}

/** Notes the end of one `next()` before the repeating middleware sees it. */
function again(visit: Visit, inner: Promise<void>): Promise<void> {
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

/** The middleware returned the promise of its `next()`, the usual `return next()`. */
function passOn(visit: Visit): Promise<void> | undefined {
  if (visit.isInside) visit.passesOn = true
  else leave(visit.outer)
  return visit.inner
}

/** Notes that everything inside a visit is done. */
function leave(visit: Visit | undefined): void {
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
function rejected(thrown: unknown, visit?: Visit): Promise<never> {
  const result = Promise.reject(thrown)
  if (visit) visit.settled = 'rejected'
  result.catch(visit ? () => leave(visit.outer) : ignore)
  return result
}

/** Why a call of `next()` runs nothing, if it does not. */
function refusal(step: Named, visit: Visit, repeats: boolean): CioError | undefined {
  if (visit.inner && (visit.isInside || !repeats)) {
    const when = repeats ? 'while its last next() was still running; await it first' : 'in one run'
    return new CioError(
      'ERR_CIO_NEXT_TWICE',
      `next() called multiple times by ${label(step)}, ${when}`,
    )
  }
  if (!visit.settled) return undefined
  return new CioError(
    'ERR_CIO_NOT_AWAITED',
    `${label(step)} called next() after it had returned, so next() ran nothing; await what calls it`,
  )
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
