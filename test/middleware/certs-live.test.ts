/** Hot reload of `certs` on a server, and on a client that reconnects. */

import test, { type ExecutionContext } from 'ava'
import { execFile } from 'node:child_process'
import { unlinkSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { type CertsOptions, Cio, certs, reconnect } from '../../src/index.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { LiveFiles, presented } from '../support/live-files.ts'
import { serve } from '../support/serve.ts'
import { writeGreeting, recordEvents } from '../support/tls.ts'
import { nextEvent } from '../support/transports.ts'
import { wordsOf } from '../support/typescript.ts'

const watch = 20

async function open(t: ExecutionContext, files: LiveFiles, options: CertsOptions = {}) {
  const { key, cert } = files
  const app = new Cio()
    .useServer(certs({ key, cert, watch, ...options }))
    .useConnection(writeGreeting)
  return { app, told: recordEvents(app), server: await serve(t, app) }
}

for (const [what, way] of [
  ['written in place', 'inPlace'],
  ['replaced by a rename', 'byRename'],
  ['replaced by another link, as in Kubernetes,', 'byLink'],
] as const) {
  test(`a pair that is ${what} is applied, more than once`, async (t) => {
    const files = new LiveFiles(t)
    files[way]('server')
    const { app, told, server } = await open(t, files)
    t.is(await presented(t, server), 'localhost')
    for (const [name, shown] of [
      ['server2', 'second'],
      ['server', 'localhost'],
      ['server2', 'second'],
    ] as const) {
      const reloaded = nextEvent(app, 'reload')
      files[way](name)
      await reloaded
      t.is(await presented(t, server), shown)
    }
    t.deepEqual(told.error, [])
  })
}

test('a key and its certificate may change one long after the other', async (t) => {
  const files = new LiveFiles(t)
  files.inPlace('server')
  const { app, told, server } = await open(t, files)
  const complained = nextEvent(app, 'error')
  files.put('key', 'server2.key')
  const [error] = await complained
  t.like(error, { code: 'ERR_CIO_CERTIFICATE' })
  t.is(await presented(t, server), 'localhost')
  const reloaded = nextEvent(app, 'reload')
  files.put('cert', 'server2.crt')
  await reloaded
  t.is(await presented(t, server), 'second')
  t.is(told.error.length, 1)
})

test('a broken file is reported once, and the next valid one is applied', async (t) => {
  const files = new LiveFiles(t)
  files.inPlace('server')
  const { app, told, server } = await open(t, files)
  for (const breakIt of [
    // At once: a file that stays empty until its bytes are written would be another broken one.
    () => writeFileSync(files.cert, 'garbage'),
    () => writeFileSync(files.cert, ''),
    () => writeFileSync(files.cert, contents('server2.crt').subarray(0, 300)),
    () => unlinkSync(files.cert),
  ]) {
    const before = told.error.length
    const complained = nextEvent(app, 'error')
    breakIt()
    await complained
    await new Promise((resolve) => setTimeout(resolve, 5 * watch))
    t.is(told.error.length, before + 1)
    t.is(await presented(t, server), 'localhost')
  }
  const reloaded = nextEvent(app, 'reload')
  files.inPlace('server2')
  await reloaded
  t.is(await presented(t, server), 'second')
})

test('a file that is written slowly is not applied before it is complete', async (t) => {
  const files = new LiveFiles(t)
  files.inPlace('server')
  files.put('ca', 'root.crt')
  const { app, told, server } = await open(t, files, { ca: files.ca, watch: 1_500 })
  const bundle = Buffer.concat([contents('other.crt'), contents('root.crt')])
  // Half of it is also a bundle, of the wrong CA.
  const reloaded = nextEvent(app, 'reload')
  for (let length = 0; length < bundle.length; length += 400) {
    await writeFile(files.ca, bundle.subarray(0, length + 400))
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await reloaded
  t.deepEqual((server.options as { ca: Buffer[] }).ca, [bundle])
  t.deepEqual(told.error, [])
})

test('watching is for options of listen as well', async (t) => {
  const files = new LiveFiles(t)
  files.inPlace('server')
  const app = new Cio().useConnection(writeGreeting)
  const server = await serve(t, app, { key: files.key, cert: files.cert, watch })
  const reloaded = nextEvent(app, 'reload')
  files.inPlace('server2')
  await reloaded
  t.is(await presented(t, server), 'second')
})

test('unchanged files are not read again', async (t) => {
  const files = new LiveFiles(t)
  files.inPlace('server')
  const { app } = await open(t, files)
  app.on('reload', () => t.fail())
  await new Promise((resolve) => setTimeout(resolve, 10 * watch))
  t.pass()
})

test.serial('a signal reloads, and has no listener after the server has closed', async (t) => {
  const files = new LiveFiles(t)
  files.inPlace('server')
  const before = process.listenerCount('SIGHUP')
  const { app, server, told } = await open(t, files, { watch: false, reloadSignal: 'SIGHUP' })
  t.is(process.listenerCount('SIGHUP'), before + 1)
  files.inPlace('server2')
  const reloaded = nextEvent(app, 'reload')
  // Not by kill(): AVA's worker threads receive no signals.
  process.emit('SIGHUP', 'SIGHUP')
  await reloaded
  t.is(await presented(t, server), 'second')

  const complained = nextEvent(app, 'error')
  files.put('cert', 'garbage.pem')
  process.emit('SIGHUP', 'SIGHUP')
  await complained
  t.is(await presented(t, server), 'second')
  t.is(told.error.length, 1)
  await server.close()
  t.is(process.listenerCount('SIGHUP'), before)
})

test('a hundred reloads leave no descriptor, timer or listener behind, and little memory', async (t) => {
  const program = wordsOf(new URL('../fixtures/hundred-reloads.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', ...program], {
    env: { ...process.env, KEY: path('server.key'), CERT: path('server.crt') },
  })
  const { descriptors, timers, listeners, heap } = JSON.parse(stdout) as Record<string, number>
  for (const left of [descriptors, timers, listeners]) t.true(left! <= 0, stdout)
  t.true(heap! < 3 * 1024 * 1024, `${heap} bytes`)
})

// On a client.

test('a client presents its new certificate when it reconnects, in a loop too', async (t) => {
  const files = new LiveFiles(t)
  files.inPlace('alice')
  const app = new Cio().useConnection(writeGreeting)
  const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
  const server = await serve(t, app, mutual)
  const names: (string | null | undefined)[] = []
  app.on('secure', (ctx) => names.push(ctx.peer?.name))

  const { key, cert } = files
  const client = new Cio()
    .useClient(certs({ key, cert, ca: path('root.crt') }))
    .useClient(reconnect({ delay: 10, factor: 1, stableAfter: 0 }))
    .useClient((ctx, next) => (ctx.stream.resume(), next()))
  t.teardown(() => client.close({ timeout: 0 }))
  const told = recordEvents(client)
  let secured = nextEvent(app, 'secure')
  await client.connect({ host: '127.0.0.1', port: server.port })
  await secured
  files.inPlace('bob')
  secured = nextEvent(app, 'secure')
  await secured
  while (names.at(-1) !== 'bob') await nextEvent(app, 'secure')
  t.is(names[0], 'alice')

  // With a broken file, the last valid certificate and the client stay.
  const complained = nextEvent(client, 'error')
  files.put('cert', 'garbage.pem')
  await complained
  await nextEvent(app, 'secure')
  t.is(names.at(-1), 'bob')
  t.like(told.error[0], { code: 'ERR_CIO_CERTIFICATE' })
})

test('options that are out of their range are rejected when certs is created', (t) => {
  for (const options of [
    { watch: 0 },
    { watch: Infinity },
    { watch: 'yes' },
    { reloadSignal: 'HUP' },
    { reloadSignal: 'SIGKILL' },
    { revoked: 'stop' },
    { drainTimeout: -1 },
  ]) {
    t.throws(() => certs(options as CertsOptions), { code: 'ERR_CIO_OPTION' })
  }
  t.truthy(loaded('server'))
})

test('a mistake in the options of listen fails before anything listens', async (t) => {
  const options = { ...identity('server'), watch: -1 }
  await t.throwsAsync(serve(t, new Cio(), options), { code: 'ERR_CIO_OPTION' })
})
