/** Finds a connection by its name, on any instance. */

import { randomBytes } from 'node:crypto'
import {
  type AnyMethods,
  type CallOptions,
  CioError,
  type MessagesContext,
  type Middleware,
  type StreamContext,
  defineMiddleware,
} from 'cio'
import { atOnce, debug, emitSafely, evict, handled, maxTimerDelay, optionError } from 'cio/kit'
import type { Cluster } from './cluster.ts'
import { encodeName } from './names.ts'
import type { Order } from './registry/calls.ts'
import { ClaimTable } from './registry/claim-table.ts'
import { Claims, type Predecessor } from './registry/claims.ts'
import { Directory } from './registry/directory.ts'
import { type Entry, checkAbout } from './registry/entry.ts'
import { noKeyError } from './registry/errors.ts'
import { Holder } from './registry/holder.ts'
import {
  type ListOptions,
  type PresenceChange,
  type PresenceOptions,
  find,
  list,
  watch,
  checkListOptions,
  checkPresenceOptions,
} from './registry/presence.ts'
import {
  type EvictRemoteOptions,
  type ReachOptions,
  type RegistryOptions,
  checkReachOptions,
  checkRegistryOptions,
} from './registry/options.ts'
import { Slots, claimSlot, slotsOf } from './registry/slots.ts'
import { Takeovers } from './registry/takeovers.ts'
import type { Registered, RegistrationContext, RemoteCall } from './registry/types.ts'
import { reserve } from './reserve.ts'
import { unawaited } from './unawaited.ts'
import { Upkeep } from './registry/upkeep.ts'

export type { Entry } from './registry/entry.ts'
export type { EvictRemoteOptions, ReachOptions, RegistryOptions } from './registry/options.ts'
export type { Predecessor } from './registry/claims.ts'
export type { ListOptions, PresenceChange, PresenceOptions } from './registry/presence.ts'
export type { Registration, RegistrationContext, RemoteCall } from './registry/types.ts'

const log = debug('cio:cluster')

/** The middleware, with the methods that reach the connections of all instances. */
export interface Registry<Out = unknown, Remote = AnyMethods> extends Middleware<
  StreamContext & MessagesContext<unknown, Out>,
  RegistrationContext
> {
  /**
   * Sends a message, at most once; with `duplicates: 'all'`, to each connection of the key. Fulfils
   * when the instance of the connection has queued it on the socket. Only an answer of the device
   * proves that it has arrived.
   *
   * @throws `ERR_CIO_OFFLINE`: certainly nothing is registered under the key
   * @throws `ERR_CIO_UNREACHABLE`: a connection is registered, but its instance does not answer in
   * time; the result is unknown
   * @throws `ERR_CIO_CLUSTER_DOWN`: the connection is not here, and there is no broker
   * @throws `ERR_CIO_SLOW_READER`: the device does not read: more than `maxBacklog` bytes wait for
   * it, and Cio closes the connection
   */
  send(key: string, message: Out, options?: ReachOptions): Promise<void>
  /**
   * Calls a method of the device, as `ctx.rpc.call()` does; needs `rpc()` before the registry. With
   * `duplicates: 'all'`, it calls the connection that registered last.
   *
   * @throws as `ctx.rpc.call()` and as `send()`
   */
  readonly call: RemoteCall<Remote>
  /** Closes all connections of a key, wherever they are; false if nothing is registered under the key. */
  evict(key: string, options?: EvictRemoteOptions): Promise<boolean>
  /** The newest entry of a key; undefined if no live instance has a connection with it. */
  find(key: string): Promise<Entry | undefined>
  /** All entries. Reads the whole table. */
  list(options?: ListOptions): AsyncIterable<Entry>
  /**
   * Changes from now on: connections that begin and end. Fails with `ERR_CIO_CLUSTER_DOWN` when the
   * broker is lost, since it misses changes then. The connections of an instance that dies end
   * without a change: `instanceDown` reports it.
   */
  watch(options: PresenceOptions): AsyncIterable<PresenceChange>
}

declare module 'cio' {
  interface AppEvents {
    /** A new connection has taken over a key from another one. */
    takeover: [before: Predecessor, ctx: StreamContext, key: string]
    /**
     * A new connection waits, because its key is taken over too often. Probably two devices have
     * the same certificate.
     */
    conflict: [delay: number, ctx: StreamContext, key: string]
  }
}

const callTimeout = 30_000
const reachTimeout = 5_000

/**
 * A registry of connections by name, over all instances: send, call, presence, duplicate logins.
 *
 * It finds a device by the name of its verified certificate, on any instance. Of two connections
 * with one name the newer one stays. It continues only after the older one has finished, or after
 * `handoverTimeout`.
 *
 * @pipelines connection
 * @order after the lists and a codec, and after `rpc` for `call`
 * @adds `ctx.registration`; the middleware itself has `send`, `call`, `evict`, `find`, `list`, `watch`
 * @needs `ctx.peer`, unless there is a `key`; `ctx.messages`
 * @rejects `ERR_CIO_REJECTED` (remote): it has no key; `ERR_CIO_TAKEN_OVER` (remote): a newer
 *   connection has the key; `ERR_CIO_DUPLICATE` (remote): an older one has it, with `'oldest'`, or
 *   `max` have it, with `'all'`;
 *   `ERR_CIO_EVICTED` (remote); `ERR_CIO_SLOW_READER` (remote): more than `maxBacklog` bytes wait for
 *   it; `ERR_CIO_CLUSTER_DOWN` (local): with `whenDown: 'refuse'`
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { Cio, json, rpc } from 'cio'
 * import { cluster, registry } from '@cio/cluster'
 *
 * interface Device { reboot(params: { after: number }): boolean }
 *
 * const here = cluster()
 * const devices = registry<object, Device>(here, { key: ({ address }) => address })
 * const app = new Cio()
 *   .useServer(here)
 *   .useConnection(json())
 *   .useConnection(rpc<Device>())
 *   .useConnection(devices)
 * const server = await app.listen({ port: 0, host: '127.0.0.1' })
 * console.log(await devices.find('127.0.0.1')) // undefined
 * await server.close()
 */
export function registry<
  Out = unknown,
  Remote = AnyMethods,
  Needs extends StreamContext = StreamContext,
>(cluster: Cluster, options: RegistryOptions<Needs> = {}): Registry<Out, Remote> {
  const settings = checkRegistryOptions(options)
  const { key = nameOfPeer, about = () => null, takeovers, name, max } = settings
  const isMany = settings.duplicates === 'all'
  // Each slot belongs to the connection that has it.
  const duplicates = settings.duplicates === 'newest' ? 'newest' : 'oldest'
  reserve(cluster, 'registry', name)
  const { engine } = cluster
  const damping = new Takeovers(takeovers, ({ ctx, key }, delay) => {
    emitSafely(ctx.app, 'conflict', delay, ctx, key)
  })
  const table = new ClaimTable(engine, name, settings.rowTtl)
  const claims = new Claims(cluster, table, { ...settings, duplicates }, damping)
  const upkeep = new Upkeep(table, claims, settings.rowTtl)
  const directory = new Directory(cluster, settings, table, claims)
  const slots = new Slots(cluster, table, directory, max)
  let instance = ''
  cluster.whileUp(async (signal) => {
    if (instance !== engine.instance) {
      instance = engine.instance
      engine.subscribe(`${name}.at.${instance}`, (message) => void handled(claims.serve(message)))
    }
    await table.open(signal)
  })
  // Apart: names are found while this is tried again.
  cluster.whileUp((signal) => upkeep.run(signal))
  const prefix = randomBytes(9).toString('base64url')
  let lastConnection = 0

  const end = (ctx: Registered, error: CioError): void => {
    log('%d %s: %s', ctx.id, ctx.remote, error.message)
    evict(ctx, error, { drainTimeout: settings.handoverTimeout })
  }
  const holderOf = (ctx: Registered & Needs): Holder => {
    const found = atOnce('registry', 'key', key(ctx))
    if (typeof found !== 'string') throw noKeyError(ctx)
    const said = atOnce('registry', 'about', about(ctx))
    checkAbout(said)
    const connection = `${prefix}.${++lastConnection}`
    return new Holder(ctx, { key: found, code: encodeName(found, 'remote'), connection }, said, end)
  }
  const admit = (holder: Holder): Promise<boolean> => {
    if (isMany) return claimSlot(claims, holder, slotsOf(holder.code, max))
    return claims.claim(holder, (before) => {
      emitSafely(holder.ctx.app, 'takeover', before, holder.ctx, holder.key)
    })
  }

  const middleware = defineMiddleware<Registered & Needs, RegistrationContext>(
    { name: 'registry', pipelines: ['connection'], ...(options.key ? {} : { needs: 'peer' }) },
    async function registry(ctx, next) {
      const holder = holderOf(ctx)
      const added: Partial<RegistrationContext> = ctx
      const { registration: outer = holder } = added
      try {
        if (!(await admit(holder))) return
        directory.listen(holder)
        // Here, and not by `provide()`: one more async function for each device takes a tenth of its memory.
        added.registration = holder
        await next()
      } finally {
        if (holder.subscription) added.registration = outer
        directory.leave(holder)
        claims.release(holder)
        void upkeep.forget(holder)
      }
    },
  )
  const reach = async (
    key: string,
    order: Order,
    options: ReachOptions = {},
    ownNames: readonly string[] = [],
  ): Promise<unknown> => {
    checkReachOptions(order.kind, options, ownNames)
    const { timeout = order.kind === 'call' ? callTimeout : reachTimeout, signal } = options
    return (isMany ? slots : directory).reach(key, order, {
      timeout: Math.min(timeout, maxTimerDelay),
      signal,
    })
  }
  const call = (
    key: string,
    method: string,
    params?: unknown,
    options?: CallOptions,
  ): Promise<unknown> => unawaited(reach(key, { kind: 'call', method, params }, options))
  const send = async (key: string, message: Out, options?: ReachOptions): Promise<void> => {
    await reach(key, { kind: 'send', message }, options)
  }
  const evictRemote = async (key: string, options: EvictRemoteOptions): Promise<boolean> => {
    checkReachOptions('evict', options, ['reason'])
    const { reason = '' } = options
    if (typeof reason !== 'string') throw optionError('evict', 'reason', 'a string', reason)
    try {
      await reach(key, { kind: 'evict', reason }, options, ['reason'])
      return true
    } catch (error) {
      if ((error as Partial<CioError>).code === 'ERR_CIO_OFFLINE') return false
      throw error
    }
  }
  return Object.assign(middleware as unknown as Registry<Out, Remote>, {
    send: (key: string, message: Out, options?: ReachOptions) =>
      unawaited(send(key, message, options)),
    call: call as RemoteCall<Remote>,
    evict: (key: string, options: EvictRemoteOptions = {}) => unawaited(evictRemote(key, options)),
    find: (key: string) => unawaited(isMany ? slots.find(key) : find(cluster, table, key)),
    list: (options: ListOptions = {}) => {
      checkListOptions(options)
      return list(cluster, table, options)
    },
    watch: (options: PresenceOptions) => {
      checkPresenceOptions(options)
      return watch(table, options)
    },
  })
}

function nameOfPeer({ peer }: StreamContext): string | null {
  return peer?.name ?? null
}

export { registry as default }
