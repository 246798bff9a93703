/**
 * Certificates change every few milliseconds while ten connections pump data both ways and new
 * clients come one after the other. If this fails, a renewal at night costs connections: a handshake
 * that meets half of a change, a byte that is lost, a client that is rejected by a certificate
 * that was good. So each pump compares a hash of what it sent with one of what came back, and every
 * handshake has to succeed and to show one of the two certificates.
 */

import test, { type ExecutionContext } from 'ava'
import { createHash, randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { type ListenOptions, Cio } from '../../src/index.ts'
import { loaded } from '../support/certificates.ts'
import { LiveFiles, connectWith, presented } from '../support/live-files.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'

const pumps = 10
const rounds = 60
const chunks = 40
const chunkSize = 32 * 1024

/** Sends chunks and gets them back, at its own pace; whether nothing was lost or changed. */
async function pump(
  t: ExecutionContext,
  server: { port: number },
  goesOn: () => boolean,
): Promise<void> {
  const socket = await connectWith(t, server, loaded('alice'))
  const [sent, came] = [createHash('sha256'), createHash('sha256')]
  const bytes = { out: 0, back: 0 }
  const isFull = (): boolean => bytes.out - bytes.back > 4 * chunkSize
  socket.on('data', (chunk: Buffer) => {
    came.update(chunk)
    bytes.back += chunk.length
  })
  const over = once(socket, 'end')
  while (goesOn() || bytes.out < chunks * chunkSize) {
    const chunk = randomBytes(chunkSize)
    sent.update(chunk)
    bytes.out += chunk.length
    if (!socket.write(chunk)) await once(socket, 'drain')
    // The window stays small, so that the pump goes on for as long as the reloads do.
    while (isFull()) await once(socket, 'data')
  }
  // A client of Node's that ends while it is being handed data may lose what comes after.
  while (bytes.back < bytes.out) await once(socket, 'data')
  socket.end()
  await over
  t.is(bytes.back, bytes.out)
  t.is(came.digest('hex'), sent.digest('hex'))
}

async function reloadUnderLoad(
  t: ExecutionContext,
  options: (files: LiveFiles) => ListenOptions,
  change: (
    files: LiveFiles,
    reload: () => Promise<void>,
    round: number,
    shows: (name: string) => Promise<void>,
  ) => Promise<void>,
): Promise<void> {
  const files = new LiveFiles(t)
  files.byRename('server')
  files.put('ca', 'root.crt')
  const app = new Cio().useConnection(async (ctx) => {
    for await (const chunk of ctx) {
      if (!ctx.stream.write(chunk)) await once(ctx.stream, 'drain')
    }
  })
  const told = recordEvents(app)
  const { key, cert, ca } = files
  const server = await serve(t, app, { key, cert, ca, requestCert: true, ...options(files) })

  let reloads = 0
  app.on('reload', () => (reloads += 1))
  let done = false
  const goesOn = (): boolean => !done
  const pumping = Array.from({ length: pumps }, () => pump(t, server, goesOn))
  const shown = new Set<string>()
  const visits = new EventEmitter()
  const visiting = (async () => {
    while (goesOn()) {
      const name = await presented(t, server, loaded('alice'))
      shown.add(name)
      visits.emit(name)
    }
  })()
  const shows = async (name: string): Promise<void> => void (await once(visits, name))
  for (let round = 0; round < rounds; round++) {
    await change(files, () => server.reload(), round, shows)
  }
  done = true
  await Promise.all([...pumping, visiting])

  t.true(reloads > 0)
  t.deepEqual([...shown].toSorted(), ['localhost', 'second'])
  t.deepEqual([...told.error, ...told.reject], [])
  await server.close()
  t.is(server.connections.size, 0)
}

test('sixty reloads by hand lose no byte, no connection and no handshake', async (t) => {
  await reloadUnderLoad(
    t,
    () => ({}),
    async (files, reload, round) => {
      files.byRename(round % 2 ? 'server' : 'server2')
      await reload()
    },
  )
})

test('reloads of a watcher, of pairs that come file by file, lose nothing either', async (t) => {
  await reloadUnderLoad(
    t,
    () => ({ watch: 100 }),
    async (files, _reload, round, shows) => {
      const second = round % 20 < 10
      files.byRename(second ? 'server2' : 'server')
      if (round % 10 === 0) await shows(second ? 'second' : 'localhost')
      else await new Promise((resolve) => setTimeout(resolve, 30))
    },
  )
})
