import test from 'ava'
import { Duplex } from 'node:stream'
import { Cio, httpConnect } from '../../src/index.ts'
import { socks5 } from '../../middleware/socks5.ts'

/** A proxy that sends the pieces of an answer in one turn each; the last ones with the end of its side. */
function proxy(answers: (string | Buffer)[][]): Duplex {
  const left = [...answers]
  return new Duplex({
    read() {},
    write(_chunk, _encoding, done) {
      const pieces = left.shift()
      const isLast = left.length === 0
      setImmediate(() => {
        for (const piece of pieces ?? []) this.push(piece)
        if (isLast) this.push(null)
      })
      done()
    },
  })
}

const http = httpConnect({ host: 'proxy.test', port: 1 })
const socks = socks5({ host: 'proxy.test', port: 1 })
const noLogin = Buffer.from([5, 0])
const connected = Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
const ok = 'HTTP/1.1 200 OK\r\n\r\n'

for (const [name, through, answers] of [
  ['an HTTP proxy', http, [[`${ok}busy`]]],
  ['an HTTP proxy, in another chunk', http, [[ok, 'busy']]],
  ['an HTTP proxy with an interim response', http, [[`HTTP/1.1 100 Continue\r\n\r\n${ok}busy`]]],
  [
    'an HTTP proxy with an interim response, in other chunks',
    http,
    [['HTTP/1.1 100 Continue\r\n\r\n', ok, 'bu', 'sy']],
  ],
  ['a SOCKS5 proxy', socks, [[noLogin], [Buffer.concat([connected, Buffer.from('busy')])]]],
  ['a SOCKS5 proxy, in another chunk', socks, [[noLogin], [connected, 'busy']]],
  [
    'a SOCKS5 proxy, byte by byte',
    socks,
    [
      [noLogin],
      Array.from(Buffer.concat([connected, Buffer.from('busy')]), (byte) => Buffer.of(byte)),
    ],
  ],
] as const) {
  test(`${name}: what comes with the answer, and the end in the same turn, reaches the client`, async (t) => {
    const app = new Cio().useClient(through)
    t.teardown(() => app.close({ timeout: 0 }))
    const createConnection = (): Duplex => proxy(answers.map((pieces) => [...pieces]))
    const client = await app.connect({ host: 'a.test', port: 1, createConnection })
    let text = ''
    for await (const chunk of client) text += chunk.toString()
    t.is(text, 'busy')
  })
}

for (const [name, through, answers] of [
  ['an HTTP proxy', http, [['HTTP/1.1 200']]],
  ['a SOCKS5 proxy', socks, [[noLogin], [connected.subarray(0, 4)]]],
] as const) {
  test(`${name} that ends within its answer is an error`, async (t) => {
    const app = new Cio().useClient(through)
    t.teardown(() => app.close({ timeout: 0 }))
    const createConnection = (): Duplex => proxy(answers.map((pieces) => [...pieces]))
    await t.throwsAsync(app.connect({ host: 'a.test', port: 1, createConnection }), {
      code: 'ERR_CIO_PROXY',
    })
  })
}
