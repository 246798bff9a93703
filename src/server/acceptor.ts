/** The listening socket of a server: opens it, pauses and resumes, and keeps away from the last descriptor. */

import { AsyncLocalStorage } from 'node:async_hooks'
import debug from 'debug'
import { type Server, type Socket, createServer } from 'node:net'
import { emitSafely, reportError } from '../lifecycle/app-events.ts'
import { descriptorLimit, descriptorOf, isOpen, nextDescriptor } from './file-descriptors.ts'
import { CioError, asError } from '../errors.ts'
import { checkCount } from '../options.ts'
import type { ListenOptions, ServerContext } from './server.ts'

const log = debug('cio:server')
const defaultReserve = 16
/** Milliseconds between two looks at the descriptors; and from running short to the next try. */
const lookInterval = 1_000
/** Milliseconds from one `overload` to the next. */
const coolDown = 5_000

/**
 * What accepted sockets are set to, unless `listen()` is given otherwise. Without keep-alive a client
 * whose machine or network is gone stays for ever where nothing is written to it.
 */
const socketDefaults = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }

/** What the event `overload` tells. */
export interface Overload {
  /** The highest descriptor that was seen, and `Infinity` where there was none left. */
  readonly descriptor: number
  /** How many the process may have. */
  readonly limit: number
}

declare module '../lifecycle/app-events.ts' {
  interface AppEvents {
    /**
     * A server runs short of descriptors and does not listen until there are more. Once in five
     * seconds at most.
     */
    overload: [overload: Overload, server: ServerContext]
  }
}

/** Accepts for one server. */
export class Acceptor {
  readonly server: Server
  readonly #ctx: ServerContext
  /** The first descriptor that is too many. */
  readonly #bound: number
  #place: ListenOptions
  #paused = false
  #opening: Promise<void> | undefined
  #short = false
  #told = -Infinity
  #timer: NodeJS.Timeout | undefined

  /** Runs what listens again, so that connections keep the AsyncLocalStorage around the server. */
  readonly #within = AsyncLocalStorage.snapshot()

  constructor(ctx: ServerContext) {
    const { reservedDescriptors = defaultReserve } = ctx.options
    checkCount('listen', 'reservedDescriptors', reservedDescriptors)
    this.#ctx = ctx
    const limit = descriptorLimit()
    // Where there are very few, half of them are for clients all the same.
    const bound = Math.max(limit - reservedDescriptors, limit / 2)
    this.#bound = reservedDescriptors > 0 ? bound : Infinity
    const { port, path, fd } = ctx.options
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
    // Another port would not be the same place.
    if (address && typeof address === 'object') this.#place = { ...this.#place, port: address.port }
    log('listens on %o', address)
    server.on('error', (error) => {
      // Who has called `resume()` gets it.
      if (!this.#opening) reportError(ctx.app, error, ctx)
    })
    this.#watch()
  }

  pause(): void {
    const { fd } = this.#place
    if (fd !== undefined) {
      throw new CioError(
        'ERR_CIO_PAUSE',
        `a server on descriptor ${fd} that it was given cannot pause: it could not listen there again; let whoever has opened it pass on nothing`,
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
    if (this.server.listening) this.server.close()
    // A process that waits to listen again has nothing else that keeps it.
    this.#timer?.ref()
  }

  /** One at a time: a host's name may have to be looked up. */
  async #unhold(): Promise<void> {
    if (this.#opening) await this.#opening.catch(() => {})
    if (!this.#mayListen || this.server.listening) return
    this.#opening ??= this.#within(() => this.#listen()).finally(() => (this.#opening = undefined))
    await this.#opening
    // What was asked for meanwhile holds.
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
        // A host's name may be under look-up.
        server.on('error', () => {})
        server.once('listening', () => server.close())
        reject(asError(ours.reason))
      }
      const done = (): void => {
        settle()
        resolve()
      }
      ours.throwIfAborted()
      ours.addEventListener('abort', abort)
      server.on('error', fail)
      server.on('listening', done)
      server.listen({ ...this.#place, signal: undefined })
    })
  }

  #accept(socket: Socket): void {
    const descriptor = this.#bound < Infinity ? descriptorOf(socket) : -1
    if (descriptor >= this.#bound) this.#runShort(descriptor)
    // It listens on, so who has come is sent away, as libuv does at the very end.
    if (this.#short && this.server.listening) socket.destroy()
    else this.#ctx.accept(socket)
  }

  /** For those who have taken the descriptors without being accepted. */
  #watch(): void {
    this.#timer = setTimeout(() => {
      // Once there are none, libuv accepts and closes in silence: only a look from time to time finds
      // that. While this one is free there are enough, and none is opened to find out.
      const maybeShort = this.#short || (this.#bound < Infinity && isOpen(this.#bound))
      const descriptor = maybeShort ? nextDescriptor() : 0
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
    if (now - this.#told < coolDown) return
    this.#told = now
    log('short of descriptors: %d of %d', descriptor, limit)
    emitSafely(this.#ctx.app, 'overload', { descriptor, limit }, this.#ctx)
  }

  #recover(): void {
    if (!this.#short) return
    this.#short = false
    const failed = (thrown: unknown): void => {
      // It is tried again at the next look.
      this.#short = true
      if (!this.#ctx.isClosed) reportError(this.#ctx.app, asError(thrown), this.#ctx)
    }
    this.#unhold().catch(failed)
  }
}
