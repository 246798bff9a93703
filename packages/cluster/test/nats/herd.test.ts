/**
 * All devices of an instance come back at once, after it was killed: to two others, each with letters
 * that wait for it. The short form has 300 devices; `CIO_DEVICES=10000 npx ava --timeout=10m
 * packages/cluster/test/nats/herd.test.ts` is the long one.
 */

import { type Mailbox, mailbox } from '../../src/index.ts'
import { nats } from '../../src/nats.ts'
import { Instance } from '../support/fleet.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'
import type { Command } from './claims-process.ts'
import { Process } from './process.ts'

const script = new URL('claims-process.ts', import.meta.url)

const count = Number(process.env.CIO_DEVICES ?? 300)
const atOnce = 200
const perDevice = 3
const names = Array.from({ length: count }, (_, at) => `device-${at}`)

async function each(work: (name: string) => Promise<unknown>): Promise<number> {
  const began = performance.now()
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < names.length) await work(names[next++]!)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
  return performance.now() - began
}

natsTest('devices that come back at once are registered, and have their letters', async (t) => {
  const server = await NatsServer.start(t)
  const got = new Map<string, unknown[]>(names.map((name) => [name, []]))
  let letters!: Mailbox<unknown>
  const start = (): Promise<Instance> =>
    Instance.start(t, {
      cluster: {
        engine: nats({
          connect: { servers: server.address, pingInterval: 60_000 },
          timeout: 60_000,
        }),
        leaseTimeout: 2_000,
      },
      takeovers: { count: Infinity, per: 1_000 },
      inside: (here) =>
        (letters = mailbox(here, {
          deliver: async ({ registration: { key } }, { message }) => got.get(key)!.push(message),
        })),
    })
  const others = [await start(), await start()]
  const killed = await Process.start<Command>(t, server, script, 'patient')
  const before = new Map<string, number>()
  const came = await each(async (name) => {
    before.set(name, (await killed.ask<number>({ connect: name })) ?? 0)
  })
  t.true([...before.values()].every((revision) => revision > 0))
  await killed.kill()
  const sent = await each(async (name) => {
    for (let at = 0; at < perDevice; at++) await letters.send(name, at)
  })
  let turn = 0
  const back = await each(async (name) => {
    const { ctx } = await others[turn++ % 2]!.connect(name)
    t.true(ctx.registration.isConfirmed)
    t.true(ctx.registration.revision > before.get(name)!)
  })
  const began = performance.now()
  await until(() => names.every((name) => got.get(name)!.length >= perDevice))
  const read = performance.now() - began
  for (const name of names) t.deepEqual(got.get(name), [0, 1, 2])
  const listed = new Set<string>()
  for await (const { key } of others[0]!.devices.list()) listed.add(key)
  t.is(listed.size, count)
  const rate = (time: number): string => `${Math.round((count * 1_000) / time)}/s`
  t.log(`${count} devices: first ${rate(came)}, back ${rate(back)}`)
  t.log(
    `letters: stored ${rate(sent / perDevice)}, the last ${Math.round(read)} ms after the claims`,
  )
})
