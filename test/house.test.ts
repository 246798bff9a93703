/** Reads the tree, so that the house stays in order by itself. */

import test from 'ava'
import { readFile, readdir } from 'node:fs/promises'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import packageJson from '../package.json' with { type: 'json' }
import { docComment, members, outdated, summaryOf } from '../docs/pages.ts'
import * as cio from '../src/index.ts'
import * as kit from '../src/kit.ts'

const manifest: {
  readonly dependencies: Record<string, string>
  readonly peerDependencies?: Record<string, string>
  readonly peerDependenciesMeta?: Record<string, { readonly optional?: boolean }>
} = packageJson

const root = fileURLToPath(new URL('..', import.meta.url))

const read = (path: string): Promise<string> => readFile(root + path, 'utf8')
const list = async (folder: string, ending: string, recursive = false): Promise<string[]> =>
  (await readdir(root + folder, { recursive }).catch(() => []))
    .filter((name) => name.endsWith(ending))
    .map((name) => name.slice(0, -ending.length))

const middleware = await list('middleware', '.ts')
const src = await list('src', '.ts', true)
const houses = await Promise.all(
  middleware.map(async (file) => {
    const name = camelCase(file)
    const module = (await import(`../middleware/${file}.ts`)) as Record<string, unknown>
    const source = await read(`middleware/${file}.ts`)
    return { file, name, source, factory: module[name], byDefault: module.default }
  }),
)

/** The files at the root of `src/` that everything stands on, and those that stand on everything. */
const ground = [
  'connection-end',
  'deadline',
  'debug',
  'did-you-mean',
  'end-reason',
  'errors',
  'network-errors',
  'options',
  'thenable',
]
const doorFiles = ['index', 'kit', 'pool', 'testing']

/** The floors of the house, from the ground up. There is no list of exceptions. */
const floors = [
  'ground',
  'rates',
  'streams',
  'pipeline',
  'identity',
  'lifecycle',
  'messages',
  'tls',
  'access',
  'server',
  'client',
  'middleware',
  'cio',
  'testing',
  'doors',
]

/**
 * Files that import each other, types included, and why neither can stand without the other. All
 * other imports run one way.
 */
const circles: { readonly files: readonly string[]; readonly why: string }[] = [
  {
    files: ['middleware/limit.ts', 'middleware/limit/checked-options.ts'],
    why: 'the options stand in the file of the middleware, where its page is made from',
  },
  {
    files: ['middleware/multiplex/receiver.ts', 'middleware/multiplex/session.ts'],
    why: 'a session makes its receiver, which opens and closes the streams of the session',
  },
  {
    files: [
      'middleware/requests.ts',
      'middleware/requests/answers.ts',
      'middleware/requests/check-options.ts',
    ],
    why: 'the options stand in the file of the middleware, where its page is made from',
  },
  {
    files: [
      'packages/watch/src/page/events.ts',
      'packages/watch/src/page/health.ts',
      'packages/watch/src/page/listen.ts',
      'packages/watch/src/page/page.ts',
      'packages/watch/src/watch.ts',
    ],
    why: '`watching.listen()` serves the page, and the page shows that watch',
  },
  {
    files: ['src/client/pool/member.ts', 'src/client/pool/upstream.ts'],
    why: 'a target makes its connections, and each connection reports to its target',
  },
]

/** Code lines that a file may have, comments stripped. */
const budgets = { src: 200, middleware: 150 }

/** Files that are longer, and why they read better in one piece. */
const mayBeLonger: Record<string, string> = {
  'src/messages/messages.ts': 'reading and sending, as one object that users hold',
  'middleware/cbor/items.ts': 'one table of the forms of an item',
  'middleware/json-stream/decoder.ts': 'one state machine',
  'middleware/websocket.ts': 'one upgrade, from the request to the close code',
}

/** Files of `src/` whose test has another name, or that need none; and why. */
const testedElsewhere: Record<string, string> = {
  'tls/handshake-callbacks': 'test/cases/odd-errors.test.ts, test/cases/async-callbacks.test.ts',
  'identity/peer-certificate': 'test/tls/secure.test.ts: resumed sessions',
  'identity/der': 'test/tls/trust-store.test.ts: revocation lists, cut at every byte',
  'client/connect': 'test/client/client.test.ts',
  'client/connect-options': 'types alone: test/client/client.test.ts',
  'client/pool/pool-errors': 'test/client/pool.test.ts',
  'client/open-socket': 'test/client/dial.test.ts, test/client/via-proxy.test.ts',
  'lifecycle/run-connection': 'test/lifecycle/connection.test.ts',
  'lifecycle/carrier-end': 'test/connection-end.test.ts: carriers',
  'lifecycle/closed-errors': 'test/connection-end.test.ts: what the application ends itself',
  'server/stale-socket': 'test/middleware/relisten.test.ts: what is removed, and what is not',
  'lifecycle/end-stream': 'test/lifecycle/connection.test.ts, test/client/client.test.ts',
  'lifecycle/replays': 'test/middleware/record.test.ts: a replay is not recorded',
  'lifecycle/evict': 'test/access/access-list.test.ts, test/server/reload.test.ts',
  'identity/revocation-list': 'test/tls/trust-store.test.ts: it is half of it',
  'messages/codec': 'types alone: test/messages/messages.test.ts',
  'messages/frame-formats/checksum': 'test/messages/frame-formats.test.ts, test/wires.test.ts',
  'messages/frame-formats/cobs': 'test/wires.test.ts, test/middleware/frames-contract.test.ts',
  'messages/frame-formats/dle': 'test/wires.test.ts, test/middleware/frames-contract.test.ts',
  'messages/frame-formats/escape-byte':
    'test/wires.test.ts, test/messages/frame-formats.test.ts: what is refused',
  'messages/frame-formats/format': 'test/messages/frame-formats.test.ts: errors',
  'messages/frame-formats/format-of': 'test/messages/frame-formats.test.ts: what is refused',
  'messages/frame-formats/gap-timeout': 'test/messages/frame-formats.test.ts: gaps',
  'messages/frame-formats/delimiter-kind':
    'test/messages/frame-formats.test.ts, test/wires.test.ts',
  'messages/frame-formats/kinds': 'test/messages/frame-formats.test.ts, test/wires.test.ts',
  'messages/frame-formats/length-kind': 'test/messages/frame-formats.test.ts, test/wires.test.ts',
  'messages/frame-formats/length-field': 'test/messages/frame-formats.test.ts, test/wires.test.ts',
  'messages/frame-formats/length-form': 'test/messages/frame-formats.test.ts',
  'messages/frame-formats/marked': 'test/wires.test.ts',
  'messages/frame-formats/numbers': 'test/messages/frame-formats.test.ts: integers',
  'messages/frame-formats/one-of': 'test/messages/frame-formats.test.ts, test/wires.test.ts',
  'messages/frame-formats/option-check': 'test/messages/frame-formats.test.ts: what is refused',
  'messages/frame-formats/options': 'types alone: test/messages/frame-formats.test.ts',
  'messages/frame-formats/plain':
    'test/middleware/frames.test.ts, test/messages/frame-costs.test.ts, test/wires.test.ts',
  'messages/frame-formats/resync-decoder': 'test/messages/frame-formats.test.ts: resync',
  'messages/frame-formats/search': 'test/wires.test.ts: cuts',
  'messages/frame-formats/stuffing': 'test/wires.test.ts, test/middleware/frames-contract.test.ts',
  'access/absent-context': 'test/server/admission.test.ts: predicates',
  'tls/certificate-purpose': 'test/server/admission.test.ts',
  'tls/client-handshake': 'test/tls/secure.test.ts',
  'tls/server-handshake': 'test/tls/secure.test.ts',
  'tls/handshake-errors': 'test/tls/secure.test.ts: how handshakes fail',
  'messages/pending-calls/call-deadlines': 'test/messages/pending-calls.test.ts: timeouts',
  'messages/pending-calls/call-errors': 'test/messages/pending-calls.test.ts',
  'messages/pending-calls/call-ids': 'test/messages/pending-calls.test.ts: ids',
  'messages/pending-calls/entry': 'test/messages/pending-calls.test.ts',
  'messages/pending-calls/options': 'test/unknown-options.test.ts',
  'messages/send-queue': 'test/messages/pending-calls.test.ts, test/middleware/rpc.test.ts: room',
  'messages/message-reader': 'test/messages/messages.test.ts',
  'did-you-mean': 'test/not-called.test.ts: hints',
  'streams/byte-stream': 'test/lifecycle/connection.test.ts: handle()',
  'messages/nesting-level': 'test/messages/self-delimiting-values.test.ts',
  'lifecycle/deferred': 'test/tls/secure.test.ts: ctx.secured',
  'lifecycle/stream-events': 'test/lifecycle/connection.test.ts, test/lifecycle/lifecycle.test.ts',
  'streams/borders': 'test/middleware/websocket/messages.test.ts',
  'messages/bordered': 'test/middleware/websocket/messages.test.ts',
  'streams/reading':
    'test/lifecycle/lifecycle.test.ts, test/client/client.test.ts: ends behind input',
  'streams/half-open': 'test/lifecycle/lifecycle.test.ts: half open',
  'server/server-life': 'test/server/server.test.ts, test/lifecycle/lifecycle.test.ts',
  'lifecycle/stream-life':
    'test/lifecycle/connection.test.ts, test/lifecycle/lifecycle.test.ts: what ends a stream',
  index: 'the list of its names is above',
  kit: 'the list of its names is above',
  'messages/gathered': 'test/messages/message-writer.test.ts',
  'messages/message-writer': 'test/messages/messages.test.ts',
  'pipeline/next-errors': 'test/pipeline/compose.test.ts',
  'pipeline/hint-checks': 'test/pipeline/pipeline.test.ts, test/not-called.test.ts: hints',
  'pipeline/registration': 'test/pipeline/pipeline.test.ts',
  'lifecycle/run': 'test/server/server.test.ts: arriving, stopping, aborting',
  'tls/verify-server-name': 'test/tls/secure.test.ts: whom a client asks for',
  pool: 'test/client/pool.test.ts: the door of client/pool',
  'client/pool/balance': 'test/client/pool.test.ts: shares',
  'client/pool/clock': 'test/client/pool.test.ts: the clock that it replaces',
  'client/pool/member': 'test/client/pool.test.ts: connecting again, leaving',
  'client/pool/options': 'test/client/pool.test.ts: options out of their range',
  'client/pool/pool-call': 'test/client/pool.test.ts: `call` of rpc and of requests',
  'client/pool/pool-types': 'types alone: test/client/pool.test.ts',
  'client/pool/pool-reports': 'test/client/pool.test.ts: the events of ejection and of sources',
  'client/pool/target-sources': 'test/client/pool.test.ts: dnsTargets, srvTargets',
  'client/pool/target-watch': 'test/client/pool.test.ts: sources',
  'client/pool/upstream': 'test/client/pool.test.ts: ejection',
  'client/pool/upstreams': 'test/client/pool.test.ts: the choice among connections',
  'client/pool/waiting-uses': 'test/client/pool.test.ts: uses that wait',
  'testing/chaos': 'test/testing.test.ts',
  'testing/conformance-run': 'test/testing/conforms.test.ts',
  'testing/duplex-pair': 'test/testing.test.ts',
  'testing/fragment': 'test/testing.test.ts',
  'testing/instrument': 'test/testing/conforms.test.ts',
  'testing/replay': 'test/middleware/record.test.ts',
  'testing/random': 'test/testing.test.ts',
  'testing/resource-leaks': 'test/testing/conforms.test.ts',
  'testing/scenario': 'test/testing/conforms.test.ts',
  'testing/test-app': 'test/testing.test.ts',
  'testing/test-certificates': 'test/testing.test.ts',
  'tls/tls-server': 'test/tls/secure.test.ts: its other half',
  'tls/tls-options': 'types alone: test/types.test.ts',
  'tls/certificates': 'test/middleware/certs.test.ts',
  'tls/certificates/ber': 'test/middleware/certs-pfx.test.ts',
  'tls/certificates/check': 'test/middleware/certs.test.ts',
  'tls/certificates/pkcs12': 'test/middleware/certs-pfx.test.ts',
  'tls/certificates/pkcs12-encryption': 'test/middleware/certs-pfx.test.ts',
  'tls/certificates/source': 'test/middleware/certs.test.ts',
  'lifecycle/app': 'types alone: test/types.test.ts',
  'end-reason': 'test/connection-end.test.ts',
  'server/listen-options': 'types alone: test/server/server.test.ts',
  'testing/conforms-options': 'types alone: test/testing/conforms.test.ts',
}

/** What a factory has to be given to make something, where it is not a list. */
const needs: Record<string, readonly unknown[]> = {
  codec: [{ encode: String, decode: String }],
  http: [() => {}],
  layer: [{}],
  sessionTickets: [{ secret: 'x'.repeat(32) }],
  multiplex: [new cio.Cio()],
  record: [{ when: () => false, to: 'captures' }],
  requests: [{ match: 'order' }],
  proxyProtocol: [{ trusted: [] }],
  protobuf: [{ kind: 'message', typeName: 'sample' }],
  rateLimit: [{ rate: { count: 1, per: 1 } }],
  websocket: [new cio.Cio()],
}

/** What the core throws and tells by itself; all other codes stand in a tag of a middleware. */
const ofTheCore = 'src/'

const tags = ['pipelines', 'order', 'adds', 'needs', 'rejects', 'throws', 'see', 'example']
const mayBeMissing = new Set(['needs', 'see'])
const longestSummary = 80

/** What each door can name, types aside. A name that comes or goes is a line in CHANGELOG.md. */
const doors = {
  cio: [
    'Cio',
    'CioError',
    'Events',
    'Requests',
    'Rpc',
    'RpcRequest',
    'allowList',
    'certificateExpiry',
    'certs',
    'codec',
    'contentLength',
    'contextOf',
    'defineMiddleware',
    'denyList',
    'drain',
    'events',
    'forward',
    'frames',
    'heartbeat',
    'http',
    'httpConnect',
    'inherited',
    'isCioError',
    'json',
    'layer',
    'limit',
    'lines',
    'loadCerts',
    'log',
    'multiplex',
    'openRpc',
    'proxyHeader',
    'proxyProtocol',
    'rateLimit',
    'reconnect',
    'record',
    'relisten',
    'requests',
    'rooms',
    'route',
    'rpc',
    'rpcError',
    'rpcFailure',
    'sendProxyProtocol',
    'sessionTickets',
    'startTls',
    'timeout',
    'transform',
  ],
  'cio/kit': [
    'AccessList',
    'Backoff',
    'Borders',
    'FrameDecoder',
    'LineDecoder',
    'Messages',
    'PartialMessage',
    'Peek',
    'PendingCalls',
    'Pump',
    'RetryBudget',
    'SelfDelimitingValues',
    'SendQueue',
    'StackLayer',
    'TokenBucket',
    'Watch',
    'accessCheck',
    'allowListeners',
    'anyOf',
    'asError',
    'askedHost',
    'askedName',
    'atOnce',
    'bytesOf',
    'canonicalAddress',
    'canonicalName',
    'carrierError',
    'checkCalled',
    'checkCount',
    'checkDuration',
    'checkEvictOptions',
    'checkFlag',
    'checkFunction',
    'checkMethods',
    'checkObject',
    'checkOptionNames',
    'checkPort',
    'checkRate',
    'checkSignal',
    'checkTlsOptions',
    'chunksOf',
    'compileNetworks',
    'compilePeerMatcher',
    'debug',
    'defaultMaxLength',
    'emitSafely',
    'endGracefully',
    'escapeText',
    'evict',
    'formatEndpoint',
    'framesOf',
    'framingOptionNames',
    'handled',
    'handshake',
    'isAddressUnavailable',
    'isRefused',
    'isReplay',
    'isTooDeep',
    'issuerExpiryOf',
    'keepRemote',
    'leaveUnread',
    'localEndpoint',
    'maxJsonDepth',
    'maxTimerDelay',
    'messageTooLong',
    'messages',
    'messagesOptionNames',
    'networkOf',
    'newAbort',
    'nothingSaid',
    'openSocket',
    'optionError',
    'optionsOf',
    'placeOf',
    'provide',
    'quote',
    'raiseListenerLimit',
    'refused',
    'remoteEndpoint',
    'removeStaleSocket',
    'reportError',
    'sleep',
    'syntaxError',
    'tickDuration',
    'truncatedMessage',
    'trustHash',
    'unawaited',
    'untilNoServer',
    'valueCodec',
    'viaProxy',
    'whenRejected',
    'whenUntaken',
    'withoutBrackets',
  ],
}

for (const [door, module] of [
  ['cio', cio],
  ['cio/kit', kit],
] as const) {
  test(`${door} exports these names`, (t) => {
    t.deepEqual(Object.keys(module).toSorted(), doors[door])
  })
}

test('a name has one door', (t) => {
  t.deepEqual(
    Object.keys(kit).filter((name) => name in cio),
    [],
  )
})

for (const { file, name, source, factory, byDefault } of houses) {
  test(`${file} has its test, its page and its export`, async (t) => {
    t.true((await list('test/middleware', '.test.ts')).includes(file), 'a test')
    t.true((await list('docs/middleware', '.md')).includes(file), 'a page')
    t.is(typeof factory, 'function', 'an export of its name')
    t.is(byDefault, factory, 'the same as its default export, for those who give its path')

    // One that needs a package of its own comes by its own path alone, for those who have it.
    const parts = (await sources()).filter(([path]) => path.startsWith(`middleware/${file}/`))
    const packages = packagesOf([source, ...parts.map(([, text]) => text)].join('\n'))
    t.is((cio as Record<string, unknown>)[name], packages.length === 0 ? factory : undefined)
    for (const one of packages) {
      t.truthy(manifest.peerDependencies?.[one], `${one} is a peer dependency`)
      t.true(manifest.peerDependenciesMeta?.[one]?.optional, `${one} is optional`)
    }
  })

  test(`${file} has its doc comment, with its tags in order`, async (t) => {
    const comment = docComment(source, `export function ${name}`)
    const summary = summaryOf(comment)
    t.true(summary.length > 0 && summary.length < longestSummary, summary)

    const found = [...comment.matchAll(/^@(\w+)/gm)].map(([, tag]) => tag!)
    t.deepEqual(
      found,
      found.toSorted((a, b) => tags.indexOf(a) - tags.indexOf(b)),
      'in order',
    )
    for (const tag of tags) if (!mayBeMissing.has(tag)) t.true(found.includes(tag), `@${tag}`)
    t.deepEqual(
      found.filter((tag) => !tags.includes(tag)),
      [],
    )
  })

  test(`${file} has one name: export, inner function and hint`, async (t) => {
    const make = factory as (...given: unknown[]) => cio.Middleware
    const made = make(...(needs[name] ?? (make.length > 0 ? [[]] : [])))
    t.is(made.hints?.name, name)
    t.is(made.name, name)
    t.regex(
      source,
      new RegExp(`export (interface|type) ${name[0]!.toUpperCase()}${name.slice(1)}Options`),
    )
  })

  test(`${file} imports from src/ what a third party could import from cio or cio/kit`, async (t) => {
    const exported = (await read('src/index.ts')) + (await read('src/kit.ts'))
    const imports = source.matchAll(
      /^import (?:type )?\{([^}]+)\} from '\.\.\/src\/([\w/-]+)\.ts'/gm,
    )
    for (const [, names = '', from] of imports) {
      for (const imported of names.split(',').map((one) => one.replace('type ', '').trim())) {
        if (imported === '') continue
        t.regex(exported, new RegExp(`\\b${imported}\\b`), `${imported} of src/${from}.ts`)
      }
    }
  })
}

test('pages and tables say what the doc comments say', async (t) => {
  // `npm run docs` writes them anew, and `git diff` shows what it did.
  t.deepEqual([...(await outdated()).keys()], [])
})

test('no page has an empty section', async (t) => {
  for (const page of await list('docs/middleware', '.md')) {
    if (page.startsWith('.')) continue
    t.notRegex(await read(`docs/middleware/${page}.md`), /^## .*\n\n(##|$(?![^]))/m, page)
  }
})

/** Characters that the row of a table may have; lists and sections fit any width. */
const widestRow = 165

/** Pages whose tables are wider, and why. */
const mayBeWider: Record<string, string> = {
  'README.md': 'the list of all middleware, which a reader scans down its first column',
  'docs/performance.md': 'figures of one run, as the bench prints them',
}

test('no page has a table that is too wide for a terminal', async (t) => {
  for (const path of await pages()) {
    const widest = (await read(path))
      .split('\n')
      .filter((line) => line.startsWith('|'))
      .reduce((width, { length }) => Math.max(width, length), 0)
    t.is(widest > widestRow, path in mayBeWider, `${path}: ${widest} characters`)
  }
})

test('no page has a heading twice', async (t) => {
  for (const folder of ['docs', 'docs/guide', 'docs/middleware']) {
    for (const page of await list(folder, '.md')) {
      const path = `${folder}/${page}.md`
      const headings = (await read(path)).match(/^## .*$/gm) ?? []
      t.is(new Set(headings).size, headings.length, path)
    }
  }
})

test('every option says its default', async (t) => {
  for (const [path, text] of await sources()) {
    for (const { name, comment } of options(text)) {
      // Other names of another option, and Node's own options, have theirs there.
      if (comment === '' || comment.includes('Another name of')) continue
      t.true(/@default|\bWithout[\s*]+it\b/.test(comment), `${name} of ${path}`)
    }
  }
})

test('every error code has its section in docs/errors.md, and the reverse', async (t) => {
  const sections = [...(await read('docs/errors.md')).matchAll(/^### `(ERR_CIO_\w+)`$/gm)]
  const documented = sections.map(([, code]) => code!)
  const thrown = new Set<string>()
  for (const [path, text] of await sources()) {
    for (const code of codes(text)) {
      thrown.add(code)
      t.true(documented.includes(code), `${code} of ${path} in docs/errors.md`)
    }
  }
  for (const code of documented) t.true(thrown.has(code), `${code} of docs/errors.md in the source`)
  t.deepEqual(documented, [...new Set(documented)].toSorted(), 'in alphabetical order, once each')
})

test('every name of debug lines is in docs/app-events.md, and the reverse', async (t) => {
  const used = (await sources()).flatMap(([, text]) => [...text.matchAll(/ debug\('(cio:\w+)'\)/g)])
  // Those of the lists are made of their names.
  const names = new Set([...used.map(([, name]) => name!), 'cio:allowList', 'cio:denyList'])
  const page = await read('docs/app-events.md')
  const told = [...page.matchAll(/`(cio:\w+)`/g)].map(([, name]) => name!)
  t.deepEqual(told.toSorted(), [...names].toSorted())
})

test('every error code is told by a tag, or the core throws it', async (t) => {
  const all = await sources()
  const told = new Set(
    all.flatMap(([, text]) =>
      [...text.matchAll(/@(?:throws|rejects)([^@]*)/g)].flatMap(([, words]) => codes(words!)),
    ),
  )
  for (const [path, text] of all) {
    if (path.startsWith(ofTheCore)) continue
    for (const code of codes(text)) t.true(told.has(code), `${code} of ${path}`)
  }
})

test('every event has its section in docs/app-events.md', async (t) => {
  const page = await read('docs/app-events.md')
  const sections = [...page.matchAll(/^### `(\w+)`$/gm)].map(([, event]) => event!)
  const declared = (await sources()).flatMap(([, text]) =>
    [...text.matchAll(/^( *)(?:export )?interface AppEvents \{([^]*?)\n\1\}/gm)].flatMap(
      ([, , body = '']) => [...body.matchAll(/^ +(\w+): \[/gm)].map(([, event]) => event!),
    ),
  )
  t.deepEqual(sections.toSorted(), declared.toSorted())
})

test('a file of src/ imports only from its own floor and from those below, types too', async (t) => {
  for (const [path, text] of await sources()) {
    if (path.startsWith('src/')) t.deepEqual(importsAbove(path, text), [], path)
  }
})

test('an import from a floor above is found, whatever its form', (t) => {
  const of = (text: string): string[] => importsAbove('src/tls/secure.ts', text)
  t.deepEqual(of("import { dial } from '../client/dial.ts'"), ['src/client/dial.ts'])
  t.deepEqual(of("import type {\n  Cio,\n} from '../cio.ts'"), ['src/cio.ts'])
  t.deepEqual(of("export * from '../../middleware/certs.ts'"), ['middleware/certs.ts'])
  t.deepEqual(of("let a: import('../access/x.ts').A"), ['src/access/x.ts'])
  t.deepEqual(of("declare module '../server/server.ts' {"), ['src/server/server.ts'])
  t.deepEqual(of("import '../errors.ts'\nimport './sni.ts'\nimport '../messages/pump.ts'"), [])
})

test('files import each other in no circle, types included, but those that have a reason', async (t) => {
  const graph = new Map<string, readonly string[]>()
  for (const path of await allSources()) graph.set(path, importsOf(path, await read(path)))
  t.deepEqual(
    circlesOf(graph),
    circles.map(({ files }) => files),
  )
})

test('a circle of imports is found, however long', (t) => {
  const graph = new Map([
    ['a', ['b', 'elsewhere']],
    ['b', ['c']],
    ['c', ['a', 'd']],
    ['d', ['e']],
    ['e', []],
    ['f', ['g', 'a']],
    ['g', ['f']],
  ])
  t.deepEqual(circlesOf(graph), [
    ['a', 'b', 'c'],
    ['f', 'g'],
  ])
})

test('the root of src/ has the doors, the application and the ground, and each folder is a floor', (t) => {
  const atRoot = src.filter((file) => !file.includes('/'))
  t.deepEqual(atRoot.toSorted(), [...doorFiles, 'cio', ...ground].toSorted())
  const rooms = new Set(src.filter((file) => file.includes('/')).map((file) => file.split('/')[0]!))
  t.deepEqual(
    [...rooms].filter((room) => !floors.includes(room)),
    [],
  )
})

test('src/ imports nothing from middleware/, but the index and the default certs', async (t) => {
  for (const file of src) {
    if (file === 'index') continue
    const text = await read(`src/${file}.ts`)
    const imports = importsOf(`src/${file}.ts`, text).filter((one) => one.startsWith('middleware/'))
    t.deepEqual(imports, file === 'cio' ? ['middleware/certs.ts'] : [], `src/${file}.ts`)
  }
})

test('the command line imports what an application can: its package has no other files', async (t) => {
  const doors = ['index', 'kit', 'testing'].map((door) => `src/${door}.ts`)
  for (const name of await readdir('cli')) {
    if (!name.endsWith('.ts')) continue
    const imports = importsOf(`cli/${name}`, await read(`cli/${name}`))
    const others = imports.filter((one) => /^(src|middleware)\//.test(one) && !doors.includes(one))
    t.deepEqual(others, [], `cli/${name}`)
  }
})

test('no file has outgrown its budget of code lines', async (t) => {
  for (const [path, text] of await sources()) {
    const folder = path.startsWith('src/') ? 'src' : 'middleware'
    const fits = codeLines(text) <= budgets[folder]
    t.not(fits, path in mayBeLonger, `${path} has ${codeLines(text)} lines`)
  }
})

test('every file of src/ has its test, or is tested elsewhere', async (t) => {
  const tests = await list('test', '.test.ts', true)
  for (const file of src) {
    const mirrored = tests.includes(file)
    t.true(mirrored || file in testedElsewhere, `src/${file}.ts`)
  }
  for (const file of Object.keys(testedElsewhere))
    t.true(src.includes(file), `src/${file}.ts is gone`)
})

test('no file is a drawer', (t) => {
  const drawer = /^(utils?|helpers?|common|manager|internal|types|misc|shared)$/
  t.deepEqual(
    [...src, ...middleware].filter((name) => drawer.test(name)),
    [],
  )
})

test('test titles make claims', async (t) => {
  const folders = ['test', 'test/middleware', 'test/cases', 'test/contracts']
  for (const folder of folders) {
    for (const file of await list(folder, '.ts')) {
      const text = await read(`${folder}/${file}.ts`)
      for (const [, title] of text.matchAll(/\btest(?:\.serial)?\(\s*['`"](.+?)['`"],/g)) {
        t.notRegex(title!, /\bshould\b|\bworks\b/, `${folder}/${file}.ts`)
      }
    }
  }
})

/** The floor of a file of src/ or middleware/. */
function floorOf(path: string): number {
  const [folder, ...inside] = path.replace(/\.ts$/, '').split('/')
  const [room = ''] = inside
  if (folder === 'middleware') return floors.indexOf('middleware')
  if (inside.length > 1 || room === 'cio') return floors.indexOf(room)
  return floors.indexOf(doorFiles.includes(room) ? 'doors' : 'ground')
}

/** The files that a file names by a relative path: imports, types of imports, modules that it adds to. */
function importsOf(path: string, text: string): string[] {
  return [...text.matchAll(/^(?! *\*).*?'(\.\.?\/[^']+\.ts)'/gm)].map(([, to]) =>
    posix.join(posix.dirname(path), to!),
  )
}

/** Its imports that run upward in the house. */
function importsAbove(path: string, text: string): string[] {
  return importsOf(path, text).filter((to) => floorOf(to) > floorOf(path))
}

/** Groups of files that reach each other by imports. */
function circlesOf(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const reached = new Map([...graph.keys()].map((path) => [path, reachedFrom(path, graph)]))
  const found = new Map<string, string[]>()
  for (const [path, targets] of reached) {
    const circle = [...targets].filter((target) => reached.get(target)?.has(path)).toSorted()
    if (circle.length > 0) found.set(circle.join(' '), circle)
  }
  return [...found].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([, circle]) => circle)
}

function reachedFrom(path: string, graph: ReadonlyMap<string, readonly string[]>): Set<string> {
  const reached = new Set<string>()
  const next = [path]
  for (const from of next) {
    for (const to of graph.get(from) ?? []) {
      if (reached.has(to)) continue
      reached.add(to)
      next.push(to)
    }
  }
  return reached
}

/** What users type into a search box, and the middleware whose summary has to contain it. */
const searchTerms: Record<string, RegExp> = {
  'allow-list': /mutual TLS|mTLS|allow list/i,
  cbor: /CBOR/,
  'certificate-expiry': /expire/i,
  certs: /certificates/i,
  codec: /codec/i,
  'content-length': /Content-Length/,
  'deny-list': /deny list|mutual TLS|mTLS/i,
  drain: /graceful shutdown/i,
  events: /events/i,
  forward: /proxy|forward/i,
  frames: /length-prefixed/i,
  heartbeat: /keep-alive/i,
  'rate-limit': /rate limit/i,
  http: /HTTP/,
  'http-connect': /HTTP proxy/,
  inherited: /systemd socket activation/,
  json: /newline-delimited JSON|NDJSON/,
  'json-stream': /JSON/,
  layer: /gzip|compression/i,
  limit: /rate limit|rate-limit/i,
  lines: /lines/i,
  log: /access log/i,
  msgpack: /MessagePack/,
  multiplex: /multiplex/i,
  protobuf: /Protocol Buffers/,
  'proxy-protocol': /PROXY protocol/,
  record: /record/i,
  reconnect: /exponential backoff/i,
  relisten: /(?:port|address) (?:is )?in use|EADDRINUSE/i,
  requests: /requests/i,
  rooms: /broadcast/,
  route: /SNI/,
  rpc: /JSON-RPC/,
  'send-proxy-protocol': /PROXY protocol/,
  'session-tickets': /TLS session/i,
  socks5: /SOCKS5/,
  'start-tls': /STARTTLS/,
  timeout: /timeout|time out/i,
  transform: /transform/i,
  websocket: /WebSocket/,
}

test('the summary of each middleware has the term that its users search for', (t) => {
  t.deepEqual(Object.keys(searchTerms).toSorted(), middleware.toSorted())
  const missing = houses.flatMap(({ file, name, source }) => {
    const summary = summaryOf(docComment(source, `export function ${name}`))
    return searchTerms[file]?.test(summary)
      ? []
      : [`${file}: ${searchTerms[file]} not in ${summary}`]
  })
  t.deepEqual(missing, [])
})

/** Words that plain prose does without: at most so many of them in 10,000 words. */
const rareWords = {
  'who, whom, whoever, nobody, somebody': {
    pattern: /\b(?:who|whom|whoever|nobody|somebody)\b/gi,
    bound: 3,
  },
  'tell, tells, told': { pattern: /\b(?:tell|tells|told)\b/gi, bound: 3 },
}

for (const [words, { pattern, bound }] of Object.entries(rareWords)) {
  test(`the prose has at most ${bound} in 10,000 of ${words}`, async (t) => {
    const all = await sentences()
    const count = all.reduce((sum, { text }) => sum + wordsOf(text), 0)
    const places = all
      .map((sentence) => ({ ...sentence, times: sentence.text.match(pattern)?.length ?? 0 }))
      .filter(({ times }) => times > 0)
      .toSorted((one, other) => other.times - one.times)
    const found = places.reduce((sum, { times }) => sum + times, 0)
    const rate = (found / count) * 10_000
    for (const { at, text } of rate > bound ? places.slice(0, 20) : []) t.log(`${at}  ${text}`)
    t.true(rate <= bound, `${rate.toFixed(1)} in 10,000: ${found} in ${count} words`)
  })
}

test('no sentence opens with Who, Whom, Whoever, Whose, Those that or What', async (t) => {
  const opening =
    /^(?:(?:Who|Whom|Whoever|Whose|Those that|Those who)\b|What (?!is|are|does|do|happens|to)\w+ )/
  const open = (await sentences()).filter(({ text }) => opening.test(text))
  for (const { at, text } of open.slice(0, 20)) t.log(`${at}  ${text}`)
  t.is(open.length, 0)
})

/** All of src/ and middleware/, with the parts that a middleware keeps in a folder. */
async function sources(): Promise<[path: string, text: string][]> {
  const found = await Promise.all(
    ['src', 'middleware'].map(async (folder) =>
      (await readdir(root + folder, { recursive: true }))
        .filter((name) => name.endsWith('.ts'))
        .map((name) => `${folder}/${name}`),
    ),
  )
  return Promise.all(found.flat().map(async (path) => [path, await read(path)] as [string, string]))
}

/** The paths of all sources: the package, its command line, and the packages beside it. */
async function allSources(): Promise<string[]> {
  const packages = await readdir(root + 'packages')
  const folders = ['src', 'middleware', 'cli', ...packages.map((name) => `packages/${name}/src`)]
  const found = await Promise.all(
    folders.map(async (folder) =>
      (await list(folder, '.ts', true)).map((name) => `${folder}/${name}.ts`),
    ),
  )
  return found.flat()
}

/** The packages that a middleware imports, but for those that every app has. */
function packagesOf(source: string): string[] {
  const imported = [...source.matchAll(/^import (?!type )[^']*'((?:@[\w-]+\/)?[\w-]+)/gm)]
  const names = [...new Set(imported.map(([, name]) => name!))]
  return names.filter((name) => name !== 'node' && !(name in manifest.dependencies))
}

/** The codes that a text names, but for those that only its examples have. */
function codes(text: string): string[] {
  const plain = text.replace(/\* @example[^]*?\*\//g, '*/')
  return [...plain.matchAll(/ERR_CIO_[A-Z_]+/g)].map(([code]) => code)
}

/** The optional members of the options interfaces of a file, each with its comment, if any. */
function options(text: string): { name: string; comment: string }[] {
  return [...text.matchAll(/interface \w+Options\b[^{]*\{([^]*?)\n\}/g)].flatMap(([, body = '']) =>
    members(body),
  )
}

/** Lines that are neither blank nor comment. */
function codeLines(text: string): number {
  const stripped = text.replace(/^\s*\/\*[^]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '')
  return stripped.split('\n').filter((line) => line.trim() !== '').length
}

/** The README, and the pages beside the sources and in the documentation. */
async function pages(): Promise<string[]> {
  const folders = ['docs', 'src', 'middleware', 'cli', 'packages', 'bench', 'examples']
  const found = await Promise.all(folders.map((folder) => filesOf(folder, '.md')))
  return ['README.md', 'SECURITY.md', 'CONTRIBUTING.md', ...found.flat()]
}

async function filesOf(folder: string, ending: string): Promise<string[]> {
  return (
    (await readdir(root + folder, { recursive: true }))
      .map((name) => `${folder}/${name}`)
      // The pages of `docs/api/` are written for the site, and are not kept.
      .filter((path) => !/\/(?:node_modules|build|dist)\/|^docs\/api\//.test(path))
      .filter((path) => path.endsWith(ending))
  )
}

/** The sentences of the pages and the comments; code and headings are none. */
async function sentences(): Promise<{ at: string; text: string }[]> {
  const inFolders = ['src', 'middleware', 'cli', 'packages'].map((folder) => filesOf(folder, '.ts'))
  const files = [...(await pages()), ...(await Promise.all(inFolders)).flat()]
  const found = await Promise.all(
    files.map(async (file) => {
      const prose = (file.endsWith('.md') ? proseOf : commentsOf)(await read(file))
      // A sentence ends with its mark, a paragraph, or the cell of a table.
      return [...prose.matchAll(/[^.!?|]+?(?:[.!?](?=\s|$)|\n\s*\n|\||$)/g)].map((match) => {
        const line = prose.slice(0, match.index + match[0].search(/\S|$/)).split('\n').length
        return { at: `${file}:${line}`, text: match[0].replace(/\s+/g, ' ').trim() }
      })
    }),
  )
  return found.flat().filter(({ text }) => wordsOf(text) > 0)
}

function wordsOf(text: string): number {
  return text.split(' ').filter((word) => /\w/.test(word)).length
}

/** Spaces in place of a text, so that what follows keeps its line. */
function blank(text: string): string {
  return text.replace(/[^\n]/g, ' ')
}

/** The prose of a page in Markdown. */
function proseOf(text: string): string {
  return text
    .replace(/^---\n[^]*?\n---\n/, blank)
    .replace(/^(```|~~~)[^]*?^\1/gm, blank)
    .replace(/<!--[^]*?-->/g, blank)
    .replace(/`[^`\n]*`/g, blank)
    .replace(/\]\([^)]*\)/g, blank)
    .replace(/^#.*$/gm, blank)
}

/** The prose in the comments of a source. */
function commentsOf(text: string): string {
  let prose = ''
  let end = 0
  for (const { 0: comment, index } of text.matchAll(/\/\*[^]*?\*\/|(?<=^|[\s;{}(,])\/\/[^\n]*/gm)) {
    prose += blank(text.slice(end, index))
    prose += comment
      .replace(/```[^]*?```/g, blank)
      .replace(/@example[^]*$/, blank)
      .replace(/`[^`\n]*`/g, blank)
      .replace(/\/\*\*?|\*\/|^\s*\*|\/\//gm, blank)
    end = index + comment.length
  }
  return prose + blank(text.slice(end))
}

function camelCase(file: string): string {
  return file.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
}
