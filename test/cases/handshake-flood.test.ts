/**
 * A flood of handshakes that never finish: silent ones, a byte of a hello, garbage, HTTP. If this
 * fails, anybody who can reach the port keeps the others out, or fills the process with sockets.
 * Node's own `handshakeTimeout` closes nothing and starts again with every byte; so the `secure`
 * step has a deadline of its own, and good clients pass through meanwhile.
 */

import test from 'ava'
import { Cio, type CioError } from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { dialOver } from '../support/transports.ts'

const silent = 1_900
const garbage = 100
// Long enough for all of them to be there at once, on a busy machine too.
const handshakeTimeout = 12_000

test('good clients get in during a flood of handshakes, which are all cut off', async (t) => {
  const app = new Cio().useConnection(async (ctx) => {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
  const codes: Record<string, number> = {}
  let over = 0
  let emptied = (): void => {}
  const all = new Promise<void>((resolve) => (emptied = resolve))
  app.on('remoteError', (error) => {
    const { code } = error as CioError
    codes[code] = (codes[code] ?? 0) + 1
    if (++over === silent + garbage) emptied()
  })
  app.on('error', (error) => t.fail(String(error)))
  const server = await serve(t, app, { ...identity('server'), handshakeTimeout })

  const words = ['', '\x16', '\x16\x03\x01']
  for (let index = 0; index < silent; index++) {
    const socket = await dial(t, server)
    socket.write(words[index % words.length]!)
  }
  for (let index = 0; index < garbage; index++) {
    const socket = await dial(t, server)
    socket.write(index % 2 === 0 ? 'GET / HTTP/1.1\r\n\r\n' : Buffer.alloc(100, 0xff))
  }
  for (const version of ['TLS 1.3', 'TLS 1.2'] as const) {
    const client = await dialOver(t, version, server)
    client.end('hello')
    t.is(await readAll(client), 'hello')
  }
  // It got in while the flood was there.
  t.true(server.connections.size >= silent)

  await all
  t.deepEqual(codes, { ERR_CIO_HANDSHAKE_TIMEOUT: silent, ERR_CIO_HANDSHAKE: garbage })
  t.deepEqual(await server.close({ timeout: Infinity }), { forced: 0 })
  t.is(server.connections.size, 0)
})
