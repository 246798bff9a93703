/** Values that a person writes by mistake: of environment variables, of JSON files, without `await`. */

import test from 'ava'
import { allowList } from 'cio'
import {
  cluster,
  mailbox,
  registry,
  rooms,
  sharedList,
  sharedTrust,
  type Cluster,
} from '../src/index.ts'
import { generateKeyPairSync } from 'node:crypto'

const wrong = [null, '', 'false', 0, -1, Number.NaN, true, [], {}, Promise.resolve({})]
const verifyKey = generateKeyPairSync('ed25519').publicKey

const parts: Readonly<Record<string, (of: Cluster) => unknown>> = {
  registry: (of) => registry(of),
  rooms: (of) => rooms(of),
  mailbox: (of) => mailbox(of, { deliver: async () => {} }),
  sharedList: (of) => sharedList(of, { name: 'list', list: allowList([]), verifyKey }),
  sharedTrust: (of) => sharedTrust(of, { option: 'ca', verifyKey }),
}

for (const [name, make] of Object.entries(parts)) {
  test(`${name} refuses what is no cluster when it is made`, (t) => {
    for (const value of [undefined, ...wrong]) {
      const error = t.throws(() => make(value as never), { code: 'ERR_CIO_OPTION' })
      t.regex(error.message, new RegExp(`^${name}: .*cluster`))
    }
    t.notThrows(() => make(cluster()))
  })
}

test('cluster refuses what is no engine', (t) => {
  for (const engine of wrong as never[]) {
    t.throws(() => cluster({ engine }), { code: 'ERR_CIO_OPTION', message: /`engine`/ })
  }
})

test('the calls refuse what is no signal, and wrong bounds', async (t) => {
  const here = cluster()
  const devices = registry(here)
  for (const signal of wrong as never[]) {
    const refused = { code: 'ERR_CIO_OPTION', message: /`signal`/ }
    await t.throwsAsync(here.open({ signal }), refused)
    await t.throwsAsync(devices.send('a', 1, { signal }), refused)
    await t.throwsAsync(devices.evict('a', { signal }), refused)
    t.throws(() => devices.watch({ signal }), refused)
  }
  for (const value of [null, '5', -1, Number.NaN, true] as never[]) {
    const { signal } = new AbortController()
    t.throws(() => devices.list({ maxEntries: value }), { code: 'ERR_CIO_OPTION' })
    t.throws(() => devices.watch({ signal, maxBacklog: value }), { code: 'ERR_CIO_OPTION' })
    await t.throwsAsync(devices.send('a', 1, { timeout: value }), { code: 'ERR_CIO_OPTION' })
  }
  for (const prefix of [null, 5, true, [], {}] as never[]) {
    t.throws(() => devices.list({ prefix }), { code: 'ERR_CIO_OPTION', message: /`prefix`/ })
  }
  for (const options of [null, '', 5] as never[]) {
    await t.throwsAsync(devices.evict('a', options), { code: 'ERR_CIO_OPTION' })
  }
})
