/** Instruments a middleware, to watch whether it keeps its contract. */

import type { Duplex } from 'node:stream'
import { type Middleware, type Next, defineMiddleware } from '../pipeline/middleware.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { countListeners, more } from './resource-leaks.ts'

/** The promises of the contract. */
export type MiddlewarePromise =
  | 'has a name'
  | 'carries the conversation'
  | 'calls next() once'
  | 'waits for next()'
  | 'passes errors on'
  | 'passes ends on'
  | 'puts back what it replaces'
  | 'leaves nothing behind'
  | 'works twice'
  | 'works on several connections at once'
  | 'survives the peer leaving'

/** One pass of a middleware. */
export interface Invocation {
  /** How often it called `next()`. */
  nexts: number
  /** The error of the last `next()`. */
  inner?: unknown
  /** How it ended; undefined before. */
  end?: { readonly thrown: unknown } | 'fulfilled'
}

export type Tell = (promise: MiddlewarePromise, what: string) => void

/** The name of a middleware; empty if it has none. */
export function nameOf(middleware: Middleware<never>): string {
  const { name } = middleware
  return middleware.hints?.name ?? (name === 'default' ? '' : name)
}

/** Wraps a middleware in a watcher, with the same hints. */
export function watch(
  middleware: Middleware<StreamContext>,
  visits: Invocation[],
  tell: Tell,
): Middleware<StreamContext> {
  const hints = { ...middleware.hints, name: nameOf(middleware) || 'nameless' }

  return defineMiddleware<StreamContext>(hints, async function watched(ctx, next) {
    const visit: Invocation = { nexts: 0 }
    visits.push(visit)
    const before = look(ctx)
    let running = 0
    const counted: Next = () => {
      visit.nexts++
      if (visit.nexts > 1 && !hints.repeats) {
        tell('calls next() once', 'it called next() twice and does not declare `repeats`')
      }
      if (visit.end) tell('waits for next()', 'it called next() after it had returned')
      running++
      const inner = next()
      inner.then(
        () => running--,
        (thrown: unknown) => {
          running--
          visit.inner = thrown
        },
      )
      return inner
    }
    try {
      await middleware(ctx, counted)
      visit.end = 'fulfilled'
    } catch (thrown) {
      visit.end = { thrown }
      throw thrown
    } finally {
      if (running > 0) tell('waits for next()', 'it returned while next() was still running')
      compare(ctx, before, tell)
    }
  })
}

interface Look {
  readonly stream: Duplex | undefined
  readonly listeners: ReadonlyMap<string | symbol, number>
  readonly messages: unknown
}

function look(ctx: StreamContext): Look {
  // Before `connect` there is no stream.
  const stream = ctx.transport ? ctx.stream : undefined
  const messages = messagesOf(ctx)
  return { stream, listeners: stream ? countListeners(stream) : new Map(), messages }
}

function compare(ctx: StreamContext, before: Look, tell: Tell): void {
  const { stream, listeners, messages } = before
  if (!stream) return
  // If `secure` is inside, its stream stays on top.
  if (ctx.stream !== stream && !ctx.encrypted) {
    tell('puts back what it replaces', 'it returned and ctx.stream was not what it had been')
  }
  if (messages !== undefined && messagesOf(ctx) !== messages) {
    tell('puts back what it replaces', 'it returned and ctx.messages was not what it had been')
  }
  if (stream.destroyed) return
  for (const one of more(listeners, stream, 'ctx.stream')) {
    // A listener for `close` is harmless, since it is emitted once; the end of the pipeline has one
    // itself.
    if (!one.includes('`close`')) tell('leaves nothing behind', `it left ${one}`)
  }
}

function messagesOf(ctx: StreamContext): unknown {
  return ctx.hasMessages ? (ctx as unknown as { readonly messages: unknown }).messages : undefined
}
