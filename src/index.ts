/** The public names, nothing else. */

export { announce, type AppEvents } from './app-events.ts'
export { Backoff, pause, type BackoffOptions } from './backoff.ts'
export { Cio, type HandleOptions, type Pipelines } from './cio.ts'
export type { ClientContext, ConnectOptions } from './client.ts'
export type { ConnectionContext } from './connection.ts'
export type { CloseOptions, CloseResult, Context, StreamContext } from './context.ts'
export { CioError, isCioError, quote, type CioErrorOptions, type Fault } from './errors.ts'
export { finish } from './finish.ts'
export type { Inspection } from './inspect.ts'
export { LineDecoder, Remainder, syntaxError, tooLong, type ParseLine } from './framer.ts'
export { judge, type ListOptions } from './judge.ts'
export { Layer, type LayerOptions } from './layer.ts'
export {
  Messages,
  defaultMaxLength,
  messages,
  type Codec,
  type Decoder,
  type MessagesContext,
  type MessagesOptions,
  type StandardSchema,
} from './messages.ts'
export { defineMiddleware, type Hints, type Middleware, type Next } from './middleware.ts'
export { checkCount, checkDuration, checkKnown, optionError } from './option.ts'
export type { Peer, PeerNames } from './peer.ts'
export type { Pipeline, PipelineEntry, Selector } from './pipeline.ts'
export type { Registrable } from './registration.ts'
export { Pump, type PumpOptions } from './pump.ts'
export { read } from './read.ts'
export {
  compileRule,
  type Match,
  type PeerFields,
  type PeerPredicate,
  type Rule,
  type Who,
} from './rule.ts'
export type { ListenOptions, ServerContext } from './server.ts'

export { allowList, type AllowListOptions } from '../middleware/allow-list.ts'
export {
  certs,
  loadCerts,
  type CertSource,
  type CertsMaterial,
  type CertsOptions,
  type KeySource,
} from '../middleware/certs.ts'
export { denyList, type DenyListOptions } from '../middleware/deny-list.ts'
export {
  Events,
  events,
  type AnyEvents,
  type EventMap,
  type EventsContext,
  type EventsOptions,
} from '../middleware/events.ts'
export { json, type JsonContext, type JsonOptions } from '../middleware/json.ts'
export { lines, type LinesContext, type LinesOptions } from '../middleware/lines.ts'
export { relisten, type Relisten, type RelistenOptions } from '../middleware/relisten.ts'
export { contextOf, http, type HttpHandler, type HttpOptions } from '../middleware/http.ts'
export { transform, type MakeTransform, type TransformOptions } from '../middleware/transform.ts'
export { wrap, type MakeCoder, type WrapOptions } from '../middleware/wrap.ts'
