import test from 'ava'
import { type RegistryOptions, cluster, registry } from '../src/index.ts'
import { duplicatesContract } from './contracts/duplicates.ts'
import { memoryEngines } from './support/engines.ts'

duplicatesContract({ test, over: 'in memory', engines: memoryEngines })

test('`max` is for `all`, and within its bounds', (t) => {
  for (const options of [
    { max: 2 },
    { duplicates: 'newest', max: 2 },
    { duplicates: 'all', max: 0 },
    { duplicates: 'all', max: 1_001 },
    { duplicates: 'some' },
  ]) {
    const make = (): unknown => registry(cluster(), options as RegistryOptions)
    t.throws(make, { code: 'ERR_CIO_OPTION' }, JSON.stringify(options))
  }
})
