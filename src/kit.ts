/** `cio/kit`: what authors of middleware import besides `cio`. */

export {
  canonicalAddress,
  formatEndpoint,
  localEndpoint,
  networkOf,
  remoteEndpoint,
} from './streams/endpoint.ts'
export { Watch, tickDuration } from './deadline.ts'
export { debug, type Debug } from './debug.ts'
export { AccessList } from './access/access-list.ts'
export { emitSafely, reportError } from './lifecycle/app-events.ts'
export { Backoff, sleep, type BackoffOptions } from './rates/backoff.ts'
export { allowListeners, anyOf, newAbort } from './streams/lazy-abort.ts'
export { openSocket } from './client/open-socket.ts'
export { placeOf } from './client/connect-options.ts'
export { optionsOf } from './lifecycle/arguments.ts'
export { askedHost, askedName, withoutBrackets, type AskedName } from './streams/host-name.ts'
export { checkTlsOptions, type Call } from './lifecycle/known-options.ts'
export { checkPort } from './lifecycle/option-values.ts'
export { asError, escapeText, quote } from './errors.ts'
export { removeStaleSocket } from './server/stale-socket.ts'
export { checkEvictOptions, evict } from './lifecycle/evict.ts'
export { endGracefully } from './streams/end-gracefully.ts'
export {
  FrameDecoder,
  LineDecoder,
  syntaxError,
  messageTooLong,
  truncatedMessage,
  type Framing,
  type ParseLine,
} from './messages/frame-decoder.ts'
export { PartialMessage } from './messages/partial-message.ts'
export { defaultMaxLength, type BorderedCodec, type Codec, type Decoder } from './messages/codec.ts'
export {
  framesOf,
  framingOptionNames,
  type Frames,
  type FramingOptions,
} from './messages/frame-formats.ts'
export { accessCheck, type AccessCheck } from './access/access-check.ts'
export { StackLayer, raiseListenerLimit, type StackLayerOptions } from './streams/stack-layer.ts'
export { isTooDeep, maxJsonDepth } from './messages/json-nesting.ts'
export { Messages, messages, messagesOptionNames } from './messages/messages.ts'
export { compileNetworks, type Networks } from './identity/networks.ts'
export {
  checkCalled,
  checkCount,
  checkDuration,
  checkFlag,
  checkFunction,
  checkMethods,
  checkObject,
  checkOptionNames,
  checkSignal,
  maxTimerDelay,
  optionError,
} from './options.ts'
export { Peek, type PeekOptions } from './streams/peek.ts'
export {
  PendingCalls,
  type PartsReceiver,
  type PendingCall,
  type PendingCallsOptions,
} from './messages/pending-calls.ts'
export { Pump, type PumpOptions } from './messages/pump.ts'
export { SendQueue } from './messages/send-queue.ts'
export { chunksOf } from './streams/chunks-of.ts'
export { bytesOf, type ByteCounts } from './lifecycle/bytes-of.ts'
export { keepRemote } from './streams/kept-remote.ts'
export { RetryBudget, type RetryBudgetOptions } from './rates/retry-budget.ts'
export { compilePeerMatcher, type PeerMatcher } from './access/peer-matcher.ts'
export { handshake } from './tls/secure.ts'
export { canonicalName } from './tls/sni.ts'
export { viaProxy, type ProxyHandshake } from './client/via-proxy.ts'
export { TokenBucket, checkRate } from './rates/token-bucket.ts'
export { issuerExpiryOf } from './tls/issuer-expiry.ts'
export { trustHash } from './tls/trust-store.ts'
export { SelfDelimitingValues, type ValueFormat } from './messages/self-delimiting-values.ts'
export {
  handled,
  isRefused,
  refused,
  unawaited,
  type Untaken,
  whenUntaken,
} from './lifecycle/unawaited.ts'
export { atOnce, whenRejected } from './thenable.ts'
export { isAddressUnavailable } from './network-errors.ts'
export { nothingSaid } from './connection-end.ts'
export type { Probe } from './lifecycle/probe.ts'
export type { CallMessage, ConnectionMessage } from './lifecycle/channels.ts'
export type { ProbedCall } from './pipeline/probe.ts'
export { carrierError } from './lifecycle/carrier-end.ts'
export { provide } from './lifecycle/provide.ts'
export { isReplay } from './lifecycle/replays.ts'
export { untilNoServer } from './server/server-life.ts'
export { Borders, type Border } from './streams/borders.ts'
export { valueCodec, type ValueLibrary } from './messages/value-codec.ts'
export { leaveUnread } from './streams/reading.ts'
