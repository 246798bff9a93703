/**
 * Payloads of other programs, on all subjects and in all tables of a cluster: they are refused, and
 * change nothing for the connections that are there.
 */

import { type Engine, mailbox, rooms } from '../../src/index.ts'
import { encodeFrame } from '../../src/wire/frames.ts'
import { encodeValue } from '../../src/wire/values.ts'
import type { ContractOf } from '../support/engines.ts'
import { Instance } from '../support/fleet.ts'
import { until } from '../support/heard.ts'

const leaseTimeout = 600

/** Contents of messages and rows, some of them whole frames of unknown kinds. */
function payloads(): Uint8Array[] {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000)
  const values = [
    Buffer.of(),
    Buffer.of(9, 9),
    Buffer.from('\x02{'),
    Buffer.from(`\x02${deep}`),
    Buffer.from(`\x03${deep}`),
    Buffer.from('\x03{"$":"bytes","v":1e9}'),
    Buffer.from('\x03{"$":"date","v":"x"}'),
    Buffer.alloc(900_000, 2),
    encodeValue({ text: 'x'.repeat(900_000) }),
  ]
  const kinds = ['room', 'send', 'call', 'evict', 'cancel', 'held', 'yield', 'nudge', 'letter', 'x']
  const odd = [null, {}, [], -1, 1e300, 'x'.repeat(1_000), true]
  const headers = kinds.flatMap((kind) => [
    { kind },
    ...odd.map((one) => ({ kind, id: one, connection: one, key: one, from: one, seq: one })),
    ...odd.map((one) => ({ kind, id: 'a', from: 'a', method: one, timeout: one, reason: one })),
  ])
  const frames = headers.flatMap((header, at) => {
    // An order that is whole is no garbage.
    const isOrder = header.kind === 'evict' || header.kind === 'send'
    return isOrder ? [] : [encodeFrame(header, values[at % values.length])]
  })
  const next = encodeFrame({ kind: 'send' }, encodeValue('x'))
  next[0] = 2
  const rows = [
    {},
    { v: 1 },
    { v: 9, startedAt: 1e300, connections: -1, shared: 'text' },
    { v: 1, startedAt: 'x', connections: {} },
    { v: 1, instance: 7, connection: [], since: null },
    {
      v: 1,
      instance: 'gone',
      connection: 'x',
      since: 1e300,
      claimed: 'x',
      about: deep.slice(0, 9),
    },
  ]
  return [
    next,
    Buffer.of(1, 255, 255, 255, 255),
    Buffer.of(1, 0, 0, 0, 2, 0xff, 0xff),
    Buffer.concat([Buffer.of(1, 0, 3, 0x0d, 0x40), Buffer.from(deep)]),
    ...values,
    ...frames,
    ...rows.map((row) => Buffer.from(JSON.stringify(row))),
  ]
}

async function throwAt(engine: Engine, instances: readonly string[]): Promise<void> {
  const subjects = [
    'devices.to.sensor-7',
    'rooms.all',
    'rooms.known.known',
    'mailbox.for.sensor-7',
    ...instances.map((id) => `devices.at.${id}`),
  ]
  for (const payload of payloads()) {
    for (const subject of subjects) engine.publish(subject, payload)
    // Some are never answered.
    await engine.request('devices.to.sensor-7', payload, { timeout: 20 }).catch(() => {})
  }
  const names = await engine.table('devices', { ttl: 10_800_000 })
  const signs = await engine.table('instances', { ttl: 1_000 })
  for (const [at, payload] of payloads().entries()) {
    await names.put(`stranger-${at}`, payload)
    await signs.put(`stranger-${at}`, payload)
  }
  const claim = { v: 1, instance: instances[0], connection: 'x', since: 1, claimed: 'x' }
  await names.put('stranger', Buffer.from(JSON.stringify(claim)))
}

/** Registers the tests. */
export function strangersContract({ test, over, engines }: ContractOf): void {
  test(`${over}, payloads of other programs end nothing`, async (t) => {
    const { make } = await engines(t)
    const got: unknown[] = []
    let groups!: ReturnType<typeof rooms>
    const start = (): Promise<Instance> =>
      Instance.start(t, {
        cluster: { engine: make(), leaseTimeout },
        inside: (here) => {
          groups = rooms(here)
          const letters = mailbox(here, {
            deliver: async (_, { message }) => got.push(message),
            retryDelay: 20,
          })
          return (ctx, next) =>
            groups(ctx as never, async () => {
              await (ctx as never as { rooms: { join(room: string): Promise<void> } }).rooms.join(
                'all',
              )
              await letters(ctx, next)
            })
        },
      })
    const [one, other] = [await start(), await start()]
    const device = await one.connect('sensor-7')
    const heard: unknown[] = []
    void (async () => {
      for await (const message of device.client.messages) heard.push(message)
    })().catch(() => {})
    const stranger = make()
    await stranger.open(new AbortController().signal)
    t.teardown(() => stranger.close())
    await throwAt(stranger, [one.engine.instance, other.engine.instance])

    await other.devices.send('sensor-7', { last: 1 })
    await groups.send('all', { last: 2 })
    await until(() => heard.length >= 2 && JSON.stringify(heard.slice(-2)).includes('last'))
    const all = new Set<string>()
    for await (const entry of other.devices.list()) {
      all.add(entry.key)
      t.is(typeof entry.revision, 'number')
    }
    t.true(all.has('sensor-7'))
    const found = await other.devices.find('sensor-7')
    t.is(found?.revision, device.ctx.registration.revision)
    t.true(one.here.isAlive(other.engine.instance))
    // A value that the codec of the members has no text for.
    t.deepEqual(
      one.reported.filter(([code]) => code !== 'ERR_CIO_ENCODE'),
      [],
    )
    t.deepEqual(got, [])
  })
}
