import test from 'ava'
import { inspect } from 'node:util'
import { Cio, forward, httpConnect } from '../../src/index.ts'
import { Pool } from '../../src/pool.ts'

const refused = (option: string): object => {
  return { code: 'ERR_CIO_OPTION', message: new RegExp(`expected \`${option}\` to be `) }
}

/** Values that Node takes for others without an error, and what it makes of them. */
const ofListen: readonly (readonly [option: string, options: object, takenFor: string])[] = [
  ['host', { port: 0, host: '' }, 'every address'],
  ['host', { port: 0, host: null }, 'every address'],
  ['host', { port: 0, host: ['127.0.0.1'] }, 'a name'],
  ['port', { port: null }, 'any port'],
  ['port', { port: ' ' }, 'no port, when it listens'],
  ['port', { port: 65_536 }, 'no port, when it listens'],
  ['path', { port: 0, path: '/tmp/cio-not-made.sock' }, 'the port alone, at every address'],
  ['path', { path: '' }, 'no place'],
  ['path', { path: 5 }, 'no place'],
  ['bind', { port: 0, bind: 'false' }, 'true'],
  ['bind', { port: 0, bind: 0 }, 'true'],
  ['writableAll', { path: '/tmp/cio-not-made.sock', writableAll: 'false' }, 'true'],
  ['readableAll', { path: '/tmp/cio-not-made.sock', readableAll: 'no' }, 'true'],
  ['ipv6Only', { port: 0, ipv6Only: 'false' }, 'true'],
  ['exclusive', { port: 0, exclusive: 1 }, 'true'],
  ['requestCert', { port: 0, requestCert: 'true' }, 'true'],
  ['requestCert', { port: 0, requestCert: 0 }, 'false'],
  ['rejectUnauthorized', { port: 0, rejectUnauthorized: 'false' }, 'true'],
  ['strictSni', { port: 0, strictSni: 0 }, 'false'],
]
for (const [option, options, takenFor] of ofListen) {
  test(`listen refuses ${JSON.stringify(options)}, which Node takes for ${takenFor}`, async (t) => {
    await t.throwsAsync(new Cio().listen(options), refused(option))
  })
}

for (const name of ['SNICallback', 'ALPNCallback', 'pskCallback', 'checkServerIdentity']) {
  test(`${name} is a function, or no handshake would succeed`, async (t) => {
    for (const value of ['', 'x', 0, 5, false, true, {}, Promise.resolve(() => {})]) {
      const options = { port: 1, host: '127.0.0.1', [name]: value }
      await t.throwsAsync(new Cio().connect(options), refused(name))
      if (name === 'checkServerIdentity') continue
      await t.throwsAsync(new Cio().listen(options), refused(name))
    }
  })
}

// Node asserts that OpenSSL takes the names: with an empty one, `tls.connect` ends the process.
const noAlpn = ['', 'h2', false, [''], ['h2', ''], [5], ['x'.repeat(256)], ...bytes('00', '05aa')]
for (const ALPNProtocols of noAlpn) {
  test(`listen and connect refuse ALPNProtocols: ${inspect(ALPNProtocols)}`, async (t) => {
    const options = { port: 1, ALPNProtocols } as object
    await t.throwsAsync(new Cio().connect(options), refused('ALPNProtocols'))
    await t.throwsAsync(new Cio().listen(options), refused('ALPNProtocols'))
    const dialled = { targets: [options as { port: number }] }
    t.throws(() => new Pool(new Cio(), dialled), refused('ALPNProtocols'))
  })
}

test('ALPNProtocols may be names of up to 255 bytes, or the bytes that TLS sends', async (t) => {
  for (const ALPNProtocols of [null, [], ['h2', 'x'.repeat(255)], ...bytes('', '026832', '0161')]) {
    const connecting = new Cio().connect({ port: 0, host: '127.0.0.1', ALPNProtocols } as object)
    const error = await t.throwsAsync<NodeJS.ErrnoException>(connecting)
    t.not(error.code, 'ERR_CIO_OPTION', error.message)
  }
})

function bytes(...digits: readonly string[]): Buffer[] {
  return digits.map((one) => Buffer.from(one, 'hex'))
}

const ofConnect: readonly (readonly [option: string, options: object])[] = [
  ['host', { port: 1, host: '' }],
  ['host', { port: 1, host: 'localhost\r\nX: 1' }],
  ['host', { port: 1, host: '127.0.0.1\0.example' }],
  ['port', { port: null }],
  ['port', { port: '' }],
  ['port', { port: 'http' }],
  ['port', { port: Number.NaN }],
  ['port', { port: 1.5 }],
  ['port', { port: -1 }],
  ['path', { port: 1, path: '/tmp/cio-not-made.sock' }],
  ['path', { host: 'localhost', path: '/tmp/cio-not-made.sock' }],
  ['path', { path: '' }],
]
for (const [option, options] of ofConnect) {
  test(`connect, a target, a pool and forward refuse ${inspect(options)}`, async (t) => {
    await t.throwsAsync(new Cio().connect(options), refused(option))
    await t.throwsAsync(new Cio().connect({ targets: [options] }), refused(option))
    const proxied = new Cio().useClient(httpConnect({ host: '127.0.0.1', port: 1 }))
    await t.throwsAsync(proxied.connect(options), refused(option))
    t.throws(() => new Pool(new Cio(), { targets: [options as { port: number }] }), refused(option))
    t.throws(() => forward(options), refused(option))
  })
}

test('a port may be a text, as in a variable of the environment', async (t) => {
  const app = new Cio()
  const server = await app.listen({ port: '0' } as object)
  const client = await new Cio().connect({ port: String(server.port) } as object)
  await client.close()
  await app.close()
  t.notThrows(() => forward({ port: '80' } as object))
})

test('a target of a pool is an object', (t) => {
  for (const target of [7_000, '7000', null, undefined, [7_000]]) {
    const made = (): unknown => new Pool(new Cio(), { targets: [target] } as never)
    t.throws(made, refused('targets'), JSON.stringify(target))
  }
})

test('connect refuses a text or a number for true or false', async (t) => {
  await t.throwsAsync(new Cio().connect({ port: 1, tls: 'no' } as object), refused('tls'))
  const unsafe = { port: 1, rejectUnauthorized: 0 } as object
  await t.throwsAsync(new Cio().connect(unsafe), refused('rejectUnauthorized'))
})

test('null stands for a boolean that is not given, as in Node', async (t) => {
  const app = new Cio()
  const server = await app.listen({ port: 0, ipv6Only: null, bind: undefined } as object)
  t.true(server.port > 0)
  await app.close()
})
