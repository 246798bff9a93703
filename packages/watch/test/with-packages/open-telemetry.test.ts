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
import { watch } from '../../src/index.ts'
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
