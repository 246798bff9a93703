/** The promises about letters. */

import type { Engine, Letters } from '../engine.ts'
import { outage } from './outages.ts'
import { type Checks, bytes, check, rejects, text, type Trial } from './trial.ts'

const bounds = { maxPerKey: 100, maxBytes: 1_000_000, maxAge: 600_000 }

/** All letters of a key, oldest first. */
async function allOf(letters: Letters, key: string): Promise<string[]> {
  const found: string[] = []
  for (let after = 0; ;) {
    const letter = await letters.next(key, after)
    if (!letter) return found
    found.push(text(letter.payload)!)
    after = letter.seq
  }
}

function open(engine: Engine, name: string, more: object = {}): Promise<Letters> {
  return engine.letters(name, { ...bounds, ...more })
}

export const letters: Checks = {
  'keeps letters in order until they are removed': {
    run: async (trial) => {
      const name = trial.word()
      const [one, other] = [await open(trial.one, name), await open(trial.other, name)]
      check((await one.next('k', 0)) === undefined, 'there is no letter at first')
      for (let at = 0; at < 10; at++) await one.append('k', bytes(String(at)), `id${at}`)
      await one.append('other', bytes('not for k'), 'id0')
      const all = await allOf(other, 'k')
      check(all.join('') === '0123456789', `the letters are ${all.join()}`)
      const first = (await other.next('k', 0))!
      await other.remove('k', first.seq)
      await other.remove('k', first.seq)
      check((await allOf(one, 'k')).join('') === '123456789', 'a removed letter is gone')
      check((await allOf(one, 'other')).length === 1, 'another key has its letters')
    },
  },
  'drops a letter whose id it has': {
    run: async (trial) => {
      const name = trial.word()
      const [one, other] = [await open(trial.one, name), await open(trial.other, name)]
      const first = await one.append('k', bytes('once'), 'a')
      const again = await other.append('k', bytes('twice'), 'a')
      check(!first.isDuplicate && again.isDuplicate, 'the second one is a duplicate')
      check(first.seq === again.seq, 'both have the number of the first')
      await one.remove('k', first.seq)
      check((await one.append('k', bytes('thrice'), 'a')).isDuplicate, 'also when it is removed')
      check(!(await one.append('other', bytes('o'), 'a')).isDuplicate, 'ids are those of a key')
      check((await allOf(one, 'k')).length === 0, 'no duplicate is kept')
    },
  },
  'refuses a letter for a full box, and keeps those that are there': {
    run: async (trial) => {
      const few = await open(trial.one, trial.word(), { maxPerKey: 2 })
      await few.append('k', bytes('1'), 'a')
      await few.append('k', bytes('2'), 'b')
      const full = 'ERR_CIO_MAILBOX_FULL'
      await rejects(full, () => few.append('k', bytes('3'), 'c'), 'a letter too many')
      await few.append('other', bytes('1'), 'c')
      check((await allOf(few, 'k')).join('') === '12', 'the letters before stay')
      await few.remove('k', (await few.next('k', 0))!.seq)
      await few.append('k', bytes('3'), 'd')
      const small = await open(trial.one, trial.word(), { maxBytes: 10_000 })
      const large = new Uint8Array(6_000)
      await small.append('k', large, 'a')
      await rejects(full, () => small.append('other', large, 'b'), 'bytes too many')
    },
  },
  'forgets a letter after its time': {
    run: async (trial) => {
      const short = await open(trial.one, trial.word(), { maxAge: 1_000 })
      await short.append('k', bytes(''), 'a')
      const began = performance.now()
      while (await short.next('k', 0)) {
        check(performance.now() - began < 20_000, 'the letter is still there after 20 s')
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    },
  },
  'keeps letters over an outage, and takes none in it': {
    needsOutage: true,
    run: async (trial: Trial) => {
      const box = await open(trial.one, trial.word())
      const { seq } = await box.append('k', bytes('before'), 'a')
      await outage(trial, async () => {
        const down = 'ERR_CIO_CLUSTER_DOWN'
        await rejects(down, () => box.append('k', bytes('lost'), 'b'), 'append')
        await rejects(down, () => box.next('k', 0), 'next')
        await rejects(down, () => box.remove('k', seq), 'remove')
        await rejects(down, () => open(trial.one, 'other'), 'letters')
      })
      check((await allOf(box, 'k')).join() === 'before', 'the letter survives')
      check((await box.append('k', bytes('again'), 'a')).isDuplicate, 'its id survives')
    },
  },
}
