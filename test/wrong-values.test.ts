/** Values that a person writes by mistake: of environment variables, of JSON files, without `await`. */

import test from 'ava'
import { Cio } from '../src/index.ts'
import { Pool, type PoolOptions, dnsTargets, srvTargets } from '../src/pool.ts'
import { conforms, fragment, replay, testApp } from '../src/testing.ts'
import { middlewareOf } from './support/middleware.ts'

const unset = [null, 'false', '', 0, Number.NaN]
const noText = [null, 5, true, [], {}]
const noObject = [null, '', 'false', 0, Number.NaN, true, [], ['one'], Promise.resolve({})]
const noBound = [null, '5', '', Number.NaN, -1, -Infinity, true, [5]]
const noPort = [null, '', '0', 'http', 0, 1.5, -1, 65_536, Infinity, Number.NaN]

const codecs = ['cbor', 'content-length', 'json', 'json-stream', 'lines', 'msgpack'] as const
const proxy = { host: 'proxy' }

/** A middleware, the option, the wrong values, and what else it needs. */
const cases: readonly (readonly [string, string, readonly unknown[], object?])[] = [
  ...codecs.flatMap((name) => [
    [name, 'maxLength', noBound] as const,
    [name, 'maxQueueSize', noBound] as const,
    [name, 'validate', [null, 5, '', 'false', true, {}, [], () => true]] as const,
  ]),
  ['allow-list', 'dryRun', unset],
  ...['useRecords', 'mapsAsObjects', 'structuredClone', 'copyBuffers'].flatMap((flag) => [
    ['cbor', flag, unset] as const,
    ['msgpack', flag, unset] as const,
  ]),
  ['certs', 'strictSni', unset],
  ['certs', 'sni', noObject],
  ['certs', 'sni', noObject.map((value) => ({ 'a.example': value }))],
  ['drain', 'keepChannel', unset],
  ['http-connect', 'port', noPort, proxy],
  ['http-connect', 'tls', unset, proxy],
  ['http-connect', 'tls', [[], Promise.resolve({})], proxy],
  ['http-connect', 'headers', noObject, proxy],
  ['http-connect', 'password', noText, { ...proxy, username: 'alice' }],
  ['json-stream', 'root', [null, 0, '', 'false', {}]],
  ['json-stream', 'top', noObject],
  ['json-stream', 'paths', noObject],
  ['layer', 'buffered', unset],
  ['log', 'healthChecks', unset],
  ['multiplex', 'initiator', unset],
  ['proxy-protocol', 'required', unset, { trusted: ['10.0.0.0/8'] }],
  ['reconnect', 'budget', [null, 5, {}, 'false']],
  ['rpc', 'methods', noObject],
  ['socks5', 'port', noPort, proxy],
  ['websocket', 'borders', unset],
]

const before: Record<string, readonly unknown[]> = {
  'allow-list': [['alice']],
  multiplex: [new Cio()],
  websocket: [new Cio()],
}

for (const [name, option, values, others = {}] of cases) {
  const named = `${name} refuses a wrong \`${option}\` when it is made`
  test(`${named}: ${values.map(text).join(' ')}`, (t) => {
    for (const value of values) {
      const make = (): unknown =>
        middlewareOf(name)(...(before[name] ?? []), { ...others, [option]: value })
      const error = t.throws(make, { code: 'ERR_CIO_OPTION' }, text(value))
      t.true(error.message.includes(option), error.message)
    }
    const given = [...(before[name] ?? []), { ...others, [option]: undefined }]
    t.notThrows(() => middlewareOf(name)(...given))
  })
}

test('a promise of options says to await it: it would be a middleware with its defaults', (t) => {
  for (const name of ['timeout', 'limit', 'certs', 'json', 'rpc', 'rooms']) {
    const make = (): unknown => middlewareOf(name)(Promise.resolve({ typo: 1 }))
    t.throws(make, { code: 'ERR_CIO_OPTION', message: /await the promise/ }, name)
  }
})

test('listen and connect refuse a promise of options: it was a server without TLS on any port', async (t) => {
  const promise = Promise.resolve({ key: 'server.key', cert: 'server.crt' }) as never
  const refused = { code: 'ERR_CIO_OPTION', message: /await the promise/ }
  await t.throwsAsync(new Cio().listen(promise), refused)
  await t.throwsAsync(new Cio().listen(0, promise), refused)
  await t.throwsAsync(new Cio().connect(promise), refused)
  await t.throwsAsync(new Cio().connect([promise]), refused)
})

test('Pool refuses wrong values when it is made', (t) => {
  const targets = [{ port: 1 }]
  const source = srvTargets('_a._tcp.example')
  const refuses = (options: object, app: unknown = new Cio()): void => {
    const make = (): unknown => new Pool(app as Cio, options as PoolOptions)
    t.throws(make, { code: 'ERR_CIO_OPTION' }, Object.keys(options).join())
  }
  for (const connect of noObject) {
    refuses({ targets, connect })
    refuses({ targets: source, connect })
  }
  refuses({ targets: source, connect: { typo: 1 } })
  for (const maxShare of [null, '', '0.5', true, [], Number.NaN, -1, 2]) {
    refuses({ targets, eject: { maxShare } })
  }
  refuses({ targets: [Promise.resolve({ port: 1 })] })
  refuses({ targets: Promise.resolve(targets) })
  for (const app of [...noObject, {}]) refuses({ targets }, app)
  for (const resolver of [...noObject, {}] as never[]) {
    t.throws(() => dnsTargets('a.example', 1, { resolver }), { code: 'ERR_CIO_OPTION' })
    t.throws(() => srvTargets('_a._tcp.example', { resolver }), { code: 'ERR_CIO_OPTION' })
  }
})

test('conforms refuses what would check nothing, and testApp what is no app', async (t) => {
  const subject = (): never => middlewareOf('lines')() as never
  const wrong = {
    pipelines: [null, '', 'connection', [], ['server'], {}],
    values: [null, '', 'abc', [], {}],
    except: [null, '', 'has a name', {}],
    setUp: [null, '', true, {}],
    talk: [null, '', true, {}],
    answer: [null, '', true, {}],
    counterpart: ['', true, {}],
    listen: noObject,
    connect: noObject,
    timeout: noBound.filter((value) => value !== -Infinity),
  }
  for (const [option, values] of Object.entries(wrong)) {
    for (const value of values as never[]) {
      const refused = { code: 'ERR_CIO_OPTION', message: new RegExp(option) }
      await t.throwsAsync(conforms(subject, { [option]: value }), refused, option)
    }
  }
  for (const value of [undefined, ...noObject, {}] as never[]) {
    await t.throwsAsync(testApp(value), { code: 'ERR_CIO_OPTION' })
    if (value === undefined) continue
    await t.throwsAsync(testApp(new Cio(), { client: value }), { code: 'ERR_CIO_OPTION' })
  }
})

test('replay and fragment refuse wrong values when they are called', async (t) => {
  const recording = 'test/wrong-values.test.ts'
  for (const app of [undefined, ...noObject, {}] as never[]) {
    const refused = { code: 'ERR_CIO_OPTION', message: /`app`/ }
    await t.throwsAsync(replay(recording, app), refused)
  }
  for (const file of [undefined, null, 0, true, {}, Promise.resolve('')] as never[]) {
    const refused = { code: 'ERR_CIO_OPTION', message: /`file`/ }
    await t.throwsAsync(replay(file, new Cio()), refused)
  }
  for (const timeout of noBound as never[]) {
    const refused = { code: 'ERR_CIO_OPTION', message: /`timeout`/ }
    await t.throwsAsync(replay(recording, new Cio(), { timeout }), refused)
  }
  for (const random of noBound as never[]) {
    t.throws(() => fragment('ab', { random }), { code: 'ERR_CIO_OPTION', message: /`random`/ })
  }
  for (const seed of [...noBound, 1.5, Infinity].filter((seed) => seed !== -1) as never[]) {
    t.throws(() => fragment('ab', { seed }), { code: 'ERR_CIO_OPTION', message: /`seed`/ })
  }
  for (const bytes of [
    undefined,
    null,
    0,
    true,
    ['one'],
    Promise.resolve(''),
    new ArrayBuffer(2),
  ] as never[]) {
    t.throws(() => fragment(bytes), { code: 'ERR_CIO_OPTION', message: /`bytes`/ }, text(bytes))
  }
})

test('the error of a wrong password does not show it', (t) => {
  const make = (): unknown => middlewareOf('http-connect')({ username: 'a', password: 427_311 })
  const error = t.throws(make, { code: 'ERR_CIO_OPTION' })
  t.false(error.message.includes('427311'))
})

function text(value: unknown): string {
  if (value instanceof Promise) return 'Promise'
  return typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? typeof value)
}
