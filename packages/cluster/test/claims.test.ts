/**
 * Random connections, ends, kills and partitions of three instances on 20 names. At rest, a name has one
 * connection at most, all instances agree which, and its revision is the highest that was ever given.
 *
 * `CIO_CLAIMS=100000 npx ava packages/cluster/test/claims.test.ts` runs as many operations;
 * `CIO_SEED=7` begins with another seed.
 */

import test, { type ExecutionContext } from 'ava'
import { type MemoryHub, memory, memoryHub } from '../src/index.ts'
import { type Device, Instance } from './support/fleet.ts'
import { until } from './support/heard.ts'
import { randomOf } from './support/random.ts'

const operations = Number(process.env.CIO_CLAIMS ?? 2_000)
const seed = Number(process.env.CIO_SEED ?? 1)
const perRound = 100
const atOnce = 10
const names = Array.from({ length: 20 }, (_, at) => `device-${at}`)

interface Life {
  readonly instance: Instance
  readonly devices: Set<Device>
  isCut: boolean
}

test(`at rest, one connection has a name, after ${operations} random operations`, async (t) => {
  const random = randomOf(seed)
  const hub = memoryHub()
  const lives = await Promise.all([start(t, hub), start(t, hub), start(t, hub)])
  const given = new Map<string, Set<number>>()
  for (let done = 0; done < operations; done += perRound) {
    for (let at = 0; at < perRound; at += atOnce) {
      await Promise.all(Array.from({ length: atOnce }, () => operate(t, hub, lives, given, random)))
    }
    hub.heal()
    for (const life of lives) life.isCut = false
    await atRest(lives, given, `seed ${seed}, ${done + perRound} operations`)
  }
  t.true([...given.values()].some(({ size }) => size > 1))
})

async function start(t: ExecutionContext, hub: MemoryHub): Promise<Life> {
  const instance = await Instance.start(t, {
    cluster: { engine: memory(hub), leaseTimeout: 200 },
    takeovers: { count: Infinity, per: 1_000 },
    handoverTimeout: 100,
  })
  return { instance, devices: new Set(), isCut: false }
}

async function operate(
  t: ExecutionContext,
  hub: MemoryHub,
  lives: Life[],
  given: Map<string, Set<number>>,
  random: () => number,
): Promise<void> {
  const at = Math.floor(random() * lives.length)
  const name = names[Math.floor(random() * names.length)]!
  const what = random()
  const life = lives[at]!
  if (what < 0.65) return connect(life, name, given)
  if (what < 0.93) {
    const [device] = [...life.devices].filter((one) => one.name === name)
    device?.client.destroy()
    return
  }
  if (what < 0.98) {
    life.isCut = true
    return hub.cut(life.instance.engine)
  }
  if (what < 0.99) {
    hub.heal()
    for (const one of lives) one.isCut = false
    return
  }
  // As a kill: its rows stay, and so does its sign of life for a while.
  hub.cut(life.instance.engine)
  lives[at] = await start(t, hub)
  await life.instance.server.close({ timeout: 0 })
}

async function connect(
  { instance, devices }: Life,
  name: string,
  given: Map<string, Set<number>>,
): Promise<void> {
  const device = await instance.dial(name).catch(() => undefined)
  if (!device) return
  devices.add(device)
  void device.closed.then(() => devices.delete(device))
  const ctx = await device.entered.catch(() => undefined)
  if (!ctx || ctx.registration.revision === 0) return
  const { revision } = ctx.registration
  const before = given.get(name) ?? new Set()
  given.set(name, before.add(revision))
}

/** Waits until what has to hold at rest holds; says what does not, if that does not come. */
async function atRest(
  lives: readonly Life[],
  given: Map<string, Set<number>>,
  where: string,
): Promise<void> {
  const began = performance.now()
  let wrong = ''
  await until(async () => {
    wrong = await whatIsWrong(lives, given)
    if (wrong !== '' && performance.now() - began > 60_000) throw new Error(`${where}: ${wrong}`)
    return wrong === ''
  })
}

async function whatIsWrong(
  lives: readonly Life[],
  given: Map<string, Set<number>>,
): Promise<string> {
  for (const name of names) {
    const open = lives.flatMap(({ instance, devices }) =>
      [...devices].filter((one) => one.name === name).map((device) => ({ instance, device })),
    )
    if (open.length > 1) return `${name} has ${open.length} connections`
    const [holder] = open
    for (const { instance } of lives) {
      const entry = await instance.devices.find(name)
      if (entry?.instance !== holder?.instance.engine.instance) return `${name} is not where it is`
      if (!holder || !entry) continue
      const { registration } = await holder.device.entered
      if (!registration.isConfirmed) return `${name} is not confirmed`
      if (entry.revision !== registration.revision) return `${name} has two revisions`
      const highest = Math.max(0, ...(given.get(name) ?? []))
      if (registration.revision < highest) return `${name} has not the highest revision`
      // A device that was closed just now may be found, and be gone a moment later.
      const failure = await instance.devices.send(name, 'ping').catch((error: Error) => error)
      if (failure) return `${name} is not reached: ${failure.message}`
    }
  }
  return ''
}
