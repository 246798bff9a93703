/** One instance of an application, and its view of the other instances. */

import {
  type AppEvents,
  CioError,
  type Middleware,
  type ServerContext,
  defineMiddleware,
} from 'cio'
import {
  asError,
  checkDuration,
  checkMethods,
  checkOptionNames,
  checkSignal,
  debug,
  emitSafely,
  optionError,
  provide,
  reportError,
} from 'cio/kit'
import type { Engine, Gap } from './engine.ts'
import { memory } from './memory.ts'
import { Instances, type InstanceInfo, type SharedRevision } from './cluster/instances.ts'
import { UpTime } from './cluster/up-time.ts'

export type { InstanceInfo, SharedRevision } from './cluster/instances.ts'

const log = debug('cio:cluster')

/** A start that takes longer is an outage. */
const startDelay = 1_000

type Emit = <Event extends keyof AppEvents>(event: Event, ...details: AppEvents[Event]) => void

/** Options of {@link cluster}. */
export interface ClusterOptions {
  /**
   * The connection to the other instances.
   *
   * @default memory()
   */
  readonly engine?: Engine
  /**
   * Milliseconds without a sign of life after which an instance counts as dead. Each instance sends
   * one every third of that time.
   *
   * @default 10_000
   */
  readonly leaseTimeout?: number
  /**
   * The behaviour of a server that starts without a broker: `'wait'` does not listen before there
   * is one, `'listen'` listens at once. After a second, the app emits `clusterDown` with the reason.
   *
   * @default 'wait'
   */
  readonly whenDown?: 'wait' | 'listen'
}

/** What {@link cluster} adds to the context of the server. */
export interface ClusterContext {
  cluster: Cluster
}

/** The middleware, with this instance and its view of the others. */
export interface Cluster extends Middleware<ServerContext, ClusterContext> {
  readonly engine: Engine
  /** The live instances, including this one, as far as this one knows. */
  readonly instances: ReadonlyMap<string, InstanceInfo>
  /** Whether an instance is alive, as far as this one knows. */
  isAlive(instance: string): boolean
  /** The same, but asks the broker about an instance that is not known yet. */
  checkAlive(instance: string): Promise<boolean>
  /**
   * Connects an instance without a server, such as a web application that sends to devices. A
   * server connects by the middleware. Call `close()` once for each `open()`.
   */
  open(options?: { readonly signal?: AbortSignal }): Promise<void>
  /** Leaves the others, when all servers of this instance have closed too. */
  close(): Promise<void>
  /**
   * Runs work whenever the engine is up: at the start, and again after each gap. The signal aborts
   * when the engine goes down or closes, and when the work rejects, which is tried again. Returns a
   * function that ends it.
   */
  whileUp(work: (signal: AbortSignal) => unknown): () => void
  /**
   * Reserves a name for a part of the cluster, such as a registry.
   *
   * @throws `ERR_CIO_OPTION`: there is a part of this name, or it is no plain word
   */
  reserve(owner: string, name: string): void
  /** Adds to the signs of life the revision of a shared part that is in force here. */
  report(name: string, revision: SharedRevision): void
  /** Calls a function whenever `instances` may have changed. Returns a function that ends it. */
  watchInstances(watcher: () => void): () => void
}

declare module 'cio' {
  interface AppEvents {
    /** The broker is connected again, after the time in the gap. Messages of that time are lost. */
    clusterUp: [gap: Gap, cluster: Cluster]
    /**
     * The connection to the broker is lost. Local connections stay open; calls for other instances
     * reject. The reason is the last error of the engine, if it knows one.
     */
    clusterDown: [cluster: Cluster, reason: Error | undefined]
    /** Another instance has started. */
    instanceUp: [instance: InstanceInfo, cluster: Cluster]
    /** Another instance has left, or sent no sign of life for `leaseTimeout`. */
    instanceDown: [instance: InstanceInfo, cluster: Cluster]
  }
}

/**
 * Connects the instances of an application: clustering over NATS, or in memory.
 *
 * Each instance sends signs of life, and tracks which others are alive. `registry`, `rooms` and
 * others use it. The server connects before it listens, and leaves when its last connection has
 * closed.
 *
 * If the broker is down, local connections stay open and handlers continue to run. `clusterDown`
 * reports it, and `clusterUp` the end and the length of the gap.
 *
 * @pipelines server
 * @order after `certs`, before `listen`
 * @adds `ctx.cluster`; the middleware itself has `instances`, `open`, `close`
 * @rejects nothing
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { Cio, json } from 'cio'
 * import { cluster } from '@cio/cluster'
 *
 * const here = cluster({ leaseTimeout: 5_000 })
 * const app = new Cio().useServer(here).useConnection(json())
 * app.on('clusterDown', () => console.warn('the broker is away'))
 * const server = await app.listen(0)
 * console.log(here.instances.size) // 1
 * await server.close()
 */
export function cluster(options: ClusterOptions = {}): Cluster {
  checkOptionNames('cluster', options, ['engine', 'leaseTimeout', 'whenDown'])
  const { engine = memory(), leaseTimeout = 10_000, whenDown = 'wait' } = options
  const methods = ['open', 'close', 'publish', 'subscribe', 'request', 'table', 'letters', 'on']
  checkMethods('cluster', 'engine', 'an engine, such as `memory()`', engine, methods)
  checkDuration('cluster', 'leaseTimeout', leaseTimeout)
  if (leaseTimeout < 100 || leaseTimeout === Infinity) {
    throw optionError('cluster', 'leaseTimeout', 'at least 100 ms, and finite', leaseTimeout)
  }
  if (whenDown !== 'wait' && whenDown !== 'listen') {
    throw optionError('cluster', 'whenDown', "'wait' or 'listen'", whenDown)
  }
  const names = new Set<string>()
  const servers = new Set<ServerContext>()
  const emit: Emit = (event, ...details) => {
    for (const app of new Set([...servers].map((server) => server.app))) {
      emitSafely(app, event, ...details)
    }
  }
  const upTime = new UpTime(engine)
  const instances = new Instances(engine, leaseTimeout, {
    load: () => ({
      connections: [...servers].reduce((sum, { connections }) => sum + connections.size, 0),
      isDraining: servers.size > 0 && [...servers].every(({ draining }) => draining.aborted),
    }),
    up: (instance) => emit('instanceUp', instance, made),
    down: (instance) => emit('instanceDown', instance, made),
  })
  upTime.whileUp((signal) => instances.run(signal))
  engine.on('down', () => {
    log('down')
    emit('clusterDown', made, engine.downCause)
  })
  engine.on('up', (gap) => {
    log('up after %d ms', gap.duration)
    emit('clusterUp', gap, made)
  })
  const close = (): Promise<void> => upTime.close(() => instances.leave())

  const middleware = defineMiddleware<ServerContext, ClusterContext>(
    { name: 'cluster', pipelines: ['server'], after: 'certs', before: 'listen' },
    async function cluster(ctx, next) {
      const began = performance.now()
      servers.add(ctx)
      let isOpen = true
      let isLate = false
      const timer = setTimeout(() => {
        // A broker may take connections, and no tables or letters.
        isLate = !engine.isUp || upTime.failure !== undefined
        if (isLate) emit('clusterDown', made, engine.downCause ?? upTime.failure)
      }, startDelay)
      const opened = upTime.open(ctx.draining).then(
        () => {
          clearTimeout(timer)
          if (isLate) emit('clusterUp', { duration: performance.now() - began }, made)
        },
        (error: unknown) => {
          clearTimeout(timer)
          isOpen = false
          throw error
        },
      )
      try {
        if (whenDown === 'wait') await opened
        else {
          opened.catch((error: unknown) => {
            if (!ctx.draining.aborted) reportError(ctx.app, asError(error), ctx)
          })
        }
        await provide(ctx, 'cluster', made, next)
      } finally {
        servers.delete(ctx)
        if (isOpen) await close()
      }
    },
  )
  const made: Cluster = Object.assign(middleware, {
    engine,
    instances: instances.alive,
    isAlive: (instance: string) => instances.isAlive(instance),
    checkAlive: (instance: string) => instances.checkAlive(instance),
    open: async (options: { readonly signal?: AbortSignal } = {}) => {
      checkOptionNames('open', options, ['signal'])
      checkSignal('open', options.signal)
      await upTime.open(options.signal)
    },
    close,
    whileUp: (work: (signal: AbortSignal) => unknown) => upTime.whileUp(work),
    report: (name: string, revision: SharedRevision) => instances.report(name, revision),
    watchInstances: (watcher: () => void) => instances.watch(watcher),
    reserve: (owner: string, name: string) => {
      if (typeof name !== 'string' || !/^[\w-]+$/.test(name)) {
        throw optionError(owner, 'name', 'letters, digits, `_` and `-`', name)
      }
      if (names.has(name)) {
        const message = `${owner}: this cluster has a part named \`${name}\`; give it another \`name\``
        throw new CioError('ERR_CIO_OPTION', message)
      }
      names.add(name)
    },
  })
  return made
}

export { cluster as default }
