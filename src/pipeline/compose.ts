/** From an order to one function: koa-compose, and `next()` that may run again. */

import koaCompose from 'koa-compose'
import { CioError } from '../errors.ts'
import type { Next } from './middleware.ts'

/** A middleware in its place: what composition needs of an entry. */
export interface Step<Ctx> {
  readonly name: string
  readonly repeats: boolean
  readonly middleware: (ctx: Ctx, next: Next) => unknown
}

/** One run: settles when every middleware has. */
export type Run<Ctx> = (ctx: Ctx) => Promise<void>

/**
 * Composes steps round a far end.
 *
 * Each run notes in `ctx.step` the name of the innermost middleware that it has entered. A
 * second `next()` is refused, unless its middleware declares `repeats`.
 */
export function compose<Ctx extends { step: string }>(
  steps: readonly Step<Ctx>[],
  farEnd: Run<Ctx>,
): Run<Ctx> {
  const repeating = steps.findIndex(({ repeats }) => repeats)
  if (repeating === -1) return stack([...steps.map(enter), farEnd])

  const inside = compose(steps.slice(repeating + 1), farEnd)
  return stack([
    ...steps.slice(0, repeating).map(enter),
    again(steps[repeating]!.name, enter(steps[repeating]!), inside),
  ])
}

type Layer<Ctx> = (ctx: Ctx, next: Next) => unknown

// The declarations of koa-compose would bring Koa's types into ours.
const stack = koaCompose as <Ctx>(layers: readonly Layer<Ctx>[]) => Run<Ctx>

function enter<Ctx extends { step: string }>({ name, middleware }: Step<Ctx>): Layer<Ctx> {
  return (ctx, next) => {
    ctx.step = name
    return middleware(ctx, next)
  }
}

function again<Ctx>(name: string, middleware: Layer<Ctx>, inside: Run<Ctx>): Layer<Ctx> {
  return (ctx) => {
    let running = false
    return middleware(ctx, async () => {
      if (running) {
        throw new CioError(
          'ERR_CIO_NEXT_TWICE',
          `\`${name}\` called next() again while its last next() was still running; await it first`,
        )
      }
      running = true
      try {
        await inside(ctx)
      } finally {
        running = false
      }
    })
  }
}
