/** `@cio/watch`: metrics, a live page and answers for the servers and clients of an app. */

export { watch, type MetricsOptions, type Watch } from './watch.ts'
export { page, type PageHandler } from './page/page.ts'
export type { PageOptions, WatchListenOptions } from './page/options.ts'
export type { WatchServer } from './page/listen.ts'
export type { WatchOptions } from './options.ts'
export type { ClosedConnection } from './ended.ts'
export type { RefusalGroup } from './refusals.ts'
export type { Explanation, ExplainedStep, Subject } from './explain.ts'
export type { Generation } from './generations.ts'
export type { ConnectionDetail, ConnectionPage, ConnectionQuery, ConnectionRow } from './rows.ts'
export {
  alarms,
  type Alarm,
  type AlarmBounds,
  type AlarmName,
  type Alarms,
  type AlarmsOptions,
} from './alarms.ts'
export type { Bound } from './bounds.ts'
export type { SlowCall } from './calls.ts'
export type { Snapshot } from './snapshot.ts'
export type { CallsView, ClientView, MethodView, ServerView, StepView } from './views.ts'
export type { ServerCertificate } from './certificates.ts'
export type { PeerTraffic } from './peers.ts'
export type { PassedStep } from './records.ts'
export type { CollectionResult, MetricData } from './open-telemetry.ts'
export type { Column, Table } from './history.ts'
