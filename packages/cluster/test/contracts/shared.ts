/** Shared lists and trust, over any engine. */

import type { ExecutionContext } from 'ava'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cio, type ListenOptions, type PeerSelector, type ServerContext } from 'cio'
import { contents, loaded, path } from '../../../../test/support/certificates.ts'
import { connectWith, presented } from '../../../../test/support/live-files.ts'
import { connectTls } from '../../../../test/support/tls.ts'
import {
  type Cluster,
  type Engine,
  type SharedList,
  type SharedListOptions,
  cluster,
  sharedList,
  sharedTrust,
} from '../../src/index.ts'
import { signDocument } from '../../src/shared/document.ts'
import { encodePeers } from '../../src/shared/selector.ts'
import type { ContractOf } from '../support/engines.ts'
import { heard, until } from '../support/heard.ts'

const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const stranger = generateKeyPairSync('ed25519')

interface Instance {
  readonly here: Cluster
  readonly shared: SharedList
  readonly app: Cio
  readonly listen: (options?: ListenOptions) => Promise<ServerContext>
  /** All that was passed to the list, newest last. */
  readonly lists: unknown[]
  readonly refused: string[]
}

function instance(
  t: ExecutionContext,
  engine: Engine,
  options: Partial<SharedListOptions> = {},
  whenDown: 'wait' | 'listen' = 'wait',
): Instance {
  const here = cluster({ engine, whenDown })
  const lists: unknown[] = []
  const shared = sharedList(here, {
    name: 'denied',
    list: { update: async (who?: PeerSelector) => void lists.push(who) },
    verifyKey: publicKey,
    signKey: privateKey,
    startTimeout: 60_000,
    ...options,
  })
  const app = new Cio().useServer(here).useServer(shared)
  const refused: string[] = []
  app.on('sharedRefused', (error) => refused.push((error as { code?: string }).code ?? 'none'))
  const listen = async (given: ListenOptions = { bind: false }): Promise<ServerContext> => {
    const server = await app.listen(given)
    t.teardown(() => server.close({ timeout: 0 }))
    return server
  }
  return { here, shared, app, listen, lists, refused }
}

function folder(t: ExecutionContext): string {
  const made = mkdtempSync(join(tmpdir(), 'cio-shared-'))
  t.teardown(() => rmSync(made, { recursive: true }))
  return made
}

/** Keeps an instance without a server in the cluster until the test ends. */
async function stay(t: ExecutionContext, { here }: Instance): Promise<void> {
  await here.open()
  t.teardown(() => here.close())
}

async function rawTable(t: ExecutionContext, engine: Engine) {
  await engine.open(new AbortController().signal)
  t.teardown(() => engine.close())
  return engine.table('shared', { ttl: Infinity })
}

const signed = (revision: number, who: string[], name = 'denied'): Uint8Array =>
  signDocument({ name, purpose: 'list' }, revision, encodePeers('test', who), privateKey)

const byText = (a: string, b: string): number => a.localeCompare(b)

/** The claims about `sharedList` and `sharedTrust`. */
export function sharedContract({ test, over, engines }: ContractOf): void {
  test(`${over}, a list that is changed once is applied by all instances, with proof`, async (t) => {
    const { make } = await engines(t)
    const publisher = instance(t, make())
    await stay(t, publisher)
    t.is(await publisher.shared.publish(['mallory']), 1)
    const one = instance(t, make())
    const other = instance(t, make())
    await Promise.all([one.listen(), other.listen()])
    t.deepEqual(one.lists, [['mallory']], 'in force before the server listens')
    const who = ['mallory', /^test-/i, { ou: ['interns', /^temp/], dns: 'a.test' }]
    const revision = await publisher.shared.publish(who)
    const applied = await publisher.shared.applied(revision, { timeout: 60_000 })
    const ids = [publisher, one, other].map(({ here }) => here.engine.instance)
    t.deepEqual([...applied.keys()].toSorted(byText), ids.toSorted(byText))
    t.deepEqual([...applied.values()], [2, 2, 2])
    t.deepEqual(one.lists.at(-1), who, 'patterns and fields arrive as they were')
    t.is(other.shared.revision, 2)
  })

  test(`${over}, a revision of another key, name or purpose is refused, and the last good one stays`, async (t) => {
    const { make } = await engines(t)
    const one = instance(t, make())
    await stay(t, one)
    await one.shared.publish(['mallory'])
    await one.listen()
    const table = await rawTable(t, make())
    const body = encodePeers('test', [])
    const wrong = [
      signDocument({ name: 'denied', purpose: 'list' }, 9, body, stranger.privateKey),
      signDocument({ name: 'other', purpose: 'list' }, 9, body, privateKey),
      signDocument({ name: 'denied', purpose: 'ca' }, 9, body, privateKey),
      Buffer.from('garbage'),
    ]
    for (const bytes of wrong) {
      const refused = heard(one.app, 'sharedRefused')
      await table.put('denied', bytes)
      t.is(((await refused)[0] as { code?: string }).code, 'ERR_CIO_SIGNATURE')
    }
    const unusable = signDocument(
      { name: 'denied', purpose: 'list' },
      10,
      Buffer.from('garbage'),
      privateKey,
    )
    const refused = heard(one.app, 'sharedRefused')
    await table.put('denied', unusable)
    t.is(((await refused)[0] as { code?: string }).code, 'ERR_CIO_SYNTAX')
    t.deepEqual(one.lists, [['mallory']])
    t.is(one.shared.revision, 1)
    const missing = one.shared.applied(10, { timeout: 100 })
    await t.throwsAsync(missing, {
      code: 'ERR_CIO_NOT_APPLIED',
      message: new RegExp(one.here.engine.instance),
    })
  })

  test(`${over}, an older revision is refused, and the newest is written back`, async (t) => {
    const { make } = await engines(t)
    const one = instance(t, make())
    await stay(t, one)
    const table = await rawTable(t, make())
    await one.shared.publish(['alice'])
    await one.shared.applied(1, { timeout: 60_000 })
    const older = (await table.get('denied'))!.value!
    await one.shared.publish(['mallory'])
    await one.shared.applied(2, { timeout: 60_000 })
    await one.listen()
    const newest = (await table.get('denied'))!.value!
    const refused = heard(one.app, 'sharedRefused')
    await table.put('denied', older)
    t.is(((await refused)[0] as { code?: string }).code, 'ERR_CIO_REPLAY')
    await until(async () => Buffer.from(newest).equals((await table.get('denied'))?.value ?? older))
    await table.delete('denied')
    await until(async () => Buffer.from(newest).equals((await table.get('denied'))?.value ?? older))
    t.deepEqual(one.lists.at(-1), ['mallory'])
    await table.put('denied', signed(2, ['somebody else']))
    await until(() => one.refused.length === 2)
    t.is(one.refused[1], 'ERR_CIO_REPLAY', 'two documents of one revision are a conflict')
    t.deepEqual(one.lists.at(-1), ['mallory'])
  })

  test(`${over}, a server without a revision does not listen; with a copy in a file it does`, async (t) => {
    const { make, down, up } = await engines(t)
    const file = join(folder(t), 'denied.signed')
    const none = instance(t, make(), { startTimeout: 50 })
    await t.throwsAsync(none.listen(), { code: 'ERR_CIO_NO_COPY' })

    const first = instance(t, make(), { file })
    await stay(t, first)
    await first.shared.publish(['mallory'])
    await until(() => first.shared.revision === 1)
    await first.listen()
    await until(() => existsSync(file))
    await down()
    const later = instance(t, make(), { file, startTimeout: 60_000 }, 'listen')
    await later.listen()
    t.deepEqual(later.lists, [['mallory']], 'from the file, without a broker')
    await up()
    // A revision that was published meanwhile is applied as soon as the broker is back.
    const publisher = instance(t, make())
    await stay(t, publisher)
    const revision = await publisher.shared.publish(['trudy'])
    await publisher.shared.applied(revision, { timeout: 60_000 })
    await until(() => later.shared.revision === revision)
    t.deepEqual(later.lists.at(-1), ['trudy'])
    await until(() => readFileSync(file).includes('"revision":2'))

    const broken = `${file}.broken`
    writeFileSync(broken, readFileSync(file).subarray(0, -4))
    const tampered = instance(t, make(), { file: broken })
    await t.throwsAsync(tampered.listen(), { code: 'ERR_CIO_SIGNATURE' })
  })

  test(`${over}, a restart with a file refuses what is older than the file`, async (t) => {
    const { make } = await engines(t)
    const file = join(folder(t), 'denied.signed')
    writeFileSync(file, signed(7, ['mallory']))
    const table = await rawTable(t, make())
    await table.put('denied', signed(6, []))
    const one = instance(t, make(), { file })
    await one.listen()
    t.deepEqual(one.lists, [['mallory']])
    t.is(one.shared.revision, 7)
    await until(async () =>
      Buffer.from((await table.get('denied'))!.value!).includes('"revision":7'),
    )
    t.is(await one.shared.publish(['trudy']), 8)
    // Its copy is written before the folder goes.
    await until(() => readFileSync(file).includes('"revision":8'))
  })

  test(`${over}, of two revisions that are published at once one is refused`, async (t) => {
    const { make } = await engines(t)
    const one = instance(t, make())
    const other = instance(t, make())
    await Promise.all([stay(t, one), stay(t, other)])
    const both = await Promise.allSettled([one.shared.publish(['a']), other.shared.publish(['b'])])
    const failed = both.filter(({ status }) => status === 'rejected')
    t.true(failed.length <= 1)
    for (const { reason } of failed as PromiseRejectedResult[]) {
      t.is((reason as { code?: string }).code, 'ERR_CIO_STALE')
    }
    const revision = failed.length === 1 ? 1 : 2
    const applied = await one.shared.applied(revision, { timeout: 60_000 })
    t.is(applied.size, 2)
    t.deepEqual(one.lists.at(-1), other.lists.at(-1))
    const secret = instance(t, make(), { signKey: stranger.privateKey })
    await stay(t, secret)
    await t.throwsAsync(secret.shared.publish([]), { code: 'ERR_CIO_OPTION', message: /signKey/ })
  })

  test(`${over}, a CA and a revocation list are changed on all servers without a restart`, async (t) => {
    const { make } = await engines(t)
    const fleet = await Promise.all(
      [make(), make()].map(async (engine) => {
        const here = cluster({ engine })
        const keys = { verifyKey: publicKey, signKey: privateKey, startTimeout: 60_000 }
        const ca = sharedTrust(here, { option: 'ca', ...keys })
        const crl = sharedTrust(here, { option: 'crl', ...keys })
        await here.open()
        t.teardown(() => here.close())
        return { here, ca, crl }
      }),
    )
    const [{ ca, crl }] = fleet as [(typeof fleet)[0], (typeof fleet)[0]]
    await ca.publish(contents('root.crt'))
    await crl.publish(contents('empty.crl'))
    const servers = await Promise.all(
      fleet.map(async (one) => {
        const app = new Cio()
          .useServer(one.here)
          .useServer(one.ca)
          .useServer(one.crl)
          .useConnection(async (ctx) => {
            ctx.stream.write('hello')
            await Promise.race([once(ctx.draining, 'abort'), once(ctx.signal, 'abort')])
          })
        app.on('remoteError', () => {}).on('reject', () => {})
        const refused: Error[] = []
        app.on('sharedRefused', (error) => refused.push(error))
        const server = await app.listen({
          port: 0,
          host: '127.0.0.1',
          key: path('server.key'),
          cert: path('server.crt'),
          requestCert: true,
        })
        t.teardown(() => server.close({ timeout: 0 }))
        return { ...one, server, refused }
      }),
    )
    const open = await Promise.all(
      servers.map(({ server }) => connectWith(t, server, loaded('revoked'))),
    )
    const closed = open.map((socket) => once(socket.resume(), 'close'))
    const revision = await crl.publish(contents('revoked.crl'))
    t.is((await crl.applied(revision, { timeout: 60_000 })).size, 2)
    await Promise.all(closed)
    for (const { server } of servers) {
      t.not((await connectTls(t, server, loaded('revoked'))).said, 'hello', 'revoked')
      t.is(await presented(t, server, loaded('alice')), 'localhost', 'others are trusted')
    }
    await t.throwsAsync(crl.publish(contents('root.crt')), { code: 'ERR_CIO_CERTIFICATE' })
    // Signed, and no revocation list: no server takes it, and all stay as they were.
    const bad = signDocument({ name: 'crl', purpose: 'crl' }, 9, Buffer.from('none'), privateKey)
    const table = await rawTable(t, make())
    await table.put('crl', bad)
    await until(() => servers.every(({ refused }) => refused.length > 0))
    for (const { server } of servers) {
      t.is(await presented(t, server, loaded('alice')), 'localhost')
      t.not((await connectTls(t, server, loaded('revoked'))).said, 'hello')
    }
    const next = await ca.publish(contents('other.crt'))
    await ca.applied(next, { timeout: 60_000 })
    for (const { server } of servers) {
      t.not((await connectTls(t, server, loaded('alice'))).said, 'hello', 'of another CA now')
    }
  })
}
