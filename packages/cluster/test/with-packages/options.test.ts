/** Each method refuses the options of all others: an option that does nothing would be a silent mistake. */

import test from 'ava'
import { generateKeyPairSync } from 'node:crypto'
import { readFile, readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { denyList } from 'cio'
import {
  cluster,
  mailbox,
  memory,
  registry,
  rooms,
  sharedLimit,
  sharedList,
  sharedTrust,
} from '../../src/index.ts'
import { nats } from '../../src/nats.ts'
import { engineConforms } from '../../src/testing.ts'

const root = fileURLToPath(new URL('../../src/', import.meta.url))
const files = (await readdir(root, { recursive: true })).filter((name) => name.endsWith('.ts'))
const sources = await Promise.all(files.map((name) => readFile(`${root}${name}`, 'utf8')))
// `RoomsOptions` extends those of `cio`.
const inherited: Readonly<Record<string, readonly string[]>> = {
  LocalRoomsOptions: ['maxBacklog', 'maxRooms'],
  RoomSendOptions: ['except', 'local'],
  CallOptions: ['signal', 'timeout'],
  OpenOptions: ['signal'],
}
const interfaces = new Map(
  sources.flatMap((text) =>
    [
      ...text.matchAll(
        /interface (\w+Options)\b(?:<[^{]*>)?(?: extends (\w+))?[^{]*\{([^]*?)\n\}/g,
      ),
    ].map(([, name = '', parent, body = '']) => {
      const own = [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, option]) => option!)
      return [name, { parent, own }] as const
    }),
  ),
)

function optionsOf(name: string | undefined): readonly string[] {
  if (name === undefined) return []
  const found = interfaces.get(name)
  return found ? [...found.own, ...optionsOf(found.parent)] : inherited[name]!
}

const every = new Set([...interfaces.keys(), ...Object.keys(inherited)].flatMap(optionsOf))
const { publicKey: verifyKey } = generateKeyPairSync('ed25519')

/** Options of any kind: only their names are checked. */
type Given = never

const here = cluster()
const devices = registry(here, { key: () => null })
const letters = mailbox(here, { deliver: async () => {} })
const groups = rooms(here)
const denied = sharedList(here, { name: 'denied', list: denyList([]), verifyKey })
const trust = sharedTrust(here, { option: 'ca', verifyKey })
const takes: readonly (readonly [string, string, (options: Given) => unknown])[] = [
  ['cluster', 'ClusterOptions', (options) => cluster(options)],
  ['Cluster.open', 'OpenOptions', (options) => here.open(options)],
  ['registry', 'RegistryOptions', (options) => registry(cluster(), options)],
  ['Registry.send', 'ReachOptions', (options) => devices.send('a', 'x', options)],
  ['Registry.call', 'CallOptions', (options) => devices.call('a', 'm', undefined, options)],
  ['Registry.evict', 'EvictRemoteOptions', (options) => devices.evict('a', options)],
  ['Registry.list', 'ListOptions', (options) => devices.list(options)],
  ['Registry.watch', 'PresenceOptions', (options) => devices.watch(options)],
  ['mailbox', 'MailboxOptions', (options) => mailbox(cluster(), options)],
  ['Mailbox.send', 'MailOptions', (options) => letters.send('a', 'x', options)],
  ['rooms', 'RoomsOptions', (options) => rooms(cluster(), options)],
  ['Rooms.send', 'RoomSendOptions', (options) => groups.send('a', 'x', options)],
  ['sharedLimit', 'SharedLimitOptions', (options) => sharedLimit(options)],
  ['sharedList', 'SharedListOptions', (options) => sharedList(cluster(), options)],
  ['SharedList.applied', 'AppliedOptions', (options) => denied.applied(1, options)],
  ['sharedTrust', 'SharedTrustOptions', (options) => sharedTrust(cluster(), options)],
  ['SharedTrust.applied', 'AppliedOptions', (options) => trust.applied(1, options)],
  ['nats', 'NatsOptions', (options) => nats(options)],
  ['engineConforms', 'EngineConformsOptions', (options) => engineConforms(memory, options)],
]

for (const [name, type, take] of takes) {
  test(`${name} has the options of ${type}, and refuses all others`, async (t) => {
    const own = optionsOf(type)
    t.true(own.length > 0)
    for (const option of every) {
      if (own.includes(option)) continue
      const taken = async (): Promise<unknown> => take({ [option]: undefined } as Given)
      const message = new RegExp(`\`${option}\` is not an option of it`)
      await t.throwsAsync(taken, { code: 'ERR_CIO_OPTION', message })
    }
  })
}

test('an option that has no effect beside another one is refused', (t) => {
  const rate = { count: 1, per: 1_000 }
  const bad = [
    { max: 2 },
    { max: 2, duplicates: 'oldest' },
    { takeovers: rate, duplicates: 'oldest' },
    { takeovers: rate, duplicates: 'all' },
  ] as const
  for (const options of bad) {
    t.throws(() => registry(cluster(), options), { code: 'ERR_CIO_OPTION', message: /absent/ })
  }
  registry(cluster(), { takeovers: rate })
  registry(cluster(), { max: 2, duplicates: 'all' })
})

test('a reason that is no text is refused', async (t) => {
  const options = { reason: 7 as never }
  await t.throwsAsync(devices.evict('a', options), { code: 'ERR_CIO_OPTION' })
})

test('nats refuses what is no connection, and what is no object of options', (t) => {
  const never = [null, '', 'false', 0, true, [], Promise.resolve({})]
  for (const connection of [...never, -1, Number.NaN, {}] as never[]) {
    const refused = { code: 'ERR_CIO_OPTION', message: /`connection`/ }
    t.throws(() => nats({ connection }), refused)
  }
  for (const connect of never as never[]) {
    t.throws(() => nats({ connect }), { code: 'ERR_CIO_OPTION' })
  }
})
