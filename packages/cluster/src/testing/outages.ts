/** The promises about an outage of the broker. */

import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import type { Engine, Gap } from '../engine.ts'
import { type Checks, Collected, bytes, check, rejects, text, type Trial } from './trial.ts'

export const outages: Checks = {
  'goes down and comes up once, with the length of the gap': {
    needsOutage: true,
    run: async (trial) => {
      const heard = new Collected<string | number>(trial)
      trial.one.on('down', () => heard.add('down'))
      trial.one.on('up', ({ duration }) => heard.add(duration))
      await outage(trial, async () => {
        check(!trial.one.isUp, 'an engine is not up after `down`')
      })
      check(trial.one.isUp, 'an engine is up after `up`')
      const [down, gap, more] = heard.items
      check(down === 'down' && more === undefined, 'each event comes once')
      check(typeof gap === 'number' && gap > 0, 'the gap has a duration')
    },
  },
  'rejects at once without a broker, and keeps nothing for later': {
    needsOutage: true,
    run: async (trial) => {
      const { one } = trial
      const [subject, name] = [trial.word(), trial.word()]
      const table = await trial.table(one, name)
      const taken = new Collected<string>(trial)
      trial.other.subscribe(subject, ({ payload }) => taken.add(text(payload)!))
      await trial.settle(trial.other)
      await outage(trial, async () => {
        const down = 'ERR_CIO_CLUSTER_DOWN'
        await rejects(down, () => one.publish(subject, bytes('lost')), 'publish')
        const request = (): unknown => one.request(subject, bytes(''), { timeout: 60_000 })
        await rejects(down, request, 'request')
        await rejects(down, () => trial.table(one, name), 'table')
        await rejects(down, () => table.get('k'), 'get')
        await rejects(down, () => table.put('k', bytes('')), 'put')
        await rejects(down, () => table.replace('k', bytes(''), 0), 'replace')
        await rejects(down, () => table.delete('k'), 'delete')
        const watch = (): unknown => table.watch(() => {}, { signal: trial.signal })
        await rejects(down, watch, 'watch')
      })
      one.publish(subject, bytes('after'))
      await taken.until(({ length }) => length > 0, 'a message after the outage')
      check(taken.items[0] === 'after', 'a message of the outage arrives after it')
      check(!(await table.get('k'))?.value, 'a row of the outage is there after it')
    },
  },
  'ends requests that wait when it goes down': {
    needsOutage: true,
    run: async (trial) => {
      const subject = trial.word()
      trial.other.subscribe(subject, () => {})
      await trial.settle(trial.other)
      const waiting = trial.one.request(subject, bytes(''), { timeout: 600_000 })
      const ended = rejects('ERR_CIO_CLUSTER_DOWN', () => waiting, 'a request that waits')
      await outage(trial, () => ended)
    },
  },
  'keeps subscriptions and rows over an outage': {
    needsOutage: true,
    run: async (trial) => {
      const [subject, name] = [trial.word(), trial.word()]
      const table = await trial.table(trial.one, name)
      const revision = await table.put('k', bytes('v'))
      trial.other.subscribe(subject, ({ reply }) => reply(bytes('still here')))
      await outage(trial, async () => {})
      await trial.settle(trial.other)
      const answer = await trial.one.request(subject, bytes(''), { timeout: 5_000 })
      check(text(answer) === 'still here', 'a subscription survives')
      const row = await table.get('k')
      check(text(row?.value) === 'v' && row?.revision === revision, 'a row survives')
      await table.replace('k', bytes('w'), revision)
    },
  },
  'ends watches with the outage': {
    needsOutage: true,
    run: async (trial) => {
      const table = await trial.table(trial.one, trial.word())
      const before = await trial.watch(table)
      await table.put('k', bytes(''))
      await before.until(({ length }) => length === 1, 'news before the outage')
      await outage(trial, async () => {})
      const after = await trial.watch(table)
      await table.put('k', bytes(''))
      await after.until(({ length }) => length === 1, 'news after the outage')
      check(before.items.length === 1, 'a watch goes on over a gap, as if it had missed nothing')
    },
  },
}

/** Runs work while no engine has a connection. */
export async function outage(trial: Trial, during: () => Promise<unknown>): Promise<void> {
  const engines = [trial.one, trial.other]
  const down = engines.map((engine) => heard(engine, 'down'))
  await trial.outage!.begin()
  await trial.within(Promise.all(down), '`down`')
  const up = engines.map((engine) => heard(engine, 'up'))
  try {
    await during()
  } finally {
    await trial.outage!.end()
    await trial.within(Promise.all(up), '`up`')
  }
}

async function heard(engine: Engine, event: 'down' | 'up'): Promise<Gap | undefined> {
  const [gap] = (await once(engine as unknown as EventEmitter, event)) as [Gap?]
  return gap
}
