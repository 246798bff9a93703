/** The short form of `npm run fuzz`: the same inputs each time. */

import test from 'ava'
import { look, mutate } from './fuzz/engine.ts'
import { keptSeeds } from './fuzz/fuzz.ts'
import { seeded } from '../src/testing/random.ts'
import { targets } from './fuzz/targets.ts'
import { many } from './support/long.ts'

const runs = many(60, 8)

for (const target of targets) {
  // One after the other, because the time of each is measured.
  test.serial(
    `damaged input of ${target.name} ends alike whole and cut, with no fault but the peer's`,
    async (t) => {
      const random = seeded(1)
      const kept = await keptSeeds(target)
      for (const input of [...target.seeds, ...kept]) {
        t.is((await look(target, input, random))?.what, undefined)
      }
      for (let run = 0; run < runs; run++) {
        const found = await look(target, mutate([...target.seeds, ...kept], random), random)
        t.is(found?.what, undefined, found?.input.toString('hex'))
      }
    },
  )
}
