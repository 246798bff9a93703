/** One instance with all parts, in a process of its own, commanded over IPC: of this release or another. */

import { type Mailbox, mailbox, rooms } from '../../src/index.ts'
import { nats } from '../../src/nats.ts'
import { type Device, type FleetOptions, Instance } from '../support/fleet.ts'

/** A method of the process, and what it takes. */
export type Command = readonly [name: string, ...params: readonly unknown[]]

const servers = process.argv[2]!
const quick = { pingInterval: 1_000, maxPingOut: 3, reconnectTimeWait: 50, timeout: 5_000 }
const start = (options: FleetOptions): Promise<Instance> =>
  Instance.start(
    { teardown: () => {} },
    {
      cluster: { engine: nats({ connect: { servers, ...quick } }), leaseTimeout: 5_000 },
      ...options,
    },
  )
let letters!: Mailbox<unknown>
let groups!: ReturnType<typeof rooms>
/** Devices have their letters, and have not said so while it waits. */
let holding: Promise<void> | undefined
let release = (): void => {}
const plain = await start({
  inside: (here) => {
    groups = rooms(here)
    letters = mailbox(here, {
      deliver: async (ctx, { message, seq }) => {
        await (
          ctx as never as { messages: { send(one: unknown): Promise<unknown> } }
        ).messages.send({ letter: message, seq })
        await holding
      },
    })
    return (ctx, next) =>
      groups(ctx as never, async () => {
        await (ctx as never as { rooms: { join(room: string): Promise<void> } }).rooms.join('all')
        await letters(ctx, next)
      })
  },
})
const callable = await start({ rpc: true })
const devices = new Map<string, Device>()
const got = new Map<string, unknown[]>()

async function collect({ name, client }: Device): Promise<void> {
  const all: unknown[] = []
  got.set(name, all)
  for await (const message of client.messages) all.push(message)
}

const methods: Record<string, (...params: never[]) => unknown> = {
  connect: async (name: string) => {
    const device = await plain.connect(name)
    devices.set(name, device)
    collect(device).catch(() => {})
    return device.ctx.registration.revision
  },
  connectCallable: async (name: string) => {
    const device = await callable.connect(name)
    devices.set(name, device)
    return device.ctx.registration.revision
  },
  end: async (name: string) => {
    await devices.get(name)!.client.close({ timeout: 0 })
    await devices.get(name)!.closed
  },
  ended: async (name: string) => devices.get(name)!.ended,
  got: (name: string) => got.get(name),
  send: (name: string, message: unknown) => plain.devices.send(name, message),
  call: (name: string, ...pair: [number, number]) => plain.devices.call(name, 'add', pair),
  fail: (name: string) => plain.devices.call(name, 'fail'),
  late: (name: string) => plain.devices.call(name, 'wait', undefined, { timeout: 50 }),
  evict: (name: string) => plain.devices.evict(name, { reason: 'a test', timeout: 2_000 }),
  find: async (name: string) => (await plain.devices.find(name))?.revision,
  room: async (message: unknown) => (await groups.send('all', message)).members,
  mail: (name: string, message: unknown, id: string) => letters.send(name, message, { id }),
  hold: () => {
    holding = new Promise((resolve) => (release = resolve))
  },
  release: () => {
    holding = undefined
    release()
  },
  alive: () => plain.here.instances.size,
  close: async () => {
    await plain.server.close({ timeout: 0 })
    await callable.server.close({ timeout: 0 })
  },
}

process.on('message', ({ id, command }: { id: number; command: Command }) => {
  const [name, ...params] = command
  void Promise.resolve()
    .then(() => methods[name]!(...(params as never[])))
    .then(
      (result) => ({ result }),
      (error: { code?: string; message: string }) => ({
        result: `failed: ${error.code ?? error.message}`,
      }),
    )
    .then((answer) => process.send!({ id, ...answer }))
})
process.on('disconnect', () => process.exit())
process.send!({ id: 0, result: 'ready' })
