// CIO_FLOOD=20000 npx ava packages/watch/test/flood.test.ts: the long form.

import test from 'ava'
import { certs, log } from 'cio'
import { testCertificates } from 'cio/testing'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { watch } from '../src/index.ts'
import { closeAfter, echoApp, exchange, valueOf } from './support.ts'

const handshakes = Number(process.env.CIO_FLOOD ?? 400)
const atOnce = 20
const mostGrowth = 5_000_000
const rate = { count: 10, per: 10_000 }

test('a flood of refused handshakes from random names takes no memory, few lines of the log, and every good client is answered', async (t) => {
  const { clients, bad, server: identity } = await testCertificates('good-device', 'padding')
  let lines = 0
  const to = new Writable({
    write(chunk: Buffer, _, done) {
      lines += chunk.toString().split('\n').length - 1
      done()
    },
  })
  const app = echoApp().useServer(certs(identity)).useServer(log({ to, rate }))
  const watching = watch(app, { closed: 50, refused: 20, top: 10 })
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const certificate = new X509Certificate(bad.selfSigned.cert)
  const { key, cert, ca } = clients['good-device']
  let good = 0
  const began = performance.now()
  const before = await flood(handshakes / 4)
  const names = new Set(namesOf(watching.metrics()))
  const after = await flood(handshakes)
  const seconds = (performance.now() - began) / 1_000

  const all = handshakes / 4 + handshakes
  const text = watching.metrics()
  t.is(valueOf(text, 'cio_connection_refused_total', { cio_refusal_reason: 'untrusted' }), all)
  // Only that of the good client is new.
  const series = namesOf(text).filter((name) => !names.has(name))
  t.true(series.length < 100, series.join('\n'))
  t.notRegex(text, /rnd-/)
  t.true(watching.refused().length <= 20)
  t.is(watching.closed({ reason: 'untrusted' }).length, 50)
  t.log(`heap: ${Math.round((after - before) / 1_000)} kB more after ${handshakes} handshakes`)
  t.true(after - before < mostGrowth, `${after - before} bytes`)
  t.log(`log: ${lines} lines in ${Math.round(seconds)} s; ${good} good clients`)
  t.true(good > 0)
  // The lines of the bucket in that time, those of the good clients, and the sums.
  const most = (rate.count + 1) * (1 + (seconds * 1_000) / rate.per) + good
  t.true(lines <= most, `${lines} lines in ${seconds} s`)

  async function flood(count: number): Promise<number> {
    let left = count
    const isOver = goodClients(() => left <= 0)
    const one = async (): Promise<void> => {
      while (left-- > 0) await refused(left)
    }
    await Promise.all(Array.from({ length: atOnce }, one))
    await isOver
    return heap()
  }

  /** One after the other, as long as the flood lasts; each throws if it is not answered. */
  async function goodClients(isOver: () => boolean): Promise<void> {
    do {
      const socket = connectTls({ port: server.port, host: 'localhost', key, cert, ca })
      await exchange(socket, 'hello')
      const closed = once(socket, 'close')
      socket.end()
      await closed
      good += 1
    } while (!isOver())
  }

  async function refused(number: number): Promise<void> {
    const name = `rnd-${String(number).padStart(7, '0')}`
    const socket = connectTls({
      port: server.port,
      host: '127.0.0.1',
      key: bad.selfSigned.key,
      cert: renamed(certificate, 'good-device', name),
      rejectUnauthorized: false,
    })
    socket.on('error', () => {})
    socket.resume()
    await once(socket, 'close')
  }
})

/** The series of a text. */
function namesOf(text: string): string[] {
  return text.split('\n').map((line) => line.slice(0, line.lastIndexOf(' ')))
}

/** Another name of the same length. The signature is wrong then, and was not trusted before. */
function renamed({ raw }: X509Certificate, from: string, to: string): string {
  const text = raw.toString('latin1').replaceAll(from, to)
  const base64 = Buffer.from(text, 'latin1').toString('base64')
  return `-----BEGIN CERTIFICATE-----\n${base64.replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`
}

function heap(): number {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  collect()
  collect()
  return process.memoryUsage().heapUsed
}
