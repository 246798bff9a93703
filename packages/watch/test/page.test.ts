import test, { type ExecutionContext } from 'ava'
import { Cio, allowList, certs, drain, http } from 'cio'
import { testCertificates } from 'cio/testing'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readlink, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { type IncomingMessage, type RequestOptions, request } from 'node:http'
import { request as requestTls } from 'node:https'
import { type Socket, createServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type MetricsOptions,
  type Watch,
  type WatchListenOptions,
  page,
  watch,
} from '../src/index.ts'
import { listen } from '../src/page/listen.ts'
import { closeAfter, dial, echoApp, exchange } from './support.ts'

interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

async function ask(options: RequestOptions, ask = request): Promise<Answer> {
  const sent = ask({ agent: false, ...options })
  sent.end()
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of response) text += String(chunk)
  return { status: response.statusCode!, headers: response.headers, text }
}

/** A watched server, and its page on loopback. */
async function served(t: ExecutionContext, options?: WatchListenOptions) {
  const app = echoApp()
  const watching = watch(app)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const admin = await watching.listen(0, options)
  t.teardown(() => admin.close({ timeout: 0 }))
  closeAfter(t, app, watching)
  const { port } = admin
  const token = new URL(admin.url).searchParams.get('token')!
  const get = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    ask({ host: '127.0.0.1', port, path, headers, method })
  return { app, watching, server, admin, token, get, bearer: { authorization: `Bearer ${token}` } }
}

test('the page takes the token in the address once, then a cookie that scripts and other sites do not have', async (t) => {
  const { get, token, admin } = await served(t)
  t.is(admin.address && typeof admin.address === 'object' && admin.address.address, '127.0.0.1')
  for (const path of ['/', '/snapshot', '/connections', '/closed', '/events', '/page.js']) {
    t.is((await get(path)).status, 403, path)
  }
  t.is((await get('/?token=wrong')).status, 403)
  const entered = await get(`/?token=${token}`)
  t.is(entered.status, 303)
  t.is(entered.headers.location, '/')
  const [cookie = ''] = entered.headers['set-cookie'] ?? []
  t.regex(cookie, /^cio_watch_\w+=[\w-]{32}; HttpOnly; SameSite=Strict; Path=\/$/)
  const seen = await get('/', { cookie: cookie.split(';')[0]! })
  t.is(seen.status, 200)
  t.regex(seen.text, /<title>cio watch<\/title>/)
})

test('every answer has a strict policy, and none lets another origin read it', async (t) => {
  const { get, bearer } = await served(t)
  for (const path of ['/', '/snapshot', '/metrics', '/nothing', '/page.css']) {
    const { headers } = await get(path, { ...bearer, origin: 'http://evil.test' })
    t.regex(
      String(headers['content-security-policy']),
      /^default-src 'none'; script-src 'self'; style/,
    )
    t.notRegex(String(headers['content-security-policy']), /unsafe/)
    t.is(headers['x-content-type-options'], 'nosniff')
    t.is(headers['cache-control'], 'no-store')
    t.is(headers['access-control-allow-origin'], undefined)
  }
})

test('another Host gets 421, so that a foreign name that resolves to this host reads nothing', async (t) => {
  const { get, bearer } = await served(t, { hosts: ['Gate.Example'] })
  t.is((await get('/snapshot', { ...bearer, host: 'evil.test' })).status, 421)
  t.is((await get('/metrics', { host: 'evil.test:9400' })).status, 421)
  t.is((await get('/snapshot', { ...bearer, host: 'localhost:1' })).status, 200)
  t.is((await get('/snapshot', { ...bearer, host: '[::1]:1' })).status, 200)
  t.is((await get('/snapshot', { ...bearer, host: 'gate.example' })).status, 200)
})

test('metrics and health need no token on loopback, and name no peer there', async (t) => {
  const { get } = await served(t)
  t.regex((await get('/metrics')).text, /^cio_connection_active\{/m)
  t.is((await get('/livez')).text, 'ok\n')
  const ready = await get('/readyz?verbose')
  t.is(ready.status, 200)
  t.is(ready.text, '[+] listening\n[+] not draining\n[+] descriptors\nok\n')
})

test.serial(
  'after the drain of the last server the page closes, so that the process can end',
  async (t) => {
    const apps = [1, 2].map(() => echoApp().useServer(drain({ signals: ['SIGUSR2'] })))
    const [first, second] = apps as [Cio, Cio]
    const watching = watch(apps)
    for (const app of apps) closeAfter(t, app, watching)
    const server = await first.listen({ port: 0, host: '127.0.0.1' })
    const other = await second.listen({ port: 0, host: '127.0.0.1' })
    const admin = await watching.listen(0, { probes: { host: '127.0.0.1', port: 0 } })
    t.teardown(() => admin.close({ timeout: 0 }))
    // It keeps its server, which is the last one, until it ends.
    const client = await dial(t, other)
    await exchange(client, 'hello')
    const [one, last] = [once(first, 'drained'), once(second, 'drained')]
    process.kill(process.pid, 'SIGUSR2')
    await one
    t.true(server.isClosed)
    t.false(admin.isClosed)
    t.false(admin.draining.aborted, 'it shows how the other one drains')
    client.destroy()
    await last
    await admin.closed
    t.true(admin.probes!.isClosed)
    t.is(first.listenerCount('drained'), 0)
  },
)

test('a server that pauses, or that will drain, is alive and not ready', async (t) => {
  const { get, server, app, watching } = await served(t)
  server.pause()
  const paused = await get('/readyz?verbose')
  t.is(paused.status, 503)
  t.regex(paused.text, /^\[-\] listening$/m)
  t.is((await get('/livez')).status, 200)
  await server.resume()
  t.is((await get('/readyz')).status, 200)
  app.emit('drain', { signal: 'SIGTERM', forced: false }, server)
  t.regex((await get('/readyz?verbose')).text, /^\[-\] not draining$/m)
  t.is(watching.snapshot().servers[0]!.state, 'stopping')
  // Also at an address that is opened only now.
  const late = await watching.listen(0)
  t.teardown(() => late.close({ timeout: 0 }))
  t.is((await ask({ port: late.port, host: '127.0.0.1', path: '/readyz' })).status, 503)
  // Another one in its place is not the one that drains.
  await server.close()
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.is((await get('/readyz')).status, 200)
  t.is(watching.snapshot().servers[0]!.state, 'listening')
})

test('a watch whose app does not listen is not ready', async (t) => {
  const watching = watch(new Cio().useServer(drain()))
  const admin = await watching.listen(0)
  t.teardown(() => admin.close({ timeout: 0 }))
  t.is((await ask({ port: admin.port, host: '127.0.0.1', path: '/readyz' })).status, 503)
})

test('elsewhere than on loopback it does not start without verified peers', async (t) => {
  const { clients, server: identity } = await testCertificates('ops')
  const watching = watch(new Cio())
  const { key, cert, ca } = identity
  for (const target of [
    { port: 0, host: '0.0.0.0' },
    { port: 0, host: '::' },
    { port: 0, host: 'localhost.evil.test' },
    { fd: 3 },
    { port: 0, host: '0.0.0.0', key, cert },
  ]) {
    await t.throwsAsync(watching.listen(target), { code: 'ERR_CIO_OPTION' })
  }
  const admin = await watching.listen({ port: 0, host: '0.0.0.0', key, cert, ca })
  t.teardown(() => admin.close({ timeout: 0 }))
  t.notRegex(admin.url, /token/)
  const { port } = admin
  const place = { port, host: '127.0.0.1', path: '/snapshot', servername: 'localhost', ca }
  const own = { key: clients.ops.key, cert: clients.ops.cert }
  const headers = { host: 'localhost' }
  t.is((await ask({ ...place, ...own, headers }, requestTls)).status, 200)
  t.is((await ask({ ...place, ...own, headers: { host: 'x.test' } }, requestTls)).status, 421)
  await t.throwsAsync(ask({ ...place, headers }, requestTls))
})

test('the url opens the page at another loopback address too', async (t) => {
  const admin = await watch(new Cio()).listen({ port: 0, host: '127.0.0.2' })
  t.teardown(() => admin.close({ timeout: 0 }))
  const { hostname, port, pathname, search } = new URL(admin.url)
  t.is(hostname, '127.0.0.2')
  // A redirect to the page, with the cookie.
  const { status } = await ask({ host: hostname, port, path: `${pathname}${search}` })
  t.is(status, 303)
})

test('behind TLS the url has the first of `hosts`, and without them the address', async (t) => {
  const { key, cert, ca } = (await testCertificates()).server
  const place = { port: 0, host: '0.0.0.0', key, cert, ca }
  for (const [hosts, expected] of [
    [['gate.example', 'other.example'], 'gate.example'],
    [[], '0.0.0.0'],
  ] as const) {
    const admin = await watch(new Cio()).listen(place, { hosts })
    t.teardown(() => admin.close({ timeout: 0 }))
    t.is(admin.url, `https://${expected}:${admin.port}/`)
  }
})

test('page and probes answer while the servers of the app are short of descriptors', async (t) => {
  const program = `
    import { once } from 'node:events'
    import { closeSync, openSync } from 'node:fs'
    import { Cio } from 'cio'
    import { watch } from './packages/watch/src/index.ts'
    const app = new Cio().useConnection((_, next) => next()).on('remoteError', () => {})
    const watching = watch(app)
    await app.listen({ port: 0, host: '127.0.0.1' })
    const probes = { host: '127.0.0.1', port: 0 }
    const admin = await watching.listen(0, { probes })
    // Not the last sixteen, which servers keep free, but some of those. Node itself still closes a
    // few descriptors that it opened at its start, so whatever becomes free is taken again.
    setInterval(() => {
      let last
      while ((last = openSync('/dev/null')) < 148);
      closeSync(last)
    }, 50)
    await once(app, 'overload')
    // The next one comes seconds later, when each server has looked at the descriptors.
    await once(app, 'overload')
    console.log(JSON.stringify({ url: admin.url, probes: admin.probes.port }))`
  const few = ['-c', 'ulimit -n 160; exec "$@"', 'bash', process.execPath, '--import=tsx']
  const child = spawn('bash', [...few, '--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGKILL'))
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  const { url, probes } = JSON.parse(said.toString()) as { url: string; probes: number }
  const host = '127.0.0.1'
  t.is((await ask({ host, port: probes, path: '/livez' })).status, 200)
  const ready = await ask({ host, port: probes, path: '/readyz?verbose' })
  t.is(ready.status, 503)
  t.regex(ready.text, /^\[-\] descriptors$/m)
  const { port, searchParams } = new URL(url)
  const headers = { authorization: `Bearer ${searchParams.get('token')}` }
  t.is((await ask({ host, port, path: '/snapshot', headers })).status, 200)
})

test('page() on an app of your own lets in the peers of your list, and nobody without a certificate', async (t) => {
  const { clients, server: identity } = await testCertificates('ops')
  const handler = page(watch(new Cio()))
  const admin = new Cio()
    .useServer(certs(identity))
    .useConnection(allowList(['ops']))
    .useConnection(http(handler))
  closeAfter(t, admin)
  const { port } = await admin.listen(0)
  const { key, cert, ca } = clients.ops
  const own = { port, host: 'localhost', path: '/snapshot', key, cert, ca }
  t.is((await ask(own, requestTls)).status, 200)

  const open = new Cio().useConnection(http(handler))
  closeAfter(t, open)
  const { port: plain } = await open.listen(0)
  t.is((await ask({ port: plain, host: '127.0.0.1', path: '/snapshot' })).status, 403)
})

test('a Unix socket is for its owner: a program needs no token, a browser through a tunnel does', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'cio-watch-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const socketPath = join(folder, 'admin.sock')
  const watching = watch(new Cio())
  const admin = await watching.listen(socketPath)
  t.teardown(() => admin.close({ timeout: 0 }))
  t.is((await stat(socketPath)).mode & 0o777, 0o600)
  const headers = { host: 'localhost:9400' }
  t.is((await ask({ socketPath, path: '/snapshot', headers })).status, 200)
  const browser = { ...headers, 'sec-fetch-site': 'same-origin' }
  t.is((await ask({ socketPath, path: '/snapshot', headers: browser })).status, 403)
  const token = new URL(admin.url).searchParams.get('token')!
  t.is((await ask({ socketPath, path: `/?token=${token}`, headers: browser })).status, 303)
  t.is(new URL(admin.url).host, 'localhost:9400')
  // Another one does not take its place.
  await t.throwsAsync(watching.listen(socketPath), { code: 'EADDRINUSE' })
})

test('a socket file that a killed process left is replaced', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'cio-watch-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const socketPath = join(folder, 'admin.sock')
  const left = createServer().listen(socketPath)
  await once(left, 'listening')
  // As a killed process does: Node would remove the file of a server that is closed.
  await rename(socketPath, `${socketPath}.old`)
  left.close()
  await once(left, 'close')
  await rename(`${socketPath}.old`, socketPath)
  const admin = await watch(new Cio()).listen(socketPath)
  t.teardown(() => admin.close({ timeout: 0 }))
  t.is((await ask({ socketPath, path: '/livez' })).status, 200)
})

test('an address is not taken for the path of a socket: nodejs/node#9321, where the page listens', async (t) => {
  for (const address of [
    '127.0.0.1:9400',
    '[::1]:9400',
    'localhost:9400',
    'http://localhost:9400',
  ]) {
    const error = await t.throwsAsync(watch(new Cio()).listen(address), { code: 'ERR_CIO_OPTION' })
    t.regex(error.message, /write \{ host/)
  }
  const admin = await watch(new Cio()).listen('0')
  t.teardown(() => admin.close({ timeout: 0 }))
  t.true(admin.port > 0)
})

test('no other file is removed for a Unix socket: openwrt/uhttpd#29, where it is no socket', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'cio-watch-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const [file, link] = ['notes', 'link'].map((name) => join(folder, name))
  await writeFile(file!, 'precious')
  await symlink(file!, link!)
  for (const path of [file!, link!]) {
    await t.throwsAsync(watch(new Cio()).listen(path), { code: 'EADDRINUSE' })
  }
  t.is(await readFile(file!, 'utf8'), 'precious')
  t.is(await readlink(link!), file!)
})

test('connections cannot be ended by default, and only from the page itself with `actions`', async (t) => {
  const off = await served(t)
  const socket = await dial(t, off.server)
  await exchange(socket, 'hello')
  const { id } = off.watching.connections().rows[0]!
  t.is((await off.get(`/connections/${id}/destroy`, off.bearer, 'POST')).status, 404)

  const { get, bearer, watching, server } = await served(t, { actions: true })
  const victim = await dial(t, server)
  await exchange(victim, 'hello')
  const [row] = watching.connections().rows
  const path = `/connections/${row!.id}/destroy`
  t.is((await get(path, bearer)).status, 404, 'not by GET')
  t.is((await get(path, {}, 'POST')).status, 403)
  const foreign = { ...bearer, 'sec-fetch-site': 'cross-site' }
  t.is((await get(path, foreign, 'POST')).status, 403)
  t.is((await get('/connections/0/destroy', bearer, 'POST')).status, 404)
  const closed = once(victim, 'close')
  t.is((await get(path, { ...bearer, 'sec-fetch-site': 'same-origin' }, 'POST')).status, 202)
  await closed
})

test('there are at most four event streams, and the end of the server ends them at once', async (t) => {
  const { admin, bearer } = await served(t)
  const open = async (): Promise<IncomingMessage> => {
    const sent = request({
      host: '127.0.0.1',
      port: admin.port,
      path: '/events',
      headers: bearer,
      agent: false,
    })
    sent.end()
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    return response
  }
  const streams = await Promise.all([open(), open(), open(), open()])
  const [chunk] = (await once(streams[0], 'data')) as [Buffer]
  t.regex(String(chunk), /^retry: 1000\n/)
  for (const stream of streams) stream.resume()
  t.is((await open()).statusCode, 503)
  const ends = streams.map((stream) => once(stream, 'end'))
  const { forced } = await admin.close()
  await Promise.all(ends)
  t.is(forced, 0)
})

test('a client that sends nothing is closed, so that it does not hold a place for ever', async (t) => {
  const { admin } = await served(t, { probes: { host: '127.0.0.1', port: 0 } })
  const silent = await Promise.all([dial(t, admin), dial(t, admin.probes!)])
  await Promise.all(silent.map((socket) => once(socket.resume(), 'close')))
  t.is(admin.connections.size, 0)
})

test('a client that sends its headers one byte at a time is closed, too', async (t) => {
  const { admin } = await served(t, { probes: { host: '127.0.0.1', port: 0 } })
  const slow = await Promise.all([dial(t, admin), dial(t, admin.probes!)])
  for (const socket of slow) socket.write('GET /readyz HTTP/1.1\r\nx: ')
  const trickle = setInterval(() => {
    for (const socket of slow) socket.write('x')
  }, 200)
  t.teardown(() => clearInterval(trickle))
  await Promise.all(slow.map((socket) => once(socket.resume(), 'close')))
  t.pass()
})

test('of many requests in one packet only some are answered', async (t) => {
  const { admin } = await served(t, { probes: { host: '127.0.0.1', port: 0 } })
  for (const server of [admin, admin.probes!]) {
    const socket = await dial(t, server)
    socket.write('GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n'.repeat(1_000))
    let text = ''
    for await (const chunk of socket) {
      text += String(chunk)
      if (text.includes('503')) break
    }
    t.is(text.split('503')[0]!.split('200 OK').length - 1, 100)
  }
})

test('one address does not hold all places of the probes', async (t) => {
  const { admin } = await served(t, { probes: { host: '127.0.0.1', port: 0 } })
  const { port, app, connections } = admin.probes!
  const others: number[] = []
  app.on('reject', (_, refused) => {
    others.push([...connections].filter((one) => one !== refused).length)
  })
  // The server closes a silent client after 5 seconds: on a slow machine the first may be gone before
  // the last is accepted, and then all dial again.
  while (others.length === 0) {
    const refused = once(app, 'reject')
    const sockets = await Promise.all(Array.from({ length: 21 }, () => dial(t, admin.probes!)))
    const [oldest] = sockets as [Socket]
    if (!oldest.closed) await Promise.race([refused, once(oldest, 'close')])
  }
  t.is(others[0], 20)
  // Others have their own, such as a client by another address of loopback.
  const livez = { host: '127.0.0.1', localAddress: '127.0.0.2', port, path: '/livez' }
  t.is((await ask(livez)).status, 200)
})

test('metrics that anybody may ask for take a fifth of the event loop at most', async (t) => {
  const probes = { host: '127.0.0.1', port: 0 }
  const { admin, watching, get, bearer } = await served(t, { probes })
  let made = 0
  const takes = 50
  watching.metrics = () => {
    made += 1
    const until = performance.now() + takes
    while (performance.now() < until);
    return `${made}\n`
  }
  const { port } = admin.probes!
  const began = performance.now()
  for (let asked = 0; asked < 40; asked++) await ask({ host: '127.0.0.1', port, path: '/metrics' })
  const share = (performance.now() - began) / (5 * takes)
  t.true(made <= 1 + share, `${made} times in ${share} fifths`)
  const { text } = await get('/metrics', bearer)
  t.is(text, `${made}\n`)
  t.is((await get('/metrics', bearer)).text, `${Number(text) + 1}\n`, 'with the token, of now')
})

test('probes at an address of their own answer three paths, by GET alone', async (t) => {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.family === 'IPv4' && !one.internal)?.address
  if (outside === undefined) t.log('this machine has no other address than loopback')
  const host = outside ?? '127.0.0.1'
  const { admin } = await served(t, { probes: { host: '0.0.0.0', port: 0 } })
  const { port } = admin.probes!
  const probe = (path: string, method = 'GET') =>
    ask({ host, port, path, method, headers: { host: 'a.pod.test' } })
  for (const path of ['/livez', '/readyz', '/metrics']) t.is((await probe(path)).status, 200, path)
  for (const path of ['/', '/snapshot', '/page.js', '/events', '/closed', '//x', '/metrics/']) {
    t.is((await probe(path)).status, 404, path)
  }
  t.is((await probe('/metrics', 'POST')).status, 405)
  await admin.close()
  t.is(admin.probes!.address, null, 'it closes with the page')
})

test('what is asked for without a token or at the probes is without the names of peers', async (t) => {
  const app = echoApp()
  const real = watch(app)
  closeAfter(t, app, real)
  await app.listen(0)
  // A peer is in the metrics only after a whole minute.
  const watching: Watch = Object.create(real, {
    metrics: {
      value: ({ names = true }: MetricsOptions = {}) => (names ? 'cio_peer_io_bytes' : 'none'),
    },
    servers: { value: real.servers },
  }) as Watch
  const admin = await listen(watching, 0, { probes: { host: '127.0.0.1', port: 0 } })
  t.teardown(() => admin.close({ timeout: 0 }))
  const token = new URL(admin.url).searchParams.get('token')!
  const at = (port: number, headers = {}) =>
    ask({ host: '127.0.0.1', port, path: '/metrics', headers })
  t.is((await at(admin.port)).text, 'none')
  t.is((await at(admin.probes!.port, { authorization: `Bearer ${token}` })).text, 'none')
  t.is((await at(admin.port, { authorization: `Bearer ${token}` })).text, 'cio_peer_io_bytes')
})

test('options of the page that are unknown or wrong are refused', async (t) => {
  const watching = watch(new Cio())
  for (const options of [
    { host: 'x' },
    { hosts: 'x' },
    { actions: 1 },
    { probes: {} },
    { probes: { host: '::', port: 0, path: '/' } },
  ]) {
    await t.throwsAsync(watching.listen(0, options as WatchListenOptions), {
      code: 'ERR_CIO_OPTION',
    })
  }
  t.throws(() => page(watching, { token: 'x' } as object), { code: 'ERR_CIO_OPTION' })
})

test('a path that asks for nonsense gets 400 or 404', async (t) => {
  const { get, bearer } = await served(t)
  t.is((await get('/connections?sort=name', bearer)).status, 400)
  t.is((await get('/connections?limit=x', bearer)).status, 400)
  t.is((await get('/connections/999999', bearer)).status, 404)
  t.is((await get('/../etc/passwd', bearer)).status, 404)
  t.is((await get('/explain?name=nobody', bearer)).text, 'null')
  t.is((await get('/snapshot', bearer, 'DELETE')).status, 405)
})
