/**
 * A scenario: the same conversation on one or more connections at once, with a watched middleware.
 */

import { Cio } from '../cio.ts'
import type { ConnectOptions } from '../client/connect-options.ts'
import { asError } from '../errors.ts'
import type { Middleware, Next } from '../pipeline/middleware.ts'
import type { ListenOptions } from '../server/listen-options.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { type DuplexEnd, duplexPair } from './duplex-pair.ts'
import { countListeners } from './resource-leaks.ts'

/** The pipeline of the middleware. */
export type End = 'connection' | 'client'

/** The setup of a scenario: two apps, each with what it needs, a middleware and a handler. */
export interface Stage {
  readonly end: End
  /** The watched middleware, and the middleware at the other end, if any. */
  readonly subject: Middleware<StreamContext>
  readonly counterpart: Middleware<StreamContext> | undefined
  readonly setUp: (app: Cio, end: End) => void
  readonly listen: ListenOptions
  readonly connect: ConnectOptions
}

/** The behaviour of each side. */
export interface Scenario {
  readonly inside: (ctx: StreamContext, next: Next) => unknown
  readonly outside: (ctx: StreamContext, connection: number) => unknown
  readonly connections?: number
  /** After so many bytes in both directions, the other side disconnects. */
  readonly cut?: { readonly after: number; readonly how: 'destroyed' | 'reset' }
  readonly timeout: number
}

/** The result of a scenario. */
export interface Outcome {
  /** Number of bytes on the wire. */
  readonly bytes: number
  /** Whether it ended in time. */
  readonly over: boolean
  /**
   * The errors that the app of the watched middleware reported, or with which its `connect()`
   * rejected.
   */
  readonly errors: readonly Error[]
  /** The error of the outer middleware. */
  readonly outside: readonly Error[]
  /** The listeners that each of several connections leaked on the app, as text. */
  readonly piled: readonly string[]
}

/** Runs a scenario to its end. Never rejects. */
export async function runScenario(stage: Stage, scene: Scenario): Promise<Outcome> {
  const { end, subject, counterpart, setUp } = stage
  const errors: Error[] = []
  const outside: Error[] = []
  let bytes = 0
  let at = 0

  const ours = new Cio()
  const theirs = new Cio()
  setUp(ours, end)
  setUp(theirs, end === 'connection' ? 'client' : 'connection')
  for (const event of ['error', 'remoteError', 'reject'] as const) {
    ours.on(event, (error: Error) => void errors.push(error))
    theirs.on(event, () => {})
  }
  const talk = async (ctx: StreamContext): Promise<void> => {
    try {
      await scene.outside(ctx, at++)
    } catch (thrown) {
      outside.push(asError(thrown))
      throw thrown
    }
  }
  const handle = async (ctx: StreamContext, next: Next): Promise<void> => {
    await scene.inside(ctx, next)
  }
  const [server, client] = end === 'connection' ? [ours, theirs] : [theirs, ours]
  if (end === 'connection') {
    ours.useConnection(subject).useConnection(handle, { name: 'inside' })
    if (counterpart) theirs.useClient(counterpart)
    theirs.useClient(talk, { name: 'outside' })
  } else {
    ours.useClient(subject).useClient(handle, { name: 'inside' })
    if (counterpart) theirs.useConnection(counterpart)
    theirs.useConnection(talk, { name: 'outside' })
  }

  const run = async (): Promise<void> => {
    const listening = await server.listen({ ...stage.listen, bind: false })
    const one = async (): Promise<void> => {
      let closed: Promise<void> = Promise.resolve()
      const createConnection = (): DuplexEnd => {
        const [near, far] = duplexPair()
        const leave = end === 'connection' ? far : near
        const seen = (count: number): void => {
          bytes += count
          if (scene.cut && bytes >= scene.cut.after) cutOff(leave, scene.cut.how)
        }
        tap(near, seen)
        tap(far, seen)
        closed = listening.accept(near).closed
        if (scene.cut?.after === 0) seen(0)
        return far
      }
      try {
        const ctx = await client.connect({ ...stage.connect, createConnection })
        await ctx.closed
      } catch (thrown) {
        if (end === 'client') errors.push(asError(thrown))
      }
      await closed
    }
    await Promise.all(Array.from({ length: scene.connections ?? 1 }, one))
  }

  const before = countListeners(ours)
  const over = await within(scene.timeout, run(), errors)
  await Promise.all([client.close({ timeout: 0 }), server.close({ timeout: 0 })])
  const { connections = 1 } = scene
  const grown = [...countListeners(ours)].filter(([event, count]) => {
    return connections > 1 && count - (before.get(event) ?? 0) >= connections
  })
  const piled = grown.map(
    ([event]) => `a listener of \`${String(event)}\` on the app for each connection`,
  )
  return { bytes, over, errors: [...errors], outside: [...outside], piled }
}

function tap(end: DuplexEnd, seen: (count: number) => void): void {
  const write = end._write.bind(end)
  end._write = (chunk: Buffer, encoding, done) => {
    write(chunk, encoding, done)
    seen(chunk.length)
  }
}

function cutOff(end: DuplexEnd, how: 'destroyed' | 'reset'): void {
  if (end.destroyed) return
  if (how === 'reset') end.resetAndDestroy()
  else end.destroy()
}

async function within(timeout: number, run: Promise<void>, errors: Error[]): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => (timer = setTimeout(resolve, timeout, false)))
  const done = run.then(
    () => true,
    (thrown) => {
      errors.push(asError(thrown))
      return true
    },
  )
  const over = await Promise.race([done, late])
  clearTimeout(timer)
  return over
}
