/**
 * Devices on TCP that come back at once after their instance was killed, to two others that have devices
 * of their own, each instance in a process. The short form has 100 of them; `CIO_DEVICES=10000 npx ava
 * --timeout=10m packages/cluster/test/nats/crowd.test.ts` is the long one.
 */

import type { ExecutionContext } from 'ava'
import { readFileSync } from 'node:fs'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'
import type { Command as ToCrowd, Report } from './crowd-process.ts'
import type { Command, Figures } from './listening-process.ts'
import { Process } from './process.ts'

const instance = new URL('listening-process.ts', import.meta.url)
const crowd = new URL('crowd-process.ts', import.meta.url)

const count = Number(process.env.CIO_DEVICES ?? 100)
const residents = count / 10
const sample = 100

const names = (prefix: string, total: number): string[] =>
  Array.from({ length: total }, (_, at) => `${prefix}-${at}`)

natsTest('a crowd of devices comes back at once to other instances', async (t) => {
  const server = await NatsServer.start(t)
  const start = (): Promise<Process<Command>> => Process.start<Command>(t, server, instance)
  const [killed, ...others] = await Promise.all([start(), start(), start()])
  const devices = await Process.start<ToCrowd>(t, server, crowd)
  const portsOf = (all: readonly Process<Command>[]): Promise<number[]> =>
    Promise.all(all.map(async (one) => (await one.ask<number>({ port: true }))!))
  const report = async (): Promise<Report> => (await devices.ask<Report>({ report: true }))!
  const figures = (): Promise<Figures[]> =>
    Promise.all(others.map(async (one) => (await one.ask<Figures>({ figures: true }))!))

  const ports = await portsOf(others)
  await devices.ask({ dial: names('resident', residents), ports })
  await devices.ask({ dial: names('device', count), ports: await portsOf([killed]) })
  const all = residents + count
  t.is((await report()).registered, all)
  await devices.ask({ move: ports })
  const before = await figures()
  const broker = usageOf(server.pid)

  const began = performance.now()
  await killed.kill()
  await until(async () => (await report()).ended >= count)
  await until(async () => (await report()).registered === all)
  const took = performance.now() - began
  const { ended, failed, wrong } = await report()
  t.deepEqual([ended, wrong], [count, []], 'no other device has lost its connection')

  const after = await figures()
  for (const { reported } of after) {
    t.deepEqual(
      reported.filter((what) => what !== 'instanceDown'),
      [],
    )
  }
  for (const [at, name] of names('device', Math.min(sample, count)).entries()) {
    const one = others[at % 2]!
    t.true((await one.ask<number>({ find: name }))! > 0)
    t.is(await one.ask({ send: name }), 'sent')
  }
  await until(async () => (await report()).messages === Math.min(sample, count))
  log(t, {
    took,
    failed,
    before,
    after,
    broker: usageOf(server.pid).map((use, at) => use - broker[at]!),
  })
})

function log(
  t: ExecutionContext,
  {
    took,
    failed,
    before,
    after,
    broker,
  }: {
    readonly took: number
    readonly failed: number
    readonly before: readonly Figures[]
    readonly after: readonly Figures[]
    readonly broker: readonly number[]
  },
): void {
  const round = (all: readonly number[], per = 1): string =>
    all.map((one) => Math.round(one / per)).join(' and ')
  t.log(`${count} devices in ${Math.round(took)} ms, ${failed} attempts failed`)
  t.log(`instances: ${round(after.map(({ busy }) => busy))} ms of processor time`)
  t.log(`longest turns: ${round(after.map(({ turn }) => turn))} ms`)
  t.log(
    `memory: ${round(
      after.map(({ size }, at) => size - before[at]!.size),
      1_048_576,
    )} MiB more`,
  )
  t.log(
    `broker: ${Math.round(broker[0]!)} ms of processor time, ${Math.round(broker[1]! / 1_024)} MiB more`,
  )
}

/** Milliseconds of processor time and KiB of memory of a process: Linux counts in hundredths of a second. */
function usageOf(pid: number): readonly [busy: number, size: number] {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(' ')
  return [(Number(fields[13]) + Number(fields[14])) * 10, Number(fields[23]) * 4]
}
