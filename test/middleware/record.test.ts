import test, { type ExecutionContext } from 'ava'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { Cio, type RecordOptions, allowList, lines, record } from '../../src/index.ts'
import { replay } from '../../src/testing.ts'
import { identity, loaded, path as certificate } from '../support/certificates.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { wordsOf } from '../support/typescript.ts'
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

test('a full disk leaves no part of a file, and is reported', async (t) => {
  const to = await directory(t)
  const script = wordsOf(new URL('../fixtures/record-full-disk.ts', import.meta.url))
  // Without the signal, a write beyond the limit fails as it does on a full disk.
  const { stdout, stderr } = spawnSync(
    'bash',
    ['-c', `trap '' XFSZ; ulimit -f 4; exec "$@"`, 'bash', process.execPath, ...script, to],
    { env: { ...process.env, TSX_DISABLE_CACHE: '1' }, encoding: 'utf8' },
  )
  t.is(stdout, 'ERR_CIO_RECORD 0\n', stderr)
})

test('a link at the place of a recording is not followed, and a file there not overwritten', async (t) => {
  const to = await directory(t)
  const other = await directory(t)
  mkdirSync(to)
  writeFileSync(other, 'precious')
  // The name has the time, so that it must stand still to be guessed.
  const { prototype } = Date
  const own = Object.getOwnPropertyDescriptor(prototype, 'toISOString')!
  t.teardown(() => void Object.defineProperty(prototype, 'toISOString', own))
  const still = { ...own, value: () => '2026-01-01T00:00:00.000Z' }
  Object.defineProperty(prototype, 'toISOString', still)
  const place = (id: number): string =>
    join(to, `2026-01-01T00-00-00-000Z-${process.pid}-${id}.cio`)
  for (const make of [
    (path: string) => symlinkSync(other, path),
    (path: string) => writeFileSync(path, 'precious'),
  ]) {
    const app = shouting({ when: () => true, to })
    let taken = ''
    app.once('connection', ({ id }) => {
      taken = place(id)
      make(taken)
    })
    const failed = nextEvent(app, 'error')
    const server = await serve(t, app)
    t.is(await talk(t, server, 'hello\n'), 'HELLO\n')
    const [error] = await failed
    t.like(error, { code: 'ERR_CIO_RECORD' })
    t.regex(error.message, /EEXIST/)
    t.is(await readFile(taken, 'utf8'), 'precious')
  }
  t.is(await readFile(other, 'utf8'), 'precious')
})

test('a replay is not recorded', async (t) => {
  const to = await directory(t)
  const app = shouting({ when: () => true, to })
  const recorded = nextEvent(app, 'recorded')
  await talk(t, await serve(t, app), 'hello\n')
  const [file] = await recorded
  app.on('recorded', () => t.fail('it was recorded'))
  const again = shouting({ when: () => t.fail('it was asked'), to })
  t.is((await replay(file, again)).differs, undefined)
  t.is((await replay(file, app)).differs, undefined)
  t.is((await readdir(to)).length, 1)
})

test('a replay waits for an answer in many pieces, and leaves nothing behind that waits', async (t) => {
  const to = await directory(t)
  const pieces = 100
  const app = (when: () => boolean): Cio =>
    new Cio().useConnection(record({ when, to })).useConnection(async ({ stream }) => {
      for (let piece = 0; piece < pieces; piece++) {
        stream.write('x')
        await new Promise(setImmediate)
      }
      stream.end()
    })
  const first = app(() => true)
  const recorded = nextEvent(first, 'recorded')
  t.is(await talk(t, await serve(t, first)), 'x'.repeat(pieces))
  const [file] = await recorded
  const warnings: Error[] = []
  const warn = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  for (const timeout of [60_000.5, Infinity]) {
    t.is((await replay(file, app(never), { timeout })).differs, undefined)
  }
  // A warning is emitted in the next tick.
  await new Promise(setImmediate)
  t.deepEqual(warnings, [])
})

test('a recording of a time that does not end is none', async (t) => {
  const to = await directory(t)
  const app = shouting({ when: () => true, to })
  const recorded = nextEvent(app, 'recorded')
  await talk(t, await serve(t, app), 'hello\n')
  const [file] = await recorded
  const text = await readFile(file, 'utf8')
  await writeFile(file, text.replace(/"at":[\d.]+/g, '"at":1e999'))
  const refused = { code: 'ERR_CIO_OPTION', message: /line 2 is neither input nor output/ }
  await t.throwsAsync(replay(file, shouting({ when: never, to }), { pace: 'recorded' }), refused)
})

test('a recording that a bound has cut is compared as far as it goes', async (t) => {
  const to = await directory(t)
  const app = shouting({ when: () => true, to, bytes: 15 })
  const recorded = nextEvent(app, 'recorded')
  const server = await serve(t, app)
  const client = await dial(t, server)
  for (const word of ['one\n', 'two\n']) {
    client.write(word)
    await once(client, 'data')
  }
  client.destroy()
  const [file] = await recorded
  const again = shouting({ when: never, to })
  t.is((await replay(file, again)).differs, undefined)
  const changed = shouting({ when: never, to }, (line) => line.replace('one', 'eno'))
  t.is((await replay(file, changed)).differs?.offset, 0)
})

test('a recording of hostile content is refused', async (t) => {
  const to = await directory(t)
  const file = join(to, '..', 'other.cio')
  const head = { format: 'cio.record.1', peer: null }
  const foot = { at: 2, end: { reason: 'served', by: 'local', step: 'x' } }
  const odd = "served'); process.exit(9); t.is(end.reason, '"
  for (const lines of [
    [head, { at: 1, in: 'aGk=' }],
    [head, { at: 1, in: 'aGk=' }, { ...foot, end: { ...foot.end, reason: odd } }],
    [head, { at: 1, in: 'aGk=' }, { ...foot, end: { ...foot.end, step: 1 } }],
    [head, null, foot],
    [head, { at: 1, in: 7 }, foot],
    [head, { at: 1, out: { length: 2 ** 40 } }, foot],
    [head, { at: 'now', in: 'aGk=' }, foot],
    [head, {}, foot],
    [null, foot],
    [{ ...head, peer: 'bm8=' }, foot],
  ]) {
    await writeFile(file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    const text = JSON.stringify(lines)
    await t.throwsAsync(replay(file, new Cio()), { code: 'ERR_CIO_OPTION' }, text)
  }
  // Input after its end ends the connection.
  const after = [head, { at: 1, in: null }, { at: 1, in: 'aGk=' }, foot]
  await writeFile(file, after.map((line) => `${JSON.stringify(line)}\n`).join(''))
  t.is((await replay(file, new Cio())).sent.length, 0)
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
