/**
 * The table of options against the types of each version of Node that is supported: a name that one of
 * them has and the table lacks, or the reverse, does not compile.
 */

import test, { type ExecutionContext } from 'ava'
import { Pool } from '../../src/pool.ts'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createSecureContext } from 'node:tls'
import { promisify } from 'node:util'
import { Cio, forward } from '../../src/index.ts'
import {
  type Call,
  checkOptions,
  formerOptions,
  isHonoured,
  knownOptions,
  refusedOptions,
  tlsWish,
} from '../../src/lifecycle/known-options.ts'
import { identity, path } from '../support/certificates.ts'
import { many } from '../support/long.ts'
import { serve } from '../support/serve.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const refused = { code: 'ERR_CIO_OPTION' }
const run = promisify(execFile)
const calls = ['listen', 'connect'] as const

// The table and the types

interface Line {
  /** The package with its types. */
  readonly types: string
  readonly version: string
  /** Refused by name, though its types do not have them. */
  readonly absent: Readonly<Record<Call, readonly string[]>>
}

const older = { listen: ['timeout', 'requestOCSP'], connect: [] }
const newer = { listen: ['timeout'], connect: [] }
const lines: readonly Line[] = [
  { types: '@types/node', version: '20.99.0', absent: older },
  { types: 'types-node-22', version: '22.99.0', absent: older },
  { types: 'types-node-24', version: '24.99.0', absent: newer },
  { types: 'types-node-26', version: '26.99.0', absent: newer },
]

/** Of Node's name, and Cio reads them itself. */
const shared: Readonly<Record<Call, readonly string[]>> = {
  listen: ['signal', 'handshakeTimeout'],
  connect: ['signal'],
}

/** Node reads it, and its types do not have it: tested below. */
const untyped = ['highWaterMark']

const typesOf: Readonly<Record<Call, string>> = {
  listen: 'keyof net.ServerOpts | keyof net.ListenOptions | keyof tls.TlsOptions',
  // The types of Node 20 and 22 have `requestOCSP` for sockets alone, and `tls.connect` reads it.
  connect: `keyof net.TcpNetConnectOpts | keyof net.IpcNetConnectOpts | keyof tls.ConnectionOptions
    | Exclude<keyof tls.TLSSocketOptions, 'isServer' | 'server'>`,
}

/** The names that the types of a line have to have, by the table. */
function namesOf(call: Call, { version, absent }: Line): string[] {
  const known = [...knownOptions].filter(
    ([, { by, calls, since }]) =>
      by !== 'cio' && calls.includes(call) && isHonoured(since, version),
  )
  return [...known.map(([name]) => name), ...shared[call], ...Object.keys(refusedOptions[call])]
    .filter((name) => !absent[call].includes(name))
    .filter((name) => call === 'listen' || !untyped.includes(name))
}

/** Compiles a program that lists them, against the types of a line, and says what is wrong with it. */
async function compile(
  t: ExecutionContext,
  types: string,
  names: Readonly<Record<Call, readonly string[]>>,
): Promise<string> {
  await mkdir(join(root, 'build'), { recursive: true })
  const folder = await mkdtemp(join(root, 'build/types-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'options.ts')
  const table = (call: Call): string =>
    `export const ${call}: Record<${typesOf[call]}, true> = { ${names[call].map((name) => `${name}: true`).join(', ')} }`
  await writeFile(
    file,
    `/// <reference path="${join(root, 'node_modules', types, 'index.d.ts')}" />
import type net from 'node:net'
import type tls from 'node:tls'
${calls.map(table).join('\n')}
`,
  )
  const flags = ['--noEmit', '--strict', '--skipLibCheck', '--ignoreConfig', '--types', '']
  flags.push('--module', 'nodenext', '--target', 'es2023')
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  return run(process.execPath, [tsc, ...flags, file]).then(
    () => '',
    (failed: { readonly stdout: string }) => failed.stdout,
  )
}

for (const line of many(lines, lines.slice(-1))) {
  test(`the table has the options that ${line.types} has, and no other`, async (t) => {
    const names = { listen: namesOf('listen', line), connect: namesOf('connect', line) }
    t.is(await compile(t, line.types, names), '')
  })
}

test('an option that the types have and the table has not is noticed, and the reverse', async (t) => {
  const [line] = lines
  const names = { listen: namesOf('listen', line!), connect: namesOf('connect', line!) }
  const short = { ...names, listen: names.listen.filter((name) => name !== 'requestCert') }
  t.regex(await compile(t, line!.types, short), /requestCert/)
  t.regex(await compile(t, line!.types, { ...names, connect: [...names.connect, 'naem'] }), /naem/)
})

test('highWaterMark of connect() is Node’s, though its types do not say so', async (t) => {
  const server = await serve(t, new Cio())
  const client = await new Cio().connect({
    port: server.port,
    host: '127.0.0.1',
    highWaterMark: 1_234,
  })
  t.is(client.stream.readableHighWaterMark, 1_234)
  await client.close()
})

test('the page about cio 0.5 has an item for each of its options', async (t) => {
  const page = await readFile(join(root, 'docs/from-cio-0.5.md'), 'utf8')
  const [, list = ''] = /^## Options\n([^]*?)^## /m.exec(page) ?? []
  const names = [...list.matchAll(/^- ([^→]*)→/gm)].flatMap(([, former = '']) =>
    [...former.matchAll(/`(\w+)(?:\([^)]*\))?`/g)].map(([, name]) => name!),
  )
  for (const name of Object.keys(formerOptions)) t.true(names.includes(name), `an item for ${name}`)
  for (const name of names) t.true(name in formerOptions || knownOptions.has(name), name)
})

// What is refused

test('a program of cio 0.5 does not start, and its error names the middleware to use', async (t) => {
  const app = new Cio()
  const old = { ...identity('server'), ca: path('root.crt'), requestCert: true }
  for (const gone of [
    { isClientAllowed: (name: string) => name === 'alice' },
    { rejectClient() {} },
  ]) {
    const error = await t.throwsAsync(app.listen(0, { ...old, ...gone }), refused)
    t.regex(error.message, /allowList.*from-cio-0\.5/)
  }
})

for (const call of calls) {
  for (const name of Object.keys(formerOptions)) {
    test(`${call}() refuses \`${name}\` of cio 0.5, and points at its page`, (t) => {
      const error = t.throws(() => checkOptions(call, { [name]: undefined }), refused)
      t.true(error.message.includes('docs/from-cio-0.5.md'))
    })
  }

  test(`${call}() refuses what Node takes and Cio does not, and says why`, (t) => {
    for (const [name, why] of Object.entries(refusedOptions[call])) {
      const error = t.throws(() => checkOptions(call, { [name]: false }), refused)
      t.true(error.message.includes(why))
      t.notThrows(() => checkOptions(call, { [name]: undefined }))
    }
    t.notThrows(() => checkOptions(call, { allowHalfOpen: true }))
  })

  test(`${call}() refuses each option of the other call alone`, (t) => {
    for (const [
      name,
      {
        calls: [first],
        calls: all,
      },
    ] of knownOptions) {
      if (all.includes(call) || name in refusedOptions[call]) continue
      const error = t.throws(() => checkOptions(call, { [name]: undefined }), refused)
      t.true(error.message.includes(`\`${first}()\``), name)
    }
  })
}

for (const [written, meant] of [
  ['requestcert', 'requestCert'],
  ['reqeustCert', 'requestCert'],
  ['requestCer', 'requestCert'],
  ['requestCertt', 'requestCert'],
  ['rejectUnauthorised', 'rejectUnauthorized'],
  ['striktSni', 'strictSni'],
]) {
  test(`\`${written}\` is refused, and \`${meant}\` proposed`, async (t) => {
    const error = await t.throwsAsync(new Cio().listen(0, { [written!]: true }), refused)
    t.regex(error.message, new RegExp(`did you mean \`${meant}\``))
  })
}

test('a name that is like none is refused, and nothing proposed', async (t) => {
  for (const name of ['isAllowed', 'constructor', 'toString', '0']) {
    const error = await t.throwsAsync(new Cio().connect(1, { [name]: true }), refused)
    t.notRegex(error.message, /did you mean/)
  }
})

for (const [what, path] of [
  ['too long', `/tmp/${'a'.repeat(150)}`],
  ['with a NUL inside', '/tmp/cio\0.socket'],
] as const) {
  test(`a path of a Unix socket that is ${what} is refused, which Node 20 would cut`, async (t) => {
    const app = new Cio()
    const error = { ...refused, message: /at most \d+ bytes without a NUL/ }
    await t.throwsAsync(app.listen(path), error)
    await t.throwsAsync(app.listen({ path }), error)
    await t.throwsAsync(app.connect(path), error)
    await t.throwsAsync(app.connect([{ path }, { port: 1 }]), error)
    t.throws(() => new Pool(app, { targets: [{ path }] }), error)
  })
}

test('an option that this Node ignores is refused, with the versions that have it', async (t) => {
  const honoured = isHonoured(knownOptions.get('blockList')!.since)
  const listening = new Cio().listen(0, { blockList: {} } as object)
  if (honoured) return t.throwsAsync(listening, { code: 'ERR_INVALID_ARG_TYPE' }).then(() => {})
  const error = await t.throwsAsync(listening, refused)
  t.regex(error.message, /22\.13\.0 and 23\.4\.0/)
  t.true(error.message.includes(process.versions.node))
  t.notThrows(() => checkOptions('listen', { blockList: undefined }))
})

for (const [version, expected] of [
  ['20.19.0', false],
  ['22.12.9', false],
  ['22.13.0', true],
  ['22.21.0', true],
  ['23.3.0', false],
  ['23.4.0', true],
  ['24.0.0', true],
] as const) {
  test(`Node ${version} ${expected ? 'has' : 'has not'} what 22.13.0 and 23.4.0 have added`, (t) => {
    t.is(isHonoured(['22.13.0', '23.4.0'], version), expected)
  })
}

test('what a middleware puts into the options is looked at as well, and on a reload', async (t) => {
  const put = (app: Cio) =>
    app.useServer((ctx, next) => {
      ctx.options = { ...ctx.options, requestCrt: true } as object
      return next()
    })
  await t.throwsAsync(serve(t, put(new Cio())), refused)

  let extra: object = {}
  const app = new Cio().useServer(async (ctx, next) => {
    await ctx.configure((options) => ({ ...options, ...extra }))
    await next()
  })
  const server = await serve(t, app)
  await server.reload()
  extra = { requestCrt: true }
  await t.throwsAsync(server.reload(), refused)

  const client = new Cio().useClient(
    (ctx, next) => {
      ctx.options = { ...ctx.options, isSecure: true } as object
      return next()
    },
    { before: 'connect' },
  )
  await t.throwsAsync(client.connect(server.port), refused)
})

test('targets, names of sni, what pipe connects to, and what handle() is given pass the same check', async (t) => {
  const target = { port: 1, hsot: 'localhost' } as object
  const error = await t.throwsAsync(new Cio().connect([target]), refused)
  t.regex(error.message, /`hsot`.*did you mean `host`/)
  await t.throwsAsync(new Cio().connect([{ port: 1, ca: path('root.crt') } as object]), refused)
  const sni = { localhost: { ...identity('server'), requestCert: true } as object }
  await t.throwsAsync(new Cio().listen(0, { sni }), refused)
  t.throws(() => forward({ port: 1, isSecure: true } as object), refused)
  t.throws(() => new Cio().handle({} as never, { sokcet: null } as object), refused)
})

// What asks for TLS

const values: Readonly<Record<string, unknown>> = {
  sni: {},
  ALPNCallback: () => undefined,
  ALPNProtocols: ['a'],
  sessionTimeout: 1,
}

for (const [name, { calls: all, isTlsOnly, since }] of knownOptions) {
  if (!isTlsOnly || !isHonoured(since)) continue
  if (all.includes('listen') && !['pfx', 'SNICallback', 'pskCallback'].includes(name)) {
    test(`\`${name}\` alone makes no server without TLS`, async (t) => {
      const app = new Cio()
      // As given by a middleware after `certs`, which would look for a file of that name.
      app.useServer(
        (ctx, next) => {
          ctx.options = { ...ctx.options, [name]: values[name] ?? true }
          return next()
        },
        { after: 'certs' },
      )
      const error = await t.throwsAsync(serve(t, app), { code: 'ERR_CIO_CERTIFICATE' })
      t.regex(error.message, new RegExp(`\`${name}\`.*\`key\` and \`cert\``))
    })
  }
  if (all.includes('connect')) {
    test(`\`${name}\` asks for TLS on a client`, (t) => {
      t.is(tlsWish('connect', { port: 1, [name]: false }), name)
    })
  }
}

test('what is false or absent asks a server for nothing', async (t) => {
  const server = await serve(t, new Cio(), { requestCert: false, ca: undefined } as object)
  t.is(server.tls, null)
})

test('a secureContext alone makes no server, neither with TLS nor without', async (t) => {
  const secureContext = createSecureContext()
  for (const own of [{}, identity('server')]) {
    const error = await t.throwsAsync(new Cio().listen(0, { ...own, secureContext }), refused)
    t.regex(error.message, /`key`, `cert` and `ca`/)
  }
})
