import test, { type ExecutionContext } from 'ava'
import { Cio, allowList, certs } from 'cio'
import { testCertificates } from 'cio/testing'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { stripVTControlCharacters } from 'node:util'
import { type Terminal, top, why } from '../src/cli.ts'
import { watch } from '../src/index.ts'
import { closeAfter, ended, exchange, terminal } from './support.ts'

/** A gateway with an admin socket: alice is in, bob was refused. */
async function gateway(t: ExecutionContext, refused = 'bob') {
  const { clients, server: identity } = await testCertificates('alice', refused)
  const folder = await mkdtemp(join(tmpdir(), 'cio-watch-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const app = new Cio()
    .useServer(certs(identity))
    .useConnection(allowList(['alice']))
    .useConnection(async function echo({ stream }, next) {
      stream.pipe(stream)
      await next()
    })
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const at = join(folder, 'admin.sock')
  const admin = await watching.listen(at)
  t.teardown(() => admin.close({ timeout: 0 }))
  const come = (name: string) => {
    const { key, cert, ca } = clients[name]!
    const socket = connectTls({ port: server.port, host: 'localhost', key, cert, ca })
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    return socket
  }
  await exchange(come('alice'), 'hello')
  const end = ended(app)
  come(refused)
  await end
  return { at, admin, watching, server }
}

test('top shows the steps, the refused and the open connections, with rates, and ends', async (t) => {
  const { at, watching } = await gateway(t)
  const shown = terminal()
  t.is(await top({ at, json: false, terminal: shown }), 0)
  const text = shown.text()
  t.regex(text, /^127\.0\.0\.1:\d+ listening, TLS, 1 open$/m)
  t.regex(text, /^echo +1 /m)
  t.regex(text, /^allowList +0 .* 1 not admitted$/m)
  t.regex(text, /^not listed +allowList \S+cli\.test\.ts:\d+ +bob +1$/m)
  const [row] = watching.connections().rows
  t.regex(text, new RegExp(`^${row!.id} +alice +127\\.0\\.0\\.1 +echo `, 'm'))

  const narrow = terminal(50)
  await top({ at, json: false, terminal: narrow })
  for (const line of narrow.text().split('\n')) t.true(line.length <= 50, line)
})

test('a long name of a peer takes the room of no figure, and is whole where no terminal is', async (t) => {
  const name = `device-${'x'.repeat(200)}`
  const { at } = await gateway(t, name)
  const shown = terminal(80)
  await top({ at, json: false, terminal: shown })
  t.regex(shown.text(), /^not listed +allowList \S+ +device-x+… +1$/m)
  for (const line of shown.text().split('\n')) t.true(line.length <= 80, line)
  const pipe = terminal(Infinity)
  await top({ at, json: false, terminal: pipe })
  t.true(pipe.text().includes(name))
})

test('on a terminal, each screen fits its size of that moment, and the end of the server is said', async (t) => {
  const { at, admin } = await gateway(t)
  const screens: string[] = []
  const output = new Writable({
    write(chunk, _encoding, done) {
      screens.push(String(chunk))
      if (screens.length === 2) output.emit('second')
      done()
    },
  })
  const size = { columns: 70, rows: 30 }
  const shown: Terminal = {
    output: Object.assign(output, { isTTY: true }),
    paint: (_, text) => text,
    get columns() {
      return screens.length === 0 ? size.columns : 30
    },
    get rows() {
      return screens.length === 0 ? size.rows : 8
    },
  }
  const second = once(output, 'second')
  const live = top({ at, json: false, terminal: shown })
  await second
  const told = t.throwsAsync(live, { message: /admin\.sock (has ended$|answers no more: )/ })
  await admin.close({ timeout: 0 })
  await told
  const [wide, small] = screens.map(linesOf)
  t.true(wide!.some((line) => line.length > 30))
  t.true(small!.length <= 8, `${small!.length} lines`)
  for (const line of small!) t.true(line.length <= 30, line)
})

test('a server that does not answer, or not any more, is said to be stuck', async (t) => {
  const stuck = createServer(({ url }, response) => {
    if (url === '/events') response.write(`data: {}\n\n`)
  }).listen(0, '127.0.0.1')
  t.teardown(() => {
    stuck.close().closeAllConnections()
  })
  await once(stuck, 'listening')
  const at = `http://127.0.0.1:${(stuck.address() as AddressInfo).port}/`
  const options = { at, json: false, terminal: terminal() }
  const message = /\/ has not answered for 10 s; its event loop may be busy or blocked$/
  await Promise.all([
    t.throwsAsync(why('alice', options), { message }),
    t.throwsAsync(top(options), { message }),
  ])
})

/** The lines of a screen, without what drives the terminal. */
function linesOf(screen: string): string[] {
  return stripVTControlCharacters(screen).split('\n')
}

test('top --json prints one object', async (t) => {
  const { at, server } = await gateway(t)
  const shown = terminal()
  t.is(await top({ at, json: true, terminal: shown }), 0)
  const { snapshot, connections } = JSON.parse(shown.text()) as {
    snapshot: { totals: { open: number } }
    connections: { matching: number }
  }
  t.is(snapshot.totals.open, server.connections.size)
  t.is(connections.matching, 1)
})

test('why checks off the way of a connection, by name, address and number', async (t) => {
  const { at, watching } = await gateway(t)
  const refused = terminal()
  t.is(await why('bob', { at, json: false, terminal: refused }), 0)
  const text = refused.text()
  t.regex(text, /^bob, connection \d+ from 127\.0\.0\.1$/m)
  t.regex(text, /^ {2}✓ secure .* cio$/m)
  t.regex(text, /^ {2}✗ allowList +refused here +\S+cli\.test\.ts:\d+$/m)
  t.regex(text, /^ {2}· echo +not reached/m)
  t.regex(text, /^refused by allowList: not listed$/m)

  const open = terminal()
  const id = String(watching.connections().rows[0]!.id)
  t.is(await why(id, { at, json: false, terminal: open }), 0)
  t.regex(open.text(), /^alice, connection/)
  t.regex(open.text(), /^ {2}● echo +is here/m)
  t.regex(open.text(), /^TLSv1\.3, TLS_/m)
  // Nothing has looked at it, so nothing is known of its traffic.
  t.notRegex(open.text(), /idle/)
  t.is(await why('127.0.0.1', { at, json: false, terminal: terminal() }), 0)

  const json = terminal()
  t.is(await why('bob', { at, json: true, terminal: json }), 0)
  const { ended: one } = JSON.parse(json.text()) as { ended: { refusal: { why: string } } }
  t.is(one.refusal.why, 'not_listed')
  const missing = terminal()
  t.is(await why('carol', { at, json: false, terminal: missing }), 1)
  t.is(missing.text(), 'no connection of carol is open or remembered\n')
})

test('an address of IPv6 is asked, as the server prints it', async (t) => {
  const watching = watch(new Cio())
  const admin = await watching.listen({ port: 0, host: '::1' })
  t.teardown(() => admin.close({ timeout: 0 }))
  t.regex(admin.url, /^http:\/\/\[::1\]:/)
  t.is(await why('x', { at: admin.url, json: false, terminal: terminal() }), 1)
})

test('by an address it takes the token with it, and says what a server refuses', async (t) => {
  const watching = watch(new Cio())
  const admin = await watching.listen(0)
  t.teardown(() => admin.close({ timeout: 0 }))
  t.is(await why('x', { at: admin.url, json: false, terminal: terminal() }), 1)
  const at = `http://127.0.0.1:${admin.port}/`
  await t.throwsAsync(why('x', { at, json: false, terminal: terminal() }), { message: /says 403/ })
  const other = { at: 'https://x.test/', json: false, terminal: terminal() }
  await t.throwsAsync(why('x', other), { message: /neither a path nor/ })
  const swapped = { at: 'device-0042', json: false, terminal: terminal() }
  await t.throwsAsync(why('/run/admin.sock', swapped), {
    message: /^device-0042 cannot be asked: connect ENOENT device-0042; give the path/,
  })
})
