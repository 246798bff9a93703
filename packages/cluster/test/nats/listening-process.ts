/** An instance that listens on TCP, in a process of its own: its devices are in other processes. */

import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Cio, type CioError, json } from 'cio'
import { cluster, registry } from '../../src/index.ts'
import { nats } from '../../src/nats.ts'

export type Command =
  | { readonly port: true }
  | { readonly figures: true }
  | { readonly send: string }
  | { readonly find: string }

/** The figures of the instance since it was asked the last time. */
export interface Figures {
  readonly connections: number
  /** Bytes of its process. */
  readonly size: number
  /** Milliseconds of processor time. */
  readonly busy: number
  /** Milliseconds of the longest turn of its event loop. */
  readonly turn: number
  /** Codes of errors, and events of the cluster. */
  readonly reported: readonly string[]
}

const servers = process.argv[2]!
const here = cluster({
  engine: nats({ connect: { servers, pingInterval: 60_000 }, timeout: 60_000 }),
  leaseTimeout: 5_000,
})
const devices = registry(here, {
  key: ({ state }) => state.name as string,
  takeovers: { count: Infinity, per: 1_000 },
})
const app = new Cio()
  .useServer(here)
  .useConnection(json())
  .useConnection(async function name(ctx, next) {
    ctx.state.name = (await ctx.messages.next()).value
    await next()
  })
  .useConnection(devices)
  .useConnection(async (ctx) => {
    const { revision, isConfirmed } = ctx.registration
    await ctx.messages.send({ revision, isConfirmed })
    await ctx.messages.each(() => {})
  })
let reported: string[] = []
const report = ({ code, message }: CioError | NodeJS.ErrnoException): void => {
  reported.push(code ?? message)
}
app.on('remoteError', report).on('error', report).on('reject', report)
app.on('clusterDown', () => reported.push('clusterDown'))
app.on('instanceDown', () => reported.push('instanceDown'))
const server = await app.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 })
const turns = monitorEventLoopDelay({ resolution: 10 })
turns.enable()
let used = process.cpuUsage()

async function obey(command: Command): Promise<unknown> {
  if ('port' in command) return server.port
  if ('send' in command) return devices.send(command.send, 'hello').then(() => 'sent')
  if ('find' in command) return (await devices.find(command.find))?.revision ?? 0
  const { user, system } = process.cpuUsage(used)
  const figures: Figures = {
    connections: server.connections.size,
    size: process.memoryUsage().rss,
    busy: (user + system) / 1_000,
    turn: turns.max / 1e6,
    reported,
  }
  used = process.cpuUsage()
  turns.reset()
  reported = []
  return figures
}

process.on('message', ({ id, command }: { id: number; command: Command }) => {
  void obey(command)
    .catch((error: CioError) => error.code ?? error.message)
    .then((result) => process.send!({ id, result }))
})
process.on('disconnect', () => process.exit())
process.send!({ id: 0, result: 'ready' })
