/** Instances with devices that are connected in memory. */

import { once } from 'node:events'
import {
  Cio,
  type CioError,
  type ClientContext,
  type ConnectionContext,
  type JsonContext,
  type MessagesContext,
  type Middleware,
  type ServerContext,
  type StreamContext,
  json,
  rpc,
} from 'cio'
import { duplexPair } from 'cio/testing'
import {
  type Cluster,
  type ClusterOptions,
  type RegistrationContext,
  type Registry,
  type RegistryOptions,
  cluster,
  registry,
} from '../../src/index.ts'
import type { Teardown } from './nats-server.ts'

/** The methods of a device. */
export interface Methods {
  add(params: [a: number, b: number]): number
  fail(): never
  wait(): void
  whoAmI(): string
}

type Registered = ConnectionContext & MessagesContext<unknown> & RegistrationContext

/** A device: the client, and its connection at the instance. */
export interface Device {
  readonly name: string
  readonly client: ClientContext & JsonContext
  /** Fulfils with its context when its pipeline goes on; rejects if it ends before. */
  readonly entered: Promise<Registered>
  readonly closed: Promise<unknown>
  /** The code of the error that ended it, or undefined. */
  readonly ended: Promise<string | undefined>
}

export interface FleetOptions extends RegistryOptions {
  readonly cluster?: ClusterOptions
  /** Whether devices answer calls. */
  readonly rpc?: boolean
  /** A middleware after the registry. */
  readonly inside?: (here: Cluster) => Middleware<Registered>
  /** Runs inside the registry, instead of waiting for the end. */
  readonly handler?: (ctx: Registered) => unknown
}

/** One instance with its registry. */
export class Instance {
  readonly here: Cluster
  readonly devices: Registry<unknown, Methods>
  readonly app: Cio
  server!: ServerContext
  /** Codes of errors that were reported, with the names of their connections. */
  readonly reported: [code: string, name: unknown][] = []
  readonly #isRpc: boolean
  readonly #entered = new Map<StreamContext, (ctx: Registered) => void>()

  static async start(t: Teardown, options: FleetOptions = {}): Promise<Instance> {
    const instance = new Instance(options)
    instance.server = await instance.app.listen({ bind: false })
    t.teardown(() => instance.server.close({ timeout: 0 }))
    return instance
  }

  private constructor({
    cluster: ofCluster,
    rpc: isRpc = false,
    handler,
    inside,
    ...options
  }: FleetOptions) {
    this.here = cluster(ofCluster)
    this.devices = registry<unknown, Methods>(this.here, {
      key: ({ state }) => state.name as string,
      ...options,
    })
    this.#isRpc = isRpc
    this.app = new Cio()
      .useServer(this.here)
      .useConnection(json())
      .useConnection(async function name(ctx, next) {
        ctx.state.name = (await ctx.messages.next()).value
        await next()
      })
      .useConnection(isRpc ? rpc<Methods>() : async (_, next) => next())
      .useConnection(this.devices)
      .useConnection(inside?.(this.here) ?? (async (_, next) => next()))
      .useConnection(async (ctx, next) => {
        this.#entered.get(ctx)?.(ctx)
        if (handler) await handler(ctx)
        else if (isRpc) await next()
        else await ctx.messages.each(() => {})
      })
    const report = (error: Error, ctx?: { readonly state: Record<PropertyKey, unknown> }): void => {
      this.reported.push([(error as CioError).code, ctx?.state.name])
    }
    this.app.on('remoteError', report).on('error', report).on('reject', report)
  }

  get engine(): Cluster['engine'] {
    return this.here.engine
  }

  /** Connects a device; it may not be registered yet. */
  async dial(name: string): Promise<Device> {
    let ctx!: ConnectionContext
    const app = new Cio().useClient(json()).useClient(async function hello(one, next) {
      await one.messages.send(name)
      await next()
    })
    if (this.#isRpc) {
      app.useClient(
        rpc<object, Methods>({
          methods: {
            add: ([a, b]) => a + b,
            fail: () => {
              throw new Error('the device has failed')
            },
            wait: (_, { signal }) => once(signal, 'abort').then(() => {}),
            whoAmI: () => name,
          },
        }),
      )
    }
    app.on('error', () => {}).on('remoteError', () => {})
    const client = await app.connect({
      createConnection: () => {
        const [near, far] = duplexPair()
        ctx = this.server.accept(near)
        return far
      },
    })
    const entered = new Promise<Registered>((resolve, reject) => {
      this.#entered.set(ctx, resolve)
      void ctx.closed.then(() => {
        this.#entered.delete(ctx)
        reject(new Error(`${name} was not registered`))
      })
    })
    entered.catch(() => {})
    const closed = ctx.closed
    const ended = closed.then(() => this.reported.findLast(([, who]) => who === name)?.[0])
    return { name, client, entered, closed, ended }
  }

  /** Connects a device, and waits until it is registered. */
  async connect(name: string): Promise<Device & { readonly ctx: Registered }> {
    const device = await this.dial(name)
    return { ...device, ctx: await device.entered }
  }
}
