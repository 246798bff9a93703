import test, { type ExecutionContext } from 'ava'
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { Cio, type RecordOptions, allowList, lines, record } from '../../src/index.ts'
import { replay } from '../../src/testing.ts'
import { identity, loaded, path as certificate } from '../support/certificates.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'

async function directory(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'cio-record-'))
  t.teardown(() => rm(path, { recursive: true }))
  return join(path, 'captures')
}

/** An app that shouts lines, and records. */
function shouting(options: RecordOptions, shout = (line: string) => line.toUpperCase()): Cio {
  const app = new Cio()
    .useConnection(record(options))
    .useConnection(lines({ maxLength: 100 }))
    .useConnection(async function shouter({ messages }) {
      for await (const line of messages) await messages.send(shout(line))
    })
  app.on('remoteError', () => {})
  return app
}

const never = (): boolean => false

async function talk(t: ExecutionContext, server: { port: number }, ...said: string[]) {
  const client = await dial(t, server)
  for (const one of said) client.write(one)
  client.end()
  return readAll(client)
}

test('a recording has both directions, the end, and no address, for its owner alone', async (t) => {
  const to = await directory(t)
  const app = shouting({ when: () => true, to })
  const recorded = nextEvent(app, 'recorded')
  const server = await serve(t, app)
  t.is(await talk(t, server, 'hello\n'), 'HELLO\n')
  const [file] = await recorded
  const mode = 0o777
  t.is((await stat(file)).mode & mode, 0o600)
  t.is((await stat(to)).mode & mode, 0o700)
  const text = await readFile(file, 'utf8')
  const all = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  t.like(all[0], { format: 'cio.record.1', tls: null, peer: null })
  t.like(all[1], { in: Buffer.from('hello\n').toString('base64') })
  t.true(all.some(({ out }) => out === Buffer.from('HELLO\n').toString('base64')))
  t.like(all.at(-1), { end: { reason: 'remote_ended', by: 'remote' }, isCut: false })
  t.false(text.includes('127.0.0.1'))
})

test('a recording is replayed into the same pipeline, with the same answers and the same end', async (t) => {
  const to = await directory(t)
  const app = shouting({ when: () => true, to })
  const recorded = nextEvent(app, 'recorded')
  const server = await serve(t, app)
  await talk(t, server, 'hel', 'lo\nwor', 'ld\n', `${'x'.repeat(200)}\n`)
  const [file] = await recorded
  for (const pace of ['fast', 'recorded'] as const) {
    const again = shouting({ when: never, to })
    const { end, recorded: then, sent, differs } = await replay(file, again, { pace })
    t.is(end.reason, 'bad_data')
    t.is(then.reason, 'bad_data')
    t.is(sent.toString(), 'HELLO\nWORLD\n')
    t.is(differs, undefined)
  }
})

test('a replay says where the answers differ', async (t) => {
  const to = await directory(t)
  const app = shouting({ when: () => true, to })
  const recorded = nextEvent(app, 'recorded')
  await talk(t, await serve(t, app), 'hello\n', 'world\n')
  const [file] = await recorded
  const changed = shouting({ when: never, to }, (line) => line.toUpperCase().replace('W', 'V'))
  const { differs, end } = await replay(file, changed, { timeout: 10_000 })
  t.is(end.reason, 'remote_ended')
  t.is(differs?.offset, 6)
  t.is(differs?.recorded.toString(), 'WORLD\n')
  t.is(differs?.sent.toString(), 'VORLD\n')
})

test('a replay has the recorded peer, and what passed was plain text above TLS', async (t) => {
  const to = await directory(t)
  const make = (when: () => boolean): Cio =>
    new Cio()
      .useConnection(allowList(['alice']))
      .useConnection(record({ when, to }))
      .useConnection(({ stream, peer }) => void stream.end(`hello ${peer.name}`))
  const app = make(() => true)
  const recorded = nextEvent(app, 'recorded')
  const server = await serve(t, app, { ...identity('server'), ca: certificate('root.crt') })
  const client = connectTls({ port: server.port, ...loaded('alice'), rejectUnauthorized: false })
  t.is(await readAll(client), 'hello alice')
  const [file] = await recorded
  const { sent, differs } = await replay(file, make(never))
  t.is(sent.toString(), 'hello alice')
  t.is(differs, undefined)
})

test('a recording is bounded by connections, bytes and what `when` says', async (t) => {
  const to = await directory(t)
  const app = shouting({
    when: ({ state }) => state['no'] === undefined,
    to,
    connections: 2,
    bytes: 8,
  })
  const files: string[] = []
  app.on('recorded', (file) => files.push(file))
  const server = await serve(t, app)
  for (let count = 0; count < 4; count++) {
    const closed = nextEvent(app, 'close')
    const recorded = count < 2 ? nextEvent(app, 'recorded') : undefined
    t.is(await talk(t, server, 'hello\n'), 'HELLO\n')
    await Promise.all([closed, recorded])
  }
  t.is((await readdir(to)).length, 2)
  const foot = (await readFile(files[0]!, 'utf8')).trim().split('\n').at(-1)!
  t.true((JSON.parse(foot) as { isCut: boolean }).isCut)
})

test('nothing is recorded of a connection for which `when` does not say true', async (t) => {
  const to = await directory(t)
  const app = shouting({ when: (() => 'yes') as unknown as () => boolean, to })
  t.is(await talk(t, await serve(t, app), 'hello\n'), 'HELLO\n')
  await t.throwsAsync(readdir(to))
})

test('a secret that is redacted is not in the file, and the server still gets it', async (t) => {
  const to = await directory(t)
  const redact = (chunk: Buffer): Buffer => Buffer.from(chunk.toString().replace(/secret/gi, '***'))
  const app = shouting({ when: () => true, to, redact })
  const recorded = nextEvent(app, 'recorded')
  t.is(await talk(t, await serve(t, app), 'secret\n'), 'SECRET\n')
  const text = await readFile((await recorded)[0], 'utf8')
  for (const word of ['secret\n', 'SECRET\n']) {
    t.false(text.includes(Buffer.from(word).toString('base64')))
  }
})

test('a redact that throws leaves no file, is reported, and the connection is served', async (t) => {
  const to = await directory(t)
  const redact = (): never => {
    throw new Error('mine')
  }
  const app = shouting({ when: () => true, to, redact })
  const failed = nextEvent(app, 'error')
  t.is(await talk(t, await serve(t, app), 'hello\n'), 'HELLO\n')
  t.like((await failed)[0], { code: 'ERR_CIO_RECORD' })
  await t.throwsAsync(readdir(to))
})

test('a directory that cannot be made is reported, and the connection is served', async (t) => {
  const app = shouting({ when: () => true, to: '/dev/null/captures' })
  const failed = nextEvent(app, 'error')
  t.is(await talk(t, await serve(t, app), 'hello\n'), 'HELLO\n')
  t.like((await failed)[0], { code: 'ERR_CIO_RECORD' })
})

test('what is no recording is refused', async (t) => {
  const to = await directory(t)
  const file = join(to, '..', 'other.cio')
  for (const text of ['', 'no', '{}\n', '{"format":"cio.record.1"}\n']) {
    await writeFile(file, text)
    await t.throwsAsync(replay(file, new Cio()), { code: 'ERR_CIO_OPTION' })
  }
  await t.throwsAsync(replay(file, new Cio(), { pace: 'slow' as 'fast' }), {
    code: 'ERR_CIO_OPTION',
  })
})

for (const options of [
  {},
  { when: never },
  { when: never, to: '' },
  { when: never, to: 'x', connections: -1 },
  { when: never, to: 'x', bytes: 0.5 },
  { when: never, to: 'x', duration: -1 },
  { when: never, to: 'x', redact: 1 },
  { when: never, to: 'x', other: 1 },
]) {
  test(`record refuses ${JSON.stringify(options)}${'when' in options ? ' with `when`' : ''}`, (t) => {
    t.throws(() => record(options as unknown as RecordOptions), { code: 'ERR_CIO_OPTION' })
  })
}
