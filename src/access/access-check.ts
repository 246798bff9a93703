/**
 * Checks a peer against a rule and rejects it: what `allowList` and `denyList` share. Fails closed.
 */

import type { TLSSocket } from 'node:tls'
import { debug } from '../debug.ts'
import { absentContext } from './absent-context.ts'
import { emitSafely, reportError } from '../lifecycle/app-events.ts'
import type { Refusal, RefusalReason } from '../end-reason.ts'
import { startDeadline } from '../deadline.ts'
import { type EvictOptions, checkEvictOptions, noteSite } from '../lifecycle/evict.ts'
import { CioError, asError, quote } from '../errors.ts'
import { endGracefully } from '../streams/end-gracefully.ts'
import { claimOf, claimedPeer } from '../tls/handshake-errors.ts'
import { checkCalled, checkDuration, checkFlag, checkOptionNames, optionError } from '../options.ts'
import type { Peer } from '../identity/peer.ts'
import { type PeerMatcher, type PeerSelector, compilePeerMatcher } from './peer-matcher.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/** Options that `allowList` and `denyList` share. */
export interface AccessListOptions extends EvictOptions {
  /**
   * Dry run: admits every peer, and emits `wouldReject` for each peer that the list would reject.
   *
   * @default false
   */
  readonly dryRun?: boolean
  /**
   * Sends a last message to a rejected peer: writes to `ctx.stream`, which Cio ends and flushes
   * when the function has returned. `peer` is null if there is no verified identity.
   *
   * @default the connection ends without a last message
   */
  readonly reject?: (ctx: StreamContext, peer: Peer | null) => unknown
  /**
   * Milliseconds in which a predicate must decide, and again in which the last message must be
   * written and flushed. `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly timeout?: number
}

declare module '../lifecycle/app.ts' {
  interface AppEvents {
    /** Dry run: a list with `dryRun` has admitted a peer that it would reject, with this error. */
    wouldReject: [error: CioError, ctx: StreamContext]
  }
}

const defaultTimeout = 10_000

/** The check of a list. */
export interface AccessCheck {
  /**
   * Throws `ERR_CIO_REJECTED` (remote) if the peer is rejected, after the option `reject` has sent
   * its last message. With `dryRun` it emits `wouldReject` and does not throw.
   */
  (ctx: StreamContext): Promise<void>
  /** The error of a peer that the rule rejects now. It sends no last message. */
  readonly verdict: (ctx: StreamContext) => Promise<CioError | undefined>
  /** The hint `refusalOf`. With `dryRun` it refuses no peer. */
  readonly refusalOf: (peer: Peer) => Promise<Refusal | undefined>
}

/**
 * Makes the check of a list. The check throws unless the peer has a verified identity without a
 * defect, and the rule `who` returns `admits` for it.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function accessCheck(
  owner: string,
  who: PeerSelector,
  admits: boolean,
  options: AccessListOptions,
): AccessCheck {
  checkCalled(owner, who)
  checkOptionNames(owner, options, ['reject', 'timeout', 'dryRun', 'revoked', 'drainTimeout'])
  const { timeout = defaultTimeout, reject, dryRun = false } = options
  checkDuration(owner, 'timeout', timeout)
  checkEvictOptions(owner, options)
  if (reject !== undefined && typeof reject !== 'function') {
    throw optionError(owner, 'reject', 'a function', reject)
  }
  checkFlag(owner, 'dryRun', dryRun)
  const rule = compilePeerMatcher(owner, who)
  const log = debug(`cio:${owner}`)

  return Object.assign(check, { verdict, refusalOf })

  async function check(ctx: StreamContext): Promise<void> {
    const error = await verdict(ctx)
    if (!error) return
    if (dryRun) {
      noteSite(ctx, error, ctx.step)
      return emitSafely(ctx.app, 'wouldReject', error, ctx)
    }
    if (reject) await sayGoodbye(owner, ctx, reject, timeout)
    throw error
  }

  async function verdict(ctx: StreamContext): Promise<CioError | undefined> {
    const { peer } = ctx
    let remote: string | undefined
    const ask = (): ReturnType<PeerMatcher> => {
      const answer = rule(peer!, ctx)
      // Read before the wait: a socket that is destroyed has no address. It is a system call.
      if (typeof answer !== 'boolean') remote = ctx.remote
      return answer
    }
    const refused = peer ? await judge(peer, ctx, ask, admits, timeout) : whyUnknown(ctx)
    const name = peer?.name == null ? '' : ` (${quote(peer.name)})`
    if (log.enabled) log('%d%s: %s', ctx.id, name, refused?.message ?? 'comes in')
    if (!refused) return undefined
    const message = `${remote ?? ctx.remote}${name} was rejected by \`${owner}\`: ${refused.message}`
    return new CioError('ERR_CIO_REJECTED', message, {
      fault: 'remote',
      cause: refused.cause,
      end: 'not_admitted',
      refusal: {
        step: owner,
        why: refused.why,
        ...(peer
          ? { peer: { name: peer.name, verified: true } }
          : refused.claim && { peer: refused.claim }),
        ...(refused.verdict !== undefined && { verdict: refused.verdict }),
      },
    })
  }

  async function refusalOf(peer: Peer): Promise<Refusal | undefined> {
    const { ctx, wasRead } = absentContext()
    const place = { isClosed: false, signal: new AbortController().signal }
    const refused = await judge(peer, place, () => rule(peer, ctx), admits, timeout)
    if (wasRead()) throw new Error('a predicate of its rule reads the connection')
    if (!refused || dryRun) return undefined
    return { step: owner, why: refused.why, peer: { name: peer.name, verified: true } }
  }
}

/** Why a peer is rejected: for a program, and for a reader. */
interface Verdict {
  readonly why: RefusalReason
  readonly message: string
  readonly cause?: Error
  /** The name that an unverified certificate claims, and why it was not verified. */
  readonly claim?: Refusal['peer']
  readonly verdict?: string
}

/**
 * The part of a context that shows whether the connection is still open; a check stops waiting when
 * it closes.
 */
type Open = Pick<StreamContext, 'isClosed' | 'signal'>

/** Why a peer is rejected; undefined if it is admitted. */
async function judge(
  { defect }: Peer,
  place: Open,
  rule: () => ReturnType<PeerMatcher>,
  admits: boolean,
  timeout: number,
): Promise<Verdict | undefined> {
  if (defect !== null) return { why: 'name_defect', message: defect }
  try {
    const answer = rule()
    const holds = typeof answer === 'boolean' ? answer : await within(place, timeout, answer)
    if (holds === admits) return undefined
    return holds
      ? { why: 'listed', message: 'it is on the list' }
      : { why: 'not_listed', message: 'it is not on the list' }
  } catch (thrown) {
    // The connection closed meanwhile; that is not a rejection.
    if (isGone(place, thrown)) throw thrown
    const cause = asError(thrown)
    const why = cause instanceof TooSlow ? 'rule_timeout' : 'rule_failed'
    return { why, message: `its rule failed: ${cause.message}`, cause }
  }
}

async function sayGoodbye(
  owner: string,
  ctx: StreamContext,
  reject: NonNullable<AccessListOptions['reject']>,
  timeout: number,
): Promise<void> {
  try {
    await within(ctx, timeout, Promise.resolve(reject(ctx, ctx.peer)))
    await endGracefully(ctx.stream, timeout)
  } catch (thrown) {
    if (isGone(ctx, thrown)) return
    const cause = asError(thrown)
    const message = `the \`reject\` of \`${owner}\` failed: ${cause.message}`
    reportError(ctx.app, new CioError('ERR_CIO_GOODBYE', message, { cause }), ctx)
  }
}

function whyUnknown({ socket, encrypted }: StreamContext): Verdict {
  if (!encrypted) return { why: 'no_tls', message: 'it does not speak TLS' }
  const claim = claimOf(socket as TLSSocket)
  if (!claim) return { why: 'no_certificate', message: 'it presented no certificate' }
  const verdict = String((socket as TLSSocket).authorizationError ?? 'it was not verified')
  return {
    why: 'untrusted',
    message: `its certificate is not trusted (${verdict}); ${claim}`,
    claim: claimedPeer(socket as TLSSocket),
    verdict,
  }
}

function isGone(place: Open, thrown: unknown): boolean {
  return place.isClosed && thrown === place.signal.reason
}

/** The error of a predicate or a last message that took too long. */
class TooSlow extends Error {}

/** Waits for an answer while the connection is open, and at most for the given time. */
async function within<T>({ signal }: Open, timeout: number, answer: Promise<T>): Promise<T> {
  let stop = (): void => {}
  const stopped = new Promise<never>((_, reject) => {
    const expire = (): void => reject(new TooSlow(`it took more than ${timeout} ms`))
    const timer = startDeadline(timeout, expire)
    const abort = (): void => reject(asError(signal.reason))
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    stop = () => {
      timer?.stop()
      signal.removeEventListener('abort', abort)
    }
  })
  try {
    return await Promise.race([answer, stopped])
  } finally {
    stop()
  }
}
