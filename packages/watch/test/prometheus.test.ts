import test from 'ava'
import { Cio, allowList, certs } from 'cio'
import { testCertificates } from 'cio/testing'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { watch } from '../src/index.ts'
import { Counter, Family } from '../src/instruments.ts'
import { metrics } from '../src/metrics.ts'
import { promName, toText } from '../src/prometheus.ts'
import { closeAfter, dial, echoApp, ended, exchange, has } from './support.ts'

test('what was measured passes the checks of promtool', async (t) => {
  if (!has(t, 'promtool', 'prometheus')) return
  const { clients, server: identity } = await testCertificates('alice', 'bob')
  const app = new Cio().useServer(certs(identity)).useConnection(allowList(['alice']))
  const watching = watch(app, { top: 3, runtime: true })
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  for (const name of ['alice', 'bob'] as const) {
    const { key, cert, ca } = clients[name]
    const end = ended(app)
    const socket = connectTls({ port: server.port, key, cert, ca, host: 'localhost' })
    socket.on('error', () => {})
    socket.end('bye')
    await end
    socket.destroy()
  }
  const plain = await app.connect({ port: server.port }).catch(() => undefined)
  await plain?.close()

  const text = watching.metrics()
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: text })
  t.is(String(stdout) + String(stderr), '')
  t.is(status, 0)
  const types = [...text.matchAll(/^# TYPE (\w+) /gm)].map(([, name]) => name)
  t.deepEqual([...new Set(types)], types, 'each once')
  for (const key of ['active', 'duration', 'refused', 'handshake', 'certificateRemaining'] as const)
    t.true(types.includes(promName(metrics[key])), key)
})

test('a label with quotes, backslashes and lines stays one label', (t) => {
  const family = new Family(metrics.refused, 10, () => new Counter())
  family.of({ key: 'odd', attributes: { 'cio.step.name': 'a "b" \\ c\nd' } }).value = 1
  const line = toText([family.read()]).split('\n')[2]
  t.is(line, String.raw`cio_connection_refused_total{cio_step_name="a \"b\" \\ c\nd"} 1`)
})

test('a metric without a series is not written', (t) => {
  const family = new Family(metrics.refused, 10, () => new Counter())
  t.is(toText([family.read()]).trim(), '')
})

test('a real Prometheus scrapes it', async (t) => {
  if (!has(t, 'prometheus', 'prometheus')) return
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  await exchange(await dial(t, server), 'hello')
  const exporter = createServer((_, response) => {
    response.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8')
    response.end(watching.metrics())
  }).listen(0, '127.0.0.1')
  t.teardown(() => exporter.close())
  await once(exporter, 'listening')
  const folder = await mkdtemp(join(tmpdir(), 'cio-prometheus-'))
  const { port } = exporter.address() as AddressInfo
  const config = join(folder, 'prometheus.yml')
  await writeFile(
    config,
    `scrape_configs: [{ job_name: cio, scrape_interval: 1s, static_configs: [{ targets: ['127.0.0.1:${port}'] }] }]\n`,
  )
  const own = await freePort()
  const prometheus = spawn(
    'prometheus',
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${own}`,
    ],
    { stdio: 'ignore' },
  )
  t.teardown(async () => {
    if (prometheus.exitCode === null) {
      prometheus.kill()
      await once(prometheus, 'exit')
    }
    await rm(folder, { recursive: true, force: true })
  })
  const query = `http://127.0.0.1:${own}/api/v1/query?query=cio_connection_active`
  let value: string | undefined
  // It takes some seconds to start, and says by its answers when it has scraped.
  while (value === undefined && prometheus.exitCode === null) {
    const answer = await fetch(query).then(
      // 503 while it starts.
      (response) => (response.ok ? (response.json() as Promise<Answer>) : undefined),
      () => undefined,
    )
    value = answer?.data?.result[0]?.value[1]
    if (value === undefined) await new Promise((resolve) => setTimeout(resolve, 100))
  }
  t.is(value, '1')
})

interface Answer {
  readonly data?: { readonly result: readonly { readonly value: readonly [number, string] }[] }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
