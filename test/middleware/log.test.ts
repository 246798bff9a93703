import test, { type ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, createWriteStream, openSync } from 'node:fs'
import { Writable } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import {
  Cio,
  CioError,
  type ListenOptions,
  type LogOptions,
  log,
  proxyProtocol,
  reconnect,
} from '../../src/index.ts'
import { safe } from '../../middleware/log/attributes.ts'
import { jsonLine } from '../../middleware/log/json-line.ts'
import { LineWriter } from '../../middleware/log/line-writer.ts'
import { identity, loaded, path as certificate } from '../support/certificates.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'
import { built, flags } from '../support/typescript.ts'
import { many } from '../support/long.ts'

const core = JSON.stringify(built(new URL('../../src/index.ts', import.meta.url)))

type Line = Record<string, unknown>

/** A stream that keeps what is written, as text, and waits for lines. */
class Paper extends Writable {
  text = ''
  #stir = (): void => {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString()
    this.#stir()
    done()
  }

  get lines(): Line[] {
    return this.text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Line)
  }

  async until(count: number, event = 'cio.connection.end'): Promise<Line[]> {
    for (;;) {
      const found = this.lines.filter((line) => line['event.name'] === event)
      if (found.length >= count) return found
      await new Promise<void>((resolve) => (this.#stir = resolve))
    }
  }
}

const echo = (): Cio =>
  new Cio().useConnection(async function echo(ctx) {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })

/** A server that logs to a paper. */
async function logged(
  t: ExecutionContext,
  app: Cio,
  options: LogOptions = {},
  listen: ListenOptions = {},
) {
  const paper = new Paper()
  for (const event of ['error', 'remoteError', 'reject'] as const) app.on(event, () => {})
  app.useServer(log({ to: paper, ...options }))
  return { paper, server: await serve(t, app, listen) }
}

async function exchange(t: ExecutionContext, server: { port: number }): Promise<number> {
  const client = await dial(t, server)
  const { localPort } = client
  client.end('hello')
  t.is(await readAll(client), 'hello')
  return localPort!
}

test('a connection has one line of JSON, at its end', async (t) => {
  const { paper, server } = await logged(t, echo())
  const port = await exchange(t, server)
  const [line] = await paper.until(1)
  t.like(line, {
    level: 'info',
    'event.name': 'cio.connection.end',
    'server.port': server.port,
    'client.address': '127.0.0.1',
    'client.port': port,
    'cio.end.reason': 'remote_ended',
    'cio.end.by': 'remote',
    'cio.step.name': 'echo',
    'cio.connection.received.size': 5,
    'cio.connection.sent.size': 5,
    'cio.pipeline.generation': server.app.pipelines.connection.generation,
  })
  t.true(Date.parse(line!['time'] as string) > 0)
  t.true((line!['cio.connection.duration'] as number) > 0)
  t.is(paper.text.split('\n').length, 2)
})

test('a connection over TLS has its version, and the verified name', async (t) => {
  const app = (): Cio => new Cio().useConnection(({ stream }) => void stream.end('hi'))
  const options = { ...identity('server'), ca: certificate('root.crt') }
  for (const [peer, attribute, value] of [
    ['name', 'cio.peer.name', /^alice$/],
    ['spki', 'cio.peer.spki', /^sha256\//],
    ['none', 'cio.peer.none', /^undefined$/],
  ] as const) {
    const { paper, server } = await logged(t, app(), { peer }, options)
    const client = connectTls({ port: server.port, ...loaded('alice'), rejectUnauthorized: false })
    client.on('error', () => {}).resume()
    const [line] = await paper.until(1)
    t.like(line, { 'tls.protocol.version': '1.3', 'tls.resumed': false })
    t.regex(String(line![attribute]), value)
    if (peer !== 'name') t.false(paper.text.includes('alice'))
  }
})

test('a refusal says why, and where its middleware is registered', async (t) => {
  const app = new Cio().useConnection(() => {
    throw new CioError('ERR_TEST_QUOTA', 'used up', {
      fault: 'remote',
      end: 'over_limit',
      why: 'daily',
      refusal: { step: 'quota', why: 'quota', peer: { name: 'mallory', verified: false } },
    })
  })
  const { paper, server } = await logged(t, app)
  await dial(t, server)
  const [line] = await paper.until(1)
  t.like(line, {
    level: 'warn',
    'cio.end.reason': 'over_limit',
    'cio.end.why': 'daily',
    'cio.refusal.reason': 'quota',
    'cio.peer.claimed_name': 'mallory',
    'error.type': 'ERR_TEST_QUOTA',
  })
  t.regex(String(line!['cio.refusal.at']), /^test\/middleware\/log\.test\.ts:\d+$/)
})

test('a failed handshake has the reason of OpenSSL', async (t) => {
  const { paper, server } = await logged(t, echo(), {}, identity('server'))
  const client = await dial(t, server)
  client.resume().write('this is no TLS\n')
  t.like((await paper.until(1))[0], {
    level: 'warn',
    'cio.end.reason': 'handshake_failed',
    'cio.tls.reason': 'wrong version number',
    'cio.step.name': 'secure',
  })
})

test('a handler that throws has a line of the level error', async (t) => {
  const app = new Cio().useConnection(() => {
    throw new TypeError('mine')
  })
  const { paper, server } = await logged(t, app)
  await dial(t, server)
  t.like((await paper.until(1))[0], {
    level: 'error',
    'cio.end.reason': 'local_fault',
    'error.type': 'TypeError',
  })
})

test('a client behind a proxy is the client, and the proxy is the peer', async (t) => {
  const app = new Cio()
    .useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
    .useConnection(({ stream }) => void stream.end('hi'))
  const { paper, server } = await logged(t, app)
  const client = await dial(t, server)
  const { localPort } = client
  client.resume().end('PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n')
  t.like((await paper.until(1))[0], {
    'client.address': '192.0.2.7',
    'client.port': 4711,
    'network.peer.address': '127.0.0.1',
    'network.peer.port': localPort,
  })
})

// What is personal

test('the address is cut to its network, or left out', async (t) => {
  for (const [address, expected] of [
    ['network', '127.0.0.0/24'],
    ['none', undefined],
  ] as const) {
    const { paper, server } = await logged(t, echo(), { address })
    await exchange(t, server)
    const [line] = await paper.until(1)
    t.is(line!['client.address'], expected)
    t.is(line!['client.port'], undefined)
    t.false(paper.text.includes('127.0.0.1'))
  }
})

// What a client chooses

test('nothing that a client chooses drives a terminal or begins a line', async (t) => {
  const name = 'a\u001b[2J\nb\u202e\u009b\u007f"\\'
  const app = new Cio().useConnection(() => {
    const refusal = { step: 'x', why: 'y', peer: { name, verified: false } }
    throw new CioError('ERR_TEST', '', { fault: 'remote', why: name, refusal })
  })
  const { paper, server } = await logged(t, app)
  await dial(t, server)
  const [line] = await paper.until(1)
  t.regex(paper.text, /^[ -~]*\n$/)
  // Also where a tool decodes the value and prints it.
  t.regex(String(line!['cio.peer.claimed_name']), /^a\\u001b\[2J\\nb/)
  t.regex(String(line!['cio.end.why']), /^[ -~]+$/)
  t.true(safe('x'.repeat(10_000)).length < 100)
})

// Floods

const floods = many(2_000, 100)

test(`a flood of ${floods} refused handshakes writes few lines and a sum, and a good client is served`, async (t) => {
  const rate = { count: 5, per: 2_000 }
  const { paper, server } = await logged(t, echo(), { rate }, { ...identity('server') })
  const one = async (): Promise<void> => {
    const client = await dial(t, server)
    const closed = once(client, 'close')
    client.resume().end('GET / HTTP/1.1\r\n\r\n')
    await closed
  }
  const workers = Array.from({ length: 20 }, async () => {
    for (let count = 0; count < floods / 20; count++) await one()
  })
  const began = Date.now()
  await Promise.all(workers)
  const took = Date.now() - began
  const good = connectTls({ port: server.port, rejectUnauthorized: false })
  good.on('error', () => {}).end('hello')
  t.is(await readAll(good), 'hello')
  await server.close()
  const failed = paper.lines.filter((line) => line['cio.end.reason'] === 'handshake_failed')
  const ended = failed.filter((line) => line['event.name'] === 'cio.connection.end')
  const sums = failed.filter((line) => line['event.name'] === 'cio.log.suppressed')
  t.true(ended.length <= 5 + (5 * took) / 2_000 + 5, `${ended.length} lines`)
  const counted = sums.reduce((sum, line) => sum + (line['count'] as number), ended.length)
  t.is(counted, floods)
  t.true(sums.length >= 1)
})

test('a connection that says nothing has no line, unless it is asked for', async (t) => {
  for (const healthChecks of [false, true]) {
    const app = echo()
    const { paper, server } = await logged(t, app, { healthChecks })
    const closed = nextEvent(app, 'close')
    const client = await dial(t, server)
    client.resume().end()
    t.is((await closed)[1].reason, 'nothing_said')
    await exchange(t, server)
    const lines = await paper.until(healthChecks ? 2 : 1)
    t.is(lines.length, healthChecks ? 2 : 1)
  }
})

test('a share of 0 leaves out ordinary ends, and no others', async (t) => {
  let isBad = false
  const app = new Cio().useConnection(({ stream }) => {
    if (isBad) throw new Error('mine')
    stream.end('hi')
  })
  const { paper, server } = await logged(t, app, { ordinary: 0 })
  const closed = nextEvent(app, 'close')
  const client = await dial(t, server)
  client.resume().end('hello')
  await closed
  isBad = true
  await dial(t, server)
  const lines = await paper.until(1)
  t.deepEqual(
    lines.map((line) => line['cio.end.reason']),
    ['local_fault'],
  )
})

test('a connection that stays open has a line each interval', async (t) => {
  const { paper, server } = await logged(t, echo(), { openInterval: 40 })
  const client = await dial(t, server)
  client.resume()
  const open = await paper.until(2, 'cio.connection.open')
  t.like(open[0], { level: 'info', 'cio.step.name': 'echo', 'client.port': client.localPort })
})

// Sinks

test('a logger such as pino gets records and messages', async (t) => {
  const calls: [string, Line, string][] = []
  let exchanged: Promise<unknown> | undefined
  const told = new Promise<void>((resolve) => {
    const note = (level: string) => (record: object, message: string) => {
      calls.push([level, record as Line, message])
      resolve()
    }
    const to = { info: note('info'), warn: note('warn'), error: note('error') }
    exchanged = logged(t, echo(), { to }).then(({ server }) => exchange(t, server))
  })
  await Promise.all([told, exchanged])
  const [[level, record, message]] = calls as [[string, Line, string]]
  t.is(level, 'info')
  t.is(message, 'remote_ended@echo')
  t.is(record['event.name'], 'cio.connection.end')
  t.is(record['time'], undefined)
})

test('a logger that throws is reported by error, and the connection is served', async (t) => {
  const fail = (): never => {
    throw new Error('no disk')
  }
  const app = echo()
  const { server } = await logged(t, app, { to: { info: fail, warn: fail, error: fail } })
  const failed = nextEvent(app, 'error')
  await exchange(t, server)
  t.is((await failed)[0].message, 'no disk')
})

test('a line is the JSON of its record, after the time and the level', (t) => {
  const texts = [
    '',
    'plain',
    '"',
    '\\',
    '\u001B[2J',
    '\n',
    '\u2028',
    'ä',
    '\u{1F600}',
    '\uD800',
    '\u200F',
  ]
  const record = Object.fromEntries(texts.map((text, index) => [`of.${index}`, text]))
  const before = Date.now()
  const line = jsonLine('warn', { ...record, number: 0.25, yes: true })
  const { time, ...rest } = JSON.parse(line) as { time: string }
  t.deepEqual(rest, { level: 'warn', ...record, number: 0.25, yes: true })
  t.is(new Date(time).toISOString(), time)
  t.true(Date.parse(time) >= before && Date.parse(time) <= Date.now())
  t.regex(line, /^[ -~ä\u{1F600}]*\n$/u)
})

test('lines that a slow reader does not take are dropped and counted', async (t) => {
  let release = (): void => {}
  let text = ''
  const slow = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString()
      release = done
    },
  })
  const writer = new LineWriter(
    slow,
    100,
    (count) => `{"dropped":${count}}\n`,
    (error) => t.fail(error.message),
  )
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  for (let index = 0; index < 50; index++) writer.write(`${'x'.repeat(39)}\n`)
  await turn()
  const waiting = slow.writableLength
  t.true(waiting < 250, `${waiting} bytes`)
  release()
  await turn()
  writer.write('{"last":true}\n')
  await turn()
  release()
  t.regex(text, /\{"dropped":4\d\}\n\{"last":true\}\n$/)
})

test('a stream that fails ends no process: `error` reports it, and the lines are counted', async (t) => {
  const app = echo()
  const full = log({ to: createWriteStream('/dev/full') })
  app.useServer(full)
  const server = await serve(t, app)
  const failed = nextEvent(app, 'error')
  await exchange(t, server)
  const [error] = await failed
  t.like(error, { code: 'ERR_CIO_LOG', fault: 'local' })
  t.regex(error.message, /ENOSPC/)

  // The server goes on.
  const ended = nextEvent(app, 'close')
  await exchange(t, server)
  await ended
  t.true(full.counts.dropped > 0)
})

test('standard output on a full disk ends no process, and is reported once', async (t) => {
  const program = `
    import { Cio, log } from ${core}
    const access = log()
    const app = new Cio().useServer(access).useConnection(({ stream }) => void stream.end('bye'))
    app.on('error', (error) => process.stderr.write(error.code + '\\n'))
    const server = await app.listen({ host: '127.0.0.1', port: 0 })
    for (let count = 0; count < 3; count++) {
      const client = await app.connect({ host: '127.0.0.1', port: server.port })
      for await (const _ of client);
      while (access.counts.dropped <= count) await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await app.close()
    process.stderr.write('well\\n')`
  const parameters = [...flags, '--input-type=module', '--eval', program]
  const full = openSync('/dev/full', 'w')
  const child = spawn(process.execPath, parameters, { stdio: ['ignore', full, 'pipe'] })
  t.teardown(() => (closeSync(full), child.kill('SIGKILL')))
  let heard = ''
  for await (const chunk of child.stderr!) heard += String(chunk)
  t.is(heard, 'ERR_CIO_LOG\nwell\n')
})

for (const [where, reads] of [
  ['a pipe', true],
  ['a pipe that nothing reads', false],
] as const) {
  test(`lines go to standard output without blocking the server: ${where}`, async (t) => {
    const program = `
      import { Cio, log } from ${core}
      const app = new Cio()
        .useServer(log({ rate: { count: 1e6, per: 1_000 } }))
        .useConnection(({ stream }) => void stream.end('bye'))
      const server = await app.listen({ host: '127.0.0.1', port: 0 })
      process.stderr.write(server.port + '\\n')
      process.once('SIGTERM', () => app.close())`
    const parameters = [...flags, '--input-type=module', '--eval', program]
    const child = spawn(process.execPath, parameters, { stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    const [first] = (await once(child.stderr, 'data')) as [Buffer]
    const server = { port: Number(first.toString()) }
    const said = reads ? readAll(child.stdout) : undefined
    // More than a pipe holds.
    for (let index = 0; index < 300; index++) {
      const client = await dial(t, server)
      client.end('x')
      t.is(await readAll(client), 'bye')
    }
    if (!said) return
    child.kill('SIGTERM')
    const lines = (await said).trim().split('\n')
    t.is(lines.length, 300)
    t.is((JSON.parse(lines[0]!) as Line)['cio.end.reason'], 'served')
  })
}

// Clients, and several servers

test('a client has a line for each attempt, and for the end of its connection', async (t) => {
  const port = await ownPort()
  const paper = new Paper()
  const app = new Cio()
    .useClient(reconnect({ delay: 1, maxDelay: 1 }))
    .useClient(log({ to: paper }))
  closeAfter(t, app)
  const retried = once(app, 'reconnect')
  const connecting = app.connect({ host: '127.0.0.1', port })
  await retried
  await serve(t, echo(), { port })
  const client = await connecting
  await client.close()
  const lines = await paper.until(2)
  t.like(lines[0], {
    'cio.end.reason': 'upstream',
    'error.type': 'ECONNREFUSED',
    'server.address': '127.0.0.1',
    'server.port': port,
  })
  t.like(lines.at(-1), { 'cio.end.reason': 'drained', 'cio.step.name': 'secure' })
})

test('one log of two servers writes each connection once, and nothing of a third', async (t) => {
  const paper = new Paper()
  const lines = log({ to: paper })
  const app = echo().useServer(lines)
  const [one, two] = [await serve(t, app), await serve(t, app)]
  const other = await serve(t, echo())
  const ports = [one.port, two.port]
  for (const server of [one, two, other]) await exchange(t, server)
  await app.close()
  t.deepEqual(
    (await paper.until(2)).map((line) => line['server.port']),
    ports,
  )
  t.is(app.pipelines.connection.probe, undefined)
  t.is(app.listenerCount('secure'), 0)
})

for (const options of [
  { to: 1 },
  { ordinary: 2 },
  { healthChecks: 1 },
  { openInterval: 0 },
  { rate: { count: 0, per: 1 } },
  { address: 'some' },
  { peer: 'some' },
  { maxBuffer: -1 },
  { other: 1 },
]) {
  test(`${JSON.stringify(options)} is refused`, (t) => {
    t.throws(() => log(options as LogOptions), { code: 'ERR_CIO_OPTION' })
  })
}
