import test from 'ava'
import { Cio, forward } from '../../src/index.ts'
import { optionsOf } from '../../src/lifecycle/arguments.ts'
import { closeAfter } from '../support/serve.ts'
import { socketPath } from '../support/transports.ts'

const refused = { code: 'ERR_CIO_OPTION' }

for (const call of ['listen', 'connect'] as const) {
  for (const [target, options] of [
    [7000, { port: 7000 }],
    ['7000', { port: 7000 }],
    ['/run/app.sock', { path: '/run/app.sock' }],
    ['app.sock', { path: 'app.sock' }],
    ['./127.0.0.1:7000', { path: './127.0.0.1:7000' }],
    ['\0app:7000', { path: '\0app:7000' }],
    [String.raw`\\.\pipe\app:1`, { path: String.raw`\\.\pipe\app:1` }],
    [{ path: '127.0.0.1:7000' }, { path: '127.0.0.1:7000' }],
    [
      { host: '[::1]', port: 1 },
      { host: '::1', port: 1 },
    ],
  ] as const) {
    test(`${call}(${JSON.stringify(target)}) leads to ${JSON.stringify(options)}`, (t) => {
      t.like(optionsOf(call, target, {}), options)
    })
  }

  for (const [target, write] of [
    ['127.0.0.1:7000', "{ host: '127.0.0.1', port: 7000 }"],
    ['localhost:7000', "{ host: 'localhost', port: 7000 }"],
    ['db.internal:5432', "{ host: 'db.internal', port: 5432 }"],
    ['[::1]:7000', "{ host: '::1', port: 7000 }"],
    ['127.0.0.1', "{ host: '127.0.0.1', port: … }"],
    ['::1', "{ host: '::1', port: … }"],
    ['[::1]', "{ host: '::1', port: … }"],
    ['localhost', "{ host: 'localhost', port: … }"],
    ['tcp://127.0.0.1:7000', '{ host: '],
    ['unix:///run/app.sock', '{ path }'],
  ] as const) {
    test(`${call}('${target}') is refused, with what to write (nodejs/node#9321)`, (t) => {
      const error = t.throws(() => optionsOf(call, target, {}), refused)
      t.true(error.message.includes(write), error.message)
    })
  }

  test(`a callback of ${call}() is refused, with what to write`, (t) => {
    const callback = (): void => {}
    for (const given of [
      [callback],
      [7000, callback],
      [7000, {}, callback],
      [7000, '::', callback],
    ]) {
      const [target, options = {}, ...more] = given
      const error = t.throws(() => optionsOf(call, target, options, ...more), refused)
      t.true(error.message.includes(`await app.${call}(`))
    }
  })

  test(`${call}() refuses what is no target, and what are no options`, (t) => {
    for (const target of [null, true, Symbol('s'), 1n, undefined]) {
      t.throws(() => optionsOf(call, target, {}), refused)
    }
    for (const options of ['127.0.0.1', null, 1, ['::1']]) {
      t.throws(() => optionsOf(call, 7000, options), refused)
    }
    t.throws(() => optionsOf(call, 7000, {}, 511), refused)
  })
}

test('an option that is inherited is refused, since it would be ignored', async (t) => {
  class Settings {
    readonly port = 0
    get requestCert(): boolean {
      return true
    }
  }
  const inherited = Object.create({ isClientAllowed: () => false, port: 0 }) as object
  for (const options of [new Settings(), inherited, new URL('tcp://127.0.0.1:7')]) {
    for (const call of ['listen', 'connect'] as const) {
      const why = { code: 'ERR_CIO_OPTION', message: /is refused: it is inherited/ }
      t.throws(() => optionsOf(call, options), why)
      t.throws(() => optionsOf(call, 0, options), why)
    }
  }
  const own = Object.assign(Object.create({ toString: () => 'mine' }) as object, { port: 7 })
  t.like(optionsOf('listen', own), { port: 7 })
})

test('a server listens on no array of targets', (t) => {
  t.throws(() => optionsOf('listen', [{ port: 1 }], {}), refused)
})

test('Node’s ways to call listen() and connect() reject, and open nothing', async (t) => {
  const app = new Cio()
  const listen = app.listen.bind(app) as (...given: unknown[]) => Promise<unknown>
  const connect = app.connect.bind(app) as (...given: unknown[]) => Promise<unknown>
  await t.throwsAsync(
    listen(0, () => t.fail('called')),
    refused,
  )
  await t.throwsAsync(listen(0, '127.0.0.1'), refused)
  await t.throwsAsync(listen('127.0.0.1:7000'), refused)
  await t.throwsAsync(
    connect(1, () => t.fail('called')),
    refused,
  )
  await t.throwsAsync(connect(1, 'localhost'), refused)
  t.is(app.listenerCount('listening'), 0)
})

test('a target of pipe that is an address in a string is refused when it is made', (t) => {
  t.throws(() => forward('127.0.0.1:7000'), refused)
  t.notThrows(() => forward('/run/app.sock'))
})

test('a path that looks like an address is listened on where it is said to be a path', async (t) => {
  const path = `${socketPath(t)}:7000`
  const app = new Cio()
  closeAfter(t, app)
  const server = await app.listen({ path })
  t.is(server.address, path)
})
