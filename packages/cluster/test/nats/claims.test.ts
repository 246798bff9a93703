/**
 * As `claims.test.ts`, with three processes on a real broker: instances are killed, frozen and cut off,
 * and the broker is killed, frozen and started again. The short form has 360 operations; `CIO_ROUNDS=20
 * CIO_CLAIMS=5000 CIO_AT_ONCE=30 npx ava --timeout=20m packages/cluster/test/nats/claims.test.ts` has
 * 100,000, and `CIO_ROUNDS=200 CIO_CLAIMS=500` as many with ten times the outages.
 */

import type { Command, Report } from './claims-process.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { Path } from '../support/path.ts'
import { randomOf } from '../support/random.ts'
import { natsTest } from '../support/with-nats.ts'
import { Process } from './process.ts'

const script = new URL('claims-process.ts', import.meta.url)

const rounds = Number(process.env.CIO_ROUNDS ?? 6)
const seed = Number(process.env.CIO_SEED ?? 1)
const perRound = Number(process.env.CIO_CLAIMS ?? 60)
const atOnce = Number(process.env.CIO_AT_ONCE ?? 6)
const names = Array.from({ length: 8 }, (_, at) => `device-${at}`)

natsTest('over NATS, one connection has a name at rest, after kills and outages', async (t) => {
  const random = randomOf(seed)
  const server = await NatsServer.start(t)
  const path = await Path.open(t, server.port)
  const brokers = [server, server, path]
  const all = await Promise.all(brokers.map((one) => Process.start<Command>(t, one, script)))
  const given = new Map<string, number>()
  const operate = async (): Promise<void> => {
    const one = all[Math.floor(random() * all.length)]!
    const name = names[Math.floor(random() * names.length)]!
    if (random() < 0.3) return void (await one.ask({ end: name }))
    const revision = (await one.ask<number>({ connect: name })) ?? 0
    given.set(name, Math.max(given.get(name) ?? 0, revision))
  }
  const disturb = [
    async () => {
      await all[0]!.kill()
      all[0] = await Process.start<Command>(t, server, script)
    },
    async () => {
      all[1]!.child.kill('SIGSTOP')
      // Longer than its lease.
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      all[1]!.child.kill('SIGCONT')
    },
    async () => {
      await server.kill()
      await server.start()
    },
    async () => {
      server.freeze()
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      server.thaw()
    },
    async () => {
      path.cut()
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      path.heal()
    },
    async () => {
      path.hold()
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      path.release()
    },
  ]
  for (let round = 0; round < rounds; round++) {
    const disturbing = disturb[round % disturb.length]!()
    for (let at = 0; at < perRound; at += atOnce) {
      await Promise.all(Array.from({ length: atOnce }, operate))
    }
    await disturbing
    let wrong = ''
    const began = performance.now()
    await until(async () => {
      wrong = await whatIsWrong(all, given)
      if (wrong && performance.now() - began > 60_000) throw new Error(`round ${round}: ${wrong}`)
      return wrong === ''
    })
  }
  t.true([...given.values()].some((revision) => revision > 0))
})

async function whatIsWrong(
  all: readonly Process<Command>[],
  given: ReadonlyMap<string, number>,
): Promise<string> {
  const reports = await Promise.all(all.map((one) => one.ask<Report>({ report: true })))
  const found = await Promise.all(all.map((one) => one.ask<(number | string)[]>({ find: names })))
  for (const [at, name] of names.entries()) {
    const open = reports.flatMap((report) => (report ?? []).filter(([one]) => one === name))
    if (open.length > 1) return `${name} has ${open.length} connections`
    const [, revision, isConfirmed] = open[0] ?? [name, 0, true]
    if (!isConfirmed) return `${name} is not confirmed`
    for (const one of found) {
      if (one?.[at] !== revision) return `${name} has ${revision} and is found as ${one?.[at]}`
    }
    if (revision > 0 && revision < (given.get(name) ?? 0)) return `${name} has an old revision`
  }
  return ''
}
