/** `registry({ duplicates: 'all' })`, over any engine. */

import type { ExecutionContext } from 'ava'
import { mailbox } from '../../src/index.ts'
import type { ContractOf, Engines } from '../support/engines.ts'
import { type FleetOptions, Instance } from '../support/fleet.ts'
import { until } from '../support/heard.ts'

async function fleet(
  t: ExecutionContext,
  { make }: Engines,
  options: FleetOptions = {},
): Promise<[Instance, Instance]> {
  const start = (): Promise<Instance> =>
    Instance.start(t, {
      duplicates: 'all',
      max: 3,
      ...options,
      cluster: { engine: make() },
    })
  return [await start(), await start()]
}

/** The claims about several connections of one key. */
export function duplicatesContract({ test, over, engines }: ContractOf): void {
  test(`${over}, with 'all' a key has up to max connections, on all instances together`, async (t) => {
    const [one, other] = await fleet(t, await engines(t))
    const devices = [await one.connect('s.7'), await other.connect('s.7'), await one.connect('s.7')]
    const slots = devices.map(({ ctx }) => ctx.registration.slot)
    t.deepEqual(
      slots.toSorted((a, b) => a - b),
      [0, 1, 2],
    )
    const fourth = await other.dial('s.7')
    t.is(await fourth.ended, 'ERR_CIO_DUPLICATE')
    await other.connect('s.8')
    const keys: string[] = []
    for await (const { key } of one.devices.list()) keys.push(key)
    t.deepEqual(
      keys.toSorted((a, b) => a.localeCompare(b)),
      ['s.7', 's.7', 's.7', 's.8'],
    )
    await devices[1]!.client.close()
    await devices[1]!.closed
    await until(async () => {
      const again = await other.dial('s.7')
      return again.entered.then(
        ({ registration }) => registration.slot === devices[1]!.ctx.registration.slot,
        () => false,
      )
    })
  })

  test(`${over}, of many that come at once, no more than max are admitted`, async (t) => {
    const both = await fleet(t, await engines(t))
    const dialed = await Promise.all(
      Array.from({ length: 12 }, (_, at) => both[at % 2]!.dial('sensor-7')),
    )
    const slots = await Promise.all(
      dialed.map(({ entered }) =>
        entered.then(
          ({ registration }) => [registration.slot],
          () => [],
        ),
      ),
    )
    t.deepEqual(
      slots.flat().toSorted((a, b) => a - b),
      [0, 1, 2],
    )
  })

  test(`${over}, with 'all' a message reaches each, a call the newest, and evict ends all`, async (t) => {
    const [one, other] = await fleet(t, await engines(t))
    const first = await one.connect('sensor-7')
    const second = await other.connect('sensor-7')
    await one.devices.send('sensor-7', 'to both')
    for (const { client } of [first, second]) {
      t.is((await client.messages.next()).value, 'to both')
    }
    const { revision } = (await one.devices.find('sensor-7'))!
    t.is(revision, second.ctx.registration.revision)
    await t.throwsAsync(one.devices.call('sensor-7', 'whoAmI'), { code: 'ERR_CIO_NO_RPC' })
    t.true(await one.devices.evict('sensor-7'))
    t.is(await first.ended, 'ERR_CIO_EVICTED')
    t.is(await second.ended, 'ERR_CIO_EVICTED')
    await until(async () => (await one.devices.find('sensor-7')) === undefined)
    await t.throwsAsync(one.devices.send('sensor-7', 'gone'), { code: 'ERR_CIO_OFFLINE' })
    t.false(await one.devices.evict('sensor-7'))
  })

  test(`${over}, the slots of an instance that is dead are free`, async (t) => {
    const { make } = await engines(t)
    const [one] = await fleet(t, { make } as Engines)
    // The rows of an instance that gives no sign of life.
    const table = await one.engine.table('devices', { ttl: 10_800_000 })
    for (let at = 0; at < 3; at++) {
      const row = { v: 1, instance: 'gone', connection: `x.${at}`, since: 0, about: null }
      await table.put(`sensor-7.${at}`, Buffer.from(JSON.stringify(row)))
    }
    t.is(await one.devices.find('sensor-7'), undefined)
    const device = await one.connect('sensor-7')
    t.is(device.ctx.registration.slot, 0)
  })

  test(`${over}, with 'all' one connection of a key has its mailbox`, async (t) => {
    const got: unknown[] = []
    const deliver = async (
      { registration: { slot } }: { readonly registration: { readonly slot: number } },
      { message }: { readonly message: unknown },
    ): Promise<void> => {
      got.push([slot, message])
    }
    let send!: (message: unknown) => Promise<unknown>
    const inside: FleetOptions['inside'] = (here) => {
      const letters = mailbox(here, { deliver })
      send = (message) => letters.send('sensor-7', message)
      return letters
    }
    const [one, other] = await fleet(t, await engines(t), { inside })
    await one.connect('sensor-7')
    await other.connect('sensor-7')
    for (let at = 0; at < 5; at++) await send(at)
    await until(() => got.length >= 5)
    t.deepEqual(
      got,
      [0, 1, 2, 3, 4].map((at) => [0, at]),
    )
  })
}
