/** `cio`: what applications import. */

// These files add events to `AppEvents`, and a hint to `Hints`. No exported type refers to them, so
// they are named here.
/* oxlint-disable unicorn/require-module-specifiers */
export type {} from './identity/peer-needs.ts'
export type {} from './lifecycle/app-events.ts'
export type {} from './tls/client-handshake.ts'
export type {} from './tls/secure.ts'
/* oxlint-enable unicorn/require-module-specifiers */

export type { Overload } from './server/acceptor.ts'
export type { Endpoint } from './streams/endpoint.ts'
export type { AccessListMiddleware, VerifiedContext } from './access/access-list.ts'
export type { App, AppEvents, ContextKind, Pipelines } from './lifecycle/app.ts'
export { Cio, type HandleOptions } from './cio.ts'
export type { ClientContext } from './client/client.ts'
export type { ConnectOptions, ConnectTarget, CreateConnection } from './client/connect-options.ts'
export type { ConnectionContext } from './lifecycle/connection.ts'
export type { ConnectionEnd } from './connection-end.ts'
export type { EndReason, HandshakeFailure, Refusal, RefusalReason } from './end-reason.ts'
export type { CloseOptions, CloseResult, Context } from './lifecycle/context.ts'
export { CioError, isCioError, type CioErrorOptions, type Fault } from './errors.ts'
export type { AccessListOptions } from './access/access-check.ts'
export type { EvictOptions, RevokedAction } from './lifecycle/evict.ts'
export type { Inspection } from './pipeline/inspection.ts'

export type { Encoded } from './messages/encoded.ts'
export type { Interceptor } from './messages/interceptors.ts'
export type {
  Messages,
  MessagesContext,
  MessagesOptions,
  StandardSchema,
} from './messages/messages.ts'
export { defineMiddleware, type Hints, type Middleware, type Next } from './pipeline/middleware.ts'
export type { Peer, PeerNames } from './identity/peer.ts'
export type { Pipeline, PipelineEntry, Selector } from './pipeline/pipeline.ts'
export type { ModuleName, Registrable } from './pipeline/registration.ts'
export type { OptionsLoader } from './server/reload.ts'
export type { TextPattern, PeerFields, PeerPredicate, PeerSelector } from './access/peer-matcher.ts'
export type { Admission, AdmissionOptions, AdmissionStep } from './server/admission.ts'
export type { ServerContext } from './server/server.ts'
export type { ListenOptions } from './server/listen-options.ts'
export type { StreamContext } from './lifecycle/stream-context.ts'
export type { Rate } from './rates/token-bucket.ts'
export { allowList, type AllowListOptions } from '../middleware/allow-list.ts'
export {
  loadCerts,
  type CertFilesOptions,
  type CertificateOptions,
  type CertsMaterial,
} from './tls/certificates.ts'
export type { CertSource, KeySource } from './tls/certificates/source.ts'
export type { TlsClientOptions, TlsServerOptions } from './tls/tls-options.ts'
export { certs, type CertsOptions } from '../middleware/certs.ts'
export {
  contentLength,
  type ContentLengthContext,
  type ContentLengthOptions,
} from '../middleware/content-length.ts'
export { codec, type CodecContext, type CodecOptions } from '../middleware/codec.ts'
export { denyList, type DenyListOptions } from '../middleware/deny-list.ts'
export { drain, type Drain, type Drained, type DrainOptions } from '../middleware/drain.ts'
export {
  Events,
  events,
  type AnyEvents,
  type EventMap,
  type EventsContext,
  type EventsOptions,
} from '../middleware/events.ts'
export {
  certificateExpiry,
  type CertificateExpiryOptions,
} from '../middleware/certificate-expiry.ts'
export { frames, type FramesContext, type FramesOptions } from '../middleware/frames.ts'
export type {
  Checksum,
  LengthField,
  Mark,
  Measure,
  OutOfStep,
  Resync,
  Stuffing,
} from './messages/frame-formats.ts'
export { httpConnect, type HttpConnectOptions, type ProxyTls } from '../middleware/http-connect.ts'
export { inherited, type InheritedOptions } from '../middleware/inherited.ts'
export {
  heartbeat,
  type Heartbeat,
  type HeartbeatContext,
  type HeartbeatOptions,
} from '../middleware/heartbeat.ts'
export type { HeartbeatTimes } from '../middleware/heartbeat/liveness.ts'
export { json, type JsonContext, type JsonOptions } from '../middleware/json.ts'
export {
  limit,
  type Limit,
  type LimitCounts,
  type LimitOptions,
  type LimitReason,
  type LimitRefusal,
} from '../middleware/limit.ts'
export { lines, type LinesContext, type LinesOptions } from '../middleware/lines.ts'
export {
  multiplex,
  type Mux,
  type MuxHeaders,
  type Muxed,
  type MuxedContext,
  type MultiplexContext,
  type MultiplexOptions,
  type PingOptions,
} from '../middleware/multiplex.ts'
export {
  proxyProtocol,
  type Proxied,
  type ProxiedSsl,
  type ProxyProtocolContext,
  type ProxyProtocolOptions,
  type ProxyTlv,
} from '../middleware/proxy-protocol.ts'
export {
  proxyHeader,
  sendProxyProtocol,
  type ProxyHeader,
  type ProxyHeaderOptions,
  type SendProxyProtocolOptions,
} from '../middleware/send-proxy-protocol.ts'
export { rateLimit, type RateLimitOptions } from '../middleware/rate-limit.ts'
export { log, type Log, type LogCounts, type Logger, type LogOptions } from '../middleware/log.ts'
export { record, type RecordOptions } from '../middleware/record.ts'
export { reconnect, type Reconnect, type ReconnectOptions } from '../middleware/reconnect.ts'
export { relisten, type Relisten, type RelistenOptions } from '../middleware/relisten.ts'
export {
  Requests,
  requests,
  type MatchById,
  type RequestsContext,
  type RequestsOptions,
  type ServedRequest,
} from '../middleware/requests.ts'
export {
  Rpc,
  RpcRequest,
  openRpc,
  rpc,
  rpcError,
  rpcFailure,
  type AnyMethods,
  type CallOptions,
  type Methods,
  type OpenRpcDocument,
  type OpenRpcOptions,
  type OwnMethods,
  type RpcContext,
  type RpcFailure,
  type RpcOptions,
} from '../middleware/rpc.ts'
export {
  forward,
  type ChooseTarget,
  type ForwardOptions,
  type ForwardTarget,
} from '../middleware/forward.ts'
export { contextOf, http, type HttpHandler, type HttpOptions } from '../middleware/http.ts'
export { startTls, type StartTlsContext, type StartTlsOptions } from '../middleware/start-tls.ts'
export {
  rooms,
  type RoomMembership,
  type RoomWatcher,
  type RoomSendOptions,
  type Rooms,
  type RoomsContext,
  type RoomsOptions,
} from '../middleware/rooms.ts'
export type { RoomSent } from '../middleware/rooms/room.ts'
export {
  sessionTickets,
  type SessionTicketsMiddleware,
  type SessionTicketsOptions,
} from '../middleware/session-tickets.ts'
export { timeout, type TimeoutOptions } from '../middleware/timeout.ts'
export {
  route,
  type ClientHello,
  type Route,
  type RouteConditions,
  type RouteContext,
  type RouteOptions,
  type RouteTarget,
} from '../middleware/route.ts'
export { transform, type MakeTransform, type TransformOptions } from '../middleware/transform.ts'
export { layer, type MakeCoder, type LayerOptions } from '../middleware/layer.ts'
