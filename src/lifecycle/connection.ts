/**
 * The life of a connection:
 *
 * 1. It is accepted, or given to `app.handle()`. From here to its close it has an `error`
 *    listener, and it is among the `connections` of its server. `connection` tells of it.
 * 2. The pipeline runs: what stands before `secure`, then the handshake (`secure` tells of it),
 *    then the rest. Nothing is read before a middleware reads.
 * 3. Past the last middleware is the far end, which waits for the stream to finish.
 * 4. When the pipeline fulfils, the stream is ended, what was written is flushed for at most
 *    `flushTimeout`, and the stream is destroyed.
 * 5. When it rejects, the stream is destroyed at once.
 * 6. What went wrong is told, once: by `reject` or `remoteError` if the peer did it, by `error` if
 *    the application did. `signal` aborts, and `close` tells that it is over.
 */

import debug from 'debug'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { emitSafely, rootCause, reportError } from './app-events.ts'
import type { Cio } from '../cio.ts'
import { CioError, asError } from '../errors.ts'
import { endGracefully } from '../streams/end-gracefully.ts'
import type { ServerContext } from '../server/server.ts'
import { StreamContext } from './stream-context.ts'

const log = debug('cio:connection')
let lastId = 0

/** The next `ctx.id`. */
export function nextId(): number {
  return ++lastId
}

/** The context of one accepted connection. */
export class ConnectionContext extends StreamContext {
  /** The server that accepted it; null for what was given to `app.handle()`. */
  readonly server: ServerContext | null
  #closes = false

  constructor(app: Cio, server: ServerContext | null, transport: Duplex, socket?: Socket) {
    super(app, nextId())
    this.server = server
    this.transport = transport
    if (socket) this.borrow(socket)
  }

  /** Whether `secure` will make a handshake, or is making it. */
  get awaitsHandshake(): boolean {
    return Boolean(this.server?.tls) && !this.tlsSkipped && !this.secured
  }

  override skipTls(): void {
    if (!this.awaitsHandshake) return
    super.skipTls()
    emitSafely(this.app, 'plaintext', this)
  }

  override get signal(): AbortSignal {
    const signal = super.signal
    if (!this.#closes && !signal.aborted) {
      this.#closes = true
      this.transport!.once('close', () => this.abort(this.broken))
    }
    return signal
  }

  override settle(outcome?: Error): void {
    super.settle(outcome)
    this.server?.forget(this)
  }
}

/** Runs the connection pipeline over a context, from its accept to its close. Never rejects. */
export async function runConnection(ctx: ConnectionContext, flushTimeout: number): Promise<void> {
  const { app } = ctx
  const { connection } = app.pipelines
  if (log.enabled) log('%d accepted from %s', ctx.id, ctx.remote)
  emitSafely(app, 'connection', ctx)

  let thrown: Error | undefined
  try {
    const composed = connection.compose()
    await (composed instanceof Promise ? (await composed)(ctx) : composed(ctx))
    await endStream(ctx, flushTimeout)
  } catch (error) {
    thrown = asError(error)
  }

  const error = rootCause(ctx, thrown)
  if (thrown) ctx.destroy(error)
  ctx.settle(error)
  if (log.enabled) log('%d over: %s', ctx.id, error?.message ?? 'ended')
  if (error) reportError(app, error, ctx)
  emitSafely(app, 'close', ctx)
}

/** Past the last middleware of a connection: waits for the stream to finish. */
export function connectionEnd(ctx: ConnectionContext): Promise<void> {
  ctx.arrived = true
  // What nobody reads is drained, so that the peer's leaving is noticed.
  if (!isRead(ctx.stream)) ctx.stream.resume()
  return untilStreamEnds(ctx)
}

function isRead(stream: Duplex): boolean {
  return stream.listenerCount('data') > 0 || stream.listenerCount('readable') > 0
}

/**
 * Waits until a stream has closed; or until its input has ended and nobody is left who could
 * answer that.
 */
export function untilStreamEnds(ctx: StreamContext): Promise<void> {
  const { stream } = ctx
  if (stream.destroyed || (stream.readableEnded && !ctx.answersEnd)) return Promise.resolve()
  return new Promise((resolve) => {
    const end = (): void => {
      stream.off('end', end)
      if (!ctx.answersEnd) return resolve()
      const before = stream.listenerCount('end')
      process.nextTick(() => {
        // Who is gone by now, such as a pipe, has heard it and may answer late, and closes it then.
        if (stream.listenerCount('end') === before) whenUnanswered(ctx, stream, resolve)
      })
    }
    // Not once(), in both: there is one of each, and a wrapper for each idle connection is heap.
    // First among its listeners: one that removes itself must still be counted.
    stream.prependListener('end', end)
    stream.on('close', resolve)
  })
}

/** Calls when those who could answer the end have gone, such as a loop that has read up to it. */
function whenUnanswered(ctx: StreamContext, stream: Duplex, call: () => void): void {
  const left = (): void => {
    if (ctx.answersEnd) return
    stream.off('removeListener', left)
    call()
  }
  stream.on('removeListener', left)
}

/**
 * Ends the stream of a run whose middleware have all returned.
 *
 * @throws `ERR_CIO_FLUSH_TIMEOUT` (remote): it did not read what was written in time
 */
export async function endStream(ctx: StreamContext, flushTimeout: number): Promise<void> {
  const { stream, transport = stream } = ctx
  if (!ctx.arrived) warnOfEarlyReturn(ctx, stream)
  const waiting = stream.writableLength
  // Node forgets it with the socket.
  const remote = waiting > 0 ? ctx.remote : ''
  const done = await endGracefully(stream, flushTimeout)
  // Where a layer was left on top, or broke.
  if (ctx.broken) return ctx.disconnect()
  if (done && (await endGracefully(transport, flushTimeout))) return
  throw new CioError(
    'ERR_CIO_FLUSH_TIMEOUT',
    `${remote} did not read the last ${waiting} bytes within ${flushTimeout} ms`,
    { fault: 'remote' },
  )
}

const warned = new WeakMap<Cio, Set<string>>()

/** A handler that works with events and has returned is about to lose its stream. */
function warnOfEarlyReturn(ctx: StreamContext, stream: Duplex): void {
  if (stream.destroyed || (stream.readableEnded && stream.writableEnded)) return
  const attached = ['data', 'readable', 'unpipe'].filter((event) => stream.listenerCount(event) > 0)
  if (attached.length === 0) return

  const names = warned.get(ctx.app) ?? new Set()
  warned.set(ctx.app, names)
  if (names.has(ctx.step)) return
  names.add(ctx.step)
  process.emitWarning(
    `\`${ctx.step}\` returned while its stream still has listeners or pipes, so the stream is being ended; a middleware that works with events ends with \`await next()\``,
    { type: 'CioWarning', code: 'CIO_EARLY_RETURN' },
  )
}
