/** The command line as its users meet it: child processes, pipes, and a terminal. */

import test, { type ExecutionContext } from 'ava'
import {
  type ChildProcessWithoutNullStreams,
  execFileSync,
  spawn,
  spawnSync,
} from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import {
  copyFile,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import manifest from '../package.json' with { type: 'json' }
import { appOf } from '../cli/app-file.ts'
import { UsageError } from '../cli/command.ts'
import { placeFrom } from '../cli/place.ts'
import {
  Cio,
  allowList,
  certs,
  contentLength,
  json,
  openRpc,
  record,
  rpc,
  rpcError,
} from '../src/index.ts'
import { identity, path as certificate } from './support/certificates.ts'
import { ownPort } from './support/ports.ts'
import { dial, listenBare, readAll, serve } from './support/serve.ts'
import { typescript } from './support/typescript.ts'

const main = fileURLToPath(new URL('../cli/main.ts', import.meta.url))
const cio = new URL('../src/index.ts', import.meta.url).href
const modules = fileURLToPath(new URL('../node_modules', import.meta.url))
const node = ['--import', typescript, main]
const escape = String.fromCodePoint(27)

interface Result {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

const echo = (): Cio =>
  new Cio().useConnection(async ({ stream }, next) => {
    stream.pipe(stream)
    await next()
  })

const mutual = { ...identity('server'), ca: certificate('root.crt') }

test('without a command, it names them and exits 2', async (t) => {
  const { code, out, err } = await run(t, [])
  t.is(code, 2)
  t.is(out, '')
  t.regex(err, /inspect, certs, connect, call, listen, replay, top, why/)
})

test('a command that is misspelt is recognised', async (t) => {
  const { code, err } = await run(t, ['conect'])
  t.is(code, 2)
  t.regex(err, /did you mean connect\?/)
})

test('an option that is misspelt is recognised', async (t) => {
  const { code, err } = await run(t, ['connect', '--cret', 'x'])
  t.is(code, 2)
  t.regex(err, /did you mean --cert\?/)
  t.regex(err, /cio connect --help/)
})

test('--version says the version of the package', async (t) => {
  t.deepEqual(await run(t, ['--version']), { code: 0, out: `${manifest.version}\n`, err: '' })
})

for (const command of ['inspect', 'certs', 'connect', 'call', 'listen', 'replay']) {
  test(`cio ${command} --help has its usage and examples, and no colours in a pipe`, async (t) => {
    const { code, out } = await run(t, [command, '--help'])
    t.is(code, 0)
    t.regex(out, new RegExp(`Usage: cio ${command} `))
    t.regex(out, new RegExp(`Examples\n  cio ${command} `))
    t.false(out.includes(escape))
  })
}

test('inspect prints the order of a TypeScript app, and why', async (t) => {
  const folder = await project(t, {
    'app.ts': `import { Cio, lines } from '${cio}'
      console.log('not for the table')
      export const app: Cio = new Cio()
      app.useConnection(function late(ctx, next) { return next() })
      app.useConnection(function early(ctx, next) { return next() }, { before: 'secure' })`,
  })
  const { code, out } = await run(t, ['inspect', 'app.ts'], { cwd: folder })
  t.is(code, 0)
  t.regex(out, /^server\n/)
  t.regex(out, /early +before `secure`/)
  t.notRegex(out, /not for the table/)

  const asJson = await run(t, ['inspect', 'app.ts', '--json'], { cwd: folder })
  const { connection } = JSON.parse(asJson.out) as { connection: { name: string }[] }
  t.deepEqual(
    connection.map(({ name }) => name),
    ['early', 'secure', 'late'],
  )
})

test('inspect leaves the port of an app that listens to whoever has it', async (t) => {
  const server = await serve(t, echo())
  const folder = await project(t, {
    'app.mjs': `import { Cio } from '${cio}'
      const app = new Cio()
      await app.listen({ port: ${server.port}, host: '127.0.0.1' })
      export default app`,
  })
  t.is((await run(t, ['inspect', 'app.mjs'], { cwd: folder })).code, 0)
})

test('inspect names the exports that would do', async (t) => {
  const folder = await project(t, {
    'app.mjs': `import { Cio } from '${cio}'\nexport const one = new Cio()`,
  })
  const { code, err } = await run(t, ['inspect', 'app.mjs'], { cwd: folder })
  t.is(code, 1)
  t.regex(err, /--export one/)
  const chosen = await run(t, ['inspect', 'app.mjs', '--export', 'one'], { cwd: folder })
  t.is(chosen.code, 0)
})

test('an app of CommonJS that was transpiled is found, by its name too', (t) => {
  const app = new Cio()
  const module = (exported: object) => ({ default: { __esModule: true, ...exported } })
  t.is(appOf(module({ app }), 'app.ts'), app)
  t.is(appOf(module({ default: app }), 'app.ts'), app)
  t.is(appOf(module({ one: app }), 'app.ts', 'one'), app)
  t.throws(() => appOf(module({ one: app }), 'app.ts'), { message: /--export one/ })
})

test('inspect says which file cannot be imported, and why', async (t) => {
  const folder = await project(t, { 'app.mjs': `throw new Error('no luck today')` })
  const { code, err } = await run(t, ['inspect', 'app.mjs'], { cwd: folder })
  t.is(code, 1)
  t.regex(err, /app\.mjs could not be imported: no luck today/)
})

test('top and why say what to install', async (t) => {
  for (const args of [
    ['top', '/tmp/admin.sock'],
    ['why', '/tmp/admin.sock', 'alice'],
  ]) {
    const { code, err } = await run(t, args)
    t.is(code, 1)
    t.regex(err, /comes from @cio\/watch, .* `npm pack && npm pack \.\/packages\/watch`/)
  }
  t.is((await run(t, ['why', 'alice'])).code, 2)
  t.is((await run(t, ['top'])).code, 2)
  const { code, err } = await run(t, ['why', 'alice', '--at', '/tmp/admin.sock'])
  t.is(code, 2)
  t.regex(err, /there is no option --at/)
})

test('top and why are those of the package that the project has', async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), 'cio-cli-'))
  t.teardown(() => rm(cwd, { recursive: true }))
  const folder = join(cwd, 'node_modules', '@cio', 'watch')
  await mkdir(folder, { recursive: true })
  const manifest = { name: '@cio/watch', type: 'module', exports: { './cli': './cli.js' } }
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest))
  await writeFile(
    join(folder, 'cli.js'),
    `const say = (...words) => (console.log(JSON.stringify(words)), 0)
     export const top = ({ at, json }) => say('top', at, json)
     export const whyCert = (file, { at, json, servername }) => say('cert', file, at, json, servername)
     export const why = (subject, { at, json }) => say('why', subject, at, json)`,
  )
  const top = await run(t, ['top', 'a/b', '--json'], { cwd })
  t.is(top.code, 0)
  t.is(top.out, '["top","a/b",true]\n')
  const { out } = await run(t, ['why', 'a/b', 'alice'], { cwd })
  t.is(out, '["why","alice","a/b",false]\n')
  const asked = ['why', 'a/b', '--cert', 'a.crt', '--servername', 'a.test']
  t.is((await run(t, asked, { cwd })).out, '["cert","a.crt","a/b",false,"a.test"]\n')
  t.is((await run(t, [...asked, 'alice'], { cwd })).code, 2)
})

test('certs makes certificates by which a server knows its client, and keeps them', async (t) => {
  const folder = await project(t, {})
  const { code, out } = await run(t, ['certs', 'alice', '--host', 'localhost'], { cwd: folder })
  t.is(code, 0)
  t.regex(out, /made {2}certs\/ca\.crt[^]*made {2}certs\/alice\.crt/)
  const file = (name: string): string => join(folder, 'certs', name)
  t.is((await stat(file('ca.key'))).mode & 0o777, 0o600)
  t.is(await readFile(file('.gitignore'), 'utf8'), '*\n')

  const app = echo()
    .useServer(certs({ key: file('server.key'), cert: file('server.crt'), ca: file('ca.crt') }))
    .useConnection(allowList(['alice']), { before: '*', after: 'secure' })
  const { port } = await serve(t, app, { requestCert: true })
  const credentials = ['--key', file('alice.key'), '--cert', file('alice.crt')]
  const spoken = await run(t, ['connect', `${port}`, ...credentials, '--ca', file('ca.crt')], {
    input: 'hello',
  })
  t.deepEqual(spoken, { code: 0, out: 'hello', err: '' })

  const before = await readFile(file('alice.crt'), 'utf8')
  const again = await run(t, ['certs', 'alice', 'bob'], { cwd: folder })
  t.regex(again.out, /kept {2}certs\/alice\.crt[^]*made {2}certs\/bob\.crt/)
  t.is(await readFile(file('alice.crt'), 'utf8'), before)
  const ca = new X509Certificate(await readFile(file('ca.crt')))
  t.true(new X509Certificate(await readFile(file('bob.crt'))).verify(ca.publicKey))
})

test('certs leaves a .gitignore that is there as it is', async (t) => {
  const folder = await project(t, { '.gitignore': 'node_modules\n' })
  const { code } = await run(t, ['certs', 'alice', '--folder', '.'], { cwd: folder })
  t.is(code, 0)
  t.is(await readFile(join(folder, '.gitignore'), 'utf8'), 'node_modules\n')
})

test('certs takes no name that is a path, and writes nothing then', async (t) => {
  const folder = await project(t, {})
  for (const name of ['../alice', 'server']) {
    t.is((await run(t, ['certs', name], { cwd: folder })).code, 2, name)
  }
  t.deepEqual(await readdir(folder), ['node_modules'])
})

test('connect sends its input, half-closes, and prints the whole answer', async (t) => {
  const app = new Cio().useConnection(async (ctx) => {
    let heard = ''
    for await (const chunk of ctx) heard += chunk.toString()
    ctx.stream.write(heard.toUpperCase().repeat(1_000))
  })
  const { port } = await serve(t, app)
  const { code, out } = await run(t, ['connect', `127.0.0.1:${port}`], { input: 'hello\n' })
  t.is(code, 0)
  t.is(out, 'HELLO\n'.repeat(1_000))
})

test('connect passes bytes as they are, whatever they are', async (t) => {
  const { port } = await serve(t, echo())
  const bytes = Buffer.from(Array.from({ length: 100_000 }, (_, at) => (at * 7) % 256))
  const child = start(t, ['connect', `${port}`])
  child.stdin.end(bytes)
  const chunks: Buffer[] = []
  for await (const chunk of child.stdout) chunks.push(chunk as Buffer)
  t.true(Buffer.concat(chunks).equals(bytes))
})

test('connect ends when the other side does, though its input is still open', async (t) => {
  const { port } = await serve(
    t,
    new Cio().useConnection(({ stream }) => void stream.write('bye\n')),
  )
  const child = start(t, ['connect', `${port}`])
  t.is(await readAll(child.stdout), 'bye\n')
  const [code] = (await once(child, 'close')) as [number]
  t.is(code, 0)
})

test('connect --verbose says by TLS with whom, and by --insecure that nobody verified it', async (t) => {
  const app = echo()
  const { port } = await serve(t, app, mutual)
  const { key, cert } = identity('alice')
  const credentials = ['--key', key, '--cert', cert, '--verbose']
  const target = `localhost:${port}`
  const ca = certificate('root.crt')
  const verified = await run(t, ['connect', target, ...credentials, '--ca', ca], { input: 'x' })
  t.is(verified.out, 'x')
  t.regex(verified.err, /TLSv1\.3.*, verified\n/)

  const insecure = await run(t, ['connect', target, ...credentials, '-k'], { input: 'x' })
  t.is(insecure.out, 'x')
  t.regex(insecure.err, /NOT verified/)

  const distrusted = await run(t, ['connect', target, ...credentials, '--tls'], { input: 'x' })
  t.is(distrusted.code, 1)
  t.regex(distrusted.err, /--ca/)
})

test('connect says what to do where nobody listens, and exits 1', async (t) => {
  const { code, out, err } = await run(t, ['connect', `127.0.0.1:${await ownPort()}`])
  t.is(code, 1)
  t.is(out, '')
  t.regex(err, /ECONNREFUSED[^]*is something listening there\?/)
})

const notified: unknown[] = []

/** A server with methods. */
const methods = (codec: () => ReturnType<typeof json> = json): Cio =>
  new Cio().useConnection(codec()).useConnection(
    rpc({
      methods: {
        add: ([a, b]: [number, number]) => a + b,
        echo: (params: unknown) => ({ params: params ?? 'none' }),
        fail: () => {
          throw rpcError(7, 'out of paper\u001b[2J', { tray: 2 })
        },
        hang: (_params: unknown, { signal }) => once(signal, 'abort'),
        note: (params: unknown) => void notified.push(params),
      },
    }),
  )

test('call prints the result of a method as JSON, with params, without, and from its input', async (t) => {
  const { port } = await serve(t, methods())
  const target = `127.0.0.1:${port}`
  t.deepEqual(await run(t, ['call', target, 'add', '[1, 2]']), { code: 0, out: '3\n', err: '' })
  const none = await run(t, ['call', target, 'echo'])
  t.is(none.out, '{"params":"none"}\n')
  const input = await run(t, ['call', target, 'echo', '-'], { input: '{"name": "ann"}\n' })
  t.deepEqual(input, { code: 0, out: '{"params":{"name":"ann"}}\n', err: '' })
})

test('call exits 3 where the server answers with an error, and prints it as JSON if asked', async (t) => {
  const { port } = await serve(t, methods())
  const target = `127.0.0.1:${port}`
  const failed = await run(t, ['call', target, 'fail'])
  t.is(failed.code, 3)
  t.is(failed.out, '')
  t.regex(failed.err, /error 7: "out of paper/)
  t.false(failed.err.includes(escape))
  const asJson = await run(t, ['call', target, 'fail', '--json'])
  t.is(asJson.code, 3)
  t.like(JSON.parse(asJson.err), { code: 7, data: { tray: 2 } })
  t.is((await run(t, ['call', target, 'missing'])).code, 3)
})

test('a time that is too long for a timer is refused: it would be over at once', async (t) => {
  const { port } = await serve(t, methods())
  for (const [option, ...command] of [
    ['wait', 'connect', `${port}`],
    ['timeout', 'connect', `${port}`],
    ['timeout', 'call', `${port}`, 'add'],
    ['timeout', 'replay', 'some.cio', '--app', 'app.ts'],
  ] as const) {
    const { code, err } = await run(t, [...command, `--${option}`, '3000000000'])
    t.is(code, 2, err)
    t.regex(err, new RegExp(`--${option} takes at most 2147483647 milliseconds, not 3000000000`))
  }
})

test('connect refuses an empty name of ALPN, with which Node ends the process', async (t) => {
  const { port } = await serve(t, methods())
  const { code, err } = await run(t, ['connect', `${port}`, '--alpn', ''])
  t.is(code, 1)
  t.regex(err, /`ALPNProtocols`/)
})

test('call exits 1 without an answer or a connection, and 2 where the command is wrong', async (t) => {
  const { port } = await serve(t, methods())
  const late = await run(t, ['call', `${port}`, 'hang', '--timeout', '5000'])
  t.is(late.code, 1)
  t.regex(late.err, /hang/)
  const nobody = await run(t, ['call', `127.0.0.1:${await ownPort()}`, 'add'])
  t.is(nobody.code, 1)
  t.regex(nobody.err, /is something listening there\?/)
  for (const words of [
    [],
    [`${port}`, '--notify'],
    [`${port}`, 'add', '1'],
    [`${port}`, 'add', '[1'],
    [`${port}`, 'add', '1', '2'],
  ]) {
    const { code, out } = await run(t, ['call', ...words])
    t.is(code, 2, words.join(' '))
    t.is(out, '')
  }
})

test('call says what a server sent that is no answer, and does not wait for one that never ends', async (t) => {
  const deep = `${'['.repeat(300_000)}${']'.repeat(300_000)}`
  for (const [answer, expected] of [
    ['SSH-2.0-OpenSSH_9.2\n', /is not JSON.*from 127\.0\.0\.1:[^]*--format raw/],
    ['x'.repeat(2 ** 21), /longer than 1048576 bytes/],
    [`{"jsonrpc":"2.0","id":1,"result":${deep}}\n`, /nested deeper than 1000/],
  ] as const) {
    const rogue = createServer({ allowHalfOpen: true }, (socket) => {
      t.teardown(() => socket.destroy())
      socket.on('error', () => {})
      socket.once('data', () => socket.write(answer))
    })
    const { code, err } = await run(t, ['call', `127.0.0.1:${await listenBare(t, rogue)}`, 'm'])
    t.is(code, 1)
    t.regex(err, expected)
  }
})

test('call without a method lists the methods of a server, by rpc.discover', async (t) => {
  const service = {
    methods: { add: ([a, b]: [number, number]) => a + b, 'log\u001b[2J': () => null },
    params: { add: z.tuple([z.number(), z.number().optional().meta({ title: 'by' })]) },
  }
  const discover = openRpc(service, { title: 'Sums', version: '1.0.0' })
  const app = new Cio().useConnection(json()).useConnection(rpc({ ...service, discover }))
  const { port } = await serve(t, app)
  const listed = await run(t, ['call', `${port}`])
  t.is(listed.code, 0, listed.err)
  t.regex(listed.out, /^add\(param1, by\?\)\nlog.*\(\)\n$/)
  t.false(listed.out.includes(escape))
  const without = await serve(t, methods())
  const refused = await run(t, ['call', `${without.port}`])
  t.is(refused.code, 3)
  t.regex(refused.err, /rpc\.discover/)
  const odd = rpc({ discover: { openrpc: '1.3.2', methods: [null] } as never })
  const other = await serve(t, new Cio().useConnection(json()).useConnection(odd))
  const failed = await run(t, ['call', `${other.port}`])
  t.is(failed.code, 1)
  t.regex(failed.err, /no OpenRPC document/)
})

test('call uses TLS with a client certificate, and sends notifications', async (t) => {
  const { port } = await serve(t, methods(), mutual)
  const { key, cert } = identity('alice')
  const tls = ['--ca', certificate('root.crt'), '--key', key, '--cert', cert]
  const noted = await run(t, ['call', `localhost:${port}`, 'note', '["hi"]', '--notify', ...tls])
  t.deepEqual(noted, { code: 0, out: '', err: '' })
  const added = await run(t, ['call', `localhost:${port}`, 'add', '[1, 2]', ...tls])
  t.is(added.out, '3\n', added.err)
  t.deepEqual(notified, [['hi']])
  t.is((await run(t, ['call', `localhost:${port}`, 'add', '[1, 2]', '--tls'])).code, 1)
})

test('call --content-length speaks as language servers do', async (t) => {
  const { port } = await serve(t, methods(contentLength))
  const { out } = await run(t, ['call', `${port}`, 'add', '[3, 4]', '--content-length'])
  t.is(out, '7\n')
})

test('connect --format json checks what it sends, and prints a value a line', async (t) => {
  const app = new Cio().useConnection(json<number[]>()).useConnection(async ({ messages }) => {
    for await (const numbers of messages) {
      await messages.send({ sum: numbers.reduce((sum, one) => sum + one, 0) })
    }
  })
  const { port } = await serve(t, app)
  const args = ['connect', `${port}`, '--format', 'json']
  const { code, out } = await run(t, args, { input: '[1, 2]\n\n[3]' })
  t.is(code, 0)
  t.is(out, '{"sum":3}\n{"sum":3}\n')

  const wrong = await run(t, args, { input: '[1]\n[2' })
  t.is(wrong.code, 2)
  t.regex(wrong.err, /line 2 of the input: it is not JSON/)
})

test('connect --format lines makes control characters of the peer visible', async (t) => {
  const { port } = await serve(
    t,
    new Cio().useConnection(({ stream }) => void stream.write(`${escape}[2Jhi\n`)),
  )
  const { out } = await run(t, ['connect', `${port}`, '--format', 'lines'])
  t.is(out, '\\u001b[2Jhi\n')
})

test('no text of a peer reaches the terminal raw, and JSON stays JSON that says the same', async (t) => {
  const odd = '\u001b[2J\u009b31m\u202e\u061c\u00ad\u180e\ufff9\u{e0041}\r\n\thi é☃'
  const methods = {
    odd: () => ({ [odd]: odd }),
    fails(): never {
      throw rpcError(1, odd, odd)
    },
  }
  const info = { title: 'odd', version: '1' }
  const discover = { openrpc: '1.3.2', info, methods: [{ name: odd, params: [] }] }
  const app = new Cio().useConnection(json()).useConnection(rpc({ methods, discover }))
  const { port } = await serve(t, app)
  const unprintable = /(?![\n\t ])[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}]/u
  const called = await run(t, ['call', `${port}`, 'odd'])
  t.deepEqual(JSON.parse(called.out), { [odd]: odd })
  const refused = await run(t, ['call', `${port}`, 'fails', '--json'])
  t.deepEqual(JSON.parse(refused.err), { code: 1, message: odd, data: odd })
  const listed = await run(t, ['call', `${port}`])
  for (const text of [called.out, refused.err, listed.out]) t.notRegex(text, unprintable)
})

for (const format of ['lines', 'json']) {
  test(`connect --format ${format} says what shows a message that it cannot take`, async (t) => {
    const { port } = await serve(
      t,
      new Cio().useConnection(({ stream }) => void stream.write(`${'}'.repeat(2 ** 20 + 1)}\n`)),
    )
    const { code, err } = await run(t, ['connect', `${port}`, '--format', format])
    t.is(code, 1)
    t.regex(err, /--format raw/)
  })
}

test('connect --format hex reads digits, and writes such as it reads', async (t) => {
  const { port } = await serve(t, echo())
  const args = ['connect', `${port}`, '--format', 'hex']
  t.is((await run(t, args, { input: '00 ff\n0a0b\n' })).out.replace(/\s/g, ''), '00ff0a0b')
  t.is((await run(t, args, { input: '0' })).code, 2)
})

test('connect --wait gives up on a server that never ends', async (t) => {
  const app = new Cio().useConnection(async ({ stream, signal }) => {
    stream.write('so far')
    await once(signal, 'abort')
  })
  const { port } = await serve(t, app)
  const { code, out, err } = await run(t, ['connect', `${port}`, '--wait', '2000'])
  t.is(code, 1)
  t.is(out, 'so far')
  t.regex(err, /nothing came for 2000 ms/)
})

test('connect on a terminal has colours, and NO_COLOR takes them away', async (t) => {
  const command = [process.execPath, ...node, 'connect', '--help'].map(quoted).join(' ')
  for (const [NO_COLOR, coloured] of [
    ['', true],
    ['1', false],
  ] as const) {
    const env = { ...process.env, NO_COLOR, TERM: 'xterm' }
    const out = execFileSync('script', ['-qec', command, '/dev/null'], {
      env,
      stdio: ['ignore', 'pipe', 'ignore'],
    }).toString()
    t.is(out.includes(`${escape}[1m`), coloured)
    t.regex(out, /Usage/)
  }
})

test('listen --echo says back what each client says, until it is stopped', async (t) => {
  const { child, port } = await listening(t, ['0', '--echo'])
  for (const word of ['one', 'two']) {
    const socket = await dial(t, { port })
    socket.end(word)
    t.is(await readAll(socket), word)
  }
  t.is(child.exitCode, null)
})

test('listen talks with one client, turns others away, and ends with it', async (t) => {
  const { child, port } = await listening(t, ['0'])
  const socket = await dial(t, { port })
  socket.write('from the client')
  await once(child.stdout, 'data')
  const other = await dial(t, { port })
  t.is(await readAll(other), '')
  child.stdin.end('from the listener')
  socket.end()
  t.is(await readAll(socket), 'from the listener')
  const [code] = (await once(child, 'close')) as [number]
  t.is(code, 0)
})

test('listen lets in by certificate, and by name', async (t) => {
  const server = identity('server')
  const ca = ['--ca', certificate('root.crt')]
  const args = ['0', '--echo', '--key', server.key, '--cert', server.cert, ...ca]
  const { child, port } = await listening(t, [...args, '--allow', 'alice'])
  const told = readAll(child.stderr)
  const speak = async (name: string): Promise<string> => {
    const { key, cert } = identity(name)
    const target = ['connect', `localhost:${port}`, '--key', key, '--cert', cert, ...ca]
    return (await run(t, target, { input: name })).out
  }
  t.is(await speak('alice'), 'alice')
  t.is(await speak('mallory'), '')
  child.kill()
  t.regex(await told, /"mallory".* was rejected by `allowList`/)
})

test('listen refuses options that would protect nothing', async (t) => {
  t.is((await run(t, ['listen', '0', '--allow', 'alice'])).code, 2)
  t.is((await run(t, ['listen', '0', '--ca', certificate('root.crt')])).code, 2)
})

/** An app in a file that answers each chunk with its own word, and a recording of one that said hello. */
async function recorded(t: ExecutionContext, word: string): Promise<string> {
  const folder = await project(t, {
    'app.ts': `import { Cio } from '${cio}'
      export const app = new Cio().useConnection(async function answer(ctx) {
        for await (const chunk of ctx) ctx.stream.write(${word})
      })`,
  })
  const app = new Cio()
    .useConnection(record({ when: () => true, to: join(folder, 'captures') }))
    .useConnection(async function answer(ctx) {
      for await (const chunk of ctx) ctx.stream.write(`hello ${String(chunk)}`)
    })
  const client = await dial(t, await serve(t, app))
  const closed = once(app, 'close')
  client.end('bob')
  t.is(await readAll(client), 'hello bob')
  await closed
  for (;;) {
    const [name] = (await readdir(join(folder, 'captures'))).filter((one) => one.endsWith('.cio'))
    const text = name && (await readFile(join(folder, 'captures', name), 'utf8'))
    if (text && text.includes('"end"')) {
      await writeFile(join(folder, 'captures', '4711.cio'), text)
      return folder
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('replay exits 0 where the answers are those of the recording', async (t) => {
  const cwd = await recorded(t, '`hello ${chunk}`')
  const { code, out } = await run(t, ['replay', 'captures/4711.cio', '--app', 'app.ts'], { cwd })
  t.is(code, 0)
  t.regex(out, /ended as in the recording: remote_ended@answer\nthe answers are the same/)
  const again = ['replay', 'captures/4711.cio', '--app', 'app.ts', '--test']
  const { code: failed, err } = await run(t, again, { cwd })
  t.is(failed, 1)
  t.regex(err, /there is nothing to test/)
})

test('replay says where the answers differ, and --test writes a test that fails for it', async (t) => {
  const cwd = await recorded(t, '`help! \\u{1b}[2J${chunk}`')
  const args = ['replay', 'captures/4711.cio', '--app', 'app.ts']
  const { code, out, err } = await run(t, [...args, '--test'], { cwd })
  t.is(code, 1)
  t.regex(out, /differ after 3 bytes\n {2}then: "lo bob"\n {2}now: {2}"p! \\u001b\[2Jbob"/)
  t.false(out.includes(escape))
  t.regex(err, /wrote captures\/4711\.test\.ts/)
  const written = await readFile(join(cwd, 'captures', '4711.test.ts'), 'utf8')
  t.regex(written, /import \* as imported from '\.\.\/app\.ts'/)
  t.regex(written, /t\.is\(differs, undefined/)
  const asJson = await run(t, [...args, '--json'], { cwd })
  t.is((JSON.parse(asJson.out) as { differs: { offset: number } }).differs.offset, 3)
  t.is((await run(t, [...args, '--test'], { cwd })).code, 1, 'it is not written over')

  // As the project of a user would have it.
  const runs = written
    .replace("'cio/testing'", JSON.stringify(new URL('../src/testing.ts', import.meta.url).href))
    .replace(/import type .*/, 'type Cio = never')
  await writeFile(join(cwd, 'captures', '4711.test.ts'), runs)
  await writeFile(join(cwd, 'package.json'), '{ "type": "module" }')
  const tests = ['--import', 'tsx', join(modules, 'ava', 'entrypoints', 'cli.mjs')]
  const ava = spawn(
    process.execPath,
    [...tests, '--extension=ts', '--timeout=2m', 'captures/4711.test.ts'],
    {
      cwd,
      env: { ...process.env, NODE_OPTIONS: `--import=${import.meta.resolve('tsx')}` },
    },
  )
  const [said] = await Promise.all([readAll(ava.stdout), readAll(ava.stderr), once(ava, 'close')])
  t.regex(said, /4711\.cio is answered/)
  t.regex(said, /1 test failed/)
})

test('for an app in JavaScript, --test writes a test in JavaScript', async (t) => {
  const cwd = await recorded(t, '`help! ${chunk}`')
  await copyFile(join(cwd, 'app.ts'), join(cwd, 'app.mjs'))
  const args = ['replay', 'captures/4711.cio', '--app', 'app.mjs', '--test']
  const { err } = await run(t, args, { cwd })
  t.regex(err, /wrote captures\/4711\.test\.mjs/)
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--check', join(cwd, 'captures', '4711.test.mjs')],
    { encoding: 'utf8' },
  )
  t.is(status, 0, stderr)
})

test('replay refuses what is no recording, and needs an app', async (t) => {
  const cwd = await project(t, {
    'x.cio': 'not json',
    'app.mjs': `import { Cio } from '${cio}'; export const app = new Cio()`,
  })
  t.is((await run(t, ['replay', 'x.cio'], { cwd })).code, 2)
  const { code, err } = await run(t, ['replay', 'x.cio', '--app', 'app.mjs'], { cwd })
  t.is(code, 1)
  t.regex(err, /x\.cio is no recording/)
})

test('an address is a host and a port, a port, or a path', (t) => {
  const local = (text: string) => placeFrom(text, 'localhost', 1)
  t.deepEqual(local('example.com:80'), { host: 'example.com', port: 80 })
  t.deepEqual(local('[::1]:80'), { host: '::1', port: 80 })
  t.deepEqual(local(':80'), { host: 'localhost', port: 80 })
  t.deepEqual(local('80'), { host: 'localhost', port: 80 })
  t.deepEqual(local('./app.sock'), { path: './app.sock' })
  for (const text of ['localhost', 'localhost:70000', '::1:80', 'localhost:0', '', 'a:b:1']) {
    t.throws(() => local(text), { instanceOf: UsageError }, text)
  }
})

/** A folder that has the packages of this one. */
async function project(
  t: ExecutionContext,
  files: Readonly<Record<string, string>>,
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cio-cli-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await symlink(modules, join(folder, 'node_modules'))
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
  return folder
}

/** Ends of the last commands, one for each processor. */
const lanes = Array.from({ length: availableParallelism() }, (): Promise<unknown> =>
  Promise.resolve(),
)
let commands = 0

/**
 * Runs a command to its end. As many run at once as there are processors: all of these tests begin at
 * once, and a command that has 30 seconds to import an app would not have them beside fifty others.
 */
function run(...given: Parameters<typeof runNow>): Promise<Result> {
  const lane = commands++ % lanes.length
  const result = lanes[lane]!.then(() => runNow(...given))
  lanes[lane] = result.catch(() => {})
  return result
}

async function runNow(
  t: ExecutionContext,
  args: readonly string[],
  { input = '', cwd }: { input?: string; cwd?: string } = {},
): Promise<Result> {
  const child = start(t, args, cwd)
  const closed = once(child, 'close')
  child.stdin.end(input)
  const [out, err, [code]] = await Promise.all([
    readAll(child.stdout),
    readAll(child.stderr),
    closed as Promise<[number | null]>,
  ])
  return { code, out, err }
}

function start(
  t: ExecutionContext,
  args: readonly string[],
  cwd?: string,
): ChildProcessWithoutNullStreams {
  const child = spawn(process.execPath, [...node, ...args], {
    cwd,
    env: { ...process.env, DEBUG: '', NO_COLOR: '', FORCE_COLOR: '' },
  })
  t.teardown(() => void child.kill())
  // It may have ended before it has read all.
  child.stdin.on('error', () => {})
  return child
}

async function listening(t: ExecutionContext, args: readonly string[]) {
  const child = start(t, ['listen', ...args])
  let said = ''
  while (!said.includes('\n')) said += String((await once(child.stderr, 'data'))[0])
  return { child, port: Number(/^listening on .*:(\d+)$/m.exec(said)?.[1]) }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
