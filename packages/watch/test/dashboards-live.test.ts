/**
 * The dashboard and the alerts over what a real Prometheus scrapes from a busy app: a query may name
 * metrics that exist, and still give nothing, as with a label that no series has.
 */

import test, { type ExecutionContext } from 'ava'
import { Cio, allowList, certs, json, limit, log, reconnect, rpc } from 'cio'
import { testCertificates } from 'cio/testing'
import { readFile } from 'node:fs/promises'
import { type Socket, connect } from 'node:net'
import { Writable } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { setTimeout as delay } from 'node:timers/promises'
import { inLongForm } from '../../../test/support/long.ts'
import { alarms, watch } from '../src/index.ts'
import { closeAfter, has } from './support.ts'
import { type Sample, startPrometheus } from './support/prometheus.ts'

const host = '127.0.0.1'
const alerts = new URL('../dashboards/alerts.yml', import.meta.url)

interface Methods {
  add(params: [number, number]): number
  fail(): never
}

/** A server with TLS, lists, limits and calls, a plain one with faults, and clients of both. */
async function startBusy(t: ExecutionContext) {
  const { clients, server: identity } = await testCertificates('alice', 'bob')
  const bounds = limit({ connections: 50 })
  const to = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = log({ to, rate: { count: 1, per: 3_600_000 } })
  const methods: Methods = {
    add: ([a, b]) => a + b,
    fail() {
      throw new Error('a fault of a method')
    },
  }
  const gate = new Cio()
    .useServer(certs(identity))
    .useServer(lines)
    .useConnection(bounds)
    .useConnection(allowList(['alice']))
    .useConnection(json())
    .useConnection(rpc<{}, Methods>({ methods }))
    .useClient(json())
    .useClient(rpc<Methods>())
  const plain = new Cio().useClient(reconnect({ delay: 1, maxDelay: 50 }))
  plain.useConnection(async function obey(ctx) {
    for await (const chunk of ctx) {
      if (chunk.toString() === 'fail') throw new Error('a fault of the application')
      if (chunk.toString() === 'hang') {
        ctx.destroy()
        await new Promise(() => {})
      }
      ctx.destroy()
    }
  })
  for (const app of [gate, plain]) app.on('error', () => {})
  const watching = watch([gate as unknown as Cio, plain], {
    top: 3,
    runtime: true,
    limit: bounds,
    log: lines,
  })
  const alarming = alarms(watching)
  t.teardown(() => alarming[Symbol.dispose]())
  closeAfter(t, gate, watching)
  closeAfter(t, plain)
  const server = await gate.listen({ host, port: 0 })
  const other = await plain.listen({ host, port: 0 })

  const identityOf = (name: 'alice' | 'bob'): object => {
    const { key, cert, ca } = clients[name]
    return { host, port: server.port, key, cert, ca, servername: 'localhost' }
  }
  const { rpc: remote } = await gate.connect(identityOf('alice'))
  const retrying = plain.connect({ host, port: other.port })
  await retrying
  const left = async (socket: Socket, text: string): Promise<void> => {
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    socket.resume()
    socket.write(text)
    await new Promise((resolve) => socket.once('close', resolve))
  }
  const words = ['fail', 'hang', 'end']
  let round = 0
  const busy = async (): Promise<void> => {
    await remote.call('add', [round, 1])
    await remote.call('fail').catch(() => {})
    await left(connectTls(identityOf('bob')), 'x')
    await left(connect({ host, port: other.port }), words[round % words.length]!)
    for (const ctx of other.connections) ctx.destroy()
    round += 1
    if (round === 20) gate.useConnection((_ctx, next) => next(), { name: 'later' })
  }
  return { watching, busy }
}

/** The expressions of the panels, as Grafana sends them. */
async function panels(): Promise<{ readonly title: string; readonly expr: string }[]> {
  const file = await readFile(new URL('../dashboards/grafana.json', import.meta.url), 'utf8')
  const { panels: all } = JSON.parse(file) as {
    readonly panels: readonly { readonly title: string; readonly targets: { expr: string }[] }[]
  }
  return all.flatMap(({ title, targets }) =>
    targets.map(({ expr }) => {
      return { title, expr: expr.replaceAll('$job', 'cio').replaceAll('$__rate_interval', '1m') }
    }),
  )
}

const hasNumber = (samples: readonly Sample[]): boolean =>
  samples.some(({ value: [, value] }) => !Number.isNaN(Number(value)))

test('each panel is of the jobs that are chosen', async (t) => {
  for (const { title, expr } of await panels()) t.true(expr.includes('{job=~"cio"'), title)
})

inLongForm(() => {
  test('each panel and each alert has data from a busy app', async (t) => {
    if (!has(t, 'prometheus', 'prometheus')) return
    t.timeout(180_000)
    const now = performance.now.bind(performance)
    // After the apps have closed, whose deadlines are of the time that it says.
    t.teardown(() => void (performance.now = now))
    const { watching, busy } = await startBusy(t)
    const prometheus = await startPrometheus(t, watching, [alerts])
    for (let round = 0; round < 40; round++) await busy()
    // The traffic of peers is that of the last whole minute.
    performance.now = () => now() + 61_000

    const missing = new Map<string, string>()
    for (const { title, expr } of await panels()) missing.set(`${title}: ${expr}`, expr)
    const rules = await prometheus.rules()
    // Of an alert, what it compares.
    for (const { name, query } of rules) {
      const compared = query.replaceAll(/by \([^)]*\)/g, '')
      for (const [metric] of compared.matchAll(/\b(?:cio|rpc)_\w+(?:\{[^}]*\})?/g)) {
        missing.set(`${name}: ${metric}`, metric)
      }
    }
    t.true(missing.size > 40)
    for (const until = now() + 120_000; missing.size > 0 && now() < until;) {
      await busy()
      for (const [title, expr] of missing) {
        if (hasNumber(await prometheus.query(expr))) missing.delete(title)
      }
      await delay(100)
    }
    t.deepEqual([...missing.keys()], [], 'without data')
    for (const { name, health, lastError } of await prometheus.rules()) {
      t.is(health, 'ok', `${name}: ${lastError}`)
    }
  })
})
