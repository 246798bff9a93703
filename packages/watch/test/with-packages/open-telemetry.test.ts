import {
  AggregationTemporality,
  DataPointType,
  type Histogram,
  InMemoryMetricExporter,
  MeterProvider,
  type MetricProducer,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import test from 'ava'
import { limit, log } from 'cio'
import { Writable } from 'node:stream'
import { alarms, watch } from '../../src/index.ts'
import { metrics } from '../../src/metrics.ts'
import { promName } from '../../src/prometheus.ts'
import { closeAfter, dial, echoApp, ended, exchange, valueOf } from '../support.ts'

test("OpenTelemetry's SDK exports what Prometheus would scrape", async (t) => {
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen(0)
  const socket = await dial(t, server)
  await exchange(socket, 'hello')
  const end = ended(app)
  socket.end()
  await end
  await exchange(await dial(t, server), 'hi')

  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({
    exporter,
    exportIntervalMillis: 60_000,
    // Structural: the package has no dependency on the SDK.
    metricProducers: [watching.producer as unknown as MetricProducer],
  })
  const provider = new MeterProvider({ readers: [reader] })
  t.teardown(() => provider.shutdown())
  await provider.forceFlush()

  const [exported] = exporter.getMetrics()
  const scope = exported!.scopeMetrics.find((one) => one.scope.name === '@cio/watch')
  const metric = (name: string) =>
    scope!.metrics.find(({ descriptor }) => descriptor.name === name)!
  const text = watching.metrics()

  const active = metric('cio.connection.active')
  t.is(active.dataPointType, DataPointType.SUM)
  t.false(active.dataPointType === DataPointType.SUM && active.isMonotonic)
  t.is(active.dataPoints[0]?.value as number, valueOf(text, 'cio_connection_active'))
  t.is(active.dataPoints[0]?.attributes['server.port'], server.port)

  const opened = metric('cio.connection.opened')
  t.true(opened.dataPointType === DataPointType.SUM && opened.isMonotonic)
  t.is(opened.dataPoints[0]?.value as number, 2)

  const duration = metric('cio.connection.duration')
  t.is(duration.descriptor.unit, 's')
  t.is(duration.dataPointType, DataPointType.HISTOGRAM)
  t.is(duration.aggregationTemporality, AggregationTemporality.CUMULATIVE)
  const { count, buckets } = duration.dataPoints[0]!.value as Histogram
  t.is(count, 1)
  t.is(buckets.counts.length, buckets.boundaries.length + 1)
  t.is(metric('cio.connection.queued.size').dataPointType, DataPointType.GAUGE)
})

test("each metric of OpenTelemetry has the series and values of Prometheus' text", async (t) => {
  const bounds = limit({ connections: 10 })
  const lines = log({ to: new Writable({ write: (_chunk, _encoding, done) => done() }) })
  const app = echoApp().useConnection(bounds, { before: 'echo' }).useServer(lines)
  const watching = watch(app, { limit: bounds, log: lines })
  const alarming = alarms(watching)
  t.teardown(() => alarming[Symbol.dispose]())
  closeAfter(t, app, watching)
  const server = await app.listen({ host: '127.0.0.1', port: 0 })
  const client = await app.connect({ host: '127.0.0.1', port: server.port })
  await exchange(await dial(t, server), 'hello')
  const end = ended(app)
  await client.close()
  await end

  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({
    exporter,
    exportIntervalMillis: 60_000,
    metricProducers: [watching.producer as unknown as MetricProducer],
  })
  const provider = new MeterProvider({ readers: [reader] })
  t.teardown(() => provider.shutdown())
  await provider.forceFlush()
  const text = watching.metrics()

  const exported = exporter.getMetrics()[0]!.scopeMetrics[0]!.metrics
  const names = Object.values(metrics).filter((metric) =>
    text.includes(`# TYPE ${promName(metric)} `),
  )
  t.deepEqual(
    exported.map(({ descriptor }) => descriptor.name),
    names.map(({ name }) => name),
  )
  t.true(names.length > 12)
  for (const { descriptor, dataPoints } of exported) {
    // It may be another one by now.
    if (descriptor.name === 'cio.descriptor.usage') continue
    const name = promName(names.find((metric) => metric.name === descriptor.name)!)
    const series = new Map<string, string>()
    for (const { attributes, value } of dataPoints) {
      const labels = Object.entries(attributes).map(
        ([key, word]) => `${key.replaceAll('.', '_')}="${String(word)}"`,
      )
      const braced = labels.length === 0 ? '' : `{${labels.join(',')}}`
      if (typeof value === 'number') series.set(`${name}${braced}`, String(value))
      else {
        const { count, sum } = value as Histogram
        series.set(`${name}_count${braced}`, String(count)).set(`${name}_sum${braced}`, String(sum))
      }
    }
    for (const [key, value] of series) t.true(text.includes(`\n${key} ${value}\n`), key)
    const all = text.split('\n').filter((line) => new RegExp(`^${name}(_count)?[{ ]`).test(line))
    t.is(all.length, dataPoints.length, name)
  }
})
