/**
 * The listening socket of a server: opens, pauses and resumes it, and keeps some file descriptors
 * free.
 */

import { AsyncLocalStorage } from 'node:async_hooks'
import type { BigIntStats } from 'node:fs'
import { type Server, type Socket, createServer } from 'node:net'
import { debug } from '../debug.ts'
import { emitSafely, reportError } from '../lifecycle/app-events.ts'
import type { Contexts } from '../lifecycle/app.ts'
import { descriptorLimit, isOpen, nextDescriptor } from './file-descriptors.ts'
import { descriptorOf } from '../streams/socket-handle.ts'
import { CioError, asError } from '../errors.ts'
import { checkCount } from '../options.ts'
import type { ListenOptions } from './listen-options.ts'
import { closeKeepingOthers, fileAt, holdsSockets } from './stale-socket.ts'

type ServerContext = Contexts['server']

const log = debug('cio:server')
const defaultReserve = 16
/** Milliseconds between checks of the descriptors, and from a shortage to the next attempt. */
const lookInterval = 1_000
/** Milliseconds from one `overload` to the next. */
const coolDown = 5_000

/**
 * Defaults for accepted sockets. Without keep-alive, a connection stays for ever if the client's
 * machine or network is lost and nothing is written to it.
 */
const socketDefaults = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }

/** The argument of the event `overload`. */
export interface Overload {
  /** The highest descriptor seen, or `Infinity` if none was left. */
  readonly descriptor: number
  /** How many the process may have. */
  readonly limit: number
  /**
   * Connections that were closed at once because of the shortage, since the last `overload` of this
   * server.
   */
  readonly dropped: number
}

declare module '../lifecycle/app.ts' {
  interface AppEvents {
    /**
     * A server is short of file descriptors, and does not listen until clearly more are free. Emitted
     * again every five seconds as long as that lasts.
     */
    overload: [overload: Overload, server: ServerContext]
  }
}

/** Accepts for one server. */
export class Acceptor {
  readonly server: Server
  /** Connections that were closed at once, because too few descriptors were free. */
  dropped = 0
  readonly #ctx: ServerContext
  /** The first descriptor above the bound. */
  readonly #bound: number
  /** How many must be free below it before a server that was short listens again. */
  readonly #margin: number
  #place: ListenOptions
  /** The file of a Unix socket that it listens on. */
  #file: BigIntStats | undefined
  #paused = false
  #opening: Promise<void> | undefined
  #short = false
  #toldAt = -Infinity
  #toldDropped = 0
  #timer: NodeJS.Timeout | undefined

  /** Runs listening in the server's AsyncLocalStorage, so that connections keep it. */
  readonly #within = AsyncLocalStorage.snapshot()

  constructor(ctx: ServerContext) {
    const { reservedDescriptors = defaultReserve } = ctx.options
    checkCount('listen', 'reservedDescriptors', reservedDescriptors)
    this.#ctx = ctx
    const limit = descriptorLimit()
    // If the process has very few descriptors, half of them are still for clients.
    const bound = Math.max(limit - reservedDescriptors, limit / 2)
    this.#bound = reservedDescriptors > 0 ? bound : Infinity
    // Its own descriptor is free while it does not listen. If that one were enough, it would listen
    // and be short again each second, and each time reset the clients in its backlog.
    this.#margin = Math.max(2, Math.min(reservedDescriptors, defaultReserve, bound / 8))
    const { port, path, fd } = ctx.options
    if (fd !== undefined) checkCount('listen', 'fd', fd)
    const anywhere = port === undefined && path === undefined && fd === undefined
    this.#place = { ...ctx.options, ...(anywhere && { port: 0 }) }
    const options = { ...socketDefaults, ...ctx.options, allowHalfOpen: true }
    this.server = createServer(options, (socket) => this.#accept(socket))
  }

  /** Listens for the first time. */
  async open(): Promise<void> {
    const { server } = this
    const ctx = this.#ctx
    await this.#listen()
    const { address } = ctx
    // Listening again must use the same port.
    if (address && typeof address === 'object') this.#place = { ...this.#place, port: address.port }
    log('listens on %O', address)
    server.on('error', (error) => {
      // While it opens, the caller of `listen()` or `resume()` gets the error.
      if (!this.#opening) reportError(ctx.app, error, ctx)
    })
    this.#watch()
  }

  pause(): void {
    const { fd } = this.#place
    if (fd !== undefined) {
      throw new CioError(
        'ERR_CIO_PAUSE',
        `a server on descriptor ${fd} that it was given cannot pause: it could not listen there again; stop new connections in the process that opened the descriptor`,
      )
    }
    this.#paused = true
    this.#hold()
  }

  async resume(): Promise<void> {
    this.#paused = false
    await this.#unhold()
  }

  /** Stops for good. */
  close(): void {
    this.#hold()
    clearTimeout(this.#timer)
  }

  get #mayListen(): boolean {
    return !this.#paused && !this.#short && !this.#ctx.isDraining && !this.#ctx.isClosed
  }

  #hold(): void {
    const close = (): void => void this.server.close()
    if (this.#file) closeKeepingOthers(this.#place.path!, this.#file, close)
    else if (this.server.listening) close()
    this.#file = undefined
    // Nothing else keeps the process alive while it waits to listen again.
    this.#timer?.ref()
  }

  /** One attempt at a time: it may have to look up the name of a host. */
  async #unhold(): Promise<void> {
    if (this.#opening) await this.#opening.catch(() => {})
    if (!this.#mayListen || this.server.listening) return
    this.#opening ??= this.#within(() => this.#listen()).finally(() => (this.#opening = undefined))
    await this.#opening
    // A later call of pause() or resume() takes precedence.
    if (!this.#mayListen) this.#hold()
  }

  #listen(): Promise<void> {
    const { server } = this
    const ours = this.#ctx.signal
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        ours.removeEventListener('abort', abort)
        server.off('error', fail)
        server.off('listening', done)
      }
      const fail = (error: Error): void => {
        settle()
        reject(error)
      }
      const abort = (): void => {
        settle()
        // A DNS look-up may still be pending.
        server.on('error', () => {})
        server.once('listening', () => server.close())
        reject(asError(ours.reason))
      }
      const done = (): void => {
        settle()
        const { path } = this.#place
        this.#file = path !== undefined && holdsSockets() ? fileAt(path) : undefined
        resolve()
      }
      ours.throwIfAborted()
      ours.addEventListener('abort', abort)
      server.on('error', fail)
      server.on('listening', done)
      const { backlog } = this.#place
      // With `fd`, Node takes the backlog from its second argument alone.
      const node: { listen(options: object, backlog?: number): unknown } = server
      node.listen({ ...this.#place, signal: undefined }, backlog)
    })
  }

  #accept(socket: Socket): void {
    const descriptor = this.#bound < Infinity ? descriptorOf(socket) : -1
    if (descriptor >= this.#bound) this.#runShort(descriptor)
    // The server still listens, so Cio closes this connection, as libuv does without descriptors.
    if (this.#short && this.server.listening) {
      this.dropped += 1
      socket.destroy()
    } else this.#ctx.accept(socket)
  }

  /** Finds descriptors that something other than accepted connections has taken. */
  #watch(): void {
    this.#timer = setTimeout(() => {
      // Without descriptors libuv accepts and closes connections silently, so Cio checks from time
      // to time. If this descriptor is free, enough descriptors are free, and the check opens none.
      const maybeShort = this.#short || (this.#bound < Infinity && isOpen(this.#bound))
      const wanted = this.#short ? this.#margin : 1
      const descriptor = maybeShort ? nextDescriptor(wanted, this.#bound) : 0
      if (descriptor >= this.#bound) this.#runShort(descriptor)
      else this.#recover()
      this.#watch()
    }, lookInterval)
    if (this.server.listening) this.#timer.unref()
  }

  #runShort(descriptor: number): void {
    const limit = descriptorLimit()
    this.#short = true
    if (this.#place.fd === undefined) this.#hold()
    const now = performance.now()
    if (now - this.#toldAt < coolDown) return
    const dropped = this.dropped - this.#toldDropped
    this.#toldAt = now
    this.#toldDropped = this.dropped
    log('short of descriptors: %d of %d', descriptor, limit)
    emitSafely(this.#ctx.app, 'overload', { descriptor, limit, dropped }, this.#ctx)
  }

  #recover(): void {
    if (!this.#short) return
    this.#short = false
    const failed = (thrown: unknown): void => {
      // The next check tries again.
      this.#short = true
      if (!this.#ctx.isClosed) reportError(this.#ctx.app, asError(thrown), this.#ctx)
    }
    this.#unhold().catch(failed)
  }
}
