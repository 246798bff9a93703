/** The promises about tables. */

import type { Row, Table } from '../engine.ts'
import { type Checks, bytes, check, rejects, text } from './trial.ts'

const racers = 20

export const tables: Checks = {
  'shows a row to all instances': {
    run: async (trial) => {
      const name = trial.word()
      const one = await trial.table(trial.one, name)
      const other = await trial.table(trial.other, name)
      check(!(await other.get('k'))?.value, 'a row that was never set has no value')
      const revision = await one.put('k', bytes('v'))
      const row = await other.get('k')
      check(row?.key === 'k' && text(row.value) === 'v', 'the row has its value')
      check(row.revision === revision, 'the row has the revision of its put')
      await one.delete('k')
      check(!(await other.get('k'))?.value, 'a deleted row has no value')
    },
  },
  'orders the puts of all instances': {
    run: async (trial) => {
      const name = trial.word()
      const one = await trial.table(trial.one, name)
      const other = await trial.table(trial.other, name)
      const puts = Array.from({ length: racers }, async (_, at) => {
        const value = String(at)
        return { value, revision: await (at % 2 ? one : other).put('k', bytes(value)) }
      })
      const done = (await Promise.all(puts)).toSorted((a, b) => a.revision - b.revision)
      check(new Set(done.map(({ revision }) => revision)).size === racers, 'each has its revision')
      const row = await one.get('k')
      check(text(row?.value) === done.at(-1)!.value, 'the put with the highest revision stays')
    },
  },
  'replaces a row once for each revision': {
    run: async (trial) => {
      const name = trial.word()
      const one = await trial.table(trial.one, name)
      const other = await trial.table(trial.other, name)
      for (let round = 0; round < 3; round++) {
        const revision = (await one.get('k'))?.revision ?? 0
        const replaced = await Promise.allSettled(
          Array.from({ length: racers }, (_, at) =>
            (at % 2 ? one : other).replace('k', bytes(String(at)), revision),
          ),
        )
        const won = replaced.filter(({ status }) => status === 'fulfilled')
        check(won.length === 1, `${won.length} of ${racers} replace one revision`)
      }
      await rejects('ERR_CIO_STALE', () => one.replace('k', bytes(''), 0), 'replace over a row')
    },
  },
  'deletes a row only at the revision that was asked for': {
    run: async (trial) => {
      const table = await trial.table(trial.one, trial.word())
      const first = await table.put('k', bytes('1'))
      const second = await table.put('k', bytes('2'))
      await rejects('ERR_CIO_STALE', () => table.delete('k', first), 'delete of an old revision')
      check(text((await table.get('k'))?.value) === '2', 'the row stays')
      await table.delete('k', second)
      const gone = await table.get('k')
      check(!gone?.value, 'the row is deleted')
      const again = await table.replace('k', bytes('3'), gone?.revision ?? 0)
      check(again > second, 'revisions rise over a deletion')
    },
  },
  'takes the revision that `get()` gives, and no other, also for a row that is not there': {
    run: async (trial) => {
      const name = trial.word()
      const one = await trial.table(trial.one, name)
      const other = await trial.table(trial.other, name)
      const stale = async (what: string, ...revisions: readonly number[]): Promise<void> => {
        for (const revision of revisions) {
          const replace = (): unknown => one.replace('k', bytes('x'), revision)
          await rejects('ERR_CIO_STALE', replace, `replace over ${revision} of ${what}`)
          const remove = (): unknown => one.delete('k', revision)
          await rejects('ERR_CIO_STALE', remove, `delete of ${revision} of ${what}`)
        }
      }
      check((await other.get('k')) === undefined, 'get() of a row that was never there')
      const first = await one.replace('k', bytes('1'), 0)
      await stale('a row', 0, first + 1)
      await one.delete('k', first)
      const gone = (await other.get('k'))?.revision ?? 0
      await stale('a deleted row', first, ...(gone === 0 ? [] : [0]))
      const racers = Array.from({ length: 10 }, (_, at) =>
        (at % 2 ? one : other).replace('k', bytes('2'), gone),
      )
      const won = (await Promise.allSettled(racers)).filter(({ status }) => status === 'fulfilled')
      check(won.length === 1, `${won.length} of 10 replace a deleted row`)
      await stale('a row that came back', 0, first, gone)
    },
  },
  'passes on changes in order': {
    run: async (trial) => {
      const name = trial.word()
      const one = await trial.table(trial.one, name)
      await one.put('before', bytes(''))
      const seen = await trial.watch(await trial.table(trial.other, name))
      for (let at = 0; at < 50; at++) await one.put(`k${at % 5}`, bytes(String(at)))
      await one.delete('k0')
      await seen.until((rows) => rows.some(({ value }) => !value), 'the news of a deletion')
      const values = seen.items.map(({ value }) => text(value))
      const expected = Array.from({ length: 50 }, (_, at) => String(at))
      check(values.slice(0, -1).join() === expected.join(), `watch passes on ${values.join()}`)
      check(seen.items.at(-1)?.key === 'k0', 'the deleted row has its key')
      check(rising(seen.items), 'revisions rise')
    },
  },
  'begins with what is there, if asked': {
    run: async (trial) => {
      const name = trial.word()
      const one = await trial.table(trial.one, name)
      const other = await trial.table(trial.other, name)
      const empty = await trial.watch(other, true)
      check(empty.items.length === 0, 'the snapshot of an empty table is empty')
      for (const key of ['a', 'b', 'c.d', 'a']) await one.put(key, bytes(key))
      const whole = await trial.watch(other, true)
      const keys = whole.items.map(({ key }) => key).toSorted()
      check(keys.join() === 'a,b,c.d', `the snapshot has the rows ${keys.join()}`)
      await one.put('e', bytes(''))
      await whole.until((rows) => rows.some(({ key }) => key === 'e'), 'news after the snapshot')
    },
  },
  'ends a watch by its signal': {
    run: async (trial) => {
      const table = await trial.table(trial.one, trial.word())
      const controller = new AbortController()
      const ended = await trial.watch(table, false, controller.signal)
      const lasting = await trial.watch(table)
      controller.abort()
      await table.put('k', bytes(''))
      await lasting.until(({ length }) => length > 0, 'news for a watch that lasts')
      check(ended.items.length === 0, 'a watch that was ended passes on a change')
    },
  },
  'keeps rows of a table without a time': {
    run: async (trial) => {
      const name = trial.word()
      const one = await trial.one.table(name, { ttl: Infinity })
      const other = await trial.other.table(name, { ttl: Infinity })
      const revision = await one.put('k', bytes('v'))
      const row = await other.get('k')
      check(text(row?.value) === 'v' && row?.revision === revision, 'the row has its value')
    },
  },
  'keeps rows for the longest time that an instance has asked for': {
    run: async (trial) => {
      const name = trial.word()
      const short = await trial.one.table(name, { ttl: 1_000 })
      const long = await trial.other.table(name, { ttl: 60_000 })
      const again = await trial.one.table(name, { ttl: 1_000 })
      for (const table of [short, long, again]) await table.put('k', bytes('v'))
      const other = await trial.one.table(trial.word(), { ttl: 1_000 })
      await gone(other)
      check(text((await long.get('k'))?.value) === 'v', 'the row is gone before the longer time')
    },
  },
  'forgets a row after its time': {
    run: async (trial) => {
      const table = await trial.one.table(trial.word(), { ttl: 1_000 })
      check((await gone(table)) > 500, 'the row is gone before its time')
      await table.replace('k', bytes(''), (await table.get('k'))?.revision ?? 0)
    },
  },
}

/** Sets a row, and waits until it is forgotten; the milliseconds that it was there. */
async function gone(table: Table): Promise<number> {
  await table.put('k', bytes(''))
  const began = performance.now()
  while ((await table.get('k'))?.value) {
    check(performance.now() - began < 20_000, 'the row is still there after 20 s')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return performance.now() - began
}

function rising(rows: readonly Row[]): boolean {
  return rows.every(({ revision }, at) => at === 0 || revision > rows[at - 1]!.revision)
}
