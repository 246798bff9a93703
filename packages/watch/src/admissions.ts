/** Whether the servers would admit a certificate as they are now: the answer of `cio why --cert`. */

import type { AdmissionOptions, AdmissionStep, ServerContext } from 'cio'
import type { X509Certificate } from 'node:crypto'
import { placeOfServer } from './places.ts'
import { clean } from './text.ts'

/** The answer of one server. */
export interface ServerAdmission {
  /** Its address. */
  readonly server: string
  /** Undefined if only a connection can decide. */
  readonly admitted: boolean | undefined
  /** The middleware of its connections, in their order, with their answers. */
  readonly steps: readonly AdmissionStep[]
}

/** Asks each server that listens. */
export function admissions(
  servers: Iterable<ServerContext>,
  certificate: X509Certificate,
  options: AdmissionOptions,
): Promise<ServerAdmission[]> {
  return Promise.all(
    [...servers].map(async (server) => {
      const { admitted, steps } = await server.wouldAdmit(certificate, options)
      return { server: placeOfServer(server).key, admitted, steps: steps.map(cleanStep) }
    }),
  )
}

/** Escapes texts from the certificate, from a rule or from a middleware, which may hold anything. */
function cleanStep({ refusal, message, ...step }: AdmissionStep): AdmissionStep {
  const { peer } = refusal ?? {}
  return {
    ...step,
    ...(refusal && {
      refusal: {
        step: clean(refusal.step),
        why: clean(refusal.why),
        ...(refusal.at !== undefined && { at: refusal.at }),
        ...(peer && { peer: { ...peer, name: peer.name === null ? null : clean(peer.name) } }),
        ...(refusal.verdict !== undefined && { verdict: clean(refusal.verdict) }),
      },
    }),
    ...(message !== undefined && { message: clean(message) }),
  }
}
