/** An instance whose event loop is blocked for seconds. It is this process; the other one goes on. */

import { setTimeout as delay } from 'node:timers/promises'
import { nats } from '../../src/nats.ts'
import { Instance } from '../support/fleet.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'
import type { Command } from './claims-process.ts'
import { Process } from './process.ts'

const script = new URL('claims-process.ts', import.meta.url)
const leaseTimeout = 1_000

function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

natsTest('a blocked instance finds its names taken, and what it has missed is a gap', async (t) => {
  // Otherwise the broker waits 10 s for a reader.
  const server = await NatsServer.start(t, 'write_deadline: "500ms"')
  const other = await Process.start<Command>(t, server, script, 'patient')
  const engine = nats({ connect: { servers: server.address, pingInterval: 60_000 } })
  const blocked = await Instance.start(t, { cluster: { engine, leaseTimeout } })
  const said: string[] = []
  blocked.app.on('clusterDown', () => said.push('down'))
  blocked.app.on('clusterUp', ({ duration }) => said.push(duration > 0 ? 'gap' : 'no gap'))
  const taken = await blocked.connect('taken')
  const kept = await blocked.connect('kept')
  const revisions = async (): Promise<readonly number[]> =>
    (await other.ask<number[]>({ find: ['taken', 'kept'] }))!
  await until(() => blocked.here.instances.size === 2)

  const takeover = other.ask<number>({ connect: 'taken' })
  await delay(1)
  block(3 * leaseTimeout)
  const revision = (await takeover)!
  t.true(revision > taken.ctx.registration.revision)
  t.is(await taken.ended, 'ERR_CIO_TAKEN_OVER')
  // Both of one answer: between two, the other instance may be without its broker.
  const ofBoth = [revision, kept.ctx.registration.revision].join()
  await until(async () => (await revisions()).join() === ofBoth)
  t.is((await blocked.devices.find('taken'))?.revision, revision)
  t.true(kept.ctx.registration.isConfirmed)
  t.deepEqual(said, [], 'its connection to the broker has waited')

  engine.subscribe('flood', () => {})
  while (!said.includes('down')) {
    const flooded = other.ask({ flood: 'cio.flood' })
    await delay(1)
    block(3 * leaseTimeout)
    await flooded
  }
  await until(() => said.includes('gap'))
  await until(async () => (await revisions())[1] === kept.ctx.registration.revision)
  t.true(kept.ctx.registration.isConfirmed)
})
