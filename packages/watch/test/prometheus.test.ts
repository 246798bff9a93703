import test from 'ava'
import { Cio, allowList, certs } from 'cio'
import { testCertificates } from 'cio/testing'
import { spawnSync } from 'node:child_process'
import { connect as connectTls } from 'node:tls'
import { watch } from '../src/index.ts'
import { Counter, Family } from '../src/instruments.ts'
import { metrics } from '../src/metrics.ts'
import { promName, toText } from '../src/prometheus.ts'
import { closeAfter, dial, echoApp, ended, exchange, has } from './support.ts'
import { startPrometheus } from './support/prometheus.ts'

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
  const prometheus = await startPrometheus(t, watching)
  const [active] = await prometheus.query('cio_connection_active')
  t.is(active?.value[1], '1')
})
