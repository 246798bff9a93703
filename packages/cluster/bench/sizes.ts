/**
 * `npm run --prefix packages/cluster bench:sizes`: what each thing takes of the broker, for the
 * arithmetic of docs/guide/many-machines.md: processor time, bytes of its store, and messages of a
 * change of a shared list over many instances. Needs `nats-server`, and Linux for `/proc`.
 */

import { generateKeyPairSync } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type NatsConnection, connect } from '@nats-io/transport-node'
import { denyList } from 'cio'
import { type Cluster, cluster, sharedList } from '../src/index.ts'
import { nats } from '../src/nats.ts'
import { encodeClaim } from '../src/registry/entry.ts'
import { encodeFrame } from '../src/wire/frames.ts'
import { encodeValue } from '../src/wire/values.ts'
import { NatsServer } from '../test/support/nats-server.ts'

const count = 20_000
const atOnce = 100
const endings: (() => unknown)[] = []
const server = await NatsServer.start({ teardown: (end) => endings.push(end) })

async function start(): Promise<{ here: Cluster; connection: NatsConnection }> {
  const connection = await connect({
    servers: server.address,
    maxReconnectAttempts: -1,
    noAsyncTraces: true,
  })
  const here = cluster({ engine: nats({ connection }), leaseTimeout: 600_000 })
  await here.open()
  endings.push(
    () => connection.close(),
    () => here.close(),
  )
  return { here, connection }
}

/** Microseconds of processor time of the broker: Linux counts in hundredths of a second. */
function brokerUsage(): number {
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(' ')
  return (Number(fields[13]) + Number(fields[14])) * 10_000
}

function storeSize(folder = server.store): number {
  return readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
    const path = join(folder, entry.name)
    return sum + (entry.isDirectory() ? storeSize(path) : statSync(path).size)
  }, 0)
}

async function measure(name: string, work: (at: number) => unknown): Promise<void> {
  const size = storeSize()
  const { user, system } = process.cpuUsage()
  const broker = brokerUsage()
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  const own = process.cpuUsage()
  const each = (total: number): string => (total / count).toFixed(1)
  console.log(
    `${name}: ${each(brokerUsage() - broker)} µs of the broker, ${each(own.user + own.system - user - system)} µs of this process, ${each(storeSize() - size)} bytes`,
  )
}

const { here, connection } = await start()
const { engine } = here
const claim = encodeClaim({
  instance: engine.instance,
  connection: 'abcdefghijkl.12345',
  since: Date.now(),
  about: null,
})
const table = await engine.table('devices', { ttl: 10_800_000 })
const { signal } = new AbortController()
setMaxListeners(0, signal)
await measure('row', (at) => table.put(`device-${at}`, claim))
await table.watch(() => {}, { signal })
await measure('row, with one watch', (at) => table.put(`device-${at}`, claim))
const watchers = 10
for (let at = 1; at < watchers; at++) await table.watch(() => {}, { signal })
await measure(`row, with ${watchers} watches`, (at) => table.put(`device-${at}`, claim))
await measure('subscription', (at) => void engine.subscribe(`to.device-${at}`, () => {}))
await connection.flush()

const letters = await engine.letters('mailbox', {
  maxPerKey: 100,
  maxBytes: 268_435_456,
  maxAge: 604_800_000,
})
await measure('look into an empty mailbox', (at) => letters.next(`device-${at}`, 0))
const frame = encodeFrame({ kind: 'letter' }, encodeValue({ text: 'x'.repeat(89) }))
await measure(`letter of ${frame.length} bytes stored, and its nudge`, async (at) => {
  const { seq } = await letters.append(`device-${at}`, frame, `id-${at}`)
  engine.publish(`mailbox.for.device-${at}`, encodeFrame({ kind: 'nudge', seq }))
})
await measure('letter read and removed, and a look for the next', async (at) => {
  const key = `device-${at}`
  const letter = await letters.next(key, 0)
  await letters.remove(key, letter!.seq)
  await letters.next(key, letter!.seq)
})

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const all = [{ here, connection }]
const options = { name: 'denied', verifyKey: publicKey, signKey: privateKey }
const first = sharedList(here, { ...options, list: denyList([]) })
for (const size of [5, 10, 20, 40]) {
  while (all.length < size) {
    const one = await start()
    sharedList(one.here, { ...options, list: denyList([]) })
    all.push(one)
  }
  const messages = (): number => all.reduce((sum, one) => sum + one.connection.stats().inMsgs, 0)
  await first.applied(await first.publish(['warm']))
  const before = { messages: messages(), broker: brokerUsage(), time: performance.now() }
  const changes = 20
  for (let at = 0; at < changes; at++) await first.applied(await first.publish([`n${at}`]))
  const each = (total: number): string => (total / changes).toFixed(1)
  console.log(
    `change of a list over ${size} instances: ${each(messages() - before.messages)} messages, ${each((brokerUsage() - before.broker) / 1_000)} ms of the broker, ${each(performance.now() - before.time)} ms until all have it`,
  )
}
for (const end of endings.toReversed()) await end()
process.exit()
