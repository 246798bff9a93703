import { toJson } from '@bufbuild/protobuf'
import { StructSchema } from '@bufbuild/protobuf/wkt'
import test, { type ExecutionContext } from 'ava'
import { type ChildProcess, execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { type AddressInfo, type Server, type Socket, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TLSSocket, connect as connectTls } from 'node:tls'
import { promisify } from 'node:util'
import { WebSocket } from 'ws'
import { msgpack } from '../middleware/msgpack.ts'
import { protobuf } from '../middleware/protobuf.ts'
import { Cio, certs } from '../src/index.ts'
import { checksums } from './fixtures/wires/checksums.ts'
import { vectors as wires } from './fixtures/wires/vectors.ts'
import { encodeFrame } from './support/frame-input.ts'
import {
  type Launched,
  folderWithCertificates,
  launch,
  output,
  root,
  start,
  typed,
} from './support/examples.ts'
import { haproxy } from './support/haproxy.ts'
import { ownPort } from './support/ports.ts'
import { httpProxy, socksProxy } from './support/proxies.ts'
import { closeAfter, readAll } from './support/serve.ts'

const run = promisify(execFile)

test('echo.ts says back what it hears', async (t) => {
  const { port } = await start(t, 'echo')
  const socket = await dial(t, port)
  socket.end('hello')
  t.is(await readAll(socket), 'hello')
})

test('chat.ts passes lines on to everybody else', async (t) => {
  const { port } = await start(t, 'chat')
  const ann = await enter(t, port, 'ann')
  const bob = await enter(t, port, 'bob')
  t.regex(await ann.next(), /^\* bob came from 127\.0\.0\.1:\d+$/)
  bob.say('hi')
  t.is(await ann.next(), 'bob: hi')
  ann.say('hello')
  t.is(await bob.next(), 'ann: hello')
  bob.leave()
  t.is(await ann.next(), '* bob left')
})

test('pool.ts goes on while a server is stopped, and uses it again', async (t) => {
  const { stdout } = await run(process.execPath, [...typed, join(root, 'examples', 'pool.ts')])
  t.is(stdout, 'all run: one, three, two\none is stopped: one, two\nit is back: one, three, two\n')
})

test('rpc.ts answers requests by JSON-RPC, and asks who calls', async (t) => {
  const { port, line } = await start(t, 'rpc')
  const socket = await dial(t, port)
  const heard = createInterface(socket)[Symbol.asyncIterator]()
  const next = async (): Promise<unknown> => JSON.parse(String((await heard.next()).value))
  t.deepEqual(await next(), { jsonrpc: '2.0', id: 1, method: 'whoAreYou' })
  socket.write('{"jsonrpc":"2.0","id":1,"result":"ann"}\n')
  t.regex(await line(/came from/), /^ann came from 127\.0\.0\.1:\d+$/)
  socket.write('{"jsonrpc":"2.0","id":7,"method":"add","params":[1,2]}\n')
  t.deepEqual(await next(), { jsonrpc: '2.0', id: 7, result: 3 })
  socket.write('{"jsonrpc":"2.0","id":8,"method":"divide","params":[1,0]}\n')
  t.deepEqual(await next(), {
    jsonrpc: '2.0',
    id: 8,
    error: { code: 1, message: 'division by zero' },
  })
  socket.write('{"jsonrpc":"2.0","id":9,"method":"wait","params":[60000]}\n')
  socket.write('{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":9}}\n')
  t.deepEqual(await next(), {
    jsonrpc: '2.0',
    id: 9,
    error: { code: -32_800, message: 'Request cancelled' },
  })
  socket.end()
})

test('protobuf.ts answers a message with the number that it had', async (t) => {
  const { port } = await start(t, 'protobuf')
  const app = new Cio().useClient(protobuf(StructSchema))
  closeAfter(t, app)
  const client = await app.connect(port)
  const number = (value: number) => ({ kind: { case: 'numberValue', value } }) as const
  await client.messages.send({ fields: { id: number(7), value: number(10) } })
  const { value } = await client.messages.next()
  t.deepEqual(value && toJson(StructSchema, value), { id: 7, kelvin: 283.15 })
})

test('protobuf-gateway.ts goes on after each side was frozen, killed and started again', async (t) => {
  const gateway = await start(t, 'protobuf-gateway', { port: await ownPort() })
  const { port } = gateway
  const readings = /^sensor-1 has 1: 21, 2: 22$/
  const sense = (): Launched => launch(t, 'protobuf-gateway', { words: ['sensor-1'], port })
  const sensor = sense()
  await gateway.line(readings)

  sensor.child.kill('SIGSTOP')
  await gateway.line(/^sensor-1 is gone: ERR_CIO_HEARTBEAT$/)
  const gone = gateway.said.length
  sensor.child.kill('SIGCONT')
  await gateway.line(readings, gone)

  sensor.child.kill('SIGKILL')
  await exitOf(sensor.child)
  const killed = gateway.said.length
  const second = sense()
  await gateway.line(readings, killed)

  let before = second.said.length
  gateway.child.kill('SIGSTOP')
  await second.line(/^away: ERR_CIO_HEARTBEAT$/, before)
  const frozen = gateway.said.length
  gateway.child.kill('SIGCONT')
  await gateway.line(readings, frozen)

  before = second.said.length
  gateway.child.kill('SIGKILL')
  await second.line(/^away/, before)
  const restarted = await start(t, 'protobuf-gateway', { port })
  await restarted.line(readings)
  t.pass()
})

test('heartbeat.ts answers pings itself, and messages by its handler', async (t) => {
  const { port } = await start(t, 'heartbeat')
  const socket = await dial(t, port)
  socket.end('{"kind":"ping"}\n{"kind":"hello"}\n{"kind":"pong"}\n')
  t.is(await readAll(socket), '{"kind":"pong"}\n{"kind":"got hello"}\n')
})

test('requests.ts answers frames by their ids, in parts and with an error too', async (t) => {
  const { port, said, line } = await start(t, 'requests')
  await line(/no kind 9$/)
  t.deepEqual(said.slice(1), [
    'HELLO',
    'part 1',
    'part 2',
    'part 3',
    'the other side answered with an error: no kind 9',
  ])
  const socket = await dial(t, port)
  socket.end(Buffer.from('0006ffff01686969', 'hex'))
  const chunks: Buffer[] = []
  for await (const chunk of socket) chunks.push(chunk as Buffer)
  t.is(Buffer.concat(chunks).toString('hex'), `0006ffff82${Buffer.from('HII').toString('hex')}`)
})

test('chat-client.ts comes back when the chat does, and says what was typed meanwhile', async (t) => {
  const chat = await start(t, 'chat', { port: await ownPort() })
  const bob = launch(t, 'chat-client', { words: ['bob'], port: chat.port })
  await bob.line(/^welcome, bob$/)
  const ann = await enter(t, chat.port, 'ann')
  await bob.line(/^\* ann came/)
  bob.child.stdin?.write('hi\n')
  t.is(await ann.next(), 'bob: hi')

  await chat.stop()
  await bob.line(/^\(away, retry 1/)
  bob.child.stdin?.write('are you there?\n')
  await bob.line(/^\(away, retry 2/)
  // In place of the chat, to hear what comes first.
  const [socket] = (await once(await listenOn(t, chat.port), 'connection')) as [Socket]
  t.teardown(() => socket.destroy())
  // It has a connection, and is not in yet: a line must not be taken for its name.
  bob.child.stdin?.write('hurry\n')
  await new Promise(setImmediate)
  socket.write('who are you?\n')
  const heard = createInterface(socket)[Symbol.asyncIterator]()
  for (const line of ['bob', 'are you there?', 'hurry']) t.is((await heard.next()).value, line)
  bob.child.stdin?.end()
  await once(bob.child, 'exit')
  t.is(bob.child.exitCode, 0)
})

test('koa.ts answers HTTP requests by Koa', async (t) => {
  const { port, line } = await start(t, 'koa')
  const response = await fetch(`http://127.0.0.1:${port}/here`, {
    headers: { connection: 'close' },
  })
  t.is(await response.text(), 'GET /here\n')
  t.regex(await line(/stayed/), /^127\.0\.0\.1:\d+ stayed for \d+ ms$/)
})

test('own-middleware.ts numbers its visitors and puts the stopwatch first', async (t) => {
  const { port, said } = await start(t, 'own-middleware')
  const place = (name: string): number => said.findIndex((line) => line.includes(`  ${name} `))
  t.true(place('stopwatch') < place('secure'))
  t.is(await readAll(await dial(t, port)), 'you are visitor 1\n')
  t.is(await readAll(await dial(t, port)), 'you are visitor 2\n')
})

test('mutual-tls.ts greets alice and turns bob away', async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), 'cio-example-'))
  t.teardown(() => rm(cwd, { recursive: true }))
  const file = join(root, 'examples', 'certificates.ts')
  const { stdout } = await run(process.execPath, [...typed, file, 'certs', 'alice', 'bob'], { cwd })
  t.is(stdout, 'certs has ca, server, alice, bob\n')

  const { port, line } = await start(t, 'mutual-tls', { cwd })
  t.is(await greeting('alice'), 'hello alice\n')
  t.is(await greeting('bob'), '')
  t.regex(await line(/rejected/), /\("bob"\) was rejected by `allowList`/)

  async function greeting(name: string): Promise<string> {
    const [key, cert, ca] = await Promise.all(
      [`${name}.key`, `${name}.crt`, 'ca.crt'].map((file) => readFile(join(cwd, 'certs', file))),
    )
    const socket = connectTls({ host: 'localhost', port, key, cert, ca })
    t.teardown(() => socket.destroy())
    return readAll(socket)
  }
})

test('tls-proxy.ts passes on to a server without TLS what comes by TLS, and back', async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), 'cio-example-'))
  t.teardown(() => rm(cwd, { recursive: true }))
  await run(process.execPath, [...typed, join(root, 'examples', 'certificates.ts'), 'certs'], {
    cwd,
  })

  const { port } = await start(t, 'tls-proxy', { cwd })
  const ca = await readFile(join(cwd, 'certs', 'ca.crt'))
  const options = { host: 'localhost', port, ca, allowHalfOpen: true }
  const socket = connectTls(options)
  t.teardown(() => socket.destroy())
  socket.end('hello\n')
  t.is(await readAll(socket), 'you said hello\n')
})

test('gateway.ts takes telemetry and commands to and from devices with certificates', async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), 'cio-example-'))
  t.teardown(() => rm(cwd, { recursive: true }))
  const names = ['sensor-1', 'console', 'mallory']
  const file = join(root, 'examples', 'certificates.ts')
  await run(process.execPath, [...typed, file, 'certs', ...names], { cwd })
  const { port, line } = await start(t, 'gateway', { cwd })

  const come = async (name: string) => {
    const folder = join(cwd, 'certs')
    const app = new Cio()
      .useClient(certs({ key: join(folder, `${name}.key`), cert: join(folder, `${name}.crt`) }))
      .useClient(msgpack({ useRecords: false }))
    closeAfter(t, app)
    return app.connect({ host: 'localhost', port, ca: join(folder, 'ca.crt') })
  }
  const operator = await come('console')
  await line(/^console is here$/)
  await operator.messages.send({ to: 'sensor-1', command: 'report' })
  t.deepEqual((await operator.messages.next()).value, { error: 'sensor-1 is not here' })

  const sensor = await come('sensor-1')
  await line(/^sensor-1 is here$/)
  await operator.messages.send({ to: 'sensor-1', command: 'report' })
  t.deepEqual((await sensor.messages.next()).value, { to: 'sensor-1', command: 'report' })
  await sensor.messages.send({ temperature: 21 })
  t.deepEqual((await operator.messages.next()).value, { from: 'sensor-1', temperature: 21 })
  // A device gives no commands.
  await sensor.messages.send({ to: 'console', command: 'obey' })
  t.deepEqual((await operator.messages.next()).value, {
    from: 'sensor-1',
    to: 'console',
    command: 'obey',
  })
  // Nobody reads at the console, which must not hold up a device.
  const note = 'x'.repeat(1_000)
  const reading = { temperature: 21, note }
  await sensor.messages.sendMany(Array.from({ length: 20_000 }, () => reading))
  await sensor.close()
  await line(/^sensor-1 is gone$/)

  await come('mallory')
  t.regex(await line(/rejected/), /\("mallory"\) was rejected by `allowList`/)
})

test('behind-haproxy.ts greets clients by the address that HAProxy tells', async (t) => {
  const { port, line } = await start(t, 'behind-haproxy')
  const socket = await dial(t, port)
  socket.end('PROXY TCP4 192.0.2.7 192.0.2.1 40000 443\r\nhi')
  t.is(await readAll(socket), 'hello 192.0.2.7, who came to 192.0.2.1\n')

  const balancer = await haproxy(t, { server: 'send-proxy-v2', to: port })
  const client = await dial(t, balancer.port)
  t.is(await readAll(client), 'hello 127.0.0.1, who came to 127.0.0.1\n')

  const stranger = await dial(t, port)
  stranger.write('hi\n')
  await readAll(stranger).catch(() => '')
  t.regex(
    await line(/malformed/),
    /^127\.0\.0\.1:\d+ sent a malformed PROXY header: it is none, since it begins with "h"$/,
  )
})

test('demo.ts --watch runs a gateway with traffic, and shows it on a page', async (t) => {
  const { line } = launch(t, 'demo', { words: ['--watch'], port: await ownPort() })
  const said = await line(/^The page: http/)
  const { origin, searchParams } = new URL(said.slice('The page: '.length))
  const headers = { authorization: `Bearer ${searchParams.get('token')}` }
  let ended: Record<string, unknown> = {}
  while (!('not_admitted' in ended && 'nothing_said' in ended)) {
    const response = await fetch(`${origin}/snapshot`, { headers })
    ;({ ended } = (await response.json()) as { ended: Record<string, unknown> })
  }
  const closed = await fetch(`${origin}/closed?reason=not_admitted`, { headers })
  t.is(((await closed.json()) as { peer: string }[])[0]?.peer, 'mallory')
})

test('incidents.ts makes five incidents happen, and the watch says what each is', async (t) => {
  const file = join(root, 'examples', 'incidents.ts')
  const { stdout } = await run(process.execPath, [...typed, file], { cwd: root })
  t.deepEqual(stdout.trimEnd().split('\n'), [
    '1. refused by secure: CERT_HAS_EXPIRED, claimed name device-1',
    '2. 17 refused by limit: ratePerAddress, from 127.0.0.0/24',
    '3. 5 connections are in lookup',
    '4. draining; 1 connection is in report',
    '   at the deadline: forced',
    '5. most of 128 descriptors are open',
    '   readyz would say: not ready',
  ])
})

test('production.ts retries its port, serves alice, and drains on SIGTERM', async (t) => {
  const cwd = await folderWithCertificates(t, 'alice', 'bob')
  const blocker = await listenOn(t, await ownPort())
  const { port } = blocker.address() as AddressInfo
  const example = launch(t, 'production', { cwd, port })
  await example.line(/^port in use: retry 1 in/)
  blocker.close()
  await example.line(/ on port \d+$/)

  const alice = await dialTls(t, cwd, 'alice', port)
  alice.write('hello\n')
  const [answer] = (await once(alice, 'data')) as [Buffer]
  t.is(String(answer), 'HELLO\n')
  t.is(await readAll(await dialTls(t, cwd, 'bob', port)), '')

  example.child.kill('SIGTERM')
  await example.line(/^SIGTERM: draining$/)
  await readAll(alice)
  await example.line(/^drained, 0 connections forced$/)
  await exitOf(example.child)
  t.is(example.child.exitCode, 0)
})

test('one-port.ts serves HTTP, WebSocket and lines on one port', async (t) => {
  const { port } = await start(t, 'one-port')
  const response = await fetch(`http://127.0.0.1:${port}/here`, {
    headers: { connection: 'close' },
  })
  t.is(await response.text(), 'you asked for /here\n')

  const socket = await dial(t, port)
  socket.end('hello\n')
  t.is(await readAll(socket), 'HELLO\n')

  const web = new WebSocket(`ws://127.0.0.1:${port}/shout`)
  t.teardown(() => web.terminate())
  await once(web, 'open')
  web.send('hello')
  const [data] = (await once(web, 'message')) as [Buffer]
  t.is(String(data), 'HELLO')
})

test('websocket.ts serves a page, and speaks JSON-RPC with its WebSocket', async (t) => {
  const { port, line } = await start(t, 'websocket')
  const page = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } })
  t.regex(await page.text(), /'calculator\.v1'/)

  const web = new WebSocket(`ws://127.0.0.1:${port}/`, 'calculator.v1')
  t.teardown(() => web.terminate())
  const received = (count: number): Promise<unknown[]> => {
    const all: unknown[] = []
    return new Promise((resolve) => {
      web.on('message', (data: Buffer) => {
        all.push(JSON.parse(String(data)))
        if (all.length === count) resolve(all)
      })
    })
  }
  const both = received(2)
  await once(web, 'open')
  web.send('{"jsonrpc":"2.0","id":1,"result":"a test"}')
  web.send('{"jsonrpc":"2.0","id":7,"method":"add","params":[1,2]}')
  t.deepEqual(await both, [
    { jsonrpc: '2.0', id: 1, method: 'show', params: ['hello'] },
    { jsonrpc: '2.0', id: 7, result: 3 },
  ])
  await line(/shown by a test/)
})

test('start-tls.ts greets alice after STARTTLS, and rejects mallory', async (t) => {
  const cwd = await folderWithCertificates(t, 'alice', 'mallory')
  const { port, line } = await start(t, 'start-tls', { cwd })
  t.is(await greeting('alice'), 'hello alice\n')
  t.is(await greeting('mallory'), '')
  await line(/"mallory"/)

  async function greeting(name: string): Promise<string> {
    const socket = await dial(t, port)
    socket.write('hello\n')
    t.is(String((await once(socket, 'data'))[0]), 'say STARTTLS\n')
    socket.write('STARTTLS\n')
    t.is(String((await once(socket, 'data'))[0]), 'go ahead\n')
    const secure = connectTls({ socket, servername: 'localhost', ...(await identity(cwd, name)) })
    return readAll(secure).catch(() => '')
  }
})

test('codecs.ts prints the answer of each codec', async (t) => {
  t.deepEqual(await output('codecs'), [
    "contentLength { text: 'hello' }",
    "cbor { text: 'hello' }",
    "codec { text: 'hello' }",
    'frames \0\x05olleh',
    'jsonStream {"took":1}',
    '{"took":2}',
    'transform HELLO',
    'layer hello',
  ])
})

test('multiplex.ts answers on each stream of one connection', async (t) => {
  t.deepEqual(await output('multiplex'), [
    'stream first, for ann',
    'first answers ["sum",3]',
    'stream second, for bob',
    'second answers ["sum",7]',
  ])
})

test('through-a-proxy.ts sends a PROXY header through SOCKS5 and HTTP proxies', async (t) => {
  const { port } = await start(t, 'behind-haproxy')
  const greeting = ['hello 192.0.2.7, who came to 192.0.2.1']
  const socks = await socksProxy(t)
  const target = `127.0.0.1:${port}`
  t.deepEqual(await output('through-a-proxy', `socks5://127.0.0.1:${socks.port}`, target), greeting)
  const http = await httpProxy(t)
  t.deepEqual(await output('through-a-proxy', `http://127.0.0.1:${http.port}`, target), greeting)
  t.deepEqual(http.asked, [target])
})

test('every middleware is in an example', async (t) => {
  const names = (await readdir(join(root, 'middleware')))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => name.slice(0, -'.ts'.length))
  const files = (await readdir(join(root, 'examples'))).filter((name) => name.endsWith('.ts'))
  const sources = await Promise.all(
    files.map((name) => readFile(join(root, 'examples', name), 'utf8')),
  )
  for (const name of names) {
    const factory = name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
    const called = new RegExp(`\\b${factory}(<.*>)?\\(`)
    t.true(
      sources.some((source) => called.test(source)),
      factory,
    )
  }
})

test('demo.ts exits 0, and leaves no folder behind', async (t) => {
  const TMPDIR = await mkdtemp(join(tmpdir(), 'cio-example-'))
  t.teardown(() => rm(TMPDIR, { recursive: true }))
  const file = join(root, 'examples', 'demo.ts')
  const { stdout } = await run(process.execPath, [...typed, file], {
    cwd: root,
    env: { ...process.env, TMPDIR },
  })
  t.regex(stdout, /she says "hello", and hears "hello"/)
  t.regex(stdout, /\("mallory"\) was rejected by `allowList`: it is not on the list/)
  t.regex(stdout, /was rejected by `secure`: it presented no certificate/)
  t.deepEqual(
    (await readdir(TMPDIR)).filter((name) => name.startsWith('cio-')),
    [],
  )
})

test('trackers.ts reads GT06 and Teltonika on one port, and answers them', async (t) => {
  const { port, line } = await start(t, 'trackers')
  const frameOf = (name: string): string => wires.find((one) => one.name === name)!.frames[0]!
  const gt06 = await dial(t, port)
  gt06.write(Buffer.from(frameOf('GT06'), 'hex'))
  t.is(await bytesOf(gt06, 10), '787805010001d9dc0d0a')
  // A location: the date, satellites, latitude, longitude, speed and course.
  const body = '121a0b1a120000c905606620010000000000000002'
  const format = { start: 'xx', length: { bytes: 1, plus: 2 }, end: '\r\n' } as const
  const checksum = { of: checksums.crc16x25!, bytes: 2, over: 'header' } as const
  gt06.write(encodeFrame({ ...format, checksum }, Buffer.from(body, 'hex')))
  t.is(await line(/^GT06/), 'GT06 123456789012345 is at 50.1132, 9.3207')

  const teltonika = await dial(t, port)
  teltonika.write('\0\x0f356307042441013')
  t.is(await bytesOf(teltonika, 1), '01')
  teltonika.write(Buffer.from(frameOf('Teltonika Codec 8'), 'hex'))
  t.is(await bytesOf(teltonika, 4), '00000001')
  t.is(await line(/^Teltonika/), 'Teltonika 356307042441013 is at 0.0000, 0.0000')
})

test('modbus-device.ts answers requests to read and write registers, and says what it cannot', async (t) => {
  const { port } = await start(t, 'modbus-device')
  const socket = await dial(t, port)
  const ask = async (request: string, length: number): Promise<string> => {
    socket.write(Buffer.from(request.replaceAll(' ', ''), 'hex'))
    return bytesOf(socket, length)
  }
  t.is(await ask('0001 0000 0006 01 03 0000 0002', 13), '00010000000701030400e60000')
  t.is(await ask('0002 0000 0006 01 06 0001 002a', 12), '00020000000601060001002a')
  t.is(await ask('0003 0000 0006 01 03 0001 0001', 11), '000300000005010302002a')
  t.is(await ask('0004 0000 0006 01 03 0009 0002', 9), '000400000003018302')
  t.is(await ask('0005 0000 0006 01 07 0000 0000', 9), '000500000003018701')
})

test('every example begins with its command, and is in the list', async (t) => {
  const readme = await readFile(join(root, 'examples', 'README.md'), 'utf8')
  const files = (await readdir(join(root, 'examples'))).filter((name) => name.endsWith('.ts'))
  for (const file of files) {
    const [first = ''] = (await readFile(join(root, 'examples', file), 'utf8')).split('\n')
    t.regex(first, /^\/\/ np[mx] /, file)
    t.true(readme.includes(`](${file})`), file)
    t.true(readme.includes(`\`${first.slice('// '.length)}\``), `${file}: its command`)
  }
})

async function identity(
  cwd: string,
  name: string,
): Promise<{ key: Buffer; cert: Buffer; ca: Buffer }> {
  const [key, cert, ca] = await Promise.all(
    [`${name}.key`, `${name}.crt`, 'ca.crt'].map((file) => readFile(join(cwd, 'certs', file))),
  )
  return { key: key!, cert: cert!, ca: ca! }
}

async function dialTls(
  t: ExecutionContext,
  cwd: string,
  name: string,
  port: number,
): Promise<TLSSocket> {
  const socket = connectTls({ host: 'localhost', port, ...(await identity(cwd, name)) })
  t.teardown(() => socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

async function exitOf(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

async function listenOn(t: ExecutionContext, port: number): Promise<Server> {
  const server = createServer()
  t.teardown(() => server.close())
  server.listen(port)
  await once(server, 'listening')
  return server
}

/** The next bytes of a socket in hexadecimal digits. */
async function bytesOf(socket: Socket, length: number): Promise<string> {
  let bytes: Buffer | null
  while ((bytes = socket.read(length) as Buffer | null) === null) await once(socket, 'readable')
  return bytes.toString('hex')
}

async function dial(t: ExecutionContext, port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** One who talks: waits for lines one by one. */
async function enter(t: ExecutionContext, port: number, name: string) {
  const socket = await dial(t, port)
  const heard = createInterface(socket)[Symbol.asyncIterator]()
  const next = async (): Promise<string> => String((await heard.next()).value)
  t.is(await next(), 'who are you?')
  socket.write(`${name}\n`)
  t.is(await next(), `welcome, ${name}`)
  return {
    next,
    say: (line: string): boolean => socket.write(`${line}\n`),
    leave: (): void => void socket.end(),
  }
}
