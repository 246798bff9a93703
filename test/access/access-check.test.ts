import test, { type ExecutionContext } from 'ava'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import {
  type AccessListOptions,
  type PeerSelector,
  Cio,
  allowList,
  denyList,
} from '../../src/index.ts'
import { identity, loaded, path } from '../support/certificates.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, mayBringTls, connectTls } from '../support/tls.ts'
import { wordsOf } from '../support/typescript.ts'

const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
const never = new Promise<never>(() => {})

/** What a list made of that says to alice, and all that the app tells. */
async function meetAlice(
  t: ExecutionContext,
  who: PeerSelector,
  options: AccessListOptions = {},
  list: typeof allowList = allowList,
) {
  const app = new Cio().useConnection(list(who, options)).useConnection(writeGreeting)
  const told = recordEvents(app)
  const server = await serve(t, app, mutual)
  const over = new Promise((resolve) => app.once('close', resolve))
  const { said } = await connectTls(t, server, loaded('alice'))
  await over
  t.is(server.connections.size, 0)
  return { said, ...told }
}

test('a predicate may take its time', async (t) => {
  const slow = async (): Promise<boolean> => {
    await new Promise(setImmediate)
    return true
  }
  t.like(await meetAlice(t, slow), { said: 'hello alice', reject: [], error: [] })
})

const failing: readonly (readonly [what: string, who: PeerSelector, reason: RegExp])[] = [
  [
    'throws',
    () => {
      throw new Error('directory down')
    },
    /its rule failed: directory down/,
  ],
  ['throws a string', () => Promise.reject('down'), /its rule failed: .*down/],
  ['rejects', () => Promise.reject(new Error('directory down')), /its rule failed: directory down/],
  ['never settles', () => never, /its rule failed: it took more than 50 ms/],
  ['answers 1', () => 1 as unknown as boolean, /says true or false, got 1/],
  ['answers nothing', async () => undefined as unknown as boolean, /says true or false/],
]
for (const [what, who, reason] of failing) {
  for (const [name, list] of [
    ['allowList', allowList],
    ['denyList', denyList],
  ] as const) {
    test(`a predicate that ${what} turns away (${name})`, async (t) => {
      const { said, reject, remoteError, error } = await meetAlice(t, who, { timeout: 50 }, list)
      t.is(said, '')
      t.like(reject, [{ code: 'ERR_CIO_REJECTED', fault: 'remote' }])
      t.regex(reject[0]!.message, reason)
      t.true(reject[0]!.cause instanceof Error)
      t.deepEqual([...remoteError, ...error], [])
    })
  }
}

test('a predicate is not asked about who has no verified identity', async (t) => {
  let asked = 0
  const app = new Cio().useConnection(allowList(() => ++asked > 0))
  const told = recordEvents(app)
  const server = await serve(t, app, { ...mutual, rejectUnauthorized: false })
  for (const name of ['selfSigned', 'twoNames', 'nulUtf8'])
    await connectTls(t, server, loaded(name))
  await connectTls(t, server)
  t.is(asked, 0)
  t.is(told.reject.length, 4)
})

test('reject says goodbye over TLS, is given the peer, and the connection ends', async (t) => {
  const { said, reject } = await meetAlice(t, ['bob'], {
    reject: (ctx, peer) => void ctx.stream.write(`sorry, ${peer?.name}`),
  })
  t.is(said, 'sorry, alice')
  t.is(reject.length, 1)
})

test('reject is given null for who has no verified identity', async (t) => {
  const app = new Cio().useConnection(
    allowList(['alice'], {
      reject: (ctx, peer) => void ctx.stream.write(peer === null ? 'null' : 'a peer'),
    }),
  )
  const server = await serve(t, app, { ...mutual, rejectUnauthorized: false })
  t.is((await connectTls(t, server, loaded('selfSigned'))).said, 'null')
  t.is((await connectTls(t, server)).said, 'null')
})

test('reject says goodbye without TLS too, after its promise', async (t) => {
  const app = new Cio().useConnection(mayBringTls).useConnection(
    allowList(['alice'], {
      reject: async ({ stream }) => {
        await new Promise(setImmediate)
        stream.write('this server speaks TLS')
      },
    }),
  )
  const server = await serve(t, app)
  t.is(await readAll(await dial(t, server)), 'this server speaks TLS')
})

test('a goodbye of a megabyte arrives whole', async (t) => {
  const { said } = await meetAlice(t, ['bob'], {
    reject: (ctx) => void ctx.stream.write('x'.repeat(1024 * 1024)),
  })
  t.is(said.length, 1024 * 1024)
})

for (const [what, goodbye, reason] of [
  [
    'throws',
    () => {
      throw new Error('no template')
    },
    /`reject` of `allowList` failed: no template/,
  ],
  ['rejects', () => Promise.reject(new Error('no template')), /no template/],
  ['never settles', () => never, /it took more than 50 ms/],
] as const) {
  test(`a goodbye that ${what} turns away nevertheless, and is told by error`, async (t) => {
    const { said, reject, error } = await meetAlice(t, ['bob'], { reject: goodbye, timeout: 50 })
    t.is(said, '')
    t.like(reject, [{ code: 'ERR_CIO_REJECTED' }])
    t.like(error, [{ code: 'ERR_CIO_GOODBYE', fault: 'local' }])
    t.regex(error[0]!.message, reason)
  })
}

test('a goodbye that the peer does not read is given up', async (t) => {
  const app = new Cio().useConnection(mayBringTls).useConnection(
    allowList(['alice'], {
      reject: (ctx) => void ctx.stream.write(Buffer.alloc(32 * 1024 * 1024)),
      timeout: 100,
    }),
  )
  const told = recordEvents(app)
  const server = await serve(t, app)
  const over = once(app, 'close')
  const socket = await dial(t, server)
  socket.pause()
  await over
  t.is(told.reject.length, 1)
  t.is(server.connections.size, 0)
})

for (const [what, who, options] of [
  ['a predicate', () => never, { timeout: Infinity }],
  ['a goodbye', ['bob'], { reject: () => never, timeout: Infinity }],
] as const) {
  test(`close() does not wait for ${what} that never settles`, async (t) => {
    const list = allowList(who, options)
    const app = new Cio().useConnection(list)
    const told = recordEvents(app)
    const server = await serve(t, app, mutual)
    const secured = once(app, 'secure')
    const visiting = connectTls(t, server, loaded('alice'))
    await secured
    t.is((await server.close({ timeout: 0 })).forced, 1)
    await visiting
    t.deepEqual(told.error, [])
  })

  test(`a connection that is destroyed does not leave ${what} behind that never settles`, async (t) => {
    const list = allowList(who, options)
    const app = new Cio().useConnection(list)
    const told = recordEvents(app)
    const server = await serve(t, app, mutual)
    const over = once(app, 'close')
    app.once('secure', (ctx) => void setImmediate(() => ctx.destroy()))
    await connectTls(t, server, loaded('alice'))
    await over
    t.is(server.connections.size, 0)
    t.is(told.reject.length, what === 'a goodbye' ? 1 : 0)
  })
}

test('reject is told with the context, whose peer is still there', async (t) => {
  const app = new Cio().useConnection(allowList(['bob']))
  const server = await serve(t, app, mutual)
  const rejected = once(app, 'reject')
  await connectTls(t, server, loaded('alice'))
  const [error, ctx] = (await rejected) as [Error, { peer: { name: string } }]
  t.is(ctx.peer.name, 'alice')
  t.regex(
    error.message,
    /^127\.0\.0\.1:\d+ \("alice"\) was rejected by `allowList`: it is not on the list$/,
  )
})

test('without a listener of reject, the process goes on and prints nothing', async (t) => {
  const app = new Cio().useConnection(allowList(['bob']))
  const server = await serve(t, app, mutual)
  t.is((await connectTls(t, server, loaded('alice'))).said, '')
})

test('what a peer is called is escaped in the debug lines', async (t) => {
  const program = wordsOf(new URL('../fixtures/judge-debug.ts', import.meta.url))
  const env = { ...process.env, DEBUG: 'cio:*' }
  const { stderr } = await promisify(execFile)(process.execPath, program, { env })
  t.regex(stderr, /cio:allowList \d+ \("mallory\\nalice\\u001b\[2J"\): it is not on the list/)
  t.regex(stderr, /cio:secure \d+ TLSv1\.3, "mallory\\nalice\\u001b\[2J"/)
  t.false(stderr.includes('\u001b[2J'))
})

test('options out of their range are refused when the list is made', (t) => {
  const wrong: object[] = [
    { timeout: -1 },
    { timeout: NaN },
    { timeout: '50' },
    { timeout: 2 ** 31 },
    { reject: 'sorry' },
    { message: 'sorry' },
  ]
  for (const options of wrong) {
    t.throws(() => allowList(['alice'], options), { code: 'ERR_CIO_OPTION' })
    t.throws(() => denyList(['alice'], options), { code: 'ERR_CIO_OPTION' })
  }
})
