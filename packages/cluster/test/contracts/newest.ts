/** Which of two connections is the newer one, where the broker could not see them come. */

import { setTimeout as delay } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import type { ContractOf, Engines } from '../support/engines.ts'
import { type Device, type FleetOptions, Instance } from '../support/fleet.ts'
import { until } from '../support/heard.ts'

async function fleet(
  t: ExecutionContext,
  { make }: Engines,
  options: FleetOptions = {},
): Promise<[Instance, Instance]> {
  const start = (): Promise<Instance> =>
    Instance.start(t, { handoverTimeout: 60_000, ...options, cluster: { engine: make() } })
  return [await start(), await start()]
}

/** Checks which of two connections stays, for good. */
async function stays(t: ExecutionContext, newer: Device, older: Device): Promise<void> {
  t.is(
    await Promise.race([older.closed.then(() => 'older'), newer.closed.then(() => 'newer')]),
    'older',
  )
  t.is(await older.ended, 'ERR_CIO_TAKEN_OVER')
  const { registration, isClosed } = await newer.entered
  await until(() => registration.isConfirmed)
  t.false(isClosed)
}

/** The claims about connections that come while their instance has no broker. */
export function newestContract({ test, over, engines }: ContractOf): void {
  for (const whenDown of ['admit', 'wait'] as const) {
    test(`${over}, after a cut, an older connection that had to ${whenDown} leaves the name to a newer one`, async (t) => {
      const broker = await engines(t)
      const { cut, heal } = broker
      const [one, other] = await fleet(t, broker, { whenDown })
      await cut(one.engine)
      const older = await one.dial('sensor-7')
      if (whenDown === 'admit') await older.entered
      await delay(1_000)
      const newer = await other.connect('sensor-7')
      const { revision } = newer.ctx.registration
      await heal(one.engine)
      await stays(t, newer, older)
      t.is(newer.ctx.registration.revision, revision)
      await one.devices.send('sensor-7', 'to the newer')
      t.is((await newer.client.messages.next()).value, 'to the newer')
    })
  }

  test(`${over}, after a cut, a newer connection takes the name from an older one`, async (t) => {
    const broker = await engines(t)
    const { cut, heal } = broker
    const [one, other] = await fleet(t, broker)
    const older = await other.connect('sensor-7')
    await cut(one.engine)
    await delay(1_000)
    const newer = await one.connect('sensor-7')
    await heal(one.engine)
    await stays(t, newer, older)
    t.true(newer.ctx.registration.revision > older.ctx.registration.revision)
  })

  for (const first of ['older', 'newer'] as const) {
    test(`${over}, of two that came without a broker the newer one stays, also if the ${first} one is first to claim`, async (t) => {
      const broker = await engines(t)
      const { cut, heal } = broker
      const [one, other] = await fleet(t, broker)
      await cut(one.engine)
      await cut(other.engine)
      const older = await one.connect('sensor-7')
      // Longer than a question between the instances takes.
      await delay(1_000)
      const newer = await other.connect('sensor-7')
      const [soon, late] = first === 'older' ? [one, other] : [other, one]
      const { registration } = (first === 'older' ? older : newer).ctx
      await heal(soon.engine)
      await until(() => registration.isConfirmed)
      await heal(late.engine)
      await stays(t, newer, older)
    })
  }
}
