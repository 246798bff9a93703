/**
 * A `MetricProducer` for OpenTelemetry's SDK. It only has the same shape: no package of the SDK is
 * loaded.
 */

import { Histogram, type Attributes, type Reading } from './instruments.ts'

type Time = readonly [seconds: number, nanoseconds: number]

// Enumerations of @opentelemetry/sdk-metrics and of @opentelemetry/api.
const cumulative = 1
const typeOf = { histogram: 0, gauge: 2, sum: 3 } as const
const double = 1

/** The result of `collect()`: a `CollectionResult` of @opentelemetry/sdk-metrics. */
export interface CollectionResult {
  readonly resourceMetrics: {
    readonly resource: { readonly attributes: Attributes }
    readonly scopeMetrics: readonly {
      readonly scope: { readonly name: string; readonly version: string }
      readonly metrics: readonly MetricData[]
    }[]
  }
  readonly errors: readonly unknown[]
}

/** One metric, as a `MetricData` of @opentelemetry/sdk-metrics. */
export interface MetricData {
  readonly descriptor: {
    readonly name: string
    readonly description: string
    readonly unit: string
    readonly valueType: number
  }
  readonly aggregationTemporality: number
  readonly dataPointType: number
  readonly isMonotonic?: boolean
  readonly dataPoints: readonly {
    readonly startTime: Time
    readonly endTime: Time
    readonly attributes: Attributes
    readonly value: unknown
  }[]
}

/** Makes the result that a metric reader of OpenTelemetry collects. */
export function toCollection(
  readings: readonly Reading[],
  since: number,
  version: string,
): CollectionResult {
  const times = { startTime: timeOf(since), endTime: timeOf(Date.now()) }
  return {
    resourceMetrics: {
      resource: { attributes: {} },
      scopeMetrics: [
        {
          scope: { name: '@cio/watch', version },
          metrics: readings
            .filter(({ points }) => points.length > 0)
            .map((reading) => dataOf(reading, times)),
        },
      ],
    },
    errors: [],
  }
}

function dataOf(
  { metric, points }: Reading,
  times: { readonly startTime: Time; readonly endTime: Time },
): MetricData {
  const { name, help, unit, kind } = metric
  const isSum = kind === 'counter' || kind === 'updown'
  return {
    descriptor: { name, description: help, unit, valueType: double },
    aggregationTemporality: cumulative,
    dataPointType: isSum ? typeOf.sum : typeOf[kind],
    ...(isSum && { isMonotonic: kind === 'counter' }),
    dataPoints: points.map(({ attributes, value }) => {
      return { ...times, attributes, value: value instanceof Histogram ? bucketsOf(value) : value }
    }),
  }
}

function bucketsOf({ bounds, counts, sum, count }: Histogram): unknown {
  return { buckets: { boundaries: [...bounds], counts: [...counts] }, sum, count }
}

function timeOf(milliseconds: number): Time {
  const seconds = Math.floor(milliseconds / 1_000)
  return [seconds, Math.round((milliseconds - seconds * 1_000) * 1_000_000)]
}
