/** Yamux as its authors wrote it, in Go: goroutines open their streams at once. */

import test from 'ava'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Cio, type MuxedContext, multiplex } from '../../src/index.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { execute, start } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }
const folder = mkdtempSync(join(tmpdir(), 'cio-interop-go-'))
const peer = join(folder, 'peer')

test.before('builds the peer', () => {
  const env = {
    ...process.env,
    GO111MODULE: 'off',
    GOPATH: '/usr/share/gocode',
    GOCACHE: join(folder, 'cache'),
    GOFLAGS: '',
  }
  const source = fileURLToPath(new URL('yamux.go', import.meta.url))
  execFileSync('go', ['build', '-o', peer, source], { env, stdio: ['ignore', 'ignore', 'pipe'] })
})

test.after.always(() => rmSync(folder, { recursive: true, force: true }))

function echo(): Cio<MuxedContext> {
  return new Cio<MuxedContext>().useConnection(async ({ stream }, next) => {
    stream.pipe(stream)
    await next()
  })
}

for (const [streams, size] of [
  [1, 1_000_000],
  [100, 10],
  [100, 300_000],
] as const) {
  test(`${streams} goroutines that open at once get ${size} bytes back (hashicorp/yamux)`, async (t) => {
    const app = new Cio().useConnection(multiplex(echo()))
    const told = recordEvents(app)
    const { port } = await serve(t, app)
    const closed = once(app, 'close')
    const words = ['open', String(port), String(streams), String(size)]
    const { stdout, stderr } = await execute(t, peer, words)
    t.is(stdout, 'ok\n')
    t.is(stderr, '', 'it warns of nothing')
    await closed
    t.deepEqual(told, nothing)
  })
}

test('a client opens a hundred streams at once, and a server in Go gives all of it back', async (t) => {
  const { child, said } = start(t, peer, ['serve'])
  const [port] = (await once(child.stdout!, 'data')) as [string]
  const app = new Cio().useClient(multiplex(echo()))
  const told = recordEvents(app)
  const client = await app.connect({ port: Number(port), host: '127.0.0.1' })
  const sizes = await Promise.all(
    Array.from({ length: 100 }, async (_, n) => {
      const stream = await client.mux.open('echo')
      stream.end(Buffer.alloc(300_000, n))
      let size = 0
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        if (chunk.every((byte) => byte === n)) size += chunk.length
      }
      return size
    }),
  )
  t.deepEqual(new Set(sizes), new Set([300_000]))
  await client.close()
  t.is(said.stderr, '', 'it warns of nothing')
  t.deepEqual(told, nothing)
})
