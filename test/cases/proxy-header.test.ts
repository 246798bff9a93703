/**
 * PROXY headers as a hostile or broken sender has them: cut at every byte, too long, too late,
 * malformed, and left by an end or a reset at every moment. If this fails, bytes are lost between
 * the header and what follows it, one sender holds its connection for ever, or a health check, which
 * connects and resets all day, ends the process. Nothing here waits for a clock but the bound that
 * is tested: what has arrived is asked of the server's own socket.
 */

import test, { type ExecutionContext } from 'ava'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import {
  Cio,
  type CioError,
  type ConnectionContext,
  type ServerContext,
  defineMiddleware,
  proxyHeader,
  proxyProtocol,
} from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { type Recorded, firstFlight, recordEvents } from '../support/tls.ts'
import { nextEvent } from '../support/transports.ts'

const source = { address: '192.0.2.7', port: 40_000 }
const destination = { address: '198.51.100.1', port: 443 }
const headers = {
  1: proxyHeader({ source, destination }, { version: 1 }),
  2: proxyHeader({ source, destination, authority: 'a.test', alpn: 'h2' }, { crc32c: true }),
} as const
const quiet: Recorded = { reject: [], remoteError: [], error: [] }

/** Answers all that came, at its end. */
function echo(timeout?: number): { app: Cio; told: Recorded; handled: () => number } {
  let handled = 0
  const app = new Cio()
  app
    .useConnection(
      proxyProtocol({ trusted: ['127.0.0.1'], maxSize: 256, ...(timeout && { timeout }) }),
    )
    .useConnection(async (ctx) => {
      handled++
      const all = await readAll(ctx)
      ctx.stream.write(`${ctx.address}: ${all}`)
    })
  return { app, told: recordEvents(app), handled: () => handled }
}

/** Waits until so many bytes have come by the only connection there is. */
async function arrived(server: ServerContext, bytes: number): Promise<ConnectionContext> {
  for (;;) {
    const [ctx] = server.connections
    if (ctx?.socket && ctx.socket.bytesRead >= bytes) return ctx
    await turn()
  }
}

/** Reads the first chunk before TLS, and puts it back: another step that looks. */
const peek = defineMiddleware<ConnectionContext>(
  { name: 'peek', before: 'secure' },
  async function peek({ stream }, next) {
    await once(stream, 'readable')
    const chunk = stream.read() as Buffer | null
    if (chunk) stream.unshift(chunk)
    await next()
  },
)

for (const version of [1, 2] as const) {
  const header = headers[version]

  test(`a header of version ${version} may be cut at every byte`, async (t) => {
    const { app, told } = echo()
    const server = await serve(t, app)
    const all = Buffer.concat([header, Buffer.from('0123')])
    for (let cut = 1; cut < all.length; cut++) {
      const over = nextEvent(app, 'close')
      const socket = await dial(t, server)
      socket.write(all.subarray(0, cut))
      await arrived(server, cut)
      socket.end(all.subarray(cut))
      t.is(await readAll(socket), '192.0.2.7: 0123', `${cut}`)
      await over
    }
    t.deepEqual(told, quiet)
  })

  test(`a header of version ${version} may come byte by byte`, async (t) => {
    const { app, told } = echo()
    const server = await serve(t, app)
    const socket = await dial(t, server)
    for (let at = 0; at < header.length; at++) {
      socket.write(header.subarray(at, at + 1))
      await arrived(server, at + 1)
    }
    socket.end('x')
    t.is(await readAll(socket), '192.0.2.7: x')
    t.deepEqual(told, quiet)
  })

  for (const steps of ['alone', 'before another step that looks'] as const) {
    test(`a header of version ${version} and a ClientHello may be cut at every byte, ${steps}`, async (t) => {
      const { app, told } = echo()
      if (steps !== 'alone') app.useConnection(peek)
      const server = await serve(t, app, identity('server'))
      const end = header.length + 12
      for (let cut = 1; cut < end; cut += steps === 'alone' ? 1 : 7) {
        const over = nextEvent(app, 'close')
        t.is(await talkTls(t, server, header, cut), '192.0.2.7: hello', `${cut}`)
        await over
      }
      t.deepEqual(told, quiet)
    })
  }
}

/** Says hello by TLS behind a header, with the header and the ClientHello cut in two. */
async function talkTls(
  t: ExecutionContext,
  server: ServerContext,
  header: Buffer,
  cut: number,
): Promise<string> {
  const socket = await dial(t, server)
  const { secure, hello, goOn } = await firstFlight(t)
  const all = Buffer.concat([header, hello])
  socket.write(all.subarray(0, cut))
  await arrived(server, Math.min(cut, header.length))
  socket.write(all.subarray(cut))
  await goOn(socket)
  secure.end('hello')
  return readAll(secure)
}

const wrong: Record<string, Buffer> = {
  'another protocol': Buffer.from('GET / HTTP/1.1\r\n\r\n'),
  'a ClientHello': Buffer.from('1603010200010001fc0303', 'hex'),
  'a line of 108 bytes': Buffer.from(`${'PROXY UNKNOWN '.padEnd(106, 'x')}\r\n`),
  'a line that does not end': Buffer.alloc(64 * 1024, 'PROXY TCP4 '),
  'a lone line feed': Buffer.from('PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n'),
  'port 65536': Buffer.from('PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n'),
  'lower case': Buffer.from('proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n'),
  'a header of 64 KiB': Buffer.concat([headers[2].subarray(0, 14), Buffer.from([0xff, 0xff])]),
  'version 3': Buffer.concat([headers[2].subarray(0, 12), Buffer.from([0x31])]),
  'a wrong checksum': Buffer.concat([headers[2].subarray(0, -1), Buffer.from([0])]),
  'one NUL': Buffer.from([0]),
}

for (const [what, bytes] of Object.entries(wrong)) {
  test(`${what} ends the connection at once, and is told once`, async (t) => {
    const { app, told, handled } = echo(600_000)
    const server = await serve(t, app)
    const over = nextEvent(app, 'close')
    const socket = await dial(t, server)
    // Not ended: the sender waits for an answer.
    socket.write(bytes)
    t.is(await readAll(socket).catch(() => ''), '')
    await over
    expect(t, told, ['ERR_CIO_PROXY_HEADER'])
    t.is(handled(), 0)
    t.is(server.connections.size, 0)
  })
}

for (const [what, bytes] of [
  ['no header', ''],
  ['one byte of a header', 'P'],
  ['a header but its last byte', headers[2].subarray(0, -1)],
] as const) {
  test(`${what} ends the connection when its time is over`, async (t) => {
    const { app, told, handled } = echo(50)
    const server = await serve(t, app)
    const over = nextEvent(app, 'close')
    const socket = await dial(t, server)
    if (bytes.length > 0) socket.write(bytes)
    t.is(await readAll(socket).catch(() => ''), '')
    await over
    expect(t, told, ['ERR_CIO_PROXY_HEADER_TIMEOUT'])
    t.is(handled(), 0)
  })
}

test('a sender of one byte after the other does not get more time', async (t) => {
  const { app, told } = echo(100)
  const server = await serve(t, app)
  const over = nextEvent(app, 'close')
  const socket = await dial(t, server)
  const drip = setInterval(() => socket.write('x'), 5)
  t.teardown(() => clearInterval(drip))
  socket.write('PROXY UNKNOWN ')
  await over
  expect(t, told, ['ERR_CIO_PROXY_HEADER_TIMEOUT'])
})

test('the time of a header that has come is over with it', async (t) => {
  const { app, told } = echo(1_000)
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.write(headers[1])
  const ctx = await arrived(server, headers[1].length)
  await new Promise((resolve) => setTimeout(resolve, 1_100))
  t.false(ctx.isClosed)
  socket.end('late')
  t.is(await readAll(socket), '192.0.2.7: late')
  t.deepEqual(told, quiet)
})

const moments: Record<string, Buffer> = {
  'before a header': Buffer.alloc(0),
  'inside a header of version 1': headers[1].subarray(0, 20),
  'inside a header of version 2': headers[2].subarray(0, 20),
}

for (const [moment, bytes] of Object.entries(moments)) {
  for (const over of ['TCP', 'TLS'] as const) {
    const options = over === 'TLS' ? identity('server') : {}

    // A client that says nothing is a health check: `close` alone reports it.
    const isSilent = bytes.length === 0
    const what = isSilent ? 'is quiet' : 'is reported once'

    test(`an end ${moment} of ${over} ${what}`, async (t) => {
      const { app, told, handled } = echo()
      const server = await serve(t, app, options)
      const closed = nextEvent(app, 'close')
      const socket = await dial(t, server)
      socket.end(bytes)
      const [, end] = await closed
      expect(t, told, isSilent ? [] : ['ERR_CIO_PROXY_HEADER'])
      if (isSilent) t.is(end.reason, 'nothing_said')
      t.is(handled(), 0)
    })

    test(`a reset ${moment} of ${over} ${what}`, async (t) => {
      const { app, told, handled } = echo()
      const server = await serve(t, app, options)
      const closed = nextEvent(app, 'close')
      const socket = await dial(t, server)
      if (bytes.length > 0) socket.write(bytes)
      await arrived(server, bytes.length)
      socket.resetAndDestroy()
      const [, end] = await closed
      expect(t, told, isSilent ? [] : ['ECONNRESET'])
      if (isSilent) t.is(end.reason, 'nothing_said')
      t.is(handled(), 0)
    })
  }
}

test('an end right after a header is an end of input, and is answered', async (t) => {
  for (const header of [headers[1], headers[2]]) {
    const { app, told } = echo()
    const socket = await dial(t, await serve(t, app))
    socket.end(header)
    t.is(await readAll(socket), '192.0.2.7: ')
    t.deepEqual(told, quiet)
  }
})

for (const rest of ['', '\x16\x03\x01']) {
  test(`an end after a header and ${rest.length} bytes of a ClientHello ends the handshake at once`, async (t) => {
    const { app, told } = echo()
    const server = await serve(t, app, { ...identity('server'), handshakeTimeout: Infinity })
    const closed = nextEvent(app, 'close')
    const socket = await dial(t, server)
    socket.end(Buffer.concat([headers[1], Buffer.from(rest, 'latin1')]))
    const [, end] = await closed
    expect(t, told, rest === '' ? [] : ['ERR_CIO_HANDSHAKE'])
    if (rest === '') t.is(end.reason, 'nothing_said')
  })
}

test('a reset after a header alone is quiet, at whatever moment', async (t) => {
  for (const moment of ['at once', 'when it has come'] as const) {
    const { app, told } = echo()
    const server = await serve(t, app)
    const closed = nextEvent(app, 'close')
    const socket = await dial(t, server)
    socket.write(headers[1])
    if (moment !== 'at once') await arrived(server, headers[1].length)
    socket.resetAndDestroy()
    const [, end] = await closed
    t.is(end.reason, 'nothing_said')
    expect(t, told, [])
  }
})

for (const [what, header] of [
  ['no header', ''],
  ['a header', String(headers[1])],
] as const) {
  test(`a sender that has reset before it is accepted, with ${what}, does not come in`, async (t) => {
    const { app, told, handled } = echo()
    const { port } = await serve(t, app)
    const closed = nextEvent(app, 'close')
    const program = `const socket = require('net').connect(${port}, '127.0.0.1', () => {
      socket.write(${JSON.stringify(header)}, () => socket.resetAndDestroy())
    })`
    // Nothing is accepted meanwhile; afterwards, the socket has no address.
    execFileSync(process.execPath, ['-e', program])
    const [ctx, end] = await closed
    t.is(ctx.address, null)
    t.is(handled(), 0)
    t.is(end.reason, 'nothing_said')
    expect(t, told, [])
  })
}

test('a reset after a malformed header is no second event', async (t) => {
  const { app, told } = echo()
  const server = await serve(t, app)
  const closed = nextEvent(app, 'close')
  const socket = await dial(t, server)
  socket.write('nonsense')
  socket.resetAndDestroy()
  await closed
  t.is(told.remoteError.length + told.reject.length, 1)
  t.deepEqual(told.error, [])
})

test('forty resets in a row leave nothing behind', async (t) => {
  const { app, told } = echo()
  const server = await serve(t, app, identity('server'))
  const bytes = Buffer.concat([headers[2], Buffer.from('160301', 'hex')])
  let silent = 0
  for (let length = 0; length < 40; length++) {
    const closed = nextEvent(app, 'close')
    const socket: Socket = await dial(t, server)
    if (length > 0) socket.write(bytes.subarray(0, 2 * length))
    if (length % 2 === 0) await arrived(server, Math.min(2 * length, bytes.length))
    socket.resetAndDestroy()
    const [, end] = await closed
    if (end.reason === 'nothing_said') silent += 1
  }
  t.is(server.connections.size, 0)
  // The first sends nothing at all; others may be reset before they are accepted.
  t.true(silent >= 1 && silent < 40, String(silent))
  t.is(told.remoteError.length, 40 - silent)
  t.deepEqual([told.reject, told.error], [[], []])
})

function expect(t: ExecutionContext, told: Recorded, clientErrors: readonly string[]): void {
  t.deepEqual(
    told.remoteError.map((error) => (error as CioError).code),
    [...clientErrors],
  )
  t.deepEqual([told.reject, told.error], [[], []])
}
