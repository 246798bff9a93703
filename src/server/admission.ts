/** Whether a server would admit a certificate, without a connection: `server.wouldAdmit()`. */

import type { X509Certificate } from 'node:crypto'
import type { Server } from 'node:tls'
import type { Refusal } from '../end-reason.ts'
import { asError } from '../errors.ts'
import type { App } from '../lifecycle/app.ts'
import { Peer } from '../identity/peer.ts'
import type { PipelineEntry } from '../pipeline/pipeline.ts'
import { claimIn, refusalReasonOf } from '../tls/handshake-errors.ts'
import { namesOf } from '../tls/tls-server.ts'
import type { ListenOptions } from './listen-options.ts'

/** Options of `server.wouldAdmit()`. */
export interface AdmissionOptions {
  /**
   * The intermediate certificates that the client would send.
   *
   * @default none
   */
  readonly issuers?: readonly X509Certificate[]
  /**
   * The host name that the client would request (SNI). It matters if `sni` has other CAs for that
   * name.
   *
   * @default none
   */
  readonly servername?: string
}

/** One middleware of the connection pipeline, and its answer. */
export interface AdmissionStep {
  /** The name of the middleware. */
  readonly name: string
  /** The file and line that registered it. */
  readonly at: string
  /**
   * `not asked`: the middleware has no hint `refusalOf`. `unknown`: it was asked, but only a
   * connection can decide; `message` says why. `not reached`: an earlier step refuses.
   */
  readonly outcome: 'admits' | 'refuses' | 'unknown' | 'not asked' | 'not reached'
  /** Why it refuses the client; undefined if it does not. */
  readonly refusal?: Refusal
  /** The refusal or the doubt, for readers. */
  readonly message?: string
}

/** The answer of `server.wouldAdmit()`. */
export interface Admission {
  /** Undefined if a step could not decide, and no step refuses. */
  readonly admitted: boolean | undefined
  /** The enabled connection middleware, in their order. */
  readonly steps: readonly AdmissionStep[]
}

/** The members of a server that decide about a client. */
interface Judging {
  readonly app: Pick<App, 'pipelines'>
  readonly options: ListenOptions
  readonly tls: Server | null
}

/** Asks the steps of a server in their order, up to the first step that refuses. */
export async function admissionOf(
  server: Judging,
  certificate: X509Certificate,
  options: AdmissionOptions,
): Promise<Admission> {
  const identity = identityOf(server, certificate, options)
  const steps: AdmissionStep[] = []
  let isRefused = false
  for (const entry of server.app.pipelines.connection) {
    if (!entry.enabled) continue
    const answer: Answer = isRefused
      ? { outcome: 'not reached' }
      : await answerOf(entry, server, identity)
    isRefused ||= answer.outcome === 'refuses'
    steps.push({ name: entry.name, at: entry.at, ...answer })
  }
  const isKnown = isRefused || steps.every(({ outcome }) => outcome !== 'unknown')
  return { admitted: isKnown ? !isRefused : undefined, steps }
}

type Answer = Pick<AdmissionStep, 'outcome' | 'refusal' | 'message'>

/** The peer; or why it would have no verified identity; or why that cannot be decided. */
type Identity =
  { readonly peer: Peer } | { readonly untrusted: Refusal } | { readonly error: Error }

async function answerOf(
  { name, step, needs, refusalOf, at }: PipelineEntry,
  { options }: Judging,
  identity: Identity,
): Promise<Answer> {
  const { requestCert, rejectUnauthorized } = options
  const isHandshake = step && name === 'secure' && requestCert === true
  if (!isHandshake && !refusalOf) return { outcome: 'not asked' }
  if ('error' in identity) return { outcome: 'unknown', message: identity.error.message }
  if ('untrusted' in identity) {
    const refuses = isHandshake ? rejectUnauthorized !== false : needs === 'peer'
    if (!refuses) return { outcome: 'admits' }
    return { outcome: 'refuses', refusal: { ...identity.untrusted, step: name, at } }
  }
  try {
    const refusal = await refusalOf?.(identity.peer)
    return refusal ? { outcome: 'refuses', refusal: { at, ...refusal } } : { outcome: 'admits' }
  } catch (thrown) {
    return { outcome: 'unknown', message: asError(thrown).message }
  }
}

function identityOf(
  { tls, options, app }: Judging,
  certificate: X509Certificate,
  { issuers, servername }: AdmissionOptions,
): Identity {
  const step = 'secure'
  const hasStep = app.pipelines.connection.providing('peer').length > 0
  if (!tls || !hasStep) return { untrusted: { step, why: 'no_tls' } }
  if (!options.requestCert) return { untrusted: { step, why: 'no_certificate' } }
  try {
    if (options.SNICallback && !options.sni) {
      throw new Error('`SNICallback` chooses what is trusted, and only a handshake calls it')
    }
    const verdict = namesOf(tls).trustOf(servername).clientVerdict(certificate, issuers)
    if (verdict === undefined) return { peer: new Peer(certificate) }
    const claim = claimIn(certificate.raw)
    return { untrusted: { step, why: refusalReasonOf(verdict), verdict, peer: claim } }
  } catch (thrown) {
    return { error: asError(thrown) }
  }
}
